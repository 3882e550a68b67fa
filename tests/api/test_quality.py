"""How good the numbers are, and what the builds came to: for programs, and on the first page.

The snapshots are those of the sample with feeds, expectations and totals that are made up here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest

from api.catalog import Feed, Threshold
from api.quality import freshness
from tests.api.server import Answer
from tests.api.support import (
    MEDIA_TYPES,
    SCOPES,
    Api,
    Number,
    Row,
    as_problem,
    as_text,
    damage,
    json_rows,
    parsed,
    publish_again,
    read_csv,
    serving,
    wait_until,
)
from tests.support import Project
from warehouse.history import HISTORY, WHY_UNFINISHED, BuildHistory, EndOfRun
from warehouse.published import CATALOG, PublishedFolder

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
TWO_DAYS, A_WEEK = {"count": 2, "period": "day"}, {"count": 7, "period": "day"}
EXPECTATION_TYPES = {
    **{"suite": "VARCHAR", "area": "VARCHAR", "mart": "VARCHAR", "position": "BIGINT"},
    "expectation": "VARCHAR",
    **{"column": "VARCHAR", "expected": "VARCHAR", "severity": "VARCHAR", "success": "BOOLEAN"},
    **{"observed": "VARCHAR", "rows_checked": "BIGINT", "is_sampled": "BOOLEAN"},
}


# --- Snapshots ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forged:
    """What a forged snapshot says.

    Attributes:
        ages: of the newest file of some feeds; None: nothing was loaded. The others are new.
        feeds: the catalog's word on how old they may be; None: it has none, as of old.
        expectations: success and whether it was sampled, for each; None: there is no such mart.
        totals: of some marts; the others have none.
        sample_data: None: the catalog does not say.
        warned: tests with warnings.
        rows: of daily_sales.
    """

    ages: Mapping[str, timedelta | None]
    feeds: Sequence[Row] | None = None
    expectations: Sequence[tuple[bool | None, bool]] | None = None
    totals: Mapping[str, Mapping[str, str]] | None = None
    sample_data: bool | None = None
    warned: int = 0
    rows: int = 731

    def publish(self, folder: PublishedFolder, source: PublishedFolder) -> str:
        """Publish it; its version."""
        now = datetime.now(UTC).replace(tzinfo=None)
        loaded = ", ".join(
            f"('{feed}', {'null' if age is None else f'timestamp {str(now - age)!r}'})"
            for feed, age in {"": None, **self.ages}.items()
        )
        marts = {
            "feed_health": f"select mart.* replace (case when loaded.feed is null then "
            f"timestamp '{now}' else loaded.loaded_at end as last_loaded_at, "
            "case mart.feed when 'jobs' then 0 else rows_read end as rows_read) from mart "
            f"left join (values {loaded}) as loaded (feed, loaded_at) on mart.feed = loaded.feed",
            "daily_sales": f"select * from mart order by date limit {self.rows}",
        }
        return publish_again(
            folder.path, source, marts, lambda catalog: self._edit(catalog, folder)
        )

    def _edit(self, catalog: Row, folder: PublishedFolder) -> None:
        for key, value in (("feeds", self.feeds), ("sample_data", self.sample_data)):
            catalog.pop(key, None)
            catalog |= {} if value is None else {key: value}
        warnings = [{"test": f"test_{number}", "failures": 3} for number in range(self.warned)]
        catalog["tests"]["data_tests"]["warned"] = self.warned
        catalog["tests"]["warnings"] = warnings
        catalog["marts"] = [
            mart for mart in catalog["marts"] if mart["name"] != "expectation_results"
        ]
        for mart in catalog["marts"]:
            mart.pop("totals", None)
            if self.totals is not None:
                mart["totals"] = self.totals.get(mart["name"])  # a mart without totals has null
        if self.expectations is not None:
            file = folder.path / catalog["version"] / "expectation_results.parquet"
            catalog["marts"].append(write_expectations(self.expectations, file))


def expectation(position: int, success: bool | None, is_sampled: bool) -> Row:
    return {
        **{"suite": "shop.daily_sales", "area": "shop", "mart": "daily_sales"},
        "position": position,
        **{"expectation": "expect_column_values_to_be_unique", "column": "date", "expected": ""},
        **{"severity": "warning", "success": success, "observed": f"seen at {position}"},
        **{"rows_checked": 731, "is_sampled": is_sampled},
    }


def write_expectations(results: Sequence[tuple[bool | None, bool]], file: Path) -> Row:
    """Write the mart; its entry in the catalog."""
    rows = [expectation(number, *result) for number, result in enumerate(results, start=1)]
    columns = ", ".join(f'"{name}" {type_}' for name, type_ in EXPECTATION_TYPES.items())
    with duckdb.connect() as connection:
        connection.execute(f"create table mart ({columns})")
        for row in rows:
            places = ", ".join("?" * len(row))
            connection.execute(f"insert into mart values ({places})", list(row.values()))
        connection.execute(f"copy mart to '{file}' (format parquet)")
    return {
        **{"name": "expectation_results", "description": "Made up.", "area": "quality"},
        **{"grain": ["suite", "position"], "file": file.name, "rows": len(rows)},
        **{"bytes": file.stat().st_size, "totals": None},
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "api": {"scope": "quality", "row_scope": "area"},
        "columns": [
            {"name": name, "type": type_, "description": name, "formula": None}
            for name, type_ in EXPECTATION_TYPES.items()
        ],
    }


def limits(feed: str, warn_after: Row | None = None, error_after: Row | None = None) -> Row:
    return {"feed": feed, "area": "shop", "warn_after": warn_after, "error_after": error_after}


LIMITS = [limits("orders", TWO_DAYS, A_WEEK), limits("products"), limits("sales", TWO_DAYS, A_WEEK)]
NEW = {"orders": timedelta(hours=3, minutes=6)}
TOTALS = {
    "daily_sales": {"total_sales": "1000.00"},
    "ads_performance_daily": {"spend": "0.00", "revenue": "12345678901234567890123456.78"},
}
FORGED = {
    "of old": Forged({}),
    "good": Forged(
        {**NEW, "products": timedelta(days=400), "customers": None},
        LIMITS,
        [(True, False), (True, True), (None, False)],
        TOTALS,
        sample_data=True,
    ),
    "warned": Forged(NEW, LIMITS, [(True, False)], TOTALS, warned=2),
    "failed": Forged(NEW, LIMITS, [(False, True), (True, True), (False, False), (None, False)]),
    "late": Forged({"orders": timedelta(days=2, minutes=1)}, LIMITS, []),
    "stale": Forged(
        {"orders": timedelta(days=2, minutes=1), "sales": timedelta(days=8)},
        LIMITS,
        [(False, False)],
        {
            "daily_sales": {"total_sales": "1100.50", "units": "7"},
            "ads_performance_daily": {"spend": "5.00", "revenue": "NaN"},
        },
        sample_data=True,
        warned=1,
        rows=700,
    ),
    "of my own data": Forged(NEW, LIMITS, [], TOTALS, sample_data=False),
}


@dataclass(frozen=True)
class World:
    """A server over the forged snapshots, and their versions by name."""

    api: Api
    versions: Mapping[str, str]

    def quality(self, name: str, **how: Any) -> Row:
        content: Row = self.api.page("quality", {"version": self.versions[name]}, **how)
        return content


@pytest.fixture(scope="module")
def world(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = PublishedFolder(tmp_path_factory.mktemp("quality") / "published")
    versions = {name: forged.publish(folder, built.published) for name, forged in FORGED.items()}
    with serving(folder) as api:
        yield World(api, versions)


def feed_of(quality: Row, name: str) -> Row:
    (found,) = [feed for feed in quality["feeds"] if feed["feed"] == name]
    row: Row = found
    return row


# --- Freshness ------------------------------------------------------------------------------------

MINUTES, HOURS = (
    Threshold(90, "minute", timedelta(minutes=90)),
    Threshold(2, "hour", timedelta(hours=2)),
)


@pytest.mark.parametrize(
    ("limits", "age", "status"),
    [
        (Feed(MINUTES, HOURS), timedelta(0), "fresh"),
        (Feed(MINUTES, HOURS), timedelta(minutes=90), "fresh"),
        (Feed(MINUTES, HOURS), timedelta(minutes=90, microseconds=1), "late"),
        (Feed(MINUTES, HOURS), timedelta(hours=2), "late"),
        (Feed(MINUTES, HOURS), timedelta(hours=2, microseconds=1), "stale"),
        (Feed(MINUTES, HOURS), timedelta(hours=-5), "fresh"),  # of a clock that is ahead
        (Feed(MINUTES, None), timedelta(days=999), "late"),
        (Feed(None, HOURS), timedelta(hours=2), "fresh"),
        (Feed(None, HOURS), timedelta(days=999), "stale"),
        (Feed(None, None), timedelta(days=999), "unchecked"),
        (Feed(MINUTES, HOURS), None, "unknown"),
        (Feed(None, None), None, "unknown"),
    ],
)
def test_a_feed_is_as_fresh_as_its_thresholds_say(
    limits: Feed, age: timedelta | None, status: str
) -> None:
    found = freshness(limits, None if age is None else NOON - age, NOON)
    assert found.status == status
    assert found.age == (None if age is None else max(age, timedelta(0)))


# --- The answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *(("of old", "ok"), ("good", "ok"), ("warned", "warning"), ("failed", "warning")),
        *(("late", "warning"), ("stale", "stale")),
    ],
)
def test_the_status_is_the_worst_of_it(name: str, status: str, world: World) -> None:
    assert world.quality(name)["status"] == status


def test_the_feeds_are_those_of_the_mart_with_their_freshness(world: World) -> None:
    quality = world.quality("good")
    rows = world.api.rows("marts/feed_health", {"version": world.versions["good"]})
    assert len(rows) == 11
    for row, feed in zip(rows, quality["feeds"], strict=True):
        share, found = feed.pop("rejected_pct"), feed.pop("freshness")
        assert feed == row
        if row["feed"] == "jobs":  # which has no rows here
            assert share is None
        else:
            exact = Decimal(100 * row["rows_rejected"]) / row["rows_read"]
            assert share == Number(str(round(exact, 2)))
        if row["feed"] not in ("orders", "sales", "products", "customers"):
            assert (found["status"], found["warn_after"]) == ("unchecked", None), row["feed"]
    quality = world.quality("good")
    nothing = {"warn_after": None, "error_after": None}
    days = {"warn_after": TWO_DAYS, "error_after": A_WEEK}
    for feed, expected in {
        "orders": {"status": "fresh", "age_hours": Number("3.1"), **days},
        "sales": {"status": "fresh", "age_hours": Number("0.0"), **days},
        "products": {"status": "unchecked", "age_hours": Number("9600.0"), **nothing},
        "customers": {"status": "unknown", "age_hours": None, **nothing},
    }.items():
        assert feed_of(quality, feed)["freshness"] == expected, feed
    assert feed_of(world.quality("stale"), "sales")["freshness"]["status"] == "stale"
    assert feed_of(world.quality("stale"), "orders")["freshness"]["status"] == "late"


def test_the_tests_are_those_of_the_catalog(world: World) -> None:
    for name in ("of old", "warned"):
        ready = parsed(world.api.get("/ready", scopes=()).body)["tests"]
        tests = world.quality(name)["tests"]
        assert tests["data_tests"]["passed"] == ready["data_tests"]["passed"]
        assert tests["data_tests"]["warned"] == len(tests["warnings"]) == FORGED[name].warned
    assert tests["warnings"][1] == {"test": "test_1", "failures": 3}


def test_expectations_are_counted_and_those_that_failed_are_shown(world: World) -> None:
    assert world.quality("of old")["expectations"] is None
    for name, (passed, failed, not_evaluated, sampled) in {
        "good": (2, 0, 1, 1),
        "failed": (1, 2, 1, 2),
        "late": (0, 0, 0, 0),
    }.items():
        found = world.quality(name)["expectations"]
        failing = found.pop("failing")
        assert found == {
            **{"evaluated": passed + failed, "passed": passed, "failed": failed},
            **{"not_evaluated": not_evaluated, "sampled": sampled},
        }
        assert len(failing) == failed
    assert world.quality("failed")["expectations"]["failing"] == [
        expectation(1, False, True),
        expectation(3, False, False),
    ]


def test_it_says_which_snapshot_it_is_of(world: World) -> None:
    answer = world.api.get("quality")
    meta = parsed(answer.body)["meta"]
    newest = world.versions["of my own data"]
    assert meta["version"] == answer.headers["x-snapshot-version"] == newest
    assert meta["published_at"] == answer.headers["x-snapshot-published-at"]
    assert list(parsed(answer.body)) == [
        *("status", "tests", "feeds", "expectations", "drift", "meta"),
    ]


# --- Drift ----------------------------------------------------------------------------------------


def mart_of(quality: Row, name: str) -> Row:
    (found,) = [mart for mart in quality["drift"]["marts"] if mart["mart"] == name]
    row: Row = found
    return row


def test_drift_compares_rows_and_totals_with_the_version_before(world: World) -> None:
    quality = world.quality("stale")
    drift = quality["drift"]
    before = world.versions["late"]
    assert (drift["previous_version"], drift["detail"]) == (before, None)
    assert drift["previous_published_at"] == world.quality("late")["meta"]["published_at"]
    assert mart_of(quality, "daily_sales") == {
        **{"mart": "daily_sales", "rows": 700, "previous_rows": 731},
        "rows_change_pct": Number("-4.24"),
        "totals": [
            {
                **{"column": column, "total": Number(total) if "." in total else int(total)},
                **{"previous_total": None, "change_pct": None},
            }
            for column, total in (("total_sales", "1100.50"), ("units", "7"))
        ],
    }
    assert mart_of(quality, "order_lines")["totals"] == []
    assert {mart["mart"] for mart in drift["marts"]} == {
        row["mart"] for row in world.api.rows("marts", {"version": world.versions["stale"]})
    }


def test_drift_of_totals_is_exact_and_a_total_or_a_mart_may_be_new_or_gone(
    built: Project, tmp_path: Path
) -> None:
    folder = PublishedFolder(tmp_path / "published")
    FORGED["good"].publish(folder, built.published)
    second = FORGED["stale"].publish(folder, built.published)
    third = Forged({}, totals={}).publish(folder, built.published)
    with serving(folder) as api:
        found = api.page("quality", {"version": second})
        assert mart_of(found, "daily_sales")["totals"] == [
            {
                **{"column": "total_sales", "total": Number("1100.50")},
                **{"previous_total": Number("1000.00"), "change_pct": Number("10.05")},
            },
            {"column": "units", "total": 7, "previous_total": None, "change_pct": None},
        ]
        assert mart_of(found, "ads_performance_daily")["totals"] == [
            {
                **{"column": "spend", "total": Number("5.00")},
                **{"previous_total": Number("0.00"), "change_pct": None},
            },
            {
                **{"column": "revenue", "total": None, "change_pct": None},
                "previous_total": Number("12345678901234567890123456.78"),
            },
        ]
        assert mart_of(found, "order_lines")["rows_change_pct"] == Number("0.00")
        found = api.page("quality", {"version": third})
        assert mart_of(found, "ads_performance_daily")["totals"][0] == {
            **{"column": "spend", "total": None},
            **{"previous_total": Number("5.00"), "change_pct": None},
        }
        assert mart_of(found, "expectation_results") == {
            **{"mart": "expectation_results", "rows": None, "previous_rows": 1},
            **{"rows_change_pct": None, "totals": []},
        }


def test_what_was_made_of_other_data_is_not_compared(world: World) -> None:
    drift = world.quality("of my own data")["drift"]
    mine, sample = world.versions["of my own data"], world.versions["stale"]
    assert drift == {
        "previous_version": sample,
        "previous_published_at": drift["previous_published_at"],
        "detail": f"{mine} was made without the sample data, {sample} with it",
        "marts": [],
    }
    assert drift["previous_published_at"]


def test_the_version_before_is_what_readers_saw_before(built: Project, tmp_path: Path) -> None:
    folder = PublishedFolder(tmp_path / "published")
    first, second, third = (
        Forged({}, rows=rows).publish(folder, built.published) for rows in (100, 200, 300)
    )

    def drift(api: Api, **query: str) -> Row:
        found: Row = api.page("quality", query)["drift"]
        return found

    def nothing(detail: str) -> Row:
        return {
            **{"previous_version": None, "previous_published_at": None},
            **{"detail": detail, "marts": []},
        }

    with serving(folder) as api:
        assert drift(api)["previous_version"] == second
        assert drift(api, version=second)["previous_version"] == first
        assert drift(api, version=first) == nothing(f"nothing was published before {first}")
        folder.rollback(first)
        wait_until(lambda: api.get("/ready").json["version"] == first)
        assert drift(api) == nothing(f"nothing was published before {first}")
        fourth = Forged({}, rows=150).publish(folder, built.published)
        wait_until(lambda: api.get("/ready").json["version"] == fourth)
        assert drift(api)["previous_version"] == first  # what is between was withdrawn
        assert mart_of(api.page("quality"), "daily_sales")["rows_change_pct"] == Number("50.00")
    folder.rollback(second)
    assert folder.prune(keep=3).removed == (first,)
    again = tmp_path / "again"
    again.mkdir()
    (again / "published").symlink_to(folder.path)
    with serving(PublishedFolder(again / "published")) as api:
        assert drift(api) == nothing(f"{first}, which was published before it, was removed")
        folder.rollback(third)
        wait_until(lambda: api.get("/ready").json["version"] == third)
        damage(folder.folder(second) / CATALOG)
        assert "is not what was published" in drift(api)["detail"]


def test_the_drift_of_a_mart_needs_its_scope(world: World) -> None:
    for scopes, seen in (
        (("quality",), set()),
        (("quality", "shop"), {"daily_sales"}),
        (("quality", "marketing"), {"ads_performance_daily"}),
        (("*",), {"daily_sales", "ads_performance_daily"}),
    ):
        quality = world.quality("stale", scopes=scopes)
        for mart in ("daily_sales", "ads_performance_daily"):
            found = mart_of(quality, mart)
            assert bool(found["totals"]) == (mart in seen), (scopes, mart)
            for number in ("rows", "previous_rows", "rows_change_pct", "totals"):
                assert (found[number] is None) == (mart not in seen), (scopes, mart, number)
        assert mart_of(quality, "feed_health")["totals"] == []


def test_what_failed_is_shown_to_those_who_may_read_the_numbers_of_its_area(world: World) -> None:
    everything = world.quality("failed")["expectations"]
    assert everything["failed"] == len(everything["failing"]) > 0
    for enough in (("quality", "shop"), SCOPES):
        assert world.quality("failed", scopes=enough)["expectations"] == everything
    for lacking in (("quality",), ("quality", "hiring", "marketing", "marketplace")):
        found = world.quality("failed", scopes=lacking)
        assert found["expectations"] == everything | {"failing": []}
        assert found["status"] == "warning"


def test_totals_that_are_not_compared_are_not_in_the_list_of_marts(world: World) -> None:
    text = world.api.get("marts", {"version": world.versions["stale"]}).body.decode()
    assert "1100.50" not in text


# --- Nobody keeps it ------------------------------------------------------------------------------


def assert_nobody_keeps_it(answer: Answer) -> None:
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


def test_a_feed_grows_old_between_two_answers_about_the_same_version(
    published: PublishedFolder,
) -> None:
    minute = {"count": 1, "period": "minute"}
    young = Forged({"orders": timedelta(seconds=54)}, [limits("orders", minute, None)], [])
    young.publish(published, published)
    with serving(published) as api:
        wait_until(lambda: b"expectation_results" in api.get("marts").body)
        first = api.get("quality")
        assert_nobody_keeps_it(first)
        content = parsed(first.body)
        assert content["status"] == "ok"
        assert feed_of(content, "orders")["freshness"]["status"] == "fresh"
        wait_until(lambda: api.page("quality")["status"] == "warning", seconds=20)
        for headers in ({}, {"If-None-Match": "*"}, {"If-None-Match": '"x"'}):
            for path in ("quality", "quality.json", "/api/v1/quality?version="):
                path = path + first.headers["x-snapshot-version"] if "=" in path else path
                second = api.get(path, headers=headers)
                assert_nobody_keeps_it(second)
                assert second.headers["x-snapshot-version"] == first.headers["x-snapshot-version"]
                freshness = feed_of(parsed(second.body), "orders")["freshness"]
                assert freshness["status"] == "late"
        assert " late 1 minute " in first_page(api)


def test_a_build_is_in_the_history_at_once(tmp_path: Path) -> None:
    published = PublishedFolder(tmp_path / "published")
    history = BuildHistory(published.path)
    with serving(published) as api:
        assert api.get("build_history").json == {"data": [], "meta": {"next": None}}
        history.start("a", "dbt build", NOON)
        seen = [api.get("build_history")]
        history.end(
            "a", EndOfRun("not published", None, "x failed", 1.5, None, 3, 0, 1, None), NOON
        )
        for headers in ({}, {"If-None-Match": "*"}, {"If-None-Match": '"x"'}):
            seen.append(api.get("build_history", headers=headers))
        for answer in seen:
            assert_nobody_keeps_it(answer)
        outcomes = [answer.json["data"][0]["outcome"] for answer in seen]
        assert outcomes == ["unfinished", *["not published"] * 3]
        # Nothing was ever published, as everything else says.
        as_problem(api.get("quality"), 503, "nothing-published")


# --- The history ----------------------------------------------------------------------------------

RUNS = [
    (
        "a",
        EndOfRun(
            *("published", "20261121T120000Z-1a2b3c4d", None, 24.506, 70_937, 274, 1, 0, 165, True)
        ),
    ),
    ("b", None),
    ("c", EndOfRun("not published", None, 'x "failed",\nand y', 2**-9, None, 200, 0, 1, None)),
]
COLUMNS = (
    *("run_id", "started_at", "command", "outcome", "version", "reason", "seconds", "rows"),
    *("tests_passed", "tests_warned", "tests_failed", "rows_rejected", "contains_sample"),
)
RUN_ROWS: list[Row] = [
    dict(zip(COLUMNS, values, strict=True))
    for values in (
        (
            *("c", datetime(2026, 11, 21, 12, 0, 2, 5), "dbt build", "not published", None),
            *('x "failed",\nand y', Decimal("0.00"), None, 200, 0, 1, None, None),
        ),
        (
            *("b", datetime(2026, 11, 21, 12, 0, 1, 5), "dbt build", "unfinished", None),
            *(WHY_UNFINISHED, None, None, None, None, None, None, None),
        ),
        (
            *("a", datetime(2026, 11, 21, 12, 0, 0, 5), "dbt build", "published"),
            *("20261121T120000Z-1a2b3c4d", None, Decimal("24.51"), 70_937, 274, 1, 0, 165, True),
        ),
    )
]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server over a folder where nothing was published, and three builds ran."""
    published = PublishedFolder(tmp_path_factory.mktemp("builds") / "published")
    history = BuildHistory(published.path)
    for number, (run_id, _) in enumerate(RUNS):
        history.start(run_id, "dbt build", NOON + timedelta(seconds=number, microseconds=5))
    for run_id, end in RUNS:
        if end is not None:
            history.end(run_id, end, NOON)
    with (published.path / HISTORY).open("a") as stream:
        stream.write("what is this\n")
    with serving(published) as api:
        yield api


