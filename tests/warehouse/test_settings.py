"""The settings of the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import Project
from warehouse.settings import SettingsError, memory_of_machine, read_settings


def test_without_variables_everything_has_a_default(tmp_path: Path) -> None:
    settings = read_settings({}, root=tmp_path)
    assert settings.landing == tmp_path / "landing"
    assert settings.sample_data is None
    assert (settings.threads, settings.memory_limit) == (None, "50%")


def test_an_empty_variable_counts_as_none(tmp_path: Path) -> None:
    names = ("WAREHOUSE_SAMPLE_DATA", "WAREHOUSE_THREADS", "WAREHOUSE_LANDING")
    assert read_settings(dict.fromkeys(names, ""), root=tmp_path) == read_settings({}, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAREHOUSE_SAMPLE_DATA", "yes"),
        ("WAREHOUSE_THREADS", "0"),
        ("WAREHOUSE_THREADS", "two"),
        ("WAREHOUSE_MEMORY_LIMIT", "4"),
        ("WAREHOUSE_MEMORY_LIMIT", "lots"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"{name} is '{value}'; it must be "):
        read_settings({name: value}, root=tmp_path)


@pytest.mark.parametrize("value", ["512MB", "1.5 GiB", "50%", "2tib"])
def test_memory_is_written_as_duckdb_reads_it(value: str, tmp_path: Path) -> None:
    settings = read_settings({"WAREHOUSE_MEMORY_LIMIT": value}, root=tmp_path)
    assert settings.memory_limit == value


def test_a_share_of_memory_is_one_of_the_machine_or_of_the_container(tmp_path: Path) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    container, none = tmp_path / "memory.max", tmp_path / "none"
    container.write_text("1073741824\n")
    none.write_text("max\n")
    assert memory_of_machine([tmp_path / "missing", none]) == machine
    assert memory_of_machine([none, container]) == 1024**3
    share = read_settings({"WAREHOUSE_MEMORY_LIMIT": "25%"}, root=tmp_path).memory_bytes
    assert share == f"{memory_of_machine() // 4}B"
    assert read_settings({"WAREHOUSE_MEMORY_LIMIT": "2GB"}, root=tmp_path).memory_bytes == "2GB"


def test_a_wrong_setting_stops_the_build_with_one_line(project: Project) -> None:
    outcome = project.build(WAREHOUSE_THREADS="many")
    assert outcome.exit_code == 2
    assert outcome.lines == ["error: WAREHOUSE_THREADS is 'many'; it must be such as 2"]


def test_the_database_of_a_build_takes_what_the_settings_say(
    project: Project, tmp_path: Path
) -> None:
    asked = (
        "select current_setting('threads') || ' ' || current_setting('memory_limit') || ' ' "
        "|| right(current_setting('temp_directory'), 6) as found"
    )
    outcome = project.dbt(
        *("show", "--inline", asked),
        WAREHOUSE_THREADS="1",
        WAREHOUSE_MEMORY_LIMIT="512MiB",
        WAREHOUSE_TEMP=str(tmp_path / "spill"),
    )
    assert outcome.exit_code == 0, outcome.lines[-5:]
    assert any("1 512.0 MiB /spill" in line for line in outcome.lines)


def test_plain_dbt_says_a_wrong_setting_in_one_line(project: Project) -> None:
    outcome = project.dbt("show", "--inline", "select 1", WAREHOUSE_MEMORY_LIMIT="lots")
    assert outcome.exit_code == 2
    said = [line for line in outcome.lines if "WAREHOUSE_MEMORY_LIMIT" in line]
    assert len(said) == 1
    assert "it must be such as 4GiB or 50%" in said[0]


@pytest.mark.parametrize(
    "path",
    [
        *("marts.duckdb", "/data/Landing.db", "main", ".temp.duckdb", "build/system.old.duckdb"),
        *("a#b.duckdb", "/data/#1/w.duckdb", "w?.duckdb", "a;b.duckdb", "o'b.duckdb", 'a"b.db'),
        *("...", "w\n.duckdb"),
    ],
)
def test_a_database_file_whose_name_means_something_else_is_refused(path: str) -> None:
    with pytest.raises(SettingsError, match=r"^WAREHOUSE_DB is .*; it must be a file [^\n]*$"):
        read_settings({"WAREHOUSE_DB": path})


@pytest.mark.parametrize(
    "path",
    ["/o'brien/w.duckdb", "my marts.duckdb", "marts-2.duckdb", "build/marts/w.db", "é%20&.db"],
)
def test_other_names_of_the_database_file_are_good(path: str, tmp_path: Path) -> None:
    assert read_settings({"WAREHOUSE_DB": path}, tmp_path).database == tmp_path / path
