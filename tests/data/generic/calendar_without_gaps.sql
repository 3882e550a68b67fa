{% test calendar_without_gaps(model, column_name) %}
{#- Passes when every day from the first to the last is there. -#}
select
    min({{ column_name }}) as first_day,
    max({{ column_name }}) as last_day,
    count(distinct {{ column_name }}) as days
from {{ model }}
having
    count(distinct {{ column_name }})
    <> {{ dbt.datediff('min(' ~ column_name ~ ')', 'max(' ~ column_name ~ ')', 'day') }} + 1
{% endtest %}
