"""The history of the builds: what is in it, what is left out, and who writes at the same time."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.support import ROOT
from warehouse import history as module
from warehouse.history import (
    HISTORY,
    NOT_PUBLISHED,
    PUBLISHED,
    UNFINISHED,
    WHY_UNFINISHED,
    BuildHistory,
    BuildRun,
    EndOfRun,
)
from warehouse.published import PublishedFolder

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
GOOD = EndOfRun(PUBLISHED, "20261121T120000Z-1a2b3c4d", None, 24.5, 70_937, 274, 1, 0, 165, True)
BAD = EndOfRun(NOT_PUBLISHED, None, "grain_daily_sales_ failed", 21.25, None, 200, 0, 1, None)


@pytest.fixture
def history(tmp_path: Path) -> BuildHistory:
    return BuildHistory(tmp_path / "published")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "published" / HISTORY


def ids(history: BuildHistory) -> list[str]:
    return [run.run_id for run in history.runs()]


def test_before_the_first_build_there_is_nothing(history: BuildHistory, file: Path) -> None:
    assert history.runs() == []
    assert history.runs(3) == []
    assert history.stamp() is None
    assert not file.parent.exists()


def test_a_build_is_told_from_its_two_lines(history: BuildHistory, file: Path) -> None:
    history.start("a", "dbt build", NOON)
    history.end("a", GOOD, NOON + timedelta(seconds=25))
    assert history.runs() == [
        BuildRun(
            *("a", NOON, "dbt build", "published", "20261121T120000Z-1a2b3c4d", None),
            *(24.5, 70_937, 274, 1, 0, 165),
            contains_sample=True,
        )
    ]
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {
            **{"event": "start", "run_id": "a", "at": "2026-11-21T12:00:00.000000Z"},
            **{"command": "dbt build"},
        },
        {
            **{"event": "end", "run_id": "a", "at": "2026-11-21T12:00:25.000000Z"},
            **{"outcome": "published", "version": "20261121T120000Z-1a2b3c4d", "reason": None},
            **{"seconds": 24.5, "rows": 70_937, "tests_passed": 274, "tests_warned": 1},
            **{"tests_failed": 0, "rows_rejected": 165, "contains_sample": True},
        },
    ]


def test_a_build_without_an_end_is_unfinished(history: BuildHistory) -> None:
    history.start("a", "dbt build", NOON)
    (run,) = history.runs()
    assert (run.outcome, run.reason) == (UNFINISHED, WHY_UNFINISHED)
    values = dataclasses.asdict(run)
    told = {"run_id", "started_at", "command", "outcome", "reason"}
    assert {name for name, value in values.items() if value is not None} == told
    history.end("a", BAD, NOON)
    (run,) = history.runs()
    assert (run.outcome, run.reason) == (NOT_PUBLISHED, "grain_daily_sales_ failed")


def test_the_newest_come_first_whatever_the_clock_said(history: BuildHistory) -> None:
    history.start("a", "dbt build", NOON)
    history.start("b", "dbt run", NOON - timedelta(days=1))  # at the same time, on another clock
    history.end("b", BAD, NOON)
    history.start("c", "dbt build", NOON.astimezone(timezone(timedelta(hours=5))))
    history.end("a", GOOD, NOON)
    assert ids(history) == ["c", "b", "a"]
    assert [run.outcome for run in history.runs()] == [UNFINISHED, NOT_PUBLISHED, PUBLISHED]
    assert [run.command for run in history.runs(2)] == ["dbt build", "dbt run"]
    assert history.runs()[0].started_at.isoformat() == "2026-11-21T12:00:00+00:00"


def test_a_last_line_without_its_end_is_none_and_the_next_build_cuts_it(
    history: BuildHistory, file: Path
) -> None:
    history.start("a", "dbt build", NOON)
    before = file.read_bytes()
    history.end("a", GOOD, NOON)
    whole = file.read_bytes()
    for length in range(len(before), len(whole)):
        file.write_bytes(whole[:length])
        assert [run.outcome for run in BuildHistory(file.parent).runs()] == [UNFINISHED]
    history.start("b", "dbt build", NOON)
    assert file.read_bytes().startswith(before)
    assert b"end" not in file.read_bytes()
    assert ids(history) == ["b", "a"]


def test_a_file_that_is_but_one_torn_line_is_begun_anew(history: BuildHistory, file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b'{"event": "sta')
    assert history.runs() == []
    history.start("b", "dbt build", NOON)
    assert file.read_bytes().startswith(b'{"event": "start", "run_id": "b"')
    assert ids(history) == ["b"]


START = '{"event": "start", "run_id": "x", "at": "2026-11-21T12:00:00Z", "command": "dbt build"}'
END = (
    '{"event": "end", "run_id": "a", "at": "2026-11-21T12:00:25Z", "outcome": "published", '
    '"version": null, "reason": null, "seconds": 1, "rows": 1, "tests_passed": 1, '
    '"tests_warned": 1, "tests_failed": 1, "rows_rejected": 1}'
)


@pytest.mark.parametrize(
    "line",
    [
        *("", "no json", "[]", "{}", "7", "null", "\\", "[" * 100_000),
        START.replace('"x"', "7"),
        START.replace('"x"', '"\\ud800"'),
        START.replace("2026-11-21T12:00:00Z", "noon"),
        START.replace("2026-11-21T12:00:00Z", "2026-11-21T12:00:00"),
        START.replace("2026-11-21T12:00:00Z", "0001-01-01T00:00:00+14:00"),
        START.replace('"dbt build"', "null"),
        START.replace("start", "begin"),
        END.replace('"end"', '"pause"'),
        END.replace('"a"', '"no such start"'),
        END.replace('"published"', '"lost"'),
        END.replace('"version": null', '"version": 7'),
        END.replace('"reason": null', '"reason": "\\udfff"'),
        END.replace('"reason": null, ', ""),
        END.replace('"seconds": 1', '"seconds": NaN'),
        END.replace('"seconds": 1', '"seconds": -1'),
        END.replace('"seconds": 1', '"seconds": null'),
        END.replace('"seconds": 1', f'"seconds": 1{"0" * 400}'),
        END.replace('"rows": 1', '"rows": 1.5'),
        END.replace('"rows": 1', '"rows": true'),
        END.replace('"rows": 1', '"rows": -1'),
        END.replace('"rows": 1', f'"rows": {2**63}'),
        END.replace('"rows": 1', f'"rows": 1{"0" * 5000}'),
        END.replace('"tests_failed": 1', '"tests_failed": null'),
        END.replace('"tests_failed": 1', '"tests_failed": 1, "contains_sample": 1'),
    ],
)
def test_a_line_that_cannot_be_read_is_left_out(
    line: str, history: BuildHistory, file: Path
) -> None:
    history.start("a", "dbt build", NOON)
    with file.open("a") as stream:
        stream.write(line + "\n")
    with file.open("ab") as stream:
        stream.write(b"\xff\xfe\x00\n")
    history.start("b", "dbt build", NOON)
    assert ids(history) == ["b", "a"]
    assert {run.outcome for run in history.runs()} == {UNFINISHED}


def test_the_lines_of_the_test_above_are_good_but_for_what_it_changes(
    history: BuildHistory, file: Path
) -> None:
    history.start("a", "dbt build", NOON)
    with file.open("a") as stream:
        stream.write(f"{START}\n{END}\n")
    assert [(run.run_id, run.outcome) for run in history.runs()] == [
        ("x", UNFINISHED),
        ("a", PUBLISHED),
    ]


def test_any_text_comes_back_in_one_line(history: BuildHistory, file: Path) -> None:
    said = 'two\nlines, "quotes", \u2028 Liquidação \U0001f4a5'
    history.start("a", said, NOON)
    history.end("a", dataclasses.replace(BAD, reason=said), NOON)
    # The name of a file that is no UTF-8, as Python has it.
    history.start("b", "dbt build " + os.fsdecode(b"\xff.csv"), NOON)
    assert [(run.command, run.reason) for run in history.runs()] == [
        ("dbt build ?.csv", WHY_UNFINISHED),
        (said, said),
    ]
    assert file.read_bytes().count(b"\n") == 3


def test_the_file_is_read_again_only_when_it_changed(
    history: BuildHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.start("a", "dbt build", NOON)
    reads: list[Path] = []
    read = module._read_runs

    def counted(path: Path) -> list[BuildRun]:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(module, "_read_runs", counted)
    stamps = set()
    for run_id in ("b", "c"):
        for _ in range(3):
            history.runs()
            stamps.add(history.stamp())
        history.start(run_id, "dbt build", NOON)
    assert (len(reads), len(stamps)) == (2, 2)
    assert ids(history) == ["c", "b", "a"]


def test_what_a_caller_does_with_the_list_changes_nothing(history: BuildHistory) -> None:
    history.start("a", "dbt build", NOON)
    history.runs().clear()
    assert ids(history) == ["a"]


def test_a_full_disk_leaves_the_file_as_it_was(
    history: BuildHistory, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.start("a", "dbt build", NOON)
    before = file.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda target, content: write(target, content[:10]))
    with pytest.raises(OSError, match="No space left") as raised:
        history.end("a", GOOD, NOON)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(file))
    assert file.read_bytes() == before

    def broken(_target: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="broken"):
        history.end("a", GOOD, NOON)
    assert file.read_bytes() == before


def test_a_writer_waits_for_another_one(history: BuildHistory, file: Path) -> None:
    history.start("a", "dbt build", NOON)
    code = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from warehouse.history import BuildHistory\n"
        "print('ready', flush=True)\n"
        "BuildHistory(Path(sys.argv[1])).start('b', 'dbt build', datetime.now(UTC))"
    )
    with file.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with subprocess.Popen(
            [sys.executable, "-c", code, str(file.parent)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.3)
            assert ids(history) == ["a"]  # who reads waits for nobody
            assert process.poll() is None
            fcntl.flock(stream, fcntl.LOCK_UN)
            assert process.wait(10) == 0
    assert ids(history) == ["b", "a"]


def test_many_builds_at_once_lose_nothing(history: BuildHistory) -> None:
    code = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from warehouse.history import BuildHistory, EndOfRun\n"
        "history = BuildHistory(Path(sys.argv[1]))\n"
        "for number in range(25):\n"
        "    run = f'{sys.argv[2]} {number}'\n"
        "    history.start(run, 'dbt build', datetime.now(UTC))\n"
        "    end = EndOfRun('not published', None, run * 50, 1, None, 0, 0, 0, None)\n"
        "    history.end(run, end, datetime.now(UTC))\n"
    )
    folder = history._path.parent
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), name], cwd=ROOT)
        for name in "abcd"
    ]
    assert [process.wait(60) for process in processes] == [0] * 4
    runs = history.runs()
    assert len(runs) == 100
    assert all(run.reason == run.run_id * 50 for run in runs)


def test_the_published_folder_leaves_the_history_alone(tmp_path: Path) -> None:
    folder = PublishedFolder(tmp_path / "published")
    history = BuildHistory(folder.path)
    history.start("a", "dbt build", NOON)
    folder.begin("aaaaaaaa").discard()
    folder.prune(1)
    assert ids(history) == ["a"]


def test_the_module_needs_no_dbt() -> None:
    code = "import sys, warehouse.history; sys.exit(any(m.startswith('dbt') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
