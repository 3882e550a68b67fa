-- Grain: one row per mart.
select 'days' as mart, count(*) as row_count from {{ ref('days') }}
union all
select 'readings' as mart, count(*) as row_count from {{ ref('readings') }}
union all
select 'stations' as mart, count(*) as row_count from {{ ref('stations') }}
union all
select 'totals' as mart, count(*) as row_count from {{ ref('totals') }}
