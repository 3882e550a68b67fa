"""Run dbt in a process of its own and follow what it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from warehouse.settings import Settings

SECONDS_TO_END = 30.0  # after Ctrl+C, before dbt is told again

# What Python runs: dbt with its events as JSON, and the same with its steps on Spark.
DBT = ("-m", "warehouse.dbt_process")
ON_SPARK = "--on-spark"
DBT_ON_SPARK = (*DBT, ON_SPARK)

FINISHED = "NodeFinished"  # the event of the end of a node

# Warnings about tests, which the end of the build counts.
_TOLD_OTHERWISE = {
    "LogTestResult",
    "RunResultWarning",
    "RunResultWarningMessage",
    "RunResultFailure",
}


@dataclass(frozen=True)
class NodeResult:
    """What became of one node: a seed, model, test or unit test.

    Attributes:
        kind: `seed`, `model`, `test`, `unit_test` or `exposure`.
        name: the node's name.
        status: dbt's word: success, pass, warn, fail, error, skipped, no-op.
        message: dbt's message, of several lines; empty when there is none.
        failures: rows that a test returned; 0 for other nodes.
    """

    kind: str
    name: str
    status: str
    message: str
    failures: int


@dataclass
class Run:
    """The outcome of one dbt command.

    Attributes:
        exit_code: dbt's own: 0 good, 1 a node failed, 2 dbt could not run.
        results: one per node that dbt came to; empty when it could not run.
        errors: what dbt said before or instead of running nodes.
        warnings: the warnings dbt raised, in the order they came.
        expectations: the critical expectations that did not hold, with what was observed.
        empty_feeds: feeds that have files and no accepted row, with what became of the files.
        seconds: wall time of the command.
        invocation: dbt's id of the command; empty when it did not come to say it.
        publication: what dbt said of the publication: "Published ..." or "Not published: ...";
            empty when it did not come so far.
    """

    exit_code: int
    results: list[NodeResult] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    expectations: list[str] = field(default_factory=list)
    empty_feeds: list[str] = field(default_factory=list)
    seconds: float = 0.0
    invocation: str = ""
    publication: str = ""

    def count(self, kind: str, *statuses: str) -> int:
        """Number of nodes of a kind, of these statuses or of any."""
        return sum(
            result.kind == kind and (not statuses or result.status in statuses)
            for result in self.results
        )


def run_dbt(
    arguments: Sequence[str],
    settings: Settings,
    progress: TextIO = sys.stderr,
    *,
    on_spark: bool = False,
) -> Run:
    """Run `dbt <arguments>`, showing progress, and say what came of it.

    Args:
        arguments: the command and its options, such as `["build"]`.
        settings: where the project, its profiles and its artifacts are.
        progress: stream for the progress line.
        on_spark: the command builds on Spark, and needs what dbt-spark lacks.

    Returns:
        The outcome. A failure of dbt is told there, not raised.
    """
    # The database's path goes through as it was given: dbt parses the project anew, for seconds,
    # when a variable of the profile has another value than last time.
    environment = os.environ | {
        "DBT_PROFILES_DIR": str(settings.profiles),
        "PYTHONUNBUFFERED": "1",
    }
    if not environment.get("WAREHOUSE_DB"):
        environment.pop("WAREHOUSE_DB", None)
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *(DBT_ON_SPARK if on_spark else DBT), *arguments],
        cwd=settings.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    run = Run(exit_code=0)
    line = ProgressLine(progress)
    try:
        for event in _events(process):
            run.invocation = event["info"].get("invocation_id", run.invocation)
            _follow(event, run, line)
        run.exit_code = process.wait()
    except KeyboardInterrupt:
        _let_end(process)  # it got the signal too, and ends its statements
        run.exit_code = 130
        run.errors.append("interrupted")
    finally:
        line.clear()
        if process.poll() is None:
            process.terminate()  # this process was told to end: dbt must not stay behind
    run.seconds = time.monotonic() - started
    return run


def _let_end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.terminate()


def _events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """The log events of dbt; a line that is none (a usage error) comes as an error event."""
    assert process.stdout is not None  # noqa: S101 - it is piped above
    for text in process.stdout:
        try:
            event = json.loads(text)
        except json.JSONDecodeError:
            event = {"info": {"name": "PlainText", "level": "info", "msg": text}, "data": {}}
        if isinstance(event, dict) and "info" in event:
            yield event


def _follow(event: dict[str, Any], run: Run, line: ProgressLine) -> None:
    name, level, text = (event["info"][key] for key in ("name", "level", "msg"))
    data = event.get("data", {})
    if name == FINISHED:
        run.results.append(_node_result(**data))
    elif name == "LogStartLine":
        line.show(data["index"], data["total"], data["node_info"]["node_name"])
    elif name in ("JinjaLogInfo", "Note") and text.startswith(("Published ", "Not published: ")):
        run.publication = text
    elif name == "JinjaLogInfo" and text.startswith("expectation failed: "):
        run.expectations.append(text.removeprefix("expectation failed: "))
    elif name == "JinjaLogInfo" and text.startswith("feed without rows: "):
        run.empty_feeds.append(text.removeprefix("feed without rows: "))
    elif name == "JinjaLogInfo" and text.startswith("expectation not met: "):
        run.warnings.append(text)
    elif name == "MainEncounteredError":
        run.errors.append(text.removeprefix("Encountered an error:").strip())
    elif name == "PlainText" and text.startswith("Error:"):
        run.errors.append(text.removeprefix("Error:").strip())
    elif name == "Note" and text.startswith("Loading "):
        line.show_text(text)
    elif level == "warn" and name not in _TOLD_OTHERWISE:
        run.warnings.append(" ".join(text.split()))


def _node_result(unique_id: str, status: str, message: str, failures: int) -> NodeResult:
    kind, _package, *names = unique_id.split(".")
    name = names[1] if kind == "unit_test" else names[0]  # a unit test's model comes first
    return NodeResult(kind, name, status, message, failures)


class ProgressLine:
    """One line that says how far a run is: rewritten on a terminal, now and then elsewhere."""

    SECONDS_BETWEEN_LINES = 5.0

    def __init__(self, stream: TextIO) -> None:
        """Show progress on the stream."""
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._last_shown = time.monotonic()

    def show(self, index: int, total: int, name: str) -> None:
        """Say that dbt starts node `index` of `total`."""
        self.show_text(f"{index} of {total}  {name}")

    def show_text(self, text: str) -> None:
        """Say something else about how far the run is."""
        text = f"  {text}"
        if self._is_terminal:
            self._stream.write(f"\r\x1b[K{text[:78]}")
        elif time.monotonic() - self._last_shown >= self.SECONDS_BETWEEN_LINES:
            self._stream.write(text + "\n")
        else:
            return
        self._last_shown = time.monotonic()
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._is_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
