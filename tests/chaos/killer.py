"""Waits for an instant in the life of a build, kills its process group, and says what was there.

A program of its own, so that what else the test does cannot delay it: it looks at the published
folder some thousand times a second. It prints the names in the new folders, as JSON, or `null` when
the build ended first.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.0002  # once something was begun
SECONDS_BEFORE = 0.002  # between two looks until then
LONGEST_BUILD = 120.0  # seconds


def is_alive(process: int) -> bool:
    """Whether the process still runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def names_in(folder: Path) -> set[str]:
    """The names of what is in a folder."""
    return {path.name for path in folder.iterdir()}


def new_folders(published: Path, known: set[str]) -> dict[str, list[str]]:
    """The snapshots begun since, with the names of their files but for a draft's mark."""
    found = {}
    for name in names_in(published) - known:
        with suppress(FileNotFoundError, NotADirectoryError):
            found[name] = sorted(names_in(published / name) - {".draft"})
    return found


def is_reached(instant: str, folders: dict[str, list[str]], log_grew: bool) -> bool:
    """Whether it is time: `start`, `folder`, `file 1` to `file 4`, `catalog` or `log`."""
    if instant in ("start", "folder"):
        return instant == "start" or bool(folders)
    if instant.startswith("file "):
        return any(len(names) >= int(instant.removeprefix("file ")) for names in folders.values())
    if instant == "catalog":
        return any("catalog.json" in name for names in folders.values() for name in names)
    return log_grew


def size_of(log: Path) -> int:
    """Bytes of the log; 0 without one."""
    return log.stat().st_size if log.exists() else 0


def main(process: int, published: Path, instant: str, delay: float) -> None:
    """Kill a build some seconds after an instant.

    Args:
        process: id of the build's process, and of its group.
        published: the published folder.
        instant: which one.
        delay: seconds from there.
    """
    known, log = names_in(published), published / "log.jsonl"
    size = size_of(log)
    give_up_at = time.monotonic() + LONGEST_BUILD
    at = None
    while is_alive(process) and time.monotonic() < give_up_at:
        folders = new_folders(published, known)
        if at is None and is_reached(instant, folders, size_of(log) > size):
            at = time.monotonic() + delay
        rest = SECONDS_BEFORE if at is None else at - time.monotonic()
        if rest <= 0:
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
                print(json.dumps(new_folders(published, known)))
                return
        time.sleep(min(SECONDS_BETWEEN_LOOKS if folders else SECONDS_BEFORE, max(rest, 0)))
    print("null")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
