-- The shop's catalogue.
-- Grain: one row per product.
with

accepted as (

    {{ accepted_rows('products') }}

),

renamed as (

    select
        ---------- ids
        product_id,

        ---------- texts
        name,
        category,

        ---------- numbers
        price,
        inventory_count,

        ---------- origin
        _file as source_file
    from accepted

)

select * from renamed
