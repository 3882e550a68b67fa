{#- Arithmetic of money and ratios. Decimal from end to end; sum first, round last.

    What the contracts accept fits: an amount of a row has 12 digits before its point, a line of an order
    16, so that a sum of 26 digits holds ten thousand million of the largest. -#}


{% macro money(amount) -%}
    {#- A sum with two decimals, half away from zero. -#}
    {{ strict_cast(amount, 'decimal(28, 2)') }}
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
    as decimal(28, {{ scale }}))
{%- endmacro %}

{#- As on DuckDB, in whole numbers: Spark rounds a quotient of decimals to the scale that it gives the
    type, and then again. Where it would give null for what is too large, it fails. -#}
{% macro spark__safe_divide(numerator, denominator, scale) -%}
    {%- set n = 'cast(cast(' ~ numerator ~ ' as decimal(28, 6)) * 1000000 as decimal(34, 0))' -%}
    {%- set d = 'cast(cast(' ~ denominator ~ ' as decimal(28, 6)) * 1000000 as decimal(34, 0))' -%}
    coalesce(
        cast(
            cast(
                (2 * {{ 10 ** scale }} * abs({{ n }}) + abs({{ d }})) div nullif(2 * abs({{ d }}), 0)
                * case when ({{ n }} < 0) = ({{ d }} < 0) then 1 else -1 end
            as decimal(32, 0)) * cast({{ '%.*f' | format(scale, 10 ** -scale) }} as decimal({{ scale + 1 }}, {{ scale }}))
        as decimal(28, {{ scale }})),
        case
            when {{ numerator }} is not null and {{ denominator }} <> 0
                then cast(raise_error('a quotient is out of range of decimal(28, {{ scale }})') as decimal(28, {{ scale }}))
        end
    )
{%- endmacro %}


{% macro share_pct(part, whole) -%}
    {#- part as a percentage of whole, two decimals; null when whole is zero. -#}
    {{ safe_divide('100 * (' ~ part ~ ')', whole) }}
{%- endmacro %}


{% macro change_pct(new, old) -%}
    {#- The change from old to new in percent, two decimals; null when old is zero. -#}
    {{ safe_divide('100 * (' ~ new ~ ' - ' ~ old ~ ')', old) }}
{%- endmacro %}


{% macro converted(amount, rate) %}
    {#- An amount, decimal(18, 2), at a rate, decimal(18, 10), with six decimals. -#}
    {{- return(adapter.dispatch('converted')(amount, rate)) -}}
{% endmacro %}

{#- DuckDB multiplies in 64 bits what fits there, some 80 times as fast; the product of larger ones is as
    exact. -#}
{% macro duckdb__converted(amount, rate) -%}
    case
        when abs({{ amount }}) < 100000 and {{ rate }} < 10
            then cast({{ amount }} * {{ rate }} as decimal(18, 6))
        else cast({{ exact_product(amount, rate) }} as decimal(28, 6))
    end
{%- endmacro %}

{% macro spark__converted(amount, rate) -%}
    {{ strict_cast(exact_product(amount, rate), 'decimal(28, 6)') }}
{%- endmacro %}


{% macro sum_converted(amount, rate) %}
    {#- A sum, decimal(28, 2), at a rate, decimal(18, 10), with two decimals, rounded once. -#}
    {{- return(adapter.dispatch('sum_converted')(amount, rate)) -}}
{% endmacro %}

{% macro duckdb__sum_converted(amount, rate) -%}
    {{ money(exact_product(amount, rate)) }}
{%- endmacro %}

{#- In whole numbers: of a product of 28 and 18 digits Spark would drop decimals. -#}
{% macro spark__sum_converted(amount, rate) -%}
    {%- set units = '(cast(' ~ amount ~ ' * 100 as decimal(28, 0)) * cast(' ~ rate ~ ' * 10000000000 as decimal(18, 0)) + 5000000000)' -%}
    {{ money('cast((' ~ units ~ ' - ' ~ units ~ ' % 10000000000) / 10000000000 as decimal(28, 0)) * 0.01') }}
{%- endmacro %}


{% macro exact_product(amount, rate) %}
    {#- An amount, decimal(18, 2), times a rate, decimal(18, 10), with all twelve decimals. -#}
    {{- return(adapter.dispatch('exact_product')(amount, rate)) -}}
{% endmacro %}

{#- DuckDB's product of 18 and 18 digits overflows where it does not fit into 64 bits. -#}
{% macro duckdb__exact_product(amount, rate) -%}
    cast({{ amount }} as decimal(28, 2)) * {{ rate }}
{%- endmacro %}

{#- Spark's has 37 digits; of a wider amount it would drop decimals. -#}
{% macro spark__exact_product(amount, rate) -%}
    {{ amount }} * {{ rate }}
{%- endmacro %}