def test_the_builds_come_newest_first_in_every_format(builds: Api) -> None:
    answer = builds.get("build_history")
    assert parsed(answer.body) == {"data": json_rows(RUN_ROWS), "meta": {"next": None}}
    assert list(parsed(answer.body)["data"][0]) == list(COLUMNS)
    for suffix, media_type in MEDIA_TYPES.items():
        answer = builds.get(f"build_history.{suffix}")
        assert answer.headers["content-type"].partition(";")[0] == media_type
        assert builds.get("build_history", headers={"Accept": media_type}).body == answer.body
        named = answer.headers.get("content-disposition")
        expected = f'attachment; filename="build_history.{suffix}"'
        assert named == (None if suffix == "json" else expected)
    rows = read_csv(builds.get("build_history.csv").body)
    assert rows == [
        {name: as_text(value) for name, value in row.items()}
        | {"started_at": row["started_at"].isoformat() + "Z"}
        for row in RUN_ROWS
    ]
    for table in (
        pa.ipc.open_stream(builds.get("build_history.arrow").body).read_all(),
        pyarrow.parquet.read_table(pa.BufferReader(builds.get("build_history.parquet").body)),
    ):
        assert table.to_pylist() == RUN_ROWS


def test_the_history_has_a_limit_and_no_other_parameter(builds: Api) -> None:
    for limit in (1, 2, 10_000):
        rows = builds.rows("build_history", {"limit": str(limit)})
        assert rows == json_rows(RUN_ROWS)[:limit]
    for text in ("0", "10001", "-1", "x", ""):
        as_problem(builds.get("build_history", {"limit": text}), 400, "bad-parameter")
    for name in ("version", "cursor", "columns", "run_id"):
        problem = as_problem(builds.get("build_history", {name: "x"}), 400, "unknown-parameter")
        assert problem["known"] == ["limit", "excel"]


