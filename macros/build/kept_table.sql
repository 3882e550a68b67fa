{#- A table that is kept while all that it is made from is as it was (inputs.sql). Else it is made by
    dbt's own materialization `table`, so contract, constraints, indexes, grants, documentation and hooks
    are what dbt says. It has a name of its own, and dbt's `table` and `incremental` are left as they are.

    One with `key_from` follows its feeds file by file. The log of files says which files came, went or
    were replaced since the table was made; `key_from` says which keys of the table their rows tell. The
    rows of these keys are deleted and made anew, in one transaction, so that late rows, rows that move to
    another day and rows that are gone come out as in a rebuild. Whatever else changed (its SQL, a view, a
    setting, an input that tells no keys) makes the table as a whole; so do more keys than a tenth of its
    rows, and than 10,000.

    config, of those that follow their feeds:
        unique_key   the column whose values are deleted and made anew; never null
        key_from     {input: what tells its keys}: a column of the rows of a feed, or a list of
                     columns and expressions; 'days_told' for a table that `tells`; or a macro,
                     with (), that is given the changed input and gives a query of `changed_key`
        through      tables that it reads whose changes the same feeds tell
        tells        a column of days; those whose rows changed are kept for the tables that read this

    The model says with where_changed(column) what it keeps to the changed keys.

    On Spark the table is always made as a whole: Parquet has no delete, and a day's partition is no key. -#}


{% materialization kept_table, adapter='duckdb' %}

    {%- set changed = changed_inputs() -%}
    {%- if changed == [] -%}
        {%- do store_raw_result('main', message='UNCHANGED', code='UNCHANGED', rows_affected=0) -%}
        {{ return({'relations': [this.incorporate(type='table')]}) }}
    {%- endif -%}

    {%- set queries = queries_of_changed_keys(changed) if changed is not none and config.get('key_from') -%}
    {%- if queries and found_few_keys(queries) -%}
        {%- do make_changed() -%}
        {{ return({'relations': [this.incorporate(type='table')]}) }}
    {%- endif -%}

    {#- In this order, so that a build which is killed leaves a table that is made again. -#}
    {%- if changed is none or is_changed_by_hand(changed) -%}{%- do doubt() -%}{%- else -%}{%- do forget_inputs() -%}{%- endif -%}
    {%- set made = dbt.materialization_table_duckdb() -%}
    {%- set reads_more = reads_more_than_inputs() -%}
    {%- if reads_more -%}{%- do log(model.name ~ ' is made in each build: ' ~ reads_more) -%}{%- endif -%}
    {%- do remember_inputs(reads_more) -%}
    {%- if is_changed_by_hand(changed) -%}
        {%- do exceptions.warn(
            this.schema ~ '.' ~ this.identifier
            ~ ' was changed by hand since it was built, and was made anew'
        ) -%}
    {%- endif -%}
    {{ return(made) }}

{% endmaterialization %}


{% materialization kept_table, adapter='spark' %}

    {{ return(dbt.materialization_table_spark()) }}

{% endmaterialization %}


{% macro where_changed(column) %}
    {#- Keep to the rows in which the column, or one of more expressions, is a changed key. It is a comment,
        which make_changed() makes a condition of, so that the model means the whole table elsewhere. -#}
    {%- set conditions = [] -%}
    {%- for expression in (column,) + varargs -%}
        {%- do conditions.append(expression ~ ' in (select changed_key from ' ~ changed_keys() ~ ')') -%}
    {%- endfor -%}
    /* changed keys: where {{ conditions | join(' or ') }} */
{%- endmacro %}


{% macro only_changed(query) %}
    {{- return(modules.re.sub('/[*] changed keys: (.*?) [*]/', '\\1', query)) -}}
{% endmacro %}


{% macro changed_keys() %}
    {#- A temporary table of the connection that makes the model. -#}
    {{- return('temp.changed_keys') -}}
{% endmacro %}


{% macro changed_values() %}
    {#- What the tables that tell told last: model, from_version, to_version, changed_key. -#}
    {{- return(landing_table('changed_values')) -}}
{% endmacro %}


{% macro queries_of_changed_keys(changed) %}
    {#- Queries of the keys that the changed inputs tell; none when one of them tells none. -#}
    {%- set key_from, through = config.get('key_from', {}), tables_of_the_same_files() -%}
    {%- set files, gone, queries = {}, {}, [] -%}
    {%- for row in changed -%}
        {%- set parts = row['input'].split(': ') -%}
        {#- Which rows of a feed repeat a key is told by its files, too. -#}
        {%- set words = parts[-1].removeprefix('base_').removesuffix('_repeats').split(' ') -%}
        {%- if words[0] not in key_from or (parts | length > 1 and parts[0] not in through) -%}
            {%- do log(model.name ~ ' is made as a whole: ' ~ row['input'] ~ ' changed') -%}
            {{ return(none) }}
        {%- endif -%}
        {%- set how = key_from[words[0]] -%}
        {%- if how == 'days_told' -%}
            {%- do queries.append(days_told(row)) -%}
        {%- elif how is string and how.endswith('()') -%}
            {%- do queries.append(context[how.removesuffix('()')](row)) -%}
        {%- elif words | length < 2 -%}
            {%- do log(model.name ~ ' is made as a whole: ' ~ row['input'] ~ ' names no file') -%}
            {{ return(none) }}
        {%- else -%}
            {%- do files.setdefault(words[0], []).append(words[1]) -%}
            {%- if row['is_now'] is none -%}{%- do gone.setdefault(words[0], []).append(words[1]) -%}{%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for feed, ids in gone.items() -%}
        {#- Rows of a file that is gone stay in the table of the feed until it is tidied up. -#}
        {%- set kept = run_query(
            'select count(distinct _file_id) from ' ~ landing_table(feed)
            ~ ' where _file_id in (' ~ ids | unique | join(', ') ~ ')'
        ).rows[0][0] -%}
        {%- if kept < ids | unique | list | length -%}
            {%- do log(model.name ~ ' is made as a whole: rows of ' ~ feed ~ ' are tidied away') -%}
            {{ return(none) }}
        {%- endif -%}
    {%- endfor -%}
    {%- for feed, ids in files.items() -%}
        {%- for key in ([key_from[feed]] if key_from[feed] is string else key_from[feed]) -%}
            {%- do queries.append(
                'select ' ~ key ~ ' as changed_key from ' ~ landing_table(feed)
                ~ ' where _file_id in (' ~ ids | unique | join(', ') ~ ')'
            ) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(queries | unique | list) }}
{% endmacro %}


{% macro days_told(changed) %}
    {#- The days that a table told when it went from one version to the next. One that was made as a whole
        since, or twice, told nothing of that step. -#}
    {%- set step -%}
        from {{ changed_values() }}
        where
            model = {{ text_literals([read_relations(model).tables[changed['input']]]) }}
            and from_version = '{{ changed['was'] }}'
            and to_version = '{{ changed['is_now'] }}'
    {%- endset -%}
    {%- if run_query('select count(*) ' ~ step).rows[0][0] == 0 -%}
        {%- do log(model.name ~ ' is made as a whole: ' ~ changed['input'] ~ ' was') -%}
        {{ return('unknown') }}
    {%- endif -%}
    {{ return('select cast(changed_key as date) as changed_key ' ~ step) }}
{% endmacro %}


{% macro found_few_keys(queries) %}
    {#- Collect the changed keys; false when the table had better be made as a whole. -#}
    {%- if 'unknown' in queries -%}{{ return(false) }}{%- endif -%}
    {%- call statement('changed_keys') -%}
        create or replace temporary table {{ changed_keys() }} as
        select distinct changed_key
        from (
            {{ queries | join(' union all ') }}
        )
        where changed_key is not null
    {%- endcall -%}
    {%- set counted = run_query(
        'select (select count(*) from ' ~ changed_keys() ~ '), (select count(*) from ' ~ this ~ ')'
    ).rows[0] -%}
    {%- set are_few = counted[0] <= 10000 or counted[0] * 10 <= counted[1] -%}
    {%- if not are_few -%}{%- do run_statement('drop table ' ~ changed_keys()) -%}{%- endif -%}
    {{ return(are_few) }}
{% endmacro %}


{% macro make_changed() %}
    {#- Delete the rows of the changed keys, and insert them as they are now, in one transaction. There are
        no hooks to run: a model that has some is made as a whole. -#}
    {%- set key, told = config.require('unique_key'), config.get('tells') -%}
    {%- set of_changed_keys = ' where ' ~ key ~ ' in (select changed_key from ' ~ changed_keys() ~ ')' -%}
    {%- set told_values -%}
        insert into {{ changed_values() }}
        select distinct {{ text_literals([model_key()]) }}, null, null, cast({{ told }} as varchar) from {{ this }}
    {%- endset -%}
    {%- set query = only_changed(sql) -%}
    {%- if config.get('contract').enforced -%}{%- do get_assert_columns_equivalent(query) -%}{%- endif -%}
    {%- set before = table_identity() -%}
    {%- if told -%}
        {%- do run_statement('delete from ' ~ changed_values() ~ of_this_model()) -%}
        {%- do run_statement(told_values ~ of_changed_keys) -%}
    {%- endif -%}
    {%- do run_statement('delete from ' ~ this ~ of_changed_keys) -%}
    {%- call statement('main') -%}
        insert into {{ this }} by name
        {{ query }}
    {%- endcall -%}
    {%- do forget_inputs() -%}
    {%- do remember_inputs() -%}
    {%- if told -%}
        {%- do run_statement(told_values ~ of_changed_keys) -%}
        {#- One more, of no value, says that the step was told though no row changed. -#}
        {%- do run_statement(
            'insert into ' ~ changed_values() ~ ' (model) values (' ~ text_literals([model_key()]) ~ ')'
        ) -%}
        {%- do run_statement(
            'update ' ~ changed_values() ~ " set from_version = '" ~ before ~ "', to_version = '"
            ~ table_identity() ~ "'" ~ of_this_model()
        ) -%}
    {%- endif -%}
    {%- do run_statement('drop table ' ~ changed_keys()) -%}
    {%- do persist_docs(this, model) -%}
    {%- do adapter.commit() -%}
{% endmacro %}


{% macro run_statement(query) %}
    {%- call statement() -%}{{ query }}{%- endcall -%}
{% endmacro %}


{% macro table_identity() %}
    {{- return(run_query('select ' ~ identity() ~ ' from ' ~ model_inputs() ~ of_this_model()).rows[0][0]) -}}
{% endmacro %}
