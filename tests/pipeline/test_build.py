"""make build and dbt build, as people run them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support import ROOT, Outcome, Project

FEEDS = {
    "ads_spend": "marketing",
    "customers": "shop",
    "products": "shop",
    "orders": "shop",
    "order_items": "shop",
    "fx_rates": "shop",
    "sales": "marketplace",
    "countries": "marketplace",
    "departments": "hiring",
    "jobs": "hiring",
    "hired_employees": "hiring",
}


def tables(project: Project, schema: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table of a schema, sorted, without the time of loading."""
    names = project.column(f"select table_name from duckdb_tables() where schema_name = '{schema}'")
    found = {}
    for name in names:
        columns = "* exclude (last_loaded_at)" if name == "feed_health" else "*"
        found[name] = project.query(f"select {columns} from {schema}.{name} order by all")
    return found


@pytest.fixture
def second(tmp_path: Path, built: Project) -> Project:
    """A copy of the built project, database included."""
    project = Project(tmp_path / "project", parsed_from=built)
    shutil.copy2(built.database, project.database)
    return project


def test_the_build_ends_with_a_table_of_the_feeds(first_build: tuple[Project, Outcome]) -> None:
    project, outcome = first_build
    for feed, read, accepted, rejected in project.query(
        "select feed, rows_read, rows_accepted, rows_rejected from marts.feed_health"
    ):
        row = next(line for line in outcome.lines if line.startswith(f"  {feed} "))
        assert row.split()[1:] == ["1", "new", f"{read:,}", f"{accepted:,}", f"{rejected:,}"]
        assert row.split()[4:], f"{feed} does not say why rows were rejected"
    assert project.column("select count(*) from marts.feed_health") == [len(FEEDS)]


def test_the_build_ends_with_the_headline_numbers_of_each_area(
    first_build: tuple[Project, Outcome],
) -> None:
    project, outcome = first_build
    text = outcome.out
    ((spend, conversions, revenue),) = project.query(
        "select sum(spend), sum(conversions), sum(revenue) from marts.ads_performance_daily"
        " where date > (select max(date) - 30 from marts.ads_performance_daily)"
    )
    cac = (Decimal(spend) / Decimal(conversions)).quantize(Decimal("0.01"))
    roas = (Decimal(revenue) / Decimal(spend)).quantize(Decimal("0.01"))
    assert re.search(rf"^  CAC +{cac} ", text, re.MULTILINE)
    assert re.search(rf"^  ROAS +{roas} ", text, re.MULTILINE)
    ((day, product, categories),) = project.query(
        "select busiest_date, top_product, top_categories from marts.order_kpis"
    )
    assert re.search(rf"^  busiest day +{day}, ", text, re.MULTILINE)
    assert re.search(rf"^  top product +{re.escape(product)}, ", text, re.MULTILINE)
    assert re.search(rf"^  top categories +{re.escape(categories)}$", text, re.MULTILINE)
    ((a, b),) = project.query(
        "select country_a, country_b from marts.country_relationships where revenue_rank = 1"
    )
    assert re.search(rf"^  best country pair +{a} and {b}, ", text, re.MULTILINE)
    above = project.column(
        "select department from marts.departments_above_mean where is_above_mean and year = 2025"
    )
    hiring = next(line for line in outcome.lines if "departments above the mean" in line)
    assert above
    assert all(department in hiring for department in above)


def test_the_build_says_what_was_tested_and_what_to_type_next(
    first_build: tuple[Project, Outcome],
) -> None:
    _, outcome = first_build
    assert re.search(r"\d+ models built; \d+ data tests and \d+ unit tests passed", outcome.out)
    for part in ("build/warehouse.duckdb", "make docs", "make query"):
        assert part in outcome.out


def test_a_second_build_changes_no_number(built: Project, second: Project) -> None:
    before = tables(built, "marts")
    assert sum(map(len, before.values())) > 10_000
    outcome = second.build()
    assert outcome.exit_code == 0, outcome.lines
    assert tables(second, "marts") == before


