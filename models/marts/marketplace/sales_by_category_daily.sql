-- Sales of the marketplace by day and category.
-- Grain: one row per day and category with a sale; sales without a category are "Unknown".
-- Revenue keeps its six decimals, since readers add days up: sum first, round last.
with

sales as (

    select * from {{ ref('int_sales') }}

),

summed as (

    select
        payment_date as date,
        category,
        count(*) as sales_count,
        cast(sum(revenue) as decimal(28, 6)) as revenue
    from sales
    group by payment_date, category

)

select * from summed
