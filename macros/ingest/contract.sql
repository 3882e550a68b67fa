{#- The contract of a feed, as written in the sources' YAML. Nothing else in the project
    knows a feed's columns; docs/contracts.md explains the keys. -#}


{% macro feed_names() %}
    {#- The feeds in the order people read them. dbt needs the list while it parses, before
        it knows the sources; feed_contract() refuses a source that is missing here. -#}
    {{ return([
        'ads_spend',
        'customers', 'products', 'orders', 'order_items', 'fx_rates',
        'sales', 'countries',
        'departments', 'jobs', 'hired_employees',
    ]) }}
{% endmacro %}


{% macro keyed_feeds() %}
    {#- Those whose contract has a key. dbt needs the list while it parses; feed_contract() refuses a
        contract that says otherwise. -#}
    {{ return([
        'customers', 'products', 'orders', 'fx_rates', 'countries', 'departments', 'jobs',
        'hired_employees',
    ]) }}
{% endmacro %}


{% macro is_reference(feed) %}
    {#- Whether the feed's seed is no sample: it is read beside one's own files, too. -#}
    {%- if not execute -%}{{ return(false) }}{%- endif -%}
    {%- for source in graph.sources.values() if (source.source_name, source.name) == ('landing', feed) -%}
        {{ return((source.config.meta.get('feed') or {}).get('reference', false)) }}
    {%- endfor -%}
    {{ return(false) }}
{% endmacro %}


{% macro feed_contract(feed) %}
    {%- set sources = graph.sources.values()
        | selectattr('source_name', 'equalto', 'landing') | list -%}
    {%- set ns = namespace(source=none) -%}
    {%- for source in sources -%}
        {%- if source.name not in feed_names() -%}
            {%- do exceptions.raise_compiler_error(
                source.original_file_path ~ ': feed ' ~ source.name
                ~ ' is not in feed_names() of macros/ingest/contract.sql; add it there'
            ) -%}
        {%- endif -%}
        {%- if source.name == feed -%}{%- set ns.source = source -%}{%- endif -%}
    {%- endfor -%}
    {%- if ns.source is none -%}
        {%- do exceptions.raise_compiler_error(
            feed ~ ' is not a feed; the feeds are ' ~ feed_names() | join(', ')
        ) -%}
    {%- endif -%}

    {%- set where = ns.source.original_file_path ~ ': feed ' ~ feed -%}
    {%- set options = ns.source.config.meta.get('feed', {}) or {} -%}
    {%- do check_contract_keys(where, ns.source.config.meta, ['feed']) -%}
    {%- do check_contract_keys(where, options, ['key', 'date_column', 'headerless', 'missing', 'reference']) -%}

    {%- set columns = [] -%}
    {%- for column in ns.source.columns.values() -%}
        {%- set meta = column.config.meta -%}
        {%- do check_contract_keys(where ~ ', column ' ~ column.name, meta, [
            'required', 'minimum', 'exclusive_minimum', 'maximum', 'accepted_values', 'aliases', 'references',
            'id', 'missing',
        ]) -%}
        {%- set type = contract_type(where ~ ', column ' ~ column.name, column.data_type) -%}
        {%- do columns.append({
            'name': column.name,
            'type': type,
            'pattern': grammar(type) if type.name != 'text' else none,
            'required': meta.get('required', false),
            'minimum': meta.get('minimum'),
            'exclusive_minimum': meta.get('exclusive_minimum'),
            'maximum': meta.get('maximum'),
            'accepted_values': meta.get('accepted_values', []),
            'aliases': meta.get('aliases', []),
            'references': meta.get('references'),
            'is_id': column.data_type in ['text', 'integer', 'bigint'] and (
                meta.get('id', false) or column.name in options.get('key', []) or 'references' in meta
            ),
            'is_text_key': column.data_type == 'text' and column.name in options.get('key', []),
            'missing': meta.get('missing', options.get('missing')),
        }) -%}
    {%- endfor -%}

    {%- set required = columns | selectattr('required') | map(attribute='name') | list -%}
    {%- for name in options.get('key', []) -%}
        {%- if name not in required -%}
            {%- do exceptions.raise_compiler_error(
                where ~ ': key column ' ~ name ~ ' must be a column with required: true'
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if (options.get('key', []) | length > 0) != (feed in keyed_feeds()) -%}
        {%- do exceptions.raise_compiler_error(
            where ~ ': its key and keyed_feeds() of macros/ingest/contract.sql disagree; change one'
        ) -%}
    {%- endif -%}
    {%- if options.get('headerless') and not columns | rejectattr('pattern', 'none') | list -%}
        {%- do exceptions.raise_compiler_error(
            where ~ ': headerless needs a column that is not text, or a header could not be told from a row'
        ) -%}
    {%- endif -%}
    {%- set date_column = options.get('date_column') -%}
    {%- if date_column and date_column not in columns | map(attribute='name') -%}
        {%- do exceptions.raise_compiler_error(
            where ~ ': date_column ' ~ date_column ~ ' is not one of its columns'
        ) -%}
    {%- endif -%}

    {%- set names = [] -%}
    {%- for column in columns -%}
        {%- for name in [column.name] + column.aliases -%}
            {%- if name | lower in names -%}
                {%- do exceptions.raise_compiler_error(
                    where ~ ': ' ~ name ~ ' is the name or an alias of two columns'
                ) -%}
            {%- endif -%}
            {%- do names.append(name | lower) -%}
        {%- endfor -%}
    {%- endfor -%}

    {{ return({
        'feed': feed,
        'key': options.get('key', []),
        'date_column': date_column,
        'headerless': options.get('headerless', false),
        'reference': options.get('reference', false),
        'columns': columns,
    }) }}
{% endmacro %}


{% macro check_contract_keys(where, mapping, allowed) %}
    {#- A mistyped key would check nothing and nobody would notice. -#}
    {%- for key in mapping -%}
        {%- if key not in allowed -%}
            {%- do exceptions.raise_compiler_error(
                where ~ ': unknown key ' ~ key ~ '; the keys are ' ~ allowed | join(', ')
            ) -%}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}


{% macro contract_type(where, data_type) %}
    {#- 'decimal(18,2)' as {name: 'decimal', precision: 18, scale: 2, ...}; the others have a name. -#}
    {%- set decimal = modules.re.match('^decimal\\(([0-9]+), ?([0-9]+)\\)$', data_type or '') -%}
    {%- if decimal -%}
        {{ return({
            'name': 'decimal',
            'precision': decimal.group(1) | int,
            'scale': decimal.group(2) | int,
        }) }}
    {%- elif data_type in ['text', 'integer', 'bigint', 'date', 'timestamp'] -%}
        {{ return({'name': data_type}) }}
    {%- endif -%}
    {%- do exceptions.raise_compiler_error(
        where ~ ': data_type ' ~ data_type ~ ' is not one of text, integer, bigint, date, '
        ~ 'timestamp, decimal(precision,scale)'
    ) -%}
{% endmacro %}


{% macro feed_area(feed) %}
    {#- The area of a feed: the folder below models/staging where its contract stands. -#}
    {%- for source in graph.sources.values()
        if source.source_name == 'landing' and source.name == feed -%}
        {{ return(source.fqn[-3]) }}
    {%- endfor -%}
    {%- do exceptions.raise_compiler_error(feed ~ ' is not a feed') -%}
{% endmacro %}


{% macro feed_day(feed) %}
    {#- The business day of a row of base_<feed>, by the contract's date_column. -#}
    {%- set contract = feed_contract(feed) -%}
    {%- for column in contract.columns if column.name == contract.date_column -%}
        {{ return(business_date(column.name) if column.type.name == 'timestamp' else column.name) }}
    {%- endfor -%}
    {{ return('cast(null as date)') }}
{% endmacro %}
