"""Load what is new in a feed's folder, file by file: what is done in which order, on any engine.

The rows stand in `landing.<feed>`, the log of files in `landing.<feed>_files`. A row belongs to a
file of the log or to none; rows of none are not seen by anybody. So the entry in the log is what
makes a file loaded, and a process that dies in between loses nothing.

`warehouse.landing.in_duckdb` has the tables in DuckDB, `warehouse.spark.feeds` those on Spark.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.landing import lines
from warehouse.landing.files import (
    Contract,
    Found,
    RefusedError,
    Scan,
    column_notes,
    find_files,
    in_short,
    open_file,
    scan,
)
from warehouse.landing.lines import Broken, Row, Tally
from warehouse.landing.plan import LOADED, REFUSED, Known, Plan, Present, decide
from warehouse.settings import ROOT

if TYPE_CHECKING:
    import pyarrow

CHUNK_ROWS = 50_000  # rows that are read with care before they go into the database
GROUP_BYTES = 4 << 30  # of files that are loaded in one statement, or count together
SHOWN = 20  # files that are named one by one in warnings
SECONDS_BETWEEN_WORDS = 3.0  # of a load that takes long
SECONDS_AT_A_PIPE = 0.1  # that a reader waits for its writer, at least

# Takes rows and broken lines of the file of a number.
Store = Callable[[int, Sequence[Row], Sequence[Broken]], None]

# Of the rows of a file: how many are rejected, the first day and the last of the others.
Judged = tuple[int, object, object]

UNREADABLE = "cannot be read"  # such a file is tried again
_CHANGED = (
    "it changed while it was read (write under a name that ends in .part, and rename the file when "
    "it is complete)"
)


class LoadError(Exception):
    """The feed cannot be loaded; the message says why, and what to do."""


class _UnreadError(Exception):
    """A file could not be read to its end.

    Args:
        cause: why.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True)
class Request:
    """What is to be loaded, and how.

    Attributes:
        contract: of the feed.
        has_key: the contract has a key, so the cells of a row must stay to be had.
        sql: a query that casts and judges rows; reads `source`, gives the contract's columns,
            `_reasons`, `_record` and `_line_number`.
        source: the relation in `sql` that stands for the rows to read: the feed's seed.
        seed_file: path of the seed's file from the project's root.
        is_reference: the seed is read also without the sample.
        table: the table of rows, as SQL.
        log: the log of files, as SQL.
        database: name of the database; None where the engine has none.
        types: SQL type of each column.
        day: SQL of a row's business day.
        is_full_refresh: forget what was loaded before.
        run: id of the run.
        started_at: when the run began, UTC, as text.
    """

    contract: Contract
    has_key: bool
    sql: str
    source: str
    seed_file: str
    is_reference: bool
    table: str
    log: str
    database: str | None
    types: Mapping[str, str]
    day: str
    is_full_refresh: bool
    run: str
    started_at: str

    @property
    def feed(self) -> str:
        """The feed's name."""
        return self.contract.feed

    def fingerprint(self, *functions: str) -> str:
        """Changes when the same file would give other rows.

        Args:
            functions: SQL of functions that the query calls.
        """
        return hashlib.sha256(
            repr((self.sql, *functions, self.has_key, self.types, self.contract)).encode()
        ).hexdigest()[:16]


@dataclass
class Words:
    """What a load has to tell people.

    Attributes:
        warn: says a warning.
        tell: says how far a long load is.
    """

    warn: Callable[[str], None]
    tell: Callable[[str], None]


@dataclass
class File:
    """A file at hand: its name in the log, as found, as scanned, or why it cannot be loaded.

    Its fault is what the engine's own reader said of it.

    A file that is put off may be a good one in the next build: it changed while it was read, or the
    system does not let it be read. What was loaded of it before stays until then.
    """

    name: str
    found: Found
    scan: Scan | None = None
    fault: str | None = None
    failure: str | None = None
    put_off: str | None = None


@dataclass(frozen=True)
class Entry(Known):
    """A line of the log to write."""

    rows_read: int
    first_line: int | None
    change: str
    notes: str | None


