"""Read a file with care, line by line: what is sound becomes rows, what is broken is told.

DuckDB's reader is much faster, but one unclosed quote takes the rest of a file with it, and JSON
numbers lose digits there. So files with such faults, and JSON, are read here.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from warehouse.landing.files import BLOCK, QUOTE, Contract, Layout, RefusedError

LONGEST_LINE = 2_000_000  # bytes; DuckDB's reader takes no longer ones either
LONGEST_RECORD = 200  # lines that a quoted field may run over
SHOWN_NAMES = 20  # of columns that are not read
LARGEST_LINE = 256 << 20  # bytes; a file with a longer one is refused whole

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """A sound row.

    Attributes:
        number: its line (CSV, JSON lines) or place in the list (JSON list), from 1.
        cells: one for each column asked for; None where it is missing.
    """

    number: int
    cells: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that is no row.

    Attributes:
        number: as of a row.
        text: its bytes, without the line end.
        reason: what is wrong with it.
    """

    number: int
    text: bytes
    reason: str


def to_record(line: bytes) -> str:
    """A broken line as the record of a rejected row.

    A JSON object with the member `line`, the text, or `line_base64` where the bytes are no text.
    """
    try:
        text = line.decode("utf-8")
        if "\0" in text:
            raise ValueError("no text")
        record = {"line": text}
    except ValueError:
        record = {"line_base64": base64.b64encode(line).decode()}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def from_record(record: Mapping[str, Any]) -> bytes | None:
    """The bytes of the broken line that a parsed record keeps; None for one that keeps cells."""
    if list(record) == ["line"]:
        return str(record["line"]).encode()
    if list(record) == ["line_base64"]:
        return base64.b64decode(record["line_base64"])
    return None


# ---------------------------------------------------------------------------- CSV


class _OpenQuoteError(Exception):
    """A quoted field does not end on its line."""


class _QuoteError(Exception):
    """Something follows a closing quote."""


def read_csv(
    file: BinaryIO, layout: Layout, contract: Contract, *, ends_with_cr: bool
) -> Iterator[Row | Broken]:
    """The rows and broken lines of a CSV file, in order.

    Args:
        file: at its beginning.
        layout: how its lines are to be read.
        contract: says which cells a row has, and in which order.
        ends_with_cr: the lines end in a carriage return alone.
    """
    width = len(layout.columns)
    places = [
        layout.columns.index(name) if name in layout.columns else None for name in contract.names
    ]
    delimiter = layout.delimiter
    lines = _Lines(file, ends_with_cr=ends_with_cr)
    header: bytes | None = None
    for number, raw in lines:
        line = _without_end(raw)
        if not line:
            continue
        if header is None and layout.has_header:
            header = line
            continue
        if line == header:
            yield Broken(number, line, "the line repeats the header")
            continue
        fault = _fault_of(line)
        if fault is not None:
            yield Broken(number, line, fault)
            continue
        text = line.decode("utf-8")
        try:
            fields = split_fields(text, delimiter)
        except _QuoteError:
            yield Broken(number, line, "the line has text after a closing quote")
            continue
        except _OpenQuoteError:
            joined = _joined(raw, lines, delimiter, width)
            if joined is None:
                yield Broken(number, line, "the line has a quote that is not closed")
                continue
            fields, more = joined
            lines.skip(more)
        if len(fields) == width + 1 and not fields[-1]:
            fields.pop()  # a delimiter at the end of each line, as some exports have it
        if len(fields) != width:
            few = "few" if len(fields) < width else "many"
            yield Broken(number, line, f"the line has too {few} fields")
            continue
        # An empty field is a missing one, as for DuckDB's reader.
        yield Row(number, [None if place is None else fields[place] or None for place in places])