def test_plain_dbt_builds_with_other_settings_of_the_numbers(project: Project) -> None:
    settings = {
        "business_timezone": "America/Sao_Paulo",
        "revenue_per_conversion": 80.5,
        "fx_max_age_days": 2,
        "shop_currency": "EUR",
    }
    outcome = project.dbt("build", "--vars", json.dumps(settings))
    assert outcome.exit_code == 0, outcome.lines[-30:]
    assert "ERROR=0" in outcome.out
    assert "WARN=1" in outcome.out
    assert project.column("select distinct currency from marts.daily_sales") == ["EUR"]
    # The sample has rates from BRL daily, from EUR monthly: with two days, few lines convert.
    ((with_rate, without_rate),) = project.query(
        "select count(fx_rate), count(*) - count(fx_rate) from marts.order_lines"
    )
    assert 0 < with_rate < without_rate
    (warning,) = [line for line in outcome.lines if "expectation not met: " in line]
    assert "shop.order_lines: fx_rate: expect_column_values_to_not_be_null" in warning
    assert warning.endswith(f"{without_rate:,} of {with_rate + without_rate:,} rows are otherwise")
    # 80.5 a conversion
    assert project.column(
        "select count(*) from marts.ads_performance_daily where revenue <> conversions * 80.5"
    ) == [0]


def test_a_project_without_a_single_row_builds(project: Project) -> None:
    for feed, area in FEEDS.items():
        file = project.folder / "seeds" / area / f"{feed}.csv"
        header = file.read_bytes().splitlines(keepends=True)[0]
        file.write_bytes(header)
    outcome = project.build()
    assert outcome.exit_code == 0, outcome.lines
    assert project.query("select count(*), sum(rows_read) from marts.feed_health") == [(11, 0)]
    assert project.query("select count(*) from marts.order_kpis") == [(1,)]
    assert project.query("select busiest_date, average_ticket from marts.order_kpis") == [
        (None, None)
    ]
    assert "no ad spend" in outcome.out
    assert "no sales" in outcome.out


def break_daily_sales(project: Project) -> None:
    """Let the mart show twice the sales."""
    project.edit(
        "models/marts/shop/daily_sales.sql",
        "sum(revenue) as total_sales",
        "2 * sum(revenue) as total_sales",
    )


def test_a_failing_unit_test_stops_its_model_and_is_named(second: Project) -> None:
    before = second.query("select * from marts.daily_sales order by date")
    break_daily_sales(second)
    outcome = second.build("--select", "daily_sales")
    assert outcome.exit_code == 1
    # dbt stops at the first unit test of a model that fails.
    ((name,),) = [
        re.findall(r"^failed: unit test (\w+), .* dbt test --select \1$", line)
        for line in outcome.lines
        if line.startswith("failed: ")
    ]
    assert f"unit_test.kpi_warehouse.daily_sales.{name}" in second.manifest()["unit_tests"]
    assert "Traceback" not in outcome.out + outcome.err
    assert second.query("select * from marts.daily_sales order by date") == before


def test_a_failing_data_test_fails_the_build_and_is_named(second: Project) -> None:
    break_daily_sales(second)
    outcome = second.build(
        "--select", "daily_sales", "customer_lifetime_value", DBT_EXCLUDE_RESOURCE_TYPES="unit_test"
    )
    assert outcome.exit_code == 1
    named = [line for line in outcome.lines if line.startswith("failed: test ")]
    assert any("daily_sales_add_up_to_the_feeds" in line for line in named)
    assert any("daily_sales_agree_with_customer_lifetime_value" in line for line in named)
    assert "Traceback" not in outcome.out + outcome.err


