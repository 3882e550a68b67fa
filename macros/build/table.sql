{#- A table is made anew only when something that it is made from changed (inputs.sql); --full-refresh
    makes it anew in any case, and so does a Python model, whose inputs nobody knows. Tests run in every
    build. -#}


{% materialization table, adapter='duckdb', supported_languages=['sql', 'python'] %}

    {%- if model.language == 'sql' and changed_inputs() == [] -%}
        {{ return(kept_table()) }}
    {%- endif -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if model.language == 'sql' -%}
        {%- do make_whole() -%}
    {%- else -%}
        {#- Here and not in a macro: dbt takes a Python job from nowhere else. -#}
        {%- set new_table = make_intermediate_relation(this.incorporate(type='table')) -%}
        {%- do drop_relation_if_exists(load_cached_relation(new_table)) -%}
        {%- call statement('main', language='python') -%}
            {{- create_table_as(False, new_table, compiled_code, 'python') }}
        {%- endcall -%}
        {%- do put_in_place(new_table) -%}
    {%- endif -%}
    {{ return(made_table()) }}

{% endmaterialization %}


{% macro made_table() %}
    {#- The end of a materialization that made the table, or changed it. -#}
    {%- do persist_docs(this, model) -%}
    {%- do run_hooks(post_hooks, inside_transaction=True) -%}
    {%- do adapter.commit() -%}
    {%- do run_hooks(post_hooks, inside_transaction=False) -%}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmacro %}


{% macro kept_table() %}
    {#- The end of a materialization that has nothing to do. -#}
    {%- do store_raw_result('main', message='UNCHANGED', code='UNCHANGED', rows_affected=0) -%}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmacro %}


{% macro make_whole() %}
    {#- Make the table from all that it reads. -#}
    {%- set new_table = make_intermediate_relation(this.incorporate(type='table')) -%}
    {%- do drop_relation_if_exists(load_cached_relation(new_table)) -%}
    {%- call statement('main') -%}
        {{ create_table_as(False, new_table, whole(sql)) }}
    {%- endcall -%}
    {%- do put_in_place(new_table) -%}
    {%- do remember_inputs() -%}
{% endmacro %}


{% macro put_in_place(new_table) %}
    {#- Let a new table take the place of the old one, in the same transaction. -#}
    {%- do drop_relation_if_exists(load_cached_relation(this)) -%}
    {%- do adapter.rename_relation(new_table, this.incorporate(type='table')) -%}
{% endmacro %}
