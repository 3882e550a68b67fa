{#- Rows of a feed's input cast and judged: each cell read as text, cleaned, cast by the contract;
    each row with the reasons for which it is rejected, or none.

    A clean cell is the fast path: it is recognised by its first and last letter, or by being just
    what its value looks like as text. Only the others are cleaned, and matched with the grammar of
    their type. -#}


{% macro base_feed(source_relation, seed_relation) %}
    {#- The SQL of base_<feed>. The materialization `feed` runs it over each file that is new, with the
        file's rows in place of the seed.

        source_relation: source('landing', <feed>), whose YAML is the contract
        seed_relation:   ref(<feed>), the input as text with _line_number

        Columns: the contract's, typed; _reasons, a list, null when the row is accepted; _record, the
        cells as they came, as a JSON object, where the values alone would not tell them;
        _line_number. -#}
    {%- if not execute -%}{{ return('') }}{%- endif -%}
    {%- set contract = feed_contract(source_relation.identifier) -%}
    {%- set columns = contract.columns -%}
    {%- set names = columns | map(attribute='name') | list -%}

with

cells as (

    select
        _line_number,
        {%- for name in names %}
        {{ name }} as {{ name }}_cell{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ seed_relation }}

),

-- What the cast alone makes of a cell; it counts only where the text is just that value.
guessed as (

    select
        *,
        {%- for column in columns %}
        {{ guess_value(column) }} as {{ column.name }}_guess{{ ',' if not loop.last }}
        {%- endfor %}
    from cells

),

typed as (

    select
        *,
        {%- for column in columns %}
        case
            when {{ is_plain(column) }} then {{ column.name }}_guess
            {{- plain_times(column) if column.type.name == 'timestamp' }}
            else {{ read_cell(column) }}
        end as {{ column.name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from guessed

),

judged as (

    select
        *,
        case
            when {% for column in columns -%}
                {{ keeps_contract(column) }}
                {%- if not loop.last %}
                and {% endif %}
            {%- endfor %} then null
            else {{ list_of_present(reasons(columns)) }}
        end as _reasons
    from typed

)

select
    {%- for name in names %}
    {{ name }},
    {%- endfor %}
    _reasons,
    case
        {%- if contract.key %}
        when _reasons is null and {{ cells_are_values(columns) }} then null
        {%- else %}
        when _reasons is null then null
        {%- endif %}
        else {{ json_record(names, '_cell') }}
    end as _record,
    _line_number
from judged
{% endmacro %}


{% macro guess_value(column) -%}
    {%- if column.type.name == 'text' -%}
        {{ column.name }}_cell
    {%- elif column.type.name == 'timestamp' -%}
        {{ guess_timestamp(column.name ~ '_cell') }}
    {%- else -%}
        {{ try_cast(column.name ~ '_cell', type_of(column.type)) }}
    {%- endif -%}
{%- endmacro %}


{% macro read_cell(column) -%}
    {#- The value of a cell that has to be looked at closely. -#}
    {%- set text = clean_cell(column.name ~ '_cell') -%}
    {%- if column.type.name != 'text' -%}
        {{ read_value(text, column.type) }}
    {%- else -%}
        case
            when {{ is_missing(column) }} then null
            {%- if column.is_id %}
            when {{ full_match(text, mangled_id()) }} then null
            {%- endif %}
            else {{ text }}
        end
    {%- endif -%}
{%- endmacro %}


{% macro missing_words(column) %}
    {#- The words that say that there is no value: those of the contract, else the usual ones. In texts they
        count letter by letter, since Nan is a name, and NA the code of a country; elsewhere in any case. -#}
    {%- if column.get('missing') is not none -%}
        {{ return(column.missing) }}
    {%- elif column.type.name == 'text' -%}
        {{ return(['NULL', 'null', 'NaN', 'nan', '\\N', 'N/A', 'n/a', '#N/A', '<NA>']) }}
    {%- endif -%}
    {{ return(['null', 'nan', '\\n', 'n/a', '#n/a', '<na>', 'na', 'nat', 'none']) }}
{% endmacro %}


{% macro is_missing(column) -%}
    {#- True when a cell is empty or one of the words for missing; never null. -#}
    {%- set text, words = clean_cell(column.name ~ '_cell'), missing_words(column) -%}
    {%- if not words -%}
        {{ text }} is null
    {%- elif column.type.name == 'text' -%}
        coalesce({{ text }} in ({{ text_literals(words) }}), true)
    {%- else -%}
        coalesce(lower({{ text }}) in ({{ text_literals(words | map('lower') | list) }}), true)
    {%- endif -%}
{%- endmacro %}


{% macro mangled_id() %}
    {#- The regular expression of what a spreadsheet makes of ids: 123.0, 1.23457E+11, ="00123", #REF!. -#}
    {{ return(
        '[+-]?[0-9]+[.]0+|[+-]?[0-9]+([.,][0-9]+)?[eE][+][0-9]+|[+-]?[0-9]+[.,][0-9]+[eE][0-9]+|=(?s:.*)'
        ~ '|#+|#(REF!|NAME[?]|VALUE!|DIV/0!|NUM!|NULL!)'
    ) }}
{% endmacro %}


{% macro plain_times(column) -%}
    {#- The other usual writings of a time, a day alone and ISO 8601 in UTC: recognised by writing the
        value that way, which takes a third of what its grammar does. -#}
    {%- set cell, guess = column.name ~ '_cell', column.name ~ '_guess' %}
            when cast(cast({{ guess }} as date) as string) = {{ cell }} and {{ is_within_years(column) }}
                then {{ business_day_start('cast(' ~ guess ~ ' as date)') }}
            when replace(cast({{ guess }} as string), ' ', 'T') || 'Z' = {{ cell }} and {{ is_within_years(column) }}
                then {{ guess }}
{%- endmacro %}


{% macro is_within_years(column) -%}
    {#- True of days and times within the years of the grammar. -#}
    {%- set guess = column.name ~ '_guess' -%}
    {{ guess }} >= {{ column.type.name }} '1900-01-01' and {{ guess }} < {{ column.type.name }} '2100-01-01'
{%- endmacro %}


{% macro is_plain(column) -%}
    {#- True when a cell is its value as it stands: no blank or quote at an end, no word for missing and no
        id that may be mangled, and for a value the text that the value is written as, within the years of
        the grammar. -#}
    {%- set cell, guess = column.name ~ '_cell', column.name ~ '_guess' -%}
    {%- if column.type.name == 'text' -%}
        {%- set words = missing_words(column) -%}
        {{ has_plain_ends(cell) }}
        {%- if words %}
            and (length({{ cell }}) > {{ words | map('length') | max }} or not {{ cell }} in ({{ text_literals(words) }}))
        {%- endif %}
        {%- if column.is_id %}
            and ({{ cell }} >= '>' or {{ cell }} between '0' and '9~' and not {{ cell }} like '%.%' and not {{ cell }} like '%+%')
        {%- endif -%}
    {%- else -%}
        {{ is_written_as(cell, guess, column.type) }}
        {%- if column.type.name in ['date', 'timestamp'] %}
            and {{ is_within_years(column) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{% macro cells_are_values(columns) -%}
    {#- True when the values, as text, are the cells: then nothing else need be kept of a row. -#}
    {%- for column in columns -%}
        {%- set value = column.name if column.type.name == 'text' else 'cast(' ~ column.name ~ ' as string)' -%}
        not {{ value }} is distinct from {{ column.name }}_cell{{ ' and ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}


{% macro keeps_contract(column) -%}
    {#- True when the column's value is as its contract says; never null. -#}
    {%- set value = column.name -%}
    {%- set rules = [] -%}
    {%- if column.minimum is not none -%}
        {%- do rules.append(value ~ ' >= ' ~ limit(column, column.minimum)) -%}
    {%- endif -%}
    {%- if column.exclusive_minimum is not none -%}
        {%- do rules.append(value ~ ' > ' ~ column.exclusive_minimum) -%}
    {%- endif -%}
    {%- if column.maximum is not none -%}
        {%- do rules.append(day_or_number(column) ~ ' <= ' ~ limit(column, column.maximum)) -%}
    {%- endif -%}
    {%- if column.accepted_values -%}
        {%- do rules.append(value ~ ' in (' ~ text_literals(column.accepted_values) ~ ')') -%}
    {%- endif -%}
    {%- if column.type.name == 'text' and not column.accepted_values -%}
        {%- do rules.append('length(' ~ value ~ ') <= ' ~ longest_text()) -%}
    {%- endif -%}
    {%- if column.get('is_text_key') -%}
        {%- do rules.append(value ~ " <> 'Unknown'") -%}
    {%- endif -%}
    {%- if column.type.name != 'text' or column.is_id or column.required -%}
        {%- do rules.insert(0, value ~ ' is not null') -%}
    {%- endif -%}
    {%- set rule = rules | join(' and ') if rules else 'true' -%}
    {%- if column.required -%}
        ({{ rule }})
    {%- else -%}
        case
            when {{ value }} is null then {{ is_missing(column) }}
            else {{ rule }}
        end
    {%- endif -%}
{%- endmacro %}


{% macro longest_text() -%}
    {#- In characters: the name of a product stands in a row of each day of a calendar. -#}
    {{ return(1000) }}
{%- endmacro %}


{% macro limit(column, value) -%}
    {#- A minimum or maximum as SQL: of days and times it is a day. -#}
    {{ "date '" ~ value ~ "'" if column.type.name in ['date', 'timestamp'] else value }}
{%- endmacro %}


{% macro day_or_number(column) -%}
    {#- What a maximum is compared with: all of its day is within it. -#}
    {{ 'cast(' ~ column.name ~ ' as date)' if column.type.name == 'timestamp' else column.name }}
{%- endmacro %}


{% macro reasons(columns) %}
    {#- One expression per column: why it is not as its contract says, null when it is. -#}
    {%- set expressions = [] -%}
    {%- for column in columns -%}
        {%- do expressions.append(reason(column) | trim) -%}
    {%- endfor -%}
    {{ return(expressions) }}
{% endmacro %}


{% macro reason(column) -%}
    {%- set name, text = column.name, clean_cell(column.name ~ '_cell') -%}
    {%- set says = faults(column) | trim -%}
    case
        {%- if column.required %}
        when {{ is_missing(column) }} then '{{ name }}: is missing'
        {%- endif %}
        when {{ keeps_contract(column) }} then null
        {%- if says %}
        else '{{ name }}: "' || {{ shown(text) }} || '" ' || case
            {{ says }}
        end
        {%- endif %}
    end
{%- endmacro %}


{% macro faults(column) -%}
    {#- The branches that say what is wrong with a value that breaks its contract; none for a text that
        can only be missing. -#}
    {%- set name, text, type = column.name, clean_cell(column.name ~ '_cell'), column.type -%}
    {%- set mangled = "'is not the id but what a spreadsheet made of it; format the column as text there, then export it again'" -%}
    {%- set is_number = type.name in ['integer', 'bigint', 'decimal'] -%}
    {%- if type.name == 'text' and column.is_id %}
            when {{ name }} is null then {{ mangled }}
    {%- endif %}
    {%- if type.name == 'text' and not column.accepted_values %}
            when length({{ name }}) > {{ longest_text() }} then 'is longer than {{ longest_text() }} characters'
    {%- endif %}
    {%- if column.get('is_text_key') %}
            when {{ name }} = 'Unknown' then 'is reserved for what no row of the feed has'
    {%- endif %}
    {%- if is_number %}
            when {{ name }} is null then case
                {%- if type.scale | default(0) < 3 %}
                when {{ full_match(text, '[+-]?[0-9]*[.][0-9]{3}') }} then 'is ambiguous: it may be '
                    || replace({{ text }}, '.', '') || ' or ' || regexp_replace({{ text }}, '[.]?0*$', '')
                    || '; write it without a dot before three digits'
                {%- endif %}
                {%- if column.is_id %}
                when {{ full_match(text, mangled_id()) }} then {{ mangled }}
                {%- endif %}
                {%- if type.name == 'decimal' %}
                when not {{ full_match(text, '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)') }} then 'is not a number'
                {%- endif %}
                when not {{ full_match(text, grammar(type)) }}
                    then '{{ 'has more than ' ~ type.scale ~ ' decimals' if type.name == 'decimal' else 'is not an integer' }}'
                else 'is too large for {{ type_of(type) }}'
            end
    {%- elif type.name != 'text' %}
            {%- if type.name == 'date' %}
            when {{ name }} is null and length({{ text }}) > 10 and not {{ full_match(text, grammar(type)) }}
                and {{ full_match(text, grammar({'name': 'timestamp'})) }}
                then 'has a time of day; only midnight, in UTC or without a zone, is read as a date'
            {%- endif %}
            when {{ name }} is null and {{ full_match(text, grammar({'name': 'timestamp'}, year='[0-9]{4}')) }}
                and not {{ full_match(text, '(19|20)(?s:.*)') }} then 'is not within the years 1900 to 2099'
            when {{ name }} is null then 'is not a {{ type.name }}'
    {%- endif %}
    {%- if column.minimum is not none %}
            when {{ name }} < {{ limit(column, column.minimum) }} then 'is not >= {{ column.minimum }}'
    {%- endif %}
    {%- if column.maximum is not none %}
            when {{ day_or_number(column) }} > {{ limit(column, column.maximum) }} then 'is not <= {{ column.maximum }}'
    {%- endif %}
    {%- if column.exclusive_minimum is not none %}
            when {{ name }} <= {{ column.exclusive_minimum }} then 'is not > {{ column.exclusive_minimum }}'
    {%- endif %}
    {%- if column.accepted_values %}
            when {{ name }} is not null
                then '{{ dbt.escape_single_quotes('is not one of ' ~ column.accepted_values | join(', ')) }}'
    {%- endif %}
{%- endmacro %}


{% macro shown(text) %}
    {#- A very long text is cut at 80 characters. -#}
    {{- return(
        "substr(" ~ text ~ ", 1, 80) || case when length(" ~ text ~ ") > 80 then '...' else '' end"
    ) -}}
{% endmacro %}


{% macro text_literals(values) %}
    {%- set literals = [] -%}
    {%- for value in values -%}
        {%- do literals.append("'" ~ dbt.escape_single_quotes(value) ~ "'") -%}
    {%- endfor -%}
    {{ return(literals | join(', ')) }}
{% endmacro %}
