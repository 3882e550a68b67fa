"""The landing zone in DuckDB: the tables of a feed, and how files get into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from warehouse.landing.files import Layout, glob_free
from warehouse.landing.lines import Broken, Row
from warehouse.landing.load import (
    Entry,
    FeedLoad,
    File,
    Judged,
    Request,
    Store,
    Words,
    rejected,
    table_of_rows,
)
from warehouse.landing.plan import LOADED, Known, Present
from warehouse.landing.sample import OWN_FILES

DEAD_ROWS = 10_000  # fewer rows that belong to no file stay, though they be a tenth of the table

# A cell without blanks, tabs, line ends and no-break spaces at its ends, without one pair of quotes
# around the rest, double or single, and again without blanks; null when nothing is left.
_BLANKS = "' \t\n\r\u00a0'"  # as they are: DuckDB would put chr(9) and so on together at each use
_CLEAN_CELL = f"""
    create or replace function "landing".clean_cell(cell) as nullif(
        trim(
            regexp_replace(trim(cell, {_BLANKS}), '^(?:"(.*)"|''(.*)'')$', '\\1\\2', 's'), {_BLANKS}
        ), ''
    )
"""

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
    "identity": "varchar",
}


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
    _DuckDBLoad(connection, request, folder, words).run(has_sample=has_sample)


def look_into_logs(connection: duckdb.DuckDBPyConnection, logs: Sequence[str]) -> tuple[bool, bool]:
    """Whether logs of files have files of one's own, and the sample, loaded.

    Args:
        connection: the database of the warehouse is its default one.
        logs: the logs, as SQL; those that are not there have none.
    """
    places = connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'landing'"
    ).fetchall()
    there = [log for log in logs if (log.rpartition(".")[2].strip('"'),) in places]
    if not there:
        return False, False
    union = " union all ".join(
        f"select {OWN_FILES} as is_own from {log} where state = '{LOADED}'" for log in there
    )
    found = connection.execute(
        f"select coalesce(bool_or(is_own), false), coalesce(bool_or(not is_own), false) "
        f"from ({union})"
    ).fetchone()
    return found or (False, False)


class _DuckDBLoad(FeedLoad):
    # A damaged file makes DuckDB raise nearly anything; RuntimeError where it has no name for it.
    _FAULTS = (duckdb.Error, RuntimeError)
    _NOT_OF_A_FILE = (
        duckdb.OutOfMemoryException,
        duckdb.FatalException,
        duckdb.InterruptException,
        duckdb.ConnectionException,
        duckdb.TransactionException,
        duckdb.ParserException,
        duckdb.CatalogException,
    )

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, request: Request, folder: Path, words: Words
    ) -> None:
        super().__init__(request, folder, words)
        self._connection = connection
        self._fingerprint = request.fingerprint(_CLEAN_CELL)
        self._execute("set enable_progress_bar = true")
        self._execute("set enable_progress_bar_print = false")

    def _make_tables(self, present: set[str]) -> None:
        """Make the tables; anew where rows were judged by another contract than today's.

        Raises:
            LoadError: a file that would have to be read again is gone.
        """
        request = self._request
        # A log of before it was kept: its files are looked at once more.
        self._execute(
            f"alter table if exists {request.log} add column if not exists identity varchar"
        )
        if request.is_full_refresh or self._is_of_another_contract(present):
            self._execute(f"drop table if exists {request.log}")
            self._execute(f"drop table if exists {request.table}")
        columns = ", ".join(f'"{name}" {type_}' for name, type_ in request.types.items())
        cells = "_cells varchar, " if request.has_key else ""
        self._execute(
            f"create table if not exists {request.table} ("
            f"{columns}, _rejected varchar, {cells}"
            "_line integer using compression 'rle', _file_id integer using compression 'rle')"
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
            f"select 1 from {request.log} where fingerprint <> ? limit 1", [self._fingerprint]
        ):
            return False
        self._refuse_if_gone(present)
        return True

    def _read_log(self) -> list[Known]:
        return [
            Known(*row, identity=identity)
            for *row, identity in self._rows(
                "select file_id, file, state, reason, size_bytes, modified_ns, content_hash, "
                f"identity from {self._request.log} order by file_id"
            )
        ]

    def _seed_hash(self) -> str | None:
        """A hash of the seed's rows as they are in the database; None for an empty one."""
        ((rows, total),) = self._rows(
            f"select count(*), sum(hash(seed)) from {self._request.source} as seed"
        )
        return f"{rows} rows {total}" if rows else None

    def _make_room(self) -> int:
        """Tidy the table up where that is due, and say which number the next file gets.

        Rows are not deleted when their file goes, they only belong to no file any more: DuckDB then
        leaves the numbers of the other rows (`rowid`) alone, from which their lines are told. When
        they are a tenth of the table, or if numbers have gaps all the same, it is written anew.
        Until then, kept tables learn from them what is gone (macros/build/kept_table.sql).
        """
        request = self._request
        ((newest, logged),) = self._rows(
            "select coalesce(max(file_id), 0), "
            f"coalesce(sum(rows_read) filter (where state = '{LOADED}'), 0) from {request.log}"
        )
        # DuckDB answers this from what it knows of the table, without a look at its rows.
        ((total, last, newest_row),) = self._rows(
            f"select count(*), coalesce(max(rowid), -1), coalesce(max(_file_id), 0) "
            f"from {request.table}"
        )
        dead = total - logged
        if last + 1 != total or (dead * 10 > total and dead > DEAD_ROWS):
            self._execute(
                f"create or replace table {request.table} as select * from {request.table} "
                f"where _file_id in (select file_id from {request.log} where state = '{LOADED}')"
            )
        return 1 + int(max(newest, newest_row))

    def _load_fast(self, group: Sequence[File], replaced: set[str]) -> list[File]:
        """Load files by DuckDB's own reader.

        Rows get the number of their file in the list; the line follows from the order of the rows,
        which DuckDB keeps.

        Returns:
            The files that it reports broken lines of, or whose rows are not those that were
            counted. Their rows belong to no file.
        """
        first_id = self._take_ids(len(group))
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
            self._insert(
                source,
                "null",
                f"{first_id}" if one else f"{first_id} + _line_number",
                are_clean=all(scan_.has_clean_cells for scan_ in scans),
            )
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
        stored = self._stored(first_id, first_id + len(group) - 1)
        blank = self._with_blank_rows(stored) if is_csv else set()
        entries, careful = [], []
        for file_id, (file, scan_) in enumerate(zip(group, scans, strict=True), start=first_id):
            rows, _judged = stored.get(file_id, (0, None))
            is_doubtful = file_id in blank or str(file.found.path) in broken
            if rows is not None and rows == scan_.rows and not is_doubtful:
                entries.append(self._entry(file_id, file, replaced, rows=rows, fast=True))
            else:
                careful.append(file)
        self._commit(entries, {file_id: judged for file_id, (_rows, judged) in stored.items()})
        return careful

    def _with_blank_rows(self, stored: Mapping[int, tuple[int | None, Judged]]) -> set[int]:
        """Files with rows without any value: such a line may be of nothing but delimiters.

        Those are no rows, but DuckDB's reader does not tell. They lack what the contract requires.
        """
        request = self._request
        is_judged = any(column.required for column in request.contract.columns)
        ids = [
            str(file_id)
            for file_id, (_rows, (rejected_rows, _first, _last)) in stored.items()
            if rejected_rows or not is_judged
        ]
        if not ids:
            return set()
        values = ", ".join(f'cast("{name}" as varchar)' for name in request.types)
        where = "_rejected is not null and " if is_judged else ""
        return {
            file_id
            for (file_id,) in self._rows(
                f"select distinct _file_id from {request.table} "
                f"where {where}_file_id in ({', '.join(ids)}) and coalesce({values}) is null"
            )
        }

    def _csv_reader(self, layout: Layout) -> str:
        columns = ", ".join(f"{_text(name)}: 'varchar'" for name in layout.columns)
        selected = ", ".join(
            f'"{name}"' if name in layout.columns else f'cast(null as varchar) as "{name}"'
            for name in self._request.contract.names
        )
        compression = "gzip" if layout.is_compressed else "none"
        return (
            f"select {selected}, {{index}} as _line_number from read_csv({{files}}, "
            f"columns = {{{{{columns}}}}}, auto_detect = false, hive_partitioning = false, "
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
        return (
            f"select {selected}, {{index}} as _line_number "
            "from read_parquet({files}, hive_partitioning = false)"
        )

    @contextmanager
    def _store_with_care(self) -> Iterator[Store]:
        def store(file_id: int, rows: Sequence[Row], broken: Sequence[Broken]) -> None:
            if rows:
                with self._registered(table_of_rows(rows, self._request.contract)) as name:
                    self._insert(f"select * from {name}", "_line_number", str(file_id))
            if broken:
                self._insert_broken(broken, file_id)

        yield store

    def _insert_seed(self, file_id: int) -> int:
        source = self._request.source
        self._insert(f"select * from {source}", "_line_number", str(file_id))
        ((rows,),) = self._rows(f"select count(*) from {source}")
        return int(rows)

    def _insert(self, source: str, line: str, file_id: str, *, are_clean: bool = False) -> None:
        """Cast, judge and store rows; the macro has_plain_ends() looks at no clean cells."""
        request = self._request
        self._execute(f"set variable cells_are_clean = {are_clean}")
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
                "rejected": pyarrow.array([rejected(item) for item in broken], pyarrow.string()),
                "line": pyarrow.array([item.number for item in broken], pyarrow.int64()),
            }
        )
        with self._registered(table) as name:
            self._execute(
                f"insert into {self._request.table} (_rejected, _line, _file_id) "
                f"select rejected, cast(line as integer), {file_id} from {name}"
            )

    def _judged(self, first_id: int, last_id: int) -> Mapping[int, Judged]:
        stored = self._stored(first_id, last_id)
        return {file_id: judged for file_id, (_rows, judged) in stored.items()}

    def _stored(self, first_id: int, last_id: int) -> Mapping[int, tuple[int | None, Judged]]:
        """Of files that were just stored: how many rows, None if these do not stand together; more.

        The days come from a query within: a filter of each aggregate takes longer than the rest.
        """
        request = self._request
        return {
            file_id: (rows if stand_together else None, (rejected_rows, first_day, last_day))
            for file_id, rows, stand_together, rejected_rows, first_day, last_day in self._rows(
                "select _file_id, count(*), max(rowid) - min(rowid) + 1 = count(*), "
                "count(_rejected), min(day), max(day) from ("
                "select _file_id, rowid, _rejected, "
                f"case when _rejected is null then {request.day} end as day "
                f"from {request.table} where _file_id between {first_id} and {last_id}"
                ") group by _file_id"
            )
        }

    def _write(self, entries: Sequence[tuple[Entry, int, object, object]]) -> None:
        """Write entries of the log, each with its rejected rows, its first day and its last."""
        request = self._request
        rows = [
            (
                *(entry.file_id, entry.file, entry.state, entry.reason, entry.size),
                *(entry.modified_ns, entry.content_hash, entry.rows_read, rejected, first, last),
                *(entry.first_line, entry.change, entry.notes, request.started_at, request.run),
                *(True, self._fingerprint, entry.identity),
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
                "set file = ?, size_bytes = ?, modified_ns = ?, identity = ?, is_present = true "
                "where file_id = ?",
                [name, found.size, found.modified_ns, found.identity, entry.file_id],
            )

    def _note_presence(self, present: Sequence[Present]) -> None:
        """Note which loaded files are still there, and what is new of one of the same content."""
        there = [file.file for file in present]
        self._connection.execute(
            f"update {self._request.log} set is_present = not is_present "
            "where is_present <> list_contains(cast(? as varchar[]), file)",
            [there],
        )
        for file in self._touched():
            found = file.found
            self._connection.execute(
                f"update {self._request.log} set modified_ns = ?, size_bytes = ?, identity = ? "
                "where file = ?",
                [found.modified_ns, found.size, found.identity, file.name],
            )

    def _refusals(self) -> Sequence[tuple[str, str]]:
        return self._rows(
            f"select file, reason from {self._request.log} "
            "where state <> 'loaded' and is_present order by file"
        )

    def _notes(self) -> Sequence[tuple[str, str]]:
        return self._rows(
            f"select file, notes from {self._request.log} "
            "where state = 'loaded' and notes is not null and run_id = ? order by file",
            [self._request.run],
        )

    def _progress(self) -> float:
        return float(self._connection.query_progress())

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


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _text_list(texts: Sequence[str]) -> str:
    return "[" + ", ".join(_text(text) for text in texts) + "]"
