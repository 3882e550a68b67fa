-- Grain: one row in all.
select
    any_value(stations.build) as build,
    cast(sum(stations.readings) as bigint) as readings,
    (select bool_and(readings.is_good) from {{ ref('readings') }} as readings) as is_good
from {{ ref('stations') }} as stations
