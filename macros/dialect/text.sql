{#- Text functions that the engines spell differently. -#}


{% macro full_match(text, pattern) %}
    {{- return(adapter.dispatch('full_match')(text, pattern)) -}}
{% endmacro %}

{% macro duckdb__full_match(text, pattern) -%}
    regexp_full_match({{ text }}, '{{ pattern }}')
{%- endmacro %}


{% macro strip(text) %}
    {{- return(adapter.dispatch('strip')(text)) -}}
{% endmacro %}

{#- Blanks, tabs, line ends and no-break spaces at both ends. -#}
{% macro duckdb__strip(text) -%}
    trim({{ text }}, ' ' || chr(9) || chr(10) || chr(13) || chr(160))
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


{% macro list_of_present(values) %}
    {{- return(adapter.dispatch('list_of_present')(values)) -}}
{% endmacro %}

{#- The values that are not null, as a list of text. -#}
{% macro duckdb__list_of_present(values) -%}
    list_filter([
        {{ values | join(',\n        ') }}
    ], lambda value: value is not null)
{%- endmacro %}


{% macro list_length(list) %}
    {{- return(adapter.dispatch('list_length')(list)) -}}
{% endmacro %}

{% macro duckdb__list_length(list) -%}
    len({{ list }})
{%- endmacro %}
