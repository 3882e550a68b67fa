"""Which files of a feed are to be loaded, and which rows are to go: a pure decision.

The rules, whatever came first: of files with equal content the one with the earliest time of
change, then name, is loaded, the others are refused. A file that vanished keeps its rows, and gives
them to a file of its content, which was renamed then. So the outcome depends on the files alone and
not on the builds between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LOADED, REFUSED, DUPLICATE = "loaded", "refused", "duplicate"


@dataclass(frozen=True)
class Known:
    """A file as the load log has it.

    Attributes:
        file_id: marks its rows.
        file: its path from the project's root, with `landing` for the landing zone.
        state: `loaded`, `refused` or `duplicate`.
        reason: why it is not loaded.
        size: bytes; None for a seed.
        modified_ns: time of its last change; None for a seed.
        content_hash: of its content; None for a file that was refused unread.
        identity: as of `Found`; None for a seed, and in a log of before it was kept.
    """

    file_id: int
    file: str
    state: str
    reason: str | None
    size: int | None
    modified_ns: int | None
    content_hash: str | None
    identity: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Present:
    """A file as it is now.

    Attributes:
        file: as in the log.
        modified_ns: time of its last change; None for a seed, which counts as older than any.
        content_hash: of its content; None where it cannot be loaded.
        refusal: why it cannot be loaded; None: it can.
    """

    file: str
    modified_ns: int | None
    content_hash: str | None
    refusal: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        load: files to load, in their order.
        remove: entries of the log whose rows must go.
        rename: file to the entry of the log that it is, under another name until now.
        refuse: file to its state and the reason for which it is not loaded.
    """

    load: Sequence[str]
    remove: Sequence[Known]
    rename: Mapping[str, Known]
    refuse: Mapping[str, tuple[str, str]]


def decide(known: Sequence[Known], present: Sequence[Present], copies: Mapping[str, str]) -> Plan:
    """Say what makes the database hold just what the files say.

    Args:
        known: the log.
        present: the files there are; those of the log that are missing here have vanished.
        copies: further contents that are in the database already, by hash, and their names.
    """
    by_file = {entry.file: entry for entry in known}
    there = {file.file for file in present}
    vanished = {
        entry.content_hash: entry
        for entry in known
        if entry.state == LOADED and entry.file not in there
    }
    refuse: dict[str, tuple[str, str]] = {}
    keepers: dict[str, str] = {}
    wanted: list[Present] = []
    for file in sorted(present, key=lambda file: (file.modified_ns or 0, file.file)):
        if file.refusal is not None or file.content_hash is None:
            refuse[file.file] = (REFUSED, file.refusal or "cannot be read")
            continue
        first = copies.get(file.content_hash) or keepers.get(file.content_hash)
        if first is not None:
            refuse[file.file] = (DUPLICATE, f"has the same content as {first}")
            continue
        keepers[file.content_hash] = file.file
        wanted.append(file)

    rename: dict[str, Known] = {}
    load: list[str] = []
    staying: set[str] = set()
    for file in wanted:
        entry = by_file.get(file.file)
        if entry is not None and (entry.state, entry.content_hash) == (LOADED, file.content_hash):
            staying.add(file.file)
        elif file.content_hash in vanished:
            rename[file.file] = vanished[file.content_hash]
        else:
            load.append(file.file)
    remove = [
        entry
        for entry in known
        if entry.state == LOADED and entry.file in there and entry.file not in staying
    ]
    return Plan(load, remove, rename, refuse)