def test_a_hundred_builds_are_shown_unless_more_are_asked_for(tmp_path: Path) -> None:
    published = PublishedFolder(tmp_path / "published")
    history = BuildHistory(published.path)
    for number in range(103):
        history.start(str(number), "dbt build", NOON)
    with serving(published) as api:
        shown = [row["run_id"] for row in api.rows("build_history")]
        assert (len(shown), shown[0], shown[-1]) == (100, "102", "3")
        assert len(api.rows("build_history", {"limit": "1000"})) == 103


def test_the_history_is_at_no_other_path(builds: Api) -> None:
    for path in ("build_history.xml", "build_history.", "build_history/", "build_history/json"):
        assert builds.get(path).status in (404, 503), path
    as_problem(builds.get("build_history", headers={"Accept": "image/png"}), 406, "not-acceptable")
    as_problem(builds.get("build_history", method="POST"), 405, "method-not-allowed")


def test_both_need_the_scope_quality(builds: Api, world: World) -> None:
    for api, path in (
        (builds, "build_history"),
        (builds, "build_history.csv"),
        (world.api, "quality"),
    ):
        assert api.get(path, scopes=("quality",)).status == 200
        as_problem(api.get(path, scopes=()), 401, "unauthenticated")
        for scope in ("shop", "monitoring"):
            problem = as_problem(api.get(path, scopes=(scope,)), 403, "missing-scope")
            assert problem["scope"] == "quality"


