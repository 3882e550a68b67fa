-- Units of each product by day, and the change from the day before.
-- Grain: one row per product (and "Unknown", if it sold) and calendar day, zero-filled.
-- Growth is day to day on the calendar, not since the last day with a sale.
{{ config(
    materialized='kept_table',
    unique_key='date',
    key_from={
        'order_lines': 'days_told_and_the_next()',
        'int_orders': 'days_off_the_calendar()',
        'product_metrics': 'days_of_other_products()'
    },
    on_schema_change='fail'
) }}
with

sale_days as (

    select
        date,
        cast(date - interval '1' day as date) as previous_day,
        date = min(date) over () as is_first_day
    from {{ ref('int_sale_days') }}

),

days as (

    select * from sale_days
    {{ where_changed('date') }}

),

-- A day and the one before it are all that a day needs.
order_lines as (

    select * from {{ ref('order_lines') }}
    {{ where_changed('date', 'date + 1') }}

),

daily_units as (

    select
        date,
        case when is_known_product then product_id else 'Unknown' end as product_id,
        sum(quantity) as units
    from order_lines
    where is_sale
    group by date, case when is_known_product then product_id else 'Unknown' end

),

products as (

    select
        product_id,
        name
    from {{ ref('product_metrics') }}

),

zero_filled as (

    select
        days.date,
        products.product_id,
        products.name,
        cast(coalesce(daily_units.units, 0) as bigint) as units,
        case
            when not days.is_first_day then cast(coalesce(days_before.units, 0) as bigint)
        end as units_previous_day
    from days
    cross join products
    left join daily_units
        on
            days.date = daily_units.date
            and products.product_id = daily_units.product_id
    left join daily_units as days_before
        on
            days.previous_day = days_before.date
            and products.product_id = days_before.product_id

),

growth as (

    select
        ---------- ids
        date,
        product_id,

        ---------- texts
        name,

        ---------- numbers
        units,
        units_previous_day,
        units - units_previous_day as growth
    from zero_filled

)

select * from growth
