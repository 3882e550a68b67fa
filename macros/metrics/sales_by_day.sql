{% macro sales_by_day(member, name) %}
    {#- The query of int_product_days and int_category_days: the sales of order_lines by day and member.
        Sums are not rounded, so that they may be added: sum first, round last.

        member: an expression over order_lines; name: its column -#}
with

sold_lines as (

    select
        *,
        {{ member }} as member
    from {{ ref('order_lines') }}
    {{ where_changed('date') }}

)

select
    date,
    member as {{ name }},
    cast(sum(quantity) as bigint) as units_sold,
    count(distinct order_id) as order_count,
    cast(sum(total_price) as decimal(18, 2)) as revenue,
    cast(sum(total_price_usd) as decimal(18, 6)) as revenue_usd,
    cast(sum(case when total_price is not null and total_price_usd is null then 1 else 0 end) as bigint)
        as lines_without_rate
from sold_lines
where is_sale
group by date, member
{% endmacro %}
