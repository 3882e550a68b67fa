-- What each category sold on each day: what category_metrics adds up.
-- Grain: one row per day and category that sold.
-- Products of a category share orders, so its orders are counted here and not taken from them.
{{ config(
    materialized='incremental',
    unique_key='date',
    key_from={'order_lines': 'days_told'}
) }}
{{ sales_by_day('category', 'category') }}
