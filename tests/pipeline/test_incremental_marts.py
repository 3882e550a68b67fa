"""A build makes only what changed, and the marts are those of a full refresh."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.support import ROOT, Project, copy_of, overwrite, own_environment
from warehouse.published import CATALOG, LOG, PublishedFolder, sha256_of

NO_SAMPLE = {"WAREHOUSE_SAMPLE_DATA": "0"}
LEFT_OUT = ("--exclude", "expectation_results", "publication")
# Those that make their tables from the files that changed.
INCREMENTAL = {"int_orders", "order_lines", "product_daily_growth"}

ORDERS = "order_id,customer_id,order_date,total_amount,status\n"
LINES = "order_id,product_id,quantity,ordered_at\n"
PRODUCTS = "product_id,name,category,price,inventory_count\nP1,Mug,Kitchen,10,1\nP2,Cup,Home,5,1\n"
RATES = "rate_date,from_currency,to_currency,rate\n2024-01-01,BRL,USD,0.2\n2024-01-03,BRL,USD,0.3\n"


def made(project: Project) -> dict[str, str]:
    """Each table of the last run, and whether it was made or left as it was."""
    results = json.loads((project.folder / "target/run_results.json").read_text())["results"]
    return {
        result["unique_id"].split(".")[2]: result["adapter_response"].get("code", "made")
        for result in results
        if result["unique_id"].startswith("model.")
    }


def compressed_otherwise(published: PublishedFolder, version: str) -> dict[str, str]:
    """Write a snapshot's files as no build would; the SHA-256 of each, by the mart's name."""
    folder, catalog = published.folder(version), published.catalog(version)
    for mart in catalog["marts"]:
        file = folder / mart["file"]
        content = duckdb.read_parquet(str(file))
        content.write_parquet(f"{file}.new", compression="gzip")
        Path(f"{file}.new").replace(file)
        mart["bytes"], mart["sha256"] = file.stat().st_size, sha256_of(file)
    overwrite(folder / CATALOG, json.dumps(catalog).encode())
    log = published.path / LOG
    entry = json.loads(log.read_text())
    log.write_text(json.dumps(entry | {"catalog_sha256": sha256_of(folder / CATALOG)}) + "\n")
    return {mart["name"]: mart["sha256"] for mart in catalog["marts"]}


def run(project: Project, *arguments: str) -> dict[str, str]:
    """Run every model but those that only look; what became of each."""
    outcome = project.dbt("run", *arguments, *LEFT_OUT, **NO_SAMPLE)
    assert outcome.exit_code == 0, outcome.lines[-20:]
    return made(project)


def lines(project: Project) -> list[tuple[object, ...]]:
    """Each order line: order, day, product, price and rate."""
    return project.query(
        "select order_id, cast(date as varchar), product_name, cast(total_price as double), "
        "cast(fx_rate as double) from marts.order_lines order by all"
    )


def everything(project: Project) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the marts and the tables between, but for when they were loaded."""
    tables = project.query(
        "select schema_name, table_name from duckdb_tables() where schema_name in "
        "('marts', 'intermediate') and table_name not in "
        "('feed_health', 'int_feed_files', 'expectation_results')"
    )
    return {
        name: project.query(f"select * from {schema}.{name} order by all")
        for schema, name in tables
    }


def was_whole(project: Project) -> set[str]:
    """The incremental tables that the last run made as a whole, and why, as the log says."""
    log = (project.folder / "logs/dbt.log").read_text()
    (project.folder / "logs/dbt.log").unlink()
    return {line.split("]: ")[1] for line in log.splitlines() if "is made as a whole" in line}


