"""Models, seeds and snapshots as dbt's documentation writes them, added to the project and built.

    python -m tests.pipeline.textbook_models FOLDER RESULTS

runs in a process of its own (see tests/quality/one_process.py). FOLDER is a copy of the project; it
becomes the working directory. RESULTS is a file of JSON: what was found, by sentence.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.quality.one_process import Warehouse

TODAY = datetime.now(UTC).date()

ORDERS = "select * from {{ source('raw', 'orders') }}"
THINGS = "select * from {{ source('raw', 'things') }}"
NEWEST = "(select max(order_date) from {{ this }})"
NEW_ONLY = f"{{% if is_incremental() %}} where order_date > {NEWEST} {{% endif %}}"

# https://docs.getdbt.com/docs/build/incremental-models, -strategy, -microbatch
INCREMENTAL = {
    "inc_filtered": ("unique_key='order_id'", f"{ORDERS} {NEW_ONLY}"),
    "inc_two_keys": (
        "unique_key=['order_id', 'order_date'], incremental_strategy='delete+insert'",
        f"{ORDERS} {NEW_ONLY.replace('>', '>=')}",
    ),
    "inc_append": ("incremental_strategy='append'", f"{ORDERS} {NEW_ONLY}"),
    "inc_merge": ("unique_key='order_id', incremental_strategy='merge'", f"{ORDERS} {NEW_ONLY}"),
    "inc_merge_predicate": (
        "unique_key='order_id', incremental_strategy='merge', "
        "incremental_predicates=['DBT_INTERNAL_DEST.amount > 1000000']",
        f"{ORDERS} where order_id = 'O1'",
    ),
    "inc_microbatch": (
        "incremental_strategy='microbatch', event_time='order_date', batch_size='day', "
        f"begin='{TODAY - timedelta(days=1)}'",
        ORDERS,
    ),
    "inc_ignore": ("unique_key='id'", THINGS),
    "inc_append_new_columns": (
        "unique_key='id', on_schema_change='append_new_columns'",
        THINGS,
    ),
    "inc_sync_all_columns": (
        "unique_key='id', on_schema_change='sync_all_columns'",
        THINGS,
    ),
    "inc_fail": (
        "unique_key='id', on_schema_change='fail'",
        THINGS,
    ),
    "inc_hooks": (
        "pre_hook='insert into raw.audit values (1)', "
        "post_hook={'sql': 'insert into raw.audit values (2)', 'transaction': false}",
        "select 1 as id",
    ),
}

# Of a kept_table: what it reads is known to be the same, and so it is left alone.
LEFT_ALONE = {
    "kept_of_a_seed": "select * from {{ ref('regions') }}",
    "kept_through_a_view": "select * from {{ ref('seed_view') }}",
    "kept_of_an_ephemeral_model": "select * from {{ ref('seed_ephemeral') }}",
    "kept_of_a_kept_table": "select count(*) as regions from {{ ref('kept_of_a_seed') }}",
    "kept_of_many_kinds_of_sql": """
        with recursive n as (select 1 as i union all select i + 1 from n where i < 3),
        lists as (select list(i) as l from n)
        select
            l, date_trunc('month', date '2024-02-03') as m, regexp_replace('a', 'b', 'c') as r,
            row_number() over () as k, extract(year from date '2024-02-03') as y
        from lists, unnest([1, 2]) as numbers (u)
        """,
}
# And what it reads is not known to be the same, or it does something; so it is made in each build.
MADE_EACH_TIME = {
    "kept_of_a_source": ORDERS,
    "kept_of_a_written_name": "select * from raw.orders",
    "kept_of_a_name_alone": "with things as (select 1 as i) select * from things, main_things",
    "kept_of_a_shadowed_name": """
        with main_things as (select * from main_things) select * from main_things
        """,
    "kept_of_a_file": "select * from read_csv('textbook.csv')",
    "kept_of_a_quoted_file": "select * from 'textbook.csv'",
    "kept_of_run_query": """
        {% set rows = run_query('select random()').rows if execute else [[0]] %}
        select '{{ rows[0][0] }}' as chance
        """,
    "kept_with_a_clock": "select now() as i",
    "kept_with_a_day": "select current_date as i",
    "kept_with_chance": "select random() as i",
    "kept_with_a_sample": "select * from {{ ref('regions') }} using sample 50%",
    "kept_with_a_macro": "select lowest_order() as i",
    "kept_with_a_sequence": "select nextval('raw.numbers') as i",
    "kept_with_a_setting": "select getvariable('x') as i",
    "kept_of_a_table": "select * from {{ ref('plain_table') }}",
    "kept_of_an_incremental": "select * from {{ ref('inc_filtered') }}",
    "kept_of_a_snapshot": "select * from {{ ref('orders_by_check') }}",
    "kept_of_a_view_of_a_name": "select * from {{ ref('view_of_a_name') }}",
    "kept_of_a_view_with_a_clock": "select * from {{ ref('view_with_a_clock') }}",
    "kept_of_an_unparsed_query": "pivot raw.orders on order_date using sum(amount)",
    "kept_with_a_hook": "{{ config(post_hook='insert into raw.audit values (3)') }} select 1 as i",
}

OTHERS = {
    "plain_table": "{{ config(materialized='table') }} select 1 as i",
    "seed_view": "{{ config(materialized='view') }} select * from {{ ref('regions') }}",
    "view_of_a_name": "{{ config(materialized='view') }} select * from raw.orders",
    "view_with_a_clock": "{{ config(materialized='view', alias='clock') }} select today() as i",
    "seed_ephemeral": "{{ config(materialized='ephemeral') }} select * from {{ ref('regions') }}",
    "promised": "{{ config(materialized='kept_table', indexes=[{'columns': ['code']}], "
    "persist_docs={'relation': true}) }} select code from {{ ref('regions') }}",
}

PROPERTIES = """
version: 2
sources:
  - name: raw
    schema: raw
    tables:
      - name: orders
        config: {event_time: order_date}
      - name: things
