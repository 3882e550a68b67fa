"""Load what is new in a feed's folder into the database, file by file.

The rows stand in `landing.<feed>`, the log of files in `landing.<feed>_files`. A row belongs to a
file of the log or to none; rows of none are not seen by anybody. So the entry in the log is what
makes a file loaded, and a process that dies in between loses nothing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from warehouse.landing import lines
from warehouse.landing.files import (
    Contract,
    Found,
    Layout,
    RefusedError,
    Scan,
    column_notes,
    find_files,
    glob_free,
    open_file,
    scan,
)
from warehouse.landing.lines import Broken, Row
from warehouse.landing.plan import LOADED, REFUSED, Known, Plan, Present, decide
from warehouse.settings import ROOT

CHUNK_ROWS = 50_000  # rows that are read with care before they go into the database
GROUP_BYTES = 4 << 30  # of files that are loaded in one statement
DEAD_ROWS = 10_000  # fewer rows that belong to no file stay, though they be a tenth of the table
SHOWN = 20  # files that are named one by one in warnings
SECONDS_BETWEEN_WORDS = 3.0  # of a load that takes long

# A cell without blanks, tabs, line ends and no-break spaces at its ends, without one pair of quotes
# around the rest, double or single, and again without blanks; null when nothing is left.
_BLANKS = "' ' || chr(9) || chr(10) || chr(13) || chr(160)"
_CLEAN_CELL = f"""
    create or replace function "landing".clean_cell(cell) as nullif(
        trim(
            regexp_replace(trim(cell, {_BLANKS}), '^(?:"(.*)"|''(.*)'')$', '\\1\\2', 's'), {_BLANKS}
        ), ''
    )
"""

UNREADABLE = "cannot be read"  # such a file is tried again

# The columns of the log of files.
_LOG = {
    "file_id": "integer",
    "file": "varchar",
    "state": "varchar",
    "reason": "varchar",
    "size_bytes": "bigint",
    "modified_ns": "bigint",
    "content_hash": "varchar",
    "rows_read": "bigint",
    "rows_rejected": "bigint",
    "first_date": "date",
    "last_date": "date",
    "first_line": "integer",
    "change": "varchar",
    "notes": "varchar",
    "loaded_at": "timestamp",
    "run_id": "varchar",
    "is_present": "boolean",
    "fingerprint": "varchar",
}


class LoadError(Exception):
    """The feed cannot be loaded; the message says why, and what to do."""


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
        database: name of the database in SQL.
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
    database: str
    types: Mapping[str, str]
    day: str
    is_full_refresh: bool
    run: str
    started_at: str

    @property
    def feed(self) -> str:
        """The feed's name."""
        return self.contract.feed

    @property
    def table(self) -> str:
        """The table of rows, as SQL."""
        return f'"{self.database}"."landing"."{self.feed}"'

    @property
    def log(self) -> str:
        """The log of files, as SQL."""
        return f'"{self.database}"."landing"."{self.feed}_files"'

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes when the same file would give other rows."""
        return hashlib.sha256(
            repr((self.sql, _CLEAN_CELL, self.has_key, self.types, self.contract)).encode()
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
class _File:
    """A file at hand: its name in the log, as found, as scanned, or why it cannot be loaded."""

    name: str
    found: Found
    scan: Scan | None = None
    failure: str | None = None


@dataclass(frozen=True)
class _Entry(Known):
    """A line of the log to write."""

    rows_read: int
    first_line: int | None
    change: str
    notes: str | None


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the schema of the landing zone, and the function that cleans cells in it.

    Args:
        connection: the database of the warehouse is its default one.
    """
    connection.execute('create schema if not exists "landing"')
    connection.execute(_CLEAN_CELL)


def load_feed(
    connection: duckdb.DuckDBPyConnection,
    request: Request,
    folder: Path,
    *,
    has_sample: bool,
    words: Words,
) -> None:
    """Bring the rows and the log of a feed up to what its folder and its seed hold.

    Args:
        connection: of its own; transactions are begun and ended on it.
        request: the feed.
        folder: the feed's folder in the landing zone.
        has_sample: whether the sample seed counts.
        words: for what people should know.

    Raises:
        LoadError: it cannot be done.
        duckdb.Error, OSError: the database or a file fails.
    """
    _Load(connection, request, folder, words).run(has_sample=has_sample or request.is_reference)


