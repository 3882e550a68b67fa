-- Every input row that no mart counts: where it stands, what it says, and why it was rejected.
-- Grain: one row per rejected input row.
with

rejected_rows as (

    select * from {{ ref('stg_rejected_rows') }}

),

typed as (

    select
        feed,
        area,
        file,
        cast(line_number as bigint) as line_number,
        reasons,
        record
    from rejected_rows

)

select * from typed
