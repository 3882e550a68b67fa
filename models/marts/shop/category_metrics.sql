-- What each of the shop's categories sold.
-- Grain: one row per category, "Unknown" included when it sold; it has no rank.
with

-- With the categories that sold nothing.
categories as (

    select
        category,
        max(case when product_id = 'Unknown' then 0 else 1 end) as is_known
    from {{ ref('product_metrics') }}
    group by category

),

-- Products of a category share orders and are rounded each, so all is counted from the lines.
sales as (

    select
        category,
        sum(quantity) as units_sold,
        count(distinct order_id) as order_count,
        sum(total_price) as revenue,
        sum(total_price_usd) as revenue_usd,
        sum(case when total_price is not null and total_price_usd is null then 1 else 0 end)
            as lines_without_rate
    from {{ ref('order_lines') }}
    where is_sale
    group by category

),

measured as (

    select
        categories.category,
        categories.is_known,
        cast(coalesce(sales.units_sold, 0) as bigint) as units_sold,
        cast(coalesce(sales.order_count, 0) as bigint) as order_count,
        {{ money('case when sales.category is null then 0 else sales.revenue end') }} as revenue,
        {{ money('case when sales.category is null then 0 else sales.revenue_usd end') }} as revenue_usd,
        cast(coalesce(sales.lines_without_rate, 0) as bigint) as lines_without_rate
    from categories
    left join sales
        on categories.category = sales.category

),

placed as (

    select
        *,
        row_number() over (order by is_known desc, units_sold desc, category asc) as place
    from measured

),

ranked as (

    select
        category,
        '{{ var("shop_currency") }}' as currency,
        units_sold,
        order_count,
        revenue,
        revenue_usd,
        lines_without_rate,
        cast(case when is_known = 1 then place end as bigint) as units_rank
    from placed

)

select * from ranked
