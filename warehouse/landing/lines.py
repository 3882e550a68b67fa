"""Read a file with care, line by line: what is sound becomes rows, what is broken is told.

DuckDB's reader is much faster, but one unclosed quote takes the rest of a file with it, and JSON
numbers lose digits there. So files with such faults, and JSON, are read here.
"""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

from warehouse.landing.files import BLOCK, Contract, Layout, RefusedError
from warehouse.landing.grammar import (
    QUOTE,
    OpenQuoteError,
    QuoteError,
    fit,
    is_blank,
    split_fields,
)

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
        objects_inside: the path of a JSON object's objects, where these may be the rows.
    """

    number: int
    text: bytes
    reason: str
    objects_inside: str | None = None


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
    width, least = len(layout.columns), contract.least(layout.columns)
    places = [
        layout.columns.index(name) if name in layout.columns else None for name in contract.names
    ]
    delimiter = layout.delimiter
    lines = _Lines(file, ends_with_cr=ends_with_cr)
    header: bytes | None = None
    for number, raw in lines:
        line = _without_end(raw)
        fault = _fault_of(line)
        text = "" if fault else line.decode("utf-8")
        if not fault and is_blank(text, delimiter):
            continue
        if header is None and layout.has_header:
            header = line
            continue
        if line == header:
            yield Broken(number, line, "the line repeats the header")
            continue
        if fault is not None:
            yield Broken(number, line, fault)
            continue
        try:
            fields = split_fields(text, delimiter)
        except QuoteError:
            yield Broken(number, line, "the line has text after a closing quote")
            continue
        except OpenQuoteError:
            joined = _joined(raw, lines, delimiter, width, least)
            if joined is None:
                yield Broken(number, line, "the line has a quote that is not closed")
                continue
            fields, more = joined
            lines.skip(more)
        if len(fields) != width and not fit(fields, width, _least_of(text, width, least)):
            few = "few" if len(fields) < width else "many"
            yield Broken(number, line, f"the line has too {few} fields")
            continue
        # An empty field is a missing one, as for DuckDB's reader.
        yield Row(number, [None if place is None else fields[place] or None for place in places])


def _least_of(text: str, width: int, least: int) -> int:
    """How many fields a line must have; all of them where half a pair of quotes tells of damage."""
    return width if text.count(QUOTE) % 2 else least


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
    first: bytes, lines: _Lines, delimiter: str, width: int, least: int
) -> tuple[list[str], int] | None:
    """The fields of a record whose quoted field runs over lines, and how many lines more it takes.

    None where it is more likely that the quote was never closed: the lines after it are rows of
    their own, or no line within reach makes a record. A record that lacks fields must not have a
    line that would do as such a row either.
    """
    record = first
    has_short_row = False
    for count, raw in enumerate(lines.ahead(LONGEST_RECORD), start=1):
        line = _without_end(raw)
        record += raw
        if len(record) > LONGEST_LINE or _fault_of(line) is not None:
            return None
        text = line.decode("utf-8")
        if text.count(QUOTE) % 2 == 0:
            with suppress(QuoteError, OpenQuoteError):
                fields = split_fields(text, delimiter)
                if fit(fields, width, width):
                    return None
                has_short_row = has_short_row or fit(fields, width, least)
        try:
            fields = split_fields(_without_end(record).decode("utf-8"), delimiter)
        except OpenQuoteError:
            continue
        except QuoteError:
            return None
        return (fields, count) if fit(fields, width, width if has_short_row else least) else None
    return None


# ---------------------------------------------------------------------------- JSON


@dataclass
class Tally:
    """What was seen of a JSON file while it was read.

    Attributes:
        unread: names that the contract does not know, the first few of them.
        braces: opening ones in what came out.
        broken: how many items are no rows.
    """

    unread: set[str] = field(default_factory=set)
    braces: int = 0
    broken: int = 0


def read_json(
    file: BinaryIO, contract: Contract, tally: Tally | None = None
) -> Iterator[Row | Broken]:
    """The rows and broken objects of a JSON file: objects one after the other, or lists of them.

    Numbers keep the digits that the file has. A row's number is its place where the file begins
    with a list, else its line, or the next one that is free.

    Args:
        file: at its beginning.
        contract: says which cells a row has, and in which order.
        tally: gets what is seen.

    Raises:
        RefusedError: nothing in it is a row, and the objects are inside others.
    """
    tally = Tally() if tally is None else tally
    maker = _RowMaker(contract, tally.unread)
    has_rows = False
    inside: str | None = None
    for number, raw, value in _json_items(_Text(file)):
        tally.braces += raw.count("{")
        item = maker.row_of(number, raw, value)
        if isinstance(item, Row):
            has_rows = True
        else:
            tally.broken += 1
            inside = inside or item.objects_inside
            if inside is not None and not has_rows and isinstance(value, _Fault):
                break  # where it ends is not known
        yield item
    if inside is not None and not has_rows:
        raise RefusedError(_inside(inside))


def _inside(path: str) -> str:
    return f"has no rows at its top: the objects are inside {path}. Write the list of them alone"


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


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why something in a JSON file is no value."""

    reason: str
    objects_inside: str | None = None


