{% test keeps_contract(model, feed) %}
{#- Passes when every accepted row of base_<feed> is as the feed's contract says: required columns
    filled, numbers in range, texts among the accepted ones. It asks the typed columns, not the cells,
    so that it does not repeat how base_<feed> judged them. That keys are unique is asked of
    stg_<feed>, where repeated ones are left out. -#}
{%- if execute -%}
    {%- set contract = feed_contract(feed) -%}
    {%- set faults = [] -%}
    {%- for column in contract.columns -%}
        {%- if column.required -%}
            {%- do faults.append(column.name ~ ' is null') -%}
        {%- endif -%}
        {%- if column.minimum is not none -%}
            {%- do faults.append(column.name ~ ' < ' ~ limit(column, column.minimum)) -%}
        {%- endif -%}
        {%- if column.exclusive_minimum is not none -%}
            {%- do faults.append(column.name ~ ' <= ' ~ column.exclusive_minimum) -%}
        {%- endif -%}
        {%- if column.maximum is not none -%}
            {%- do faults.append(day_or_number(column) ~ ' > ' ~ limit(column, column.maximum)) -%}
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
{%- endif -%}
{% endtest %}
