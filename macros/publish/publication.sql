{#- Writes every mart as a Parquet file into a new folder below published/, and then lets readers
    see the folder. A mart of the same rows as in the snapshot that readers see keeps that one's file.
    On DuckDB the files come from one transaction, so they fit each other; on Spark nothing else writes
    the marts while a build does.

    The Python half is warehouse/publishing.py: it skips what was not built and tested in this very
    run, with a line that says why, locks the folder, writes the catalog, and writes the log last of all. Whatever fails before,
    and a killed process, leaves readers with the snapshot that they had. -#}


{% materialization publication, adapter='duckdb' %}
    {{ return(publish_marts()) }}
{% endmaterialization %}


{% materialization publication, adapter='spark' %}
    {{ return(publish_marts()) }}
{% endmaterialization %}


{% macro publish_marts() %}

    {%- set target_relation = this.incorporate(type='table') -%}

    {%- set snapshot = publishing('begin', {
        'publication': model.unique_id,
        'invocation_id': invocation_id,
    }) -%}
    {%- if snapshot.skipped -%}
        {%- do store_raw_result('main', message='SKIPPED: ' ~ snapshot.skipped, code='SKIPPED', rows_affected=0) -%}
        {{ return({'relations': []}) }}
    {%- endif -%}

    {%- if snapshot.feed_health -%}
        {%- set feeds = [] -%}
        {%- for row in run_query(
            'select feed, files, case when has_sample then 1 else 0 end from ' ~ snapshot.feed_health
        ).rows -%}
            {%- do feeds.append([row[0], row[1] | int, row[2] | int == 1]) -%}
        {%- endfor -%}
        {%- do publishing('look_at_feeds', {'feeds': feeds}) -%}
    {%- endif -%}

    {%- do run_hooks(pre_hooks, inside_transaction=False) -%}
    {%- do run_hooks(pre_hooks, inside_transaction=True) -%}

    {%- do drop_relation_if_exists(load_cached_relation(this)) -%}
    {%- call statement('main') -%}
        {{ create_table_as(False, target_relation, sql) }}
    {%- endcall -%}

    {%- set rows = {} -%}
    {%- for row in run_query('select mart, row_count from ' ~ target_relation).rows -%}
        {%- do rows.update({row[0]: row[1] | int}) -%}
    {%- endfor -%}
    {%- set columns, hashes, totals = {}, {}, {} -%}
    {%- for mart in snapshot.marts -%}
        {%- set query = sorted_mart(mart) -%}
        {%- set described = columns_of_query(query, mart) -%}
        {%- do columns.update({mart.name: described}) -%}
        {%- set sums = run_query(sums_of_mart(mart, described)).rows[0][0].split(' ') -%}
        {%- do hashes.update({mart.name: sums[:2] | join(' ')}) -%}
        {%- if mart.totals is not none -%}
            {%- do totals.update({mart.name: dict(zip(mart.totals, sums[2:]))}) -%}
        {%- endif -%}
        {%- set is_kept = publishing('keep', {
            'mart': mart.name,
            'rows': rows.get(mart.name),
            'columns': described,
            'hashes': hashes[mart.name],
        }) -%}
        {%- if not is_kept -%}
            {%- do copy_mart(query, mart) -%}
        {%- endif -%}
    {%- endfor -%}

    {%- set values = {} -%}
    {%- for name in snapshot.vars -%}
        {%- do values.update({name: var(name)}) -%}
    {%- endfor -%}
    {%- do publishing('write_catalog', {
        'rows': rows, 'columns': columns, 'hashes': hashes, 'totals': totals, 'vars': values,
    }) -%}

    {%- do persist_docs(target_relation, model) -%}
    {%- do run_hooks(post_hooks, inside_transaction=True) -%}
    {%- do adapter.commit() -%}
    {%- do run_hooks(post_hooks, inside_transaction=False) -%}

    {%- do log(publishing('publish', {'rows': rows}), info=true) -%}

    {{ return({'relations': [target_relation]}) }}

{% endmacro %}


{% macro publishing(step, arguments={}) %}
    {#- Does one step in Python.
        Args: step: its name; arguments: what it needs. Returns what it answers. -#}
    {%- do require_plugin('warehouse.publishing') -%}
    {%- set call = dict(arguments, step=step) -%}
    {%- do adapter.store_relation('publishing', this, [], '', 'parquet', call) -%}
    {{ return(call.answer) }}
{% endmacro %}


{% macro sorted_mart(mart) %}
    {#- The columns of the contract, sorted by the grain: a reader who wants some days or one product
        then reads few row groups, and equal rows give an equal file. -#}
    select {{ in_one_file() }} {{ quoted_names(mart.columns) }}
    from {{ mart.relation }}
    {%- for column in mart.grain %}
    {{ 'order by ' if loop.first }}{{ adapter.quote(column) }} nulls last{{ ',' if not loop.last }}
    {%- endfor -%}
{% endmacro %}


{% macro quoted_names(names) %}
    {%- for name in names -%}
        {{ adapter.quote(name) }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{% endmacro %}


{% macro in_one_file() %}
    {#- What a query says after `select`, so that its rows come in one file. -#}
    {{- return(adapter.dispatch('in_one_file')()) -}}
{% endmacro %}

{% macro duckdb__in_one_file() %}{% endmacro %}

{#- One task reads, sorts and writes; without it, each task of the sort writes a file of its own. -#}
{% macro spark__in_one_file() -%}
    /*+ coalesce(1) */
{%- endmacro %}


{% macro columns_of_query(query, mart) %}
    {#- Names and types of a query's columns, as DuckDB calls the types: readers have DuckDB. -#}
    {{- return(adapter.dispatch('columns_of_query')(query, mart)) -}}
{% endmacro %}

{% macro duckdb__columns_of_query(query, mart) %}
    {{ return(described_columns('describe ' ~ query)) }}
{% endmacro %}

{% macro spark__columns_of_query(query, mart) %}
    {{ return(publishing('types', {
        'mart': mart.name, 'columns': described_columns('describe query ' ~ query),
    })) }}
{% endmacro %}


{% macro described_columns(description) %}
    {%- set columns = [] -%}
    {%- for row in run_query(description).rows -%}
        {%- do columns.append([row[0], row[1]]) -%}
    {%- endfor -%}
    {{ return(columns) }}
{% endmacro %}


{% macro sums_of_mart(mart, columns) %}
    {#- One text, since dbt would make numbers of several, with blanks between: a word and a sum that
        equal rows have in common, whatever their order, to compare the file with; then the totals
        that the mart declares, exact. -#}
    {{- return(adapter.dispatch('sums_of_mart')(mart, columns)) -}}
{% endmacro %}

{% macro duckdb__sums_of_mart(mart, columns) %}
    select
        'rows ' || coalesce(sum(hash({{ quoted_names(mart.columns) }})), 0)
        {%- for column in mart.totals or [] %}
        || ' ' || coalesce(sum({{ adapter.quote(column) }}), 0)
        {%- endfor %}
    from {{ mart.relation }}
{% endmacro %}

{#- DuckDB reads the file back, and has not Spark's hash: both make texts of the rows. -#}
{% macro spark__sums_of_mart(mart, columns) %}
    {{ return(publishing('sums', {
        'relation': mart.relation, 'columns': columns, 'totals': mart.totals or [],
    })) }}
{% endmacro %}


{% macro copy_mart(query, mart) %}
    {#- Row groups of a third of DuckDB's default, so that more of a large mart can be left out. -#}
    {{- return(adapter.dispatch('copy_mart')(query, mart)) -}}
{% endmacro %}

{% macro duckdb__copy_mart(query, mart) %}
    {%- do run_query(
        'copy (' ~ query ~ ') to ' ~ text_literals([mart.file])
        ~ ' (format parquet, compression zstd, row_group_size 40960)'
    ) -%}
{% endmacro %}

{% macro spark__copy_mart(query, mart) %}
    {%- do publishing('copy', {'query': query, 'file': mart.file}) -%}
{% endmacro %}
