"""The shapes in which rows leave: JSON, CSV, Arrow and Parquet, by suffix or by `Accept`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from api.catalog import Catalog, Column
from api.problems import Problem
from api.query import Parameters, bad_parameter, base_type, quoted, read_flag
from warehouse.spreadsheet import BOM, is_formula


@dataclass(frozen=True)
class Format:
    """A shape of an answer.

    Attributes:
        suffix: of the path, without its dot.
        media_type: as in `Accept` and `Content-Type`.
    """

    suffix: str
    media_type: str


JSON = Format("json", "application/json")
CSV = Format("csv", "text/csv")
ARROW = Format("arrow", "application/vnd.apache.arrow.stream")
PARQUET = Format("parquet", "application/vnd.apache.parquet")
FORMATS = (JSON, CSV, ARROW, PARQUET)
EXCEL = Format("excel.csv", CSV.media_type)  # CSV that a spreadsheet may open, by `excel=true`
_BY_SUFFIX = {shape.suffix: shape for shape in FORMATS}
_BY_MEDIA_TYPE = {shape.media_type: shape for shape in FORMATS}
# What a client may call each format, the most precise first.
_RANGES = {
    shape: (shape.media_type, f"{shape.media_type.partition('/')[0]}/*", "*/*") for shape in FORMATS
}
_KNOWN_RANGES = frozenset(name for names in _RANGES.values() for name in names)
_QUALITY = re.compile(r"[01](\.\d{0,3})?", re.ASCII)


def negotiate(path: str, accept: str) -> tuple[str, Format]:
    """The path without its suffix, and the format it or the Accept header asks for.

    Args:
        path: the end of the request's path, such as `daily_sales.csv`.
        accept: the Accept header; empty when there is none, which means JSON.

    Raises:
        Problem: the header accepts none of the formats (406).
    """
    stem, dot, suffix = path.rpartition(".")
    if dot and suffix in _BY_SUFFIX:
        return stem, _BY_SUFFIX[suffix]
    found = _accepted(accept) if accept else JSON
    if found is None:
        raise Problem(
            406,
            "not-acceptable",
            "None of the formats of this answer is accepted. Leave the Accept header out for JSON.",
            available=list(_BY_MEDIA_TYPE),
        )
    return path, found


def for_excel(shape: Format, parameters: Parameters) -> Format:
    """The format, or CSV for spreadsheets where `excel=true` asks for it.

    Raises:
        Problem: it is asked for of another format (400).
    """
    if not read_flag(parameters, "excel"):
        return shape
    if shape is not CSV:
        raise bad_parameter("excel", "is for CSV: add .csv to the path, or Accept: text/csv")
    return EXCEL


def only_json(shape: Format, what: str) -> None:
    """Refuse a format for an answer that is no rows.

    Args:
        shape: the format that is asked for.
        what: the subject of the sentence, such as "The list of marts".

    Raises:
        Problem: it is not JSON (406).
    """
    if shape is not JSON:
        raise Problem(406, "not-acceptable", f"{what} is JSON.", available=[JSON.media_type])


def _accepted(accept: str) -> Format | None:
    """The format that a client likes best, in one pass; None: it accepts none.

    Of ranges that fit, the most precise one says how much a format is liked. Formats that are liked
    equally are ranked by how precisely they were named, then as the client lists them. Werkzeug's
    parser takes 80 ms for 8 KB, and lets `*/*` overrule a `q=0`.
    """
    liked: dict[str, tuple[float, int]] = {}
    for place, text in enumerate(accept.lower().split(",")):
        name, *parameters = text.split(";")  # those but q, such as charset, choose nothing here
        name = name.strip()
        if name in _KNOWN_RANGES and name not in liked:
            quality = _quality(parameters)
            if quality is not None:
                liked[name] = (quality, -place)
    best = None
    for shape, ranges in _RANGES.items():
        precision = next((n for n, name in enumerate(ranges) if name in liked), None)
        if precision is None:
            continue
        quality, place = liked[ranges[precision]]
        rank = (quality, -precision, place)
        if quality > 0 and (best is None or rank > best[0]):
            best = (rank, shape)
    return best and best[1]


def _quality(parameters: Sequence[str]) -> float | None:
    """The `q` among the parameters of a media range, 1 without one; None when it is no number."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            value = value.strip()
            return min(1.0, float(value)) if _QUALITY.fullmatch(value) else None
    return 1.0


# ---------------------------------------------------------------------------- as SQL


_ITEMS_OF_A_CUT_LIST = 20
BYTES_OF_A_NUMBER = 16  # about what one takes, also a date or a flag; texts are measured


def is_text(column: Column) -> bool:
    """Whether a column's values may have any length."""
    return column.type.endswith("[]") or base_type(column) == "VARCHAR"


def size_sql(column: Column) -> str:
    """The bytes of a value of a text column; a list's as it is written."""
    name = quoted(column.name)
    text = f"cast({name} as varchar)" if column.type.endswith("[]") else name
    return f"coalesce(strlen({text}), 0)"


def cut_sql(column: Column, longest: int) -> str:
    """A column with texts of more than so many characters cut; lists to some items of theirs."""
    name = quoted(column.name)
    if not is_text(column):
        return name
    if not column.type.endswith("[]"):
        return f"left({name}, {longest})"
    cut = f"{name}[:{_ITEMS_OF_A_CUT_LIST}]"
    if column.type == "VARCHAR[]":
        cut = f"list_transform({cut}, lambda item: left(item, {longest // _ITEMS_OF_A_CUT_LIST}))"
    return f"case when {size_sql(column)} <= {longest} then {name} else {cut} end"


