{#- What a table was made from, so that a build can leave it alone when nothing of that changed.

    `landing.model_inputs` holds, for each table, its inputs and their versions as they were when it
    was made, written in the transaction that made it:

    definition       its SQL, its columns, and the SQL of every view that it reads through
    <feed>           the whole log of files of a feed that it reads
    <feed> <file>    one loaded file, where the table follows its feed file by file (key_from), or
                     those that do read it (is_made_of_files)
    <table>          all inputs of a table that it reads; those of a table that the same files tell
                     of (through, and the repeated keys of a feed) one by one, `<table>: <input>`

    Equal inputs make an equal table. A model that reads a clock, a file of its own or chance, or a view
    that does, is made in each build; so is one that reads what is not known here (`unknown`). -#}


{% macro reads_more_than_inputs() %}
    {#- A regular expression of SQL whose value no input tells. -#}
    {{- return(
        "(?i)\\b(read_\\w+|glob|now|today|random|uuid\\w*|gen_random_uuid|getenv|getvariable)\\s*\\("
        ~ "|\\bcurrent_(date|time|timestamp)\\b|\\bfrom\\s+'"
    ) -}}
{% endmacro %}


{% macro model_inputs() %}
    {{- return(landing_table('model_inputs')) -}}
{% endmacro %}


{% macro read_relations(node, found=none) %}
    {#- What a node reads, seen through views.
        Returns: {views: names with schema, feeds, seeds: relations, tables: names, unknown: ids}. -#}
    {%- set found = found or {'views': [], 'feeds': [], 'seeds': [], 'tables': [], 'unknown': []} -%}
    {%- for id in node.depends_on.nodes | sort -%}
        {%- set parent = graph.nodes.get(id) -%}
        {%- set made = parent.config.materialized if parent -%}
        {%- if made == 'view' -%}
            {%- set name = parent.schema ~ '.' ~ parent.name -%}
            {%- if name not in found.views -%}
                {%- do found.views.append(name) -%}
                {%- do read_relations(parent, found) -%}
            {%- endif -%}
        {%- elif made == 'feed' -%}
            {%- do found.feeds.append(parent.name.removeprefix('base_')) -%}
        {%- elif made == 'seed' -%}
            {%- do found.seeds.append(parent.relation_name) -%}
        {%- elif made in ['table', 'incremental'] -%}
            {%- do found.tables.append(parent.name) -%}
        {%- else -%}
            {%- do found.unknown.append(id) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}


{% macro current_inputs() %}
    {#- A query of the model's inputs as they are now. Columns: input, version. -#}
    {%- set found = read_relations(model) -%}
    {%- set followed = config.get('key_from', {}) -%}
    {%- set through = tables_of_the_same_files() -%}
    {%- set definition = local_md5(whole(sql) ~ tojson(model.columns, sort_keys=true)) -%}
    select
        'definition' as input,
        md5('{{ definition }}' || version() || coalesce(string_agg(md5(sql), '' order by schema_name, view_name), '')) as version
    from duckdb_views()
    where
        database_name = {{ text_literals([this.database]) }}
        and schema_name || '.' || view_name in ({{ text_literals(found.views or ['']) }})
    union all
    select 'more than inputs', '{{ invocation_id }}'
    where
        {{ 'true' if modules.re.search(reads_more_than_inputs(), sql) else 'false' }}
        or exists (
            select 1 from duckdb_views()
            where
                database_name = {{ text_literals([this.database]) }}
                and schema_name || '.' || view_name in ({{ text_literals(found.views or ['']) }})
                and regexp_matches(sql, {{ text_literals([reads_more_than_inputs()]) }})
        )
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
    {%- for seed in found.seeds | unique %}
    union all
    select {{ text_literals([seed]) }}, count(*) || ' ' || coalesce(sum(hash(seed)), 0)
    from {{ seed }} as seed
    {%- endfor %}
    {%- for table in found.tables | unique %}
    union all
        {%- if table in through %}
    select '{{ table }}: ' || input, version from {{ model_inputs() }}
    where model = '{{ table }}'
        {%- else %}
    select '{{ table }}', coalesce({{ identity() }}, '{{ invocation_id }}') from {{ model_inputs() }}
    where model = '{{ table }}'
        {%- endif %}
    {%- endfor %}
    {%- for id in found.unknown | unique %}
    union all
    select {{ text_literals([id]) }}, '{{ invocation_id }}'
    {%- endfor %}
{% endmacro %}


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
    {#- An aggregate over a model's rows of model_inputs: one text for all of them. -#}
    md5(string_agg(input || '=' || version, ';' order by input))
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
            where model = '{{ this.identifier }}'

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
    {{ return(rows) }}
{% endmacro %}


{% macro remember_inputs() %}
    {#- Note the inputs as they are now, in the transaction that makes the table. -#}
    {%- call statement('forget_inputs') -%}
        delete from {{ model_inputs() }}
        where model = '{{ this.identifier }}'
    {%- endcall -%}
    {%- call statement('remember_inputs') -%}
        insert into {{ model_inputs() }}
        select '{{ this.identifier }}', input, version
        from (
            {{ current_inputs() }}
        )
    {%- endcall -%}
{% endmacro %}
