-- Every row of departments as it came, cast by the contract, with the reasons for which it is rejected.
-- Grain: one row per input row, and per line that is none.
{{ config(materialized='feed') }}

{{ base_feed(source('landing', 'departments'), ref('departments')) }}
