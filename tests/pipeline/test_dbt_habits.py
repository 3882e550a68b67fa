"""What people do with dbt besides `dbt build`, on a small project: what dbt means, no surprise.

The publication is skipped, and says why, where a run did not do all that it asks for; it fails only
where something failed. `dbt retry` publishes when everything has passed for this state.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from copy import copy
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from tests.support import Outcome, SmallProject, own_environment
from warehouse.history import BuildHistory
from warehouse.published import PublishedFolder
from warehouse.retries import read_record, state_of_file, write_record

VERSION = r"\d{8}T\d{6}Z-[0-9a-f]{8}"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """A small project that was built and published."""
    project = SmallProject(tmp_path_factory.mktemp("small") / "project")
    outcome = project.dbt("build")
    assert outcome.exit_code == 0, outcome.lines
    return project


@pytest.fixture(scope="module")
def failed(small: SmallProject, tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """The same after a whole build in which the mart `stations` failed, and its SQL was mended."""
    project = copy_of(small, tmp_path_factory.mktemp("failed") / "project")
    project.number_builds(2)
    project.edit("models/marts/chaos/stations.sql", "max(measured)", "max(no_such_column)")
    outcome = project.dbt("build")
    assert outcome.exit_code == 1
    assert f"Not published: stations failed; readers keep {versions(small)[0]}" in outcome.out
    project.edit("models/marts/chaos/stations.sql", "max(no_such_column)", "max(measured)")
    return project


def copy_of(project: SmallProject, folder: Path) -> SmallProject:
    """All of a project; the record of a failed build is of the copy's database."""
    shutil.copytree(project.folder, folder, symlinks=True)
    copied = copy(project)
    copied.folder, copied.database = folder, folder / "build/warehouse.duckdb"
    copied.published = PublishedFolder(folder / "published")
    record, state = read_record(folder / "target"), state_of_file(copied.database)
    if record is not None and state is not None:
        write_record(folder / "target", replace(record, database=state))
    return copied


def versions(project: SmallProject) -> list[str]:
    return [entry.version for entry in project.published.entries()]


def why_skipped(outcome: Outcome, project: SmallProject, before: list[str]) -> str:
    """Why the publication was skipped, which must be told alike in each place; nothing failed."""
    assert outcome.exit_code == 0, outcome.lines[-20:]
    (line,) = [line for line in outcome.lines if "Not published: " in line]
    found = re.search(rf"Not published: (.*); readers keep {VERSION}$", line)
    assert found, line
    report = json.loads((project.folder / "target/run_results.json").read_text())
    (said,) = [r for r in report["results"] if r["unique_id"].endswith(".publication")]
    assert (said["status"], said["message"]) == ("success", f"SKIPPED: {found[1]}")
    assert BuildHistory(project.published.path).runs(1)[0].reason == found[1]
    assert versions(project) == before
    names = {path.name for path in project.published.path.iterdir() if path.is_dir()}
    assert names == set(before), "a draft was left behind"
    return found[1]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["run"], "dbt run does not run the tests; dbt build does"),
        (
            ["build", "--select", "days+", "--exclude-resource-type", "unit_test"],
            "not run: 4 of 5 seeds and models, 4 of 5 data tests, 1 of 1 unit tests "
            r"\(days_add_up_their_readings, grain_readings_, grain_stations_ and 6 more\); "
            "a whole build publishes: dbt build, without --select, --exclude or excluded types",
        ),
        (
            ["build", "--exclude", "grain_days_", "--no-write-json"],
            r"not run: 1 of 5 data tests \(grain_days_\); a whole build publishes: dbt build, .*",
        ),
    ],
    ids=["run", "a part", "without a test"],
)
def test_a_run_of_a_part_skips_the_publication_in_one_line_and_succeeds(
    small: SmallProject, tmp_path: Path, command: list[str], why: str
) -> None:
    project = copy_of(small, tmp_path / "project")
    outcome = project.dbt(*command)
    if "--no-write-json" in command:
        assert outcome.exit_code == 0
        assert re.search(f"Not published: {why}; readers keep", outcome.out)
    else:
        assert re.fullmatch(why, why_skipped(outcome, project, versions(small)))


def test_a_retry_publishes_when_everything_has_passed_for_this_state(
    failed: SmallProject, tmp_path: Path
) -> None:
    project = copy_of(failed, tmp_path / "project")
    (before,) = versions(project)
    outcome = project.dbt("retry")
    assert outcome.exit_code == 0, outcome.lines[-20:]
    assert "of 5 START sql table model marts.days" not in outcome.out  # it was not made again
    older, newer = versions(project)
    assert older == before
    catalog = project.published.verify(newer)
    assert catalog["tests"]["data_tests"] == {"passed": 5, "warned": 0}
    assert catalog["tests"]["unit_tests"] == {"passed": 1}
    for mart in catalog["marts"]:
        file = project.published.folder(newer) / mart["file"]
        assert duckdb.read_parquet(str(file)).unique("build").fetchall() == [(2,)]
    assert not (project.folder / "target/failed_build.json").exists()