def test_the_quality_is_json_and_takes_a_version_alone(world: World) -> None:
    for path, headers in (
        *((f"quality.{suffix}", {}) for suffix in MEDIA_TYPES if suffix != "json"),
        ("quality", {"Accept": "text/csv"}),
    ):
        problem = as_problem(world.api.get(path, headers=headers), 406, "not-acceptable")
        assert problem["available"] == ["application/json"]
    assert world.api.get("quality.json").status == 200
    as_problem(world.api.get("quality", {"limit": "1"}), 400, "unknown-parameter")
    cursor = world.api.page("daily_sales", {"limit": "1"})["meta"]["next"]
    as_problem(world.api.get("quality", {"cursor": cursor}), 400, "bad-parameter")
    as_problem(world.api.get("quality", {"version": "x"}), 404, "unknown-version")


# --- The first page -------------------------------------------------------------------------------


def first_page(api: Api) -> str:
    """The text of the page, without its markup."""
    answer = api.get("/", scopes=())
    assert answer.status == 200
    return " ".join(re.sub(r"<[^>]+>", " ", answer.body.decode()).split())


@pytest.mark.parametrize("name", ["of old", "good", "failed", "stale"])
def test_the_first_page_tells_people_how_good_the_numbers_are(
    name: str, world: World, built: Project, tmp_path: Path
) -> None:
    published = PublishedFolder(tmp_path / "published")
    FORGED[name].publish(published, built.published)
    quality = world.quality(name)
    with serving(published) as api:
        page = first_page(api)
        answer = api.get("/", scopes=()).body.decode()
    assert f"Quality {quality['status']} Version" in page
    assert f'<section class="status {quality["status"]}">' in answer
    found = quality["expectations"]
    if found is None:
        assert "Expectations" not in page
    else:
        assert (
            f"Expectations {found['passed']} passed, {found['failed']} failed, "
            f"{found['not_evaluated']} not evaluated"
        ) in page
    for feed in quality["feeds"]:
        share = "no rows" if feed["rejected_pct"] is None else f"{feed['rejected_pct'].text} %"
        assert f" {feed['feed']} {share} {feed['freshness']['status']} " in page
    if name == "stale":
        assert "1 warned" in page
        assert " stale 8 days " in page
        assert " late 2 days " in page
    if name == "good":
        assert " unknown nothing loaded " in page
        assert " fresh 3 hours " in page
    # How good the numbers are, and none of them: neither values nor how many rows they were.
    for secret in ("seen at", "1100.50", "1000.00", "12345678901234567890123456.78"):
        assert secret not in answer
    read = max(feed["rows_read"] for feed in quality["feeds"])
    assert f"{read:,}" not in page


