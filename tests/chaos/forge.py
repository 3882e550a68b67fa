"""Runs dbt commands, one after the other, each in a process and a process group of its own.

dbt takes two seconds to import. This program does that once, and then forks for each command it is
told on stdin: `{"arguments": [...], "output": "..."}`. It answers with two lines, the process id
and, when the process has ended, the exit code. It imports nothing of the project: dbt loads the
project's own plugin, from the project's folder.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import suppress
from typing import NoReturn

import dbt.adapters.duckdb.impl  # noqa: F401 - loaded before the forks
from dbt.cli.main import cli


def run(arguments: list[str], output: str) -> NoReturn:
    """Be one dbt command."""
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    cli(arguments)
    raise AssertionError("dbt did not exit")


def main() -> None:
    """Follow the commands until stdin ends."""
    gc.set_threshold(200_000, 20, 100)  # as warehouse/dbt.py has it
    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if child == 0:
            run(command["arguments"], command["output"])
        with suppress(PermissionError, ProcessLookupError):  # the child was faster
            os.setpgid(child, child)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
