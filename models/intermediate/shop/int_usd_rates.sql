-- What one unit of the shop's currency was worth in US dollars on each day with an order.
-- Grain: one row per day with an order; days without a usable rate are left out.
-- As-of: the newest rate on or before the day, at most var fx_max_age_days old. Never a later
-- rate, never today's, never 1.0 in place of a missing one.
with

order_dates as (

    select distinct order_date
    from {{ ref('int_orders') }}
    where order_date is not null

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}
    where
        from_currency = '{{ var("shop_currency") }}'
        and to_currency = 'USD'
        and from_currency <> to_currency

),

candidates as (

    select
        order_dates.order_date,
        fx_rates.rate,
        fx_rates.rate_date,
        row_number() over (
            partition by order_dates.order_date
            order by fx_rates.rate_date desc
        ) as recency
    from order_dates
    inner join fx_rates
        on
            order_dates.order_date >= fx_rates.rate_date
            and {{ dbt.datediff('fx_rates.rate_date', 'order_dates.order_date', 'day') }}
            <= {{ var('fx_max_age_days') }}

),

newest as (

    select
        order_date,
        cast(rate as decimal(18, 10)) as fx_rate,
        rate_date as fx_rate_date
    from candidates
    where recency = 1

),

-- A shop that already sells in dollars needs no rate.
own_currency as (

    select
        order_date,
        cast(1 as decimal(18, 10)) as fx_rate,
        order_date as fx_rate_date
    from order_dates
    where '{{ var("shop_currency") }}' = 'USD'

)

select * from newest
union all
select * from own_currency
