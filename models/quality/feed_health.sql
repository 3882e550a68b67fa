-- The state of each feed: what was read, what was accepted, what was not.
-- Grain: one row per feed, also for a feed without rows.
with

feeds as (
    {% for feed in feed_names() %}
    select '{{ feed }}' as feed
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

feed_files as (

    select * from {{ ref('int_feed_files') }}

),

unknown_references as (

    select
        feed,
        sum(unknown_rows) as unknown_references
    from {{ ref('stg_unknown_references') }}
    group by feed

),

lines_on_hold as (

    select
        'order_items' as feed,
        count(*) as rows_on_hold
    from {{ ref('stg_order_items') }} as order_items
    inner join {{ ref('int_orders_on_hold') }} as orders_on_hold
        on order_items.order_id = orders_on_hold.order_id

),

feed_totals as (

    select
        feed,
        count(*) as files,
        sum(rows_read) as rows_read,
        sum(rows_accepted) as rows_accepted,
        sum(rows_rejected) as rows_rejected,
        min(first_date) as first_date,
        max(last_date) as last_date,
        max(loaded_at) as last_loaded_at,
        max(case when is_sample then 1 else 0 end) = 1 as has_sample
    from feed_files
    group by feed

),

joined as (

    select
        ---------- ids
        feeds.feed,

        ---------- numbers
        cast(coalesce(feed_totals.files, 0) as bigint) as files,
        cast(coalesce(feed_totals.rows_read, 0) as bigint) as rows_read,
        cast(coalesce(feed_totals.rows_accepted, 0) as bigint) as rows_accepted,
        cast(coalesce(feed_totals.rows_rejected, 0) as bigint) as rows_rejected,
        cast(coalesce(unknown_references.unknown_references, 0) as bigint) as unknown_references,
        cast(coalesce(lines_on_hold.rows_on_hold, 0) as bigint) as rows_on_hold,

        ---------- flags
        coalesce(feed_totals.has_sample, false) as has_sample,

        ---------- times
        feed_totals.first_date,
        feed_totals.last_date,
        feed_totals.last_loaded_at
    from feeds
    left join feed_totals
        on feeds.feed = feed_totals.feed
    left join unknown_references
        on feeds.feed = unknown_references.feed
    left join lines_on_hold
        on feeds.feed = lines_on_hold.feed

)

select * from joined
