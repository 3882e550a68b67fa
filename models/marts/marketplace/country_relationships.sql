-- Trade between two countries, both directions together, most revenue first.
-- Grain: one row per unordered pair of different countries that traded.
-- "Unknown" is no country, so it is in no pair.
with

trade as (

    select
        *,
        -- The country whose name comes first is a; equal names are told apart by id.
        seller_country < buyer_country
        or (seller_country = buyer_country and id_seller_country < id_buyer_country) as is_seller_first
    from {{ ref('int_sales') }}
    where
        id_seller_country <> id_buyer_country
        and id_seller_country <> 'Unknown'
        and id_buyer_country <> 'Unknown'

),

paired as (

    select
        case when is_seller_first then id_seller_country else id_buyer_country end as id_country_a,
        case when is_seller_first then seller_country else buyer_country end as country_a,
        case when is_seller_first then id_buyer_country else id_seller_country end as id_country_b,
        case when is_seller_first then buyer_country else seller_country end as country_b,
        revenue
    from trade

),

summed as (

    select
        id_country_a,
        country_a,
        id_country_b,
        country_b,
        sum(revenue) as combined_revenue,
        count(*) as sales_count
    from paired
    group by id_country_a, country_a, id_country_b, country_b

),

ranked as (

    select
        ---------- ids
        id_country_a,
        id_country_b,

        ---------- texts
        country_a,
        country_b,

        ---------- numbers
        {{ money('combined_revenue') }} as combined_revenue,
        sales_count,
        cast(row_number() over (
            order by
                combined_revenue desc, country_a asc, country_b asc, id_country_a asc, id_country_b asc
        ) as bigint) as revenue_rank
    from summed

)

select * from ranked
