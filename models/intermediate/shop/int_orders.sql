-- Orders by header, by lines, or both: what each is worth, its day, and whether it is a sale.
-- Grain: one row per order id found in headers or lines.
-- Rules (docs/decisions.md): only completed orders are sales; an order is worth its header's
-- total, else the sum of its lines; an order that exists only as lines counts as completed and is
-- dated by its first line, unless its header was rejected: then it is on hold, and no sale. Without any
-- date there is no day to book it on: it is no sale.
{{ config(
    materialized='kept_table',
    unique_key='order_id',
    key_from={'orders': ['order_id', keys_of_rejected('order_id')], 'order_items': 'order_id'}
) }}

with

orders as (

    select * from {{ ref('stg_orders') }}
    {{ where_changed('order_id') }}

),

order_lines as (

    select
        order_id,
        min(line_date) as first_line_date,
        sum(total_price) as lines_total,
        sum(quantity) as units
    from {{ ref('int_order_items') }}
    {{ where_changed('order_id') }}
    group by order_id

),

orders_on_hold as (

    select * from {{ ref('int_orders_on_hold') }}
    {{ where_changed('order_id') }}

),

combined as (

    select
        coalesce(orders.order_id, order_lines.order_id) as order_id,
        orders.customer_id,
        case
            when orders.order_id is not null then orders.status
            when orders_on_hold.order_id is not null then 'on_hold'
            else 'completed'
        end as status,
        case
            when orders.order_id is not null then orders.order_date
            else order_lines.first_line_date
        end as order_date,
        coalesce(orders.total_amount, order_lines.lines_total) as revenue,
        coalesce(order_lines.units, 0) as units
    from orders
    full outer join order_lines
        on orders.order_id = order_lines.order_id
    left join orders_on_hold
        on order_lines.order_id = orders_on_hold.order_id

),

typed as (

    select
        order_id,
        customer_id,
        status,
        order_date,
        status = 'completed' and order_date is not null as is_sale,
        {{ money('revenue') }} as revenue,
        cast(units as bigint) as units
    from combined

)

select * from typed
