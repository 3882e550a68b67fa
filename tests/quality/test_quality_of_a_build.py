"""What a build does with expectations that do not hold, stale feeds, and its own history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support import ALONE, Outcome, Project, copy_of
from warehouse.audit import WHOLE_BUILD
from warehouse.history import BuildHistory, BuildRun


@pytest.fixture
def second(tmp_path: Path, built: Project) -> Project:
    """A copy of the built project with its database and its snapshot."""
    return copy_of(built, tmp_path / "project")


def change(project: Project, sql: str) -> None:
    """Change a mart behind dbt's back: no other test sees it but those asked for."""
    with duckdb.connect(str(project.database)) as connection:
        connection.execute(sql)


def lines_with(outcome: Outcome, text: str) -> list[str]:
    return [line for line in outcome.lines if text in line]


HALF_THE_CUSTOMERS = "delete from marts.customer_lifetime_value where hash(customer_id) % 2 = 0"
ONLY = ("--select", "expectation_results")


# ------------------------------------------------------------------ expectations


def test_an_expectation_that_does_not_hold_stops_the_build_and_says_what_was_observed(
    second: Project, built: Project
) -> None:
    change(second, "update marts.order_kpis set average_ticket = 0")
    outcome = second.build(*ONLY)
    assert outcome.exit_code == 1
    assert lines_with(
        outcome, "failed: test expectations_hold, 2 did not hold; see them with: make"
    )
    (line,) = lines_with(outcome, "failed: expectation shop.order_kpis: ")
    assert line == (
        "failed: expectation shop.order_kpis: average_ticket: expect_column_values_to_be_between "
        "(min_value 0.01): 0"
    )
    assert lines_with(outcome, "failed: expectation quality.drift: order_kpis.average_ticket: ")
    newest = built.published.newest()
    assert newest is not None
    assert (
        outcome.lines[-1]
        == f"not published: readers keep {newest.version}, which contains the sample."
    )
    rows = [row for row in second.records("expectation_results") if row["success"] is False]
    assert [(row["suite"], row["column"], row["observed"]) for row in rows] == [
        ("shop.order_kpis", "average_ticket", "0"),
        ("quality.drift", "order_kpis.average_ticket", "was 845.12, is 0"),
    ]


def test_plain_dbt_says_it_too(second: Project) -> None:
    change(second, "update marts.order_kpis set average_ticket = 0")
    outcome = second.dbt("build", *ONLY)
    assert outcome.exit_code == 1
    assert lines_with(outcome, "expectation failed: shop.order_kpis: average_ticket: ")
    assert any("FAIL 2" in line and "expectations_hold " in line for line in outcome.lines)


def test_drift_stops_the_build_until_somebody_accepts_it(second: Project) -> None:
    change(second, HALF_THE_CUSTOMERS)
    outcome = second.build(*ONLY)
    assert outcome.exit_code == 1
    (line,) = lines_with(outcome, "failed: expectation quality.drift: customer_lifetime_value.rows")
    assert "(min_value 0.7): was 401, is " in line
    assert lines_with(outcome, """make build ARGS="--vars '{accept_drift: true}'\"""")

    accepted = second.build(*ONLY, "--vars", "{accept_drift: true}")
    assert accepted.exit_code == 0, accepted.lines
    assert lines_with(accepted, "warning: expectation not met: quality.drift: customer_lifetime_va")
    limits = second.build(*ONLY, "--vars", "{max_rows_lost_pct: 90, max_total_factor: 10}")
    assert limits.exit_code == 0, limits.lines
    assert not lines_with(limits, "warning: ")


def test_a_warning_is_shown_and_does_not_stop_the_build(second: Project) -> None:
    change(second, "update marts.feed_health set rows_rejected = rows_read where feed = 'jobs'")
    outcome = second.build(*ONLY)
    assert outcome.exit_code == 0, outcome.lines
    assert lines_with(
        outcome, "warning: expectation not met: quality.feed_health: rejected_share: "
    )
    assert lines_with(outcome, "Expected")[0].split("  ", 1)[1].strip().startswith("2")
    assert " 1 did not; make quality" in lines_with(outcome, "Expected")[0]


def test_a_suite_that_cannot_be_read_is_told_in_one_line(second: Project) -> None:
    second.edit("expectations/shop.py", "SUITES = (", "raise ValueError('two marts')\nSUITES = (")
    outcome = second.build(*ONLY)
    assert outcome.exit_code == 1
    assert lines_with(outcome, "error: ") == [
        "error: model expectation_results: ValueError: two marts"
    ]


def test_the_table_has_the_columns_that_its_yaml_declares(second: Project) -> None:
    second.edit("expectations/running.py", '("position", pa.int64())', '("position", pa.int32())')
    outcome = second.build(*ONLY)
    assert outcome.exit_code == 1
    assert lines_with(outcome, "failed: test has_declared_columns_expectation_results_, 1 row")


def test_the_pages_of_the_run_travel_with_the_snapshot(built: Project) -> None:
    newest = built.published.newest()
    assert newest is not None
    catalog = built.published.catalog(newest.version)
    first_page = built.published.folder(newest.version) / catalog["data_docs"]
    assert first_page.read_bytes() == (built.folder / "build/data_docs/index.html").read_bytes()
    assert {path.name for path in first_page.parent.iterdir()} == {
        path.name for path in (built.folder / "build/data_docs").iterdir()
    }
    assert catalog["invocation_id"] in first_page.read_text()


