-- Conservation: the rows of each file, counted in the file itself before it was read, are all in
-- base_<feed>, and each of them is accepted or rejected: none is lost and none is counted twice.
-- Returns the files where the counts differ.
with

counted_rows as (
    {% for feed in feed_names() %}
    select
        '{{ feed }}' as feed,
        _file as file,
        count(*) as rows_stored
    from {{ ref('base_' ~ feed) }}
    group by _file
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

feed_files as (

    select * from {{ ref('int_feed_files') }}

)

select
    feed_files.feed,
    feed_files.file,
    feed_files.rows_read,
    counted_rows.rows_stored,
    feed_files.rows_accepted,
    feed_files.rows_rejected
from feed_files
left join counted_rows
    on feed_files.feed = counted_rows.feed and feed_files.file = counted_rows.file
where
    feed_files.rows_read <> coalesce(counted_rows.rows_stored, 0)
    or feed_files.rows_read <> feed_files.rows_accepted + feed_files.rows_rejected
