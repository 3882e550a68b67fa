-- Rows of all feeds that do not keep their contract, with every reason.
-- Grain: one row per rejected input row.
{% for feed in feed_names() %}
{%- set area = feed_area(feed) if execute %}
{%- for base in rejecting_models(feed) %}
select
    '{{ feed }}' as feed,
    '{{ area }}' as area,
    _file as file,
    _line_number as line_number,
    _reasons as reasons,
    _record as record
from {{ ref(base) }}
where _reasons is not null
{{ 'union all' if not loop.last }}
{% endfor %}
{{- 'union all' if not loop.last }}
{% endfor %}