def test_the_catalog_has_exact_totals_and_the_ages_of_the_contracts(built: Project) -> None:
    newest = built.published.newest()
    assert newest is not None
    catalog = built.published.catalog(newest.version)
    totals = {mart["name"]: mart["totals"] for mart in catalog["marts"]}
    ((sales, units),) = built.query(
        "select sum(total_sales)::varchar, sum(units)::varchar from marts.daily_sales"
    )
    assert totals["daily_sales"]["total_sales"] == sales
    assert totals["daily_sales"]["units"] == units
    assert totals["rejected_rows"] is None
    feeds = {feed["feed"]: feed for feed in catalog["feeds"]}
    assert len(feeds) == 11
    assert feeds["orders"] == {
        "feed": "orders",
        "area": "shop",
        "warn_after": {"count": 2, "period": "day"},
        "error_after": {"count": 7, "period": "day"},
    }
    assert feeds["jobs"]["warn_after"] is feeds["jobs"]["error_after"] is None
    assert catalog["sample_data"] is True


# ------------------------------------------------------------------ freshness

FRESH = ("build", "--select", "base_orders", "stg_ingested_files", "every_feed_is_fresh")


@pytest.mark.parametrize(
    ("file", "days", "strict", "said"),
    [
        ("landing/orders/may.csv", 8, False, "WARN 1 every_feed_is_fresh"),
        ("landing/orders/may.csv", 8, True, "FAIL 1 every_feed_is_fresh"),
        ("landing/orders/may.csv", 6, True, "PASS every_feed_is_fresh"),
        ("seeds/shop/orders.csv", 800, True, "PASS every_feed_is_fresh"),
    ],
    ids=["stale", "strict", "fresh", "the sample"],
)
def test_a_stale_feed_shows_and_fails_the_build_only_when_asked(
    second: Project, file: str, days: int, strict: bool, said: str
) -> None:
    change(
        second,
        f"update landing.orders_files set file = '{file}',"
        f" loaded_at = now()::timestamp - interval '{days} days'",
    )
    outcome = second.dbt(
        *("test", "--select", "every_feed_is_fresh"),
        *("--vars", json.dumps({"strict_freshness": strict})),
    )
    assert lines_with(outcome, said), outcome.lines
    assert outcome.exit_code == (1 if said.startswith("FAIL") else 0)


def test_dbt_s_own_freshness_works_too(second: Project) -> None:
    change(
        second, "update landing.orders_files set loaded_at = now()::timestamp - interval '3 days'"
    )
    outcome = second.dbt("source", "freshness")
    assert lines_with(outcome, "WARN freshness of landing.orders ")
    assert lines_with(outcome, "PASS freshness of landing.sales ")


# ------------------------------------------------------------------ history


def history(project: Project) -> list[BuildRun]:
    return BuildHistory(project.published.path).runs()


def told(run: BuildRun) -> dict[str, Any]:
    """What is the same in every run like this one."""
    return {
        name: getattr(run, name) for name in ("command", "outcome", "version", "reason", "rows")
    }


def test_a_build_that_published_is_in_the_history(built: Project) -> None:
    (run,) = history(built)
    newest = built.published.newest()
    assert newest is not None
    catalog = built.published.catalog(newest.version)
    assert told(run) == {
        "command": "build",
        "outcome": "published",
        "version": newest.version,
        "reason": None,
        "rows": catalog["rows"],
    }
    assert run.run_id == catalog["invocation_id"]
    tests = catalog["tests"]
    assert run.tests_passed == tests["data_tests"]["passed"] + tests["unit_tests"]["passed"]
    assert (run.tests_warned, run.tests_failed) == (0, 0)
    assert [run.rows_rejected] == built.column("select sum(rows_rejected) from marts.feed_health")
    assert run.seconds is not None
    assert run.seconds > 1


def test_every_other_build_is_there_with_its_reason_and_a_full_refresh_keeps_them(
    second: Project,
) -> None:
    change(second, "update marts.order_kpis set average_ticket = 0")
    second.build(*ONLY)
    second.dbt("build", "--full-refresh", "--select", "jobs", **ALONE)
    second.dbt("run", "--select", "publication")
    second.dbt("test", "--select", "grain_daily_sales_")
    second.database.unlink()
    second.dbt("run", "--select", "base_jobs", "jobs")
    part, run, full, failed, first = history(second)
    assert first.outcome == "published"
    not_selected = f"publication was not selected; {WHOLE_BUILD}"
    assert told(failed) == {
        "command": "build",
        "outcome": "not published",
        "version": None,
        "reason": "expectations_hold failed",
        "rows": None,
    }
    assert (failed.tests_failed, failed.rows_rejected) == (1, None)
    assert (full.command, full.reason) == ("build", not_selected)
    assert (run.command, run.reason) == ("run", "dbt run does not run the tests; dbt build does")
    assert part.outcome == "not published"


def test_a_build_that_dbt_could_not_begin_is_there_too(second: Project) -> None:
    second.edit("models/marts/shop/daily_sales.sql", "ref('int_orders')", "ref('no_such_model')")
    assert second.build().exit_code == 2
    broken, _ = history(second)
    assert broken.outcome == "not published"
    assert broken.reason is not None
    assert "no_such_model" in broken.reason


def test_a_history_that_cannot_be_written_does_not_fail_the_build(second: Project) -> None:
    path = second.published.path / "build_history.jsonl"
    path.unlink()
    path.mkdir()
    outcome = second.build("--select", "jobs", **ALONE)
    assert outcome.exit_code == 0, outcome.lines
    assert lines_with(outcome, "warning: published/build_history.jsonl cannot be written: Is a dir")
