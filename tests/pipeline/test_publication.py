"""A whole, green build publishes the marts; nothing else does, and nothing disturbs readers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support import Outcome, Project, copy_of, own_environment
from warehouse.audit import marts_of
from warehouse.dbt import NodeResult, Run
from warehouse.failures import explain
from warehouse.history import HISTORY
from warehouse.published import CATALOG, LOG, REMOVING, PublishedFolder
from warehouse.settings import read_settings

VERSION = r"\d{8}T\d{6}Z-[0-9a-f]{8}"


@pytest.fixture
def second(tmp_path: Path, built: Project) -> Project:
    """A copy of the built project with its database and its snapshot."""
    return copy_of(built, tmp_path / "project")


@pytest.fixture(scope="module")
def snapshot(built: Project) -> dict[str, Any]:
    """The catalog of the one snapshot of the shared build."""
    (entry,) = built.published.entries()
    return built.published.verify(entry.version)


def only_line(outcome: Outcome, pattern: str) -> str:
    """The one line that holds the pattern."""
    found = [line for line in outcome.lines if re.search(pattern, line)]
    assert len(found) == 1, outcome.lines[-30:]
    return found[0]


def keeps_its_snapshot(project: Project, built: Project) -> bool:
    """Whether readers see what they saw before, and nothing half done lies about."""
    before = built.published.newest()
    assert before is not None
    names = {path.name for path in project.published.path.iterdir()}
    return project.published.entries() == [before] and names == {
        *(before.version, LOG, HISTORY, ".lock"),
    }


# ------------------------------------------------------------------ what a green build publishes


def test_each_file_holds_the_rows_and_types_of_its_mart_sorted_by_the_grain(
    built: Project, snapshot: dict[str, Any]
) -> None:
    folder = built.published.folder(snapshot["version"])
    assert [mart["name"] for mart in snapshot["marts"]] == [
        mart["name"] for mart in marts_of(built.manifest())
    ]
    assert sum(mart["rows"] for mart in snapshot["marts"]) == snapshot["rows"] > 10_000
    with duckdb.connect(str(built.database), read_only=True) as database:
        for mart in snapshot["marts"]:
            table = database.table(f"marts.{mart['name']}")
            file = database.read_parquet(str(folder / mart["file"]))
            columns = [(column["name"], column["type"]) for column in mart["columns"]]
            assert columns == list(zip(table.columns, map(str, table.types), strict=True))
            assert columns == list(zip(file.columns, map(str, file.types), strict=True))
            key = ", ".join(f"{name} nulls last" for name in mart["grain"])
            sorted_rows = (table.order(key) if key else table).fetchall()
            assert file.fetchall() == sorted_rows, mart["name"]
            assert mart["rows"] == len(sorted_rows) > 0


def test_the_catalog_tells_what_the_yaml_tells(built: Project, snapshot: dict[str, Any]) -> None:
    nodes = built.manifest()["nodes"]
    for mart in snapshot["marts"]:
        node = nodes[f"model.kpi_warehouse.{mart['name']}"]
        assert mart["description"] == " ".join(node["description"].split())
        assert mart["grain"] == node["config"]["meta"]["grain"]
        assert mart["api"] == node["config"]["meta"]["api"]
        assert mart["area"] == node["fqn"][-2]
        is_python = node["language"] == "python"  # dbt enforces no contract there
        assert mart["contract"] == {
            "enforced": not is_python,
            "checksum": node["contract"]["checksum"],
        }
        for column in mart["columns"]:
            described = node["columns"][column["name"]]
            assert column["declared_type"] == described["data_type"]
            assert column["formula"] == described["config"]["meta"].get("formula")
    reasons = next(mart for mart in snapshot["marts"] if mart["name"] == "rejected_rows")
    assert "VARCHAR[]" in {column["type"] for column in reasons["columns"]}


def test_the_catalog_counts_the_tests_that_dbt_counted(
    built: Project, snapshot: dict[str, Any]
) -> None:
    report = json.loads((built.folder / "target/run_results.json").read_text())
    statuses = [
        (result["unique_id"].split(".")[0], result["status"]) for result in report["results"]
    ]
    assert snapshot["tests"] == {
        "data_tests": {"passed": statuses.count(("test", "pass")), "warned": 0},
        "unit_tests": {"passed": statuses.count(("unit_test", "pass"))},
        "warnings": [],
    }
    assert snapshot["tests"]["data_tests"]["passed"] > 100
    assert snapshot["invocation_id"] == report["metadata"]["invocation_id"]
    assert snapshot["version"].endswith(snapshot["invocation_id"][:8])
    assert snapshot["engine"] == {
        "dbt": report["metadata"]["dbt_version"],
        "adapter": snapshot["engine"]["adapter"],
        "database": f"DuckDB {duckdb.__version__}",
    }
    packages = {part["name"]: part["version"] for part in snapshot["sbom"]["components"]}
    assert packages["dbt-core"] == report["metadata"]["dbt_version"]
    assert packages["duckdb"] == duckdb.__version__
    assert snapshot["vars"] == {
        "revenue_per_conversion": 100,
        "business_timezone": "UTC",
        "fx_max_age_days": 31,
        "strict_files": False,
        "strict_freshness": False,
        "max_rows_lost_pct": 30,
        "max_total_factor": 3,
        "accept_drift": False,
        "accept_empty_feeds": False,
        "expectation_sample_rows": 100_000,
        "shop_currency": "BRL",
    }


def test_the_build_says_what_was_published(
    first_build: tuple[Project, Outcome], snapshot: dict[str, Any]
) -> None:
    _, outcome = first_build
    line = only_line(outcome, r"^Published ")
    assert line.split(maxsplit=1)[1] == (
        f"{snapshot['version']}: {len(snapshot['marts'])} marts, {snapshot['rows']:,} rows, "
        "in published/; contains the sample"
    )
    assert only_line(outcome, r"^Serve +make serve$")


def test_the_database_tells_what_was_published_last(
    built: Project, snapshot: dict[str, Any]
) -> None:
    assert built.query("select mart, row_count from publication.publication order by mart") == [
        (mart["name"], mart["rows"]) for mart in snapshot["marts"]
    ]


def test_a_warning_is_published_and_recorded_and_the_vars_of_the_run_too(second: Project) -> None:
    (second.folder / "tests/data/three_days_are_odd.sql").write_text(
        "{{ config(severity='warn') }}\nselect * from {{ ref('daily_sales') }} limit 3\n"
    )
    # From another folder, as an editor or a scheduler starts it: no path depends on that.
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "build"),
            *("--project-dir", str(second.folder), "--profiles-dir", str(second.folder)),
            *("--vars", "{revenue_per_conversion: 80}"),
        ],
        cwd=second.folder.parent,
        env=own_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:]
    older, newer = second.published.versions()
    assert f"Published {newer}: {len(marts_of(second.manifest()))} marts, " in outcome.stdout
    assert "Not published" not in outcome.stdout
    assert older < newer
    catalog = second.published.verify(newer)
    assert catalog["tests"]["data_tests"]["warned"] == 1
    assert catalog["tests"]["warnings"] == [{"test": "three_days_are_odd", "failures": 3}]
    assert catalog["vars"]["revenue_per_conversion"] == 80
    # The same input gives the same files, but for the one mart that the variable changes.
    before = {mart["name"]: mart["sha256"] for mart in second.published.verify(older)["marts"]}
    changed = {m["name"] for m in catalog["marts"] if m["sha256"] != before[m["name"]]}
    assert changed <= {"ads_performance_daily", "feed_health", "expectation_results"}
    assert "ads_performance_daily" in changed


# ------------------------------------------------------------------ what is not published


def test_a_mart_that_is_not_read_or_is_declared_wrongly_is_named(second: Project) -> None:
    shutil.copy2(
        second.folder / "models/marts/shop/category_metrics.sql",
        second.folder / "models/marts/shop/new_mart.sql",
    )
    second.edit(
        "models/marts/shop/_shop__models.yml",
        "models:\n",
        "models:\n  - name: new_mart\n    config:\n      contract: {enforced: false}\n"
        "      meta: {grain: [category], api: {scope: shops}}\n"
        "    columns: [{name: category, data_type: string}]\n",
    )
    outcome = second.build("--select", "publication")
    assert outcome.exit_code == 1
    line = only_line(outcome, "^error: ")
    assert "publication.sql does not read mart new_mart: add it" in line
    assert "mart new_mart: meta.api: scope is 'shops', not one of marketing, shop," in line


def test_a_failing_test_keeps_the_publication_from_running(second: Project, built: Project) -> None:
    second.edit(
        "models/marts/shop/daily_sales.sql",
        "sum(revenue) as total_sales",
        "2 * sum(revenue) as total_sales",
    )
    outcome = second.build(
        *("--select", "daily_sales", "publication"), DBT_EXCLUDE_RESOURCE_TYPES="unit_test"
    )
    assert outcome.exit_code == 1
    assert any("failed: test daily_sales_add_up_to_the_feeds" in line for line in outcome.lines)
    newest = built.published.newest()
    assert newest is not None
    keep = f"readers keep {newest.version}, which contains the sample"
    assert outcome.lines[-1] == f"not published: {keep}."
    assert keeps_its_snapshot(second, built)


def test_a_failing_model_keeps_the_publication_from_running(
    second: Project, built: Project
) -> None:
    second.edit("models/marts/shop/daily_sales.sql", "sum(revenue)", "sum(no_such_column)")
    outcome = second.dbt(
        *("build", "--select", "daily_sales", "publication"), DBT_EXCLUDE_RESOURCE_TYPES="unit_test"
    )
    assert outcome.exit_code == 1
    keep = f"readers keep {VERSION}, which contains the sample"
    assert only_line(outcome, f"Not published: daily_sales failed; {keep}$")
    assert keeps_its_snapshot(second, built)


def test_a_build_without_the_publication_says_so_and_succeeds(project: Project) -> None:
    outcome = project.build(
        "--select", "products", "base_products", "--indirect-selection", "empty"
    )
    assert outcome.exit_code == 0, outcome.lines
    line = only_line(outcome, r"^Published ")
    assert "nothing new: publication was not selected; a whole build publishes: dbt build" in line
    assert line.endswith("; nothing has been published yet")
    assert project.published.entries() == []


def test_a_profile_without_the_plugin_is_told_what_to_copy(second: Project, built: Project) -> None:
    second.edit("profiles/profiles.yml", "plugins:", "plugins: []\n      unused:")
    outcome = second.dbt("build", "--select", "publication")
    assert outcome.exit_code == 1
    assert only_line(outcome, "copy module_paths and plugins from profiles/profiles.yml")
    assert keeps_its_snapshot(second, built)


# ------------------------------------------------------------------ killed, full, two at once

# Publishes the database as it is: the audit is left out, and with it the half minute that a whole
# build takes. Everything from the lock to the log is the real thing.
PUBLISH = """
import os, resource, sys, threading, time
from pathlib import Path
import warehouse.published as published
import warehouse.publishing as publishing
from warehouse.audit import Verdict
from dbt.cli.main import cli