@pytest.fixture
def shop(project: Project) -> Project:
    """A shop of three orders on three days, built."""
    project.land("orders/a.csv", ORDERS + "O1,C1,2024-01-01,10,completed\n", age_seconds=90)
    project.land("orders/b.csv", ORDERS + "O2,C1,2024-01-02,20,completed\n", age_seconds=80)
    project.land("order_items/a.csv", LINES + "O1,P1,1,\nO2,P1,2,\n", age_seconds=70)
    project.land("order_items/b.csv", LINES + "O3,P2,4,2024-01-03\n", age_seconds=60)
    project.land("products/a.csv", PRODUCTS, age_seconds=50)
    project.land("fx_rates/a.csv", RATES, age_seconds=40)
    # The reference seed has rates of its own.
    project.write_seed("shop/fx_rates.csv", "rate_date,from_currency,to_currency,rate\n")
    outcome = project.dbt("seed")
    assert outcome.exit_code == 0, outcome.lines
    assert set(run(project).values()) == {"made"}
    assert lines(project) == [
        ("O1", "2024-01-01", "Mug", 10.0, 0.2),
        ("O2", "2024-01-02", "Mug", 20.0, 0.2),
        ("O3", "2024-01-03", "Cup", 20.0, 0.3),
    ]
    was_whole(project)
    return project


def equals_a_full_refresh(project: Project) -> None:
    """Compare every table with the same made from scratch."""
    found = everything(project)
    run(project, "--full-refresh")
    expected = everything(project)
    assert {name for name in expected if found[name] != expected[name]} == set()


def test_late_moved_and_deleted_rows_come_out_as_in_a_full_refresh(shop: Project) -> None:
    # Late by five years: one day far back, and the calendar begins there.
    shop.land("order_items/c.csv", LINES + "O9,P2,1,2019-02-28\n", age_seconds=30)
    became = run(shop)
    assert all(became[name] == "made" for name in INCREMENTAL)
    assert became["ads_performance_daily"] == became["country_contribution"] == "UNCHANGED"
    assert lines(shop)[-1] == ("O9", "2019-02-28", "Cup", 5.0, None)
    (days,) = shop.query("select count(distinct date) from marts.product_daily_growth")
    assert days == (1771,)
    # A header that is replaced moves its lines to another day; its old day keeps none.
    shop.land("orders/b.csv", ORDERS + "O2,C1,2024-01-04,20,completed\n", age_seconds=20)
    run(shop)
    assert ("O2", "2024-01-04", "Mug", 20.0, 0.3) in lines(shop)
    assert shop.query(
        "select cast(date as varchar), units from marts.product_daily_growth "
        "where product_id = 'P1' and units > 0 order by all"
    ) == [("2024-01-01", 1), ("2024-01-04", 2)]
    # Lines that are replaced by fewer are gone, and with the last line of a day its sales.
    shop.land("order_items/a.csv", LINES + "O2,P1,7,\n", age_seconds=10)
    run(shop)
    assert [order for order, *_ in lines(shop)] == ["O2", "O3", "O9"]
    # A header for an order that had only lines takes them to its day.
    shop.land("orders/c.csv", ORDERS + "O3,C1,2024-01-02,1,pending\n")
    run(shop)
    assert ("O3", "2024-01-02", "Cup", 20.0, 0.2) in lines(shop)
    assert was_whole(shop) == set()
    equals_a_full_refresh(shop)


def test_lines_follow_their_product_and_their_rate(shop: Project) -> None:
    shop.land("products/a.csv", PRODUCTS.replace("P2,Cup,Home,5", "P2,Cup,Home,6"))
    run(shop)
    assert ("O3", "2024-01-03", "Cup", 24.0, 0.3) in lines(shop)
    shop.land("fx_rates/b.csv", RATES.splitlines()[0] + "\n2024-01-02,BRL,USD,0.25\n")
    run(shop)
    assert ("O2", "2024-01-02", "Mug", 20.0, 0.25) in lines(shop)
    assert not any("order_lines is" in line for line in was_whole(shop))
    equals_a_full_refresh(shop)


def sales(project: Project) -> dict[str, tuple[str, bool]]:
    """The state of each order that has lines, and whether they are a sale."""
    rows = project.query("select distinct order_id, status, is_sale from marts.order_lines")
    return {order: (status, is_sale) for order, status, is_sale in rows}


