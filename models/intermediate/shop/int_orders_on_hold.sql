-- Orders whose header was rejected, and no other header of theirs accepted: nobody knows whether they
-- are completed, so their lines wait until the header is mended.
-- Grain: one row per order.
with

rejected_orders as (

    select * from {{ ref('stg_rejected_orders') }}

),

orders as (

    select * from {{ ref('stg_orders') }}

),

on_hold as (

    select distinct rejected_orders.order_id
    from rejected_orders
    left join orders
        on rejected_orders.order_id = orders.order_id
    where orders.order_id is null

)

select * from on_hold
