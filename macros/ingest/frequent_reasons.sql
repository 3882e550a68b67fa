{% macro frequent_reasons(feed) %}
    {#- The three kinds of reasons for which most rows of a feed are rejected, with how many; a kind is a
        reason without the value of its row, as in warehouse/report.py. -#}
    {%- set query -%}
        select reason, count(*) as row_count
        from (
            select {{ one_row_each('reasons') }} as reason
            from {{ ref('rejected_rows') }}
            where feed = '{{ feed }}'
        ) as given
        group by reason
        order by row_count desc, reason
    {%- endset -%}
    {%- set kinds = {} -%}
    {%- for row in run_query(query ~ ' limit 1000').rows -%}
        {%- set kind = modules.re.sub('(?s): (?:".*" )?', ' ', row['reason'], count=1) -%}
        {%- do kinds.update({kind: kinds.get(kind, 0) + row['row_count'] | int}) -%}
    {%- endfor -%}
    {%- set shown = [] -%}
    {%- for kind, rows in (kinds.items() | sort(attribute=1, reverse=true))[:3] -%}
        {%- do shown.append(kind ~ ': ' ~ rows ~ (' row' if rows == 1 else ' rows')) -%}
    {%- endfor -%}
    {{ return(shown | join('; ')) }}
{% endmacro %}
