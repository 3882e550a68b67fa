-- Conservation: each file's rows, counted in the seed itself, are accepted or rejected, none is
-- lost and none is counted twice. Returns the files where the counts differ.
with

input_rows as (
    {% for feed in feed_names() %}
    select
        '{{ feed }}' as feed,
        count(*) as rows_in
    from {{ ref(feed) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

feed_files as (

    select
        feed,
        sum(rows_read) as rows_read,
        sum(rows_accepted) as rows_accepted,
        sum(rows_rejected) as rows_rejected
    from {{ ref('int_feed_files') }}
    group by feed

)

select
    input_rows.feed,
    input_rows.rows_in,
    feed_files.rows_read,
    feed_files.rows_accepted,
    feed_files.rows_rejected
from input_rows
left join feed_files
    on input_rows.feed = feed_files.feed
where
    input_rows.rows_in <> coalesce(feed_files.rows_read, 0)
    or input_rows.rows_in <> coalesce(feed_files.rows_accepted + feed_files.rows_rejected, 0)
