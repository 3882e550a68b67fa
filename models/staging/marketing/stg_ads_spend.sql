-- Accepted rows of ad spend.
-- Grain: one row per accepted row of the feed; equal rows are all real.
with

accepted as (

    select * from {{ ref('base_ads_spend') }}
    where _reasons is null

),

renamed as (

    select
        ---------- dimensions
        date,
        platform,
        account,
        campaign,
        country,
        device,

        ---------- numbers
        spend,
        clicks,
        impressions,
        conversions,

        ---------- origin
        _file as source_file
    from accepted

)

select * from renamed
