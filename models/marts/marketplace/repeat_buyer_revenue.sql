-- What repeat buyers spent in the first and in the second week of each month.
-- Grain: one row per month from the first sale to the last, also without repeat buyers.
-- A repeat buyer bought in days 1 to 7 and again in days 8 to 14 of the month, whole days.
with

sales as (

    select
        id_buyer,
        payment_date,
        cast({{ dbt.date_trunc('month', 'payment_date') }} as date) as month_start,
        extract(day from payment_date) as day_of_month,
        revenue
    from {{ ref('int_sales') }}

),

bounds as (

    select
        min(month_start) as first_month,
        max(month_start) as last_month
    from sales

),

months as (

    select {{ months_from_to('first_month', 'last_month') }} as month_start
    from bounds
    where first_month is not null

),

buyers as (

    select
        month_start,
        id_buyer,
        sum(case when day_of_month <= 7 then 1 else 0 end) as week1_sales,
        sum(case when day_of_month > 7 then 1 else 0 end) as week2_sales,
        sum(case when day_of_month <= 7 then revenue end) as week1_revenue,
        sum(case when day_of_month > 7 then revenue end) as week2_revenue
    from sales
    where day_of_month <= 14
    group by month_start, id_buyer

),

repeat_buyers as (

    select
        month_start,
        count(*) as repeat_buyers,
        sum(week1_revenue) as week1_revenue,
        sum(week2_revenue) as week2_revenue
    from buyers
    where week1_sales > 0 and week2_sales > 0
    group by month_start

),

by_month as (

    select
        {{ year_month('months.month_start') }} as month,
        cast(coalesce(repeat_buyers.repeat_buyers, 0) as bigint) as repeat_buyers,
        {{ money('coalesce(repeat_buyers.week1_revenue, 0)') }} as week1_revenue,
        {{ money('coalesce(repeat_buyers.week2_revenue, 0)') }} as week2_revenue,
        {{ change_pct('repeat_buyers.week2_revenue', 'repeat_buyers.week1_revenue') }} as change_pct
    from months
    left join repeat_buyers
        on months.month_start = repeat_buyers.month_start

)

select * from by_month
