-- Sales of the marketplace, with the business day of each.
-- Grain: one row per item sold; id_order repeats.
with

accepted as (

    select * from {{ ref('base_sales') }}
    where _reasons is null

),

renamed as (

    select
        ---------- ids
        id_order,
        id_product,
        id_buyer,
        id_seller,
        id_seller_country,
        id_buyer_country,

        ---------- texts
        brand,
        coalesce(category, 'Unknown') as category,

        ---------- numbers
        revenue,

        ---------- times
        date_payment as paid_at,
        {{ business_date('date_payment') }} as payment_date,

        ---------- origin
        _file as source_file
    from accepted

)

select * from renamed
