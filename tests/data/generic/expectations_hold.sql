{% test expectations_hold(model, level) %}
{#- Passes when no expectation of this severity failed. Says what each of the others observed, since
    the number of rows that dbt reports helps nobody.

    level: critical or warning -#}
{%- set failed -%}
select
    suite,
    expectation,
    {{ adapter.quote('column') }} as about,
    expected,
    observed
from {{ model }}
where
    severity = '{{ level }}'
    and not success
{%- endset -%}
{%- if execute and flags.WHICH in ['build', 'test'] -%}
    {%- for row in run_query(failed ~ ' order by suite, position').rows -%}
        {%- do log(
            ('expectation failed: ' if level == 'critical' else 'expectation not met: ')
            ~ row['suite'] ~ ': ' ~ row['about'] ~ (': ' if row['about'])
            ~ row['expectation'] ~ ' (' ~ row['expected'] ~ '): ' ~ row['observed'],
            info=true
        ) -%}
    {%- endfor -%}
{%- endif -%}
{{ failed }}
{% endtest %}
