"""What a server process and its workers use, as Linux tells it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """What is in use at an instant.

    Attributes:
        memory: resident, in bytes.
        threads: of all processes.
        files: open file descriptors.
        catalogs: those of them that hold a snapshot.
    """

    memory: int
    threads: int
    files: int
    catalogs: int


def usage_of(process: int) -> Usage:
    """What a process and its descendants use now."""
    memory = threads = 0
    names: list[str] = []
    for identifier in _with_descendants(process):
        folder = Path("/proc") / str(identifier)
        status = dict(
            line.split(":\t", 1)
            for line in (folder / "status").read_text().splitlines()
            if ":\t" in line
        )
        memory += int(status["VmRSS"].split()[0]) * 1024
        threads += int(status["Threads"])
        names += [_name(file) for file in (folder / "fd").iterdir()]
    catalogs = sum("/catalog.json" in name for name in names)
    return Usage(memory, threads, len(names), catalogs)


def _with_descendants(process: int) -> list[int]:
    children = []
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
            children += [int(child) for child in (task / "children").read_text().split()]
    return [process, *(found for child in children for found in _with_descendants(child))]


def _name(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""
