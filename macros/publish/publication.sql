{#- Writes every mart as a Parquet file into a new folder below published/, and then lets readers
    see the folder. The files come from one transaction, so they fit each other. A mart of the same rows
    as in the snapshot that readers see keeps that one's file.

    The Python half is warehouse/publishing.py: it refuses what was not built and tested in this very
    run, locks the folder, writes the catalog, and writes the log last of all. Whatever fails before,
    and a killed process, leaves readers with the snapshot that they had. -#}


{% materialization publication, adapter='duckdb' %}

    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set old_relation = load_cached_relation(this) -%}

    {%- set snapshot = publishing('begin', {
        'publication': model.unique_id,
        'invocation_id': invocation_id,
    }) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- if old_relation is not none and not old_relation.is_table -%}
        {%- do adapter.drop_relation(old_relation) -%}
    {%- endif -%}
    {%- call statement('main') -%}
        create or replace table {{ target_relation }} as
        {{ sql }}
    {%- endcall -%}

    {%- set rows = {} -%}
    {%- for row in run_query('select mart, row_count from ' ~ target_relation).rows -%}
        {%- do rows.update({row[0]: row[1] | int}) -%}
    {%- endfor -%}
    {%- set columns, hashes, totals = {}, {}, {} -%}
    {%- for mart in snapshot.marts -%}
        {%- set query = sorted_mart(mart) -%}
        {%- set described = [] -%}
        {%- for row in run_query('describe ' ~ query).rows -%}
            {%- do described.append([row[0], row[1]]) -%}
        {%- endfor -%}
        {%- do columns.update({mart.name: described}) -%}
        {%- set sums = run_query(sums_of_mart(mart)).rows[0][0].split(' ') -%}
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
            {%- do run_query(copy_mart(query, mart.file)) -%}
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
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {%- do log(publishing('publish', {'rows': rows}), info=true) -%}

    {{ return({'relations': [target_relation]}) }}

{% endmaterialization %}


{% macro publishing(step, arguments={}) %}
    {#- Does one step in Python.
        Args: step: its name; arguments: what it needs. Returns what it answers. -#}
    {%- if not loads_plugin('warehouse.publishing') -%}
        {%- do exceptions.raise_compiler_error(
            'not published: the profile does not load the plugin warehouse.publishing; '
            ~ 'copy module_paths and plugins from profiles/profiles.yml'
        ) -%}
    {%- endif -%}
    {%- set call = dict(arguments, step=step) -%}
    {%- do adapter.store_relation('publishing', this, [], '', 'parquet', call) -%}
    {{ return(call.answer) }}
{% endmacro %}


{% macro sorted_mart(mart) %}
    {#- The columns of the contract, sorted by the grain: a reader who wants some days or one product
        then reads few row groups, and equal rows give an equal file. -#}
    select {{ mart.columns | map('tojson') | join(', ') }}
    from {{ mart.relation }}
    {%- for column in mart.grain %}
    {{ 'order by ' if loop.first }}{{ column | tojson }} nulls last{{ ',' if not loop.last }}
    {%- endfor -%}
{% endmacro %}


{% macro sums_of_mart(mart) %}
    {#- One text, since dbt would make numbers of several, with blanks between: `rows` and a sum that
        equal rows have in common, whatever their order, to compare the file with; then the totals
        that the mart declares, exact. -#}
    select
        'rows ' || coalesce(sum(hash({{ mart.columns | map('tojson') | join(', ') }})), 0)
        {%- for column in mart.totals or [] %}
        || ' ' || coalesce(sum({{ column | tojson }}), 0)
        {%- endfor %}
    from {{ mart.relation }}
{% endmacro %}


{% macro copy_mart(query, file) %}
    {#- Row groups of a third of DuckDB's default, so that more of a large mart can be left out. -#}
    copy (
        {{ query }}
    ) to {{ text_literals([file]) }} (format parquet, compression zstd, row_group_size 40960)
{% endmacro %}
