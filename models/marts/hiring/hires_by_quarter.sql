-- Hires of each department and job by quarter.
-- Grain: one row per year, department and job that hired; ids are null for "Unknown".
with

hires as (

    select * from {{ ref('int_hires') }}

),

counted as (

    select
        ---------- ids
        year,
        department_id,
        job_id,

        ---------- texts
        department,
        job,

        ---------- numbers
        sum(case when quarter = 1 then 1 else 0 end) as q1,
        sum(case when quarter = 2 then 1 else 0 end) as q2,
        sum(case when quarter = 3 then 1 else 0 end) as q3,
        sum(case when quarter = 4 then 1 else 0 end) as q4,
        count(*) as total
    from hires
    group by year, department_id, job_id, department, job

),

flagged as (

    select
        year,
        cast(department_id as bigint) as department_id,
        department,
        cast(job_id as bigint) as job_id,
        job,
        cast(q1 as bigint) as q1,
        cast(q2 as bigint) as q2,
        cast(q3 as bigint) as q3,
        cast(q4 as bigint) as q4,
        total,
        department_id is null or job_id is null as is_unknown
    from counted

)

select * from flagged
