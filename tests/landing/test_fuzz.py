"""More than 200,000 damaged lines over all feeds: none is lost, and none is read as something else.

How lines are counted here, without the project: a file is split at its line ends; its header (the
first line that is not blank) and blank lines, which may have delimiters, are no input. Each of the
others must come out once:
accepted, or rejected with its number. The one exception is a record in quotes that runs over lines:
the lines after its first must, joined with it, be one record of the right width to Python's `csv`.

What comes out of a line is known beforehand where it has no doubtful quotes: its cells are those
that `csv` finds, and tests/models/plain_python.py says which are accepted and as what value.

FUZZ_SEED (a number) makes other lines.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.landing.loading import Compiled, Loading
from tests.models import plain_python
from tests.models.plain_python import CONTRACTS, InvalidError, read_value

SEED = int(os.environ.get("FUZZ_SEED", "20240229"))
MUTATED_LINES = 19_000  # of each of the 11 feeds
SIZES = (1, 2, 5, 20, 60, 200, 700, 2_500)
BOM = b"\xef\xbb\xbf"


# --- Cells ----------------------------------------------------------------------------------------

NUMBERS = (
    *("0", "-0", "+7", "007", "1.0", "12.", ".5", "-.5", "1e5", "1E-2", "0x1F", "1_000", "1,5"),
    *(
        "1.234",
        "1.230",
        "1.23456789012",
        "0.0000000001",
        "NaN",
        "inf",
        "-inf",
        "--1",
        "1 2",
        "½",
        "٣",
    ),
    *("2147483647", "2147483648", "-2147483649", "9223372036854775807", "9223372036854775808"),
    *("9999999999999999.99", "10000000000000000", "1234567890123456.78", "12345678901234567.89"),
    *("999999999999.999999", "1000000000000", "99999999.9999999999", "100000000", "9" * 40),
    *("2.500", "120.000", "-1.000", ".500", "1.2345", "2.0000", "999999", "1000000", "nan", "N/A"),
    *(
        "123457000001.0",
        "1.23457E+11",
        "1E5",
        "#REF!",
        "99999999999",
        "100000000000",
        "9999999999.99",
    ),
    *("0" * 30 + "5", "1." + "0" * 40, "0." + "0" * 40 + "1", "12.50", "true", "$5", "5%"),
)
DATES = (
    *("2024-02-29", "2023-02-29", "2024-2-9", "24-02-09", "2024/02/09", "09.02.2024", "02/09/2024"),
    *(
        "20240209",
        "2024-13-01",
        "2024-00-10",
        "1899-12-31",
        "1900-01-01",
        "2099-12-31",
        "2100-01-01",
    ),
    *(
        "9999-12-31",
        "0000-00-00",
        "-2024-01-01",
        "12024-01-01",
        "2024-02-09 ",
        "Feb 9 2024",
        "today",
    ),
    *("infinity", "epoch", "2024-W06-5", "2024-040", "1707436800", "45331", "2024-02-09 BC"),
    *(
        "2024-02-09 10:11",
        "2024-02-09T10:11:12",
        "2024-02-09 10:11:12.123456789",
        "2024-02-09 24:00",
    ),
    *("2024-02-09T10:11:12Z", "2024-02-09T10:11:12+02:00", "2024-02-09T10:11:12-0330"),
    *("2024-02-09T10:11:12+05", "2024-02-09T10:11:12+14:59", "2024-02-09T10:11:12+15:00"),
    *("2024-02-09 10:11:12.1234567891", "2024-02-09 10:11.5", "2024-02-09 10:60", "2024-02-09 10"),
    *("2024-02-09 23:59:60", "2024-02-09T10:11:12 UTC", "2024-02-09 10:11:12 PM", "2024-02-09T"),
    *("1900-01-01T00:30:00+14:00", "2099-12-31T23:30:00-14:00", "2024-02-30 10:00:00"),
    *("2024-02-09 00:00:00", "2024-02-09T00:00:00Z", "2024-02-09 00:00:00.000 UTC"),
    *("2024-02-09 00:00:00 -04", "2024-02-09 10:11:12 -0400", "2000-01-01 01:00+02", "2049-12-31"),
)
TEXTS = (
    *(
        "Łąka",
        "東京",
        "naïve",
        "e\u0301",
        "👩\u200d👩\u200d👧",
        "\u202eright",
        "\ufeff",
        "İ",
        "ß",
        "\u00a0x\u00a0",
    ),
    *(
        "\u2003wide\u2003",
        "NULL",
        "null",
        "None",
        "nan",
        "#N/A",
        "\\N",
        "\\",
        "a\\",
        "'",
        "''",
        "'x'",
        "' x '",
        "'x",
    ),
    *(
        "=1+1",
        "-",
        "#",
        "//",
        "x" * 300,
        "é" * 100,
        "%s",
        "{}",
        "{0}",
        "$1",
        "\\1",
        "a\tb",
        "\x0cff",
    ),
    *(
        "\x1fus",
        "\x7f",
        "a;b",
        "completed",
        "Completed",
        " completed ",
        "bags",
        "design & decoration",
    ),
)
PADS = (" ", "  ", "\t", "\u00a0", " \t ")


def plain_cell(column: plain_python.Column, chance: random.Random) -> str:
    """A value that keeps the contract, mostly."""
    if column.one_of:
        return chance.choice(column.one_of)
    if column.kind == "integer":
        return str(chance.randrange(1, 5000))
    if column.kind == "number":
        return f"{chance.randrange(1, 10**7) / 100:.2f}"
    if column.kind == "date":
        month, day_of_month = chance.randrange(1, 13), chance.randrange(1, 29)
        return f"{chance.randrange(2019, 2026)}-{month:02}-{day_of_month:02}"
    if column.kind == "timestamp":
        day = f"2024-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
        return (
            f"{day} {chance.randrange(24):02}:{chance.randrange(60):02}:{chance.randrange(60):02}"
        )
    return f"{column.name[:3]}{chance.randrange(100_000)}"


def damaged_cell(cell: str, chance: random.Random) -> str:
    kind = chance.randrange(8)
    if kind == 0:
        return chance.choice(NUMBERS)
    if kind == 1:
        return chance.choice(DATES)
    if kind == 2:
        return chance.choice(TEXTS)
    if kind == 3:
        return ""
    if kind == 4:
        return chance.choice(PADS) + cell + chance.choice(PADS)
    if kind == 5:
        return f"'{cell}'"
    if kind == 6:
        return chance.choice(PADS) * chance.randrange(3)
    return chance.choice(NUMBERS) + chance.choice(("", " ", "0", "a"))


def quoted(cell: str, delimiter: str, chance: random.Random) -> str:
    """As CSV has it: in quotes where it must be, and sometimes where it need not."""
    if delimiter in cell or '"' in cell or "\n" in cell or "\r" in cell or chance.random() < 0.05:
        return '"' + cell.replace('"', '""') + '"'
    return cell


# --- Lines ----------------------------------------------------------------------------------------


def flip_byte(line: bytes, _delimiter: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(line))
    return line[:place] + bytes([line[place] ^ (1 << chance.randrange(8))]) + line[place + 1 :]


def set_byte(line: bytes, _delimiter: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(line))
    return line[:place] + bytes([chance.randrange(256)]) + line[place + 1 :]


def drop_delimiter(line: bytes, delimiter: bytes, _chance: random.Random) -> bytes:
    return line.replace(delimiter, b"", 1)


def double_delimiter(line: bytes, delimiter: bytes, _chance: random.Random) -> bytes:
    return line.replace(delimiter, delimiter * 2, 1)


def end_with_delimiter(line: bytes, delimiter: bytes, _chance: random.Random) -> bytes:
    return line + delimiter


def insert_quote(line: bytes, _delimiter: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(line) + 1)
    return line[:place] + b'"' + line[place:]


def open_quote(line: bytes, delimiter: bytes, chance: random.Random) -> bytes:
    cells = line.split(delimiter)
    place = chance.randrange(len(cells))
    cells[place] = b'"' + cells[place]
    return delimiter.join(cells)


def break_in_quotes(line: bytes, delimiter: bytes, chance: random.Random) -> bytes:
    cells = line.split(delimiter)
    place = chance.randrange(len(cells))
    cells[place] = b'"' + cells[place].replace(b'"', b"") + b'\nmore "" of it"'
    return delimiter.join(cells)


def insert_nul(line: bytes, _delimiter: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(line) + 1)
    return line[:place] + b"\0" + line[place:]


def insert_cr(line: bytes, _delimiter: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(1, len(line) + 1)
    return line[:place] + b"\r" + line[place:]


def insert_latin1(line: bytes, _delimiter: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(line) + 1)
    return line[:place] + b"\xe9" + line[place:]


def swap_cells(line: bytes, delimiter: bytes, chance: random.Random) -> bytes:
    cells = line.split(delimiter)
    chance.shuffle(cells)
    return delimiter.join(cells)


def cut(line: bytes, _delimiter: bytes, chance: random.Random) -> bytes:
    return line[: chance.randrange(1, len(line) + 1)]


def double(line: bytes, _delimiter: bytes, _chance: random.Random) -> bytes:
    return line + line


def add_blank_lines(line: bytes, _delimiter: bytes, chance: random.Random) -> bytes:
    return line + b"\n" * chance.randrange(1, 4)


def spaces(_line: bytes, _delimiter: bytes, chance: random.Random) -> bytes:
    return b" " * chance.randrange(1, 4)


Damage = Callable[[bytes, bytes, random.Random], bytes]
# Shapes that DuckDB's reader may take whole, and those that one line of makes a file need care.
MILD: tuple[Damage, ...] = (swap_cells,)
WILD: tuple[Damage, ...] = (
    *(flip_byte, set_byte, drop_delimiter, double_delimiter, end_with_delimiter, insert_quote),
    *(open_quote, break_in_quotes, insert_nul, insert_cr, insert_latin1, swap_cells, cut, double),
    *(add_blank_lines, spaces),
)


@dataclass(frozen=True)
class Sheet:
    """A file to load: what the test knows of it."""

    name: str
    content: bytes  # uncompressed
    columns: tuple[str, ...]  # the contract's names, and others
    delimiter: str
    has_header: bool
    line_end: bytes


def make_sheet(
    feed: str, number: int, size: int, chance: random.Random, *, wild: bool
) -> tuple[Sheet, int]:
    """A file of a feed with damaged lines, and how many of its lines were damaged."""
    contract = CONTRACTS[feed]
    delimiter = chance.choice((",", ",", ";", "\t"))
    columns = [column.name for column in contract.columns]
    by_name = {column.name: column for column in contract.columns}
    has_header = not (feed in ("departments", "jobs", "hired_employees") and number % 3 == 0)
    if has_header and number % 4 == 1:
        chance.shuffle(columns)
        columns.insert(chance.randrange(len(columns)), "a note")
    line_end = b"\r\n" if number % 5 == 2 else b"\n"
    if wild and has_header and number % 9 == 4:
        line_end = b"\r"
    lines: list[bytes] = []
    if has_header:
        titles = [name.upper() if number % 2 else f" {name} " for name in columns]
        lines.append(delimiter.join(titles).encode())
    mutated = 0
    per_line = chance.choice((0.02, 0.2, 0.6))  # of lines that are damaged as bytes
    for _ in range(size):
        cells = [
            plain_cell(by_name[name], chance) if name in by_name else f"note {chance.random()}"
            for name in columns
        ]
        before = list(cells)
        if chance.random() < 0.9:
            place = chance.randrange(len(cells))
            cells[place] = damaged_cell(cells[place], chance)
        line = delimiter.join(quoted(cell, delimiter, chance) for cell in cells).encode()
        is_mutated = cells != before
        if wild and chance.random() < per_line:
            damaged = chance.choice(WILD)(line, delimiter.encode(), chance)
        elif chance.random() < 0.1:
            damaged = chance.choice(MILD)(line, delimiter.encode(), chance)
        else:
            damaged = line
        mutated += is_mutated or damaged != line
        lines.append(damaged)
        if wild and has_header and chance.random() < 0.001:
            lines.append(lines[0])
    content = line_end.join(lines)
    if not has_header and not _is_row(content, delimiter, contract.columns):
        lines.insert(
            0, delimiter.join(plain_cell(by_name[name], chance) for name in columns).encode()
        )
        content = line_end.join(lines)
    if number % 3:
        content += line_end
    if number % 7 == 3:
        content = BOM + content
    ending = (".tsv" if delimiter == "\t" else ".csv") + (".gz" if number % 6 == 5 else "")
    sheet = Sheet(f"{number:03}{ending}", content, tuple(columns), delimiter, has_header, line_end)
    return sheet, mutated


def _is_row(content: bytes, delimiter: str, columns: Sequence[plain_python.Column]) -> bool:
    """Whether the first line shows that it is no header, and the delimiter, as it must."""
    try:
        text = re.split(rb"[\r\n]", content, maxsplit=1)[0].decode()
    except UnicodeDecodeError:
        return False
    others = sum(text.count(other) for other in ",;\t" if other != delimiter)
    cells = text.split(delimiter)
    return (
        (len(cells) == len(columns) and not others and '"' not in text and "'" not in text)
        and columns[0].kind == "integer"
        and re.fullmatch("[0-9]+", cells[0]) is not None
    )


# --- What must come out ---------------------------------------------------------------------------

BLANKS = " \t\n\r\u00a0"
BIGINTS = ("clicks", "impressions", "conversions")
MICRO = Fraction(1, 10**6)  # of a second, which the engine does not tell apart


def cleaned(cell: str | None) -> str | None:
    """`plain_python.clean` with the blanks that count as such: not every one that Unicode has."""
    text = (cell or "").strip(BLANKS)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip(BLANKS)
    return text or None


@lru_cache(maxsize=100_000)
def value_of(column: plain_python.Column, text: str | None) -> Any:
    """`plain_python.read_value`, within the limits of the types and of docs/contracts.md."""
    if text is not None and not plain_python.is_missing(column, text):
        _check_limits(column, text)
    return read_value(column, text)


def _check_limits(column: plain_python.Column, text: str) -> None:
    if column.kind == "integer":
        if re.fullmatch(r"[+-]?\.\d+", text, re.ASCII):
            raise InvalidError("a whole number has a digit before its point")
        if re.fullmatch(r"[+-]?\d+(\.0*)?", text, re.ASCII):
            bits = 63 if column.name in BIGINTS else 31
            if not -(2**bits) <= int(text.split(".")[0]) < 2**bits:
                raise InvalidError("too large")
    elif column.kind == "number":
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", text, re.ASCII):
            if len(text.partition(".")[2].rstrip("0")) > column.decimals:
                raise InvalidError("too many decimals")
            if abs(int(text.split(".")[0].strip("+-") or 0)) >= 10 ** (18 - column.decimals):
                raise InvalidError("too large")
    elif column.kind in ("date", "timestamp") and re.match(r"\d{4}-", text, re.ASCII):
        if not 1900 <= int(text[:4]) <= 2099:
            raise InvalidError("not a year")
        if re.search(r"[ T]\d\d:\d\d\.", text):
            raise InvalidError("a fraction of a minute")
        zone = re.search(r"[+-](\d\d)(:?\d\d)?$", text[11:])
        if zone and int(zone[1]) > 14:
            raise InvalidError("not an offset")


def same_value(expected: Any, found: Any) -> bool:
    if isinstance(expected, tuple):  # a moment: its second, and the fraction of that
        if not isinstance(found, datetime):
            return False
        second, fraction = expected
        difference = found.replace(tzinfo=UTC) - second
        return bool(
            abs(Fraction(difference // timedelta(microseconds=1), 10**6) - fraction) < MICRO
        )
    if isinstance(expected, Decimal):
        return isinstance(found, Decimal) and expected == found
    return type(expected) is type(found) and bool(expected == found)


@dataclass(frozen=True)
class Out:
    """A row of base_<feed>."""

    line: int
    reasons: list[str] | None
    record: str | None
    values: tuple[Any, ...]


class Check:
    """Compares what came out of a sheet with what must."""

    def __init__(self, feed: str, sheet: Sheet) -> None:
        self.contract = CONTRACTS[feed]
        self.sheet = sheet
        content = sheet.content.removeprefix(BOM)
        end = b"\r" if sheet.line_end == b"\r" else b"\n"
        parts = content.split(end)
        if parts[-1] == b"":
            parts.pop()
        # A carriage return before a line end belongs to it.
        self.lines = dict(
            enumerate(
                (part if end == b"\r" else part.removesuffix(b"\r") for part in parts), start=1
            )
        )
        self.raw = dict(enumerate((part + end for part in parts), start=1))
        inputs = [number for number, line in self.lines.items() if not self._is_blank(line)]
        self.header = self.lines[inputs[0]] if sheet.has_header else None
        self.inputs = inputs[1:] if sheet.has_header else inputs
        self.counts: Counter[str] = Counter()

    def _is_blank(self, line: bytes) -> bool:
        try:
            return set(line.decode()) <= {self.sheet.delimiter, *BLANKS}
        except UnicodeDecodeError:
            return False

    def _fitted(self, cells: list[str], *, may_lack: bool) -> list[str]:
        """As many cells as there are columns, where the contract lets some be missing."""
        width = len(self.sheet.columns)
        while len(cells) > width and not cells[-1].strip(BLANKS):
            cells = cells[:-1]
        needed = {column.name for column in self.contract.columns if column.required}
        lacking = self.sheet.columns[len(cells) :]
        return cells + [""] * len(lacking) if may_lack and not needed & set(lacking) else cells

    def run(self, rows: Sequence[Out]) -> None:
        numbers = [row.line for row in rows]
        assert numbers == sorted(set(numbers)), "a line came out twice"
        covered = self._covered(numbers)
        for row in rows:
            where = f"{self.sheet.name}, line {row.line}: {self.lines[row.line][:200]!r} gave {row}"
            more = covered[row.line]
            broken = self._broken(row)
            if broken is not None:
                assert broken == self.lines[row.line], where
                assert not more, f"a broken line swallowed others: {where}"
                self.counts["broken"] += 1
                self._check_broken(row, where)
                continue
            self._check_row(row, more, where)
        assert self.counts["broken"] + self.counts["rejected"] + self.counts[
            "accepted"
        ] + self.counts["continued"] == len(self.inputs)

    def _covered(self, numbers: Sequence[int]) -> dict[int, list[int]]:
        """The lines that each row must account for, besides its own."""
        covered: dict[int, list[int]] = {number: [] for number in numbers}
        current: int | None = None
        for number in self.inputs:
            if number in covered:
                current = number
            else:
                assert current is not None, f"{self.sheet.name}: line {number} is lost"
                covered[current].append(number)
        assert set(numbers) <= set(self.inputs), f"{self.sheet.name}: a line that is none came out"
        return covered

    @staticmethod
    def _broken(row: Out) -> bytes | None:
        record = json.loads(row.record) if row.reasons and row.record else {}
        if set(record) == {"line"}:
            return str(record["line"]).encode()
        if set(record) == {"line_base64"}:
            return base64.b64decode(record["line_base64"])
        return None

    def _cells(self, line: bytes) -> list[str] | str | None:
        """The cells of a line whose meaning is plain; what is wrong with it; None: not known."""
        if b"\0" in line:
            return "the line holds a NUL byte"
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return "the line is not UTF-8"
        if line == self.header:
            return "the line repeats the header"
        delimiter = self.sheet.delimiter
        if '"' in text:
            if not self._is_plain(text) or "\r" in text or "\n" in text:
                return None
            (cells,) = csv.reader([text], delimiter=delimiter)
        else:
            cells = text.split(delimiter)
        width = len(self.sheet.columns)
        cells = self._fitted(cells, may_lack=text.count('"') % 2 == 0)
        if len(cells) != width:
            return f"the line has too {'few' if len(cells) < width else 'many'} fields"
        return cells

    def _is_plain(self, text: str) -> bool:
        """Whether each field is wholly in quotes, or begins with none: no two readers disagree."""
        delimiter = self.sheet.delimiter
        field = rf'(?:"(?:[^"]|"")*"|(?! *")[^{delimiter}]*)'
        return re.fullmatch(rf"{field}(?:{delimiter}{field})*", text) is not None

    def _check_broken(self, row: Out, where: str) -> None:
        expected = self._cells(self.lines[row.line])
        assert not isinstance(expected, list), f"a sound line was called broken: {where}"
        if expected is not None:
            assert row.reasons == [expected], where

    def _check_row(self, row: Out, more: Sequence[int], where: str) -> None:
        self.counts["rejected" if row.reasons else "accepted"] += 1
        self.counts["continued"] += len(more)
        if more:
            last = more[-1]
            joined = (
                b"".join(raw for number, raw in self.raw.items() if row.line <= number < last)
                + self.lines[last]
            )
            text = joined.decode()
            # A blank before a quote is not part of a field in quotes, as in Python's other mode.
            records, lenient = (
                list(
                    csv.reader(
                        io.StringIO(text, newline=""),
                        delimiter=self.sheet.delimiter,
                        skipinitialspace=skips,
                    )
                )
                for skips in (False, True)
            )
            assert len(lenient) == 1, f"lines were swallowed: {where}, {more}"
            cells: list[str] | str | None = None
            if self._is_plain(text):
                cells = self._fitted(records[0], may_lack=True)
                assert len(cells) == len(self.sheet.columns), where
        else:
            cells = self._cells(self.lines[row.line])
        assert not isinstance(cells, str), f"a line came out as a row, but {cells}: {where}"
        if cells is None:
            self.counts["not known"] += 1
            return
        by_name = dict(zip(self.sheet.columns, cells, strict=True))
        record = json.loads(row.record) if row.record else None
        if record is not None:
            for column in self.contract.columns:
                assert (record[column.name] or "") == by_name[column.name], where
        faulty = []
        for column, found in zip(self.contract.columns, row.values, strict=True):
            try:
                expected = value_of(column, cleaned(by_name[column.name]))
            except InvalidError:
                faulty.append(column.name)
                continue
            if row.reasons is None:
                assert same_value(expected, found), f"{column.name} is {expected!r}: {where}"
        assert [reason.split(":")[0] for reason in row.reasons or []] == faulty, where
        assert record is not None or not row.reasons, where


def rows_of(loading: Loading, feed: str) -> Iterator[tuple[str, list[Out]]]:
    names = ", ".join(f'"{column.name}"' for column in CONTRACTS[feed].columns)
    by_file: dict[str, list[Out]] = {}
    for file, line, reasons, record, *values in loading.rows(
        f"parse_filename(_file), _line_number, _reasons, _record, {names}"
    ):
        by_file.setdefault(file, []).append(Out(line, reasons, record, tuple(values)))
    yield from by_file.items()


@pytest.mark.parametrize("feed", sorted(CONTRACTS))
def test_each_damaged_line_comes_out_once_as_what_it_is(
    compiled: dict[str, Compiled], tmp_path: Path, feed: str
) -> None:
    chance = random.Random(f"{SEED} {feed}")  # noqa: S311 - no secret
    folder = tmp_path / feed
    folder.mkdir()
    sheets: dict[str, Sheet] = {}
    mutated = 0
    while mutated < MUTATED_LINES:
        number = len(sheets)
        size = SIZES[number % len(SIZES)]
        sheet, count = make_sheet(feed, number, size, chance, wild=number % 16 >= 8)
        mutated += count
        sheets[sheet.name] = sheet
        data = gzip.compress(sheet.content, 1) if sheet.name.endswith(".gz") else sheet.content
        (folder / sheet.name).write_bytes(data)

    loading = Loading(compiled[feed], folder, tmp_path / "warehouse.duckdb")
    try:
        loading.load()
        states = loading.states()
        assert {name for name, state in states.items() if state == "loaded"} == set(sheets)
        logged = {
            file: (read, rejected, first_line)
            for file, read, rejected, first_line in loading.query(
                "select parse_filename(file), rows_read, rows_rejected, first_line "
                f"from {loading.feed.request.log}"
            )
        }
        assert {first_line is None for _, _, first_line in logged.values()} == {True, False}
        found = dict(rows_of(loading, feed))
        total: Counter[str] = Counter()
        for name, sheet in sheets.items():
            check = Check(feed, sheet)
            check.run(found.get(name, []))
            rejected = check.counts["broken"] + check.counts["rejected"]
            assert logged[name][:2] == (rejected + check.counts["accepted"], rejected), name
            total += check.counts
    finally:
        loading.close()
    # The test itself must not be blind: all kinds occur, and few lines are beyond it.
    assert min(total[kind] for kind in ("broken", "rejected", "accepted", "continued")) > 20, total
    assert total["not known"] < total["accepted"] / 20, total
