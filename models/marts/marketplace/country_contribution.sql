-- What the sellers of each country contribute to all sales.
-- Grain: one row per seller country with sales; "Unknown" where the countries feed lacks it.
with

sales as (

    select * from {{ ref('int_sales') }}

),

by_country as (

    select
        id_seller_country as id_country,
        seller_country as country,
        case when id_seller_country = 'Unknown' then 'Unknown' else seller_continent end as continent,
        sum(revenue) as revenue,
        count(*) as items
    from sales
    group by
        id_seller_country,
        seller_country,
        case when id_seller_country = 'Unknown' then 'Unknown' else seller_continent end

),

all_sales as (

    select
        sum(revenue) as revenue,
        sum(items) as items
    from by_country

),

shares as (

    select
        by_country.id_country,
        by_country.country,
        by_country.continent,
        {{ money('by_country.revenue') }} as revenue,
        by_country.items,
        {{ share_pct('by_country.revenue', 'all_sales.revenue') }} as revenue_pct,
        {{ share_pct('by_country.items', 'all_sales.items') }} as items_pct
    from by_country
    cross join all_sales

)

select * from shares
