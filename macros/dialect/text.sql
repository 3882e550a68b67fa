{#- Text functions that the engines spell differently. -#}


{% macro full_match(text, pattern) %}
    {{- return(adapter.dispatch('full_match')(text, pattern)) -}}
{% endmacro %}

{% macro duckdb__full_match(text, pattern) -%}
    regexp_full_match({{ text }}, '{{ pattern }}')
{%- endmacro %}

{% macro spark__full_match(text, pattern) -%}
    regexp_like({{ text }}, r'\A(?:{{ pattern }})\z')
{%- endmacro %}


{% macro clean_cell(cell) %}
    {{- return(adapter.dispatch('clean_cell')(cell)) -}}
{% endmacro %}

{#- Trimmed; without one pair of surrounding quotes, double or single; trimmed again; empty is null. A
    function of the database (warehouse/landing/in_duckdb.py has it), since the SQL of a feed names it dozens
    of times, and dbt parses that SQL once for each unit test. -#}
{% macro duckdb__clean_cell(cell) -%}
    landing.clean_cell({{ cell }})
{%- endmacro %}

{#- As the function in warehouse/landing/in_duckdb.py has it; \x22 and \x27 are the quotes. -#}
{% macro spark__clean_cell(cell) -%}
    {%- set blanks = "' \\t\\n\\r\\u00a0'" -%}
    nullif(trim(both {{ blanks }} from regexp_replace(
        trim(both {{ blanks }} from {{ cell }}), r'(?s)\A(?:\x22(.*)\x22|\x27(.*)\x27)\z', '$1$2'
    )), '')
{%- endmacro %}


{% macro has_plain_ends(cell) %}
    {{- return(adapter.dispatch('has_plain_ends')(cell)) -}}
{% endmacro %}

{#- True when a text begins and ends with a visible letter of ASCII after the quotes, so that
    clean_cell() would leave it alone; a comparison costs less than a function. The last one is from 40 to
    126, in one comparison, since DuckDB would find it anew for the second. The variable is true while the
    loader reads files of which it knows that all cells are clean (warehouse/landing/files.py). -#}
{% macro duckdb__has_plain_ends(cell) -%}
    (getvariable('cells_are_clean') or {{ cell }} >= '(' and {{ cell }} < chr(127) and abs(ascii({{ cell }}[-1]) - 83) <= 43)
{%- endmacro %}

{% macro spark__has_plain_ends(cell) -%}
    {{ cell }} >= '(' and {{ cell }} < chr(127) and ascii(right({{ cell }}, 1)) between 40 and 126
{%- endmacro %}


{% macro json_record(names, suffix) %}
    {#- The columns <name><suffix> as one JSON object with the names as keys, as text. -#}
    {{- return(adapter.dispatch('json_record')(names, suffix)) -}}
{% endmacro %}

{% macro duckdb__json_record(names, suffix) -%}
    cast(json_object(
        {%- for name in names %}'{{ name }}', {{ name }}{{ suffix }}{{ ', ' if not loop.last }}{% endfor -%}
    ) as string)
{%- endmacro %}

{% macro spark__json_record(names, suffix) -%}
    to_json(named_struct(
        {%- for name in names %}'{{ name }}', {{ name }}{{ suffix }}{{ ', ' if not loop.last }}{% endfor -%}
    ), map('ignoreNullFields', 'false'))
{%- endmacro %}


{% macro list_of_present(values) %}
    {{- return(adapter.dispatch('list_of_present')(values)) -}}
{% endmacro %}

{#- The values that are not null, as a list of text. -#}
{% macro duckdb__list_of_present(values) -%}
    list_filter([
        {{ values | join(',\n        ') }}
    ], lambda value: value is not null)
{%- endmacro %}

{% macro spark__list_of_present(values) -%}
    filter(array(
        {{ values | join(',\n        ') }}
    ), value -> value is not null)
{%- endmacro %}


{% macro list_length(list) %}
    {{- return(adapter.dispatch('list_length')(list)) -}}
{% endmacro %}

{% macro duckdb__list_length(list) -%}
    len({{ list }})
{%- endmacro %}

{% macro spark__list_length(list) -%}
    size({{ list }})
{%- endmacro %}


{% macro one_row_each(list) %}
    {#- A select-list item: one row per element of a list, none for an empty one. -#}
    {{- return(adapter.dispatch('one_row_each')(list)) -}}
{% endmacro %}

{% macro duckdb__one_row_each(list) -%}
    unnest({{ list }})
{%- endmacro %}

{% macro spark__one_row_each(list) -%}
    explode({{ list }})
{%- endmacro %}


{% macro row_hash(columns) %}
    {#- A number that rows with equal columns have in common, nulls being equal; others seldom do. -#}
    {{- return(adapter.dispatch('row_hash')(columns)) -}}
{% endmacro %}

{% macro duckdb__row_hash(columns) -%}
    hash({{ columns | join(', ') }})
{%- endmacro %}

{% macro spark__row_hash(columns) -%}
    xxhash64({{ columns | join(', ') }})
{%- endmacro %}
