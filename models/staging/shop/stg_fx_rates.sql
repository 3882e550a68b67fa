-- Daily rates of exchange.
-- Grain: one row per day and pair of currencies.
with

accepted as (

    select * from {{ ref('base_fx_rates') }}
    where _reasons is null

),

renamed as (

    select
        ---------- texts
        from_currency,
        to_currency,

        ---------- numbers
        rate,

        ---------- times
        rate_date,

        ---------- origin
        _file as source_file
    from accepted

)

select * from renamed
