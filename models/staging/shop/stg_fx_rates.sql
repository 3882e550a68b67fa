-- Daily rates of exchange.
-- Grain: one row per day and pair of currencies.
with

accepted as (

    {{ accepted_rows('fx_rates') }}

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
