-- Hires, with the business day of each; the name stays behind.
-- Grain: one row per hire.
with

accepted as (

    select * from {{ ref('base_hired_employees') }}
    where _reasons is null

),

renamed as (

    select
        ---------- ids
        id as hire_id,
        department_id,
        job_id,

        ---------- times
        datetime as hired_at,
        {{ business_date('datetime') }} as hire_date,

        ---------- origin
        _file as source_file
    from accepted

)

select * from renamed
