{#- Casts that give null, never an error, and never a value that the text does not say:
    DuckDB alone would read 'infinity' as a date, '0x10' as 16, round '12.5' to 13 and drop the
    offset of '10:00+02:00'. So each type has a grammar, and only text that fits it is cast. -#}


{% macro try_cast(text, type) %}
    {{- return(adapter.dispatch('try_cast')(text, type)) -}}
{% endmacro %}

{% macro duckdb__try_cast(text, type) -%}
    try_cast({{ text }} as {{ type }})
{%- endmacro %}

{#- Spark takes no '1.0' for an integer. -#}
{% macro spark__try_cast(text, type) -%}
    {%- if type in ['integer', 'bigint'] -%}
        try_cast(substring_index({{ text }}, '.', 1) as {{ type }})
    {%- else -%}
        try_cast({{ text }} as {{ type }})
    {%- endif -%}
{%- endmacro %}


{% macro strict_cast(value, type) %}
    {#- A number as another type of numbers; an error where it is out of range. -#}
    {{- return(adapter.dispatch('strict_cast')(value, type)) -}}
{% endmacro %}

{% macro duckdb__strict_cast(value, type) -%}
    cast({{ value }} as {{ type }})
{%- endmacro %}

{#- dbt-spark turns errors of casts off. -#}
{% macro spark__strict_cast(value, type) -%}
    coalesce(cast({{ value }} as {{ type }}), case
        when {{ value }} is not null then cast(raise_error('a number is out of range of {{ type }}') as {{ type }})
    end)
{%- endmacro %}


{% macro guess_timestamp(cell) %}
    {#- What the cast alone makes of a cell; null for one that looks plain and is not. -#}
    {{- return(adapter.dispatch('guess_timestamp')(cell)) -}}
{% endmacro %}

{% macro duckdb__guess_timestamp(cell) -%}
    case
            when {{ looks_like_plain_time(cell) }} then try_strptime({{ cell }}, '%Y-%m-%d %H:%M:%S')
            else {{ try_cast(cell, 'timestamp') }}
        end
{%- endmacro %}

{% macro spark__guess_timestamp(cell) -%}
    {{ try_cast(cell, 'timestamp') }}
{%- endmacro %}


{% macro looks_like_plain_time(cell) %}
    {#- True of a cell that guess_timestamp() reads as just what it is, or not at all. -#}
    {{- return(adapter.dispatch('looks_like_plain_time')(cell)) -}}
{% endmacro %}

{#- The format takes blanks at the ends and around its own, which clean cells do not have. In 19 letters,
    each part then has all of its digits. It is read in less time than a time is read and written again. -#}
{% macro duckdb__looks_like_plain_time(cell) -%}
    getvariable('cells_are_clean') and strlen({{ cell }}) = 19
{%- endmacro %}

{% macro spark__looks_like_plain_time(cell) -%}
    false
{%- endmacro %}


{% macro is_written_as(text, value, type) -%}
    {#- True when a text is just what the value that was guessed of it looks like as text; also when there
        is no value. A number of one character is a digit; to see that takes less than to write the number. -#}
    {%- if type.name in ['integer', 'bigint'] -%}
        (length({{ text }}) = 1 and {{ value }} >= 0 or cast({{ value }} as string) = {{ text }})
    {%- elif type.name == 'timestamp' -%}
        ({{ looks_like_plain_time(text) }} or cast({{ value }} as string) = {{ text }})
    {%- else -%}
        cast({{ value }} as string) = {{ text }}
    {%- endif -%}
{%- endmacro %}


{% macro grammar(type, year='(19|20)[0-9]{2}') %}
    {#- The regular expression of a contract's type; none for text.

        Years are 1900 to 2099: 0000 and 9999 are fillers, 2206 is mistyped, and a calendar has a row for
        each day. Exactly three digits after a dot are no decimals of a whole number or of an amount with
        two: where a dot groups thousands, 2.500 is 2500. -#}
    {%- set day = year ~ '-[0-9]{2}-[0-9]{2}' -%}
    {%- if type.name in ['integer', 'bigint'] or type.scale == 0 -%}
        {{ return('[+-]?[0-9]+([.]' ~ decimals(0) ~ ')?') }}
    {%- elif type.name == 'decimal' -%}
        {{ return('[+-]?([0-9]+([.]' ~ decimals(type.scale) ~ ')?|[.][0-9]' ~ decimals(type.scale, after=1) ~ ')') }}
    {%- elif type.name == 'date' -%}
        {{ return(day ~ '([T ]00:00(:00([.]0{1,9})?)?( ?(Z|UTC|GMT|[+-]00(:?00)?))?)?') }}
    {%- elif type.name == 'timestamp' -%}
        {{ return(
            day ~ '([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?'
            ~ '( ?(Z|UTC|GMT|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?))?)?'
        ) }}
    {%- endif -%}
{% endmacro %}


{% macro decimals(scale, after=0) %}
    {#- The digits after a dot: as many as the scale, then zeros; three in all only where the scale has three.

        after: how many of them stand already -#}
    {%- if scale > 2 -%}
        {{ return('[0-9]{0,' ~ (scale - after) ~ '}0*') }}
    {%- endif -%}
    {{ return(
        '([0-9]{0,' ~ (scale - after) ~ '}0{0,' ~ (2 - scale) ~ '}|[0-9]{' ~ (scale - after) ~ '}0{' ~ (4 - scale) ~ ',})'
    ) }}
{% endmacro %}


{% macro type_of(type) %}
    {#- The engine's name of a contract's type. -#}
    {%- if type.name == 'decimal' -%}
        {{ return('decimal(' ~ type.precision ~ ',' ~ type.scale ~ ')') }}
    {%- elif type.name == 'text' -%}
        {{ return('string') }}
    {%- endif -%}
    {{ return(type.name) }}
{% endmacro %}


{% macro read_value(text, type) %}
    {#- A cell of clean text as its type, null when the text is not exactly that. -#}
    {%- if type.name == 'text' -%}
        {{ return(text) }}
    {%- elif type.name == 'timestamp' -%}
        {{ return(read_timestamp(text, grammar(type))) }}
    {%- elif type.name == 'date' -%}
        {{ return(
            'case when ' ~ full_match(text, grammar(type)) ~ ' then '
            ~ try_cast('substr(' ~ text ~ ', 1, 10)', 'date') ~ ' end'
        ) }}
    {%- endif -%}
    {{ return(
        'case when ' ~ full_match(text, grammar(type)) ~ ' then '
        ~ try_cast(text, type_of(type)) ~ ' end'
    ) }}
{% endmacro %}


{% macro read_timestamp(text, pattern) %}
    {{- return(adapter.dispatch('read_timestamp')(text, pattern)) -}}
{% endmacro %}

{#- As UTC. A date alone is the start of that business day, so that its day stays its day in
    every time zone. -#}
{% macro duckdb__read_timestamp(text, pattern) -%}
    case
        when not {{ full_match(text, pattern) }} then null
        when length({{ text }}) = 10 then {{ business_day_start(try_cast(text, 'date')) }}
        when substr({{ text }}, 11) like '%+%' or substr({{ text }}, 11) like '%-%'
            then timezone('UTC', try_cast(regexp_replace({{ text }}, ' ([+-])', '\1') as timestamptz))
        else try_cast(regexp_replace({{ text }}, ' ?(Z|UTC|GMT)$', '') as timestamp)
    end
{%- endmacro %}

{% macro spark__read_timestamp(text, pattern) -%}
    case
        when not {{ full_match(text, pattern) }} then null
        when length({{ text }}) = 10 then {{ business_day_start(try_cast(text, 'date')) }}
        when substr({{ text }}, 11) like '%+%' or substr({{ text }}, 11) like '%-%'
            then cast(to_utc_timestamp(
                try_cast(regexp_replace({{ text }}, ' ([+-])', '$1') as timestamp_ltz), current_timezone()
            ) as timestamp)
        else try_cast(regexp_replace({{ text }}, ' ?(Z|UTC|GMT)$', '') as timestamp)
    end
{%- endmacro %}
