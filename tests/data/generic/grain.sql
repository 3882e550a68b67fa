{% test grain(model) %}
{#- Passes when no two rows share the grain that the model declares (meta: grain: [columns]).
    Nulls count as equal: "Unknown" without an id is one member. A grain of [] is one row.

    Several columns are compared by one number first, which takes half the time on large tables; rows
    whose numbers agree are then compared by the columns. -#}
{%- if execute -%}
    {%- set columns = declared_grain(model.identifier) -%}
    {%- if columns %}
select
    {{ columns | join(',\n    ') }},
    count(*) as row_count
from {{ model }}
        {%- if columns | length > 1 %}
where {{ row_hash(columns) }} in (
    select {{ row_hash(columns) }}
    from {{ model }}
    group by {{ row_hash(columns) }}
    having count(*) > 1
)
        {%- endif %}
group by {{ columns | join(', ') }}
having count(*) > 1
    {%- else %}
select count(*) as row_count
from {{ model }}
having count(*) <> 1
    {%- endif -%}
{%- endif -%}
{% endtest %}
