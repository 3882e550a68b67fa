-- What each product sold, sold or not, and what of it is in stock.
-- Grain: one row per product, plus one "Unknown" for sold products that the catalogue lacks.
-- "Unknown" is no product: it has no rank.
{% set stock = 'cast(members.price as decimal(28, 2)) * cast(members.inventory_count as decimal(10, 0))' %}
with

products as (

    select * from {{ ref('stg_products') }}

),

sold_lines as (

    select
        *,
        case when is_known_product then product_id else 'Unknown' end as member_id
    from {{ ref('order_lines') }}
    where is_sale

),

sales as (

    select
        member_id,
        sum(quantity) as units_sold,
        count(distinct order_id) as order_count,
        sum(total_price) as revenue,
        sum(total_price_usd) as revenue_usd,
        sum(case when total_price is not null and total_price_usd is null then 1 else 0 end)
            as lines_without_rate,
        min(date) as first_sale_date,
        max(date) as last_sale_date
    from sold_lines
    group by member_id

),

members as (

    select
        product_id,
        name,
        category,
        price,
        inventory_count,
        true as is_known
    from products

    union all

    select
        'Unknown' as product_id,
        'Unknown' as name,
        'Unknown' as category,
        cast(null as decimal(18, 2)) as price,
        cast(null as integer) as inventory_count,
        false as is_known
    from sales
    where member_id = 'Unknown'

),

measured as (

    select
        members.*,
        cast(coalesce(sales.units_sold, 0) as bigint) as units_sold,
        cast(coalesce(sales.order_count, 0) as bigint) as order_count,
        {{ money('case when sales.member_id is null then 0 else sales.revenue end') }} as revenue,
        {{ money('case when sales.member_id is null then 0 else sales.revenue_usd end') }} as revenue_usd,
        cast(coalesce(sales.lines_without_rate, 0) as bigint) as lines_without_rate,
        sales.first_sale_date,
        sales.last_sale_date,
        {{ money(stock) }} as inventory_value
    from members
    left join sales
        on members.product_id = sales.member_id

),

placed as (

    select
        *,
        row_number() over (
            order by is_known desc, units_sold desc, name asc, product_id asc
        ) as place
    from measured

),

ranked as (

    select
        ---------- ids
        product_id,

        ---------- texts
        name,
        category,
        '{{ var("shop_currency") }}' as currency,

        ---------- numbers
        price,
        units_sold,
        order_count,
        revenue,
        revenue_usd,
        lines_without_rate,
        cast(inventory_count as bigint) as inventory_count,
        inventory_value,
        cast(case when is_known then place end as bigint) as units_rank,

        ---------- times
        first_sale_date,
        last_sale_date
    from placed

)

select * from ranked
