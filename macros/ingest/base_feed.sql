{#- One pass over a feed's input: each cell read as text, cleaned, cast by the contract; each row
    with the reasons for which it is rejected, or none. -#}


{% macro base_feed(source_relation, seed_relation) %}
    {#- The whole SQL of base_<feed>.

        source_relation: source('landing', <feed>), whose YAML is the contract
        seed_relation:   ref(<feed>), the input as text with _line_number

        Columns: the contract's, typed; _reasons, a list, null when the row is accepted;
        _record, a rejected row's cells as they came, as a JSON object; _file; _line_number;
        _loaded_at (UTC). -#}
    {%- if not execute -%}{{ return('') }}{%- endif -%}
    {%- set contract = feed_contract(source_relation.identifier) -%}
    {%- set columns = contract.columns -%}
    {%- set names = columns | map(attribute='name') | list -%}

with

cells as (

    select
        _line_number,
        {%- for name in names %}
        {{ name }} as {{ name }}_cell,
        {{ clean_cell(name) }} as {{ name }}_text{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ seed_relation }}

),

typed as (

    select
        *,
        {%- for column in columns %}
        {{ read_value(column.name ~ '_text', column.type) }} as {{ column.name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from cells

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
        end as faults
    from typed

),
{% if contract.key %}
-- A key that repeats: the last valid line of the file wins.
winners as (

    select
        {{ contract.key | join(', ') }},
        max(_line_number) as winning_line
    from judged
    where faults is null
    group by {{ contract.key | join(', ') }}
    having count(*) > 1

),
{% endif %}
decided as (

    select
        {%- for name in names %}
        judged.{{ name }},
        judged.{{ name }}_cell,
        {%- endfor %}
        judged._line_number,
        {%- if contract.key %}
        case
            when judged.faults is null and judged._line_number < winners.winning_line
                then {{ list_of_present([repeats_reason(contract.key)]) }}
            else judged.faults
        end as _reasons
    from judged
    left join winners
        on {% for name in contract.key -%}
            judged.{{ name }} = winners.{{ name }}{{ ' and ' if not loop.last }}
        {%- endfor %}
        {%- else %}
        judged.faults as _reasons
    from judged
        {%- endif %}

)

select
    {%- for name in names %}
    {{ name }},
    {%- endfor %}
    _reasons,
    case
        when _reasons is not null then {{ json_record(names, '_cell') }}
    end as _record,
    '{{ dbt.escape_single_quotes(seed_file(seed_relation.identifier)) }}' as _file,
    _line_number,
    {{ try_cast("'" ~ run_started_at.strftime('%Y-%m-%d %H:%M:%S.%f') ~ "'", 'timestamp') }} as _loaded_at
from decided
{% endmacro %}


{% macro seed_file(seed_name) %}
    {#- The path of a seed's file, from the project's root. -#}
    {%- for node in graph.nodes.values() if node.resource_type == 'seed' and node.name == seed_name -%}
        {{ return(node.original_file_path) }}
    {%- endfor -%}
    {{ return(seed_name) }}
{% endmacro %}


{% macro clean_cell(cell) -%}
    {#- Trimmed; without one pair of surrounding quotes; empty is null. -#}
    {%- set text = strip(cell) -%}
    nullif(
        case
            when
                length({{ text }}) >= 2
                and substr({{ text }}, 1, 1) in ('"', chr(39))
                and substr({{ text }}, 1, 1) = substr({{ text }}, length({{ text }}), 1)
                then {{ strip('substr(' ~ text ~ ', 2, length(' ~ text ~ ') - 2)') }}
            else {{ text }}
        end,
        ''
    )
{%- endmacro %}


{% macro keeps_contract(column) -%}
    {#- True when the column's value is as its contract says; never null. -#}
    {%- set value = column.name -%}
    {%- set rules = [] -%}
    {%- if column.minimum is not none -%}
        {%- do rules.append(value ~ ' >= ' ~ column.minimum) -%}
    {%- endif -%}
    {%- if column.exclusive_minimum is not none -%}
        {%- do rules.append(value ~ ' > ' ~ column.exclusive_minimum) -%}
    {%- endif -%}
    {%- if column.accepted_values -%}
        {%- do rules.append(value ~ ' in (' ~ text_literals(column.accepted_values) ~ ')') -%}
    {%- endif -%}
    {%- if column.type.name != 'text' or column.required -%}
        {%- do rules.insert(0, value ~ ' is not null') -%}
    {%- endif -%}
    {%- set rule = rules | join(' and ') if rules else 'true' -%}
    {%- if column.required -%}
        ({{ rule }})
    {%- else -%}
        ({{ value }}_text is null or ({{ rule }}))
    {%- endif -%}
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
    {%- set name, text, type = column.name, column.name ~ '_text', column.type -%}
    case
        {%- if column.required %}
        when {{ text }} is null then '{{ name }}: is missing'
        {%- endif %}
        when {{ keeps_contract(column) }} then null
        {%- if type.name == 'decimal' %}
        when {{ name }} is null and not {{ full_match(text, '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)') }}
            then {{ fault(name, text, 'is not a number') }}
        when {{ name }} is null and not {{ full_match(text, grammar(type)) }}
            then {{ fault(name, text, 'has more than ' ~ type.scale ~ ' decimals') }}
        {%- elif type.name in ['integer', 'bigint'] %}
        when {{ name }} is null and not {{ full_match(text, grammar(type)) }}
            then {{ fault(name, text, 'is not an integer') }}
        {%- elif type.name != 'text' %}
        when {{ name }} is null then {{ fault(name, text, 'is not a ' ~ type.name) }}
        {%- endif %}
        {%- if type.name in ['integer', 'bigint', 'decimal'] %}
        when {{ name }} is null then {{ fault(name, text, 'is too large for ' ~ type_of(type)) }}
        {%- endif %}
        {%- if column.minimum is not none %}
        when {{ name }} < {{ column.minimum }}
            then {{ fault(name, text, 'is not >= ' ~ column.minimum) }}
        {%- endif %}
        {%- if column.exclusive_minimum is not none %}
        when {{ name }} <= {{ column.exclusive_minimum }}
            then {{ fault(name, text, 'is not > ' ~ column.exclusive_minimum) }}
        {%- endif %}
        {%- if column.accepted_values %}
        else {{ fault(name, text, 'is not one of ' ~ column.accepted_values | join(', ')) }}
        {%- endif %}
    end
{%- endmacro %}


{% macro fault(name, text, says) %}
    {#- `name: "text" says`, with a very long text cut at 80 characters. -#}
    {{- return(
        "'" ~ name ~ ": \"' || " ~ shown(text)
        ~ " || '\" " ~ dbt.escape_single_quotes(says) ~ "'"
    ) -}}
{% endmacro %}


{% macro shown(text) %}
    {{- return(
        "case when length(" ~ text ~ ") > 80 then substr(" ~ text ~ ", 1, 80) || '...' else "
        ~ text ~ " end"
    ) -}}
{% endmacro %}


{% macro repeats_reason(key) %}
    {%- set texts = [] -%}
    {%- for name in key -%}
        {%- do texts.append('judged.' ~ name ~ '_text') -%}
    {%- endfor -%}
    {{ return(
        "'" ~ key | join(', ') ~ ": \"' || " ~ shown(texts | join(" || ', ' || "))
        ~ " || '\" repeats; line ' || cast(winners.winning_line as string) || ' is kept'"
    ) }}
{% endmacro %}


{% macro text_literals(values) %}
    {%- set literals = [] -%}
    {%- for value in values -%}
        {%- do literals.append("'" ~ dbt.escape_single_quotes(value) ~ "'") -%}
    {%- endfor -%}
    {{ return(literals | join(', ')) }}
{% endmacro %}
