{#- A seed that is named after a feed is its sample (or reference) input, and loads as text through
    DuckDB's CSV reader. dbt's default also parses each file in Python, which takes longer than the load,
    and guesses types; here typing happens in base_<feed>, by the contract. Any other seed is loaded by
    dbt's default.

    The header must name each column of the contract, in any order and case, by name or alias. Columns that the contract does not
    know are kept in the table and reported. One column is added: _line_number, the line of the
    file on which the row starts.

    The file is read beside the old table, which is replaced only when all of it was read. -#}


{% materialization seed, adapter='duckdb' %}

    {%- if model.name not in feed_names() -%}
        {{ return(dbt.materialization_seed_default()) }}
    {%- endif -%}

    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set old_relation = adapter.get_relation(
        database=this.database, schema=this.schema, identifier=this.identifier
    ) -%}
    {%- set new_relation = make_intermediate_relation(target_relation) -%}
    {%- set backup_relation = make_backup_relation(target_relation, 'table') -%}
    {%- set path = adapter.get_seed_file_path(model) -%}

    {%- if old_relation is not none and old_relation.is_view -%}
        {%- do exceptions.raise_compiler_error(
            old_relation.render() ~ ' is a view; drop it, then seed again'
        ) -%}
    {%- endif -%}
    {%- if config.get('column_types') -%}
        {%- do exceptions.raise_compiler_error(
            model.original_file_path ~ ': column_types has no effect, seeds load as text; '
            ~ 'give the type in the contract of the feed'
        ) -%}
    {%- endif -%}

    {%- set header = read_seed_header(path) -%}
    {%- do drop_relation_if_exists(load_cached_relation(new_relation)) -%}
    {%- do drop_relation_if_exists(load_cached_relation(backup_relation)) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set insert_sql = insert_seed_rows(new_relation, path, header) -%}
    {%- do run_query(create_seed_table(new_relation, header)) -%}
    {%- do run_query(insert_sql) -%}
    {%- do refuse_broken_lines(new_relation) -%}
    {%- set row_count = number_lines(new_relation, path, header) -%}
    {%- call noop_statement('main', 'INSERT ' ~ row_count, 'INSERT', row_count) -%}
        {{ insert_sql }}
    {%- endcall -%}

    {%- if old_relation is not none -%}
        {%- do adapter.rename_relation(old_relation, backup_relation) -%}
    {%- endif -%}
    {%- do adapter.rename_relation(new_relation, target_relation) -%}

    {%- set preview -%}
        select * exclude (_line_number) from {{ target_relation }} order by _line_number limit 10
    {%- endset -%}
    {%- do store_result('agate_table', response='OK', agate_table=run_query(preview)) -%}

    {%- do apply_grants(target_relation, config.get('grants'), should_revoke=false) -%}
    {%- do persist_docs(target_relation, model) -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {%- do drop_relation_if_exists(backup_relation) -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_relation]}) }}

{% endmaterialization %}


