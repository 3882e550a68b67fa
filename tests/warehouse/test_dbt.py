"""Settings, the progress line, and what is said of a failed run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from warehouse.dbt import NodeResult, ProgressLine, Run
from warehouse.failures import explain
from warehouse.settings import Settings, read_settings


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({}, root=tmp_path)


def test_settings_are_relative_to_the_root_and_empty_ones_have_their_default() -> None:
    root = Path("/project")
    settings = read_settings({"WAREHOUSE_DB": "", "DBT_PROFILES_DIR": "/etc/dbt"}, root)
    assert settings.database == Path("/project/build/warehouse.duckdb")
    assert settings.profiles == Path("/etc/dbt")
    assert settings.shown(settings.database) == "build/warehouse.duckdb"
    assert settings.shown(settings.profiles) == "/etc/dbt"
    assert read_settings({"WAREHOUSE_DB": "a.duckdb"}, root).database == root / "a.duckdb"


def test_progress_on_a_terminal_rewrites_one_line_and_goes_away() -> None:
    stream = Terminal()
    line = ProgressLine(stream)
    line.show(1, 300, "seeds.orders")
    line.show(2, 300, "staging.base_orders")
    line.clear()
    shown = stream.getvalue().split("\r\x1b[K")
    assert shown == ["", "  1 of 300  seeds.orders", "  2 of 300  staging.base_orders", ""]


def test_progress_elsewhere_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("warehouse.dbt.time.monotonic", lambda: now)
    stream = io.StringIO()
    line = ProgressLine(stream)
    for index in range(1, 13):
        now = float(index)
        line.show(index, 12, "node")
    line.clear()
    assert stream.getvalue() == "  5 of 12  node\n  10 of 12  node\n"


def test_causes_come_before_consequences_and_each_once(settings: Settings) -> None:
    no_space = "Runtime Error in model a (x.sql)\n  IO Error: No space left on device"
    run = Run(
        exit_code=1,
        results=[
            NodeResult("test", "t", "fail", "Got 2 results, configured to fail if != 0", 2),
            NodeResult("unit_test", "u", "fail", "actual differs from expected", 0),
            NodeResult("model", "a", "error", no_space, 0),
            NodeResult("model", "b", "error", no_space.replace("model a", "model b"), 0),
            NodeResult("model", "c", "error", "Runtime Error in model c (y.sql)\n  odd thing", 0),
            NodeResult("model", "d", "skipped", "", 0),
        ],
    )
    assert explain(run, settings) == [
        "error: no space left to write build/warehouse.duckdb or its temporary files. Free some "
        "space, or set WAREHOUSE_DB to another disk, then try again.",
        "error: model c: odd thing",
        "failed: test t, 2 rows. See them: dbt show --select t",
        "failed: unit test u, the model gives other rows than expected. "
        "See them: dbt test --select u",
        "skipped: 1 models, tests or exposures that depend on these.",
    ]


def test_a_failure_without_a_word_still_says_where_to_look(settings: Settings) -> None:
    assert explain(Run(exit_code=2), settings) == [
        "error: dbt ended with exit code 2; see logs/dbt.log."
    ]


def test_the_trace_of_macros_is_left_out(settings: Settings) -> None:
    message = (
        "Compilation Error in model m (models/m.sql)\n  the thing is wrong\n  \n"
        "  > in macro x (macros/x.sql)\n  > called by model m (models/m.sql)"
    )
    run = Run(exit_code=1, results=[NodeResult("model", "m", "error", message, 0)])
    assert explain(run, settings) == ["error: models/m.sql: model m: the thing is wrong"]
    run = Run(exit_code=2, errors=[message])
    assert explain(run, settings) == ["error: models/m.sql: model m: the thing is wrong"]
