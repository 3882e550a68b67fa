-- Jobs.
-- Grain: one row per job.
with

accepted as (

    {{ accepted_rows('jobs') }}

),

renamed as (

    select
        ---------- ids
        id as job_id,

        ---------- texts
        job,

        ---------- origin
        _file as source_file
    from accepted

)

select * from renamed