def test_the_first_page_of_a_snapshot_without_feeds_has_no_table_of_them(
    built: Project, published: PublishedFolder
) -> None:
    def without_feeds(catalog: Row) -> None:
        catalog["marts"] = [mart for mart in catalog["marts"] if mart["name"] != "feed_health"]

    version = publish_again(published.path, built.published, edit=without_feeds)
    with serving(published) as api:
        wait_until(lambda: api.get("/ready").json["version"] == version)
        page = first_page(api)
        assert "Quality ok" in page
        assert "Freshness" not in page
        as_problem(api.get("quality"), 404, "unknown-resource")
        assert api.get("build_history").status == 200
        paths = parsed(api.get("/api/v1/openapi.json").body)["paths"]
        assert "/api/v1/quality" not in paths
        assert "/api/v1/build_history" in paths


# --- A real build ---------------------------------------------------------------------------------


def test_a_real_build_tells_all_of_it(api: Api, built: Project) -> None:
    newest = built.published.newest()
    assert newest is not None
    catalog = built.published.catalog(newest.version)
    tests = catalog["tests"]
    (run,) = api.rows("build_history")
    assert (run["outcome"], run["version"], run["rows"]) == (
        *("published", newest.version, catalog["rows"]),
    )
    assert run["contains_sample"] is catalog["sample_data"] is True
    passed = tests["data_tests"]["passed"] + tests["unit_tests"]["passed"]
    assert (run["tests_passed"], run["tests_failed"]) == (passed, 0)
    rejected = api.rows("marts/feed_health")
    assert run["rows_rejected"] == sum(row["rows_rejected"] for row in rejected) > 0

    quality = api.page("quality")
    assert quality["tests"] == tests
    assert quality["drift"]["detail"] == f"nothing was published before {newest.version}"
    contracts = {feed["feed"]: feed for feed in catalog["feeds"]}
    for feed in quality["feeds"]:
        shown = feed["freshness"]
        for threshold in ("warn_after", "error_after"):
            assert shown[threshold] == contracts[feed["feed"]][threshold]
        assert shown["status"] == ("fresh" if shown["error_after"] else "unchecked")
    results = built.column("select success from marts.expectation_results")
    assert quality["expectations"]["passed"] == results.count(True) > 0
    assert quality["expectations"]["not_evaluated"] == results.count(None)
    assert quality["expectations"]["failed"] == len(quality["expectations"]["failing"])


# --- Catalogs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        lambda catalog: catalog.update(feeds=[limits("orders", {"count": 1, "period": "week"})]),
        lambda catalog: catalog.update(feeds=[limits("orders", {"count": "x", "period": "day"})]),
        lambda catalog: catalog["marts"][0].update(totals={"spend": "a lot"}),
    ],
)
def test_a_catalog_that_makes_no_sense_is_not_served(
    edit: Any, built: Project, published: PublishedFolder
) -> None:
    (good,) = published.versions()
    publish_again(published.path, built.published, edit=edit)
    with serving(published) as api:
        state = api.get("/ready").json
        assert (state["status"], state["version"]) == ("degraded", good)
        assert "is none that this version of the API can read" in state["failure"]["detail"]