class FeedLoad(ABC):
    """One feed, to be brought up to what its folder and its seed hold.

    Args:
        request: the feed.
        folder: the feed's folder in the landing zone.
        words: for what people should know.
    """

    # What the engine raises when a file is not what it seemed, but for what is no file's matter.
    _FAULTS: tuple[type[Exception], ...] = ()
    _NOT_OF_A_FILE: tuple[type[Exception], ...] = ()

    def __init__(self, request: Request, folder: Path, words: Words) -> None:
        """Look at nothing yet."""
        self._request = request
        self._folder = folder
        self._words = words
        self._files: dict[str, File] = {}
        self._known: dict[str, Known] = {}
        self._next_id = 0

    def run(self, *, has_sample: bool) -> None:
        """Load what is new.

        Args:
            has_sample: whether the sample seed counts; a reference seed always does.

        Raises:
            LoadError: it cannot be done.
            OSError: a file fails.
        """
        request = self._request
        found = find_files(self._folder)
        found_at = time.monotonic()
        self._make_tables({self._name(file) for file in found})
        self._known = {entry.file: entry for entry in self._read_log()}
        present = self._look(found, found_at)
        seed = self._seed_hash() if has_sample or request.is_reference else None
        # A landed copy of the sample file would count its rows twice.
        copies: dict[str, str] = {}
        if seed is not None:
            present.append(Present(request.seed_file, None, seed))
            with suppress(OSError):
                content = (ROOT / request.seed_file).read_bytes()
                copies[hashlib.sha256(content).hexdigest()] = request.seed_file
        # A seed that is left out is no archived file: its rows go.
        known = list(self._known.values())
        gone = [entry for entry in known if entry.file == request.seed_file and seed is None]
        plan = decide([entry for entry in known if entry not in gone], present, copies)
        self._carry_out(replace(plan, remove=[*plan.remove, *gone]), present, seed)
        self._say(present, mixes=seed is not None and not request.is_reference)

    # ------------------------------------------------------------ what there is

    def _refuse_if_gone(self, present: set[str]) -> None:
        """Refuse to forget rows that could not be read again.

        Args:
            present: names of the files that there are.

        Raises:
            LoadError: a file that would have to be read again is gone.
        """
        request = self._request
        gone = [
            entry.file
            for entry in self._read_log()
            if entry.state == LOADED and entry.file not in present | {request.seed_file}
        ]
        if gone:
            raise LoadError(
                f"the contract or the macros of feed {request.feed} changed, so its files must be "
                f"read again, and {_listed(gone)} {'is' if len(gone) == 1 else 'are'} gone. Put "
                "them back, or go on without their rows: dbt build --full-refresh"
            )

    def _name(self, found: Found) -> str:
        return f"landing/{self._request.feed}/{found.name}"

    def _look(self, found: Sequence[Found], found_at: float) -> list[Present]:
        """The files as they are, each scanned unless the log knows it as it is.

        None is opened before its file system's clock has gone on since it was found, by
        `time.monotonic()`: whatever is written into it from then on shows in its identity.
        """
        files = [File(self._name(file), file) for file in found]
        self._files = {file.name: file for file in files}
        new = [file for file in files if not self._is_unchanged(file)]
        if new:
            opens_at = found_at + max(file.found.tick for file in new)
            time.sleep(max(0, opens_at - time.monotonic()))
            with ThreadPoolExecutor(2) as pool, _freeing_readers_of_pipes(new):
                list(pool.map(self._scan, new))
        present = []
        for file in files:
            known = self._known.get(file.name)
            if known is not None and (self._is_unchanged(file) or self._stays(file)):
                content_hash = known.content_hash
                failure = known.reason if known.state == REFUSED else None
            else:
                content_hash = file.scan.content_hash if file.scan else None
                failure = file.failure or _put_off(file)
            present.append(Present(file.name, file.found.modified_ns, content_hash, failure))
        return present

    def _stays(self, file: File) -> bool:
        """Whether a file is put off whose rows are there from before."""
        known = self._known.get(file.name)
        return file.put_off is not None and known is not None and known.state == LOADED

    def _is_unchanged(self, file: File) -> bool:
        known = self._known.get(file.name)
        return (
            known is not None
            and (known.size, known.modified_ns, known.identity)
            == (file.found.size, file.found.modified_ns, file.found.identity)
            and not (known.reason or "").startswith(UNREADABLE)
        )

    def _scan(self, file: File) -> None:
        try:
            file.scan = scan(file.found, self._request.contract)
        except Exception as error:  # whatever is wrong with a file is its own matter
            self._blame(file, error)

    def _blame(self, file: File, error: Exception) -> None:
        """Note why a file cannot be loaded, or not now."""
        if file.found.fault is None and not file.found.is_as_found():
            file.put_off = _CHANGED
        elif isinstance(error, RefusedError):
            file.failure = str(error)
        elif isinstance(error, OSError) and error.strerror:
            file.put_off = error.strerror
        else:
            file.put_off = f"{type(error).__name__}: {in_short(error, file.found)}"

    def _touched(self) -> Iterator[File]:
        """Files that are not those that the log knows, but of the same content."""
        for name, file in self._files.items():
            known = self._known.get(name)
            if (
                known is not None
                and not self._is_unchanged(file)
                and file.scan is not None
                and file.scan.content_hash == known.content_hash
            ):
                yield file

    # ------------------------------------------------------------ what is done

    def _carry_out(self, plan: Plan, present: Sequence[Present], seed: str | None) -> None:
        request = self._request
        replaced = {entry.file for entry in plan.remove}
        names = [name for name in plan.load if name != request.seed_file]
        for name in names:
            file = self._files[name]
            if file.scan is None:  # it was a duplicate until now
                self._scan(file)
        names = [name for name in names if self._files[name].scan is not None]
        self._next_id = self._make_room() if plan.load or plan.refuse else 0
        total = sum(self._files[name].found.size for name in names)
        with self._words_while_it_takes_long(total):
            if request.seed_file in plan.load and seed is not None:
                self._load_seed(seed, replaced)
            careful: list[File] = []
            for group in self._groups(names):
                careful += self._load_group(group, replaced)
            careful += [self._files[name] for name in names if not self._is_regular(name)]
            for some in _some_at_a_time(careful):
                self._load_with_care(some, replaced)
        with self._transaction():
            self._forget([entry for entry in plan.remove if entry.file not in plan.load])
            self._rename(plan.rename)
            hashes = {file.file: file.content_hash for file in present}
            refuse = dict(plan.refuse)
            for file in self._files.values():
                reason = file.failure or _put_off(file)
                if reason is not None and not self._stays(file):
                    refuse[file.name] = (REFUSED, reason)
            self._note_refusals(refuse, hashes)
            self._note_presence(present)
        if plan.remove:
            self._make_room()

    def _is_regular(self, name: str) -> bool:
        scanned = self._files[name].scan
        return scanned is not None and scanned.is_regular

    def _groups(self, names: Sequence[str]) -> Iterator[Sequence[File]]:
        """Regular files of one layout together."""
        groups: dict[object, list[File]] = {}
        for name in names:
            file = self._files[name]
            if file.scan is not None and file.scan.is_regular:
                layout = file.scan.layout
                key = (layout, name) if layout.is_read_alone else layout
                groups.setdefault(key, []).append(file)
        for group in groups.values():
            yield from _some_at_a_time(group)

    def _load_group(self, group: Sequence[File], replaced: set[str]) -> list[File]:
        """Load files of one layout; those that are not what they seemed are left.

        Returns:
            What is left, to be loaded with care.
        """
        group = [file for file in group if not self._changed(file)]
        if not group:
            return []
        try:
            with _freeing_readers_of_pipes(group):
                return self._load_fast(group, replaced)
        except self._FAULTS as error:
            if isinstance(error, self._NOT_OF_A_FILE):
                raise
            if len(group) == 1:
                group[0].fault = in_short(error, group[0].found)
                return [file for file in group if not self._changed(file)]
        half = len(group) // 2  # find out which one it is
        return [
            *self._load_group(group[:half], replaced),
            *self._load_group(group[half:], replaced),
        ]

    def _load_with_care(self, files: Sequence[File], replaced: set[str]) -> None:
        """Load files line by line; what is no row goes to the rejected ones with its bytes."""
        entries: list[Entry] = []
        with self._store_with_care() as store:
            for file in files:
                try:
                    entries.append(self._read_with_care(file, store, replaced))
                except RefusedError as error:
                    self._blame(file, error)
                except _UnreadError as error:
                    self._blame(file, error.cause)
        self._commit(entries)

    def _read_with_care(self, file: File, store: Store, replaced: set[str]) -> Entry:
        assert file.scan is not None  # noqa: S101 - what is to be loaded was scanned
        if file.scan.layout.kind == "parquet":
            said = f". {file.fault}" if file.fault else ""
            raise RefusedError(f"cannot be read as Parquet; copy it again{said}")
        file_id = self._take_ids(1)
        read = 0
        tally = Tally()
        for chunk in lines.in_chunks(self._items(file, tally), CHUNK_ROWS):
            read += len(chunk)
            store(
                file_id,
                [item for item in chunk if isinstance(item, Row)],
                [item for item in chunk if isinstance(item, Broken)],
            )
        if file.scan.layout.kind == "json":
            _compare_counts(file.scan, tally, read)
        if tally.unread:
            notes = (
                *file.scan.notes,
                *column_notes(sorted(tally.unread), [], self._request.contract),
            )
            file.scan = replace(file.scan, notes=notes)
        return self._entry(file_id, file, replaced, rows=read, fast=False)

    def _items(self, file: File, tally: Tally) -> Iterator[Row | Broken]:
        """The rows and broken lines of a file.

        Raises:
            _UnreadError: it cannot be read to its end.
        """
        assert file.scan is not None  # noqa: S101 - as in _read_with_care
        layout, contract = file.scan.layout, self._request.contract
        try:
            with open_file(file.found.path, layout.is_compressed) as opened:
                if layout.kind == "json":
                    yield from lines.read_json(opened, contract, tally)
                else:
                    ends_with_cr = file.scan.ends_with_cr
                    yield from lines.read_csv(opened, layout, contract, ends_with_cr=ends_with_cr)
        except Exception as error:
            raise _UnreadError(error) from error

    def _load_seed(self, content_hash: str, replaced: set[str]) -> None:
        file_id = self._take_ids(1)
        rows = self._insert_seed(file_id)
        seed_file = self._request.seed_file
        change = "replaced" if seed_file in replaced else "new"
        self._commit(
            [
                Entry(
                    file_id, seed_file, LOADED, None, None, None, content_hash, rows, None, change,
                    None,
                )
            ]
        )  # fmt: skip

    def _take_ids(self, count: int) -> int:
        """The first of so many numbers for files."""
        first = self._next_id
        self._next_id += count
        return first

    def _entry(
        self, file_id: int, file: File, replaced: set[str], *, rows: int, fast: bool
    ) -> Entry:
        assert file.scan is not None  # noqa: S101 - as in _groups
        layout = file.scan.layout
        return Entry(
            file_id,
            file.name,
            LOADED,
            None,
            file.found.size,
            file.found.modified_ns,
            file.scan.content_hash,
            rows,
            (1 + int(layout.has_header)) if fast else None,
            "replaced" if file.name in replaced else "new",
            "; ".join(file.scan.notes) or None,
            identity=file.found.identity,
        )

    def _commit(self, entries: Sequence[Entry], judged: Mapping[int, Judged] | None = None) -> None:
        """Make loaded files count, and their older rows go, in one step.

        Args:
            entries: the files.
            judged: what `_judged` says of them, where that is known.
        """
        entries = [
            entry
            for entry in entries
            if entry.file not in self._files or not self._changed(self._files[entry.file])
        ]
        if not entries:
            return
        if judged is None:
            judged = self._judged(entries[0].file_id, entries[-1].file_id)
        old = [self._known[entry.file] for entry in entries if entry.file in self._known]
        with self._transaction():
            self._forget(old)
            self._write([(entry, *judged.get(entry.file_id, (0, None, None))) for entry in entries])

    def _changed(self, file: File) -> bool:
        """Whether a file is another one than was found; it is put off then."""
        if file.found.is_as_found():
            return False
        file.put_off = _CHANGED
        return True

    def _note_refusals(
        self, refuse: Mapping[str, tuple[str, str]], hashes: Mapping[str, str | None]
    ) -> None:
        """Note the files that are not loaded, each with its state and the reason."""
        old, entries = [], []
        for name, (state, reason) in refuse.items():
            known, file = self._known.get(name), self._files[name]
            if known is not None:
                if (known.state, known.reason) == (state, reason) and self._is_unchanged(file):
                    continue
                old.append(known)
            entry = Entry(
                self._next_id, name, state, reason, file.found.size, file.found.modified_ns,
                hashes[name], 0, None, "new" if known is None else "replaced", None,
                identity=file.found.identity,
            )  # fmt: skip
            self._next_id += 1
            entries.append((entry, 0, None, None))
        self._forget(old)
        if entries:
            self._write(entries)

    # ------------------------------------------------------------ what is said

    def _say(self, present: Sequence[Present], *, mixes: bool) -> None:
        feed = self._request.feed
        refusals = self._refusals()
        for file, reason in refusals[:SHOWN]:
            self._words.warn(f"{file} is refused: it {reason}")
        if len(refusals) > SHOWN:
            self._words.warn(f"{len(refusals) - SHOWN} more files of {feed} are refused")
        for kept in filter(self._stays, self._files.values()):
            self._words.warn(
                f"{kept.name} {_put_off(kept)}; its rows of before stay, and the next build "
                "tries again"
            )
        noted = self._notes()
        for file, notes in noted[:SHOWN]:
            self._words.warn(f"{file}: {notes}")
        own = sum(file.file != self._request.seed_file for file in present)
        loaded = own - len([file for file, _ in refusals if file != self._request.seed_file])
        if mixes and loaded > 0:
            self._words.warn(
                f"feed {feed} mixes the sample ({self._request.seed_file}) with "
                f"{_counted(loaded, 'file')} of landing/{feed}; WAREHOUSE_SAMPLE_DATA=0 leaves the "
                "sample out"
            )

    def _words_while_it_takes_long(self, size: int) -> AbstractContextManager[None]:
        """Say now and then how far the load is."""
        started = time.monotonic()

        def tell() -> float:
            done = self._progress()
            share = f", {done:.0f} % of this step" if 0 < done <= 100 else ""
            self._words.tell(
                f"Loading {self._request.feed}: {size / 1e6:,.0f} MB{share}, "
                f"{time.monotonic() - started:.0f} s"
            )
            return SECONDS_BETWEEN_WORDS

        return _meanwhile(tell, SECONDS_BETWEEN_WORDS)

    # ------------------------------------------------------------ what the engine does

    @abstractmethod
    def _make_tables(self, present: set[str]) -> None:
        """Make the tables; anew where rows were judged by another contract than today's."""

    @abstractmethod
    def _read_log(self) -> list[Known]:
        """The log of files, oldest first."""

    @abstractmethod
    def _seed_hash(self) -> str | None:
        """A hash of the seed's rows as they are in the database; None for an empty one."""

    @abstractmethod
    def _make_room(self) -> int:
        """Tidy the table up where that is due, and say which number the next file gets."""

    @abstractmethod
    def _load_fast(self, group: Sequence[File], replaced: set[str]) -> list[File]:
        """Load files of one layout by the engine's own reader.

        Returns:
            Those that have broken lines, or not the rows that were counted; they do not count.
        """

    @abstractmethod
    def _insert_seed(self, file_id: int) -> int:
        """Cast, judge and store the rows of the seed; how many there are."""

    @abstractmethod
    def _store_with_care(self) -> AbstractContextManager[Store]:
        """What takes the rows and broken lines of files, chunk by chunk."""

    @abstractmethod
    def _judged(self, first_id: int, last_id: int) -> Mapping[int, Judged]:
        """What was found in the rows of files that were just stored."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[None]:
        """What is done to the log within counts at the end, or not at all."""

    @abstractmethod
    def _write(self, entries: Sequence[tuple[Entry, int, object, object]]) -> None:
        """Write entries of the log, each with its rejected rows, its first day and its last."""

    @abstractmethod
    def _forget(self, entries: Sequence[Known]) -> None:
        """Remove files from the log; their rows are of no file from then on."""

    @abstractmethod
    def _rename(self, renamed: Mapping[str, Known]) -> None:
        """Let the rows of a file that vanished go on under the name that it has now."""

    @abstractmethod
    def _note_presence(self, present: Sequence[Present]) -> None:
        """Note which loaded files are still there, and a new time of one that did not change."""

    @abstractmethod
    def _refusals(self) -> Sequence[tuple[str, str]]:
        """The files that are there and not loaded, by name, each with the reason."""

    @abstractmethod
    def _notes(self) -> Sequence[tuple[str, str]]:
        """What the owners of files that this run loaded should know, by name of the file."""

    def _progress(self) -> float:
        """How much of a statement is done, in percent; -1 where the engine does not say."""
        return -1


@contextmanager
def _meanwhile(act: Callable[[], float], seconds: float) -> Iterator[None]:
    """Act in a thread, first after these seconds, then after those that each act gives."""
    ended = threading.Event()

    def follow() -> None:
        pause = seconds
        while not ended.wait(pause):
            pause = act()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _freeing_readers_of_pipes(files: Sequence[File]) -> AbstractContextManager[None]:
    """Meanwhile, let nobody wait at a pipe that was put in the place of a file.

    An engine opens files by name, and waits for whoever writes into a pipe; one that is opened for
    writing and closed is an empty file to it.
    """

    def free() -> float:
        started = time.monotonic()
        for file in files:
            with suppress(OSError):  # it is gone, or nobody waits
                if stat.S_ISFIFO(file.found.path.stat().st_mode):
                    os.close(os.open(file.found.path, os.O_WRONLY | os.O_NONBLOCK))
        return max(SECONDS_AT_A_PIPE, 20 * (time.monotonic() - started))

    return _meanwhile(free, SECONDS_AT_A_PIPE)


def _put_off(file: File) -> str | None:
    """Why a file cannot be read now, in the words that make the next build try again."""
    return None if file.put_off is None else f"{UNREADABLE}: {file.put_off}"


def rejected(broken: Broken) -> str:
    """What is kept of a broken line, as is kept of a row: the reasons and the record."""
    kept = {"reasons": [broken.reason], "record": lines.to_record(broken.text)}
    return json.dumps(kept, ensure_ascii=False)


def table_of_rows(rows: Sequence[Row], contract: Contract) -> pyarrow.Table:
    """Rows that were read with care, as a table of text with their lines in `_line_number`."""
    import pyarrow

    cells = list(zip(*(row.cells for row in rows), strict=True))
    return pyarrow.table(
        {
            **{
                name: pyarrow.array(values, pyarrow.string())
                for name, values in zip(contract.names, cells, strict=True)
            },
            "_line_number": pyarrow.array([row.number for row in rows], pyarrow.int64()),
        }
    )


def _compare_counts(scanned: Scan, tally: Tally, read: int) -> None:
    """Hold what the reader of JSON gave against what was counted without it.

    Raises:
        RefusedError: something is missing, or came twice.
    """
    counted = scanned.rows if scanned.rows is not None and not tally.broken else read
    if (counted, scanned.braces) != (read, tally.braces):
        raise RefusedError(
            f"holds {counted} objects and {scanned.braces} braces, of which {read} and "
            f"{tally.braces} were read. Please report this file; it would lose rows"
        )


def _some_at_a_time(files: Sequence[File]) -> Iterator[Sequence[File]]:
    """The files in groups that are loaded in one statement, and count together."""
    group: list[File] = []
    size = 0
    for file in files:
        if group and size + file.found.size > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(file)
        size += file.found.size
    if group:
        yield group


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
