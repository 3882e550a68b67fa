"""The published folder: whole snapshots of the marts, and the log that says which one is read.

    <folder>/log.jsonl                 one entry a line; together they say what readers see
    <folder>/<version>/<mart>.parquet  the marts
    <folder>/<version>/catalog.json    what they are; described in docs/publication.md
    <folder>/<version>/data_docs/      pages about what was expected of them
    <folder>/<version>/.draft          only until its entry is in the log
    <folder>/.lock                     one writer at a time

A snapshot exists from the line end of its entry in the log on. Everything before, and everything
that a build left behind when it was killed, does not exist for readers, and the next writer
removes it. Folders are 0750, files of snapshots 0440, logs 0640, whatever the umask. Nothing here
needs dbt: the API imports this module.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from warehouse.journal import (
    FOLDER_MODE,
    append,
    make_folder,
    open_log,
    read_lines,
    set_mode,
    stamp,
    sync,
)

FORMAT = 1  # of catalog.json
PUBLISH, ROLLBACK, PRUNE = "publish", "rollback", "prune"  # what an entry of the log does
LOG, LOCK, CATALOG = "log.jsonl", ".lock", "catalog.json"
DRAFT = ".draft"  # in a folder whose entry is not in the log yet
REMOVING = ".removing"  # ends the name of a folder that is being removed
FILE_MODE = 0o440  # of what was published, which nobody changes

SECONDS_TO_WAIT = 60.0  # for another writer
_SECONDS_BETWEEN_TRIES = 0.05
_SECONDS_OF_A_TICK = 0.02  # in which a file may change twice and show it once; Linux has 0.01
_READINGS = 3  # of a file that changes, before it is given up
_VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


class PublishedError(Exception):
    """Something about the published folder; the message is one line for people."""


class GoneError(PublishedError):
    """The snapshot is not there: it never was, or it was pruned."""


class DamagedError(PublishedError):
    """The log, a catalog or a file is not what was written."""


class BusyError(PublishedError):
    """Another process writes to the folder, and takes too long."""


@dataclass(frozen=True)
class Entry:
    """A line of the log: what was done to a snapshot. `standing` says what the lines come to.

    Attributes:
        version: the snapshot's name.
        at: when, UTC.
        action: `publish` or `rollback`, from when on readers see it; or `prune`, it was removed.
        catalog_sha256: of the snapshot's catalog.json; empty when the line does not say.
    """

    version: str
    at: datetime
    action: str
    catalog_sha256: str = ""


@dataclass(frozen=True)
class Standing:
    """What a log says of its snapshots.

    Attributes:
        line: versions that stand, the one that readers see first; each of the others is what they
            saw before the one in front of it. Those that were pruned are among them.
        withdrawn: versions that a rollback went back behind; nobody may see them any more, unless
            another rollback names them.
        pruned: versions that were removed.
    """

    line: tuple[str, ...]
    withdrawn: frozenset[str]
    pruned: frozenset[str]

    @property
    def servable(self) -> tuple[str, ...]:
        """Versions that may be seen, the best first; the next one is for when it is damaged."""
        return tuple(version for version in self.line if version not in self.pruned)

    def before(self, version: str) -> str | None:
        """What readers saw before a version that stands; None when there was nothing."""
        after = self.line[self.line.index(version) + 1 :] if version in self.line else ()
        return after[0] if after else None


def standing(entries: Iterable[Entry]) -> Standing:
    """What the entries of a log come to.

    A publication is seen from then on, and what was seen before stands behind it. A rollback
    withdraws everything that was published after the version that it names; it may name one that
    was withdrawn, which then stands again.

    Args:
        entries: of the log, oldest first.
    """
    numbers: dict[str, int] = {}  # in the order of publication
    line: list[str] = []  # oldest first
    pruned: set[str] = set()
    for number, entry in enumerate(entries):
        if entry.action == PRUNE:
            pruned.add(entry.version)
            continue
        if entry.action == PUBLISH or entry.version not in numbers:
            numbers[entry.version] = number
        own = numbers[entry.version]
        line = [version for version in line if numbers[version] < own] + [entry.version]
        pruned.discard(entry.version)
    return Standing(
        line=tuple(reversed(line)),
        withdrawn=frozenset(numbers) - frozenset(line) - pruned,
        pruned=frozenset(pruned),
    )


@dataclass(frozen=True)
class Pruned:
    """What became of the snapshots that were too many.

    Attributes:
        removed: versions that are gone now, oldest first.
        in_use: versions that stay because a reader holds them, oldest first.
        size: bytes that were freed.
    """

    removed: tuple[str, ...]
    in_use: tuple[str, ...]
    size: int


def make_version(at: datetime, invocation_id: str) -> str:
    """The name of a snapshot, such as 20261121T013501Z-1a2b3c4d; names sort by time.

    Args:
        at: when its publication began, with a time zone.
        invocation_id: dbt's id of the run, a UUID.
    """
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{invocation_id.replace('-', '')[:8].lower()}"


def is_version(text: str) -> bool:
    """Whether a text has the shape of a version, so that a path may be made of it."""
    return _VERSION.fullmatch(text) is not None


def format_time(at: datetime) -> str:
    """A time as the log and the catalog write it, such as 2026-11-21T01:35:01.123456Z."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