def split_fields(text: str, delimiter: str) -> list[str]:
    """The fields of a CSV record; a field in quotes loses them, two quotes inside are one.

    Raises:
        _OpenQuoteError: the last field is in quotes that do not close.
        _QuoteError: something else than a blank follows a closing quote.
    """
    if QUOTE not in text:
        return text.split(delimiter)
    fields: list[str] = []
    place, length = 0, len(text)
    while True:
        begin = place
        while begin < length and text[begin] == " ":
            begin += 1
        if begin < length and text[begin] == QUOTE:
            field, place = _quoted_field(text, begin + 1)
            while place < length and text[place] == " ":
                place += 1
            fields.append(field)
            if place == length:
                return fields
            if text[place] != delimiter:
                raise _QuoteError
            place += 1
        else:
            end = text.find(delimiter, place)
            if end < 0:
                fields.append(text[place:])
                return fields
            fields.append(text[place:end])
            place = end + 1


def _quoted_field(text: str, place: int) -> tuple[str, int]:
    """A field whose opening quote is just before a place, and the place after its closing one."""
    parts = []
    while True:
        quote = text.find(QUOTE, place)
        if quote < 0:
            raise _OpenQuoteError
        if text[quote + 1 : quote + 2] != QUOTE:
            parts.append(text[place:quote])
            return "".join(parts), quote + 1
        parts.append(text[place : quote + 1])
        place = quote + 2


class _Lines:
    """The lines of a file with their numbers; lines ahead can be looked at before they come."""

    def __init__(self, file: BinaryIO, *, ends_with_cr: bool) -> None:
        self._lines = _cr_lines(file) if ends_with_cr else _lf_lines(file)
        self._ahead: deque[bytes] = deque()
        self._number = 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return self

    def __next__(self) -> tuple[int, bytes]:
        line = self._ahead.popleft() if self._ahead else next(self._lines)
        self._number += 1
        return self._number, line.removeprefix(_BOM) if self._number == 1 else line

    def ahead(self, count: int) -> Iterator[bytes]:
        """The next lines, which stay."""
        yield from list(self._ahead)[:count]
        for line in islice(self._lines, max(count - len(self._ahead), 0)):
            self._ahead.append(line)
            yield line

    def skip(self, count: int) -> None:
        """Take lines that were looked at."""
        for _ in range(count):
            self._ahead.popleft()
        self._number += count


def _lf_lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(LARGEST_LINE):
        if len(line) == LARGEST_LINE:
            raise RefusedError(f"has a line of more than {LARGEST_LINE >> 20} MB, which is no row")
        yield line


