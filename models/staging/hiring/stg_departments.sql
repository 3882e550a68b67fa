-- Departments.
-- Grain: one row per department.
with

accepted as (

    {{ accepted_rows('departments') }}

),

renamed as (

    select
        ---------- ids
        id as department_id,

        ---------- texts
        department,

        ---------- origin
        _file as source_file
    from accepted

)

select * from renamed
