"""The history of the builds: when each one ran, and what came of it, whether it published or not.

    <folder>/build_history.jsonl   a line when a build starts, another one when it ends

It lies beside the log of the published folder and outside of the snapshots, since a build that
failed publishes none. Nothing here needs dbt: the API imports this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from warehouse.journal import append, read_lines, stamp
from warehouse.published import format_time

HISTORY = "build_history.jsonl"
PUBLISHED, NOT_PUBLISHED, UNFINISHED = "published", "not published", "unfinished"
WHY_UNFINISHED = "still running, or killed before its end"

_LARGEST = 2**63  # counts are 64-bit integers for readers
_LONGEST = 1e12  # seconds


@dataclass(frozen=True)
class EndOfRun:
    """What came of a build.

    Attributes:
        outcome: `published` or `not published`.
        version: the snapshot that it published; None when it published none.
        reason: why it published none; None when it did.
        seconds: how long it took.
        rows: of the marts that it published; None when it published none.
        tests_passed: data tests and unit tests that passed.
        tests_warned: data tests that warned.
        tests_failed: data tests and unit tests that failed.
        rows_rejected: rows of all feeds that no mart counts; None when they were not counted.
        contains_sample: whether what it published was made with the sample; None when it published
            none, or does not say.
    """

    outcome: str
    version: str | None
    reason: str | None
    seconds: float
    rows: int | None
    tests_passed: int
    tests_warned: int
    tests_failed: int
    rows_rejected: int | None
    contains_sample: bool | None = None


@dataclass(frozen=True)
class BuildRun:
    """A build, as far as is known.

    Attributes:
        run_id: dbt's id of the run.
        started_at: when, UTC.
        command: that of dbt, such as `build`.
        outcome: `published`, `not published`, or `unfinished` while its end is not known.
        version: as in `EndOfRun`, like all that follows; None while the end is not known.
        reason: also why an unfinished build is.
        seconds: how long it took.
        rows: of the marts.
        tests_passed: data tests and unit tests.
        tests_warned: data tests.
        tests_failed: data tests and unit tests.
        rows_rejected: of all feeds.
        contains_sample: of what it published.
    """

    run_id: str
    started_at: datetime
    command: str
    outcome: str = UNFINISHED
    version: str | None = None
    reason: str | None = WHY_UNFINISHED
    seconds: float | None = None
    rows: int | None = None
    tests_passed: int | None = None
    tests_warned: int | None = None
    tests_failed: int | None = None
    rows_rejected: int | None = None
    contains_sample: bool | None = None


class BuildHistory:
    """The file of the history, for builds that write to it and for those who read it."""

    def __init__(self, folder: Path) -> None:
        """Look at the published folder; it need not exist yet, the first build makes it."""
        self._path = folder / HISTORY
        self._known: tuple[object, list[BuildRun]] = (None, [])

    # ------------------------------------------------------------------ reading

    def stamp(self) -> object:
        """A value that is another one whenever the history is; None when there is none."""
        return stamp(self._path)

    def runs(self, limit: int | None = None) -> list[BuildRun]:
        """The builds, the one that started last first.

        Lines that cannot be read are left out, and so are ends of builds whose start is not known.
        The file is read again only when it has changed.

        Args:
            limit: at most so many; None: all.

        Raises:
            OSError: the file cannot be read.
        """
        # Before the content, which may be newer: then the next call reads it once more.
        found = self.stamp()
        known, runs = self._known
        if found != known:
            runs = _read_runs(self._path)
            self._known = found, runs
        return runs[:limit]

    # ------------------------------------------------------------------ writing

    def start(self, run_id: str, command: str, at: datetime) -> None:
        """Write that a build starts.

        Args:
            run_id: dbt's id of the run.
            command: that of dbt, such as `build`.
            at: when, with a time zone.

        Raises:
            OSError: the disk is full or broken; the file is as it was before.
        """
        append(
            self._path,
            {"event": "start", "run_id": run_id, "at": format_time(at), "command": command},
        )

    def end(self, run_id: str, end: EndOfRun, at: datetime) -> None:
        """Write what came of a build; said twice, the second time counts.

        Args:
            run_id: the id that it started with.
            end: what came of it.
            at: when it ended, with a time zone.

        Raises:
            OSError: the disk is full or broken; the file is as it was before.
        """
        append(self._path, {"event": "end", "run_id": run_id, "at": format_time(at), **asdict(end)})


def _read_runs(path: Path) -> list[BuildRun]:
    """The builds of a file, newest first: its order decides, since a clock may go back."""
    runs: dict[str, BuildRun] = {}
    for line in read_lines(path):
        try:
            fields = json.loads(line)
            run_id, at = _text(fields["run_id"]), _time(fields["at"])
            if fields["event"] == "start":
                runs[run_id] = BuildRun(run_id, at, _text(fields["command"]))
            elif fields["event"] == "end":
                started = runs[run_id]
                runs[run_id] = BuildRun(
                    run_id, started.started_at, started.command, **vars(_end(fields))
                )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return [*reversed(runs.values())]


def _end(fields: Mapping[str, Any]) -> EndOfRun:
    if fields["outcome"] not in (PUBLISHED, NOT_PUBLISHED):
        raise ValueError
    return EndOfRun(
        outcome=fields["outcome"],
        version=_text_or_none(fields["version"]),
        reason=_text_or_none(fields["reason"]),
        seconds=_seconds(fields["seconds"]),
        rows=_count_or_none(fields["rows"]),
        tests_passed=_count(fields["tests_passed"]),
        tests_warned=_count(fields["tests_warned"]),
        tests_failed=_count(fields["tests_failed"]),
        rows_rejected=_count_or_none(fields["rows_rejected"]),
        contains_sample=_flag_or_none(fields.get("contains_sample")),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # half a character, which JSON can spell, could not be shown
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError
    return time.astimezone(UTC)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if not 0 <= value < _LONGEST:  # no NaN either
        raise ValueError
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if not 0 <= value < _LARGEST:
        raise ValueError
    return value


def _flag_or_none(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError
    return value


def _count_or_none(value: object) -> int | None:
    return None if value is None else _count(value)
