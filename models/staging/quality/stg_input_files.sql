-- What was read from each file, counted before anything is left out.
-- Grain: one row per feed and file that gave rows.
{% for feed in feed_names() %}
{%- set day = feed_day(feed) if execute %}
select
    '{{ feed }}' as feed,
    _file as file,
    count(*) as rows_read,
    min(case when _reasons is null then {{ day }} end) as first_date,
    max(case when _reasons is null then {{ day }} end) as last_date,
    max(_loaded_at) as loaded_at
from {{ ref('base_' ~ feed) }}
group by _file
{{ 'union all' if not loop.last }}
{% endfor %}