def on_hold(project: Project) -> int:
    """How many lines the state of the feeds says to wait for their header."""
    found = project.query("select feed, rows_on_hold from marts.feed_health where rows_on_hold > 0")
    assert {feed for feed, _ in found} <= {"order_items"}
    return sum(rows for _, rows in found)


def test_lines_of_a_rejected_header_are_a_sale_while_and_only_while_it_is_mended(
    shop: Project,
) -> None:
    waits, is_sold = ("on_hold", False), ("completed", True)
    assert sales(shop) == {"O1": is_sold, "O2": is_sold, "O3": is_sold}
    # O3 has lines alone; then a header comes that says what it should not.
    shop.land("orders/c.csv", ORDERS + "O3,C1,2024-01-03,20,canceled\n", age_seconds=30)
    run(shop)
    assert sales(shop) == {"O1": is_sold, "O2": is_sold, "O3": waits}
    assert on_hold(shop) == 1
    assert shop.query("select sum(total_sales), sum(units) from marts.daily_sales") == [(30, 3)]
    # The same in a line that is broken, and mended.
    shop.land("orders/c.csv", ORDERS + "O3,C1,2024-01-03\n", age_seconds=20)
    run(shop)
    assert sales(shop)["O3"] == waits
    shop.land("orders/c.csv", ORDERS + "O3,C1,2024-01-03,20,completed\n", age_seconds=10)
    run(shop)
    assert (sales(shop)["O3"], on_hold(shop)) == (is_sold, 0)
    # A good header that is replaced by a bad one, and a file with the header of another.
    shop.land("orders/b.csv", ORDERS + "O2,C1,2024-01-02,20,Cancelled\n", age_seconds=9)
    run(shop)
    assert (sales(shop)["O2"], on_hold(shop)) == (waits, 1)
    shop.land("orders/d.csv", ORDERS + "O2,C1,2024-01-02,20,pending\n", age_seconds=8)
    run(shop)
    assert (sales(shop)["O2"], on_hold(shop)) == (("pending", False), 0)
    shop.land("orders/d.csv", ORDERS + "O4,C1,2024-01-02,20,pending\n", age_seconds=7)
    run(shop)
    assert (sales(shop)["O2"], on_hold(shop)) == (waits, 1)
    # A header that is gone from its file is no header: the order has lines alone, on no day.
    shop.land("orders/b.csv", ORDERS + "O5,C1,2024-01-02,20,completed\n", age_seconds=6)
    run(shop)
    assert (sales(shop)["O2"], on_hold(shop)) == (("completed", False), 0)
    assert was_whole(shop) == set()
    equals_a_full_refresh(shop)


HEADERS = """\
fine,C1,2024-01-01,10,completed
state,C1,2024-01-01,10,shipped
time,C1,2024-13-01,10,completed
amount,C1,2024-01-01,-1,completed
customer,,2024-01-01,10,completed
 'dressed' ,C1,2024-01-01,10,canceled
twice,C1,2024-01-01,10,canceled
twice,C1,2024-01-01,10,completed
last rejected,C1,2024-01-01,10,cancelled
last rejected,C1,2024-01-01,10,canceled
too few,C1
comma,C1,2024-01-01,10,50,completed
"quote,C1,2024-01-01,10,completed
bytes,C\xe9,2024-01-01,10,completed
,C1,2024-01-01,10,completed
"""


def test_an_order_waits_whatever_is_wrong_with_its_header(shop: Project) -> None:
    orders = [
        *("fine", "state", "time", "amount", "customer", "dressed", "twice", "last rejected"),
        *("too few", "comma", "quote", "bytes", "in json", "lines alone"),
    ]
    shop.land("orders/c.csv", (ORDERS + HEADERS).encode("latin-1"))
    shop.land("orders/d.jsonl", '{"order_id": "in json", "customer_id": "C1", "order_date"\n')
    shop.land(
        "order_items/c.csv", LINES + "".join(f"{order},P1,1,2024-01-01\n" for order in orders)
    )
    run(shop)
    found = sales(shop)
    assert {order: found[order] for order in orders if found[order][0] != "on_hold"} == {
        "fine": ("completed", True),
        "twice": ("completed", True),
        "last rejected": ("cancelled", False),
        "lines alone": ("completed", True),
    }
    assert on_hold(shop) == len(orders) - 4
    assert was_whole(shop) == set()
    equals_a_full_refresh(shop)


