{#- Arithmetic of money and ratios. Decimal from end to end; sum first, round last. -#}


{% macro money(amount) -%}
    {#- An amount with two decimals, half away from zero. -#}
    cast({{ amount }} as decimal(18, 2))
{%- endmacro %}


{% macro safe_divide(numerator, denominator, scale=2) %}
    {#- numerator / denominator, exact to the last decimal, rounded half away from zero;
        null when the denominator is zero or either is null. -#}
    {{- return(adapter.dispatch('safe_divide')(numerator, denominator, scale)) -}}
{% endmacro %}

{#- DuckDB divides decimals as doubles: 2.01 / 2, which is 1.005, becomes 1.00. Whole numbers divide exactly:
    both sides are scaled by a million (inputs have at most six decimals), the quotient is
    rounded by adding half of the denominator. -#}
{% macro duckdb__safe_divide(numerator, denominator, scale) -%}
    {%- set million = 'cast(1000000 as decimal(7, 0))' -%}
    {%- set n = 'cast(cast(' ~ numerator ~ ' as decimal(28, 6)) * ' ~ million ~ ' as hugeint)' -%}
    {%- set d = 'cast(cast(' ~ denominator ~ ' as decimal(28, 6)) * ' ~ million ~ ' as hugeint)' -%}
    cast(
        cast(
            (2 * {{ 10 ** scale }} * abs({{ n }}) + abs({{ d }})) // nullif(2 * abs({{ d }}), 0)
            * sign({{ n }}) * sign({{ d }})
        as decimal(32, 0)) * cast({{ '%.*f' | format(scale, 10 ** -scale) }} as decimal({{ scale + 1 }}, {{ scale }}))
    as decimal(18, {{ scale }}))
{%- endmacro %}


{% macro share_pct(part, whole) -%}
    {#- part as a percentage of whole, two decimals; null when whole is zero. -#}
    {{ safe_divide('100 * (' ~ part ~ ')', whole) }}
{%- endmacro %}


{% macro change_pct(new, old) -%}
    {#- The change from old to new in percent, two decimals; null when old is zero. -#}
    {{ safe_divide('100 * (' ~ new ~ ' - ' ~ old ~ ')', old) }}
{%- endmacro %}


{% macro converted(amount, rate) -%}
    {#- An amount, decimal(18, 2), at a rate, decimal(18, 10), with six decimals. DuckDB multiplies in 64
        bits what fits there, some 80 times as fast; the product of larger ones is as exact. -#}
    case
        when abs({{ amount }}) < 100000 and {{ rate }} < 10
            then cast({{ amount }} * {{ rate }} as decimal(18, 6))
        else cast(cast({{ amount }} as decimal(28, 2)) * {{ rate }} as decimal(18, 6))
    end
{%- endmacro %}
