"""What becomes of an expectation: held, not held, not evaluated; and what a run leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import great_expectations.expectations as gxe
import pandas as pd
import pytest

from expectations import columns, drift
from expectations.running import SUITES, Frame, check, columns_of, context, evaluate, read_frame
from expectations.suites import WARNING, Suite, at_least, between, filled, trimmed
from tests.support import ROOT, Project
from warehouse.published import PublishedFolder

Row = dict[str, Any]


@pytest.fixture(scope="module")
def batches() -> Any:
    asset = context().data_sources.add_pandas("warehouse").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("all")


def rows_of(batches: Any, *expectations: Any, **cells: list[Any]) -> list[Row]:
    """The rows of expectation_results for these expectations of a small mart."""
    frame = pd.DataFrame(cells)
    suite = Suite("shop", "daily_sales", expectations)
    return evaluate(batches, suite, Frame(len(frame), frame, is_sampled=False))[0]


def test_an_expectation_that_holds_says_so(batches: Any) -> None:
    (row,) = rows_of(batches, between("units", 0, 10), units=[1, 2])
    assert row == {
        "suite": "shop.daily_sales",
        "area": "shop",
        "mart": "daily_sales",
        "position": 1,
        "expectation": "expect_column_values_to_be_between",
        "column": "units",
        "expected": "min_value 0, max_value 10",
        "severity": "critical",
        "success": True,
        "observed": "all of 2 rows",
        "rows_checked": 2,
        "is_sampled": False,
    }


def test_rows_that_are_otherwise_are_counted_with_examples(batches: Any) -> None:
    (row,) = rows_of(batches, between("units", 0, 10), units=[1, 11, 12, 12, 13, 14])
    assert row["success"] is False
    assert row["observed"] == "5 of 6 rows are otherwise, such as 11, 12, 13"


def test_a_share_of_the_rows_may_be_otherwise(batches: Any) -> None:
    half, most = rows_of(
        batches,
        between("units", 0, 10, share=0.5),
        between("units", 0, 10, share=0.9, severity=WARNING),
        units=[1, 2, 3, 11],
    )
    assert (half["success"], half["severity"]) == (True, "critical")
    assert (most["success"], most["severity"]) == (False, "warning")
    assert most["expected"] == "mostly 0.9, min_value 0, max_value 10"


def test_the_only_row_shows_its_value(batches: Any) -> None:
    (row,) = rows_of(batches, between("roas", 0, 10), roas=[12.3456789])
    assert (row["success"], row["observed"]) == (False, "12.3457")


def test_an_observed_number_is_shown(batches: Any) -> None:
    (row,) = rows_of(
        batches,
        gxe.ExpectColumnUniqueValueCountToBeBetween(column="currency", max_value=1),
        currency=["BRL", "USD"],
    )
    assert (row["success"], row["observed"]) == (False, "2")


def test_nothing_is_expected_of_no_rows_and_of_no_values(batches: Any) -> None:
    mean = gxe.ExpectColumnMedianToBeBetween(column="units", min_value=1)
    (no_rows,) = rows_of(batches, mean, units=[])
    (no_values,) = rows_of(batches, mean, units=[None, None])
    assert (no_rows["success"], no_rows["observed"]) == (None, "not evaluated: no rows")
    assert (no_values["success"], no_values["observed"]) == (None, "not evaluated: no values")


def test_missing_values_are_seen_where_they_are_what_is_asked(batches: Any) -> None:
    (row,) = rows_of(batches, *filled("units"), units=[None, None])
    assert (row["success"], row["observed"]) == (False, "2 of 2 rows are otherwise")


def test_the_number_of_rows_is_asked_of_an_empty_table_too(batches: Any) -> None:
    (row,) = rows_of(batches, gxe.ExpectTableRowCountToEqual(value=1), units=[])
    assert (row["success"], row["column"], row["observed"]) == (False, "", "0")


def test_values_about_people_are_not_shown(batches: Any) -> None:
    frame = pd.DataFrame({"name": [" Ana", "Zoë"]})
    suite = Suite("shop", "stg_customers", [*trimmed("name")], show_values=False)
    rows, outcome = evaluate(batches, suite, Frame(2, frame, is_sampled=False))
    assert rows[0]["observed"] == "1 of 2 rows are otherwise"
    assert outcome.show_values is False


def test_an_expectation_about_a_missing_column_fails_and_says_why(batches: Any) -> None:
    (row,) = rows_of(batches, between("unit", 0, 10), units=[1])
    assert row["success"] is False
    assert row["observed"].startswith("cannot be evaluated: ")
    assert '"unit"' in row["observed"]


def test_answers_keep_the_order_of_their_suite(batches: Any) -> None:
    rows = rows_of(
        batches,
        *trimmed("name"),
        at_least("units", "orders"),
        between("units", 0, 1),
        gxe.ExpectTableRowCountToEqual(value=2),
        *filled("name"),
        name=["a", "b"],
        units=[3, 4],
        orders=[1, 2],
    )
    assert [(row["position"], row["column"], row["success"]) for row in rows] == [
        (1, "name", True),
        (2, "units, orders", True),
        (3, "units", False),
        (4, "", True),
        (5, "name", True),
    ]


# ---------------------------------------------------------------------------- frames


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def test_only_the_columns_that_are_named_are_read(connection: duckdb.DuckDBPyConnection) -> None:
    relation = connection.sql(
        "select 1.25::decimal(18,2) as price, 'x' as name, 3 as units, date '2024-02-29' as day"
    )
    suite = Suite(
        "shop", "mart", [between("price", 0, 1), between("day", datetime(2024, 1, 1), None)]
    )
    found = read_frame(suite, relation, 100)
    assert list(found.frame.columns) == ["price", "day"]
    assert found.frame["price"].dtype == "float64"
    assert (found.rows, found.is_sampled) == (1, False)


def test_only_the_columns_that_are_named_are_read_of_a_query(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    relation = connection.sql("select 'x' as name, 3 as units")
    query = "select *, 2 * units as twice, units::decimal(18,2) as price from mart"
    suite = Suite("shop", "mart", [at_least("twice", "price")], query=query)
    assert list(read_frame(suite, relation, 100).frame.columns) == ["twice", "price"]


@pytest.mark.parametrize("query", [None, "select name, units from mart"])
def test_the_rows_are_counted_where_no_column_is_named(
    connection: duckdb.DuckDBPyConnection, batches: Any, query: str | None
) -> None:
    relation = connection.sql("select 'x' as name, 3 as units")
    suite = Suite("shop", "mart", [gxe.ExpectTableRowCountToEqual(value=1)], query=query)
    found = read_frame(suite, relation, 100)
    assert list(found.frame.columns) == ["name"]
    (row,), _ = evaluate(batches, suite, found)
    assert (row["success"], row["observed"]) == (True, "1")


def test_a_large_table_is_sampled_and_marked(
    connection: duckdb.DuckDBPyConnection, batches: Any
) -> None:
    relation = connection.sql("select range as units from range(100_000)")
    suite = Suite("shop", "mart", [between("units", 0, None)])
    found = read_frame(suite, relation, 1000)
    assert (found.rows, found.is_sampled) == (100_000, True)
    assert 800 < len(found.frame) < 1200
    (row,), _ = evaluate(batches, suite, found)
    assert row["is_sampled"] is True
    assert row["rows_checked"] == len(found.frame)


def test_a_query_sees_every_row(connection: duckdb.DuckDBPyConnection, batches: Any) -> None:
    relation = connection.sql("select range as units from range(100_000)")
    suite = Suite(
        "shop", "mart", [between("total", 0, 0)], query="select sum(units) as total from mart"
    )
    found = read_frame(suite, relation, 1000)
    (row,), _ = evaluate(batches, suite, found)
    assert (row["observed"], row["rows_checked"], row["is_sampled"]) == (
        "4999950000",
        100_000,
        False,
    )


@pytest.mark.parametrize(
    ("days", "unit", "observed"),
    [
        (
            "date '1677-09-22', null, date '2262-04-11'",
            "ns",
            "1 of 3 rows are otherwise, such as 1677-09-22",
        ),
        (
            "date '0024-02-29', null, date '9999-12-31'",
            "us",
            "1 of 3 rows are otherwise, such as 0024-02-29",
        ),
        (
            "timestamp '0024-02-29 10:00:00', null, timestamp '2024-02-29 10:00:00'",
            "us",
            "1 of 3 rows are otherwise, such as 0024-02-29 10:00:00",
        ),
    ],
)
def test_days_are_nanoseconds_where_those_reach_and_right_beyond(
    connection: duckdb.DuckDBPyConnection, batches: Any, days: str, unit: str, observed: str
) -> None:
    relation = connection.sql(f"select unnest([{days}]) as day")
    suite = Suite("shop", "mart", [between("day", datetime(1990, 1, 1), None)])
    found = read_frame(suite, relation, 100)
    assert found.frame["day"].dtype == f"datetime64[{unit}]"
    (row,), _ = evaluate(batches, suite, found)
    assert (row["success"], row["observed"]) == (False, observed)


# ---------------------------------------------------------------------------- columns


@pytest.mark.parametrize(
    ("found", "success"),
    [
        ("1::bigint as units, 'a' as name, true as more", True),
        ("1::bigint as units", False),
        ("1::integer as units, 'a' as name", False),
    ],
    ids=["one more", "one less", "another type"],
)
def test_columns_that_readers_rely_on_stay(
    connection: duckdb.DuckDBPyConnection, batches: Any, found: str, success: bool
) -> None:
    suite = Suite("shop", "mart", [], columns={"units": "BIGINT", "name": "VARCHAR"})
    made, frame = columns.suite_and_frame([suite], {"mart": connection.sql(f"select {found}")})
    (row,), _ = evaluate(batches, made, Frame(len(frame), frame, is_sampled=False))
    assert (row["mart"], row["success"]) == ("mart", success)


# ---------------------------------------------------------------------------- drift

LIMITS = drift.Limits(rows_lost_pct=20, total_factor=3)


def drifted(
    batches: Any,
    connection: duckdb.DuckDBPyConnection,
    published: drift.Published,
    limits: drift.Limits = LIMITS,
) -> dict[str, Row]:
    """What drift says of a mart of 8 rows with 80 units, by column."""
    relation = connection.sql("select 10 as units from range(8)")
    suite, frame = drift.suite_and_frame({"sales": relation}, published, limits)
    rows, _ = evaluate(batches, suite, Frame(len(frame), frame, is_sampled=False))
    return {row["column"]: row for row in rows}


def published(rows: int, units: str) -> drift.Published:
    marts = {"sales": {"rows": rows, "totals": {"units": units}}, "gone": {"rows": 1, "totals": {}}}
    return drift.Published("20261121T013501Z-1a2b3c4d", marts)


@pytest.mark.parametrize(
    ("rows", "units", "rows_hold", "units_hold"),
    [
        (8, "80", True, True),
        (10, "80", True, True),
        (11, "80", False, True),
        (1, "80", True, True),
        (8, "240", True, True),
        (8, "241", True, False),
        (8, "27", True, True),
        (8, "26", True, False),
        (0, "80", None, True),
        (8, "0", True, None),
    ],
)
def test_a_mart_may_lose_few_rows_and_its_totals_may_move_little(
    batches: Any,
    connection: duckdb.DuckDBPyConnection,
    rows: int,
    units: str,
    rows_hold: bool | None,
    units_hold: bool | None,
) -> None:
    found = drifted(batches, connection, published(rows, units))
    assert {name: row["success"] for name, row in found.items()} == {
        "sales.rows": rows_hold,
        "sales.units": units_hold,
    }
    assert {row["mart"] for row in found.values()} == {"sales"}
    assert {row["severity"] for row in found.values()} == {"critical"}


def test_drift_that_is_accepted_is_shown_as_a_warning(
    batches: Any, connection: duckdb.DuckDBPyConnection
) -> None:
    accepted = drift.Limits(20, 3, is_accepted=True)
    row = drifted(batches, connection, published(100, "80"), accepted)["sales.rows"]
    observed = "was 100, is 8"
    assert (row["success"], row["severity"], row["observed"]) == (False, "warning", observed)


@pytest.mark.parametrize(
    ("before", "now", "holds"),
    [(100, 2154, True), (100, 80, True), (100, 79, False), (100, 0, False), (0, 5, None)],
    ids=["grown", "few lost", "many lost", "all lost", "back"],
)
def test_a_feed_may_grow_and_lose_few_rows_whatever_the_others_do(
    batches: Any, connection: duckdb.DuckDBPyConnection, before: int, now: int, holds: bool | None
) -> None:
    marts = {"feed_health": {"rows": 2, "totals": {"rows_accepted": str(before + 10**6)}}}
    health = connection.sql(
        f"select * from (values ('jobs', {now}), ('sales', 1000000)) as t(feed, rows_accepted)"
    )
    feeds = {"jobs": before, "sales": 10**6, "gone": 1}
    published = drift.Published("20261121T013501Z-1a2b3c4d", marts, feeds)
    suite, frame = drift.suite_and_frame({"feed_health": health}, published, LIMITS)
    rows, _ = evaluate(batches, suite, Frame(len(frame), frame, is_sampled=False))
    found = {row["column"]: row["success"] for row in rows}
    assert found == {"feed_health.rows": True, "feed_health.jobs": holds, "feed_health.sales": True}
    assert ("was 100, is 0" in {row["observed"] for row in rows}) == (now == 0)


def test_a_feed_that_is_back_may_make_totals_grow(
    batches: Any, connection: duckdb.DuckDBPyConnection
) -> None:
    relations = {
        "sales": connection.sql("select 10 as units from range(8)"),
        "feed_health": connection.sql("select 'orders' as feed, 9 as rows_accepted"),
    }
    for before, holds in ((9, False), (0, True)):
        marts = {"sales": {"rows": 8, "totals": {"units": "1"}}}
        published = drift.Published("20261121T013501Z-1a2b3c4d", marts, {"orders": before})
        suite, frame = drift.suite_and_frame(relations, published, LIMITS)
        rows, _ = evaluate(batches, suite, Frame(len(frame), frame, is_sampled=False))
        (units,) = (row for row in rows if row["column"] == "sales.units")
        assert (units["success"], units["observed"]) == (holds, "was 1, is 80")


def test_where_nothing_was_published_nothing_is_compared(
    batches: Any, connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    found = drift.read_published(PublishedFolder(tmp_path / "published"), sample_data=True)
    (row,) = drifted(batches, connection, found).values()
    assert (row["success"], row["observed"]) == (
        None,
        "not evaluated: nothing was published before",
    )


def test_a_snapshot_of_the_sample_is_not_compared_with_one_s_own_data(built: Project) -> None:
    same = drift.read_published(built.published, sample_data=True)
    other = drift.read_published(built.published, sample_data=False)
    assert same.why_not == ""
    assert same.marts["daily_sales"]["totals"]["total_sales"] == "1735028.30"
    assert other.why_not == f"{same.version} contains the sample, and the marts do not"
    assert same.feeds["jobs"] == 40


def test_a_snapshot_that_cannot_be_read_is_not_compared(built: Project, tmp_path: Path) -> None:
    newest = built.published.newest()
    assert newest is not None
    (tmp_path / "log.jsonl").write_bytes((built.published.path / "log.jsonl").read_bytes())
    found = drift.read_published(PublishedFolder(tmp_path), sample_data=True)
    assert found.why_not.startswith("the published snapshot cannot be read: ")
    assert newest.version in found.why_not


# ---------------------------------------------------------------------------- the whole

_QUIET_RUN = """
import socket, sys
def refuse(*_): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
import duckdb
from expectations.drift import Limits, Published
from expectations.running import SUITES, check
connection = duckdb.connect(sys.argv[1], read_only=True)
names = {suite.mart for suite in SUITES}
schema = lambda name: "staging" if name.startswith("stg_") else "marts"
relations = {name: connection.sql(f"select * from {schema(name)}.{name}") for name in names}
table, _ = check(relations, Published(why_not="nothing to compare"), Limits(20, 3), 1000)
assert table.num_rows > 200
assert sorted({row["is_sampled"] for row in table.to_pylist()}) == [False, True]
"""


def test_expectations_do_without_pyspark(tmp_path: Path) -> None:
    package = tmp_path / "pyspark"
    package.mkdir()
    (package / "__init__.py").write_text("import sys\nsys.exit(0)\n")
    done = subprocess.run(
        [sys.executable, "-c", "import expectations.drift, expectations.running; print('there')"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "there\n", done.stderr


def test_a_run_is_silent_and_leaves_nothing_behind(built: Project, tmp_path: Path) -> None:
    home, temp, work = (tmp_path / name for name in ("home", "temp", "work"))
    for folder in (home, temp, work):
        folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _QUIET_RUN, str(built.database)],
        cwd=work,
        env={**os.environ, "HOME": str(home), "TMPDIR": str(temp), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    # duckdb 2.0.0 says this when a connection is alive at the end of Python.
    said = [line for line in done.stderr.splitlines() if "nanobind" not in line]
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [line for line in said if not line.startswith((" - ", "See "))] == []
    assert [*home.rglob("*"), *temp.rglob("*"), *work.rglob("*")] == []


def test_the_sample_is_as_expected(built: Project) -> None:
    rows = built.records("expectation_results")
    assert [row for row in rows if row["success"] is False] == []
    not_evaluated = [row for row in rows if row["success"] is None]
    assert [row["observed"] for row in not_evaluated] == [
        "not evaluated: nothing was published before"
    ]
    assert {row["suite"] for row in rows} == {
        *(suite.name for suite in SUITES),
        *("quality.columns", "quality.drift"),
    }
    assert not any(row["is_sampled"] for row in rows)


def test_every_result_names_the_scope_that_readers_of_its_model_need(built: Project) -> None:
    needed = {
        node["name"]: node["config"]["meta"].get("api", {}).get("scope", node["fqn"][-2])
        for node in built.manifest()["nodes"].values()
        if node["resource_type"] == "model"
    }
    rows = built.records("expectation_results")
    told = {(row["suite"], row["mart"]): row["area"] for row in rows}
    assert len(told) > 40
    about_no_mart = {("quality.drift", "every mart"): "quality"}
    assert told == {key: needed[key[1]] for key in told if key not in about_no_mart} | about_no_mart


def test_what_moved_since_the_last_publication_is_of_the_area_of_its_mart() -> None:
    marts = {
        "sales": {"rows": 100, "totals": {}, "area": "shop", "api": {"scope": "marketplace"}},
        "visits": {"rows": 100, "totals": {}, "area": "shop", "api": None},
        "of_old": {"rows": 100, "totals": {}},
    }
    with duckdb.connect() as connection:
        relation = connection.sql("select 1 as units")
        suite, _ = drift.suite_and_frame(
            dict.fromkeys(marts, relation), drift.Published("v", marts), drift.Limits(10, 3)
        )
    assert [suite.area_of(mart) for mart in marts] == ["marketplace", "shop", ""]


def test_every_mart_and_feed_has_a_suite(built: Project) -> None:
    marts = set(built.column("select mart from publication.publication"))
    feeds = set(built.column("select 'stg_' || feed from marts.feed_health"))
    assert {suite.mart for suite in SUITES} == (marts - {"expectation_results"}) | feeds
    relied_on = {suite.mart for suite in SUITES if suite.columns}
    assert relied_on == marts - {"expectation_results"}


def test_queries_make_no_column_that_nothing_is_expected_of(built: Project) -> None:
    unused = {}
    with duckdb.connect(str(built.database), read_only=True) as connection:
        for suite in SUITES:
            if suite.query is None:
                continue
            mart = f"with mart as (from marts.{suite.mart})"
            made = set(connection.sql(f"{mart} {suite.query}").columns)
            if suite.query.split()[:2] == ["select", "*,"]:
                made -= set(connection.sql(f"{mart} from mart").columns)
            unused[suite.name] = made - columns_of(suite)
    assert len(unused) > 5
    assert {name: left for name, left in unused.items() if left} == {}


def test_names_of_suites_are_unique() -> None:
    names = [suite.name for suite in SUITES]
    assert len(set(names)) == len(names)


def test_check_needs_every_relation() -> None:
    with pytest.raises(KeyError, match="ads_performance_daily"):
        check({}, drift.Published(), LIMITS, 10)
