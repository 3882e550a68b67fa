-- Each order line with its product, its worth, and the rate of exchange of its day.
-- Grain: one row per order line, which is a line of a source file.
{{ config(
    materialized='kept_table',
    unique_key='order_id',
    key_from={
        'orders': ['order_id', keys_of_rejected('order_id')],
        'order_items': 'order_id',
        'products': 'orders_of_changed_products()',
        'fx_rates': 'orders_at_changed_rates()'
    },
    through=['int_orders'],
    tells='date'
) }}
with

int_order_items as (

    select * from {{ ref('int_order_items') }}
    {{ where_changed('order_id') }}

),

int_orders as (

    select * from {{ ref('int_orders') }}

),

int_usd_rates as (

    select * from {{ ref('int_usd_rates') }}

),

joined as (

    select
        ---------- ids
        int_order_items.order_id,
        int_order_items.product_id,

        ---------- texts
        int_order_items.product_name,
        int_order_items.category,
        int_orders.status,
        '{{ var("shop_currency") }}' as currency,

        ---------- numbers
        cast(int_order_items.quantity as bigint) as quantity,
        int_order_items.unit_price,
        int_order_items.total_price,
        int_usd_rates.fx_rate,
        {{ converted('int_order_items.total_price', 'int_usd_rates.fx_rate') }} as total_price_usd,

        ---------- flags
        int_order_items.is_known_product,
        int_orders.is_sale,

        ---------- times
        int_orders.order_date as date,
        int_usd_rates.fx_rate_date,

        ---------- origin
        int_order_items.source_file,
        cast(int_order_items.source_line as bigint) as source_line
    from int_order_items
    inner join int_orders
        on int_order_items.order_id = int_orders.order_id
    left join int_usd_rates
        on int_orders.order_date = int_usd_rates.order_date

)

select * from joined