{#- On Spark, the rows go over the wire as text: seeds are small. -#}
{% materialization seed, adapter='spark' %}

    {%- if model.name not in feed_names() -%}
        {{ return(dbt.materialization_seed_default()) }}
    {%- endif -%}

    {%- do require_plugin('warehouse.loading') -%}
    {{ run_hooks(pre_hooks) }}
    {%- set call = {
        'contract': feed_contract(model.name),
        'file': model.original_file_path,
        'table': this.render(),
    } -%}
    {%- do adapter.store_relation('seeding', this, [], '', 'parquet', call) -%}
    {%- call noop_statement('main', 'INSERT ' ~ call.rows, 'INSERT', call.rows) -%}
        {{ call.sql }}
    {%- endcall -%}
    {%- set names = call.contract.columns | map(attribute='name') | join(', ') -%}
    {%- set preview = 'select ' ~ names ~ ' from ' ~ this ~ ' order by _line_number limit 10' -%}
    {%- do store_result('agate_table', response='OK', agate_table=run_query(preview)) -%}
    {{ run_hooks(post_hooks) }}

    {{ return({'relations': [this.incorporate(type='table')]}) }}

{% endmaterialization %}


{% macro read_seed_header(path) %}
    {#- What the first line of a seed's file says, checked against the contract of its feed.

        Returns {delimiter, has_header, columns}: the table's columns in the file's order, the
        contract's names for those it knows. Raises a compiler error that names the column. -#}
    {%- set contract = feed_contract(model.name) -%}
    {%- set first_line = read_first_line(path) -%}
    {%- set where = model.original_file_path -%}
    {%- if first_line is none -%}
        {%- do exceptions.raise_compiler_error(where ~ ': the file is empty or begins with a blank line; it needs a header line') -%}
    {%- endif -%}

    {%- set canonical = {} -%}
    {%- for column in contract.columns -%}
        {%- for name in [column.name] + column.aliases -%}
            {%- do canonical.update({name | lower: column.name}) -%}
        {%- endfor -%}
    {%- endfor -%}

    {#- The delimiter is the one that finds most columns of the contract, and of a row most cells that are
        their type; dbt's default is a comma. A column's own name beats its alias beside it. -#}
    {%- set wanted = contract.columns | map(attribute='name') | list -%}
    {%- set best = namespace(delimiter=',', names=[], score=(-1, -1, 0)) -%}
    {%- for delimiter in [config.get('delimiter', ','), ',', ';', '\t'] -%}
        {%- set cells = [] -%}
        {%- for cell in first_line.split(delimiter) -%}
            {%- set text = cell | trim -%}
            {%- do cells.append(text[1:-1] | trim if text[:1] in ['"', "'"] and text[:1] == text[-1:] else text) -%}
        {%- endfor -%}
        {%- set titles, names, typed = cells | map('lower') | list, [], [] -%}
        {%- for title in titles -%}
            {%- set name = canonical.get(title, title) -%}
            {%- do names.append(title if name | lower in titles and name | lower != title else name) -%}
        {%- endfor -%}
        {%- for column in contract.columns if cells | length == wanted | length -%}
            {%- if column.pattern and modules.re.fullmatch(column.pattern, cells[loop.index0]) -%}
                {%- do typed.append(column.name) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- set score = (names | select('in', wanted) | list | length, typed | length, names | length) -%}
        {%- if score > best.score -%}
            {%- set best.delimiter, best.names, best.score = delimiter, names, score -%}
        {%- endif -%}
    {%- endfor -%}

    {%- set required = contract.columns | selectattr('required') | map(attribute='name') | list -%}
    {%- set absent = wanted | reject('in', best.names) | list -%}
    {%- set missing = absent | select('in', required) | list -%}
    {%- if missing and contract.headerless and best.score[1] > 0 -%}
        {{ return({
            'delimiter': best.delimiter, 'has_header': false, 'columns': wanted, 'absent': []
        }) }}
    {%- endif -%}
    {%- if missing -%}
        {%- do exceptions.raise_compiler_error(
            where ~ ': missing column ' ~ missing | join(', ') ~ '; the header says '
            ~ best.names | join(', ') ~ '. Add it to the header; the contract of feed ' ~ model.name
            ~ ' requires it'
        ) -%}
    {%- endif -%}
    {%- if absent -%}
        {%- do exceptions.warn(
            where ~ ': has no column ' ~ absent | join(', ') ~ '; it is taken as empty'
        ) -%}
    {%- endif -%}
    {%- for name in best.names -%}
        {%- if best.names.count(name) > 1 -%}
            {%- do exceptions.raise_compiler_error(
                where ~ ': duplicated column ' ~ name ~ ' in the header; keep one of them'
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set extra = best.names | reject('in', wanted) | list -%}
    {%- if extra -%}
        {%- do exceptions.warn(
            where ~ ': ignored column ' ~ extra | join(', ')
            ~ ', which the contract of feed ' ~ model.name ~ ' does not know'
        ) -%}
    {%- endif -%}
    {{ return({
        'delimiter': best.delimiter, 'has_header': true, 'columns': best.names, 'absent': absent
    }) }}
{% endmacro %}


{% macro read_first_line(path) %}
    {%- set rows = run_query('select line from ' ~ lines_of(path, buffer_size=2100000) ~ ' limit 1').rows -%}
    {{ return(rows[0][0] if rows else none) }}
{% endmacro %}


{% macro lines_of(path, buffer_size=32000000) %}
    {#- The lines of a file as a relation with one column, `line`.

        buffer_size: bytes read at a time; more than the 2 MB that a line may have -#}
    read_csv(
        {{ text_literals([path]) }}, columns = {'line': 'varchar'}, auto_detect = false, hive_partitioning = false,
        header = false, delim = '\x00', quote = '', escape = '', strict_mode = false,
        ignore_errors = true, null_padding = true, buffer_size = {{ buffer_size }}
    )
{% endmacro %}


{% macro create_seed_table(relation, header) %}
    {#- Text is stored as it is: to compress it takes a third of the load, and a seed is read once. -#}
    create table {{ relation }} (
        {%- for name in header.columns + header.absent %}
        "{{ name | replace('"', '""') }}" varchar using compression 'uncompressed',
        {%- endfor %}
        _line_number bigint
    )
{% endmacro %}


{% macro insert_seed_rows(relation, path, header) %}
    {#- The rows of the file as they come, which DuckDB keeps in their order. Their lines come later, since
        a number for each row would keep the read on one thread. -#}
    insert into {{ relation }}
    select
        *,
        {%- for _ in header.absent %}
        null,
        {%- endfor %}
        null
    from read_csv(
        {{ text_literals([path]) }},
        columns = {
            {%- for column in header.columns %}{{ text_literals([column]) }}: 'varchar'
            {{- ', ' if not loop.last }}{% endfor -%}
        },
        auto_detect = false,
        hive_partitioning = false,
        header = {{ header.has_header }},
        delim = {{ text_literals([header.delimiter]) }},
        quote = '"',
        escape = '"',
        store_rejects = true,
        rejects_table = {{ text_literals([rejects_table()]) }},
        rejects_scan = {{ text_literals([rejects_table() ~ '_scan']) }}
    )
{% endmacro %}


{% macro rejects_table() %}
    {#- A temporary table of the connection; a name each, since seeds load side by side. -#}
    {{ return('_broken_lines_of_' ~ model.name) }}
{% endmacro %}


{% macro refuse_broken_lines(relation) %}
    {#- A line that is not CSV, or not UTF-8, would be a lost row: the whole file is refused. -#}
    {%- set found = run_query(
        'select line, error_type, csv_line, count(*) over () as broken_lines from '
        ~ rejects_table() ~ ' order by line limit 1'
    ).rows -%}
    {%- do run_query('drop table if exists ' ~ rejects_table()) -%}
    {%- do run_query('drop table if exists ' ~ rejects_table() ~ '_scan') -%}
    {%- for row in found -%}
        {%- set text = (row[2] or '').split('\n')[0] -%}
        {%- do exceptions.raise_compiler_error(
            model.original_file_path ~ ': line ' ~ row[0] ~ ' ' ~ {
                'TOO MANY COLUMNS': 'has too many fields',
                'MISSING COLUMNS': 'has too few fields',
                'UNQUOTED VALUE': 'has a quote that is not closed or not doubled',
                'INVALID ENCODING': 'is not UTF-8; save the file as UTF-8',
                'LINE SIZE OVER MAXIMUM': 'is longer than 2 MB',
            }.get(row[1], row[1] | lower)
            ~ ' (' ~ row[3] ~ ' broken in all): ' ~ text[:80] ~ '. Mend the file; nothing of it was loaded'
        ) -%}
    {%- endfor -%}
{% endmacro %}


{% macro number_lines(relation, path, header) %}
    {#- Set the line of each row; returns the number of rows.

        Rows and lines part ways where the file has blank lines or line ends inside quotes. There, a
        line starts a row when the quotes before it are balanced and it is not blank. -#}
    {%- set header_lines = 1 if header.has_header else 0 -%}
    {%- set counts = run_query(
        'select (select count(*) from ' ~ relation ~ ') as rows_read, count(*) as lines from '
        ~ lines_of(path)
    ).rows[0] -%}
    {%- do run_query(
        'update ' ~ relation ~ ' set _line_number = rowid + ' ~ (1 + header_lines)
    ) -%}
    {%- if counts[1] != counts[0] + header_lines -%}
        {%- set row_starts -%}
            with

            split as (

                select string_split(content, chr(10)) as file_lines
                from read_text({{ text_literals([path]) }})

            ),

            lines as (

                select
                    unnest(file_lines) as line,
                    generate_subscripts(file_lines, 1) as line_number
                from split

            ),

            quoted as (

                select
                    line,
                    line_number,
                    coalesce(sum(length(line) - length(replace(line, '"', ''))) over (
                        order by line_number rows between unbounded preceding and 1 preceding
                    ), 0) % 2 as is_inside_quotes
                from lines

            )

            select
                line_number,
                row_number() over (order by line_number) as position
            from quoted
            where is_inside_quotes = 0 and rtrim(line, chr(13)) <> ''
        {%- endset -%}
        {%- set found = run_query('select count(*) from (' ~ row_starts ~ ')').rows[0][0] -%}
        {%- if found != counts[0] + header_lines -%}
            {%- do exceptions.raise_compiler_error(
                model.original_file_path ~ ': the line of each row cannot be told, since the file has '
                ~ 'blank lines or line breaks in fields, and quotes in fields without quotes. '
                ~ 'Remove the blank lines, or quote the fields that hold a quote'
            ) -%}
        {%- endif -%}
        {%- do run_query(
            'update ' ~ relation ~ ' as seed set _line_number = row_starts.line_number'
            ~ ' from (' ~ row_starts ~ ') as row_starts'
            ~ ' where row_starts.position = seed._line_number'
        ) -%}
    {%- endif -%}
    {{ return(counts[0]) }}
{% endmacro %}
