"""Every mart of a real build, value by value, against the same mart made by plain Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.models.plain_python import Row, recompute
from tests.support import Project

# The marts and the columns that name one row of each.
GRAINS = {
    "ads_performance_daily": ("date", "platform", "account", "campaign", "country", "device"),
    "order_lines": ("source_file", "source_line"),
    "daily_sales": ("date",),
    "product_metrics": ("product_id",),
    "product_daily_growth": ("product_id", "date"),
    "category_metrics": ("category",),
    "customer_lifetime_value": ("customer_id",),
    "order_kpis": (),
    "sales_by_category_daily": ("date", "category"),
    "country_contribution": ("id_country",),
    "country_relationships": ("id_country_a", "id_country_b"),
    "repeat_buyer_revenue": ("month",),
    "hires_by_quarter": ("year", "department_id", "job_id"),
    "departments_above_mean": ("year", "id"),
    "feed_health": ("feed",),
    "rejected_rows": ("feed", "file", "line_number"),
}
# Has its own tests: it says what the expectations saw, not what the feeds hold.
NOT_FROM_FEEDS = {"expectation_results"}
# When the row was loaded is not in the files.
NOT_IN_THE_FILES = {"last_loaded_at"}
SHOWN = 10


@pytest.fixture(scope="module")
def recomputed(built: Project) -> dict[str, list[Row]]:
    return recompute(built.folder / "seeds")


def found_in(project: Project, mart: str) -> list[Row]:
    """The rows that the build wrote, as the recomputation writes them."""
    rows = project.records(mart)
    for row in rows:
        for column in NOT_IN_THE_FILES & row.keys():
            del row[column]
        if mart == "rejected_rows":
            row["record"] = json.loads(row["record"])
    return rows


def is_same(expected: Any, found: Any) -> bool:
    """Whether two values are equal and of one type: 1.10 is not 1.1, and neither is a float."""
    return type(expected) is type(found) and repr(expected) == repr(found)


def differences(
    expected: Sequence[Row], found: Sequence[Row], grain: Sequence[str]
) -> tuple[list[str], int]:
    """How the rows found differ from those expected, and how many values were compared."""

    def by_grain(rows: Sequence[Row]) -> Mapping[tuple[Any, ...], Row]:
        return {tuple(row[column] for column in grain): row for row in rows}

    words = []
    for title, rows in (("expected", expected), ("found", found)):
        counts = Counter(tuple(row[column] for column in grain) for row in rows)
        words += [f"{key}: {title} {n} times" for key, n in counts.items() if n > 1]
    wanted, written = by_grain(expected), by_grain(found)
    words += [f"{key}: missing, {row}" for key, row in wanted.items() if key not in written]
    words += [f"{key}: too many, {row}" for key, row in written.items() if key not in wanted]
    values = 0
    for key in wanted.keys() & written.keys():
        row, other = wanted[key], written[key]
        values += len(row)
        words += [f"{key}: no column {column}" for column in row.keys() - other.keys()]
        words += [f"{key}: unknown column {column}" for column in other.keys() - row.keys()]
        words += [
            f"{key}: {column}: expected {row[column]!r}, found {other[column]!r}"
            for column in row
            if column in other and not is_same(row[column], other[column])
        ]
    return sorted(words), values


@pytest.mark.parametrize("mart", GRAINS)
def test_the_mart_holds_what_plain_python_computes_from_the_sample(
    mart: str, built: Project, recomputed: dict[str, list[Row]]
) -> None:
    expected, found = recomputed[mart], found_in(built, mart)
    assert expected
    words, values = differences(expected, found, GRAINS[mart])
    print(f"{mart}: {len(expected)} rows, {values} values compared")
    if words:
        counts = f"{len(expected)} rows expected, {len(found)} found, {len(words)} differences"
        pytest.fail("\n  ".join([f"{mart}: {counts}", *words[:SHOWN]]), pytrace=False)


def test_no_mart_is_left_out(built: Project) -> None:
    marts = built.column(
        "select table_name from information_schema.tables where table_schema = 'marts'"
    )
    assert set(marts) - NOT_FROM_FEEDS == set(GRAINS)


def test_the_sample_has_the_cases_that_are_easily_wrong(recomputed: dict[str, list[Row]]) -> None:
    # Without them the comparison would say little.
    lines, health = recomputed["order_lines"], recomputed["feed_health"]
    assert {line["status"] for line in lines} == {"completed", "pending", "cancelled"}
    assert not all(line["is_known_product"] for line in lines)
    assert any(row["order_count"] == 0 for row in recomputed["daily_sales"])
    assert any(row["units_sold"] == 0 for row in recomputed["product_metrics"])
    assert any(row["order_count"] == 0 for row in recomputed["customer_lifetime_value"])
    assert any(row["is_unknown"] for row in recomputed["hires_by_quarter"])
    assert any(line["fx_rate_date"] < line["date"] for line in lines)
    assert all(row["rows_rejected"] > 0 for row in health)
    assert {row["feed"] for row in health if row["unknown_references"]} == {
        "orders",
        "order_items",
        "sales",
        "hired_employees",
    }
