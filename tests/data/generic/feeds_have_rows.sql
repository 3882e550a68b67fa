{% test feeds_have_rows(model) %}
{#- Passes when every feed that has files of one's own has an accepted row. Says of each other feed which
    files it has, and what became of them; the number of rows that dbt reports helps nobody. -#}
{%- do ref('rejected_rows') -%}
{%- set failed -%}
select
    feeds.feed,
    files.file,
    case
        when files.state <> 'loaded' then 'is refused: it ' || files.reason
        when files.rows_read = 0 then 'has no row'
        else 'has no row that is accepted'
    end as fault
from {{ model }} as feeds
inner join {{ ref('stg_ingested_files') }} as files
    on feeds.feed = files.feed
where
    feeds.rows_accepted = 0
    and files.file like 'landing/%'
    and (files.is_present or files.state = 'loaded')
{%- endset -%}
{%- if execute and flags.WHICH in ['build', 'test'] -%}
    {%- set faults = {} -%}
    {%- for row in run_query(failed ~ ' order by feed, file').rows -%}
        {%- do faults.setdefault(row['feed'], []).append(row['file'] ~ ' ' ~ row['fault']) -%}
    {%- endfor -%}
    {%- for feed, files in faults.items() -%}
        {%- set shown = files[:3] | join('; ') ~ ('; and ' ~ (files | length - 3) ~ ' more' if files | length > 3) -%}
        {%- set reasons = frequent_reasons(feed) -%}
        {%- do log(
            'feed without rows: ' ~ feed ~ ': ' ~ shown ~ (' (' ~ reasons ~ ')' if reasons),
            info=true
        ) -%}
    {%- endfor -%}
{%- endif -%}
{{ failed }}
{% endtest %}
