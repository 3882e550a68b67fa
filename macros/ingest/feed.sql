{#- A base model reads the files of its feed: each new or changed file of landing/<feed> and the seed,
    cast and judged by the model's SQL, go into the table landing.<feed>, and what became of each file
    into landing.<feed>_files. The relation itself is a view of both.

    The Python half is the package warehouse/landing/. It says which files are new, reads what DuckDB's
    reader cannot, and tells people. A file that did not change is not opened again; --full-refresh
    reads all that are there. -#}


{% materialization feed, adapter='duckdb' %}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {%- do load_new_files() -%}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- do make_view_of_files() -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [this.incorporate(type='view')]}) }}

{% endmaterialization %}


{% materialization feed, adapter='spark' %}

    {{ run_hooks(pre_hooks) }}
    {%- do load_new_files() -%}
    {%- do make_view_of_files() -%}
    {{ run_hooks(post_hooks) }}

    {{ return({'relations': [this.incorporate(type='view')]}) }}

{% endmaterialization %}


{% macro load_new_files() %}
    {#- Bring landing.<feed> and landing.<feed>_files up to what the folder of the feed holds. -#}
    {%- set feed = model.name.removeprefix('base_') -%}
    {%- set contract = feed_contract(feed) -%}
    {%- do require_plugin('warehouse.loading') -%}
    {%- set types = {} -%}
    {%- for column in contract.columns -%}
        {%- do types.update({column.name: type_of(column.type)}) -%}
    {%- endfor -%}
    {%- do adapter.store_relation('loading', this, [], '', 'parquet', {
        'contract': contract,
        'feeds': feed_names(),
        'samples': feeds_with_a_sample(),
        'types': types,
        'sql': sql,
        'source': ref(feed).render(),
        'seed_file': seed_file(feed),
        'table': landing_table(feed).render(),
        'log': landing_table(feed ~ '_files').render(),
        'database': this.database,
        'day': feed_day(feed),
        'is_full_refresh': should_full_refresh(),
        'invocation_id': invocation_id,
        'started_at': run_started_at.strftime('%Y-%m-%d %H:%M:%S.%f'),
    }) -%}
{% endmacro %}


{% macro make_view_of_files() %}
    {%- set contract = feed_contract(model.name.removeprefix('base_')) -%}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- set old_relation = load_cached_relation(this) -%}
    {%- if old_relation is not none and not old_relation.is_view -%}
        {%- do adapter.drop_relation(old_relation) -%}
    {%- endif -%}
    {%- call statement('main') -%}
        create or replace view {{ target_relation }} as
        {{ rows_of_files(contract) }}
    {%- endcall -%}
    {%- do persist_docs(target_relation, model) -%}
{% endmacro %}


{% macro rows_of_files(contract) %}
    {#- The rows of the files that count, each with its origin. -#}
    {{- return(adapter.dispatch('rows_of_files')(contract)) -}}
{% endmacro %}

{#- A row read by DuckDB's reader has no line of its own: it stands as far below the first row of its
    file as its line does. -#}
{% macro duckdb__rows_of_files(contract) %}
    {%- set rows, files = landing_table(contract.feed), landing_table(contract.feed ~ '_files') -%}
    select
        {%- for column in contract.columns %}
        landed.{{ column.name }},
        {%- endfor %}
        case
            when landed._rejected is not null
                then from_json(json_extract(landed._rejected, '$.reasons'), '["varchar"]')
        end as _reasons,
        {% if contract.key -%}
        coalesce(json_extract_string(landed._rejected, '$.record'), landed._cells) as _record,
        {%- else -%}
        json_extract_string(landed._rejected, '$.record') as _record,
        {%- endif %}
        files.file as _file,
        cast(coalesce(
            landed._line, landed.rowid - first_rows.first_row + files.first_line
        ) as bigint) as _line_number,
        files.modified_ns as _modified_ns,
        files.loaded_at as _loaded_at
    from {{ rows }} as landed
    inner join {{ files }} as files
        on landed._file_id = files.file_id
    inner join (
        select _file_id, min(rowid) as first_row
        from {{ rows }}
        group by _file_id
    ) as first_rows
        on landed._file_id = first_rows._file_id
    where files.state = 'loaded'
{% endmacro %}

{#- A row read by Spark's reader has its place among the rows of one task; the log of files has, for each
    block of a file that a task read, how far the lines are from those places. -#}
{% macro spark__rows_of_files(contract) %}
    {%- set rows, files = landing_table(contract.feed), landing_table(contract.feed ~ '_files') -%}
    select
        {%- for column in contract.columns %}
        landed.{{ column.name }},
        {%- endfor %}
        landed._reasons,
        landed._record,
        files.file as _file,
        coalesce(landed._line, landed._position + files.line_offsets[landed._block]) as _line_number,
        files.modified_ns as _modified_ns,
        files.loaded_at as _loaded_at
    from {{ rows }} as landed
    inner join {{ files }} as files
        on landed.load_id = files.load_id and landed._file_id = files.file_id
    where files.state = 'loaded'
{% endmacro %}


{% macro feeds_with_a_sample() %}
    {#- The feeds whose seed is the sample, each with its log of files; none where this run forgets it. -#}
    {%- set found = [] -%}
    {%- for feed in feed_names() if not is_reference(feed) -%}
        {%- set is_forgotten = should_full_refresh() and selected_resources
            and 'model.' ~ project_name ~ '.base_' ~ feed in selected_resources -%}
        {%- do found.append({
            'feed': feed,
            'log': none if is_forgotten else landing_table(feed ~ '_files').render(),
        }) -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}


{% macro landing_table(name) %}
    {{- return(api.Relation.create(
        database=this.database, schema=landing_schema(), identifier=name
    )) -}}
{% endmacro %}


{% macro landing_schema() %}
    {#- One for the database on DuckDB, whose file is one person's; on Spark as those of the layers. -#}
    {{- return('landing' if target.type == 'duckdb' else generate_schema_name('landing', model)) -}}
{% endmacro %}


{% macro seed_file(seed_name) %}
    {#- The path of a seed's file, from the project's root. -#}
    {%- for node in graph.nodes.values() if node.resource_type == 'seed' and node.name == seed_name -%}
        {{ return(node.original_file_path) }}
    {%- endfor -%}
    {{ return(seed_name) }}
{% endmacro %}


{% macro require_plugin(module) %}
    {#- Refuse to go on without a plugin: steps in Python (warehouse/), which the adapter lets macros call. -#}
    {{- return(adapter.dispatch('require_plugin')(module)) -}}
{% endmacro %}

{% macro duckdb__require_plugin(module) %}
    {%- if module not in target.plugins | default([], true) | map(attribute='module') | list -%}
        {%- do exceptions.raise_compiler_error(
            'the profile does not load the plugin ' ~ module ~ '; '
            ~ 'copy module_paths and plugins from profiles/profiles.yml'
        ) -%}
    {%- endif -%}
{% endmacro %}

{% macro spark__require_plugin(module) %}
    {%- if adapter.store_relation is not defined -%}
        {%- do exceptions.raise_compiler_error(
            'dbt-spark alone cannot load files and publish; build with: make spark-build'
        ) -%}
    {%- endif -%}
{% endmacro %}
