{% macro declared_model(model_name) %}
    {#- The node of a model, with what its YAML says. -#}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.name == model_name -%}
        {{ return(node) }}
    {%- endfor -%}
    {%- do exceptions.raise_compiler_error(model_name ~ ' is not a model') -%}
{% endmacro %}


{% macro declared_grain(model_name) %}
    {#- The columns that tell a model's rows apart, from its YAML (config: meta: grain). -#}
    {%- set meta = declared_model(model_name).config.meta -%}
    {%- if 'grain' in meta -%}{{ return(meta.grain) }}{%- endif -%}
    {%- do exceptions.raise_compiler_error(model_name ~ ' declares no grain (config: meta: grain)') -%}
{% endmacro %}
