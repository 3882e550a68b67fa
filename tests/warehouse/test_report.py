"""The table at the end of a build, on a database made by hand."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from warehouse.dbt import NodeResult, Run
from warehouse.report import NotBuiltError, kind_of_reason, report
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
        ('status: "x" is not one of a, b', "status is not an accepted value"),
    ],
)
def test_reasons_that_differ_only_in_the_value_are_one_kind(reason: str, kind: str) -> None:
    assert kind_of_reason(reason) == kind


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


def test_no_database_says_to_build(settings: Settings) -> None:
    with pytest.raises(
        NotBuiltError, match=r"no database warehouse\.duckdb\. Build it: make build"
    ):
        report(RUN, settings)
