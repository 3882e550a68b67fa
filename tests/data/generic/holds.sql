{% test holds(model, condition, among='true') %}
{#- Passes when the condition is true in every row: a range, an accounting identity. A condition
    that is null does not hold; guard columns that may be missing with `among`.

    condition: a boolean SQL expression
    among:     a condition on the rows looked at; all by default -#}
select *
from {{ model }}
where
    ({{ among }})
    and not coalesce({{ condition }}, false)
{% endtest %}
