{% macro say_why_nothing_was_published(results) %}
    {#- One line at the end of a build or run that published nothing: why, and what readers keep.
        Args: results of the run, as dbt gives them to on-run-end. -#}
    {%- if execute and flags.WHICH in ['build', 'run'] and target.type == 'duckdb' and loads_publishing() -%}
        {%- set came = namespace(publication=none) -%}
        {%- set failed = [] -%}
        {%- for result in results -%}
            {%- if result.node.config.materialized == 'publication' -%}
                {%- set came.publication = result.status | string -%}
            {%- endif -%}
            {%- if result.status | string in ['error', 'fail', 'partial success'] -%}
                {%- do failed.append(result.node.name) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if came.publication != 'success' -%}
            {%- if failed -%}
                {%- set why = failed[:3] | join(', ')
                    ~ (' and ' ~ (failed | length - 3) ~ ' more' if failed | length > 3 else '') ~ ' failed' -%}
            {%- else -%}
                {%- set why = 'publication was not selected (dbt build without --select or --exclude publishes)' -%}
            {%- endif -%}
            {%- do log('Not published: ' ~ why ~ '; ' ~ publishing('what_readers_see'), info=true) -%}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}
