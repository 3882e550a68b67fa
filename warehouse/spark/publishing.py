"""The part of the publication that is Spark's: the sum that two engines compute alike, and files.

The file of a mart is read back by DuckDB, which has not Spark's hashes. So each row is made a text,
the same on both, and the numbers that the texts' MD5 begin with are added up.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dbt.adapters.spark.__version__ import version as adapter_version
from dbt_common.exceptions import DbtRuntimeError

from warehouse.published import PublishedError
from warehouse.publishing import Columns, Publishing
from warehouse.spark.adapter import adapter, cause, exchange_folder, export, query

# As those of DuckDB in macros/publish/publication.sql.
_OPTIONS = {"compression": "zstd", "parquet.block.row.count.limit": "40960"}

_TYPES = {
    "string": "VARCHAR",
    "bigint": "BIGINT",
    "int": "INTEGER",
    "date": "DATE",
    "timestamp_ntz": "TIMESTAMP",
    "boolean": "BOOLEAN",
    "double": "DOUBLE",
    "array<string>": "VARCHAR[]",
}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)", re.IGNORECASE)


def duckdb_type(spark_type: str) -> str | None:
    """DuckDB's name of a type of Spark's; None for one that no mart may have."""
    return spark_type.upper() if _DECIMAL.fullmatch(spark_type) else _TYPES.get(spark_type)


class SparkPublishing(Publishing):
    """Publishes what a Spark cluster built."""

    ADAPTER = "spark"

    def __init__(self) -> None:
        """Nothing is exchanged yet."""
        super().__init__()
        self._exchange: tempfile.TemporaryDirectory[str] | None = None

    def adapter_and_database(self) -> tuple[str, str]:
        """The version of the cluster, asked of its server."""
        try:
            ((version,),) = query("select version()")
        except DbtRuntimeError as error:
            raise PublishedError(f"the cluster does not answer: {cause(error)}") from error
        return f"spark {adapter_version}", f"Apache Spark {version.split()[0]}"

    def count_rejected(self, feed_health: str) -> int | None:
        """Rows that no mart counts, asked on a connection of its own: the node's is closed."""
        try:
            with adapter().connection_named("rejected_rows"):
                ((rows,),) = query(f"select coalesce(sum(rows_rejected), 0) from {feed_health}")
        except DbtRuntimeError:  # a feed_health of another project
            return None
        return int(rows)

    def sum_of_rows(self, columns: Columns) -> str:
        """The sum that Spark can compute too."""
        return sum_on_duckdb(columns)

    def steps(self) -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
        """Those of every engine, and what SQL cannot say alone here."""
        return {**super().steps(), "types": self._types, "sums": self._sums, "copy": self._copy}

    def begin(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Make a folder for what the cluster writes, too."""
        answer = super().begin(call)
        if "skipped" in answer:
            return answer
        try:
            self._exchange = exchange_folder("publication")
        except DbtRuntimeError as error:
            raise PublishedError(error.msg) from error
        return answer

    def give_up(self) -> None:
        """Remove what the cluster wrote, too; also the end of a publication that succeeded."""
        super().give_up()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cleanup()

    def _types(self, call: Mapping[str, Any]) -> list[list[str]]:
        """The columns of a mart with DuckDB's types."""
        found = []
        for name, type_ in call["columns"]:
            known = duckdb_type(type_)
            if known is None:
                raise PublishedError(
                    f"mart {call['mart']}: {name} is {type_} on Spark, which cannot be published. "
                    f"Cast it to one of decimal, {', '.join(_TYPES)}"
                )
            found.append([name, known])
        return found

    def _sums(self, call: Mapping[str, Any]) -> str:
        """Spark's query of one text: the sum over rows, then the totals, with blanks between."""
        return sums_on_spark(call["relation"], call["columns"], call["totals"])

    def _copy(self, call: Mapping[str, Any]) -> None:
        """Let the cluster write a mart, and take its file."""
        self.begun()
        assert self._exchange is not None  # noqa: S101 - it is made with the snapshot
        file = Path(call["file"])
        folder = Path(self._exchange.name) / file.stem
        try:
            parts = export(call["query"], folder, _OPTIONS)
        except DbtRuntimeError as error:
            raise PublishedError(error.msg) from error
        if len(parts) > 1:
            raise PublishedError(f"the cluster wrote {len(parts)} files for {file.name}, not one")
        take(parts[0], file)
        shutil.rmtree(folder, ignore_errors=True)


def take(part: Path, file: Path) -> None:
    """Move a file of the cluster's; copy it where that cannot be.

    Raises:
        OSError: it can be neither.
    """
    is_taken = False
    if part.stat().st_uid == os.geteuid():  # it keeps its owner
        with suppress(OSError):  # another file system
            part.rename(file)
            is_taken = True
    if not is_taken:
        shutil.copyfile(part, file)
    file.chmod(file.parent.stat().st_mode & 0o666)


# ---------------------------------------------------------------------------- the sum over rows


def sums_on_spark(relation: str, columns: Columns, totals: Sequence[str] = ()) -> str:
    """Spark's query of a sum that equal rows have in common, whatever their order, and of totals.

    Args:
        relation: what has the rows.
        columns: their names and DuckDB's types.
        totals: the columns whose totals follow in the same text, with blanks between.

    Raises:
        PublishedError: a column has a type whose texts the engines may write differently.
    """
    types = dict(columns)
    text = text_of_row("spark", columns)
    number = f"cast(conv(substr(md5({text}), 1, 15), 16, 10) as decimal(20, 0))"
    # Below the sum, which would compute it several times for each row.
    rows = ", ".join([f"{number} as _number", *(f"`{name}`" for name in totals)])
    sums = [_sum("_number"), *(total_on_spark(name, types[name]) for name in totals)]
    found = " || ' ' || ".join(sums)
    return f"select {found} from (select {rows} from {relation})"


def sum_on_duckdb(columns: Columns) -> str:
    """DuckDB's SQL of the same sum."""
    return _sum(f"cast('0x' || substr(md5({text_of_row('duckdb', columns)}), 1, 15) as bigint)")


def _sum(number: str) -> str:
    return f"'md5 ' || coalesce(sum({number}), 0)"


def text_of_row(engine: str, columns: Columns) -> str:
    """SQL of a text that only rows of the same values have: `2:NL2.50;-` of NL, 2.50 and null.

    Args:
        engine: `spark` or `duckdb`.
        columns: their names and DuckDB's types.

    Raises:
        PublishedError: there is no such text for the type of a column.
    """
    return f"concat({', '.join(_text_of(engine, name, type_) for name, type_ in columns)}, '')"


def _text_of(engine: str, name: str, type_: str) -> str:
    """A value as text that tells where it ends, so that neighbours are not mixed up."""
    is_spark = engine == "spark"
    column = f"`{name}`" if is_spark else f'"{name}"'
    if type_ == "VARCHAR":
        return _measured(engine, column)
    if type_ == "VARCHAR[]":
        member = _measured(engine, "member")
        return _measured(
            engine,
            f"array_join(transform({column}, member -> {member}), '')"
            if is_spark
            else f"array_to_string(list_transform({column}, lambda member: {member}), '')",
        )
    if type_ in ("BIGINT", "INTEGER", "BOOLEAN", "DATE"):
        text = f"cast({column} as string)"
    elif type_ == "TIMESTAMP":
        text = (
            f"date_format({column}, 'yyyy-MM-dd HH:mm:ss.SSSSSS')"
            if is_spark
            else f"strftime({column}, '%Y-%m-%d %H:%M:%S.%f')"
        )
    elif type_.startswith("DECIMAL("):
        text = _decimal_on_spark(column, type_) if is_spark else f"cast({column} as string)"
    else:
        raise PublishedError(
            f"column {name} is {type_}: Spark and DuckDB write such values differently, so that "
            "the file cannot be compared with the mart. Make it a decimal"
        )
    return f"coalesce({text} || ';', '-')"


def _measured(engine: str, text: str) -> str:
    """The bytes of a text, then the text; `-` for null."""
    length = "octet_length" if engine == "spark" else "strlen"
    return f"coalesce({length}({text}) || ':' || {text}, '-')"


def _decimal_on_spark(value: str, type_: str) -> str:
    """A decimal with all digits of its scale, as DuckDB writes it; of many, a cast gives `0E-8`."""
    precision, scale = _precision_and_scale(type_)
    if scale <= 6 and scale < precision:
        return f"cast({value} as string)"
    pattern = "" if precision == scale else "0"
    return f"format_number({value}, '{pattern}{'.' + '0' * scale if scale else ''}')"


def _precision_and_scale(type_: str) -> Sequence[int]:
    found = _DECIMAL.fullmatch(type_)
    return [int(digits) for digits in found.groups()] if found else [38, 0]


def total_on_spark(name: str, type_: str) -> str:
    """Spark's SQL of the sum of a column as text, as DuckDB writes it; 0 of no value.

    A sum that is too large is null, and so is the whole text: nothing is published.
    """
    _, scale = _precision_and_scale(type_)
    wide = f"decimal(38,{scale})"
    total = f"if(count(`{name}`) = 0, 0, sum(cast(`{name}` as {wide})))"
    return _decimal_on_spark(f"cast({total} as {wide})", wide)