# What may stand between values: white space of any kind, marks that cannot be seen, commas.
_BETWEEN = re.compile(r"[\s,\ufeff\u200b]*")
# A list of rows begins, after another value; in `[1, 2]` it does not.
_LIST_OF_ROWS = re.compile(r"\[[\s,]*[\[{\]]")
# What follows a whole value, and what ends something that is none, in a list and outside of one.
_WHOLE = re.compile(r"(?:[^\S\n\r]|[\ufeff\u200b])*(?:[,\n\r\[{\]]|\Z)")
_END_IN_LIST = re.compile(r"[\n\]]|,(?=\s*\{)")
_END = re.compile(r"\n|,(?=\s*\{)")
_NEXT_OBJECT = re.compile(r"\n(?=[^\S\n]*,?[^\S\n]*\{)")  # a line that begins with one
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*+"?|[{}\[\]]')


class _Text:
    """The text of a JSON file, of which only the part being looked at is held.

    Bytes that are no UTF-8 are lone surrogates in it.
    """

    _GONE = 1 << 17  # letters behind the place that may stay: the decoder counts the lines in them

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._is_at_end = False
        self._next = 0  # the place that next_object() found last
        self._searched = 0  # from it up to here there is none
        self.text = ""
        self.place = 0
        self.line = 1

    def _fill(self) -> bool:
        """Hold more of the file, unless it is at its end."""
        if self._is_at_end:
            return False
        if len(self.text) - self.place > LARGEST_LINE:
            raise RefusedError(f"has an object of more than {LARGEST_LINE >> 20} MB")
        block = self._file.read(BLOCK)
        self._is_at_end = not block
        self._forget()
        self.text += self._decode(block, final=not block)
        return True

    def _forget(self) -> None:
        self.text = self.text[self.place :]
        self._next -= self.place
        self._searched -= self.place
        self.place = 0

    def go(self, end: int) -> str:
        """Go on to a place; the text up to it."""
        taken = self.text[self.place : end]
        self.line += taken.count("\n")
        self.place = end
        return taken

    def is_left(self) -> bool:
        """Go past what is between values; whether anything comes, of which enough is held then."""
        while True:
            found = _BETWEEN.match(self.text, self.place)
            self.go(found.end() if found else self.place)
            if self.place < len(self.text):
                break
            if not self._fill():
                return False
        if self.place > self._GONE:
            self._forget()
        while len(self.text) - self.place <= LONGEST_LINE and self._fill():
            pass
        return True

    def next_object(self, *, is_held: bool = False) -> int:
        """The place of the next line that begins with a brace, or of the end of the file.

        Args:
            is_held: only of what is held.
        """
        while self._next <= self.place:
            start = max(self._searched - 4096, self.place + 1)
            found = _NEXT_OBJECT.search(self.text, start)
            if found is not None:
                self._next = found.start()
                break
            self._searched = len(self.text)
            if is_held or not self._fill():
                return len(self.text)
        return self._next


