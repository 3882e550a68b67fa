-- What is published: every mart, as many rows as it has. A whole, green build writes each one as a
-- Parquet file into published/<version>/ (macros/publish/publication.sql), for programs to read.
-- Grain: one row per mart.
-- It comes last, since dbt leaves it out when a test of anything upstream fails; a mart that it does
-- not read keeps the build from being published.
select 'ads_performance_daily' as mart, count(*) as row_count from {{ ref('ads_performance_daily') }}
union all
select 'category_metrics' as mart, count(*) as row_count from {{ ref('category_metrics') }}
union all
select 'country_contribution' as mart, count(*) as row_count from {{ ref('country_contribution') }}
union all
select 'country_relationships' as mart, count(*) as row_count from {{ ref('country_relationships') }}
union all
select 'customer_lifetime_value' as mart, count(*) as row_count from {{ ref('customer_lifetime_value') }}
union all
select 'daily_sales' as mart, count(*) as row_count from {{ ref('daily_sales') }}
union all
select 'departments_above_mean' as mart, count(*) as row_count from {{ ref('departments_above_mean') }}
union all
select 'expectation_results' as mart, count(*) as row_count from {{ ref('expectation_results') }}
union all
select 'feed_health' as mart, count(*) as row_count from {{ ref('feed_health') }}
union all
select 'hires_by_quarter' as mart, count(*) as row_count from {{ ref('hires_by_quarter') }}
union all
select 'order_kpis' as mart, count(*) as row_count from {{ ref('order_kpis') }}
union all
select 'order_lines' as mart, count(*) as row_count from {{ ref('order_lines') }}
union all
select 'product_daily_growth' as mart, count(*) as row_count from {{ ref('product_daily_growth') }}
union all
select 'product_metrics' as mart, count(*) as row_count from {{ ref('product_metrics') }}
union all
select 'rejected_rows' as mart, count(*) as row_count from {{ ref('rejected_rows') }}
union all
select 'repeat_buyer_revenue' as mart, count(*) as row_count from {{ ref('repeat_buyer_revenue') }}
union all
select 'sales_by_category_daily' as mart, count(*) as row_count from {{ ref('sales_by_category_daily') }}
