{% test keeps_contract(model, feed) %}
{#- Passes when every accepted row of base_<feed> is as the feed's contract says: required columns
    filled, numbers in range, texts among the accepted ones, keys unique. It asks the typed
    columns, not the cells, so that it does not repeat how base_<feed> judged them; one pass, and
    a second one for a key. -#}
{%- if execute -%}
    {%- set contract = feed_contract(feed) -%}
    {%- set faults = [] -%}
    {%- for column in contract.columns -%}
        {%- if column.required -%}
            {%- do faults.append(column.name ~ ' is null') -%}
        {%- endif -%}
        {%- if column.minimum is not none -%}
            {%- do faults.append(column.name ~ ' < ' ~ column.minimum) -%}
        {%- endif -%}
        {%- if column.exclusive_minimum is not none -%}
            {%- do faults.append(column.name ~ ' <= ' ~ column.exclusive_minimum) -%}
        {%- endif -%}
        {%- if column.accepted_values -%}
            {%- do faults.append(column.name ~ ' not in (' ~ text_literals(column.accepted_values) ~ ')') -%}
        {%- endif -%}
    {%- endfor %}
select
    _file,
    _line_number,
    'breaks a rule of its columns' as fault
from {{ model }}
where
    _reasons is null
    and ({{ faults | join(' or ') }})
    {%- if contract.key %}

union all

select
    max(_file) as _file,
    max(_line_number) as _line_number,
    'repeats {{ contract.key | join(", ") }}' as fault
from {{ model }}
where _reasons is null
group by {{ contract.key | join(', ') }}
having count(*) > 1
    {%- endif -%}
{%- endif -%}
{% endtest %}
