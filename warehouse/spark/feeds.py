"""The landing zone on Spark: the tables of a feed, and how files get into them.

Which files are new, what each one is and what is read with care is told as on DuckDB
(warehouse/landing/). The cluster reads what is regular: CSV as lines of text, which a strict
pattern checks before they are split, and Parquet. A file with any other line is read with care
here, and goes to the cluster through the exchange folder as Parquet of text; so does JSON, whose
numbers lose digits in Spark's reader.

Tables on Parquet have no transactions. Rows of one statement are a partition of `landing.<feed>`;
they count once the log names them. The log is written as a whole, as a new version (a partition of
`landing.<feed>_log`), and counts once the view `landing.<feed>_files` names that version: the one
step that is either done or not. Columns of partitions have no underscore in front: Hive's metastore
cannot filter by such names.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
from dbt_common.exceptions import DbtDatabaseError, DbtRuntimeError

from warehouse.landing import lines
from warehouse.landing.files import (
    Contract,
    Found,
    Layout,
    RefusedError,
    Scan,
    glob_free,
    open_file,
    scan,
)
from warehouse.landing.lines import LONGEST_LINE, Broken, Row
from warehouse.landing.load import (
    Entry,
    FeedLoad,
    File,
    Judged,
    LoadError,
    Request,
    Store,
    Words,
    table_of_rows,
)
from warehouse.landing.plan import LOADED, Known, Present
from warehouse.landing.sample import OWN_FILES, SAMPLE
from warehouse.loading import STRAYS, read_contract, read_request, tell, warn
from warehouse.settings import SettingsError, read_settings

VALUES = 1000  # rows of one insert statement

# Parquet types of which Spark and DuckDB write the same text; files with others are turned into
# text here, so that 12345678.9 does not become 1.23456789E7, nor 0.0000001 1E-7.
_SAME_TEXT = re.compile(
    r"VARCHAR|BOOLEAN|U?(TINY|SMALL|BIG)?(INT|INTEGER)|DECIMAL\(\d+,[0-24-6]\)|DATE|TIMESTAMP"
)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._ /-]+")  # needs no escape anywhere


class Session:
    """The session of a thread of dbt's with the Thrift server.

    Args:
        adapter: dbt's; its thread has a connection.
    """

    def __init__(self, adapter: Any) -> None:
        """Take the connection of this thread."""
        self._handle = adapter.connections.get_thread_connection().handle

    def execute(self, sql: str) -> None:
        """Run a statement.

        Raises:
            DbtDatabaseError: it failed.
        """
        self._handle.cursor().execute(sql)

    def rows(self, sql: str) -> list[Any]:
        """The rows of a query, as tuples."""
        cursor = self._handle.cursor()
        cursor.execute(sql)
        return list(cursor.fetchall())


@dataclass(frozen=True)
class _Logged:
    """A line of the log of files: as on DuckDB, and where the rows of the file stand.

    Attributes:
        load_id: the partition of its rows; None where it has none.
        line_offsets: first byte of a block of the file to how far the lines of its rows are from
            their places.
    """

    file_id: int
    file: str
    state: str
    reason: str | None
    size_bytes: int | None
    modified_ns: int | None
    content_hash: str | None
    rows_read: int
    rows_rejected: int
    first_date: Any
    last_date: Any
    change: str
    notes: str | None
    loaded_at: str
    run_id: str
    is_present: bool
    fingerprint: str
    load_id: str | None
    line_offsets: Mapping[int, int] | None
    identity: str | None


_LOG_TYPES = {
    "file_id": "bigint",
    "file": "string",
    "state": "string",
    "reason": "string",
    "size_bytes": "bigint",
    "modified_ns": "bigint",
    "content_hash": "string",
    "rows_read": "bigint",
    "rows_rejected": "bigint",
    "first_date": "date",
    "last_date": "date",
    "change": "string",
    "notes": "string",
    "loaded_at": "timestamp",
    "run_id": "string",
    "is_present": "boolean",
    "fingerprint": "string",
    "load_id": "string",
    "line_offsets": "map<bigint, bigint>",
    "identity": "string",
}
_LOG_COLUMNS = ", ".join(f"{name} {type_}" for name, type_ in _LOG_TYPES.items())


@dataclass
class _Load:
    """Files that one partition holds.

    Attributes:
        load_id: the partition.
        offsets: of each file by its number, as in the log.
    """

    load_id: str
    offsets: dict[int, dict[int, int]] = field(default_factory=dict)


def load(adapter: Any, call: Mapping[str, Any]) -> None:
    """Load what is new of one feed; macros/ingest/feed.sql calls.

    Args:
        adapter: dbt's.
        call: as on DuckDB.

    Raises:
        DbtRuntimeError: it cannot be done; one line that says why and what to do.
    """
    request = read_request(call)
    with _told_as_dbt_does(f"landing/{request.feed}"):
        settings = read_settings()
        STRAYS.say(settings, request.run, call["feeds"])
        session = Session(adapter)
        load_feed(
            session,
            request,
            settings.landing / request.feed,
            settings.spark_exchange,
            has_sample=SAMPLE.has_sample(settings, call, partial(look_into_logs, session), warn),
            words=Words(warn=warn, tell=tell),
        )


def seed(adapter: Any, call: dict[str, Any]) -> None:
    """Load the file of a seed; macros/ingest/seed.sql calls.

    Args:
        adapter: dbt's.
        call: gets `rows` and `sql` for dbt's result.

    Raises:
        DbtRuntimeError: it cannot be done; one line that says why and what to do.
    """
    with _told_as_dbt_does(call["file"]):
        path = read_settings().root / call["file"]
        contract = read_contract(call["contract"])
        found = Found.of(path.name, path, path.stat())
        try:
            file = File(call["file"], found, scan(found, contract))
        except RefusedError as error:
            raise LoadError(f"{call['file']} {error}") from None
        for note in file.scan.notes if file.scan else ():
            warn(f"{call['file']}: {note}")
        call["rows"], call["sql"] = load_seed(Session(adapter), call["table"], file, contract)


@contextmanager
def _told_as_dbt_does(place: str) -> Iterator[None]:
    try:
        yield
    except (LoadError, SettingsError, duckdb.Error) as error:
        raise DbtRuntimeError(str(error)) from error
    except OSError as error:
        raise DbtRuntimeError(f"{place} cannot be read: {error.strerror or error}.") from error


def load_feed(
    session: Session,
    request: Request,
    folder: Path,
    exchange: Path,
    *,
    has_sample: bool,
    words: Words,
) -> None:
    """Bring the rows and the log of a feed up to what its folder and its seed hold.

    Args:
        session: with the Thrift server.
        request: the feed.
        folder: the feed's folder in the landing zone; the cluster sees it under the same path.
        exchange: the folder for what goes to the cluster.
        has_sample: whether the sample seed counts.
        words: for what people should know.

    Raises:
        LoadError: it cannot be done.
        DbtDatabaseError, OSError: the cluster or a file fails.
    """
    _SparkLoad(session, request, folder, exchange, words).run(has_sample=has_sample)


def look_into_logs(session: Session, logs: Sequence[str]) -> tuple[bool, bool]:
    """Whether logs of files have files of one's own, and the sample, loaded.

    Args:
        session: with the Thrift server.
        logs: the logs, as SQL, in one schema; those that are not there have none.
    """
    views = set()
    for schema in {log.rpartition(".")[0] for log in logs}:
        session.execute(f"create schema if not exists {schema}")
        views |= {row[1] for row in session.rows(f"show views in {schema}")}
    there = [log for log in logs if log.rpartition(".")[2].strip("`") in views]
    if not there:
        return False, False
    union = " union all ".join(
        f"select {OWN_FILES} as is_own from {log} where state = '{LOADED}'" for log in there
    )
    ((own, sample),) = session.rows(
        f"select coalesce(bool_or(is_own), false), coalesce(bool_or(not is_own), false) "
        f"from ({union})"
    )
    return bool(own), bool(sample)


def load_seed(session: Session, table: str, file: File, contract: Contract) -> tuple[int, str]:
    """Make the table of a seed anew, each cell as the text that the file has.

    Args:
        session: with the Thrift server.
        table: the seed's table, as SQL.
        file: the seed's file, scanned.
        contract: of the feed.

    Returns:
        How many rows it has, and the statement that made the table.

    Raises:
        LoadError: the file has a line that is no row.
    """
    assert file.scan is not None  # noqa: S101 - as the caller says
    columns = ", ".join(f"`{name}` string" for name in contract.names)
    made = f"create table {table} ({columns}, _line_number bigint) using parquet"
    rows: list[Row] = []
    with file.found.path.open("rb") as opened:
        for item in lines.read_csv(
            opened, file.scan.layout, contract, ends_with_cr=file.scan.ends_with_cr
        ):
            if isinstance(item, Broken):
                text = item.text.decode("utf-8", "replace")[:80]
                raise LoadError(
                    f"{file.name}: line {item.number} is no row: {item.reason}: {text}. Mend the "
                    "file; nothing of it was loaded"
                )
            rows.append(item)
    session.execute(f"drop table if exists {table}")
    session.execute(made)
    for start in range(0, len(rows), VALUES):
        values = ", ".join(
            f"({', '.join(map(_literal, row.cells))}, {row.number})"
            for row in rows[start : start + VALUES]
        )
        session.execute(f"insert into {table} values {values}")
    return len(rows), made


class _SparkLoad(FeedLoad):
    _FAULTS = (DbtDatabaseError,)

    def __init__(
        self, session: Session, request: Request, folder: Path, exchange: Path, words: Words
    ) -> None:
        super().__init__(request, folder, words)
        self._session = session
        self._exchange = exchange
        self._fingerprint = request.fingerprint()
        self._log_table = request.log.removesuffix("_files") + "_log"
        self._log: dict[str, _Logged] = {}
        self._version = 0
        self._loads: dict[int, _Load] = {}  # by number of a file

    # ------------------------------------------------------------ what there is

    def _make_tables(self, present: set[str]) -> None:
        request = self._request
        schema = request.table.rpartition(".")[0]
        self._session.execute(f"create schema if not exists {schema}")
        self._session.execute(
            f"create table if not exists {self._log_table} ({_LOG_COLUMNS}, version string) "
            "using parquet partitioned by (version)"
        )
        # A log of before it was kept: its files are looked at once more.
        if "identity" not in [row[0] for row in self._session.rows(f"describe {self._log_table}")]:
            self._session.execute(f"alter table {self._log_table} add columns (identity string)")
        self._read_versions()
        is_of_another_contract = any(
            entry.fingerprint != self._fingerprint for entry in self._log.values()
        )
        if is_of_another_contract and not request.is_full_refresh:
            self._refuse_if_gone(present)
        if not self._log or is_of_another_contract or request.is_full_refresh:
            # First the log, so that no row counts that is gone.
            self._log = {}
            self._write_version()
            self._session.execute(f"drop table if exists {request.table}")
        columns = ", ".join(f"`{name}` {type_}" for name, type_ in request.types.items())
        self._session.execute(
            f"create table if not exists {request.table} ({columns}, _reasons array<string>, "
            "_record string, _file_id bigint, _line bigint, _block bigint, _position bigint, "
            "load_id string) using parquet partitioned by (load_id)"
        )

    def _read_versions(self) -> None:
        """Read the log; the view names the version that counts."""
        schema, _, view = self._request.log.rpartition(".")
        if not self._session.rows(f"show views in {schema} like '{view}'"):
            return
        names = ", ".join(_LOG_TYPES)
        for row in self._session.rows(
            f"select version, {names} from {self._log_table} "
            f"where version in (select version from {self._request.log})"
        ):
            values = dict(zip(_LOG_TYPES, row[1:], strict=True))
            offsets = values["line_offsets"]
            values["line_offsets"] = _parsed_offsets(offsets)
            values["loaded_at"] = str(values["loaded_at"])
            self._version = int(row[0])
            self._log[values["file"]] = _Logged(**values)

    def _read_log(self) -> list[Known]:
        return [
            Known(
                entry.file_id,
                entry.file,
                entry.state,
                entry.reason,
                entry.size_bytes,
                entry.modified_ns,
                entry.content_hash,
                identity=entry.identity,
            )
            for entry in sorted(self._log.values(), key=lambda entry: entry.file_id)
        ]

    def _seed_hash(self) -> str | None:
        names = ", ".join(f"`{name}`" for name in self._request.contract.names)
        ((rows, total),) = self._session.rows(
            f"select count(*), cast(sum(cast(xxhash64({names}, _line_number) as decimal(38, 0))) "
            f"as string) from {self._request.source}"
        )
        return f"{rows} rows {total}" if rows else None

    def _make_room(self) -> int:
        """Drop partitions that nothing names, and say which number the next file gets.

        Numbers are never used twice, also not those of a build that broke off: a statement of its
        may still be at work on the cluster.
        """
        live = {entry.load_id for entry in self._log.values()}
        self._drop_partitions(self._request.table, "load_id", live)
        self._drop_partitions(self._log_table, "version", {str(self._version)})
        return max([time.time_ns() // 1_000_000, *(one.file_id + 1 for one in self._log.values())])

    def _drop_partitions(self, table: str, column: str, kept: Collection[str | None]) -> None:
        found = [
            partition.partition("=")[2]
            for (partition,) in self._session.rows(f"show partitions {table}")
        ]
        gone = [value for value in found if value not in kept]
        if gone:
            dropped = ", ".join(f"partition ({column} = '{value}')" for value in gone)
            self._session.execute(f"alter table {table} drop if exists {dropped}")

    # ------------------------------------------------------------ files

    def _load_fast(self, group: Sequence[File], replaced: set[str]) -> list[File]:
        scans = [file.scan for file in group if file.scan is not None]
        layout = scans[0].layout
        if layout.kind == "parquet":
            return self._load_parquet(group, replaced)
        if not all(_PLAIN_PATH.fullmatch(str(file.found.path)) for file in group):
            return list(group)
        first_id = self._take_ids(len(group))
        load = _Load(str(first_id))
        self._insert(self._lines_of(group, layout, first_id), load.load_id)
        entries, careful = [], []
        found = self._blocks(load.load_id)
        for file_id, (file, scan_) in enumerate(zip(group, scans, strict=True), start=first_id):
            blocks = found.get(file_id, [])
            offsets = _offsets(blocks, 1 + int(layout.has_header))
            if sum(block.rows for block in blocks) == scan_.rows and offsets is not None:
                load.offsets[file_id] = offsets
                self._loads[file_id] = load
                entries.append(self._entry(file_id, file, replaced, rows=scan_.rows, fast=True))
            else:
                careful.append(file)
        self._commit(entries)
        return careful

    def _lines_of(self, group: Sequence[File], layout: Layout, first_id: int) -> str:
        """A query of the rows of CSV files, each with where it came from as its `_line_number`."""
        view = f"_lines_of_{self._request.feed}"
        paths = ", ".join('"' + str(file.found.path) + '"' for file in group)
        self._session.execute(
            f"create or replace temporary view {view} (value string) "
            f"using text options (paths '[{_escaped(paths)}]', lineSep '\\n')"
        )
        ids = ", ".join(
            f"({_literal(file.found.name)}, {file_id}, {_literal(_header_of(file))})"
            for file_id, file in enumerate(group, start=first_id)
        )
        delimiter = layout.delimiter.replace("\t", "\\t")
        schema = ", ".join(f"c{place} string" for place in range(len(layout.columns)))
        cells = ", ".join(
            f"nullif(cells.c{layout.columns.index(name)}, '') as `{name}`"
            if name in layout.columns
            else f"cast(null as string) as `{name}`"
            for name in self._request.contract.names
        )
        return f"""
            select
                {cells},
                named_struct(
                    'file_id', file_id, 'block', block, 'position', position,
                    'line', case when not is_sound then -1 end
                ) as _line_number
            from (
                select
                    file_id, block, position, is_sound,
                    from_csv(
                        case when is_sound then line end, '{schema}',
                        map('sep', '{delimiter}', 'quote', '"', 'escape', '"', 'mode', 'PERMISSIVE')
                    ) as cells
                from (
                    select
                        files.file_id, block, position, line,
                        is_valid_utf8(line) and length(line) <= {LONGEST_LINE}
                        and regexp_like(line, r'{pattern_of(layout)}') as is_sound
                    from (
                        select
                            _metadata.file_name as name,
                            _metadata.file_block_start as block,
                            monotonically_increasing_id() as position,
                            case
                                when value like '%\\r' then substr(value, 1, length(value) - 1)
                                else value
                            end as line
                        from {view}
                    ) as lines
                    inner join (values {ids}) as files (name, file_id, header)
                        on lines.name = files.name
                    -- A file whose header comes again is not regular.
                    where line <> '' and not (block = 0 and line <=> header)
                ) as checked
            ) as split
        """

    def _load_parquet(self, group: Sequence[File], replaced: set[str]) -> list[File]:
        first_id = self._take_ids(len(group))
        entries, careful = [], []
        for file_id, file in enumerate(group, start=first_id):
            assert file.scan is not None  # noqa: S101 - as in _groups
            load = _Load(str(file_id))
            with self._as_text(file, file.scan) as (path, expressions):
                selected = ", ".join(
                    f"{expression} as `{name}`"
                    for name, expression in zip(
                        self._request.contract.names, expressions, strict=True
                    )
                )
                source = (
                    f"select {selected}, named_struct('file_id', {file_id}, 'block', null, "
                    "'position', null, 'line', _metadata.row_index + 1) as _line_number "
                    f"from parquet.`{path}`"
                )
                self._insert(source, load.load_id)
            ((rows,),) = self._session.rows(
                f"select count(*) from {self._request.table} where load_id = '{load.load_id}'"
            )
            if rows == file.scan.rows:
                self._loads[file_id] = load
                entries.append(self._entry(file_id, file, replaced, rows=rows, fast=True))
            else:
                careful.append(file)
        self._commit(entries)
        return careful

    @contextmanager
    def _as_text(self, file: File, scan: Scan) -> Iterator[tuple[Path, Sequence[str]]]:
        """A Parquet file whose cells Spark writes as DuckDB would, and the SQL of its cells."""
        names, layout = self._request.contract.names, scan.layout
        types = dict(zip(layout.columns, layout.types, strict=True))
        titles = dict(zip(self._request.contract.named(list(types)), types, strict=True))
        # Spark takes no two columns that differ in case alone.
        is_same = len({title.lower() for title in layout.columns}) == len(layout.columns) and all(
            _SAME_TEXT.fullmatch(types[titles[name]]) for name in names if name in titles
        )
        if is_same and _PLAIN_PATH.fullmatch(str(file.found.path)):
            yield (
                file.found.path,
                [
                    f"cast(`{_backquoted(titles[name])}` as string)"
                    if name in titles
                    else "cast(null as string)"
                    for name in names
                ],
            )
            return
        with (
            self._exchanged() as path,
            duckdb.connect(":memory:", config={"threads": "1"}) as connection,
        ):
            selected = ", ".join(
                f'{expression} as "{name}"'
                for expression, name in zip(layout.expressions, names, strict=True)
            )
            parquet = connection.read_parquet(glob_free(file.found.path), hive_partitioning=False)
            parquet.project(selected).write_parquet(str(path))
            yield path, [f"`{name}`" for name in names]

    @contextmanager
    def _store_with_care(self) -> Iterator[Store]:
        import pyarrow
        from pyarrow import parquet

        names = self._request.contract.names
        schema = pyarrow.schema(
            [
                *((name, pyarrow.string()) for name in names),
                ("_line_number", pyarrow.int64()),
                ("_file_id", pyarrow.int64()),
            ]
        )
        broken_schema = pyarrow.schema(
            [
                ("reason", pyarrow.string()),
                ("record", pyarrow.string()),
                ("line", pyarrow.int64()),
                ("file_id", pyarrow.int64()),
            ]
        )
        load = _Load(str(self._next_id))
        counts = [0, 0]
        with self._exchanged() as path, self._exchanged() as broken_path:
            with (
                parquet.ParquetWriter(path, schema) as rows_file,
                parquet.ParquetWriter(broken_path, broken_schema) as broken_file,
            ):

                def store(file_id: int, rows: Sequence[Row], broken: Sequence[Broken]) -> None:
                    self._loads[file_id] = load
                    counts[0] += len(rows)
                    counts[1] += len(broken)
                    if rows:
                        table = table_of_rows(rows, self._request.contract)
                        ids = pyarrow.repeat(pyarrow.scalar(file_id, pyarrow.int64()), len(rows))
                        rows_file.write_table(table.append_column("_file_id", ids))
                    if broken:
                        columns = [
                            [one.reason for one in broken],
                            [lines.to_record(one.text) for one in broken],
                            [one.number for one in broken],
                            [file_id] * len(broken),
                        ]
                        broken_file.write_table(pyarrow.table(columns, schema=broken_schema))

                yield store
            if counts[0]:
                listed = ", ".join(f"`{name}`" for name in names)
                self._insert(
                    f"select {listed}, named_struct('file_id', _file_id, 'block', null, "
                    "'position', null, 'line', _line_number) as _line_number "
                    f"from parquet.`{path}`",
                    load.load_id,
                )
            if counts[1]:
                absent = ", ".join("null" for _ in self._request.types)
                self._session.execute(
                    f"insert into {self._request.table} partition (load_id = '{load.load_id}') "
                    f"select {absent}, array(reason), record, file_id, line, null, null "
                    f"from parquet.`{broken_path}`"
                )

    def _insert_seed(self, file_id: int) -> int:
        source = self._request.source
        names = ", ".join(f"`{name}`" for name in self._request.contract.names)
        self._insert(
            f"select {names}, named_struct('file_id', {file_id}, 'block', null, 'position', null, "
            f"'line', _line_number) as _line_number from {source}",
            str(file_id),
        )
        self._loads[file_id] = _Load(str(file_id))
        ((rows,),) = self._session.rows(f"select count(*) from {source}")
        return int(rows)

    def _insert(self, source: str, load_id: str) -> None:
        """Cast, judge and store rows, whose `_line_number` is a struct of their whole origin."""
        request = self._request
        columns = ", ".join(f"`{name}`" for name in request.types)
        query = request.sql.replace(request.source, f"({source})")
        self._session.execute(
            f"insert into {request.table} partition (load_id = '{load_id}') "
            f"select {columns}, _reasons, _record, _line_number.file_id, _line_number.line, "
            f"_line_number.block, _line_number.position from (\n{query}\n)"
        )

    @contextmanager
    def _exchanged(self) -> Iterator[Path]:
        """The path of a file that goes to the cluster, and is removed afterwards."""
        self._exchange.mkdir(parents=True, exist_ok=True)
        path = self._exchange / f"{self._request.feed}-{uuid4().hex}.parquet"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _blocks(self, load_id: str) -> dict[int, list[_Block]]:
        """What one statement stored of each file, block by block, in the order of the file."""
        found: dict[int, list[_Block]] = {}
        for file_id, *values in self._session.rows(
            "select _file_id, _block, min(_position), max(_position), count(*), count(_line) "
            f"from {self._request.table} where load_id = '{load_id}' "
            "group by _file_id, _block order by _file_id, _block"
        ):
            found.setdefault(int(file_id), []).append(_Block(*map(int, values)))
        return found

    def _judged(self, first_id: int, last_id: int) -> Mapping[int, Judged]:
        request = self._request
        loads = {
            self._loads[file_id].load_id
            for file_id in range(first_id, last_id + 1)
            if file_id in self._loads
        }
        if not loads:  # of files without rows
            return {}
        return {
            int(file_id): (int(count), first_day, last_day)
            for file_id, count, first_day, last_day in self._session.rows(
                "select _file_id, count(_reasons), "
                f"min({request.day}) filter (where _reasons is null), "
                f"max({request.day}) filter (where _reasons is null) "
                f"from {request.table} where load_id in ({', '.join(map(_literal, loads))}) "
                "group by _file_id"
            )
        }

    # ------------------------------------------------------------ the log

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = dict(self._log)
        yield
        if self._log != before:
            self._write_version()

    def _write_version(self) -> None:
        """Write the log as it is now as a new version, and let it count."""
        self._version = max(self._version + 1, time.time_ns() // 1_000_000)
        values = [
            f"({', '.join(_literal(getattr(entry, one.name)) for one in fields(entry))})"
            for entry in self._log.values()
        ]
        casts = ", ".join(
            f"cast(column{place} as {type_})"
            for place, type_ in enumerate(_LOG_TYPES.values(), start=1)
        )
        names = ", ".join(f"column{place}" for place in range(1, len(_LOG_TYPES) + 1))
        for start in range(0, len(values), VALUES):
            self._session.execute(
                f"insert into {self._log_table} partition (version = '{self._version}') "
                f"select {casts} from values {', '.join(values[start : start + VALUES])} "
                f"as entries ({names})"
            )
        self._session.execute(
            f"create or replace view {self._request.log} as "
            f"select * from {self._log_table} where version = '{self._version}'"
        )

    def _write(self, entries: Sequence[tuple[Entry, int, object, object]]) -> None:
        request = self._request
        for entry, rejected, first, last in entries:
            load = self._loads.get(entry.file_id)
            self._log[entry.file] = _Logged(
                file_id=entry.file_id,
                file=entry.file,
                state=entry.state,
                reason=entry.reason,
                size_bytes=entry.size,
                modified_ns=entry.modified_ns,
                content_hash=entry.content_hash,
                rows_read=entry.rows_read,
                rows_rejected=rejected,
                first_date=first,
                last_date=last,
                change=entry.change,
                notes=entry.notes,
                loaded_at=request.started_at,
                run_id=request.run,
                is_present=True,
                fingerprint=self._fingerprint,
                load_id=load.load_id if load else None,
                line_offsets=(load.offsets.get(entry.file_id) if load else None) or None,
                identity=entry.identity,
            )

    def _forget(self, entries: Sequence[Known]) -> None:
        for entry in entries:
            logged = self._log.get(entry.file)
            if logged is not None and logged.file_id == entry.file_id:
                del self._log[entry.file]

    def _rename(self, renamed: Mapping[str, Known]) -> None:
        for name, entry in renamed.items():
            found = self._files[name].found
            self._log[name] = replace(
                self._log.pop(entry.file),
                file=name,
                size_bytes=found.size,
                modified_ns=found.modified_ns,
                identity=found.identity,
                is_present=True,
            )

    def _note_presence(self, present: Sequence[Present]) -> None:
        there = {file.file for file in present}
        for name, entry in self._log.items():
            self._log[name] = replace(entry, is_present=name in there)
        for file in self._touched():
            self._log[file.name] = replace(
                self._log[file.name],
                modified_ns=file.found.modified_ns,
                size_bytes=file.found.size,
                identity=file.found.identity,
            )

    def _refusals(self) -> Sequence[tuple[str, str]]:
        return [
            (entry.file, entry.reason or "")
            for entry in sorted(self._log.values(), key=lambda entry: entry.file)
            if entry.state != LOADED and entry.is_present
        ]

    def _notes(self) -> Sequence[tuple[str, str]]:
        return [
            (entry.file, entry.notes)
            for entry in sorted(self._log.values(), key=lambda entry: entry.file)
            if entry.state == LOADED and entry.notes and entry.run_id == self._request.run
        ]


@dataclass(frozen=True)
class _Block:
    """The rows of a block of a file that one task read.

    Attributes:
        start: the first byte of the block.
        first: place of the first row among those of the task.
        last: of the last row.
        rows: how many there are.
        broken: how many of them are no row after all.
    """

    start: int
    first: int
    last: int
    rows: int
    broken: int


def _offsets(blocks: Sequence[_Block], first_line: int) -> dict[int, int] | None:
    """How far the lines of each block are from the places of its rows.

    Args:
        blocks: of a file, in its order.
        first_line: of the file that is a row, less one.

    Returns:
        By the start of the block; None when a line is no row, or a place is missing.
    """
    offsets: dict[int, int] = {}
    line = first_line
    for block in blocks:
        if block.broken or block.last - block.first + 1 != block.rows:
            return None
        offsets[block.start] = line - block.first
        line += block.rows
    return offsets


def pattern_of(layout: Layout) -> str:
    """What a line of a CSV file is like that any reader would split alike (Java and Python).

    It has just as many fields as the file has columns, it is not blank (`grammar.is_blank`), and
    quotes stand only around a whole field, or doubled within.
    """
    delimiter = layout.delimiter.replace("\t", "\\t")
    bare = rf'[^"{delimiter}]*+'
    one = rf'(?:{bare}|"[^"]*+(?:""[^"]*+)*+")'
    end = r"(?![\s\S])"  # \z and \Z are not the same in both
    blank = rf"[{delimiter} \t\n\r\u00a0]*+{end}"
    return rf"\A(?!{blank}){one}(?:{delimiter}{one}){{{len(layout.columns) - 1}}}{end}"


def _header_of(file: File) -> str | None:
    """The first line of a CSV file that has a header, as Spark reads it."""
    assert file.scan is not None  # noqa: S101 - what is loaded was scanned
    if not file.scan.layout.has_header:
        return None
    with open_file(file.found.path, file.scan.layout.is_compressed) as opened:
        return opened.readline().rstrip(b"\r\n").decode("utf-8-sig")


def _parsed_offsets(text: Any) -> dict[int, int] | None:
    """A map of the log as the Thrift server gives it: as JSON."""
    if text is None:
        return None
    found = text if isinstance(text, dict) else json.loads(text)
    return {int(start): int(offset) for start, offset in found.items()}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _backquoted(name: str) -> str:
    return name.replace("`", "``")


def _literal(value: Any) -> str:
    """A value as Spark's SQL writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{int(key)}, {int(offset)}" for key, offset in value.items())
        return f"map({pairs})"
    return f"'{_escaped(str(value))}'"
