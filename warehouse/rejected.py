"""`make rejected FEED=orders`: the rejected rows of a feed as files, to mend and drop in again."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import duckdb

from warehouse.landing.lines import from_record
from warehouse.report import NotBuiltError
from warehouse.settings import Settings
from warehouse.spreadsheet import BOM, is_formula, is_number

BATCH = 10_000  # rows held at a time


_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL", "FLOAT", "DOUBLE")
_BLANKS = " \t\n\r\u00a0"  # that a load takes away


class UnknownFeedError(Exception):
    """There is no such feed; the message names those there are."""


@dataclass(frozen=True)
class Rejected:
    """What was written.

    Attributes:
        rows: rejected rows, in the feed's columns.
        lines: broken lines, byte for byte.
        csv: the file of the rows; None without any.
        broken: the file of the lines; None without any.
    """

    rows: int
    lines: int
    csv: Path | None
    broken: Path | None


def write_rejected(
    connection: duckdb.DuckDBPyConnection, settings: Settings, feed: str, *, for_excel: bool = False
) -> Rejected:
    """Write the rejected rows of a feed into `rejected/` beside the database.

    `<feed>.csv` has the feed's own columns as they came, then `reasons`, `file` and `line_number`,
    which a load ignores. `<feed>.lines` has the lines that are no rows, as they came.

    Args:
        connection: the built database.
        settings: where the database is.
        feed: name of the feed.
        for_excel: make `<feed>.excel.csv` instead, which a spreadsheet may open: with a byte order
            mark, and a cell that it would compute stands in single quotes. A load takes a pair of
            quotes away, so it reads the same of both files.

    Raises:
        NotBuiltError: the database has no rejected rows yet.
        UnknownFeedError: there is no such feed.
        OSError: the files cannot be written.
    """
    try:
        feeds = [
            name for (name,) in connection.execute("select feed from marts.feed_health").fetchall()
        ]
    except duckdb.CatalogException as error:
        raise NotBuiltError("there are no marts yet. Build them: make build") from error
    if feed not in feeds:
        raise UnknownFeedError(f"there is no feed {feed!r}; the feeds are {', '.join(feeds)}")
    types = dict(
        connection.execute(
            "select column_name, data_type from duckdb_columns() "
            "where schema_name = 'landing' and table_name = ? "
            "and not starts_with(column_name, '_') "
            "order by column_index",
            [feed],
        ).fetchall()
    )
    columns = list(types)
    numbers = [name for name in columns if types[name].startswith(_NUMBERS)]
    folder = settings.database.parent / "rejected"
    folder.mkdir(parents=True, exist_ok=True)
    rows_path, lines_path = (
        folder / f"{feed}{'.excel' if for_excel else ''}.csv",
        folder / f"{feed}.lines",
    )
    rows = lines = 0
    found = connection.execute(
        "select file, line_number, reasons, record from marts.rejected_rows where feed = ? "
        "order by file, line_number",
        [feed],
    )
    with (
        rows_path.open("w", encoding="utf-8", newline="") as rows_file,
        lines_path.open("wb") as lines_file,
    ):
        rows_file.write(BOM if for_excel else "")
        writer = csv.writer(rows_file, lineterminator="\n")
        # The plain one leaves a carriage return without quotes, where it would end the line.
        quoting = csv.writer(rows_file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow([*columns, "reasons", "file", "line_number"])
        while batch := found.fetchmany(BATCH):
            for file, line_number, reasons, record in batch:
                cells = json.loads(record)
                broken = from_record(cells)
                if broken is None:
                    row = [*(cells.get(name) for name in columns), "; ".join(reasons), file]
                    if for_excel:
                        row = [
                            _safe(value, may_be_number=name in numbers)
                            for name, value in zip([*columns, "", ""], row, strict=True)
                        ]
                    has_cr = any(cell and "\r" in cell for cell in row)
                    (quoting if has_cr else writer).writerow([*row, line_number])
                    rows += 1
                else:
                    lines_file.write(broken + b"\n")
                    lines += 1
    if not rows:
        rows_path.unlink()
    if not lines:
        lines_path.unlink()
    return Rejected(rows, lines, rows_path if rows else None, lines_path if lines else None)


def _safe(cell: str | None, *, may_be_number: bool) -> str | None:
    """A cell that no spreadsheet computes, and that a load reads as it reads this one."""
    if not cell or not is_formula(cell) or (may_be_number and is_number(cell)):
        return cell
    cell = cell.strip(_BLANKS)
    return f"'{cell}'" if is_formula(cell) else cell
