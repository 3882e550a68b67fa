"""The table at the end of a build, on a database made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from warehouse.dbt import NodeResult, Run
from warehouse.report import KIND_OF_REASON, NotBuiltError, report, shown_record
from warehouse.settings import Settings, read_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({"WAREHOUSE_DB": "warehouse.duckdb"}, root=tmp_path)


def create(settings: Settings, *statements: str) -> None:
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("create schema marts")
        for statement in statements:
            connection.execute(statement)


RUN = Run(
    exit_code=0,
    results=[
        NodeResult("model", "a", "success", "OK", 0),
        NodeResult("test", "b", "pass", "", 0),
        NodeResult("test", "c", "warn", "", 3),
        NodeResult("unit_test", "d", "pass", "", 0),
    ],
    seconds=12.4,
)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ('quantity: "-3" is not > 0', "quantity is not > 0"),
        ('note: "he said: "no" twice" is not a date', "note is not a date"),
        ("spend: is missing", "spend is missing"),
        ('id: "7" repeats; line 12 is kept', "id repeats"),
        ('id: "7" repeats; line 2 of landing/jobs/new file.csv is kept', "id repeats"),
        ("the line has too few fields", "the line has too few fields"),
        ('status: "x" is not one of a, b', "status is not an accepted value"),
    ],
)
def test_reasons_that_differ_only_in_the_value_are_one_kind(reason: str, kind: str) -> None:
    assert duckdb.execute(
        f"select {KIND_OF_REASON} from (select ? as reason)", [reason]
    ).fetchall() == [(kind,)]


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        ('{"id":"7","name":null,"job":"a, b"}', "7,,a, b"),
        ('{"line":"x;y"}', "x;y"),
        ('{"line_base64":"Yf9i"}', "a\\xffb"),
        ('{"id":"7","na', '{"id":"7","na'),
    ],
)
def test_a_rejected_row_is_shown_on_one_line(record: str, shown: str) -> None:
    assert shown_record(record) == shown


def test_files_and_reasons_are_shown_for_each_feed(settings: Settings) -> None:
    create(
        settings,
        "create schema staging",
        "create table marts.feed_health as select * from (values ('orders', 3, 9, 6, 3), "
        "('jobs', 0, 0, 0, 0)) as t(feed, files, rows_read, rows_accepted, rows_rejected)",
        "create table staging.stg_ingested_files as select * from (values "
        "('orders', 'loaded', 'new', 'run-1', true), ('orders', 'loaded', 'new', 'run-0', true), "
        "('orders', 'loaded', 'replaced', 'run-1', true), "
        "('orders', 'refused', 'new', 'run-0', true), "
        "('orders', 'duplicate', 'new', 'run-1', true), "
        "('orders', 'refused', 'new', 'run-0', false), "
        "('orders', 'loaded', 'new', 'run-1', false)) "
        "as t(feed, state, change, run_id, is_present)",
        "create table marts.rejected_rows as select * from (values "
        '(\'orders\', \'b.csv\', 7, [\'total: "x" is not a number\'], \'{"id":"7","total":"x"}\'), '
        "('orders', 'a.csv', 9, ['total: \"y\" is not a number', 'id: is missing'], "
        '\'{"id":null,"total":"y"}\'), '
        "('orders', 'c.csv', 2, ['the line is not UTF-8'], '{\"line_base64\":\"/w==\"}')) "
        "as t(feed, file, line_number, reasons, record)",
    )
    run = Run(exit_code=0, results=RUN.results, invocation="run-1")
    lines = [" ".join(line.split()) for line in report(run, settings).splitlines()]
    assert lines[:10] == [
        "Feeds",
        "feed files rows read accepted rejected",
        "orders 1 new, 1 replaced, 1 unchanged, 2 refused, 1 gone, their rows are kept 9 6 3",
        "jobs none 0 0 0",
        "",
        "Rejected rows",
        "feed rows reason for example",
        "orders 2 total is not a number a.csv:9 ,y",
        "1 id is missing a.csv:9 ,y",
        "1 the line is not UTF-8 c.csv:2 \\xff",
    ]


def ads(settings: Settings, rows: str) -> list[str]:
    create(
        settings,
        "create table marts.ads_performance_daily as select * from (values "
        + rows
        + ") as t(date, spend, conversions, revenue)",
    )
    return report(RUN, settings).splitlines()


def test_changes_are_made_from_the_ratios_themselves_not_from_their_two_decimals(
    settings: Settings,
) -> None:
    # 10.004 against 10.000: +0.04 %, though both show as 10.00.
    lines = ads(
        settings,
        "(date '2025-06-30', 10004.00, 1000, 100000.00), (date '2025-05-31', 10.00, 1, 100.00)",
    )
    assert "  CAC           10.00                     the 30 days before: 10.00 (+0.04 %)" in lines


def test_the_period_is_thirty_days_that_end_on_the_newest_day(settings: Settings) -> None:
    lines = ads(
        settings,
        "(date '2025-06-30', 1.00, 1, 100.00), (date '2025-06-01', 2.00, 1, 100.00),"
        " (date '2025-05-31', 30.00, 1, 100.00), (date '2025-05-02', 30.00, 1, 100.00),"
        " (date '2025-05-01', 999.00, 1, 100.00)",
    )
    assert "  last 30 days  2025-06-01 to 2025-06-30" in lines
    assert any(line.startswith("  CAC           1.50 ") for line in lines)
    assert any("the 30 days before: 30.00 (-95.00 %)" in line for line in lines)


def test_ratios_without_a_base_are_none(settings: Settings) -> None:
    lines = ads(settings, "(date '2025-06-30', 0.00, 0, 0.00)")
    assert "  CAC           none" in lines
    assert "  ROAS          none" in lines


def test_the_end_counts_models_tests_and_warnings(settings: Settings) -> None:
    create(settings)
    text = report(RUN, settings)
    assert "1 models built; 2 data tests and 1 unit tests passed, 1 with warnings; 12 s." in text
    assert "Feeds" not in text


def test_the_end_counts_tables_that_were_left_as_they_were_apart(settings: Settings) -> None:
    create(settings)
    kept = NodeResult("model", "e", "success", "UNCHANGED", 0)
    text = report(replace(RUN, results=[*RUN.results, kept, kept]), settings)
    assert "1 models built, 2 unchanged; 2 data tests" in text


def test_no_database_says_to_build(settings: Settings) -> None:
    with pytest.raises(
        NotBuiltError, match=r"no database warehouse\.duckdb\. Build it: make build"
    ):
        report(RUN, settings)
