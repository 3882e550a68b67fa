{#- What a kept table was made from, so that a build can leave it alone when nothing of that changed.

    `landing.model_inputs` holds, for each table, its inputs and their versions as they were when it
    was made:

    definition       its SQL, its columns and settings, and the SQL of every view and of the loader's
                     function that it reads through
    <feed>           the whole log of files of a feed that it reads
    <feed> <file>    one loaded file, where the table follows its feed file by file (key_from), or
                     those that do read it (is_made_of_files)
    <table>          all inputs of a table that it reads; those of a table that the same files tell
                     of (through, and the repeated keys of a feed) one by one, `<table>: <input>`
    _content         its rows, by a hash: nobody but a build changed them
    _doubted         when it was last made though its inputs were the same: what reads it is made, too

    Equal inputs make an equal table. What reads something else (`reads_more_than_inputs`, or a parent that
    is no kept table, feed, seed or view) has an input that is new in each build, and so it is made in
    each. -#}


{% macro model_inputs() %}
    {{- return(landing_table('model_inputs')) -}}
{% endmacro %}


{% macro model_key() %}
    {#- How model_inputs calls the model: by its table, since a database may hold the tables of two targets. -#}
    {{- return(this.schema ~ '.' ~ this.identifier) -}}
{% endmacro %}


{% macro of_this_model() %}
    {{- return(' where model = ' ~ text_literals([model_key()])) -}}
{% endmacro %}


{% macro read_relations(node, found=none) %}
    {#- What a node reads, seen through views.
        Returns: {views, feed_views: names with schema, feeds, seeds: {relation: name with schema},
        tables: {name: name with schema}, unknown: ids}. -#}
    {%- set found = found
        or {'views': [], 'feed_views': [], 'feeds': [], 'seeds': {}, 'tables': {}, 'unknown': []} -%}
    {%- for id in node.depends_on.nodes | sort -%}
        {%- set parent = graph.nodes.get(id) -%}
        {%- set made = parent.config.materialized if parent and parent.database == this.database -%}
        {%- set name = parent.schema ~ '.' ~ parent.alias if parent -%}
        {%- if made in ['view', 'ephemeral'] -%}
            {%- if name not in found.views -%}
                {%- do found.views.append(name) -%}
                {%- do read_relations(parent, found) -%}
            {%- endif -%}
        {%- elif made == 'feed' -%}
            {%- do found.feeds.append(parent.name.removeprefix('base_')) -%}
            {%- do found.feed_views.append(name) -%}
        {%- elif made == 'seed' -%}
            {%- do found.seeds.update({parent.relation_name: name}) -%}
        {%- elif made == 'kept_table' -%}
            {%- do found.tables.update({parent.name: name}) -%}
        {%- else -%}
            {%- do found.unknown.append(id) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}


{% macro settings_of_table() %}
    {#- What makes the table, beside its SQL; nothing that only tells of it. -#}
    {%- set settings = {} -%}
    {%- for name, value in model.config.items() if name not in ['docs', 'group', 'meta', 'tags'] -%}
        {%- do settings.update({name: value}) -%}
    {%- endfor -%}
    {{ return([settings, target.settings | default(none), model.description if config.persist_relation_docs() else none]) }}
{% endmacro %}


{% macro current_inputs() %}
    {#- A query of the model's inputs as they are now. Columns: input, version. -#}
    {%- set found = read_relations(model) -%}
    {%- set followed = config.get('key_from', {}) -%}
    {%- set through = tables_of_the_same_files() -%}
    {%- set definition = local_md5(
        sql ~ tojson(model.columns, sort_keys=true) ~ tojson(settings_of_table(), sort_keys=true)
    ) -%}
    select
        'definition' as input,
        md5(
            '{{ definition }}' || version() || coalesce(string_agg(md5(sql), '' order by schema_name, view_name), '')
            {%- if found.feeds %}
            || coalesce((select any_value(macro_definition) from duckdb_functions() where {{ is_of_the_loader() }}), '')
            {%- endif %}
        ) as version
    from duckdb_views()
    where
        database_name = {{ text_literals([this.database]) }}
        and schema_name || '.' || view_name in ({{ text_literals(found.views + found.feed_views + ['']) }})
    {%- for feed in found.feeds | unique %}
    union all
        {%- if feed in followed or config.get('is_made_of_files') %}
    select
        '{{ feed }} ' || file_id,
        file || ' ' || coalesce(cast(modified_ns as varchar), '')
    from {{ landing_table(feed ~ '_files') }}
    where state = 'loaded'
        {%- else %}
    select
        '{{ feed }}',
        coalesce(md5(string_agg(cast(files as varchar), '' order by file_id)), '')
    from (select * exclude (identity) from {{ landing_table(feed ~ '_files') }}) as files
        {%- endif %}
    {%- endfor %}
    {%- for seed in found.seeds %}
    union all
    select {{ text_literals([seed]) }}, ({{ content_of(seed) }})
    {%- endfor %}
    {%- for name, key in found.tables.items() %}
    union all
        {%- if name in through %}
    select '{{ name }}: ' || input, version from {{ model_inputs() }}
    where model = {{ text_literals([key]) }} and input <> '_content'
        {%- else %}
    select '{{ name }}', coalesce({{ identity() }}, '{{ invocation_id }}') from {{ model_inputs() }}
    where model = {{ text_literals([key]) }}
        {%- endif %}
    {%- endfor %}
    {%- for id in found.unknown | unique %}
    union all
    select {{ text_literals([id]) }}, '{{ invocation_id }}'
    {%- endfor %}
{% endmacro %}


{% macro is_of_the_loader() %}
    {#- A condition of duckdb_functions(): the function that each load of a feed makes
        (warehouse/landing/in_duckdb.py). -#}
    database_name = {{ text_literals([this.database]) }}
    and schema_name = {{ text_literals([model_inputs().schema]) }} and function_name = 'clean_cell'
{%- endmacro %}


{% macro tables_of_the_same_files() %}
    {#- The tables whose changes the files of `key_from` tell: those of `through`, and which rows repeat
        a key in such a feed. -#}
    {%- set found = config.get('through', []) | list -%}
    {%- for input in config.get('key_from', {}) -%}
        {%- do found.append('base_' ~ input ~ '_repeats') -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}


{% macro identity() %}
    {#- An aggregate over a model's rows of model_inputs: one text for all that it was made from. -#}
    md5(string_agg(input || '=' || version, ';' order by input) filter (where input <> '_content'))
{%- endmacro %}


{% macro content_of(relation) %}
    {#- A query of one text that equal rows have in common, whatever their order. -#}
    select
        count(*) || ' ' || coalesce(sum(hash(*columns(*))), 0) || ' '
        || coalesce((select md5(string_agg(column_name || ' ' || column_type, ',')) from (describe {{ relation }})), '')
    from {{ relation }}
{%- endmacro %}


{% macro changed_inputs() %}
    {#- The inputs that are not as they were when the table was made; none if it was never made here.
        Returns: a list of rows (input, was, is_now), or none. -#}
    {%- if should_full_refresh() or load_cached_relation(this) is none or not load_cached_relation(this).is_table -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set query -%}
        with

        stored as (

            select input, version from {{ model_inputs() }}
            {{ of_this_model() }} and input not in ('_content', '_doubted')

        ),

        now as (

            {{ current_inputs() }}

        )

        select
            coalesce(now.input, stored.input) as input,
            stored.version as was,
            now.version as is_now,
            (select count(*) from stored) as remembered
        from stored
        full outer join now
            on stored.input = now.input
        where now.version is distinct from stored.version
        order by 1
    {%- endset -%}
    {%- set rows = run_query(query).rows | list -%}
    {%- if rows and rows[0]['remembered'] == 0 -%}{{ return(none) }}{%- endif -%}
    {%- if (rows == [] or config.get('key_from')) and not has_its_content() -%}
        {%- do rows.append({'input': '_content', 'was': '', 'is_now': ''}) -%}
    {%- endif -%}
    {{ return(rows) }}
{% endmacro %}


{% macro has_its_content() %}
    {#- Whether the table's rows are those that a build gave it. -#}
    {{ return(run_query(
        'select version = (' ~ content_of(this) ~ ') from ' ~ model_inputs() ~ of_this_model()
        ~ " and input = '_content'"
    ).rows | map(attribute=0) | list == [true]) }}
{% endmacro %}


{% macro is_changed_by_hand(changed) %}
    {{- return(changed and changed[-1]['input'] == '_content') -}}
{% endmacro %}


{% macro forget_inputs() %}
    {#- All but the last doubt, which was told to the tables that read this. -#}
    {%- do run_query('delete from ' ~ model_inputs() ~ of_this_model() ~ " and input <> '_doubted'") -%}
{% endmacro %}


{% macro doubt() %}
    {%- do run_query('delete from ' ~ model_inputs() ~ of_this_model()) -%}
    {%- do run_query(
        'insert into ' ~ model_inputs() ~ ' values ('
        ~ text_literals([model_key(), '_doubted', invocation_id]) ~ ')'
    ) -%}
{% endmacro %}


{% macro remember_inputs(reads_more='') %}
    {#- Note the inputs as they are now.
        Args: reads_more: what it reads beside them, which nobody knows to be the same. -#}
    {%- set query -%}
        insert into {{ model_inputs() }}
        select {{ text_literals([model_key()]) }}, input, version
        from (
            {{ current_inputs() }}
            union all
            select '_content', ({{ content_of(this) }})
            {%- if reads_more %}
            union all
            select 'more than inputs', '{{ invocation_id }}'
            {%- endif %}
        )
    {%- endset -%}
    {%- do run_query(query) -%}
{% endmacro %}


{% macro reads_more_than_inputs() %}
    {#- What a model or the views that it reads through depend on, beside what `ref` names, as DuckDB's own
        parser sees it: hooks, other tables, files, clocks, chance, functions that somebody made.
        Returns: a text; empty when there is nothing. -#}
    {%- if pre_hooks or post_hooks -%}{{ return('it has hooks') }}{%- endif -%}
    {%- if config.get('sql_header') -%}{{ return('it has a header') }}{%- endif -%}
    {%- set found = read_relations(model) -%}
    {%- set known = found.views + found.feed_views -%}
    {%- set known = known + (found.tables.values() | list) + (found.seeds.values() | list) -%}
    {%- for feed in found.feeds -%}
        {%- for table in [landing_table(feed), landing_table(feed ~ '_files')] -%}
            {%- do known.append(table.schema ~ '.' ~ table.identifier) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- set name = '"((?:[^"\\\\]|\\\\.)*)"' -%}
    {%- set query -%}
        with

        statements as (

            select {{ text_literals([sql]) }} as statement
            union all
            select regexp_replace(
                sql,
                '^CREATE VIEW ("([^"]|"")*"|[^\s".(]+)(\.("([^"]|"")*"|[^\s".(]+))*\s*(\([^)]*\))?\s+AS\s+',
                ''
            )
            from duckdb_views()
            where
                database_name = {{ text_literals([this.database]) }}
                and schema_name || '.' || view_name in ({{ text_literals(found.views + ['']) }})

        ),

        trees as (

            select
                statement,
                cast(json_serialize_sql(statement) as varchar) as tree
            from statements

        ),

        parts as (

            select
                statement,
                tree,
                regexp_extract_all(tree, '"schema_name":{{ name }},"table_name"', 1) as schemas,
                regexp_extract_all(tree, '"schema_name":{{ name }},"table_name":{{ name }}', 2) as tables,
                regexp_extract_all(tree, '"catalog_name":{{ name }}', 1) as databases,
                regexp_extract_all(tree, '[{]"key":{{ name }},"value":[{]"aliases"', 1) as ctes,
                regexp_extract_all(tree, '"function_name":{{ name }}', 1) as functions
            from trees

        ),

        relations as (

            select
                ctes,
                unnest(schemas) as schema_name,
                unnest(tables) as table_name
            from parts

        ),

        called as (

            select distinct unnest(functions) as function_name from parts

        ),

        reasons as (

            select 'DuckDB cannot say what it reads' as reason
            from parts
            where
                starts_with(tree, '{"error":true')
                or len(tables) <> len(regexp_extract_all(tree, '"type":"BASE_TABLE"'))
                or len(tables) <> len(schemas)
            union all
            select 'it reads ' || schema_name || '.' || table_name
            from relations
            where
                {#- Unqualified, it is a CTE, unless it could be a table too. #}
                case
                    when schema_name = '' then
                        not list_contains(ctes, table_name)
                        or exists (
                            select 1 from information_schema.tables as others
                            where others.table_name = relations.table_name and others.table_schema = 'main'
                        )
                    else
                        lower(schema_name || '.' || table_name)
                        not in ({{ text_literals(known + ['']) | lower }})
                end
            union all
            select 'it reads another database'
            from parts
            where exists (
                select 1 from unnest(databases) as names (name)
                where lower(name) not in ('', {{ text_literals([this.database]) | lower }})
            )
            union all
            select 'it takes a sample'
            from parts
            where contains(tree, '"sample":{')
            union all
            select 'it reads a clock, or who runs it'
            from parts
            where regexp_matches(
                statement,
                '(?i)\b(current_(date|time|timestamp|user|role|catalog|schema)|local(time|timestamp)|session_user)\b'
            )
            union all
            select 'it calls ' || function_name
            from called
            where
                regexp_matches(
                    function_name,
                    '^(ago|age|now|today|user|txid_current|transaction_timestamp|in_search_path'
                    || '|(get_)?current_.*|local.*|session_.*|getvariable|nextval|currval|pg_.*)$'
                )
                or function_name not in ('error', 'unnest', 'range', 'generate_series') and not coalesce((
                    select bool_and(
                        internal
                        and function_type in ('scalar', 'aggregate', 'window', 'macro')
                        and stability is distinct from 'VOLATILE'
                        {%- if found.feeds %}
                        or {{ is_of_the_loader() }}
                        {%- endif %}
                    )
                    from duckdb_functions() as functions
                    where functions.function_name = called.function_name
                ), false)

        )

        select coalesce(string_agg(distinct reason, ', '), '') from reasons
    {%- endset -%}
    {{ return(run_query(query).rows[0][0]) }}
{% endmacro %}
