{% macro declared_grain(model_name) %}
    {#- The columns that tell a model's rows apart, from its YAML (config: meta: grain). -#}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.name == model_name -%}
        {%- if 'grain' in node.config.meta -%}{{ return(node.config.meta.grain) }}{%- endif -%}
    {%- endfor -%}
    {%- do exceptions.raise_compiler_error(model_name ~ ' declares no grain (config: meta: grain)') -%}
{% endmacro %}
