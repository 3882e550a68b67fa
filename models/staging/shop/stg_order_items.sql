-- Lines of the shop's orders, with the business day of each.
-- Grain: one row per order line.
with

accepted as (

    select * from {{ ref('base_order_items') }}
    where _reasons is null

),

renamed as (

    select
        ---------- ids
        order_id,
        product_id,

        ---------- numbers
        quantity,

        ---------- times
        ordered_at,
        {{ business_date('ordered_at') }} as line_date,

        ---------- origin
        _file as source_file,
        _line_number as source_line
    from accepted

)

select * from renamed
