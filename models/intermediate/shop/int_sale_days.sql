-- The shop's calendar: every day from the first sale to the last, also those without one.
-- Grain: one row per calendar day; none when there are no sales.
with

bounds as (

    select
        min(order_date) as first_day,
        max(order_date) as last_day
    from {{ ref('int_orders') }}
    where is_sale

),

days as (

    select {{ days_from_to('first_day', 'last_day') }} as date
    from bounds
    where first_day is not null

)

select * from days