class _Load:
    def __init__(
        self, connection: duckdb.DuckDBPyConnection, request: Request, folder: Path, words: Words
    ) -> None:
        self._connection = connection
        self._request = request
        self._folder = folder
        self._words = words
        self._files: dict[str, _File] = {}
        self._known: dict[str, Known] = {}

    def run(self, *, has_sample: bool) -> None:
        request = self._request
        found = find_files(self._folder)
        self._make_tables({self._name(file) for file in found})
        self._known = {entry.file: entry for entry in self._read_log()}
        present = self._look(found)
        seed = self._seed_hash() if has_sample else None
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

    def _make_tables(self, present: set[str]) -> None:
        """Make the tables; anew where rows were judged by another contract than today's.

        Raises:
            LoadError: a file that would have to be read again is gone.
        """
        request = self._request
        if request.is_full_refresh or self._is_of_another_contract(present):
            self._execute(f"drop table if exists {request.log}")
            self._execute(f"drop table if exists {request.table}")
        columns = ", ".join(f'"{name}" {type_}' for name, type_ in request.types.items())
        cells = "_cells varchar, " if request.has_key else ""
        self._execute(
            f"create table if not exists {request.table} ("
            f"{columns}, _rejected varchar, {cells}_line integer, _file_id integer)"
        )
        self._execute(
            f"create table if not exists {request.log} ("
            + ", ".join(f"{name} {type_}" for name, type_ in _LOG.items())
            + ")"
        )

    def _is_of_another_contract(self, present: set[str]) -> bool:
        request = self._request
        if not self._rows(
            "select 1 from duckdb_tables() where database_name = ? and schema_name = 'landing' "
            "and table_name = ?",
            [request.database, f"{request.feed}_files"],
        ):
            return True  # rows without a log are of no file
        if not self._rows(
            f"select 1 from {request.log} where fingerprint <> ? limit 1", [request.fingerprint]
        ):
            return False
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
        return True

    def _read_log(self) -> list[Known]:
        return [
            Known(*row)
            for row in self._rows(
                "select file_id, file, state, reason, size_bytes, modified_ns, content_hash "
                f"from {self._request.log} order by file_id"
            )
        ]

    def _name(self, found: Found) -> str:
        return f"landing/{self._request.feed}/{found.name}"

    def _look(self, found: Sequence[Found]) -> list[Present]:
        """The files as they are, each scanned unless the log knows it as it is."""
        files = [_File(self._name(file), file) for file in found]
        self._files = {file.name: file for file in files}
        new = [file for file in files if not self._is_unchanged(file)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._scan, new))
        present = []
        for file in files:
            known = self._known.get(file.name)
            if known is not None and self._is_unchanged(file):
                content_hash = known.content_hash
                failure = known.reason if known.state == REFUSED else None
            else:
                content_hash = file.scan.content_hash if file.scan else None
                failure = file.failure
            present.append(Present(file.name, file.found.modified_ns, content_hash, failure))
        return present

    def _is_unchanged(self, file: _File) -> bool:
        known = self._known.get(file.name)
        return (
            known is not None
            and (known.size, known.modified_ns) == (file.found.size, file.found.modified_ns)
            and not (known.reason or "").startswith(UNREADABLE)
        )

    def _scan(self, file: _File) -> None:
        try:
            file.scan = scan(file.found, self._request.contract)
        except RefusedError as error:
            file.failure = str(error)
        except OSError as error:
            file.failure = f"{UNREADABLE}: {error.strerror}"

    def _seed_hash(self) -> str | None:
        """A hash of the seed's rows as they are in the database; None for an empty one."""
        ((rows, total),) = self._rows(
            f"select count(*), sum(hash(seed)) from {self._request.source} as seed"
        )
        return f"{rows} rows {total}" if rows else None

    # ------------------------------------------------------------ what is done

    def _carry_out(self, plan: Plan, present: Sequence[Present], seed: str | None) -> None:
        request = self._request
        replaced = {entry.file for entry in plan.remove}
        names = [name for name in plan.load if name != request.seed_file]
        for name in names:
            file = self._files[name]
            if file.scan is None:  # it was a duplicate until now
                self._scan(file)
            if file.failure is not None:
                raise LoadError(f"{file.name} {file.failure}")
        self._next_id = self._make_room() if plan.load or plan.refuse else 0
        refused: dict[str, str] = {}
        total = sum(self._files[name].found.size for name in names)
        self._execute("set enable_progress_bar = true")
        self._execute("set enable_progress_bar_print = false")
        with self._words_while_it_takes_long(total):
            if request.seed_file in plan.load and seed is not None:
                self._load_seed(seed, replaced)
            for group in self._groups(names):
                self._load_group(group, replaced, refused)
        with self._transaction():
            self._forget([entry for entry in plan.remove if entry.file not in plan.load])
            self._rename(plan.rename)
            hashes = {file.file: file.content_hash for file in present}
            refuse = dict(plan.refuse) | {
                name: (REFUSED, reason) for name, reason in refused.items()
            }
            self._note_refusals(refuse, hashes)
            self._note_presence(present)
        if plan.remove:
            self._make_room()

    def _make_room(self) -> int:
        """Tidy the table up where that is due, and say which number the next file gets.

        Rows are not deleted when their file goes, they only belong to no file any more: DuckDB then
        leaves the numbers of the other rows (`rowid`) alone, from which their lines are told. When
        they are a tenth of the table, or if numbers have moved all the same, it is written anew.
        Until then, incremental models learn from them what is gone (macros/build/incremental.sql).
        """
        request = self._request
        live = {entry.file_id for entry in self._read_log() if entry.state == LOADED}
        found = self._rows(
            "select _file_id, count(*), max(rowid) - min(rowid) + 1 = count(*) "
            f"from {request.table} group by _file_id"
        )
        total = sum(rows for _, rows, _ in found)
        dead = sum(rows for file_id, rows, _ in found if file_id not in live)
        has_moved = any(file_id in live and not is_whole for file_id, _, is_whole in found)
        if has_moved or (dead * 10 > total and dead > DEAD_ROWS):
            ids = ", ".join(str(file_id) for file_id in live) or "null"
            self._execute(
                f"create or replace table {request.table} as "
                f"select * from {request.table} where _file_id in ({ids})"
            )
        ((newest,),) = self._rows(f"select coalesce(max(file_id), 0) from {request.log}")
        return 1 + int(max([newest, *(file_id for file_id, _, _ in found)]))

    def _groups(self, names: Sequence[str]) -> Iterator[list[_File]]:
        """Files of one layout together, those that need care one by one."""
        groups: dict[Layout, list[_File]] = {}
        sizes: dict[Layout, int] = {}
        for name in names:
            file = self._files[name]
            assert file.scan is not None  # noqa: S101 - what is to be loaded was scanned
            layout = file.scan.layout
            if not file.scan.is_regular:
                yield [file]
                continue
            if sizes.get(layout, 0) + file.found.size > GROUP_BYTES and layout in groups:
                yield groups.pop(layout)
                sizes[layout] = 0
            groups.setdefault(layout, []).append(file)
            sizes[layout] = sizes.get(layout, 0) + file.found.size
        yield from groups.values()

    def _load_group(
        self, group: Sequence[_File], replaced: set[str], refused: dict[str, str]
    ) -> None:
        """Load files of one layout; those that are not what they seemed, one by one with care."""
        first = group[0].scan
        assert first is not None  # noqa: S101 - as in _groups
        careful: Sequence[_File] = group
        if first.is_regular:
            try:
                careful = self._load_fast(group, replaced)
            except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException):
                if not all(file.found.path.exists() for file in group):
                    raise
                if len(group) > 1:  # find out which one it is
                    half = len(group) // 2
                    self._load_group(group[:half], replaced, refused)
                    self._load_group(group[half:], replaced, refused)
                    return
        for file in careful:
            try:
                if first.layout.kind == "parquet":
                    raise RefusedError("cannot be read as Parquet; copy it again")
                self._load_with_care(file, replaced)
            except RefusedError as error:
                refused[file.name] = str(error)

    def _load_fast(self, group: Sequence[_File], replaced: set[str]) -> list[_File]:
        """Load files by DuckDB's own reader.

        Rows get the number of their file in the list; the line follows from the order of the rows,
        which DuckDB keeps.

        Returns:
            The files that it reports broken lines of, or whose rows are not those that were
            counted. Their rows belong to no file.
        """
        first_id = self._next_id
        self._next_id += len(group)
        scans = [file.scan for file in group if file.scan is not None]
        layout = scans[0].layout
        paths = [glob_free(file.found.path) for file in group]
        is_csv = layout.kind == "csv"
        reader = self._csv_reader(layout) if is_csv else self._parquet_reader(layout)
        rejects = f"_rejects_{self._request.feed}"
        one = len(group) == 1
        source = reader.format(
            files=_text_list(paths), index="0" if one else "file_index", rejects=rejects
        )
        broken: set[str] = set()
        try:
            self._insert(source, "null", f"{first_id}" if one else f"{first_id} + _line_number")
            if is_csv:
                broken = {
                    path
                    for (path,) in self._rows(
                        f"select distinct file_path from {rejects} "
                        f"inner join {rejects}_scan using (scan_id, file_id)"
                    )
                }
        finally:
            if is_csv:
                self._execute(f"drop table if exists temp.{rejects}")
                self._execute(f"drop table if exists temp.{rejects}_scan")
        counted = dict(
            self._rows(
                f"select _file_id, count(*) from {self._request.table} "
                f"where _file_id >= {first_id} group by _file_id "
                "having max(rowid) - min(rowid) + 1 = count(*)"
            )
        )
        entries, careful = [], []
        for file_id, (file, scan_) in enumerate(zip(group, scans, strict=True), start=first_id):
            if counted.get(file_id, 0) == scan_.rows and str(file.found.path) not in broken:
                entries.append(self._entry(file_id, file, replaced, rows=scan_.rows, fast=True))
            else:
                careful.append(file)
        self._commit(entries)
        return careful

    def _csv_reader(self, layout: Layout) -> str:
        columns = ", ".join(f"{_text(name)}: 'varchar'" for name in layout.columns)
        selected = ", ".join(
            f'"{name}"' if name in layout.columns else f'cast(null as varchar) as "{name}"'
            for name in self._request.contract.names
        )
        compression = "gzip" if layout.is_compressed else "none"
        return (
            f"select {selected}, {{index}} as _line_number from read_csv({{files}}, "
            f"columns = {{{{{columns}}}}}, auto_detect = false, "
            f"header = {str(layout.has_header).lower()}, delim = {_text(layout.delimiter)}, "
            f"quote = '\"', escape = '\"', compression = '{compression}', "
            "store_rejects = true, rejects_table = '{rejects}', rejects_scan = '{rejects}_scan')"
        )

    def _parquet_reader(self, layout: Layout) -> str:
        selected = ", ".join(
            f'{expression} as "{name}"'
            for expression, name in zip(
                layout.expressions, self._request.contract.names, strict=True
            )
        )
        selected = selected.replace("{", "{{").replace("}", "}}")
        return f"select {selected}, {{index}} as _line_number from read_parquet({{files}})"

    def _load_with_care(self, file: _File, replaced: set[str]) -> None:
        """Load a file line by line; what is no row goes to the rejected ones with its bytes."""
        import pyarrow

        assert file.scan is not None  # noqa: S101 - as in _groups
        layout, contract = file.scan.layout, self._request.contract
        file_id = self._next_id
        self._next_id += 1
        read = 0
        unread: set[str] = set()
        with open_file(file.found.path, layout.is_compressed) as opened:
            items: Iterable[Row | Broken] = (
                lines.read_json(opened, contract, unread)
                if layout.kind == "json"
                else lines.read_csv(opened, layout, contract, ends_with_cr=file.scan.ends_with_cr)
            )
            for chunk in lines.in_chunks(items, CHUNK_ROWS):
                read += len(chunk)
                rows = [item for item in chunk if isinstance(item, Row)]
                if rows:
                    cells = list(zip(*(row.cells for row in rows), strict=True))
                    table = pyarrow.table(
                        {
                            **{
                                name: pyarrow.array(values, pyarrow.string())
                                for name, values in zip(contract.names, cells, strict=True)
                            },
                            "_line_number": pyarrow.array(
                                [row.number for row in rows], pyarrow.int64()
                            ),
                        }
                    )
                    with self._registered(table) as name:
                        self._insert(f"select * from {name}", "_line_number", str(file_id))
                broken = [item for item in chunk if isinstance(item, Broken)]
                if broken:
                    self._insert_broken(broken, file_id)
        if unread:
            notes = (*file.scan.notes, *column_notes(sorted(unread), []))
            file.scan = replace(file.scan, notes=notes)
        self._commit([self._entry(file_id, file, replaced, rows=read, fast=False)])

    def _load_seed(self, content_hash: str, replaced: set[str]) -> None:
        request = self._request
        file_id = self._next_id
        self._next_id += 1
        self._insert(f"select * from {request.source}", "_line_number", str(file_id))
        ((rows,),) = self._rows(f"select count(*) from {request.source}")
        self._commit(
            [
                _Entry(
                    file_id, request.seed_file, LOADED, None, None, None, content_hash, rows, None,
                    "replaced" if request.seed_file in replaced else "new", None,
                )
            ]
        )  # fmt: skip

    def _insert(self, source: str, line: str, file_id: str) -> None:
        """Cast, judge and store rows."""
        request = self._request
        columns = ", ".join(f'"{name}"' for name in request.types)
        cells = "case when _reasons is null then _record end, " if request.has_key else ""
        query = request.sql.replace(request.source, f"({source})")
        self._execute(
            f"insert into {request.table} select {columns}, "
            "case when _reasons is not null "
            "then cast(json_object('reasons', _reasons, 'record', _record) as varchar) end, "
            f"{cells}cast({line} as integer), cast({file_id} as integer) from (\n{query}\n)"
        )

    def _insert_broken(self, broken: Sequence[Broken], file_id: int) -> None:
        import pyarrow

        table = pyarrow.table(
            {
                "rejected": pyarrow.array([_rejected(item) for item in broken], pyarrow.string()),
                "line": pyarrow.array([item.number for item in broken], pyarrow.int64()),
            }
        )
        with self._registered(table) as name:
            self._execute(
                f"insert into {self._request.table} (_rejected, _line, _file_id) "
                f"select rejected, cast(line as integer), {file_id} from {name}"
            )

    def _entry(
        self, file_id: int, file: _File, replaced: set[str], *, rows: int, fast: bool
    ) -> _Entry:
        assert file.scan is not None  # noqa: S101 - as in _groups
        layout = file.scan.layout
        return _Entry(
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
        )

    def _commit(self, entries: Sequence[_Entry]) -> None:
        """Make loaded files count, and their older rows go, in one step.

        Raises:
            LoadError: a file changed while it was read.
        """
        request = self._request
        if not entries:
            return
        for entry in entries:
            file = self._files.get(entry.file)
            if file is not None and _stat(file.found.path) != (entry.size, entry.modified_ns):
                raise LoadError(
                    f"{entry.file} changed while it was read; nothing of it was loaded. Write a "
                    "file under another name (.part) and rename it when it is complete, then "
                    "build again"
                )
        first, last = entries[0].file_id, entries[-1].file_id
        found = {
            file_id: rest
            for file_id, *rest in self._rows(
                "select _file_id, count(_rejected), "
                f"min({request.day}) filter (where _rejected is null), "
                f"max({request.day}) filter (where _rejected is null) "
                f"from {request.table} where _file_id between {first} and {last} group by _file_id"
            )
        }
        old = [self._known[entry.file] for entry in entries if entry.file in self._known]
        with self._transaction():
            self._forget(old)
            self._write([(entry, *found.get(entry.file_id, (0, None, None))) for entry in entries])

    def _write(self, entries: Sequence[tuple[_Entry, int, object, object]]) -> None:
        """Write entries of the log, each with its rejected rows, its first day and its last."""
        request = self._request
        rows = [
            (
                *(entry.file_id, entry.file, entry.state, entry.reason, entry.size),
                *(entry.modified_ns, entry.content_hash, entry.rows_read, rejected, first, last),
                *(entry.first_line, entry.change, entry.notes, request.started_at, request.run),
                *(True, request.fingerprint),
            )
            for entry, rejected, first, last in entries
        ]
        values = ", ".join(f"unnest(cast(? as {type_}[]))" for type_ in _LOG.values())
        self._connection.execute(
            f"insert into {request.log} select {values}",
            [list(column) for column in zip(*rows, strict=True)],
        )

    def _forget(self, entries: Sequence[Known]) -> None:
        """Remove files from the log; their rows are of no file from then on."""
        if entries:
            ids = ", ".join(str(entry.file_id) for entry in entries)
            self._execute(f"delete from {self._request.log} where file_id in ({ids})")

    def _rename(self, renamed: Mapping[str, Known]) -> None:
        """Let the rows of a file that vanished go on under the name that it has now."""
        for name, entry in renamed.items():
            self._execute(f"delete from {self._request.log} where file = {_text(name)}")
            found = self._files[name].found
            self._connection.execute(
                f"update {self._request.log} "
                "set file = ?, size_bytes = ?, modified_ns = ?, is_present = true "
                "where file_id = ?",
                [name, found.size, found.modified_ns, entry.file_id],
            )

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
            entry = _Entry(
                self._next_id, name, state, reason, file.found.size, file.found.modified_ns,
                hashes[name], 0, None, "new" if known is None else "replaced", None,
            )  # fmt: skip
            self._next_id += 1
            entries.append((entry, 0, None, None))
        self._forget(old)
        if entries:
            self._write(entries)

    def _note_presence(self, present: Sequence[Present]) -> None:
        """Note which loaded files are still there, and a new time of one that did not change."""
        there = [file.file for file in present]
        self._connection.execute(
            f"update {self._request.log} set is_present = not is_present "
            "where is_present <> list_contains(cast(? as varchar[]), file)",
            [there],
        )
        for name, file in self._files.items():
            known = self._known.get(name)
            if (
                known is not None
                and not self._is_unchanged(file)
                and file.scan is not None
                and file.scan.content_hash == known.content_hash
            ):
                self._connection.execute(
                    f"update {self._request.log} "
                    "set modified_ns = ?, size_bytes = ? where file = ?",
                    [file.found.modified_ns, file.found.size, name],
                )

    # ------------------------------------------------------------ what is said

    def _say(self, present: Sequence[Present], *, mixes: bool) -> None:
        feed = self._request.feed
        refusals = self._rows(
            f"select file, reason from {self._request.log} "
            "where state <> 'loaded' and is_present order by file"
        )
        for file, reason in refusals[:SHOWN]:
            self._words.warn(f"{file} is refused: it {reason}")
        if len(refusals) > SHOWN:
            self._words.warn(f"{len(refusals) - SHOWN} more files of {feed} are refused")
        noted = self._rows(
            f"select file, notes from {self._request.log} "
            "where state = 'loaded' and notes is not null and run_id = ? order by file",
            [self._request.run],
        )
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

    @contextmanager
    def _words_while_it_takes_long(self, size: int) -> Iterator[None]:
        """Say now and then how far the load is."""
        ended = threading.Event()
        started = time.monotonic()

        def follow() -> None:
            while not ended.wait(SECONDS_BETWEEN_WORDS):
                done = self._connection.query_progress()
                share = f", {done:.0f} % of this step" if 0 < done <= 100 else ""
                self._words.tell(
                    f"Loading {self._request.feed}: {size / 1e6:,.0f} MB{share}, "
                    f"{time.monotonic() - started:.0f} s"
                )

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    # ------------------------------------------------------------ the database

    def _execute(self, sql: str) -> None:
        self._connection.execute(sql)

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        return self._connection.execute(sql, list(values)).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._execute("begin")
        try:
            yield
        except BaseException:
            with suppress(duckdb.Error):
                self._execute("rollback")
            raise
        self._execute("commit")

    @contextmanager
    def _registered(self, table: Any) -> Iterator[str]:
        name = f"_rows_of_{self._request.feed}"
        self._connection.register(name, table)
        try:
            yield name
        finally:
            self._connection.unregister(name)


def _rejected(broken: Broken) -> str:
    """What is kept of a broken line, as `_insert` keeps it of a row: the reasons and the record."""
    kept = {"reasons": [broken.reason], "record": lines.to_record(broken.text)}
    return json.dumps(kept, ensure_ascii=False)


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - beside Found, which has the same two numbers
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _text_list(texts: Sequence[str]) -> str:
    return "[" + ", ".join(_text(text) for text in texts) + "]"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
