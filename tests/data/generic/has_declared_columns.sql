{% test has_declared_columns(model) %}
{#- Passes when the model has just the columns that its YAML declares, of these types: what an
    enforced contract does for a SQL model. dbt enforces none on a Python model. -#}
{%- if execute -%}
    {%- set declared, found = {}, {} -%}
    {%- set casts = [] -%}
    {%- for column in declared_model(model.identifier).columns.values() -%}
        {%- do casts.append(
            'cast(null as ' ~ api.Column.translate_type(column.data_type) ~ ') as '
            ~ adapter.quote(column.name)
        ) -%}
    {%- endfor -%}
    {%- for column in adapter.get_column_schema_from_query('select ' ~ casts | join(', ')) -%}
        {%- do declared.update({column.name: column.data_type}) -%}
    {%- endfor -%}
    {%- for column in adapter.get_column_schema_from_query('select * from ' ~ model) -%}
        {%- do found.update({column.name: column.data_type}) -%}
    {%- endfor -%}
    {%- set faults = [] -%}
    {%- for name in (declared.keys() | list + found.keys() | list) | unique -%}
        {%- if declared.get(name) != found.get(name) -%}
            {%- do faults.append(
                text_literals([name]) ~ ' as column_name, ' ~ text_literals([declared.get(name, 'none') | string])
                ~ ' as declared_type, ' ~ text_literals([found.get(name, 'none') | string]) ~ ' as found_type'
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for fault in faults %}
select {{ fault }}
{{ 'union all' if not loop.last }}
    {%- else %}
select
    'none' as column_name
where 1 = 0
    {%- endfor %}
{%- endif -%}
{% endtest %}