def other_code(project: SmallProject) -> None:
    with (project.folder / "models/marts/chaos/days.sql").open("a") as file:
        file.write("having true\n")


def other_rows(project: SmallProject) -> None:
    with duckdb.connect(str(project.database)) as connection:
        connection.execute("update marts.days set readings = readings + 1")


CHANGED = {
    "code": (other_code, "not run: 1 of 5 seeds and models, 1 of 5 data tests, 1 of 1 unit tests"),
    "rows": (other_rows, "the database was written since the build that is retried; not run: "),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_retry_skips_the_publication_when_something_else_changed(
    failed: SmallProject, tmp_path: Path, what: str
) -> None:
    change, why = CHANGED[what]
    project = copy_of(failed, tmp_path / "project")
    change(project)
    said = why_skipped(project.dbt("retry"), project, versions(failed))
    assert said.startswith(why)


# Another command in the same folder, at the last moment before the build asks for its manifest.
OVERLAP = """
import subprocess, sys
import warehouse.publishing as publishing
from dbt.cli.main import cli

begin = publishing.Publishing.begin

def begin_late(self, call):
    done = subprocess.run([sys.executable, "-m", "dbt.cli.main", "--no-partial-parse", "parse"])
    assert done.returncode == 0
    return begin(self, call)

publishing.Publishing.begin = begin_late
cli()
"""


def test_another_command_during_a_build_does_not_keep_it_from_publishing(
    small: SmallProject, tmp_path: Path
) -> None:
    project = copy_of(small, tmp_path / "project")
    project.number_builds(4)
    database = "build/o'b/été %20 & x.duckdb"  # a name that takes care
    (project.folder / database).parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", OVERLAP, "build"],
        cwd=project.folder,
        env=own_environment() | {"PYTHONPATH": os.curdir, "WAREHOUSE_DB": database},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert len(versions(project)) == 2
    catalog = project.published.verify(versions(project)[-1])
    written = json.loads((project.folder / "target/run_results.json").read_text())
    assert catalog["invocation_id"] == written["metadata"]["invocation_id"]
    assert (project.folder / database).exists()


def test_a_database_that_would_be_taken_for_another_is_refused_at_the_start(
    small: SmallProject, tmp_path: Path
) -> None:
    project = copy_of(small, tmp_path / "project")
    outcome = project.dbt("build", WAREHOUSE_DB="build/marts.duckdb")
    assert outcome.exit_code == 2
    assert "Traceback" not in outcome.out + outcome.err
    (line,) = [line for line in outcome.lines if "WAREHOUSE_DB is " in line]
    assert "WAREHOUSE_DB is 'build/marts.duckdb'; it must be a file " in line
    assert not any("START" in line for line in outcome.lines)
    assert project.build(WAREHOUSE_DB="build/marts.duckdb").lines == [f"error: {line.strip()}"]


def test_a_database_that_dbt_and_duckdb_would_read_differently_is_refused_at_the_start(
    small: SmallProject, tmp_path: Path
) -> None:
    project = copy_of(small, tmp_path / "project")
    database = "build/#1/warehouse.duckdb"
    outcome = project.dbt("build", WAREHOUSE_DB=database)  # dbt-duckdb refuses it before we can
    assert outcome.exit_code == 2
    assert "Traceback" not in outcome.out + outcome.err
    assert not any("START" in line for line in outcome.lines)
    (line,) = project.build(WAREHOUSE_DB=database).lines
    assert line.startswith(f"error: WAREHOUSE_DB is '{database}'; it must be a file without # ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--select", "days", "+raedings"],
            r"\+raedings selects nothing: .*did you mean readings?",
        ),
        (
            ["--exclude", "stations grain_dasy_"],
            "grain_dasy_ selects .*; did you mean grain_days_?",
        ),
        (
            ["--vars", "{max_rows_lost_ptc: 90}"],
            "--vars: nothing reads max_rows_lost_ptc; did you mean max_rows_lost_pct?",
        ),
    ],
    ids=["select", "exclude", "vars"],
)
def test_a_mistyped_name_stops_the_build_with_the_nearest(
    small: SmallProject, options: list[str], said: str
) -> None:
    outcome = small.build(*options)
    assert outcome.exit_code == 2
    (line,) = [line for line in outcome.lines if line.startswith("error: ")]
    assert re.search(said.replace("?", r"\?"), line), line
    assert "Published" not in outcome.out


def test_what_rightly_selects_nothing_is_no_mistake(small: SmallProject, tmp_path: Path) -> None:
    project = copy_of(small, tmp_path / "project")
    shutil.copytree(project.folder / "target", project.folder / "before")
    outcome = project.build("--select", "state:new", "--state", "before")
    assert outcome.exit_code == 0, outcome.lines
