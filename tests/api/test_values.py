"""Every endpoint of a real server, against plain Python straight from the sample files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests.api.server import Server
from tests.api.support import (
    LOADED,
    NO_LIMITS,
    Api,
    Number,
    Row,
    as_json,
    as_problem,
    as_text,
    declared,
    in_order,
    json_rows,
    parsed,
)
from tests.models.plain_python import rounded
from tests.support import Project

DIMENSIONS = ("platform", "account", "campaign", "country", "device")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

Sample = dict[str, list[Row]]


def without_load_times(rows: list[Row]) -> list[Row]:
    """The rows with the one value that no file holds replaced, after a look at it."""
    for row in rows:
        if "last_loaded_at" in row:
            assert TIME.fullmatch(row["last_loaded_at"]), row
            row["last_loaded_at"] = LOADED
    return rows


# --- Every mart, whole ----------------------------------------------------------------------------


@pytest.mark.parametrize("page_length", ["small", "large"])
@pytest.mark.parametrize("mart", declared())
def test_a_mart_read_to_its_end_is_what_plain_python_computes(
    mart: str, page_length: str, api: Api, sample: Sample
) -> None:
    expected = json_rows(sample[mart])
    limit = 10_000 if page_length == "large" else len(expected) // 30 + 1
    pages = list(api.pages(f"marts/{mart}", {"limit": str(limit)}))
    rows = without_load_times([row for page in pages for row in page["data"]])
    assert rows == expected
    assert [list(row) for row in rows] == [list(row) for row in expected]
    assert {len(page["data"]) for page in pages[:-1]} <= {limit}
    assert len({page["meta"]["version"] for page in pages}) == 1
    if page_length == "small":
        assert len(pages) > min(len(expected), 25) - 1


def test_no_mart_is_left_out(api: Api, sample: Sample) -> None:
    listed = {row["mart"]: row for row in api.rows("marts")}
    assert listed.keys() == declared().keys() == sample.keys()
    for mart, row in listed.items():
        declaration = declared()[mart]
        assert row["rows"] == len(sample[mart])
        assert row["grain"] == declaration.grain
        assert row["order"] == declaration.order
        assert row["scope"] == declaration.api["scope"]
        assert [column["name"] for column in row["columns"]] == list(declaration.types)
        assert {
            column["name"]: column["formula"] for column in row["columns"] if column["formula"]
        } == declaration.formulas
        assert all(column["description"] for column in row["columns"])
        assert api.rows(row["url"], {"limit": "1"})
        if row["route"]:
            assert api.rows(row["route"], {"limit": "1"})


def test_numbers_keep_their_digits_in_the_text_of_the_answer(api: Api, sample: Sample) -> None:
    row = next(row for row in sample["product_metrics"] if row["revenue"] % 10 == 0)
    assert as_text(row["revenue"]).endswith("0.00")
    text = api.get("product_metrics", {"limit": "10000"}).body.decode()
    assert f'"revenue":{row["revenue"]},' in text
    rate = next(line for line in sample["order_lines"] if line["fx_rate"] is not None)["fx_rate"]
    assert len(str(rate).partition(".")[2]) == 10
    text = api.get("marts/order_lines", {"fx_rate": str(rate), "limit": "1"}).body.decode()
    assert f'"fx_rate":{rate},' in text


def test_an_answer_says_which_snapshot_it_is_of(api: Api, built: Project) -> None:
    newest = built.published.newest()
    assert newest is not None
    answer = api.get("daily_sales", {"limit": "1"})
    meta = parsed(answer.body)["meta"]
    assert meta["version"] == answer.headers["x-snapshot-version"] == newest.version
    assert meta["published_at"] == answer.headers["x-snapshot-published-at"]
    assert meta["published_at"] == f"{newest.at:%Y-%m-%dT%H:%M:%SZ}"
    assert meta["next"] == answer.headers["x-next-cursor"]
    assert list(parsed(answer.body)) == ["data", "meta"]


# --- The declared routes --------------------------------------------------------------------------


def routes() -> Iterator[tuple[str, dict[str, str], str, Callable[[Row], bool], int]]:
    """Path, query, mart, which rows it shows, and how many at most."""

    def everything(_row: Row) -> bool:
        return True

    first, day, last = date(2024, 1, 1), date(2025, 2, 28), date(2025, 12, 31)
    yield "daily_sales", {}, "daily_sales", everything, 100
    for query, shown in (
        ({"start": "2025-02-28"}, lambda row: row["date"] >= day),
        ({"end": "2025-02-28"}, lambda row: row["date"] <= day),
        ({"start": "2025-02-28", "end": "2025-02-28"}, lambda row: row["date"] == day),
        ({"start": "2024-01-01", "end": "2025-12-31"}, lambda row: first <= row["date"] <= last),
        ({"start": "1990-01-01", "end": "1990-12-31"}, lambda _row: False),
        ({"start": "9999-12-31"}, lambda _row: False),
    ):
        yield "daily_sales", query | {"limit": "10000"}, "daily_sales", shown, 10_000
    yield "top_customers", {}, "customer_lifetime_value", everything, 10
    yield "top_customers", {"limit": "3"}, "customer_lifetime_value", everything, 3
    yield "top_customers", {"limit": "10000"}, "customer_lifetime_value", everything, 10_000
    yield "product_metrics", {}, "product_metrics", everything, 100
    yield "product_metrics", {"limit": "1"}, "product_metrics", everything, 1
    for category in ("Kitchen", "Unknown", "kitchen", ""):
        yield (
            "product_metrics",
            {"category": category, "limit": "7"},
            "product_metrics",
            lambda row, category=category: row["category"] == category,  # type: ignore[misc]
            7,
        )
    yield "order_kpis", {}, "order_kpis", everything, 100
    yield "country_contribution", {}, "country_contribution", everything, 100
    yield "top_country_relationships", {}, "country_relationships", everything, 10
    yield "top_country_relationships", {"limit": "1"}, "country_relationships", everything, 1
    yield "repeat_buyer_revenue", {}, "repeat_buyer_revenue", everything, 100
    for month in ("2024-01", "2025-06", "2021-01", "2024-13"):
        yield (
            "repeat_buyer_revenue",
            {"month": month},
            "repeat_buyer_revenue",
            lambda row, month=month: row["month"] == month,  # type: ignore[misc]
            100,
        )
    for year in (2024, 2025, 1999):
        for shown_too in (None, "false", "true"):
            query = {"year": str(year), "limit": "10000"}
            yield (
                "metrics/hired-employees",
                query | ({"include_unknown": shown_too} if shown_too else {}),
                "hires_by_quarter",
                lambda row, year=year, shown_too=shown_too: (  # type: ignore[misc]
                    row["year"] == year and (shown_too == "true" or not row["is_unknown"])
                ),
                10_000,
            )
        yield (
            "metrics/departments-above-mean",
            {"year": str(year)},
            "departments_above_mean",
            lambda row, year=year: row["year"] == year and row["is_above_mean"],  # type: ignore[misc]
            100,
        )


@pytest.mark.parametrize(
    ("path", "query", "mart", "is_shown", "limit"),
    list(routes()),
    ids=[f"{path} {query}" for path, query, *_ in routes()],
)
def test_a_route_shows_the_rows_that_its_mart_has(
    path: str,
    query: dict[str, str],
    mart: str,
    is_shown: Callable[[Row], bool],
    limit: int,
    api: Api,
    sample: Sample,
) -> None:
    expected = [row for row in sample[mart] if is_shown(row)]
    page = api.page(path, query)
    assert page["data"] == json_rows(expected[:limit])
    assert (page["meta"]["next"] is not None) == (len(expected) > limit)


def test_the_orders_of_the_routes_are_those_that_the_design_promises(api: Api) -> None:
    def column(path: str, name: str, **query: str) -> list[Any]:
        values = [row[name] for row in api.rows(path, {"limit": "10000"} | query)]
        assert len(values) > 2
        return [Decimal(value.text) if isinstance(value, Number) else value for value in values]

    def falls(values: list[Any]) -> bool:
        return values == sorted(values, reverse=True)

    days = column("daily_sales", "date")
    assert days == sorted(days)
    months = column("repeat_buyer_revenue", "month")
    assert months == sorted(months)
    known = [row for row in api.rows("top_customers", {"limit": "300"}) if row["spend_rank"]]
    assert falls([Decimal(row["total_spent"].text) for row in known])
    assert falls(column("product_metrics", "units_sold")[:-1])  # the last is Unknown, without rank
    assert falls(column("country_contribution", "revenue"))
    assert falls(column("top_country_relationships", "combined_revenue"))
    assert falls(column("metrics/departments-above-mean", "hired", year="2025"))


def test_hires_without_a_department_or_job_are_hidden_until_they_are_asked_for(api: Api) -> None:
    def count(**query: str) -> tuple[int, int]:
        rows = api.rows("metrics/hired-employees", {"limit": "10000", **query})
        return sum(row["is_unknown"] for row in rows), len(rows)

    hidden, shown = count(), count(include_unknown="true")
    assert hidden == count(include_unknown="false") == (0, shown[1] - shown[0])
    assert shown[0] > 0


# --- /metrics -------------------------------------------------------------------------------------


def period(rows: Iterable[Row], first: date, last: date) -> tuple[Row, Fraction | None, Any]:
    """What /metrics says of some days, and the two ratios, exact."""
    days = [row for row in rows if first <= row["date"] <= last]
    spend = Fraction(sum((row["spend"] for row in days), Decimal(0)))
    conversions = sum(row["conversions"] for row in days)
    worth = Fraction(conversions * 100)
    cac = spend / conversions if conversions else None
    roas = worth / spend if spend else None
    return (
        {
            "spend": as_json(rounded(spend, 2)),
            "conversions": conversions,
            "CAC": None if cac is None else as_json(rounded(cac, 2)),
            "ROAS": None if roas is None else as_json(rounded(roas, 2)),
        },
        cac,
        roas,
    )


def metrics(rows: Iterable[Row], start: date, end: date, **only: str) -> Row:
    """What /metrics must answer."""
    chosen = [row for row in rows if all(row[name] == only[name] for name in only)]
    days = (end - start).days + 1
    now, cac, roas = period(chosen, start, end)
    before, cac_before, roas_before = period(
        chosen, start - timedelta(days=days), start - timedelta(days=1)
    )

    def change(new: Fraction | None, old: Fraction | None) -> Any:
        return None if new is None or not old else as_json(rounded((new - old) / old * 100, 2))

    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "current_period": now,
        "previous_period": before,
        "delta_pct": {
            "CAC_change_pct": change(cac, cac_before),
            "ROAS_change_pct": change(roas, roas_before),
        },
    }


def asked_metrics(api: Api, **query: str) -> Row:
    """An answer of /metrics without its meta."""
    answer = api.page("metrics", query)
    meta = answer.pop("meta")
    assert meta["version"]
    assert meta["next"] is None
    return answer


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2025-12-02", "2025-12-31"),
        ("2025-12-31", "2025-12-31"),
        ("2024-02-29", "2024-02-29"),
        ("2024-01-01", "2025-12-31"),
        ("2025-01-01", "2025-06-30"),
        ("2026-01-01", "2026-01-31"),  # after the data, the period before is in it
        ("2023-12-25", "2024-01-05"),  # begins before the data
        ("1999-01-01", "1999-12-31"),
        ("2300-01-01", "2300-01-02"),
    ],
)
def test_metrics_of_a_period_and_of_the_one_before(
    start: str, end: str, api: Api, sample: Sample
) -> None:
    ads = sample["ads_performance_daily"]
    expected = metrics(ads, date.fromisoformat(start), date.fromisoformat(end))
    assert asked_metrics(api, start=start, end=end) == expected


def test_last30_prev30_ends_on_the_newest_date_of_the_data(api: Api, sample: Sample) -> None:
    ads = sample["ads_performance_daily"]
    newest = max(row["date"] for row in ads)
    expected = metrics(ads, newest - timedelta(days=29), newest)
    assert asked_metrics(api, compare="last30_prev30") == expected
    assert expected["delta_pct"]["CAC_change_pct"] is not None
    platform = sorted({row["platform"] for row in ads})[0]
    # Also when the newest day of what is left is another one.
    assert asked_metrics(api, compare="last30_prev30", platform=platform) == metrics(
        ads, newest - timedelta(days=29), newest, platform=platform
    )


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_metrics_of_one_value_of_a_dimension(dimension: str, api: Api, sample: Sample) -> None:
    ads = sample["ads_performance_daily"]
    start, end = date(2025, 3, 1), date(2025, 5, 31)
    values = sorted({row[dimension] for row in ads})
    assert len(values) > 1
    for value in [*values, values[0].upper() + "?"]:
        expected = metrics(ads, start, end, **{dimension: value})
        assert (
            asked_metrics(api, start=str(start), end=str(end), **{dimension: value}) == expected
        ), value


def test_metrics_of_all_dimensions_at_once(api: Api, sample: Sample) -> None:
    ads = sample["ads_performance_daily"]
    for row in ads[::500]:
        only = {name: row[name] for name in DIMENSIONS}
        day = row["date"]
        assert asked_metrics(api, start=str(day), end=str(day), **only) == metrics(
            ads, day, day, **only
        )


def test_ratios_without_a_base_are_null(api: Api, sample: Sample) -> None:
    # A day and dimensions with clicks that led to nothing.
    row = next(row for row in sample["ads_performance_daily"] if row["conversions"] == 0)
    only = {name: row[name] for name in DIMENSIONS}
    found = asked_metrics(api, start=str(row["date"]), end=str(row["date"]), **only)
    assert found["current_period"]["CAC"] is None
    assert found["delta_pct"]["CAC_change_pct"] is None
    empty = asked_metrics(api, start="1999-01-01", end="1999-01-01")
    nothing = {"spend": Number("0.00"), "conversions": 0, "CAC": None, "ROAS": None}
    assert empty["current_period"] == empty["previous_period"] == nothing
    assert empty["delta_pct"] == {"CAC_change_pct": None, "ROAS_change_pct": None}


def test_deltas_are_made_of_ratios_that_are_not_rounded(api: Api, sample: Sample) -> None:
    ads = sample["ads_performance_daily"]
    told_apart = 0
    for start in (date(2025, 1, 1) + timedelta(days=11 * number) for number in range(30)):
        end = start + timedelta(days=10)
        expected = metrics(ads, start, end)
        assert asked_metrics(api, start=str(start), end=str(end)) == expected
        new, old = (
            Decimal(expected[name]["CAC"].text) for name in ("current_period", "previous_period")
        )
        naive = rounded(Fraction(100 * (new - old) / old), 2)
        told_apart += naive != Decimal(expected["delta_pct"]["CAC_change_pct"].text)
    assert told_apart > 5


def test_metrics_keep_their_digits_in_the_text(api: Api) -> None:
    text = api.get("metrics", {"start": "1999-01-01", "end": "1999-01-01"}).body.decode()
    assert '"current_period":{"spend":0.00,"conversions":0,"CAC":null,"ROAS":null}' in text


def test_metrics_at_both_ends_of_the_calendar(api: Api) -> None:
    for start, end in (("0001-01-01", "0001-12-31"), ("0001-01-01", "9999-12-31")):
        found = asked_metrics(api, start=start, end=end)
        assert (found["start"], found["end"]) == (start, end)
        assert found["previous_period"]["conversions"] == 0


@pytest.mark.parametrize(
    ("query", "kind", "named"),
    [
        ({}, "missing-parameter", "start and end"),
        ({"start": "2025-01-01"}, "missing-parameter", "start and end"),
        ({"end": "2025-01-01"}, "missing-parameter", "start and end"),
        ({"start": "2025-01-02", "end": "2025-01-01"}, "bad-parameter", "start"),
        ({"start": "2025-02-29", "end": "2025-03-01"}, "bad-parameter", "start"),
        ({"start": "2025-1-1", "end": "2025-03-01"}, "bad-parameter", "start"),
        ({"start": "2025-01-01", "end": "tomorrow"}, "bad-parameter", "end"),
        ({"start": ["2025-01-01", "2025-01-02"], "end": "2025-01-03"}, "bad-parameter", "start"),
        ({"compare": "last7_prev7"}, "bad-parameter", "compare"),
        ({"compare": "last30_prev30", "end": "2025-01-01"}, "bad-parameter", "compare"),
        ({"compare": "last30_prev30", "city": "Oslo"}, "unknown-parameter", "city"),
        ({"compare": "last30_prev30", "limit": "1"}, "unknown-parameter", "limit"),
    ],
)
def test_metrics_refuse_what_they_cannot_answer(
    query: dict[str, str], kind: str, named: str, api: Api
) -> None:
    assert named in as_problem(api.get("metrics", query), 400, kind)["detail"]


# --- /feedback ------------------------------------------------------------------------------------


def feedback(rows: Iterable[Row], start: date, end: date, category: str | None = None) -> list[Row]:
    """What /feedback must answer."""
    sums: dict[str, tuple[int, Decimal]] = {}
    for row in rows:
        if start <= row["date"] <= end and category in (None, row["category"]):
            count, revenue = sums.get(row["category"], (0, Decimal(0)))
            sums[row["category"]] = count + row["sales_count"], revenue + row["revenue"]
    best = sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))[:3]
    return [
        {"category": name, "sales_count": count, "revenue": as_json(rounded(revenue, 2))}
        for name, (count, revenue) in best
    ]


def test_feedback_names_the_three_categories_with_most_sales(api: Api, sample: Sample) -> None:
    sales = sample["sales_by_category_daily"]
    assert api.rows("feedback") == feedback(sales, date.min, date.max)
    assert len(api.rows("feedback")) == 3
    for category in sorted({row["category"] for row in sales}):
        assert api.rows("feedback", {"category": category}) == feedback(
            sales, date.min, date.max, category
        )
    assert api.rows("feedback", {"category": "Clothing"}) == []


def test_feedback_of_a_range_of_dates(api: Api, sample: Sample) -> None:
    sales = sample["sales_by_category_daily"]
    ties = 0
    for start in (date(2024, 1, 1) + timedelta(days=23 * number) for number in range(30)):
        for days in (0, 6, 90):
            end = start + timedelta(days=days)
            expected = feedback(sales, start, end)
            found = api.rows("feedback", {"start_date": str(start), "end_date": str(end)})
            assert found == expected
            ties += len({row["sales_count"] for row in expected}) < len(expected)
    assert ties > 5  # where only the name decides
    later, earlier = date(2025, 7, 1), date(2024, 3, 31)
    assert api.rows("feedback", {"start_date": str(later)}) == feedback(sales, later, date.max)
    assert api.rows("feedback", {"end_date": str(earlier)}) == feedback(sales, date.min, earlier)
    assert api.rows("feedback", {"start_date": "2199-01-01"}) == []
    both = {"category": "shoes", "start_date": str(later), "end_date": "9999-12-31"}
    assert api.rows("feedback", both) == feedback(sales, later, date.max, "shoes")


def test_feedback_refuses_what_it_cannot_answer(api: Api) -> None:
    for query in (
        {"start_date": "2025-01-02", "end_date": "2025-01-01"},
        {"start_date": "2025-13-01"},
        {"end_date": ""},
    ):
        as_problem(api.get("feedback", query), 400, "bad-parameter")
    as_problem(api.get("feedback", {"start": "2025-01-01"}), 400, "unknown-parameter")
    as_problem(api.get("feedback", {"cursor": "W10"}), 400, "bad-parameter")


# --- Filters of the generic route -----------------------------------------------------------------

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda found, value: found is not None and found == value,
    "ne": lambda found, value: found != value,
    "gt": lambda found, value: found is not None and found > value,
    "gte": lambda found, value: found is not None and found >= value,
    "lt": lambda found, value: found is not None and found < value,
    "lte": lambda found, value: found is not None and found <= value,
}


def shows(api: Api, sample: Sample, mart: str, query: Row, is_shown: Callable[[Row], bool]) -> int:
    """Compare the first rows of a filtered mart; how many rows it has in all."""
    expected = [row for row in sample[mart] if is_shown(row)]
    page = api.page(f"marts/{mart}", {"limit": "40"} | query)
    assert without_load_times(page["data"]) == json_rows(expected[:40]), query
    assert (page["meta"]["next"] is not None) == (len(expected) > 40), query
    return len(expected)


@pytest.mark.parametrize("mart", declared())
def test_each_operator_on_each_column(mart: str, api: Api, sample: Sample) -> None:
    rows, types = sample[mart], declared()[mart].types
    for column, data_type in types.items():
        if column == "last_loaded_at":
            continue
        if data_type.endswith("[]"):
            problem = as_problem(api.get(f"marts/{mart}", {column: "x"}), 400, "bad-parameter")
            assert column in problem["detail"]
            continue
        known = sorted({row[column] for row in rows if row[column] is not None})
        value = known[len(known) // 2]
        for operator, holds in OPERATORS.items():
            shows(
                api, sample, mart, {column: f"{operator}.{as_text(value)}"},
                lambda row, c=column, h=holds, v=value: h(row[c], v),  # type: ignore[misc]
            )  # fmt: skip
        if not isinstance(value, str):
            plain = {column: as_text(value)}
            shows(api, sample, mart, plain, lambda row, c=column, v=value: row[c] == v)  # type: ignore[misc]
        for test, is_null in (("is.null", True), ("is.not_null", False)):
            shows(
                api, sample, mart, {column: test},
                lambda row, c=column, n=is_null: (row[c] is None) is n,  # type: ignore[misc]
            )  # fmt: skip


def test_a_list_of_values_is_read_as_csv(api: Api, sample: Sample) -> None:
    names = sorted({row["department"] for row in sample["hires_by_quarter"]})
    with_comma = [name for name in names if "," in name]
    assert len(with_comma) > 1
    chosen = [*with_comma, names[0]]
    text = "in." + ",".join(f'"{name}"' for name in chosen)
    assert shows(
        api, sample, "hires_by_quarter", {"department": text},
        lambda row: row["department"] in chosen,
    )  # fmt: skip
    assert shows(
        api, sample, "hires_by_quarter", {"year": "in.2025,2024,2025,1066"},
        lambda row: row["year"] in (2024, 2025),
    )  # fmt: skip
    assert shows(
        api, sample, "daily_sales", {"date": "in.2025-12-24,2025-12-25"},
        lambda row: row["date"] in (date(2025, 12, 24), date(2025, 12, 25)),
    )  # fmt: skip
    money = sorted({row["revenue"] for row in sample["product_metrics"] if row["revenue"]})[:3]
    assert shows(
        api, sample, "product_metrics", {"revenue": "in." + ",".join(map(str, money))},
        lambda row: row["revenue"] in money,
    )  # fmt: skip
    for text in ('in."open', 'in."a"b', "in.1\n2"):
        as_problem(api.get("marts/product_metrics", {"name": text}), 400, "bad-parameter")
    too_many = "in." + ",".join(map(str, range(501)))
    as_problem(api.get("marts/feed_health", {"files": too_many}), 400, "bad-parameter")


def test_a_column_may_be_filtered_more_than_once(api: Api, sample: Sample) -> None:
    query = {"total_sales": ["gte.1000", "lt.2000.5", "ne.1500"], "order_count": "in.2,3"}
    assert shows(
        api, sample, "daily_sales", query,
        lambda row: 1000 <= row["total_sales"] < Decimal("2000.5") and row["order_count"] in (2, 3),
    )  # fmt: skip


def test_a_text_that_looks_like_an_operator_is_written_with_eq(api: Api, sample: Sample) -> None:
    everything = len(sample["product_metrics"])
    texts = {"eq.gt.5": 0, "ne.gt.5": everything, "eq.is.null": 0, "gt.": everything}
    for text, count in texts.items():
        found = api.rows("marts/product_metrics", {"name": text, "limit": "10000"})
        assert len(found) == count, text


def test_unknown_names_and_values_are_named(api: Api) -> None:
    path = "marts/daily_sales"
    problem = as_problem(api.get(path, {"city": "x"}), 400, "unknown-parameter")
    assert problem["parameter"] == "city"
    assert "total_sales" in problem["known"]
    for name in ("columns", "order"):
        problem = as_problem(api.get(path, {name: "date,city"}), 400, "unknown-column")
        assert "'city'" in problem["detail"]
    for query in (
        {"date": "2025-02-30"},
        {"date": "gte."},
        {"units": "1.0"},
        {"units": "9223372036854775808"},
        {"total_sales": "1e3"},
        {"total_sales": "NaN"},
        {"total_sales": "0.12345678901"},
        {"limit": "0"},
        {"limit": "10001"},
        {"limit": "ten"},
        {"limit": ["1", "2"]},
        {"order": ""},
        {"columns": ""},
        {"order": "date,-date"},
        {"columns": "date,date"},
        {"cursor": "x"},
    ):
        answer = api.get(path, query)
        assert answer.status == 400, query
    as_problem(api.get("metrics/hired-employees", {"include_unknown": "1"}), 400, "bad-parameter")
    as_problem(api.get("marts/rejected_rows", {"order": "reasons"}), 400, "bad-parameter")


# --- Columns, order, cursors ----------------------------------------------------------------------


def test_columns_are_shown_in_the_order_asked_for(api: Api, sample: Sample) -> None:
    names = ["units", "date", "total_sales"]
    rows = api.rows("marts/daily_sales", {"columns": ",".join(names), "limit": "5"})
    expected = [{name: row[name] for name in names} for row in sample["daily_sales"][:5]]
    assert rows == json_rows(expected)
    assert [list(row) for row in rows] == [names] * 5
    # The order needs no column that is shown, and neither does the cursor.
    query = {"columns": "name", "order": "-units_sold", "limit": "9"}
    expected = in_order(sample["product_metrics"], ["-units_sold", "product_id"])
    assert api.walk("marts/product_metrics", query) == [{"name": row["name"]} for row in expected]


SMALL = [
    *("daily_sales", "product_metrics", "customer_lifetime_value", "hires_by_quarter"),
    *("departments_above_mean", "country_relationships", "feed_health", "rejected_rows"),
    *("repeat_buyer_revenue", "category_metrics", "country_contribution"),
]


@pytest.mark.parametrize("mart", SMALL)
def test_a_mart_sorted_by_each_column_walks_as_plain_python_sorts_it(
    mart: str, api: Api, sample: Sample
) -> None:
    rows, declaration = sample[mart], declared()[mart]
    for column, data_type in declaration.types.items():
        if data_type.endswith("[]") or column == "last_loaded_at":
            continue
        for term in (column, f"-{column}"):
            ties = [name for name in declaration.grain if name != column]
            expected = json_rows(in_order(rows, [term, *ties]))
            query = {"order": term, "limit": "10000"}
            assert without_load_times(api.rows(f"marts/{mart}", query)) == expected, term
            query = {"order": term, "limit": str(len(rows) // 4 + 1)}
            assert without_load_times(api.walk(f"marts/{mart}", query)) == expected, term


@pytest.mark.parametrize(
    ("mart", "order"),
    [
        ("product_metrics", "-units_rank,name"),
        ("product_metrics", "inventory_count,-category,price"),
        ("product_metrics", "-last_sale_date,-revenue_usd"),
        ("customer_lifetime_value", "country,-join_date,name"),
        ("customer_lifetime_value", "-average_order_value,first_order_date"),
        ("hires_by_quarter", "-department_id,-job_id,year"),
        ("hires_by_quarter", "q1,q2,-q3,q4,is_unknown"),
        ("order_lines", "-total_price_usd,product_name"),
        ("order_lines", "fx_rate_date,-status,is_sale"),
        ("feed_health", "-first_date,last_date"),
    ],
)
def test_an_order_with_ties_and_nulls_walks_to_its_end(
    mart: str, order: str, api: Api, sample: Sample
) -> None:
    terms = order.split(",")
    named = {term.removeprefix("-") for term in terms}
    grain = [name for name in declared()[mart].grain if name not in named]
    expected = json_rows(in_order(sample[mart], [*terms, *grain]))
    for length in (len(expected) // 20 + 1, 1000):
        found = api.walk(f"marts/{mart}", {"order": order, "limit": str(length)})
        assert without_load_times(found) == expected


def test_a_filtered_order_walks_to_its_end(api: Api, sample: Sample) -> None:
    query = {"status": "ne.completed", "order": "-quantity,product_id", "limit": "50"}
    expected = in_order(
        [row for row in sample["order_lines"] if row["status"] != "completed"],
        ["-quantity", "product_id", "source_file", "source_line"],
    )
    assert len(expected) > 200
    assert api.walk("marts/order_lines", query) == json_rows(expected)
    walked = api.walk("metrics/hired-employees", {"year": "2025", "limit": "11"})
    assert walked == api.rows("metrics/hired-employees", {"year": "2025", "limit": "10000"})


def test_a_cursor_belongs_to_its_question(api: Api) -> None:
    cursor = api.page("marts/daily_sales", {"limit": "3"})["meta"]["next"]
    for path, query in (
        ("marts/daily_sales", {"order": "-date"}),
        ("marts/daily_sales", {"units": "gt.3"}),
        ("marts/daily_sales", {"columns": "date"}),
        ("marts/product_metrics", {}),
        ("metrics/hired-employees", {}),
        ("marts/daily_sales", {"version": "20200101T000000Z-00000000"}),
    ):
        answer = api.get(path, query | {"cursor": cursor})
        as_problem(answer, 400, "bad-parameter")
    # How many rows a page has is no part of the question.
    third = api.rows("marts/daily_sales", {"cursor": cursor, "limit": "1"})
    assert third == api.rows("marts/daily_sales", {"limit": "4"})[3:]


# --- The same from files --------------------------------------------------------------------------


def test_views_over_the_files_give_the_same_answers_as_tables(
    api: Api, built: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("views")
    (folder / "published").symlink_to(built.published.path)
    with Server(folder, API_IN_MEMORY_BYTES="1", **NO_LIMITS) as server:
        views = Api(server)
        for path, query in (
            *((f"marts/{mart}", {"limit": "333"}) for mart in declared()),
            *((f"marts/{mart}.csv", {"limit": "333"}) for mart in declared()),
            ("marts/order_lines", {"order": "-total_price_usd", "status": "completed"}),
            ("marts/rejected_rows", {"area": "in.shop,hiring", "order": "-line_number"}),
            ("metrics", {"compare": "last30_prev30"}),
            ("feedback", {"start_date": "2025-01-01"}),
            ("daily_sales", {"start": "2025-06-01", "limit": "31"}),
            ("metrics/hired-employees", {"year": "2025", "include_unknown": "true"}),
        ):  # fmt: skip
            assert views.get(path, query).body == api.get(path, query).body, path
        (swapped,) = [line for line in server.log if line["event"] == "snapshot_swapped"]
        assert swapped["in_memory"] is False
