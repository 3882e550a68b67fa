-- Headers of the shop's orders, with the business day of each.
-- Grain: one row per order.
with

accepted as (

    {{ accepted_rows('orders') }}

),

renamed as (

    select
        ---------- ids
        order_id,
        customer_id,

        ---------- texts
        status,

        ---------- numbers
        total_amount,

        ---------- times
        order_date as ordered_at,
        {{ business_date('order_date') }} as order_date,

        ---------- origin
        _file as source_file
    from accepted

)

select * from renamed
