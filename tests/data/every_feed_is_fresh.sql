{{ config(severity='error' if var('strict_freshness') else 'warn') }}
-- Feeds that got no new file for longer than the error_after of their contract. A feed that has the
-- sample alone is not asked: the sample never changes.
-- dbt build --vars '{strict_freshness: true}' fails where a feed is stale.
{%- set feeds = {} -%}
{%- for source in graph.sources.values()
    if execute and source.freshness and source.freshness.error_after.count -%}
{%- set age = {source.freshness.error_after.period ~ 's': source.freshness.error_after.count} -%}
{%- set oldest = run_started_at - modules.datetime.timedelta(**age) -%}
{%- do feeds.update({source.name: oldest.strftime('%Y-%m-%d %H:%M:%S')}) -%}
{%- endfor %}
with

loaded_files as (

    select
        feed,
        max(loaded_at) as last_loaded_at
    from {{ ref('stg_ingested_files') }}
    where
        state = 'loaded'
        and file not like 'seeds/%'
    group by feed

)

select
    feed,
    last_loaded_at
from loaded_files
where
    1 = 0
    {%- for feed, oldest in feeds.items() %}
    or (feed = '{{ feed }}' and last_loaded_at < cast('{{ oldest }}' as timestamp))
    {%- endfor %}
