-- Days whose sales in dollars are missing though there is a rate, or there though there is none.
-- Nothing sold is nothing in every currency.
select
    daily_sales.date,
    daily_sales.total_sales,
    daily_sales.total_sales_usd,
    int_usd_rates.fx_rate
from {{ ref('daily_sales') }} as daily_sales
left join {{ ref('int_usd_rates') }} as int_usd_rates
    on daily_sales.date = int_usd_rates.order_date
where
    (daily_sales.total_sales_usd is null)
    <> (int_usd_rates.fx_rate is null and daily_sales.total_sales <> 0)
