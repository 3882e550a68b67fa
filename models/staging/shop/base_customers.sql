-- Every row of customers as it came, cast by the contract, with the reasons for which it is rejected.
-- Grain: one row per input row.
{{ config(materialized='table') }}

{{ base_feed(source('landing', 'customers'), ref('customers')) }}
