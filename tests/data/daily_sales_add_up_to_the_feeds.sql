-- Vertical integrity of the shop's revenue: the days add up to the totals of the accepted
-- completed headers, and the lines of orders that have no header, rejected or accepted, all taken from
-- staging.
with

header_revenue as (

    select coalesce(sum(total_amount), 0) as revenue
    from {{ ref('stg_orders') }}
    where status = 'completed'

),

headerless_orders as (

    select
        order_items.order_id,
        sum(order_items.quantity * products.price) as revenue,
        min(order_items.line_date) as first_line_date
    from {{ ref('stg_order_items') }} as order_items
    left join {{ ref('stg_products') }} as products
        on order_items.product_id = products.product_id
    left join {{ ref('stg_orders') }} as orders
        on order_items.order_id = orders.order_id
    left join {{ ref('int_orders_on_hold') }} as orders_on_hold
        on order_items.order_id = orders_on_hold.order_id
    where orders.order_id is null and orders_on_hold.order_id is null
    group by order_items.order_id

),

headerless_revenue as (

    select coalesce(sum(revenue), 0) as revenue
    from headerless_orders
    where first_line_date is not null

),

mart as (

    select coalesce(sum(total_sales), 0) as revenue
    from {{ ref('daily_sales') }}

)

select
    mart.revenue,
    header_revenue.revenue + headerless_revenue.revenue as expected_revenue
from mart
cross join header_revenue
cross join headerless_revenue
where mart.revenue <> header_revenue.revenue + headerless_revenue.revenue
