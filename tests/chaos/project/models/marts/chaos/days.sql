-- Grain: one row per day.
select
    cast(taken_at as date) as day,
    any_value(build) as build,
    count(*) as readings,
    cast(sum(measured) as decimal(18, 2)) as total
from {{ ref('stg_readings') }}
group by day
