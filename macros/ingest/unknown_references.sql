{% macro unknown_references() %}
    {#- For each `references` of the contracts: how many accepted rows name a member that the other
        feed does not have. A missing reference is not an unknown one.

        Columns: feed, reference (the column), referenced_feed, rows. -#}
    {%- for feed in feed_names() -%}{%- do accepted_rows(feed) -%}{%- endfor -%}
    {%- if not execute -%}{{ return('') }}{%- endif -%}

    {%- set queries = [] -%}
    {%- for feed in feed_names() -%}
        {%- for column in feed_contract(feed).columns if column.references -%}
            {%- do queries.append(unknown_reference(feed, column)) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ queries | join('\nunion all\n') }}
{% endmacro %}


{% macro unknown_reference(feed, column) %}
    {%- set target = column.references -%}
    {%- set where = 'contract of feed ' ~ feed ~ ', column ' ~ column.name ~ ', references' -%}
    {%- do check_contract_keys(where, target, ['feed', 'column']) -%}
    {%- set target_columns = feed_contract(target.feed).columns | map(attribute='name') | list -%}
    {%- if target.column not in target_columns -%}
        {%- do exceptions.raise_compiler_error(
            where ~ ': feed ' ~ target.feed ~ ' has no column ' ~ target.column
        ) -%}
    {%- endif -%}
select
    '{{ feed }}' as feed,
    '{{ column.name }}' as reference,
    '{{ target.feed }}' as referenced_feed,
    count(*) as unknown_rows
from ({{ accepted_rows(feed) }}) as referring
-- Members may repeat here: only rows without one are counted.
left join (
    select {{ target.column }} from {{ ref('base_' ~ target.feed) }}
    where _reasons is null
) as referred
    on referring.{{ column.name }} = referred.{{ target.column }}
where referring.{{ column.name }} is not null and referred.{{ target.column }} is null
{%- endmacro %}
