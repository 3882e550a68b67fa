-- Units of each product by day, and the change from the day before.
-- Grain: one row per product (and "Unknown", if it sold) and calendar day, zero-filled.
-- Growth is day to day on the calendar, not since the last day with a sale.
with

int_sale_days as (

    select * from {{ ref('int_sale_days') }}

),

products as (

    select
        product_id,
        name
    from {{ ref('product_metrics') }}

),

daily_units as (

    select
        date,
        case when is_known_product then product_id else 'Unknown' end as product_id,
        sum(quantity) as units
    from {{ ref('order_lines') }}
    where is_sale
    group by date, case when is_known_product then product_id else 'Unknown' end

),

zero_filled as (

    select
        int_sale_days.date,
        products.product_id,
        products.name,
        cast(coalesce(daily_units.units, 0) as bigint) as units
    from int_sale_days
    cross join products
    left join daily_units
        on
            int_sale_days.date = daily_units.date
            and products.product_id = daily_units.product_id

),

with_previous_day as (

    select
        *,
        lag(units) over (partition by product_id order by date) as units_previous_day
    from zero_filled

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
    from with_previous_day

)

select * from growth
