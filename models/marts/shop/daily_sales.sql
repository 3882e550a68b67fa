-- Sales of the shop by day: what was sold, in how many orders, for how much.
-- Grain: one row per calendar day from the first sale to the last, without gaps.
{% set usd = sum_converted('daily_totals.total_sales', 'int_usd_rates.fx_rate') %}
with

int_sale_days as (

    select * from {{ ref('int_sale_days') }}

),

int_usd_rates as (

    select * from {{ ref('int_usd_rates') }}

),

sales as (

    select * from {{ ref('int_orders') }}
    where is_sale

),

order_totals as (

    select
        order_date,
        sum(revenue) as total_sales,
        count(*) as order_count,
        sum(units) as units
    from sales
    group by order_date

),

daily_totals as (

    select
        int_sale_days.date,
        {{ money('coalesce(order_totals.total_sales, 0)') }} as total_sales,
        cast(coalesce(order_totals.order_count, 0) as bigint) as order_count,
        cast(coalesce(order_totals.units, 0) as bigint) as units
    from int_sale_days
    left join order_totals
        on int_sale_days.date = order_totals.order_date

),

converted as (

    select
        daily_totals.date,
        daily_totals.total_sales,
        '{{ var("shop_currency") }}' as currency,
        daily_totals.order_count,
        {{ safe_divide('daily_totals.total_sales', 'daily_totals.order_count') }} as average_order_value,
        daily_totals.units,
        -- Nothing sold is nothing in every currency; a sale without a rate is unknown.
        case when daily_totals.total_sales = 0 then {{ money('0') }} else {{ usd }} end as total_sales_usd
    from daily_totals
    left join int_usd_rates
        on daily_totals.date = int_usd_rates.order_date

)

select * from converted
