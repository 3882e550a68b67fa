"""dbt in a process of its own: its lines, its log and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, own_environment
from warehouse.dbt import DBT, FINISHED

VARIABLE = "DBT_ENV_SECRET_DATABASE"
PROFILE = f"{{{{ env_var('{VARIABLE}', 'w.duckdb') }}}}"
FILES = {
    "dbt_project.yml": "name: small\nprofile: small\nflags: {send_anonymous_usage_stats: false}\n",
    "profiles.yml": (
        "small: {target: dev, outputs: {dev: "
        f'{{type: duckdb, threads: 1, path: "{PROFILE}"}}}}}}\n'
    ),
    "models/good.sql": "select 1 as n {{ log('hello', info=true) }}",
    "models/bad.sql": "select nothing",
}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command of dbt in a small project."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *DBT, *arguments],
            cwd=tmp_path,
            env=own_environment() | {"PYTHONPATH": str(ROOT)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def events_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_line_is_an_event_and_the_log_is_for_people(run: Run, tmp_path: Path) -> None:
    done = run("build", "--select", "good")
    assert (done.returncode, done.stderr) == (0, "")
    told = [(event["info"]["level"], event["info"]["name"]) for event in events_of(done)]
    assert ("info", "LogStartLine") in told
    assert [name for level, name in told if level == "debug"] == []
    (hello,) = {e["info"]["msg"] for e in events_of(done) if e["info"]["name"] == "JinjaLogInfo"}
    assert hello == "hello"
    (finished,) = [e["data"] for e in events_of(done) if e["info"]["name"] == FINISHED]
    assert finished == {
        "unique_id": "model.small.good", "status": "success", "message": "OK", "failures": 0,
    }  # fmt: skip
    log = (tmp_path / "logs/dbt.log").read_text()
    assert "Finished running 1 view model" in log
    assert "[debug]" not in log
    assert '{"data"' not in log


def test_nodes_side_by_side_do_not_share_a_line(run: Run, tmp_path: Path) -> None:
    for number in range(40):
        logs = f"{{{{ log('{'x' * 2000}', info=true) }}}}" * 5
        (tmp_path / f"models/many_{number}.sql").write_text(f"select {number} as n {logs}")
    done = run("run", "--select", "many_*", "--threads", "8")
    assert done.returncode == 0
    names = [event["info"]["name"] for event in events_of(done)]
    assert names.count("LogStartLine") == 40
    assert names.count("JinjaLogInfo") >= 200  # five a model, when it is compiled


def test_the_exit_code_is_that_of_dbt(run: Run) -> None:
    failed = run("build")
    assert failed.returncode == 1
    assert "nothing" in "".join(event["info"]["msg"] for event in events_of(failed))
    mistyped = run("bulid")
    assert mistyped.returncode == 2
    assert "Error: No such command 'bulid'. Did you mean 'build'?" in mistyped.stderr
    cannot_run = run("build", "--target", "prod")
    assert cannot_run.returncode == 2
    assert events_of(cannot_run)[-1]["info"]["name"] == "MainEncounteredError"


def test_secrets_are_not_told(run: Run) -> None:
    done = run("build", "--select", "good", **{VARIABLE: "/nowhere/t0ps3cret/w.duckdb"})
    assert done.returncode in (1, 2)
    assert "t0ps3cret" not in done.stdout + done.stderr
    assert "*****" in done.stdout
