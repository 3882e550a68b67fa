-- Valid rows of fx_rates whose key comes again in a newer file, or further down in the same one.
-- Grain: one row per row that does not count.
{{ config(materialized='kept_table', is_made_of_files=true) }}

{{ repeated_keys('fx_rates') }}
