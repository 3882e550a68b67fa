"""Runs commands, one after the other, each in a process and a process group of its own.

dbt takes two seconds to import. This program does that once, and then forks for each command it is
told on stdin: `{"program": "dbt", "arguments": [...], "clock": [...], "output": "..."}`, where the
program is dbt or flask, and the clock is by how many seconds it is wrong, one reading after the
other. It answers with two lines, the process id and, when the process has ended, the exit code. It
imports nothing of the project itself: its forks do, from the project's folder.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from itertools import cycle
from typing import Any, ClassVar, NoReturn

import dbt.adapters.duckdb.impl  # noqa: F401 - loaded before the forks
from dbt.cli.main import cli

# What asks for the time to write it down, by the program that does.
ASK_FOR_THE_TIME = {
    "dbt": ("warehouse.published", "warehouse.publishing", "warehouse.history"),
    "flask": ("warehouse.published",),
}


class SteppedClock(datetime):
    """A clock that somebody sets forward and back while it is read."""

    steps: ClassVar[Iterator[float]]

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        """The time, wrong by the next step."""
        return datetime.now(tz) + timedelta(seconds=next(cls.steps))


def step_clock(program: str, steps: list[float]) -> None:
    """Let the program read a clock that is wrong by these seconds, in turn."""
    SteppedClock.steps = cycle(steps)
    for name in ASK_FOR_THE_TIME[program]:
        importlib.import_module(name).datetime = SteppedClock  # type: ignore[attr-defined]


def run(program: str, arguments: list[str], clock: list[float], output: str) -> NoReturn:
    """Be one command."""
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    faulthandler.register(signal.SIGUSR1)  # says where it hangs, when it takes too long
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - a text
    if clock:
        step_clock(program, clock)
    if program == "flask":
        from flask.cli import main as flask

        sys.argv = ["flask", "--app", "api", *arguments]
        flask()
    else:
        cli(arguments)
    raise AssertionError(f"{program} did not exit")


def main() -> None:
    """Follow the commands until stdin ends."""
    gc.set_threshold(200_000, 20, 100)  # as warehouse/dbt.py has it
    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if child == 0:
            run(**command)
        with suppress(PermissionError, ProcessLookupError):  # the child was faster
            os.setpgid(child, child)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
