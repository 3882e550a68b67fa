-- Valid rows of customers whose key comes again in a newer file, or further down in the same one.
-- Grain: one row per row that does not count.
{{ config(materialized='table') }}

{{ repeated_keys('customers') }}
