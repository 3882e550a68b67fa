{#- Schemas are named by layer alone (marts, staging, ...), so that people type
    `select * from marts.daily_sales`. A target with a schema of its own, such as one
    developer's on a shared engine, gets it as a prefix. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if custom_schema_name is none -%}
        {{ target.schema }}
    {%- elif target.schema == 'main' -%}
        {{ custom_schema_name | trim }}
    {%- else -%}
        {{ target.schema }}_{{ custom_schema_name | trim }}
    {%- endif -%}
{%- endmacro %}
