{% macro repeated_keys(feed) %}
    {#- The rows that another row of the same key supersedes: the newest file wins (by its time of
        change, then by name; the sample counts as oldest), and within a file the last line. A row that
        is rejected for another reason neither wins nor loses.

        Columns: _file, _line_number, _reasons, _record, as base_<feed> has them for rejected rows. -#}
    {%- do ref('base_' ~ feed) -%}
    {%- if not execute -%}{{ return('') }}{%- endif -%}
    {%- set contract = feed_contract(feed) -%}
    {%- set key = contract.key -%}
    {%- set texts = [] -%}
    {%- for name in key -%}
        {%- do texts.append('ranked.' ~ name ~ '_text') -%}
    {%- endfor -%}
with

valid as (

    select * from {{ ref('base_' ~ feed) }}
    where _reasons is null

),

repeated as (

    select {{ key | join(', ') }}
    from valid
    group by {{ key | join(', ') }}
    having count(*) > 1

),

ranked as (

    select
        {%- for column in contract.columns %}
        cast(valid.{{ column.name }} as string) as {{ column.name }}_text,
        {%- endfor %}
        valid._file,
        valid._line_number,
        valid._record,
        row_number() over by_age as place,
        first_value(valid._file) over by_age as kept_file,
        first_value(valid._line_number) over by_age as kept_line
    from valid
    inner join repeated
        on {% for name in key -%}
            valid.{{ name }} = repeated.{{ name }}{{ ' and ' if not loop.last }}
        {%- endfor %}
    window by_age as (
        partition by {% for name in key %}valid.{{ name }}{{ ', ' if not loop.last }}{% endfor %}
        order by
            coalesce(valid._modified_ns, -1) desc,
            valid._file desc,
            valid._line_number desc
    )

)

select
    _file,
    _line_number,
    {{ list_of_present([
        "'" ~ key | join(', ') ~ ": \"' || " ~ shown(texts | join(" || ', ' || "))
        ~ " || '\" repeats; line ' || cast(kept_line as string)"
        ~ " || case when kept_file = _file then '' else ' of ' || kept_file end || ' is kept'"
    ]) }} as _reasons,
    coalesce(_record, {{ json_record(contract.columns | map(attribute='name') | list, '_text') }}) as _record
from ranked
where place > 1
{% endmacro %}


{% macro accepted_rows(feed) %}
    {#- A query of the rows of base_<feed> that count: valid, and of each key the newest. -#}
    {%- do ref('base_' ~ feed) -%}
    {%- if feed in keyed_feeds() -%}
    select base.*
    from {{ ref('base_' ~ feed) }} as base
    left join {{ ref('base_' ~ feed ~ '_repeats') }} as repeats
        on base._file = repeats._file and base._line_number = repeats._line_number
    where base._reasons is null and repeats._line_number is null
    {%- else -%}
    select * from {{ ref('base_' ~ feed) }}
    where _reasons is null
    {%- endif -%}
{% endmacro %}


{% macro rejecting_models(feed) %}
    {#- The base models of a feed that have rejected rows. -#}
    {{ return(['base_' ~ feed] + (['base_' ~ feed ~ '_repeats'] if feed in keyed_feeds() else [])) }}
{% endmacro %}