def test_what_no_file_tells_makes_a_table_as_a_whole(shop: Project) -> None:
    run(shop, "--vars", "{shop_currency: EUR}")
    assert {row[4] for row in lines(shop)} == {None}
    assert any("order_lines is made as a whole: definition" in line for line in was_whole(shop))
    shop.edit(
        "models/intermediate/shop/int_order_items.sql",
        "coalesce(products.name, 'Unknown')",
        "upper(coalesce(products.name, 'Unknown'))",
    )
    run(shop)
    assert [row[2] for row in lines(shop)] == ["MUG", "MUG", "CUP"]
    equals_a_full_refresh(shop)


def test_a_table_that_reads_a_clock_or_a_file_is_made_in_each_build(shop: Project) -> None:
    shop.edit(
        "models/staging/marketing/stg_ads_spend.sql",
        "where _reasons is null",
        "where _reasons is null and date <= current_date",
    )
    run(shop)
    became = run(shop)
    assert became["ads_performance_daily"] == "made"
    assert became["order_lines"] == became["country_contribution"] == "UNCHANGED"


def test_a_table_whose_parent_was_left_behind_follows_it_later(shop: Project) -> None:
    shop.land("orders/b.csv", ORDERS + "O2,C1,2024-01-04,20,completed\n")
    arguments = ("base_orders", "base_orders_repeats", "order_lines", "product_metrics")
    outcome = shop.dbt("run", "--select", *arguments, **NO_SAMPLE)
    assert outcome.exit_code == 0, outcome.lines
    assert ("O2", "2024-01-02", "Mug", 20.0, 0.2) in lines(shop), "int_orders did not run"
    run(shop)
    assert ("O2", "2024-01-04", "Mug", 20.0, 0.3) in lines(shop)
    equals_a_full_refresh(shop)


