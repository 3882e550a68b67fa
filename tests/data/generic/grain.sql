{% test grain(model) %}
{#- Passes when no two rows share the grain that the model declares (meta: grain: [columns]).
    Nulls count as equal: "Unknown" without an id is one member. A grain of [] is one row. -#}
{%- if execute -%}
    {%- set columns = declared_grain(model.identifier) -%}
    {%- if columns %}
select
    {{ columns | join(',\n    ') }},
    count(*) as row_count
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
    {%- else %}
select count(*) as row_count
from {{ model }}
having count(*) <> 1
    {%- endif -%}
{%- endif -%}
{% endtest %}
