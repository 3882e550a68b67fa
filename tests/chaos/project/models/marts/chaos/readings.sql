-- Grain: one row per reading.
select
    build,
    reading,
    station,
    taken_at,
    measured,
    is_good,
    note
from {{ ref('stg_readings') }}
