-- Each file's rows by what became of them: read as counted in the file, accepted as counted in staging,
-- rejected as kept.
-- Grain: one row per feed and file that is loaded.
{{ config(materialized='kept_table') }}
with

ingested_files as (

    select * from {{ ref('stg_ingested_files') }}
    where state = 'loaded'

),

rejected_rows as (

    select * from {{ ref('stg_rejected_rows') }}

),

accepted_files as (
    {% for feed in feed_names() %}
    select
        '{{ feed }}' as feed,
        source_file as file,
        count(*) as rows_accepted
    from {{ ref('stg_' ~ feed) }}
    group by source_file
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

rejected_files as (

    select
        feed,
        file,
        count(*) as rows_rejected
    from rejected_rows
    group by feed, file

),

joined as (

    select
        ingested_files.feed,
        ingested_files.file,
        ingested_files.is_sample,
        ingested_files.rows_read,
        coalesce(accepted_files.rows_accepted, 0) as rows_accepted,
        coalesce(rejected_files.rows_rejected, 0) as rows_rejected,
        ingested_files.first_date,
        ingested_files.last_date,
        ingested_files.loaded_at
    from ingested_files
    left join accepted_files
        on ingested_files.feed = accepted_files.feed and ingested_files.file = accepted_files.file
    left join rejected_files
        on ingested_files.feed = rejected_files.feed and ingested_files.file = rejected_files.file

)

select * from joined