class Lease:
    """A reader's hold on a snapshot; while any process has one, prune keeps the snapshot."""

    def __init__(self, descriptor: int) -> None:
        """Take over an open file that carries the lock."""
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let the snapshot go; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Lease:
        """Hold on until the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go."""
        self.release()


class HeldFile:
    """A file of a snapshot, open and compared with its catalog; it notices a change.

    Its path may come to name nothing or another file: the descriptor still reads what was
    published. Only a change in place reaches it, and that gives it another stamp.

    Attributes:
        path: where it was when it was opened.
        descriptor: to read it by.
    """

    def __init__(self, path: Path, size: int, sha256: str) -> None:
        """Open it and compare it.

        Args:
            path: where it is.
            size: its bytes, as its catalog says.
            sha256: of its content, in hex.

        Raises:
            DamagedError: it cannot be read, or is another one.
        """
        self.path = path
        self._size, self._sha256 = size, sha256
        self._proved: object = None  # the stamp that it had when it was compared
        self._lock = threading.Lock()
        try:
            # Whatever it is, such as a pipe, opening it must not wait.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            self.check()
        except BaseException:
            self.close()
            raise

    def check(self) -> object:
        """Compare it, if anything about it has changed since that was done last.

        Costs one fstat when nothing has; a link, a copy's or a backup's, costs reading it again.

        Returns:
            A value that is another one once the file, or a mode, owner or link of it, has changed.

        Raises:
            DamagedError: it is not what was published any more, or cannot be read.
        """
        try:
            found = self._stamp()
            if found == self._proved:
                return found
            with self._lock:
                for _ in range(_READINGS):
                    found = self._settled()
                    if found == self._proved:
                        return found
                    if not self._is_same():
                        raise DamagedError(f"{self.path} is not what was published")
                    if self._stamp() == found:
                        self._proved = found
                        return found
        except OSError as error:
            raise self._unreadable(error) from error
        raise DamagedError(f"{self.path} is changed again and again")

    def is_in_place(self) -> bool:
        """Whether its path still names it."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self.descriptor))
        except OSError:
            return False

    def close(self) -> None:
        """Close it; nobody may read its descriptor any more."""
        os.close(self.descriptor)

    def _stamp(self) -> tuple[int, int, int]:
        found = os.fstat(self.descriptor)
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _settled(self) -> tuple[int, int, int]:
        """Its stamp, once a later change is sure to give another one."""
        found = self._stamp()
        if 0 <= time.time() - found[2] / 1e9 < _SECONDS_OF_A_TICK:
            time.sleep(_SECONDS_OF_A_TICK)
            found = self._stamp()
        return found

    def _is_same(self) -> bool:
        if os.fstat(self.descriptor).st_size != self._size:
            return False
        with open(self.descriptor, "rb", buffering=0, closefd=False) as stream:
            stream.seek(0)
            return hashlib.file_digest(stream, "sha256").hexdigest() == self._sha256

    def _unreadable(self, error: OSError) -> DamagedError:
        return DamagedError(f"{self.path} cannot be read: {error.strerror or error}")


class Draft:
    """A snapshot that is being written, and the lock that lets nobody else write.

    Attributes:
        version: what it will be called.
        at: when it began, UTC.
        path: its folder; the files of the marts go there.
    """

    def __init__(self, folder: PublishedFolder, version: str, at: datetime, lock: int) -> None:
        """Take over the lock; `PublishedFolder.begin` calls this."""
        self._folder = folder
        self._lock: int | None = lock
        self._catalog_sha256 = ""
        self.version = version
        self.at = at
        self.path = folder.folder(version)

    def write_catalog(self, catalog: Mapping[str, Any]) -> None:
        """Bring the files of the marts to the disk, then the catalog beside them.

        From here on nobody may write to a file, and only the owner and the group may read.

        Raises:
            OSError: the disk is full or broken.
        """
        for file in sorted(self.path.rglob("*")):
            set_mode(file, FOLDER_MODE if file.is_dir() else FILE_MODE)
            sync(file)
        content = (json.dumps(catalog, ensure_ascii=False, indent=1) + "\n").encode()
        new = self.path / f"{CATALOG}.new"
        _write_whole(new, content)
        set_mode(new, FILE_MODE)
        new.replace(self.path / CATALOG)
        sync(self.path)
        sync(self._folder.path)
        self._catalog_sha256 = hashlib.sha256(content).hexdigest()

    def publish(self) -> Entry:
        """Append the entry that makes the snapshot exist, and let other writers go on.

        Raises:
            OSError: the disk is full or broken; the log is as it was before.
        """
        entry = Entry(self.version, self.at, PUBLISH, self._catalog_sha256)
        self._folder._append(entry)
        with suppress(OSError):  # it is published, with or without
            (self.path / DRAFT).unlink(missing_ok=True)
        self._unlock()
        return entry

    def discard(self) -> None:
        """Remove what was written, unless it was published; a second time does nothing."""
        if self._lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            self._unlock()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


class PublishedFolder:
    """The snapshots below a folder, for those who read, and for those who write, one at a time."""

    def __init__(self, path: Path) -> None:
        """Look at a folder; it need not exist yet, and it is made by the first publication."""
        self.path = path

    # ------------------------------------------------------------------ the log

    def stamp(self) -> object:
        """A value that is another one whenever the log is; None when there is no log."""
        return stamp(self.path / LOG)

    def entries(self) -> list[Entry]:
        """The entries of the log, oldest first; a last line without its end is none yet.

        Raises:
            DamagedError: a line is no entry.
            OSError: the log cannot be read.
        """
        lines = read_lines(self.path / LOG)
        return [self._parse(line, number) for number, line in enumerate(lines, start=1)]

    def _parse(self, line: bytes, number: int) -> Entry:
        try:
            fields = json.loads(line)
            entry = Entry(
                version=fields["version"],
                at=datetime.fromisoformat(fields["at"]),
                action=fields["action"],
                catalog_sha256=fields.get("catalog_sha256", ""),
            )
            if not is_version(entry.version) or entry.action not in (*(PUBLISH, ROLLBACK, PRUNE),):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(
                f"{self.path / LOG}: line {number} is not an entry. Remove the line, or bring "
                "the file back from a copy"
            ) from error
        return entry

    def newest(self) -> Entry | None:
        """The entry that names what readers see; None before the first publication.

        Raises:
            DamagedError: a line of the log is no entry.
        """
        entries = self.entries()
        seen = standing(entries).servable[:1]
        return next(
            (
                entry
                for entry in reversed(entries)
                if entry.version in seen and entry.action != PRUNE
            ),
            None,
        )

    def standing(self) -> Standing:
        """What the log says of the snapshots.

        Raises:
            DamagedError: a line of the log is no entry.
        """
        return standing(self.entries())

    def versions(self) -> list[str]:
        """The complete snapshots: in the log and still on disk, in the order of publication.

        Those that were withdrawn are among them.

        Raises:
            DamagedError: a line of the log is no entry.
        """
        entries = self.entries()
        pruned = standing(entries).pruned
        logged = dict.fromkeys(each.version for each in entries if each.version not in pruned)
        return [version for version in logged if (self.folder(version) / CATALOG).is_file()]

    # ------------------------------------------------------------------ a snapshot

    def folder(self, version: str) -> Path:
        """Where a snapshot's files are, or would be.

        Raises:
            GoneError: the text is no version.
        """
        if not is_version(version):
            raise GoneError(f"{version!r} is no version, such as 20261121T013501Z-1a2b3c4d")
        return self.path / version

    def contains_sample(self, version: str) -> bool:
        """Whether a snapshot says that it has the sample in it; one that is damaged does not."""
        try:
            return bool(self.catalog(version).get("sample_data"))
        except (PublishedError, OSError):
            return False

    def catalog(self, version: str) -> dict[str, Any]:
        """What a snapshot holds, from its catalog.json.

        Raises:
            GoneError: there is no such snapshot.
            DamagedError: the catalog, or the log, is not what was written.
        """
        folder = self.folder(version)
        entry = self._entry_of(version)
        try:
            content = (folder / CATALOG).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._gone(version) from error
        damaged = DamagedError(f"{folder / CATALOG} is not what was published")
        written = entry.catalog_sha256
        if written and hashlib.sha256(content).hexdigest() != written:
            raise damaged
        try:
            catalog = json.loads(content)
        except ValueError as error:
            raise damaged from error
        if not isinstance(catalog, dict) or catalog.get("version") != version:
            raise damaged
        if catalog.get("format") != FORMAT:
            raise DamagedError(
                f"{folder / CATALOG} has format {catalog.get('format')}, this program reads "
                f"format {FORMAT}"
            )
        return catalog

    def verify(self, version: str) -> dict[str, Any]:
        """The catalog of a snapshot, after comparing each file with what was written.

        Raises:
            GoneError: there is no such snapshot.
            DamagedError: a file is missing, or another one; the message names it.
        """
        with ExitStack() as held:
            return self.hold(version, held)[0]

    def hold(self, version: str, held: ExitStack) -> tuple[dict[str, Any], dict[str, HeldFile]]:
        """The catalog of a snapshot, and its files, open and compared with what was written.

        Args:
            version: the snapshot.
            held: closes the files.

        Returns:
            The catalog, and the files by the names that the catalog has for them.

        Raises:
            GoneError: there is no such snapshot.
            DamagedError: a file is missing, or another one; the message names it.
        """
        catalog, files = self.catalog(version), {}
        for mart in catalog["marts"]:
            file = HeldFile(self.folder(version) / mart["file"], mart["bytes"], mart["sha256"])
            held.callback(file.close)
            files[mart["file"]] = file
        return catalog, files

    def lease(self, version: str) -> Lease:
        """Hold a snapshot, so that no process prunes it while it is read.

        Raises:
            GoneError: there is no such snapshot.
            DamagedError: a line of the log is no entry.
        """
        self._entry_of(version)
        path = self.folder(version) / CATALOG
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._gone(version) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            # Between the opening and the lock, the folder may have been removed.
            if path.stat().st_ino != os.fstat(descriptor).st_ino:
                raise self._gone(version)
        except FileNotFoundError as error:
            os.close(descriptor)
            raise self._gone(version) from error
        except BaseException:
            os.close(descriptor)
            raise
        return Lease(descriptor)

    def _entry_of(self, version: str) -> Entry:
        """The entry that published a snapshot.

        Raises:
            GoneError: there is none, it was pruned, or the text is no version.
        """
        self.folder(version)
        entries = self.entries()
        for entry in entries:
            if entry.version == version and version not in standing(entries).pruned:
                return entry
        raise self._gone(version)

    def _gone(self, version: str) -> GoneError:
        return GoneError(f"there is no snapshot {version} in {self.path}")

    # ------------------------------------------------------------------ writing

    def begin(self, invocation_id: str, wait: float = SECONDS_TO_WAIT) -> Draft:
        """Begin a snapshot: lock the folder, clean up behind dead builds, make its folder.

        Args:
            invocation_id: dbt's id of the run.
            wait: seconds to wait for another writer.

        Raises:
            BusyError: another process writes, and did not end in time.
            DamagedError: a line of the log is no entry.
            OSError: the folder cannot be written.
        """
        lock = self._lock(wait)
        try:
            self._clean()
            at = datetime.now(UTC)
            draft = Draft(self, make_version(at, invocation_id), at, lock)
            draft.path.mkdir()
            set_mode(draft.path, FOLDER_MODE)
            (draft.path / DRAFT).touch()
        except BaseException:
            os.close(lock)
            raise
        return draft

    def rollback(self, version: str, wait: float = SECONDS_TO_WAIT) -> Entry:
        """Let readers see an older snapshot again, once all of it proved whole.

        What was published after it is withdrawn, until a rollback names it or it is pruned.

        Args:
            version: a snapshot that was published.
            wait: seconds to wait for another writer.

        Returns:
            The entry that readers follow now; no new one when they see that version already.

        Raises:
            GoneError: there is no such snapshot.
            DamagedError: it, or the log, is not what was written.
            BusyError: another process writes, and did not end in time.
            OSError: the log cannot be written.
        """
        self.catalog(version)
        with self._locked(wait):
            self.verify(version)
            newest = self.newest()
            if newest is not None and newest.version == version:
                return newest
            written = self._entry_of(version).catalog_sha256
            entry = Entry(version, datetime.now(UTC), ROLLBACK, written)
            self._append(entry)
            return entry

    def prune(self, keep: int, wait: float = SECONDS_TO_WAIT) -> Pruned:
        """Remove the oldest snapshots, never what readers see nor one that a reader holds.

        Args:
            keep: how many of the newest snapshots stay, at least 1.
            wait: seconds to wait for another writer.

        Raises:
            PublishedError: keep is less than 1.
            DamagedError: a line of the log is no entry.
            BusyError: another process writes, and did not end in time.
            OSError: a folder cannot be removed.
        """
        if keep < 1:
            raise PublishedError(f"at least 1 snapshot must stay, not {keep}")
        removed, in_use, size = [], [], 0
        if not self.path.is_dir():
            return Pruned((), (), 0)
        with self._locked(wait):
            self._clean()
            newest = self.newest()
            for version in self.versions()[:-keep]:
                if newest is not None and version == newest.version:
                    continue
                freed = self._remove(version)
                if freed is None:
                    in_use.append(version)
                else:
                    removed.append(version)
                    size += freed
        return Pruned(tuple(removed), tuple(in_use), size)

    def _remove(self, version: str) -> int | None:
        """Remove a snapshot; its bytes, or None when a reader holds it."""
        folder = self.folder(version)
        descriptor = os.open(folder / CATALOG, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        else:
            # The log first: whoever dies from here on leaves what the next writer removes.
            self._append(Entry(version, datetime.now(UTC), PRUNE))
            # Gone at once, by a rename, so that nobody finds half of it.
            gone = folder.rename(folder.with_name(version + REMOVING))
        finally:
            os.close(descriptor)
        size = sum(file.stat().st_size for file in gone.rglob("*") if file.is_file())
        shutil.rmtree(gone)
        return size

    def _clean(self) -> None:
        """Remove what killed writers left behind; only with the lock, when no other one lives.

        Raises:
            DamagedError: the log does not know a snapshot that was published: it lost lines.
        """
        entries = self.entries()
        logged = {entry.version for entry in entries}
        standing_by = logged - standing(entries).pruned
        left_over, unknown = [], []
        for path in sorted(self.path.iterdir()):
            version = path.name.removesuffix(REMOVING)
            if not is_version(version) or path.name in standing_by:
                continue
            left_over.append(path)
            is_whole = (path / CATALOG).is_file() and not (path / DRAFT).exists()
            if is_whole and path.name == version and version not in logged:
                unknown.append(version)
        if unknown:
            others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise DamagedError(
                f"{self.path / LOG} has no entry of {unknown[-1]}{others}, which were published: "
                "it is gone, or lines of it are. Bring it back from a copy, or move the folder away"
            )
        for path in left_over:
            shutil.rmtree(path)

    def _append(self, entry: Entry) -> None:
        """Add a line to the log and bring it to the disk; all of it or nothing."""
        line = {"version": entry.version, "at": format_time(entry.at), "action": entry.action}
        if entry.catalog_sha256:
            line["catalog_sha256"] = entry.catalog_sha256
        append(self.path / LOG, line)

    def _lock(self, wait: float) -> int:
        """Become the one writer; the lock is an open file, and ends with it or the process."""
        make_folder(self.path)
        lock = open_log(self.path / LOCK, os.O_RDWR)
        until = time.monotonic() + wait
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    if time.monotonic() >= until:
                        raise BusyError(
                            f"another process has been writing to {self.path} for {wait:.0f} s. "
                            "Wait for it, then try again"
                        ) from error
                    time.sleep(_SECONDS_BETWEEN_TRIES)
                else:
                    return lock
        except BaseException:
            os.close(lock)
            raise

    @contextmanager
    def _locked(self, wait: float) -> Iterator[None]:
        lock = self._lock(wait)
        try:
            yield
        finally:
            os.close(lock)


def what_readers_see(path: Path) -> str:
    """The end of a sentence that begins with "not published": what is in the folder instead."""
    folder = PublishedFolder(path)
    try:
        newest = folder.newest()
    except (PublishedError, OSError) as error:
        return f"what readers see is not known: {error}"
    if newest is None:
        return "nothing has been published yet"
    sample = ", which contains the sample" if folder.contains_sample(newest.version) else ""
    return f"readers keep {newest.version}{sample}"


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, in hex.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_whole(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