def _cr_lines(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while block := file.read(BLOCK):
        *lines, rest = (rest + block).split(b"\r")
        if len(rest) > LARGEST_LINE:
            raise RefusedError(f"has a line of more than {LARGEST_LINE >> 20} MB, which is no row")
        yield from (line + b"\r" for line in lines)
    if rest:
        yield rest


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _fault_of(line: bytes) -> str | None:
    """What is wrong with the bytes of a line, whatever its fields are."""
    if len(line) > LONGEST_LINE:
        return f"the line is longer than {LONGEST_LINE // 1_000_000} MB"
    if b"\0" in line:
        return "the line holds a NUL byte"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "the line is not UTF-8"
    return None


def _joined(
    first: bytes, lines: _Lines, delimiter: str, width: int
) -> tuple[list[str], int] | None:
    """The fields of a record whose quoted field runs over lines, and how many lines more it takes.

    None where it is more likely that the quote was never closed: the lines after it are rows of
    their own, or no line within reach makes a record of the right width.
    """
    record = first
    for count, raw in enumerate(lines.ahead(LONGEST_RECORD), start=1):
        line = _without_end(raw)
        record += raw
        if len(record) > LONGEST_LINE or _fault_of(line) is not None:
            return None
        text = line.decode("utf-8")
        try:
            if text.count(QUOTE) % 2 == 0 and len(split_fields(text, delimiter)) == width:
                return None
        except (_OpenQuoteError, _QuoteError):
            pass
        try:
            fields = split_fields(_without_end(record).decode("utf-8"), delimiter)
        except _OpenQuoteError:
            continue
        except _QuoteError:
            return None
        return (fields, count) if len(fields) == width else None
    return None


# ---------------------------------------------------------------------------- JSON


def read_json(
    file: BinaryIO, contract: Contract, unread: set[str] | None = None
) -> Iterator[Row | Broken]:
    """The rows and broken objects of a JSON file: a list of objects, or one object per line.

    Numbers keep the digits that the file has.

    Args:
        file: at its beginning.
        contract: says which cells a row has, and in which order.
        unread: gets the names that the contract does not know, the first few of them.
    """
    unread = set() if unread is None else unread
    start = file.read(1 << 16)
    file.seek(0)
    items = (
        _list_items(file)
        if start.removeprefix(_BOM).lstrip()[:1] == b"["
        else _line_items(_Lines(file, ends_with_cr=False))
    )
    for number, raw, value in items:
        if isinstance(value, Broken):
            yield value
        else:
            yield _row_of(number, raw, value, contract, unread)


_decoder = json.JSONDecoder(
    object_pairs_hook=lambda pairs: _Object(pairs),
    parse_float=lambda text: _Number(text),
    parse_int=lambda text: _Number(text),
    parse_constant=lambda text: _Number(text),
)


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a name that comes twice is seen."""


class _Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


def _line_items(lines: _Lines) -> Iterator[tuple[int, bytes, Any]]:
    for number, raw in lines:
        line = _without_end(raw)
        if not line.strip():
            continue
        yield number, line, _parsed(number, line)


def _parsed(number: int, raw: bytes) -> Any:
    fault = _fault_of(raw)
    if fault is not None:
        return Broken(number, raw, fault)
    try:
        text = raw.decode("utf-8").strip()
        value, end = _decoder.raw_decode(text)
        if end != len(text):
            return Broken(number, raw, "the line has text after its object")
    except (ValueError, RecursionError):
        return Broken(number, raw, "the line is not JSON")
    return value


def _list_items(file: BinaryIO) -> Iterator[tuple[int, bytes, Any]]:
    """The items of a JSON list, read piece by piece."""
    buffer = _Buffer(file)
    buffer.skip_blank()
    buffer.take(1)  # the bracket
    number = 0
    while True:
        buffer.skip_blank(b",")
        if buffer.starts_with(b"]"):
            buffer.take(1)
            buffer.skip_blank()
            rest = buffer.take_all()
            if rest:
                yield number + 1, rest, Broken(number + 1, rest, "the file goes on after its list")
            return
        raw = buffer.take_object()
        if not raw:
            return
        number += 1
        value = _parsed(number, raw)
        following = _NEXT_OBJECT.search(raw)
        if isinstance(value, Broken) and following is not None:
            # A brace is missing: the objects on the lines after it must not go with it.
            raw = buffer.keep(following.start())
            value = Broken(number, raw, value.reason)
        yield number, raw, value


# What ends or nests a value, outside and inside a text; the next line that begins with a brace.
_OUTSIDE = re.compile(rb'["{}\[\],]')
_IN_TEXT = re.compile(rb'"|\n|\\(?s:.)?')
_NEXT_OBJECT = re.compile(rb"\n(?=[ \t\r]*\{)")


class _Buffer:
    """The bytes of a JSON list, of which only the part being looked at is held."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data = b""
        self._place = 0
        self._begin = 0  # of the object taken last
        self._fill()
        if self._data.startswith(_BOM):
            self._place = len(_BOM)

    def _fill(self) -> bool:
        block = self._file.read(BLOCK)
        if not block:
            return False
        self._data = self._data[self._place :] + block
        self._place = self._begin = 0
        if len(self._data) > LARGEST_LINE:
            raise RefusedError(f"has an object of more than {LARGEST_LINE >> 20} MB")
        return True

    def skip_blank(self, more: bytes = b"") -> None:
        """Go past white space, and past these bytes."""
        blank = b" \t\r\n" + more
        while True:
            while self._place < len(self._data) and self._data[self._place] in blank:
                self._place += 1
            if self._place < len(self._data) or not self._fill():
                return

    def starts_with(self, byte: bytes) -> bool:
        """Whether the next byte is this one."""
        return self._data[self._place : self._place + 1] == byte

    def take(self, count: int) -> bytes:
        """The next bytes."""
        taken = self._data[self._place : self._place + count]
        self._place += count
        return taken

    def take_all(self) -> bytes:
        """The rest of the file, which must be small."""
        while self._fill():
            pass
        return self.take(len(self._data)).strip()

    def keep(self, count: int) -> bytes:
        """Give back all but the first bytes of the object that was taken last."""
        self._place = self._begin
        return self.take(count).rstrip().rstrip(b",").rstrip()

    def take_object(self) -> bytes:
        """The bytes up to the end of the object or value that begins here.

        It ends with the brace that closes it; where none does, before the next line that begins
        with a brace, else with the file.
        """
        depth, is_text, place = 0, False, self._place
        self._begin = place
        while True:
            found = (_IN_TEXT if is_text else _OUTSIDE).search(self._data, place)
            if found is None or found[0] == b"\\":  # what is escaped has not come yet
                done = len(self._data) - self._place
                if found is not None:
                    done = found.start() - self._place
                if not self._fill():
                    return self._up_to_next_object()
                place = self._place + done
                continue
            place = found.end()
            byte = found[0][:1]
            if byte == b'"':
                is_text = not is_text
            elif byte == b"\n":  # no text of JSON runs over a line: a quote is missing
                return self._up_to_next_object()
            elif byte in (b"{", b"["):
                depth += 1
            elif byte in (b"}", b"]"):
                depth -= 1
                if depth == 0:
                    return self.take(place - self._place)
                if depth < 0:  # the end of the list after something else, or a brace too many
                    raw = self._data[self._place : place - 1].strip()
                    if byte == b"]" and raw:
                        return self.take(place - 1 - self._place).strip()
                    return self._up_to_next_object()
            elif byte == b"," and depth == 0:
                return self.take(place - 1 - self._place).strip()

    def _up_to_next_object(self) -> bytes:
        """The bytes before the next line that begins with a brace, or before the end."""
        place = self._place
        while True:
            found = _NEXT_OBJECT.search(self._data, place)
            if found is not None:
                return self.take(found.start() - self._place).strip().rstrip(b",").rstrip()
            done = max(len(self._data) - self._place - 4096, 0)
            if not self._fill():
                return self.take(len(self._data) - self._place).strip()
            place = self._place + done


def _row_of(
    number: int, raw: bytes, value: Any, contract: Contract, unread: set[str]
) -> Row | Broken:
    if not isinstance(value, _Object):
        return Broken(number, raw, "the line is no JSON object")
    cells: dict[str, str | None] = {}
    for title, item in value:
        name = contract.canonical(title)
        if name not in contract.names:
            if len(unread) < SHOWN_NAMES:
                unread.add(name)
            continue
        if name in cells:
            return Broken(number, raw, f"the object names {name} more than once")
        if isinstance(item, list):
            return Broken(number, raw, f"the object has nested values in {name}")
        cells[name] = _cell_of(item)
    if any("\0" in cell for cell in cells.values() if cell):
        return Broken(number, raw, "the line holds a NUL byte")
    try:
        for cell in cells.values():
            (cell or "").encode("utf-8")
    except UnicodeEncodeError:  # half a character, written as an escape
        return Broken(number, raw, "the line is not UTF-8")
    return Row(number, [cells.get(name) for name in contract.names])


def _cell_of(item: Any) -> str | None:
    if item is None:
        return None
    if isinstance(item, bool):
        return "true" if item else "false"
    return str(item)


def in_chunks(items: Iterable[Row | Broken], size: int) -> Iterator[list[Row | Broken]]:
    """Lists of at most so many items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