def _json_items(text: _Text) -> Iterator[tuple[int, str, Any]]:
    """What stands in a JSON file one after the other: number, text, and the value or a fault.

    Each letter of the file that is not between values is in the text of one item.
    """
    number = lists = 0
    is_list, is_first, is_sound = False, True, True
    while text.is_left():
        letter = text.text[text.place]
        if letter == "[" and (is_first or _LIST_OF_ROWS.match(text.text, text.place)):
            is_list, is_first = is_list or is_first, False
            lists += 1
            text.go(text.place + 1)
            continue
        is_first = False
        if letter == "]" and lists:
            lists -= 1
            text.go(text.place + 1)
            continue
        number = number + 1 if is_list else max(text.line, number + 1)
        end, value = _value_of(text, _END_IN_LIST if lists else _END)
        is_sound = not isinstance(value, _Fault)
        raw = text.go(end)
        yield number, raw if is_sound else raw.rstrip(" \t\r\n,"), value
    if lists and is_sound:
        number = number + 1 if is_list else max(text.line, number + 1)
        yield number, "", _Fault("the list does not end; the file may be cut short")


def _value_of(text: _Text, ends: re.Pattern[str]) -> tuple[int, Any]:
    """Where the value that comes next ends, and the value or what is wrong with it."""
    reason, inside = "the line is not JSON", None
    is_too_long = False
    try:
        value, end = _decoder.raw_decode(text.text, text.place)
        is_too_long = end - text.place > LONGEST_LINE
        if not is_too_long:
            if _WHOLE.match(text.text, end):
                return end, value
            found = ends.search(text.text, end)
            end = found.start() if found else text.next_object()
            return end, _Fault("the line has text after its object")
    except json.JSONDecodeError as error:
        is_cut = (
            error.msg.startswith("Unterminated string") or error.pos > text.place + LONGEST_LINE
        )
        is_too_long = is_cut and len(text.text) > text.place + LONGEST_LINE
    except (ValueError, RecursionError):
        pass
    if is_too_long:
        inside = _list_of_objects(text.text, text.place)
    fault = _Fault(reason, inside)
    limit = text.next_object(is_held=True)  # the objects on the lines after it must not go with it
    end = text.place
    if text.text[end] in "{[":
        closed = _closing(text.text, end, limit)
        if closed is None:
            return text.next_object(), fault
        if _WHOLE.match(text.text, closed):
            return closed, fault
        end = closed
    found = ends.search(text.text, end, limit)
    return found.start() if found else text.next_object(), fault


def _closing(text: str, place: int, limit: int) -> int | None:
    """The place after the bracket that closes the one at a place; None where none does."""
    depth = 0
    for token in _TOKEN.finditer(text, place, limit):
        letter = token[0][0]
        if letter == '"':
            if len(token[0]) == 1 or token[0][-1] != '"':
                return None
            continue
        depth += 1 if letter in "{[" else -1
        if depth == 0:
            return token.end()
    return None


def _list_of_objects(text: str, place: int) -> str | None:
    """The path of the first list of objects in an object that is too long to be read."""
    path: list[tuple[str, str]] = []  # brackets that are open, each with the name that it has
    name = ""
    for token in _TOKEN.finditer(text, place, place + LONGEST_LINE):
        letter = token[0][0]
        if letter == '"':
            name = token[0][1:-1]  # the last one before a bracket is what that is called
        elif letter in "}]":
            if path:
                path.pop()
            name = ""
        else:
            if letter == "{" and path and path[-1][0] == "[":
                return ".".join(name for _, name in path if name)
            path.append((letter, name))
            name = ""
    return None


