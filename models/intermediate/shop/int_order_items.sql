-- Order lines with the product's name, category and price.
-- Grain: one row per accepted order line.
-- A product that the catalogue does not have is "Unknown": it has units but no price.
{% set total = 'cast(quantity as decimal(18, 0)) * unit_price' %}
with

order_items as (

    select * from {{ ref('stg_order_items') }}

),

products as (

    select * from {{ ref('stg_products') }}

),

priced as (

    select
        order_items.order_id,
        order_items.product_id,
        products.product_id is not null as is_known_product,
        coalesce(products.name, 'Unknown') as product_name,
        coalesce(products.category, 'Unknown') as category,
        order_items.quantity,
        products.price as unit_price,
        order_items.line_date,
        order_items.source_file,
        order_items.source_line
    from order_items
    left join products
        on order_items.product_id = products.product_id

),

totalled as (

    select
        *,
        {{ strict_cast(total, 'decimal(18, 2)') }} as total_price
    from priced

)

select * from totalled
