{% macro keys_in_record(record, column) %}
    {#- The keys that a rejected row may be of, as a list: what its record has in the column, cleaned as
        cells are, also without what a spreadsheet put around a number. A line that is broken tells no
        columns: there it is everything between delimiters, quotes and braces.

        record: the column with the record of a rejected row, as rejected_rows has it
        column: the one that is the key of the feed, a text -#}
    {{- return(adapter.dispatch('keys_in_record')(record, column)) -}}
{% endmacro %}

{% macro duckdb__keys_in_record(record, column) -%}
    {%- set cell = clean_cell("json_extract_string(" ~ record ~ ", '$." ~ column ~ "')") -%}
    list_filter(list_transform(
        coalesce(
            string_split_regex(coalesce(
                json_extract_string({{ record }}, '$.line'),
                cast(from_base64(json_extract_string({{ record }}, '$.line_base64')) as varchar)
            ), '[,;"{}\t]'),
            [{{ cell }}, {{ without_a_spreadsheets_marks(cell) }}]
        ),
        lambda part: {{ clean_cell("trim(part, ' :[]')") }}
    ), lambda part: part is not null)
{%- endmacro %}

{% macro spark__keys_in_record(record, column) -%}
    {%- set cell = clean_cell("get_json_object(" ~ record ~ ", '$." ~ column ~ "')") -%}
    filter(transform(
        coalesce(
            split(coalesce(
                get_json_object({{ record }}, '$.line'),
                decode(unbase64(get_json_object({{ record }}, '$.line_base64')), 'ISO-8859-1')
            ), r'[,;\x22{}\t]'),
            array({{ cell }}, {{ without_a_spreadsheets_marks(cell) }})
        ),
        part -> {{ clean_cell("trim(both ' :[]' from part)") }}
    ), part -> part is not null)
{%- endmacro %}


{% macro without_a_spreadsheets_marks(cell) -%}
    {#- The id in `="00123"` and in `123457000001.0`. -#}
    regexp_replace(trim(both '="' from {{ cell }}), '[.]0+$', '')
{%- endmacro %}


{% macro keys_of_rejected(column) %}
    {#- The same of the rows of landing.<feed>, one row per key: for `key_from` of an incremental table. -#}
    {{- return(
        duckdb__one_row_each(duckdb__keys_in_record("json_extract_string(_rejected, '$.record')", column))
    ) -}}
{% endmacro %}
