-- Jobs.
-- Grain: one row per job.
with

accepted as (

    select * from {{ ref('base_jobs') }}
    where _reasons is null

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
