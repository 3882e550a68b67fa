{% test adds_up_to(model, measure, to, to_measure=none, among='true', to_among='true', tolerance=0) %}
{#- Passes when a total of this model equals a total of another: vertical integrity against the
    accepted rows of a feed, horizontal integrity between marts.

    measure, to_measure: aggregate SQL expressions, such as sum(spend) or count(*);
                         to_measure is the same as measure unless given
    to:                  ref('...') of the other model
    among, to_among:     conditions on the rows of this and of the other
    tolerance:           the difference that still passes, for totals of rounded rows -#}
with

this_total as (

    select coalesce({{ measure }}, 0) as total
    from {{ model }}
    where 1 = 1 and ({{ among }})

),

other_total as (

    select coalesce({{ to_measure or measure }}, 0) as total
    from {{ to }}
    where 1 = 1 and ({{ to_among }})

)

select
    this_total.total,
    other_total.total as expected_total
from this_total
cross join other_total
where abs(this_total.total - other_total.total) > {{ tolerance }}
{% endtest %}