models:
  - name: promised
    description: What is promised.
    config: {contract: {enforced: true}}
    columns:
      - name: code
        data_type: varchar
        constraints: [{type: not_null}]
seeds:
  - name: regions
    config:
      delimiter: "|"
      quote_columns: true
      column_types: {code: varchar, since: date, "Share": "decimal(5,2)"}
"""

SNAPSHOTS = """
{% snapshot orders_by_time %}
{{ config(unique_key='order_id', strategy='timestamp', updated_at='order_date') }}
select * from raw.orders where order_id in ('O1', 'O2')
{% endsnapshot %}
{% snapshot orders_by_check %}
{{ config(unique_key='order_id', strategy='check', check_cols=['amount']) }}
select * from raw.orders where order_id in ('O1', 'O2')
{% endsnapshot %}
"""


def write(models: Mapping[str, str], config: str = "") -> None:
    """Write a file for each model."""
    for name, sql in models.items():
        Path("models/textbook", f"{name}.sql").write_text(config + sql + "\n")


def add_to_project() -> None:
    """Add the files of the textbook."""
    for folder in ("models/textbook", "seeds/textbook", "snapshots"):
        Path(folder).mkdir()
    for name, (config, sql) in INCREMENTAL.items():
        write({name: sql}, f"{{{{ config(materialized='incremental', {config}) }}}}\n")
    write(LEFT_ALONE | MADE_EACH_TIME, "{{ config(materialized='kept_table') }}\n")
    write(OTHERS)
    Path("models/textbook/in_python.py").write_text(
        "def model(dbt, session):\n    return session.sql('select 1 as i')\n"
    )
    Path("models/textbook/_textbook.yml").write_text(PROPERTIES)
    Path("snapshots/orders.sql").write_text(SNAPSHOTS)
    Path("textbook.csv").write_text("a,b\n1,2\n")
    Path("seeds/textbook/regions.csv").write_text("code|since|Share\n01|2024-01-01|0.50\nx||\n")
    profiles = Path("profiles/profiles.yml")
    text = profiles.read_text()
    start, end = text.index("    duckdb:\n"), text.index("    # A Spark cluster")
    other = (
        text[start:end].replace("    duckdb:", "    dev:").replace("schema: main", "schema: dev")
    )
    profiles.write_text(text[:end] + other + text[end:])


class Textbook(Warehouse):
    """The project with the files of the textbook."""

    def change(self, *statements: str) -> None:
        """Change the database, as another program does."""
        import duckdb

        self.close()
        with duckdb.connect(str(self.database)) as connection:
            for statement in statements:
                connection.execute(statement)

    def run(self, command: str, *arguments: str) -> dict[str, str]:
        """Run dbt on the textbook; what became of each node."""
        results = self.dbt(command, *arguments)
        self.close()
        return {
            result.node.name: result.adapter_response.get("code", result.status)
            if result.status == "success"
            else f"{result.status}: {result.message}"
            for result in results
        }

    def count(self, table: str) -> int:
        """Rows of a table of the textbook."""
        rows: int = self.query(f"select count(*) from main.{table}")[0][0]
        return rows

    def columns(self, table: str) -> list[str]:
        """Columns of a table of the textbook."""
        return [row[0] for row in self.query(f"describe main.{table}")]


def look(book: Textbook) -> dict[str, Any]:
    """Build it, change what it reads, build it again, and so on."""
    found: dict[str, Any] = {}
    select = ("--select", "path:models/textbook", "path:snapshots", "path:seeds/textbook")
    book.change(
        "create schema raw",
        "create table raw.orders as select 'O' || i as order_id, "
        "date '2020-01-01' + cast(i // 100 as integer) as order_date, i as amount "
        "from range(1, 2390) as numbers (i)",
        "create table raw.things as select 1 as id, 'a' as name",
        "create table main.main_things as select 1 as j",
        "create table raw.audit (step integer)",
        "create sequence raw.numbers",
        "create macro main.lowest_order() as (select min(amount) from raw.orders)",
    )
    first = book.run("build", *select, "--exclude-resource-type", "test", "unit_test")
    found["all of it builds"] = {n: s for n, s in first.items() if ":" in s}
    found["types of a seed with column_types"] = book.query(
        "select column_name, data_type from duckdb_columns() where table_name = 'regions' "
        "order by 1"
    )
    found["rows of a seed"] = book.query("select * from seeds.regions order by code")
    found["a contract, an index and a comment of a kept table"] = (
        book.query("select is_nullable from duckdb_columns() where table_name = 'promised'"),
        book.query("select count(*) from duckdb_indexes() where table_name = 'promised'"),
        book.query("select comment from duckdb_tables() where table_name = 'promised'"),
    )

    again = book.run("build", *select, "--exclude-resource-type", "test", "unit_test")
    kept = {name for name, state in again.items() if state == "UNCHANGED"}
    found["left alone in a second build"] = sorted(kept)
    found["hooks run in each build"] = book.query("select list(step order by step) from raw.audit")

    # Two new orders, one correction of an old one, another layout of the things.
    book.change(
        f"insert into raw.orders values ('N1', '{TODAY}', 1), ('N2', '{TODAY}', 2)",
        "update raw.orders set amount = 0, order_date = order_date + 1 where order_id = 'O1'",
        "alter table raw.things add column colour varchar",
        "alter table raw.things drop column name",
        "insert into raw.things values (2, 'red')",
    )
    third = book.run("build", *select, "--exclude-resource-type", "test", "unit_test")
    found["on_schema_change: fail"] = "out of sync" in third["inc_fail"]
    found["rows of incremental models"] = {
        name: book.count(name) for name in INCREMENTAL if name not in ("inc_hooks", "inc_fail")
    }
    found["what a merge with a predicate left"] = book.query(
        "select order_id, amount from main.inc_merge_predicate order by all"
    )
    found["columns by on_schema_change"] = {
        name: book.columns(name)
        for name in ("inc_ignore", "inc_append_new_columns", "inc_sync_all_columns")
    }
    found["versions in snapshots"] = [book.count("orders_by_time"), book.count("orders_by_check")]

    book.change("delete from raw.orders where order_id <> 'O1'")
    book.run("run", "--full-refresh", "--select", "inc_filtered", "inc_append")
    found["rows after --full-refresh"] = [book.count("inc_filtered"), book.count("inc_append")]

    # By hand: a table, one that others read, and one that is read before it is mended.
    book.change(
        "update main.kept_of_a_seed set code = 'edited' where code = 'x'",
        "insert into main.kept_through_a_view select * from main.kept_through_a_view",
        "alter table main.kept_of_an_ephemeral_model rename code to renamed",
    )
    book.run("run", "--full-refresh", "--select", "kept_of_a_kept_table")
    edited = book.run("run", "--select", *LEFT_ALONE)
    found["made anew when changed by hand"] = sorted(
        n for n, s in edited.items() if s != "UNCHANGED"
    )
    found["as it was before"] = [
        book.query("select code from main.kept_of_a_seed order by 1"),
        book.count("kept_through_a_view"),
        book.columns("kept_of_an_ephemeral_model")[0],
    ]
    found["and then left alone"] = sorted(set(book.run("run", "--select", *LEFT_ALONE).values()))

    # https://docs.getdbt.com/reference/commands/clone
    Path("target/manifest.json").rename("manifest.json")
    Path("state").mkdir()
    Path("manifest.json").rename("state/manifest.json")
    cloned = ("plain_table", "kept_of_a_seed", "inc_filtered", "regions")
    book.run("clone", "--state", "state", "--target", "dev", "--select", *cloned)
    found["clones, and their rows"] = book.query(
        "select table_schema, table_name, table_type from information_schema.tables "
        "where table_schema in ('dev', 'dev_seeds') order by all"
    ) + book.query("select count(*) from dev.kept_of_a_seed")
    book.run("run", "--target", "dev", "--select", "kept_of_a_seed")
    found["two targets in one database know their own tables"] = [
        book.run("run", "--target", target, "--select", "kept_of_a_seed")["kept_of_a_seed"]
        for target in ("duckdb", "dev", "duckdb")
    ]
    return found


def main() -> None:
    """Build the copy that the command line names."""
    folder, results = map(Path, sys.argv[1:])
    book = Textbook(folder)
    add_to_project()
    results.write_text(json.dumps(look(book), default=str, indent=1))


if __name__ == "__main__":
    main()
