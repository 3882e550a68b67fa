-- Readings that all carry the number of their build, which the build finds in a file: a variable of
-- dbt or of the environment would make dbt parse the project anew.
-- Grain: one row per reading.
with build as (
    select
        number,
        is_good
    from read_csv('build.csv', columns = { 'number': 'bigint', 'is_good': 'boolean' })
)

select
    build.number as build,
    build.is_good,
    readings.reading,
    'station ' || (readings.reading % 40) as station,
    timestamp '2026-01-01' + interval 1 minute * (readings.reading * 7 + build.number) as taken_at,
    cast((hash(readings.reading, build.number) % 10000000) / 100 as decimal(18, 2)) as measured,
    if(readings.reading % 11 = build.number % 11, null, 'note, "' || build.number || '"') as note
from build
cross join range(6000) as readings(reading)
