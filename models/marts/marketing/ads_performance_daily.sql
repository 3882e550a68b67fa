-- Spend and results of advertising by day and the five dimensions, with CAC and ROAS.
-- Grain: one row per date, platform, account, campaign, country and device.
-- Rows of the feed with equal dimensions are all real; they add up here.
with

ads_spend as (

    select * from {{ ref('stg_ads_spend') }}

),

summed as (

    select
        date,
        platform,
        account,
        campaign,
        country,
        device,
        {{ money('sum(spend)') }} as spend,
        cast(sum(impressions) as bigint) as impressions,
        cast(sum(clicks) as bigint) as clicks,
        cast(sum(conversions) as bigint) as conversions
    from ads_spend
    group by date, platform, account, campaign, country, device

),

valued as (

    select
        *,
        {{ money('conversions * cast(' ~ var('revenue_per_conversion') ~ ' as decimal(18, 2))') }} as revenue
    from summed

),

rated as (

    select
        ---------- dimensions
        date,
        platform,
        account,
        campaign,
        country,
        device,

        ---------- sums
        spend,
        impressions,
        clicks,
        conversions,
        revenue,

        ---------- ratios
        {{ safe_divide('spend', 'conversions') }} as cac,
        {{ safe_divide('revenue', 'spend') }} as roas,
        {{ safe_divide('clicks', 'impressions', 4) }} as ctr,
        {{ safe_divide('spend', 'clicks') }} as cpc,
        {{ safe_divide('1000 * cast(spend as decimal(28, 2))', 'impressions') }} as cpm
    from valued

)

select * from rated
