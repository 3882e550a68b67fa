{#- Days and time zones. Timestamps are UTC without a zone; days are those of the business,
    var business_timezone. -#}


{% macro business_date(utc_timestamp) %}
    {#- The business day on which a UTC timestamp falls. -#}
    {%- if var('business_timezone') == 'UTC' -%}
        {{ return('cast(' ~ utc_timestamp ~ ' as date)') }}
    {%- endif -%}
    {{- return(adapter.dispatch('business_date')(utc_timestamp, var('business_timezone'))) -}}
{% endmacro %}

{% macro duckdb__business_date(utc_timestamp, zone) -%}
    cast(timezone('{{ zone }}', timezone('UTC', {{ utc_timestamp }})) as date)
{%- endmacro %}

{% macro spark__business_date(utc_timestamp, zone) -%}
    cast(convert_timezone('UTC', '{{ zone }}', {{ utc_timestamp }}) as date)
{%- endmacro %}


{% macro business_day_start(day) %}
    {#- The UTC timestamp at which a business day starts: business_date() of it is the day. -#}
    {%- if var('business_timezone') == 'UTC' -%}
        {{ return('cast(' ~ day ~ ' as timestamp)') }}
    {%- endif -%}
    {{- return(adapter.dispatch('business_day_start')(day, var('business_timezone'))) -}}
{% endmacro %}

{% macro duckdb__business_day_start(day, zone) -%}
    timezone('UTC', timezone('{{ zone }}', cast({{ day }} as timestamp)))
{%- endmacro %}

{% macro spark__business_day_start(day, zone) -%}
    convert_timezone('{{ zone }}', 'UTC', cast({{ day }} as timestamp))
{%- endmacro %}


{% macro days_from_to(first_day, last_day) %}
    {#- A select-list item: one row per day from the first to the last, both included. -#}
    {{- return(adapter.dispatch('days_from_to')(first_day, last_day)) -}}
{% endmacro %}

{% macro duckdb__days_from_to(first_day, last_day) -%}
    cast(unnest(generate_series({{ first_day }}, {{ last_day }}, interval 1 day)) as date)
{%- endmacro %}

{% macro spark__days_from_to(first_day, last_day) -%}
    explode(sequence({{ first_day }}, {{ last_day }}, interval 1 day))
{%- endmacro %}


{% macro months_from_to(first_month, last_month) %}
    {#- As days_from_to(), by month; both arguments are first days of a month. -#}
    {{- return(adapter.dispatch('months_from_to')(first_month, last_month)) -}}
{% endmacro %}

{% macro duckdb__months_from_to(first_month, last_month) -%}
    cast(unnest(generate_series({{ first_month }}, {{ last_month }}, interval 1 month)) as date)
{%- endmacro %}

{% macro spark__months_from_to(first_month, last_month) -%}
    explode(sequence({{ first_month }}, {{ last_month }}, interval 1 month))
{%- endmacro %}


{% macro year_month(day) %}
    {#- '2021-01' of a date. -#}
    {{- return('substr(cast(' ~ day ~ ' as string), 1, 7)') -}}
{% endmacro %}
