-- The shop's headline numbers over all its sales.
-- Grain: one row, also when there are no sales.
with

daily_sales as (

    select * from {{ ref('daily_sales') }}

),

busiest_day as (

    select
        date as busiest_date,
        order_count as busiest_date_orders
    from daily_sales
    order by order_count desc, date asc
    limit 1

),

-- Most demanded: by units.
top_product as (

    select
        product_id as top_product_id,
        name as top_product,
        units_sold as top_product_units,
        revenue as top_product_sales,
        revenue_usd as top_product_sales_usd
    from {{ ref('product_metrics') }}
    where units_rank = 1 and units_sold > 0

),

ranked_categories as (

    select
        max(case when units_rank = 1 then category end) as first_category,
        max(case when units_rank = 2 then category end) as second_category,
        max(case when units_rank = 3 then category end) as third_category
    from {{ ref('category_metrics') }}
    where units_sold > 0

),

top_categories as (

    select
        first_category
        || coalesce(' > ' || second_category, '')
        || coalesce(' > ' || third_category, '') as top_categories
    from ranked_categories

),

average_ticket as (

    select {{ safe_divide('sum(total_sales)', 'sum(order_count)') }} as average_ticket
    from daily_sales

),

fastest_growth as (

    select
        name as fastest_growing_product,
        date as fastest_growing_date,
        growth as fastest_growing_units
    from {{ ref('product_daily_growth') }}
    where growth > 0 and product_id <> 'Unknown'
    order by growth desc, date asc, name asc, product_id asc
    limit 1

),

joined as (

    select
        busiest_day.busiest_date,
        busiest_day.busiest_date_orders,

        top_product.top_product_id,
        top_product.top_product,
        top_product.top_product_units,
        top_product.top_product_sales,
        top_product.top_product_sales_usd,

        top_categories.top_categories,
        average_ticket.average_ticket,
        '{{ var("shop_currency") }}' as currency,

        fastest_growth.fastest_growing_product,
        fastest_growth.fastest_growing_date,
        fastest_growth.fastest_growing_units
    from average_ticket
    cross join top_categories
    left join busiest_day on true
    left join top_product on true
    left join fastest_growth on true

)

select * from joined
