{% test no_nulls(model, columns, among='true') %}
{#- Passes when none of the columns is null, in one pass over the table.

    columns: names
    among:   a condition on the rows looked at; all by default -#}
select
    {%- for column in columns %}
    sum(case when {{ adapter.quote(column) }} is null then 1 else 0 end) as {{ column }}_nulls{{ ',' if not loop.last }}
    {%- endfor %}
from {{ model }}
where 1 = 1 and ({{ among }})
having
    {%- for column in columns %}
    sum(case when {{ adapter.quote(column) }} is null then 1 else 0 end) > 0{{ ' or' if not loop.last }}
    {%- endfor %}
{% endtest %}