class _RowMaker:
    """Makes rows of objects.

    Args:
        contract: says which cells a row has, and in which order.
        unread: gets the names that the contract does not know, the first few of them.
    """

    _MANY_TITLES = 10_000

    def __init__(self, contract: Contract, unread: set[str]) -> None:
        self._contract = contract
        self._unread = unread
        self._names: dict[str, str | None] = {}
        self._required = [column.name for column in contract.columns if column.required]

    def row_of(self, number: int, raw: str, value: Any) -> Row | Broken:
        """The row of an object, or what is wrong with it."""
        data = raw.encode("utf-8", "surrogateescape")
        fault = _fault_of(data) if isinstance(value, _Fault) or not raw.isascii() else None
        if fault is not None:
            inside = value.objects_inside if isinstance(value, _Fault) else None
            return Broken(number, data, fault, inside)
        if isinstance(value, _Fault):
            return Broken(number, data, value.reason, value.objects_inside)
        if not isinstance(value, _Object):
            return Broken(number, data, "the line is no JSON object")
        cells: dict[str, str | None] = {}
        others: list[tuple[str, Any]] = []
        aliases: dict[str, tuple[str, Any]] = {}
        for title, item in value:
            name = self._name(title)
            if name is None:
                others.append((title, item))
                continue
            is_alias = title.strip().lower() != name.lower()
            if name in cells and is_alias != (name in aliases):  # its own name beats an alias
                others.append((title, item) if is_alias else aliases.pop(name))
                if is_alias:
                    continue
            elif name in cells:
                return Broken(number, data, f"the object names {name} more than once")
            if isinstance(item, list):
                return Broken(number, data, f"the object has nested values in {name}")
            if is_alias:
                aliases[name] = (title, item)
            cells[name] = _cell_of(item)
        if others:
            # What it has in place of what it lacks would be nowhere.
            lacking = [name for name in self._required if name not in cells]
            if lacking or not cells:
                inside = self._objects_inside(others, takes_empty=not cells)
                if inside is not None:
                    return Broken(number, data, f"the objects are inside {inside}", inside)
                lacking = lacking or [self._contract.names[0]]
                return Broken(number, data, f"the object has no {', '.join(lacking)}")
            if len(self._unread) < SHOWN_NAMES:
                self._unread.update(title.strip() for title, _ in others[:SHOWN_NAMES])
        if any("\0" in cell for cell in cells.values() if cell):
            return Broken(number, data, "the line holds a NUL byte")
        try:
            for cell in cells.values():
                (cell or "").encode("utf-8")
        except UnicodeEncodeError:  # half a character, written as an escape
            return Broken(number, data, "the line is not UTF-8")
        return Row(number, [cells.get(name) for name in self._contract.names])

    def _name(self, title: str) -> str | None:
        """The contract's name of a member; None where it has none."""
        try:
            return self._names[title]
        except KeyError:
            name: str | None = self._contract.canonical(title)
            if name not in self._contract.names:
                name = None
            if len(self._names) < self._MANY_TITLES:
                self._names[title] = name
            return name

    def _objects_inside(self, members: list[tuple[str, Any]], *, takes_empty: bool) -> str | None:
        """The path of the objects within members that know most columns, or of a list of some."""
        best: tuple[int, str | None] = (-1, None)
        ahead = deque(members)
        while ahead:
            path, item = ahead.popleft()
            known = -1
            if isinstance(item, _Object):
                known = sum(self._name(title) is not None for title, _ in item) or -1
                ahead.extend((f"{path}.{title}", inner) for title, inner in item)
            elif isinstance(item, list):
                if any(isinstance(inner, _Object) for inner in item) or (takes_empty and not item):
                    known = 0
                ahead.extend((path, inner) for inner in item)
            if known > best[0]:
                best = (known, path)
        return best[1]


_THREE_PLACES = re.compile(r"-?\d+\.\d\d0")  # 2.500 as a text may be meant as 2500


def _cell_of(item: Any) -> str | None:
    if item is None:
        return None
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, _Number) and _THREE_PLACES.fullmatch(item):
        return item.rstrip("0").rstrip(".")
    return str(item)


def in_chunks(items: Iterable[Row | Broken], size: int) -> Iterator[list[Row | Broken]]:
    """Lists of at most so many items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
