-- Grain: one row per station.
select
    station,
    any_value(build) as build,
    count(*) as readings,
    max(measured) as highest
from {{ ref('readings') }}
group by station