def test_a_number_is_printed_by_query_and_nothing_can_be_written(built: Project) -> None:
    outcome = built.run("warehouse", "query", "select count(*) as feeds from marts.feed_health")
    assert outcome.exit_code == 0
    assert "11" in outcome.out
    outcome = built.run("warehouse", "query", "drop table marts.feed_health")
    assert outcome.exit_code == 1
    assert outcome.lines[0].startswith("error: ")
    assert built.column("select count(*) from marts.feed_health") == [11]
    outcome = built.run(
        "warehouse", "query", "select total_sales,\n  no_such from marts.daily_sales"
    )
    assert outcome.exit_code == 1
    line, caret = outcome.err.splitlines()[-2:]
    assert line[caret.index("^") :].startswith("no_such")
    outcome = built.run("warehouse", "query")
    assert outcome.exit_code == 2
    assert outcome.lines[0].startswith('error: give a query: make query SQL="select ')


def test_csv_is_what_the_query_gives(built: Project) -> None:
    sql = (
        "select 1.50 as n, null as x, 'a, \"b\"' as t, [1, 2] as l, date '2026-01-02' as d, "
        "true as d"
    )
    outcome = built.run("warehouse", "query", "--format", "csv", WAREHOUSE_SQL=sql)
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert list(csv.reader(io.StringIO(outcome.out)))[1] == [
        *("1.50", "", 'a, "b"', "[1, 2]", "2026-01-02", "true"),
    ]


def test_make_hands_a_query_over_as_it_was_typed(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("installed", "bin/python"):
        script = 'printf "%s|%s" "$WAREHOUSE_SQL" "$*"'
        (tmp_path / ".venv" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / ".venv" / name).chmod(0o755)
    sql = "select '$x' || \"a\" || '$(shell touch pwned)' # `touch pwned` \\ é\nfrom t where $$b$$"
    done = subprocess.run(
        ["make", "-s", "-o", ".venv/installed", "query", f"SQL={sql}", "FORMAT=csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{sql}|-m warehouse query --format csv", done.stderr
    assert not (tmp_path / "pwned").exists()


def test_while_a_build_writes_queries_are_asked_of_the_published_numbers(
    second: Project, built: Project
) -> None:
    shutil.copytree(built.published.path, second.published.path)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import duckdb; c = duckdb.connect({str(second.database)!r})\n"
            "print(flush=True)\ninput()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        sql = "select count(*) as n from marts.daily_sales"
        outcome = second.run("warehouse", "query", sql, "--format", "csv")
    finally:
        holder.communicate(b"\n")
    assert outcome.exit_code == 0, outcome.lines
    assert outcome.out.split() == ["n", str(built.column(sql)[0])]
    newest = built.published.newest()
    assert newest is not None
    assert newest.version in outcome.err


def test_docs_show_every_feed_model_and_reader(second: Project) -> None:
    outcome = second.dbt("docs", "generate")
    assert outcome.exit_code == 0, outcome.lines
    target = second.folder / "target"
    manifest = json.loads((target / "manifest.json").read_text())
    catalog = json.loads((target / "catalog.json").read_text())
    models = {key for key in manifest["nodes"] if key.startswith("model.")}
    assert models <= set(catalog["nodes"])
    assert len(manifest["sources"]) == len(FEEDS)
    assert len(manifest["exposures"]) == 13
    assert (target / "index.html").stat().st_size > 100_000


def test_a_mart_and_all_that_it_reads_are_built_on_an_empty_database(project: Project) -> None:
    outcome = project.dbt("build", "--select", "+daily_sales")
    assert outcome.exit_code == 0, outcome.lines[-20:]
    (ran,) = [line for line in outcome.lines if "Finished running" in line]
    assert re.search(r"\d+ data tests", ran)
    assert re.search(r"\d+ unit tests", ran)
    report = json.loads((project.folder / "target/run_results.json").read_text())
    names = {result["unique_id"].split(".")[2] for result in report["results"]}
    assert {"daily_sales", "grain_daily_sales_", "daily_sales_add_up_to_the_feeds"} <= names
    assert project.query("select count(*) > 300 from marts.daily_sales") == [(True,)]
