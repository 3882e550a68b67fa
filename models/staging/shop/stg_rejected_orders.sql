-- Ids of orders whose header was rejected, in whatever file.
-- Grain: one row per rejected header and id; of one that is a broken line, whatever in it may be the id.
with

rejected as (

    select * from {{ ref('base_orders') }}
    where _reasons is not null

),

named as (

    select {{ one_row_each(keys_in_record('_record', 'order_id')) }} as order_id
    from rejected

)

select * from named
