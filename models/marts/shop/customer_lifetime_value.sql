-- What each customer spent, with or without orders.
-- Grain: one row per customer, plus one "Unknown" for sales whose customer is not in the feed.
-- "Unknown" is no customer: it has no rank.
with

customers as (

    select * from {{ ref('stg_customers') }}

),

-- By the customer that the order names, before the members are looked up: there are fewer.
spending_by_id as (

    select
        customer_id,
        sum(revenue) as total_spent,
        count(*) as order_count,
        min(order_date) as first_order_date,
        max(order_date) as last_order_date
    from {{ ref('int_orders') }}
    where is_sale
    group by customer_id

),

spending as (

    select
        coalesce(customers.customer_id, 'Unknown') as member_id,
        coalesce(sum(spending_by_id.total_spent), 0) as total_spent,
        sum(spending_by_id.order_count) as order_count,
        min(spending_by_id.first_order_date) as first_order_date,
        max(spending_by_id.last_order_date) as last_order_date
    from spending_by_id
    left join customers
        on spending_by_id.customer_id = customers.customer_id
    group by coalesce(customers.customer_id, 'Unknown')

),

members as (

    select
        customer_id,
        name,
        country,
        join_date,
        true as is_known
    from customers

    union all

    select
        'Unknown' as customer_id,
        'Unknown' as name,
        'Unknown' as country,
        cast(null as date) as join_date,
        false as is_known
    from spending
    where member_id = 'Unknown'

),

measured as (

    select
        members.*,
        {{ money('coalesce(spending.total_spent, 0)') }} as total_spent,
        cast(coalesce(spending.order_count, 0) as bigint) as order_count,
        spending.first_order_date,
        spending.last_order_date
    from members
    left join spending
        on members.customer_id = spending.member_id

),

placed as (

    select
        *,
        row_number() over (
            order by is_known desc, total_spent desc, name asc nulls last, customer_id asc
        ) as place
    from measured

),

ranked as (

    select
        ---------- ids
        customer_id,

        ---------- texts
        name,
        country,
        '{{ var("shop_currency") }}' as currency,

        ---------- numbers
        total_spent,
        order_count,
        {{ safe_divide('total_spent', 'order_count') }} as average_order_value,
        cast(case when is_known then place end as bigint) as spend_rank,

        ---------- times
        join_date,
        first_order_date,
        last_order_date
    from placed

)

select * from ranked