def by_hand(project: Project, *statements: str) -> None:
    """Change tables as a person with DuckDB's own shell does."""
    with duckdb.connect(str(project.database)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_table_changed_by_hand_is_made_anew_and_named(shop: Project) -> None:
    expected = everything(shop)
    by_hand(shop, "update marts.daily_sales set total_sales = total_sales + 1")
    outcome = shop.dbt("run", *LEFT_OUT, **NO_SAMPLE)
    assert re.findall(r"(\S+) was changed by hand", outcome.out) == ["marts.daily_sales"]
    assert {name for name, code in made(shop).items() if code == "made"} >= {"daily_sales"}
    assert made(shop)["order_lines"] == made(shop)["country_contribution"] == "UNCHANGED"
    assert everything(shop) == expected
    # What follows its files, what marts are made from, which rows repeat a key; and a mart reads
    # some of it before it is mended.
    by_hand(
        shop,
        "delete from marts.order_lines where order_id = 'O1'",
        "update intermediate.int_orders set revenue = 7",
        "insert into staging.base_orders_repeats by name "
        "select _file, _line_number from staging.base_orders limit 1",
    )
    outcome = shop.dbt("run", "--full-refresh", "--select", "daily_sales", **NO_SAMPLE)
    assert outcome.exit_code == 0, outcome.lines
    assert everything(shop) != expected
    # A file of another order would change but a part of it.
    shop.land("order_items/c.csv", LINES + "O9,P2,1,2024-01-03\n")
    outcome = shop.dbt("run", *LEFT_OUT, **NO_SAMPLE)
    assert sorted(re.findall(r"(\S+) was changed by hand", outcome.out)) == [
        "intermediate.int_orders",
        "marts.order_lines",
        "staging.base_orders_repeats",
    ]
    equals_a_full_refresh(shop)


def test_a_run_that_fails_leaves_nothing_noted(shop: Project) -> None:
    shop.land("order_items/c.csv", LINES + "O9,P2,1,2024-01-05\n")
    # The insert fails when the rows of the changed keys are deleted already.
    shop.edit(
        "models/marts/shop/order_lines.sql",
        "int_orders.is_sale,",
        "if(int_orders.order_id = 'O9', error('no O9'), int_orders.is_sale) as is_sale,",
    )
    before = lines(shop)
    outcome = shop.dbt("run", *LEFT_OUT, **NO_SAMPLE)
    assert outcome.exit_code == 1
    assert lines(shop) == before
    shop.edit(
        "models/marts/shop/order_lines.sql",
        "if(int_orders.order_id = 'O9', error('no O9'), int_orders.is_sale) as is_sale,",
        "int_orders.is_sale,",
    )
    run(shop)
    assert len(lines(shop)) == len(before) + 1
    equals_a_full_refresh(shop)


def test_a_build_with_nothing_new_keeps_the_tables_and_the_published_files(
    built: Project, tmp_path: Path
) -> None:
    second = copy_of(built, tmp_path / "second")
    older = second.published.newest()
    assert older is not None
    before = compressed_otherwise(second.published, older.version)
    damaged = second.published.folder(older.version) / "daily_sales.parquet"
    overwrite(damaged, damaged.read_bytes()[:-1] + b"?")
    assert second.build().exit_code == 0
    tables = {
        name: code
        for name, code in made(second).items()
        if second.manifest()["nodes"][f"model.kpi_warehouse.{name}"]["config"]["materialized"]
        == "kept_table"
    }
    assert set(tables.values()) == {"UNCHANGED"}
    assert len(tables) > 20
    newer = second.published.newest()
    assert newer is not None
    assert newer.version != older.version
    second.published.verify(newer.version)
    files = list(second.published.folder(newer.version).glob("*.parquet"))
    # Copies: what happens to a file of one snapshot happens to no other.
    assert {file.stat().st_nlink for file in files} == {1}
    kept = {file.stem for file in files if sha256_of(file) == before[file.stem]}
    # What was made anew, and what is no longer what its catalog says, is written anew.
    assert {file.stem for file in files} - kept == {"expectation_results", "daily_sales"}


def test_marts_equal_a_full_refresh_after_any_sequence_of_files(
    built: Project, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", parsed_from=built)
    assert project.dbt("seed").exit_code == 0
    results = tmp_path / "results.json"
    seeds = [str(seed) for seed in range(1, 9)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.mart_sequences", project.folder, results, *seeds],
        cwd=project.folder,
        env=own_environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(results.read_text())
    assert {seed: one["differ"] for seed, one in found.items()} == {seed: [] for seed in seeds}
    # It would prove little if every build had made order_lines as a whole.
    assert sum(one["incremental"] for one in found.values()) >= len(seeds)
    assert all(one["lines"] for one in found.values())
    assert sum(one["on_hold"] for one in found.values()) >= len(seeds)


def test_a_build_goes_on_after_it_spilled_to_disk(built: Project, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", parsed_from=built)
    # DuckDB refuses to be told of its temporary folder again once it was used.
    for name in ("int_large_one", "int_large_two"):
        (project.folder / f"models/intermediate/shop/{name}.sql").write_text(
            "{{ config(materialized='table') }}\n"
            "select count(*) as large_rows from (select i, repeat('x', 900) as text "
            "from range(400000) as numbers (i) order by hash(i)) where text > 'a'"
        )
    outcome = project.dbt(
        "run", "--select", "int_large_one", "int_large_two", WAREHOUSE_MEMORY_LIMIT="100MB"
    )
    assert outcome.exit_code == 0, outcome.lines[-5:]
    assert project.column("select large_rows from intermediate.int_large_one") == [400000]
