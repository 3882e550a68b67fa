-- Sales with the countries of both sides; a country the feed does not have is "Unknown".
-- Grain: one row per item sold.
with

sales as (

    select * from {{ ref('stg_sales') }}

),

countries as (

    select * from {{ ref('stg_countries') }}

),

joined as (

    select
        sales.id_order,
        sales.id_buyer,
        sales.category,
        sales.payment_date,
        sales.revenue,

        ---------- seller's country
        coalesce(seller_countries.id_country, 'Unknown') as id_seller_country,
        coalesce(seller_countries.country, 'Unknown') as seller_country,
        seller_countries.continent as seller_continent,

        ---------- buyer's country
        coalesce(buyer_countries.id_country, 'Unknown') as id_buyer_country,
        coalesce(buyer_countries.country, 'Unknown') as buyer_country
    from sales
    left join countries as seller_countries
        on sales.id_seller_country = seller_countries.id_country
    left join countries as buyer_countries
        on sales.id_buyer_country = buyer_countries.id_country

)

select * from joined