def text_sql(column: Column, longest: int = 0) -> str:
    """A column as text for JSON and CSV: exact digits, ISO 8601 times, no NaN or Infinity.

    Args:
        column: the column.
        longest: characters at which a text is cut; 0: it is whole.
    """
    name = quoted(column.name)
    kind = base_type(column)
    if kind == "TIMESTAMP":
        return f"replace(cast({name} as varchar), ' ', 'T') || 'Z'"
    if kind in ("DOUBLE", "FLOAT"):
        return f"case when isfinite({name}) then {name} end"
    return cut_sql(column, longest) if longest else name


def select_list(columns: Sequence[Column], shape: Format, longest: int = 0) -> str:
    """What to select for a format: for JSON one text per row, else a column for each.

    Args:
        columns: those to show.
        shape: the format.
        longest: characters at which texts are cut; 0: they are whole.
    """
    if shape is JSON:
        members = ", ".join(
            f"{quoted(column.name)} := {text_sql(column, longest)}" for column in columns
        )
        return f"cast(to_json(struct_pack({members})) as varchar)"
    if shape in (CSV, EXCEL):
        return ", ".join(
            f"to_json({text_sql(column, longest)})"
            if column.type.endswith("[]")
            else f"cast({text_sql(column, longest)} as varchar)"
            for column in columns
        )
    if not longest:
        return ", ".join(quoted(column.name) for column in columns)
    return ", ".join(f"{cut_sql(column, longest)} as {quoted(column.name)}" for column in columns)


# ---------------------------------------------------------------------------- as bytes


def json_text(value: Any) -> str:
    """A value as JSON text: decimals with their exact digits, times in ISO 8601, no NaN.

    Times are those of columns: UTC, without a time zone.
    """
    if isinstance(value, Mapping):
        members = (f"{json.dumps(str(name))}:{json_text(item)}" for name, item in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(json_text(item) for item in value) + "]"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date):
        return f'"{_date_text(value)}"'
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _date_text(value: date) -> str:
    return value.isoformat() + ("Z" if isinstance(value, datetime) else "")


def meta(catalog: Catalog, following: str | None = None) -> dict[str, str | bool | None]:
    """The `meta` of an answer: which snapshot it comes from, and how to go on."""
    return {
        "version": catalog.version,
        "published_at": catalog.published_at_text,
        "contains_sample": catalog.sample_data,
        "next": following,
    }


def rows_as_json(rows: Sequence[str], about: Mapping[str, Any]) -> bytes:
    """Rows that are JSON objects already, as the data of an answer."""
    return f'{{"data":[{",".join(rows)}],"meta":{json_text(about)}}}'.encode()


# Types whose values a spreadsheet takes for values; all others are text.
_VALUES = frozenset(
    (
        *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL", "FLOAT", "DOUBLE"),
        *("DATE", "TIMESTAMP", "BOOLEAN"),
    )
)


def rows_as_csv(
    columns: Sequence[Column], rows: Sequence[Sequence[str | None]], shape: Format = CSV
) -> bytes:
    """A header and rows; a missing value is an empty field.

    Args:
        columns: of the rows.
        rows: as text.
        shape: CSV, or EXCEL: with a byte order mark, and text that a spreadsheet would compute
            begins with an apostrophe. Numbers and times stay as they are.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    names = [column.name for column in columns]
    if shape is EXCEL:
        text.write(BOM)
        names = [_safe(name) for name in names]
        is_text = [base_type(column) not in _VALUES for column in columns]
        rows = [
            [_safe(cell) if cell and is_ else cell for cell, is_ in zip(row, is_text, strict=True)]
            for row in rows
        ]
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue().encode()


def _safe(text: str) -> str:
    return f"'{text}" if is_formula(text) else text


def table_as_bytes(table: Any, shape: Format) -> bytes:
    """A pyarrow.Table as an Arrow stream or a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    if shape is PARQUET:
        pyarrow.parquet.write_table(table, sink, compression="zstd")
    else:
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def records_as_bytes(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Any]],
    shape: Format,
    about: Mapping[str, Any],
) -> bytes:
    """Rows that were computed here, in any format.

    Args:
        columns: their names and types.
        rows: values in the order of the columns.
        shape: the format.
        about: the `meta` of a JSON answer.
    """
    names = [column.name for column in columns]
    if shape is JSON:
        return rows_as_json([json_text(dict(zip(names, row, strict=True))) for row in rows], about)
    if shape in (CSV, EXCEL):
        return rows_as_csv(columns, [[_csv_text(value) for value in row] for row in rows], shape)

    import pyarrow

    types = {
        "BOOLEAN": pyarrow.bool_(),
        "VARCHAR": pyarrow.string(),
        "BIGINT": pyarrow.int64(),
        "DATE": pyarrow.date32(),
        "TIMESTAMP": pyarrow.timestamp("us"),
        "DECIMAL(28,2)": pyarrow.decimal128(28, 2),
    }
    schema = pyarrow.schema([(column.name, types[column.type]) for column in columns])
    records = [dict(zip(names, row, strict=True)) for row in rows]
    return table_as_bytes(pyarrow.Table.from_pylist(records, schema), shape)


def _csv_text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()  # as DuckDB has it
    if isinstance(value, date):
        return _date_text(value)
    return format(value, "f") if isinstance(value, Decimal) else str(value)