publishing.audit = lambda *_: Verdict()
publishing.count_tests = lambda *_: {}

def before(owner, name, act):
    original = getattr(owner, name)
    def wrapped(*arguments):
        act(*arguments)
        return original(*arguments)
    setattr(owner, name, wrapped)

def die(*_):
    os.kill(os.getpid(), 9)

def die_when(name):
    known = set(Path("published").iterdir())
    def watch():
        while not any((new / name).exists() for new in set(Path("published").iterdir()) - known):
            time.sleep(0.0005)
        die()
    threading.Thread(target=watch, daemon=True).start()

def fill_the_disk(limit):
    def fill(*_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    return fill

def free_the_disk(*_):
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

"""


def start(project: Project, instant: str, **environment: str) -> subprocess.Popen[str]:
    """Start to publish; `instant` is Python that decides what goes wrong, and when."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DBT_")}
    return subprocess.Popen(
        [
            *(sys.executable, "-c", f"{PUBLISH}{instant}\ncli()"),
            *("--no-use-colors", "build", "--select", "publication"),
        ],
        cwd=project.folder,
        env=kept | {"DBT_PROFILES_DIR": "profiles"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def publish(project: Project, instant: str = "", **environment: str) -> Outcome:
    process = start(project, instant, **environment)
    printed, _ = process.communicate(timeout=120)
    return Outcome(process.returncode, printed, "")


KILLED = {
    "before the first file": "before(published.Draft, '__init__', die)",
    "between two files": "die_when('customer_lifetime_value.parquet')",
    "before the catalog": "before(published.Draft, 'write_catalog', die)",
    "while the catalog is written": "before(Path, 'replace', die)",
    "before the log": "before(published.Draft, 'publish', die)",
    "before the end of the line": (
        "write = os.write\n"
        "def write_half(file, content):\n"
        "    write(file, content[:-1])\n"
        "    die()\n"
        "before(published.Draft, 'publish', lambda *_: setattr(os, 'write', write_half))"
    ),
}


@pytest.mark.parametrize("when", KILLED)
def test_a_killed_build_leaves_the_last_snapshot_and_the_next_one_cleans_up(
    second: Project, built: Project, when: str
) -> None:
    outcome = publish(second, KILLED[when])
    assert outcome.exit_code == -signal.SIGKILL, outcome.lines
    before = built.published.entries()
    assert second.published.entries() == before
    assert second.published.versions() == [before[0].version]
    second.published.verify(before[0].version)
    half_done = {path.name for path in second.published.path.iterdir() if path.is_dir()}
    assert len(half_done) == (1 if when == "before the first file" else 2)

    outcome = publish(second)
    assert outcome.exit_code == 0, outcome.lines
    older, newer = second.published.versions()
    assert older == before[0].version
    assert f"Published {newer}" in outcome.out
    assert {path.name for path in second.published.path.iterdir()} == {
        *(older, newer, LOG, HISTORY, ".lock"),
    }
    second.published.verify(newer)


FULL = {
    "mart": "before(publishing, '_names_of_vars', fill_the_disk(20_000))",
    "catalog": "before(published.Draft, 'write_catalog', fill_the_disk(20_000))",
    "log": "before(published.Draft, 'publish', fill_the_disk(250))",
}


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_leaves_the_last_snapshot(second: Project, built: Project, what: str) -> None:
    # dbt's own log and reports find room again when the publication has ended.
    outcome = publish(
        second,
        f"{FULL[what]}\nbefore(published.Draft, 'discard', free_the_disk)",
        DBT_LOG_LEVEL_FILE="none",
    )
    assert outcome.exit_code == 1, outcome.lines
    assert "Published " not in outcome.out
    report = json.loads((second.folder / "target/run_results.json").read_text())
    message = report["results"][0]["message"]
    settings = read_settings({}, second.folder)
    failed = Run(1, [NodeResult("model", "publication", "error", message, 0)])
    (line,) = explain(failed, settings)
    assert line.endswith(
        "no space left to write published. Free some space, or set WAREHOUSE_PUBLISHED to another "
        "disk, then try again."
    )
    assert keeps_its_snapshot(second, built)


def test_a_torn_line_in_the_log_is_cut_off_by_the_next_build(second: Project) -> None:
    (before,) = second.published.entries()
    with (second.published.path / LOG).open("ab") as log:
        log.write(b'{"version": "2026')
    assert second.published.entries() == [before]
    outcome = publish(second)
    assert outcome.exit_code == 0, outcome.lines
    assert [entry.version for entry in second.published.entries()] == second.published.versions()
    assert len(second.published.versions()) == 2


def test_a_log_that_cannot_be_read_is_named_and_nothing_is_removed(second: Project) -> None:
    (before,) = second.published.entries()
    (second.published.path / LOG).write_text("no entry\n")
    outcome = publish(second)
    assert outcome.exit_code == 1
    assert any("log.jsonl: line 1 is not an entry" in line for line in outcome.lines)
    assert (second.published.path / before.version / CATALOG).exists()


def test_two_builds_at_once_both_publish_one_after_the_other(
    second: Project, tmp_path: Path, built: Project
) -> None:
    other = Project(tmp_path / "other", parsed_from=built)
    shutil.copy2(built.database, other.database)
    shared = str(second.published.path)
    both = [start(project, "", WAREHOUSE_PUBLISHED=shared) for project in (second, other)]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    folder = PublishedFolder(second.published.path)
    assert len(folder.versions()) == 3
    for version in folder.versions():
        folder.verify(version)
    assert not other.published.path.exists()


def test_a_build_that_waits_too_long_for_another_says_so(second: Project, built: Project) -> None:
    draft = second.published.begin("aaaaaaaa")
    try:
        outcome = publish(second, "published.PublishedFolder.begin.__defaults__ = (0.2,)")
    finally:
        draft.discard()
    assert outcome.exit_code == 1
    assert any("another process has been writing to " in line for line in outcome.lines)
    assert keeps_its_snapshot(second, built)


def test_a_pruned_folder_that_a_kill_left_behind_is_removed(second: Project) -> None:
    (before,) = second.published.entries()
    left = second.published.path / f"20260101T000000Z-00000000{REMOVING}"
    left.mkdir()
    (left / "daily_sales.parquet").write_bytes(b"half")
    assert publish(second).exit_code == 0
    assert not left.exists()
    second.published.verify(before.version)
