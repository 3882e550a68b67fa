-- The load log of all feeds: each file that was ever seen, what became of it, what was read from it.
-- Grain: one row per feed and file.
{% for feed in feed_names() %}
{%- do ref('base_' ~ feed) %}
{%- set is_sample = 'false' if is_reference(feed) else "file not like 'landing/%'" %}
select
    '{{ feed }}' as feed,
    file,
    {{ is_sample }} as is_sample,
    state,
    reason,
    size_bytes,
    modified_ns,
    content_hash,
    rows_read,
    rows_rejected as rows_invalid,
    first_date,
    last_date,
    change,
    notes,
    is_present,
    loaded_at,
    run_id
from {{ landing_table(feed ~ '_files') }}
{{ 'union all' if not loop.last }}
{% endfor %}
