"""What may be published, asked of manifests made by hand; and the files that are read back."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest

from warehouse.audit import (
    Command,
    Needed,
    Outcome,
    Verdict,
    audit,
    enumerated,
    faults_of_api,
    needed_by,
)
from warehouse.published import PublishedError
from warehouse.publishing import (
    Counted,
    DuckDBPublishing,
    count_tests,
    describe_mart,
    feeds_of_ones_own,
    git_commit,
)

PUBLICATION = "model.p.publication"
BUILD = Command("build")


def node(kind: str, name: str, parents: list[str], **more: Any) -> dict[str, Any]:
    return {
        "unique_id": f"{kind}.p.{name}",
        "resource_type": kind,
        "name": name,
        "fqn": ["p", "intermediate", name],
        "depends_on": {"nodes": parents} if kind != "seed" else {"macros": []},
        "config": {"meta": {}},
        "columns": {},
        **more,
    }


def mart(name: str, parents: list[str]) -> dict[str, Any]:
    columns = {
        column: {"data_type": "date", "description": "", "config": {"meta": {}}}
        for column in ("date", "units")
    }
    return node(
        *("model", name, parents),
        fqn=["p", "marts", "shop", name],
        config={"meta": {"grain": ["date"], "api": {"scope": "shop", "route": name}}},
        columns=columns,
    )


@pytest.fixture
def manifest() -> dict[str, Any]:
    """A seed -> int -> two marts -> publication; a model that no mart reads; tests of each."""
    nodes = [
        node("seed", "orders", []),
        node("model", "int_orders", ["seed.p.orders", "source.p.orders"]),
        node("model", "aside", ["seed.p.orders"]),
        mart("sales", ["model.p.int_orders"]),
        mart("units", ["model.p.int_orders"]),
        node("model", "publication", ["model.p.sales", "model.p.units"]),
        node("test", "grain_sales", ["model.p.sales"]),
        node("test", "sales_agree_with_units", ["model.p.sales", "model.p.units"]),
        node("test", "orders_are_good", ["seed.p.orders", "source.p.orders"]),
        node("test", "of_nothing", []),
        node("test", "aside_agrees", ["model.p.aside", "model.p.sales"]),
        node("test", "publication_is_good", [PUBLICATION]),
    ]
    unit_tests = [
        node("unit_test", "sales.zero", ["model.p.sales"]),
        node("unit_test", "aside.zero", ["model.p.aside"]),
    ]
    return {
        "nodes": {each["unique_id"]: each for each in nodes},
        "unit_tests": {each["unique_id"]: each for each in unit_tests},
    }


@pytest.fixture
def outcomes(manifest: dict[str, Any]) -> dict[str, Outcome]:
    """All is well."""
    needed = needed_by(manifest, PUBLICATION)
    return {name: Outcome("success") for name in needed.nodes} | {
        name: Outcome("pass") for name in needed.data_tests + needed.unit_tests
    }


def test_needed_is_all_that_is_upstream_and_every_test_of_it_alone(
    manifest: dict[str, Any],
) -> None:
    assert needed_by(manifest, PUBLICATION) == Needed(
        nodes=("model.p.int_orders", "model.p.sales", "model.p.units", "seed.p.orders"),
        data_tests=(
            "test.p.grain_sales",
            "test.p.of_nothing",
            "test.p.orders_are_good",
            "test.p.sales_agree_with_units",
        ),
        unit_tests=("unit_test.p.sales.zero",),
    )


def test_a_whole_green_build_may_be_published(
    manifest: dict[str, Any], outcomes: dict[str, Outcome]
) -> None:
    outcomes["test.p.grain_sales"] = Outcome("warn", 3)
    assert audit(manifest, PUBLICATION, BUILD, outcomes) == Verdict()


def test_each_node_that_did_not_run_keeps_the_build_from_being_published(
    manifest: dict[str, Any], outcomes: dict[str, Outcome]
) -> None:
    for missing in outcomes:
        rest = {name: outcome for name, outcome in outcomes.items() if name != missing}
        verdict = audit(manifest, PUBLICATION, BUILD, rest)
        assert verdict.faults == ()
        assert re.match(r"not run: 1 of \d [a-z ]+ \(", verdict.skipped)
        assert missing.removeprefix("unit_test.p.").split(".")[-1] in verdict.skipped
        assert "; a whole build publishes: dbt build" in verdict.skipped


@pytest.mark.parametrize("status", ["fail", "error", "skipped", "no-op", "partial success", "warn"])
def test_each_node_that_did_not_succeed_keeps_the_build_from_being_published(
    manifest: dict[str, Any], outcomes: dict[str, Outcome], status: str
) -> None:
    for bad in outcomes:
        verdict = audit(manifest, PUBLICATION, BUILD, outcomes | {bad: Outcome(status)})
        if status == "warn" and bad.startswith("test."):
            assert verdict == Verdict()
        else:
            (fault,) = verdict.faults
            assert "was not successful (" in fault


@pytest.mark.parametrize("which", ["run", "test", "seed", "retry", "run-operation"])
def test_other_commands_publish_nothing(
    manifest: dict[str, Any], outcomes: dict[str, Outcome], which: str
) -> None:
    verdict = audit(manifest, PUBLICATION, Command(which), outcomes)
    assert verdict == Verdict(skipped=f"dbt {which} does not run the tests; dbt build does")


def test_a_build_of_some_rows_publishes_nothing(
    manifest: dict[str, Any], outcomes: dict[str, Outcome]
) -> None:
    verdict = audit(manifest, PUBLICATION, Command("build", "--sample"), outcomes)
    assert verdict == Verdict(skipped="--sample leaves rows out; use dbt build without it")


def test_a_message_names_a_handful_and_counts_the_rest() -> None:
    assert enumerated(["b", "a"]) == "a, b"
    assert enumerated([f"t{number}" for number in range(3)]) == "t0, t1, t2"
    assert enumerated([f"t{number}" for number in range(8)]) == "t0, t1, t2 and 5 more"


def test_a_mart_must_be_read_and_have_a_grain_and_types(
    manifest: dict[str, Any], outcomes: dict[str, Outcome]
) -> None:
    manifest["nodes"]["model.p.new"] = mart("new", [])
    del manifest["nodes"]["model.p.sales"]["config"]["meta"]["grain"]
    manifest["nodes"]["model.p.units"]["config"]["meta"]["grain"] = ["day"]
    manifest["nodes"]["model.p.units"]["columns"]["units"]["data_type"] = None
    assert audit(manifest, PUBLICATION, BUILD, outcomes).faults == (
        "publication.sql does not read mart new: add it",
        "mart sales declares no grain (config: meta: grain)",
        "mart units: the grain names unknown columns (day)",
        "mart units declares no data_type for units",
    )


def test_two_marts_cannot_have_one_route(
    manifest: dict[str, Any], outcomes: dict[str, Outcome]
) -> None:
    manifest["nodes"]["model.p.units"]["config"]["meta"]["api"]["route"] = "sales"
    assert audit(manifest, PUBLICATION, BUILD, outcomes).faults == (
        "marts sales and units have one route, sales: change one",
    )


GOOD_API = {
    "scope": "hiring",
    "row_scope": "area",
    "route": "metrics/hired-employees",
    "filters": {"year": "year", "from": "year.gte"},
    "order": ["year", "-area"],
    "default_limit": 100,
    "hide": {"is_unknown": {"equals": True, "unless": "include_unknown"}},
    "example": {"year": 2021},
}
COLUMNS: dict[str, dict[str, Any]] = {"year": {}, "area": {}, "is_unknown": {}}


def test_a_good_declaration_has_no_fault() -> None:
    assert list(faults_of_api(GOOD_API, COLUMNS)) == []
    assert list(faults_of_api({"scope": "shop"}, COLUMNS)) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"scop": 1}, "unknown key scop"),
        ({"scope": "hr"}, "scope is 'hr', not one of marketing"),
        ({"scope": None}, "scope is None"),
        ({"scope": "*"}, "scope is '*'"),
        ({"row_scope": "areas"}, "row_scope names the unknown column areas"),
        ({"route": "/x"}, "route '/x' is not lower-case words between slashes"),
        ({"route": "a/../b"}, "route 'a/../b' is not"),
        ({"route": 7}, "route 7 is not"),
        ({"route": "metrics"}, "route metrics is taken by the API itself"),
        ({"route": "marts/x"}, "route marts/x is taken by the API itself"),
        ({"filters": ["year"]}, "filters is not a mapping"),
        ({"filters": {"y": "yaer"}}, "filter y names the unknown column yaer"),
        ({"filters": {"y": "year.like"}}, "filter y: 'like' is not one of eq, ne"),
        ({"filters": {"y": "year."}}, "filter y: '' is not one of"),
        ({"filters": {"limit": "year"}}, "parameter limit is taken by the API itself"),
        ({"filters": {"Y-": "year"}}, "parameter 'Y-' is not a lower-case word"),
        ({"order": "year"}, "order is not a list"),
        ({"order": ["-yaer"]}, "order names the unknown column -yaer"),
        ({"default_limit": 0}, "default_limit is 0, not a number from 1 to 10000"),
        ({"default_limit": True}, "default_limit is True"),
        ({"hide": True}, "hide is not a mapping"),
        ({"hide": {"gone": {"equals": 1}}}, "hide names the unknown column gone"),
        ({"hide": {"area": {"unless": "x"}}}, "hide: area needs equals"),
        ({"hide": {"area": {"equals": [1]}}}, "hide: area equals [1]"),
        ({"hide": {"area": {"equals": 1, "unless": "year"}}}, "parameter year is both"),
        ({"hide": {"area": {"equals": 1, "unless": "cursor"}}}, "parameter cursor is taken"),
        ({"example": {"yaer": 1}}, "example names unknown columns (yaer)"),
        ({"example": [1]}, "example is not a mapping"),
    ],
)
def test_a_wrong_declaration_is_named(change: dict[str, Any], fault: str) -> None:
    faults = list(faults_of_api(GOOD_API | change, COLUMNS))
    assert len(faults) == 1
    assert faults[0].startswith(fault)


def test_filters_need_a_route() -> None:
    api = {key: value for key, value in GOOD_API.items() if key != "route"}
    assert list(faults_of_api(api, COLUMNS)) == [
        "filters has no effect without a route",
        "hide has no effect without a route",
    ]
    assert list(faults_of_api("shop", COLUMNS)) == ["is not a mapping of keys to values"]


def test_the_tests_are_counted_and_the_warnings_named(
    manifest: dict[str, Any], outcomes: dict[str, Outcome]
) -> None:
    outcomes["test.p.grain_sales"] = Outcome("warn", 3)
    outcomes["test.p.of_another_thing"] = Outcome("warn", 9)
    assert count_tests(manifest, needed_by(manifest, PUBLICATION), outcomes) == {
        "data_tests": {"passed": 3, "warned": 1},
        "unit_tests": {"passed": 1},
        "warnings": [{"test": "grain_sales", "failures": 3}],
    }


@pytest.fixture
def written(tmp_path: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    """The mart sales, and the folder of its file of 5,000 rows."""
    write(tmp_path, "range::double")
    sales = copy.deepcopy(manifest["nodes"]["model.p.sales"])
    return sales | {
        "description": "a\nb",
        "contract": {"enforced": True, "checksum": "c"},
    }, tmp_path


def write(folder: Path, units: str) -> str:
    """Write the file; the sum of its rows."""
    rows = f"select date '2025-01-01' + range::integer as date, {units} as units from range(5000)"
    with duckdb.connect() as connection:
        connection.execute(f"copy ({rows}) to '{folder}/sales.parquet'")
        ((found,),) = connection.execute(f"select {SUM} from ({rows})").fetchall()
    return str(found)


SUM = """'rows ' || coalesce(sum(hash("date", "units")), 0)"""


def described(
    written: tuple[dict[str, Any], Path],
    units: str = "DOUBLE",
    total: str | None = None,
    rows: int = 5000,
) -> dict[str, Any]:
    sales, folder = written
    counted = Counted(
        rows, total or write(folder, "range::double"), (("date", "DATE"), ("units", units))
    )
    with duckdb.connect() as connection:
        return describe_mart(sales, folder, counted, connection)


def test_a_file_is_described_as_it_was_read_back(written: tuple[dict[str, Any], Path]) -> None:
    entry = described(written)
    assert (entry["rows"], entry["area"], entry["description"]) == (5000, "shop", "a b")
    assert [(column["name"], column["type"]) for column in entry["columns"]] == [
        ("date", "DATE"),
        ("units", "DOUBLE"),
    ]
    assert entry["bytes"] == (written[1] / "sales.parquet").stat().st_size


def test_a_file_with_other_rows_or_types_than_the_mart_is_refused(
    written: tuple[dict[str, Any], Path],
) -> None:
    with pytest.raises(PublishedError, match=r"holds 5000 rows, publication\.sql counts 4999 in"):
        described(written, rows=4999)
    with pytest.raises(PublishedError, match=r"sales\.parquet holds other values than the mart"):
        described(written, total="rows 0")
    # Parquet has no such type: DuckDB writes a floating number instead, and says nothing.
    with pytest.raises(PublishedError, match="units is HUGEINT in the mart, DOUBLE in the file"):
        described(written, units="HUGEINT")


def test_a_file_that_is_damaged_is_refused(written: tuple[dict[str, Any], Path]) -> None:
    total = write(written[1], "range::double")
    file = written[1] / "sales.parquet"
    whole = file.read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 255
    for content in (b"", whole[:-9], whole[: len(whole) // 2], bytes(altered)):
        file.write_bytes(content)
        with pytest.raises(PublishedError, match=r"sales\.parquet"):
            described(written, total=total)
    file.write_bytes(whole)
    assert described(written, total=total)["rows"] == 5000


def test_the_commit_is_told_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_commit(tmp_path) is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    assert git_commit(tmp_path) is None
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    commit = git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) is None


# ------------------------------------------------------------------ the sample

SOURCES = {
    "sources": {
        f"source.p.{name}": {"name": name, "config": {"meta": {"feed": options}}}
        for name, options in (("orders", None), ("jobs", {}), ("rates", {"reference": True}))
    }
}


def test_files_beside_a_reference_seed_are_not_ones_own() -> None:
    feeds = [("orders", 1, True), ("jobs", 0, False), ("rates", 2, False)]
    assert feeds_of_ones_own(SOURCES, feeds) == []
    assert feeds_of_ones_own(SOURCES, [("orders", 2, True), ("jobs", 1, False)]) == [
        *("orders", "jobs")
    ]


@pytest.mark.parametrize("setting", ["", "0", "1"])
def test_the_sample_beside_ones_own_files_is_published_only_when_asked_for(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after a build that broke off: one feed is loaded, the others have the sample still.
    monkeypatch.setenv("WAREHOUSE_SAMPLE_DATA", setting)
    publishing = DuckDBPublishing()
    publishing._manifest = SOURCES
    feeds = {"feeds": [("orders", 1, False), ("jobs", 1, True)]}
    look = publishing.steps()["look_at_feeds"]
    if setting == "1":
        look(feeds)
    else:
        with pytest.raises(PublishedError, match="files of yours are in orders"):
            look(feeds)
    look({"feeds": [("orders", 1, False), ("jobs", 0, False)]})
    look({"feeds": [("orders", 1, True), ("jobs", 1, True)]})
