{#- How Spark writes literals. Macros of dbt's own that it asks for by these names. -#}


{#- A backslash is an escape there: a quote in JSON would lose it. -#}
{% macro spark__escape_single_quotes(expression) -%}
{{ expression | replace('\\', '\\\\') | replace("'", "\\'") }}
{%- endmacro %}


{#- Rows of unit tests may have lists of text; dbt would write them as Python does. -#}
{% macro spark__safe_cast(field, type) -%}
    {%- if field is sequence and field is not string -%}
        cast(array({{ text_literals(field) }}) as {{ type }})
    {%- else -%}
        {{ dbt.spark__safe_cast(field, type) }}
    {%- endif -%}
{%- endmacro %}
