-- Hires with the names of their department and job; without one, or with one that the feeds do
-- not have, the name is "Unknown" and the id is null.
-- Grain: one row per hire.
with

hires as (

    select * from {{ ref('stg_hired_employees') }}

),

departments as (

    select * from {{ ref('stg_departments') }}

),

jobs as (

    select * from {{ ref('stg_jobs') }}

),

joined as (

    select
        ---------- ids
        hires.hire_id,
        departments.department_id,
        jobs.job_id,

        ---------- texts
        coalesce(departments.department, 'Unknown') as department,
        coalesce(jobs.job, 'Unknown') as job,

        ---------- times
        cast(extract(year from hires.hire_date) as bigint) as year,
        cast(extract(quarter from hires.hire_date) as integer) as quarter
    from hires
    left join departments
        on hires.department_id = departments.department_id
    left join jobs
        on hires.job_id = jobs.job_id

)

select * from joined
