-- Hires of each department by year against the mean of the departments that hired that year.
-- Grain: one row per year and department that hired; hires without a known department are left out.
with

hires as (

    select * from {{ ref('int_hires') }}
    where department_id is not null

),

by_department as (

    select
        year,
        department_id,
        department,
        count(*) as hired
    from hires
    group by year, department_id, department

),

by_year as (

    select
        year,
        sum(hired) as all_hired,
        count(*) as hiring_departments
    from by_department
    group by year

),

compared as (

    select
        by_department.year,
        cast(by_department.department_id as bigint) as id,
        by_department.department,
        by_department.hired,
        {{ safe_divide('by_year.all_hired', 'by_year.hiring_departments') }} as mean_hired,
        -- Against the mean itself, not its two decimals.
        by_department.hired * by_year.hiring_departments > by_year.all_hired as is_above_mean
    from by_department
    inner join by_year
        on by_department.year = by_year.year

)

select * from compared
