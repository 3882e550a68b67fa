-- What each product sold on each day: what product_metrics and product_daily_growth add up.
-- Grain: one row per day and product that sold; products that the catalogue lacks are one "Unknown".
-- An order has one day, so its products' orders may be added over days; those of products may not.
{{ config(
    materialized='incremental',
    unique_key='date',
    key_from={'order_lines': 'days_told'},
    tells='date'
) }}
{{ sales_by_day("case when is_known_product then product_id else 'Unknown' end", 'product_id') }}
