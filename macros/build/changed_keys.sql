{#- Queries of the keys of incremental marts that changed though no file tells so: what the table has
    is compared with what it would have now. -#}


{% macro orders_of_changed_products(changed) %}
    {%- set columns = ['is_known_product', 'product_name', 'category', 'unit_price'] -%}
    select lines.order_id as changed_key
    from {{ this }} as lines
    inner join (
        select distinct product_id, {{ columns | join(', ') }}
        from {{ ref('int_order_items') }}
    ) as members
        on lines.product_id = members.product_id
    where
        {%- for column in columns %}
        lines.{{ column }} is distinct from members.{{ column }}{{ ' or' if not loop.last }}
        {%- endfor %}
{% endmacro %}


{% macro orders_at_changed_rates(changed) %}
    select lines.order_id as changed_key
    from {{ this }} as lines
    left join {{ ref('int_usd_rates') }} as rates
        on lines.date = rates.order_date
    where
        lines.fx_rate is distinct from rates.fx_rate
        or lines.fx_rate_date is distinct from rates.fx_rate_date
{% endmacro %}


{% macro days_told_and_the_next(changed) %}
    {#- Of product_daily_growth: a day is the base of the next one. -#}
    {%- set told = days_told(changed) -%}
    {%- if told == 'unknown' -%}{{ return(told) }}{%- endif -%}
    select unnest([changed_key, changed_key + 1]) as changed_key
    from ({{ told }})
{% endmacro %}


{% macro days_off_the_calendar(changed) %}
    {#- Of product_daily_growth: days that it has and the calendar has not, or the other way round, and
        the first day, which has no base. -#}
    select coalesce(days.date, calendar.date) as changed_key
    from (select distinct date from {{ this }}) as days
    full outer join {{ ref('int_sale_days') }} as calendar
        on days.date = calendar.date
    where days.date is null or calendar.date is null
    union all
    select min(date) from {{ this }}
    union all
    select min(date) from {{ ref('int_sale_days') }}
{% endmacro %}


{% macro days_of_other_products(changed) %}
    {#- Of product_daily_growth: every day, when it has other products or names than there are. -#}
    select distinct date as changed_key
    from {{ this }}
    where exists (
        (select distinct product_id, name from {{ this }}
        except
        select product_id, name from {{ ref('product_metrics') }})
        union all
        (select product_id, name from {{ ref('product_metrics') }}
        except
        select distinct product_id, name from {{ this }})
    )
{% endmacro %}
