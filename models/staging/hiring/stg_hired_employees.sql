-- Hires, with the business day of each; the name stays behind.
-- Grain: one row per hire.
with

accepted as (

    {{ accepted_rows('hired_employees') }}

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
