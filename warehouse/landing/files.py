"""The files of a feed's folder: which there are, and what each one is, told without loading it."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import re
import stat
import zlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from warehouse.landing.grammar import (
    DELIMITERS,
    QUOTE,
    OpenQuoteError,
    QuoteError,
    fit,
    has_spaced_quote,
    is_blank,
    quotes_are_plain,
    split_fields,
)

BLOCK = 1 << 20  # bytes read at a time; a longer line is looked at more carefully
FEW_BLOCKS = 64  # of a file for which numpy is not worth its import
HEADER_LIMIT = 1 << 16  # bytes of the first line
LARGEST_RATIO = 200  # of the bytes of a gzip file and its content; tables have 5 to 50
UNPACKED_FREELY = 16 << 20  # bytes; content that is no larger may have any ratio
# The steps of a file system's clock, in seconds, at most. Those of Linux are 10 ms or less; where
# times are whole seconds, they may be even ones only.
TICK, COARSE_TICK = 0.02, 2.0
LINES_LOOKED_AT = 100  # to tell the delimiter, and whether there is a header; within the same bytes
# What the macro clean_cell() takes from the ends of a cell, without tabs and line ends; by byte, of
# which two make a no-break space.
CLEANED_AWAY = b"\"'\xc2\xa0 "
ODD_BLANKS = b"\t\v\f"

_LINE_END, _RETURN, _BLANK = ord("\n"), ord("\r"), ord(" ")
_BOM = b"\xef\xbb\xbf"
# What a file begins with that was saved as something else than its name says.
_FOREIGN = (
    (b"PK\x03\x04", "is a spreadsheet or a zip archive; save it as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel file, or one with a password; save it as CSV (UTF-8)"),
    (b"\xff\xfe", "is UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16; save it as UTF-8"),
    (b"%PDF", "is a PDF; export the data as CSV"),
    (b"\x1f\x8b", "is compressed; its name must end in .gz"),
    (b"PAR1", "is a Parquet file; its name must end in .parquet"),
    (b"PARE", "is an encrypted Parquet file; export it without a password"),
)
_KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}


class RefusedError(Exception):
    """A file that cannot be loaded at all; the message says why, and what to do."""


@dataclass(frozen=True)
class Column:
    """A column of a feed's contract, as far as files are concerned.

    Attributes:
        name: its name.
        aliases: others that a header may use.
        required: a row without it is rejected.
        pattern: regular expression of what its cells look like (macro grammar()); None for text.
    """

    name: str
    aliases: tuple[str, ...] = ()
    required: bool = False
    pattern: str | None = None


@dataclass(frozen=True)
class Contract:
    """What the files of a feed may look like.

    Attributes:
        feed: the feed's name.
        columns: its columns, in order.
        headerless: a CSV file without a header is accepted when it has as many columns.
    """

    feed: str
    columns: tuple[Column, ...]
    headerless: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def canonical(self, title: str) -> str:
        """The contract's name for a title of a header, in any case or by alias; else the title."""
        wanted = title.strip().lower()
        for column in self.columns:
            if wanted in (column.name.lower(), *(alias.lower() for alias in column.aliases)):
                return column.name
        return title.strip()

    def named(self, titles: Sequence[str]) -> list[str]:
        """The contract's names for the titles of a file, else the titles.

        Where a column stands under its name and under an alias too, the alias stays what it is.
        """
        own = {title.strip().lower() for title in titles} & {name.lower() for name in self.names}
        names = []
        for title in titles:
            name, text = self.canonical(title), title.strip()
            is_beaten = name.lower() in own and text.lower() != name.lower()
            names.append(text if is_beaten else name)
        return names

    def least(self, columns: Sequence[str]) -> int:
        """How many cells a row must have, when they are of these columns."""
        required = {column.name for column in self.columns if column.required}
        places = [place for place, name in enumerate(columns, start=1) if name in required]
        return max(places, default=1)


@dataclass(frozen=True)
class Found:
    """A file of a feed's folder.

    Attributes:
        name: its name in the folder.
        path: where it is, without symbolic links.
        size: bytes.
        modified_ns: time of its last change, nanoseconds of the epoch.
        identity: what tells it from a file of the same name, size and time that was put in its
            place: when it was last changed in any way, and its place on the disk.
        fault: why it is never opened; None for a file that may be.
    """

    name: str
    path: Path
    size: int
    modified_ns: int
    identity: str
    fault: str | None = None

    @classmethod
    def of(cls, name: str, path: Path, status: os.stat_result, fault: str | None = None) -> Found:
        """A file of this status."""
        identity = f"{status.st_ctime_ns} {status.st_ino} {status.st_dev}"
        return cls(name, path, status.st_size, status.st_mtime_ns, identity, fault)

    @property
    def tick(self) -> float:
        """Seconds after which a change of the file shows in its identity.

        A file that is written twice within one step of the clock looks the same after both.
        """
        has_whole_seconds = int(self.identity.split()[0]) % 1_000_000_000 == 0
        return COARSE_TICK if has_whole_seconds else TICK

    def is_as_found(self) -> bool:
        """Whether the file is still the one that was found."""
        try:
            return Found.of(self.name, self.path, self.path.stat(), self.fault) == self
        except OSError:
            return False


@dataclass(frozen=True)
class Layout:
    """How the rows of a file are to be read. Files of one layout are read together.

    Attributes:
        kind: `csv`, `json` or `parquet`.
        columns: of a CSV line, or of a Parquet file, in order: the contract's names, and others
            for columns that are not read.
        delimiter: of a CSV file.
        has_header: the first line of a CSV file is no row.
        is_compressed: gzip.
        types: of the columns of a Parquet file: a file read beside one of others would be given
            those of the first.
        expressions: for Parquet, SQL that gives each of the contract's columns as text.
    """

    kind: str
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    has_header: bool = True
    is_compressed: bool = False
    types: tuple[str, ...] = ()
    expressions: tuple[str, ...] = ()

    @property
    def is_read_alone(self) -> bool:
        """Whether a column hides that by which DuckDB tells files apart that it reads together."""
        return self.kind == "parquet" and any(name.lower() == "file_index" for name in self.columns)


@dataclass(frozen=True)
class Scan:
    """What a look at a file found.

    Attributes:
        content_hash: SHA-256 of its content, uncompressed; with its name where it has no rows.
        layout: how to read it.
        rows: how many rows it must have, counted without reading them; None: not known.
        is_regular: each line is one row, so that DuckDB's reader can be held to `rows`.
        has_clean_cells: the macro clean_cell() would leave each cell alone, and none has two blanks
            in a row, or another blank than a space; False: not so, or not known.
        ends_with_cr: the lines end in a carriage return alone.
        braces: opening ones in a JSON file, wherever they stand.
        notes: what its owner should know, such as columns that are not read.
    """

    content_hash: str
    layout: Layout
    rows: int | None = None
    is_regular: bool = True
    has_clean_cells: bool = False
    ends_with_cr: bool = False
    braces: int | None = None
    notes: tuple[str, ...] = ()


def find_files(folder: Path) -> list[Found]:
    """The files of a folder, by name; hidden ones, `*.tmp`, `*.part` and folders are ignored.

    What is no file, and what a symbolic link has outside the landing zone (the folder's parent), is
    found with its fault.

    Raises:
        OSError: the folder cannot be read. A folder that is not there has no files.
    """
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    zone = folder.parent.resolve()
    found = []
    for path in paths:
        if path.name.startswith(".") or path.suffix.lower() in (".tmp", ".part"):
            continue
        try:
            entry = path.lstat()
        except FileNotFoundError:  # renamed or removed just now
            continue
        name = readable(path.name)
        try:
            real = path.resolve(strict=True)
            status = real.stat()
        except (OSError, RuntimeError):  # Python tells a circle of links by the latter
            if stat.S_ISLNK(entry.st_mode):
                found.append(Found.of(name, path, entry, "is a symbolic link that leads nowhere"))
            continue
        if stat.S_ISDIR(status.st_mode):
            continue
        fault = None
        if not real.is_relative_to(zone):
            fault = "is reached by a symbolic link that leaves the landing zone; copy it there"
        elif not stat.S_ISREG(status.st_mode):
            fault = "is no file but a pipe, a socket or a device; write a file"
        found.append(Found.of(name, real, status, fault))
    return found


def in_short(error: Exception, found: Found) -> str:
    """What was said of a file, without the query, and where the file is on this machine."""
    said, _, _query = str(error).partition("\n\nLINE ")
    return " ".join(said.replace(str(found.path), found.name).split())[:200]


def readable(name: str) -> str:
    r"""A file's name as text, also where its bytes are no UTF-8: these become `\xe9` and so on.

    No two names become the same: in one that looks like this, backslashes are doubled.
    """
    data = os.fsencode(name)
    try:
        if not re.search(rb"\\(\\|x[0-9a-f]{2})", data):
            return data.decode()
    except UnicodeDecodeError:
        pass
    return data.replace(b"\\", rb"\\").decode("utf-8", "backslashreplace")


def glob_free(path: Path) -> str:
    """A path as DuckDB's readers take it: one file, also where it has the letters of a glob."""
    text = str(path)
    if not re.search(r"[*?\[]", text):
        return text
    return re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", text.replace("\\", "\\\\"))


def strays(landing: Path, feeds: Collection[str]) -> list[str]:
    """What lies in the landing zone where no feed looks.

    That is beside the folders of the feeds, and in folders within these; empty ones are no matter.

    Raises:
        OSError: the landing zone cannot be read. One that is not there is empty.
    """
    found = []
    for path in _in_folder(landing):
        if path.name in feeds and path.is_dir():
            found += [inner for inner in _in_folder(path) if inner.is_dir() and _in_folder(inner)]
        elif path.name != "README.md" and not (path.is_dir() and not _in_folder(path)):
            found.append(path)
    return [readable(str(path.relative_to(landing))) for path in found]


def _in_folder(folder: Path) -> list[Path]:
    """What is in a folder, by name, without what is hidden; nothing in one that is not there."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []


def kind_of(name: str) -> tuple[str, bool]:
    """The kind of a file by its name, and whether it is compressed.

    Raises:
        RefusedError: no such kind is read.
    """
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    is_compressed = bool(suffixes) and suffixes[-1] == ".gz"
    if is_compressed:
        suffixes.pop()
    kind = _KINDS.get(suffixes[-1] if suffixes else "")
    if kind is None or (kind == "parquet" and is_compressed):
        raise RefusedError(
            "is of no kind that is read: .csv, .tsv, .json, .jsonl, .ndjson (each also with .gz) "
            "and .parquet are"
        )
    return kind, is_compressed


def scan(found: Found, contract: Contract) -> Scan:
    """Look at a file: what it is, how to read it, how many rows it must have.

    Raises:
        RefusedError: it cannot be loaded at all.
        OSError: it cannot be read.
    """
    if found.fault is not None:
        raise RefusedError(found.fault)
    kind, is_compressed = kind_of(found.name)
    try:
        str(found.path).encode()
    except UnicodeEncodeError:
        raise RefusedError("has a name that is not UTF-8; rename it") from None
    if found.size == 0:
        raise RefusedError("is empty")
    try:
        if kind == "parquet":
            looked = _scan_parquet(found, contract)
        else:
            with open_file(found.path, is_compressed) as file:
                if kind == "json":
                    looked = _scan_json(file, is_compressed)
                else:
                    looked = _scan_csv(file, found, contract, is_compressed)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise RefusedError("is a gzip file that is damaged or cut short; copy it again") from None
    if looked.rows == 0:  # files without rows are no copies of each other
        return replace(looked, content_hash=f"{looked.content_hash} of {found.name}")
    return looked


def open_file(path: Path, is_compressed: bool) -> io.BufferedReader:
    """Open a file for reading what it holds, uncompressed.

    Raises:
        RefusedError: it is no file any more; when it is read: it unpacks to too much.
        OSError: it cannot be opened.
    """
    # A pipe that was put in its place would keep who opens it waiting for somebody to write.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise RefusedError("is no file; write a file")
    return io.BufferedReader(_Unpacked(file) if is_compressed else file, BLOCK)


class _Unpacked(io.RawIOBase):
    """What a gzip file holds, as long as it is not out of all proportion to the file.

    Args:
        file: at its beginning; closed with this one.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._gzip = gzip.GzipFile(fileobj=file, mode="rb")
        self._most = max(LARGEST_RATIO * os.fstat(file.fileno()).st_size, UNPACKED_FREELY)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._gzip.readinto(buffer)
        if self._gzip.tell() > self._most:
            raise RefusedError(
                f"unpacks to more than {LARGEST_RATIO} times its size, which no table does; "
                "unpack it and look"
            )
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._gzip.seek(offset, whence)

    def tell(self) -> int:
        return self._gzip.tell()

    def close(self) -> None:
        if not self.closed:
            self._gzip.close()
            self._file.close()
        super().close()


# ---------------------------------------------------------------------------- CSV


def _scan_csv(
    file: io.BufferedReader, found: Found, contract: Contract, is_compressed: bool
) -> Scan:
    start = _find_first_line(file)
    file.seek(start)
    sample = file.read(HEADER_LIMIT)
    is_whole = len(sample) < HEADER_LIMIT
    _refuse_foreign(sample)
    ends_with_cr = _ends_with_cr(sample)
    lines = sample.removeprefix(_BOM).split(b"\r" if ends_with_cr else b"\n")
    if not is_whole:
        lines.pop()
        if not lines:
            raise RefusedError(
                f"has a first line of more than {HEADER_LIMIT:,} bytes, which is none"
            )
    lines = [line.removesuffix(b"\r") for line in lines]
    layout, first, notes = read_layout(lines, contract, is_compressed)
    header = lines[first] if layout.has_header else b""
    file.seek(0)
    # DuckDB does not look into columns that are not read.
    has_unread = any(name not in contract.names for name in layout.columns)
    counts = _count(file, found, layout, header, checks_utf8=has_unread)
    # A blank line of one column would be a row for DuckDB.
    is_regular = (
        counts.is_regular and start + first == 0 and not ends_with_cr and len(layout.columns) > 1
    )
    others = lines[first + int(layout.has_header) :]
    rows = counts.lines - int(layout.has_header) if is_regular else None
    if is_whole and all(_is_blank(line, layout.delimiter) for line in others):
        rows = 0
    return Scan(
        counts.digest,
        layout,
        rows=rows,
        is_regular=is_regular,
        has_clean_cells=counts.has_clean_cells,
        ends_with_cr=ends_with_cr,
        notes=notes,
    )


def _ends_with_cr(sample: bytes) -> bool:
    """Whether a carriage return alone ends more lines that are not blank than a line feed does."""
    text = sample.replace(b"\r\n", b"\n")
    returns, feeds = (
        (sum(not line.isspace() and line != b"" for line in text.split(end)), text.count(end))
        for end in (b"\r", b"\n")
    )
    return b"\r" in text and returns > feeds


def _find_first_line(file: io.BufferedReader) -> int:
    """The first byte of the first line that has more than blanks; of none, the end of the file."""
    start = 0
    while block := file.read(HEADER_LIMIT):
        if visible := block.strip():
            blank = block[: block.index(visible)]
            return start + max(blank.rfind(b"\n"), blank.rfind(b"\r")) + 1
        start += len(block)
    return start


def _is_blank(line: bytes, delimiter: str) -> bool:
    text = _decoded(line)
    return text is not None and is_blank(text, delimiter)


@dataclass(frozen=True)
class _Counts:
    digest: str
    lines: int
    is_regular: bool
    has_clean_cells: bool


class _Letters:
    """Counts line ends in a quarter of the time of bytes.count, and looks at the ends of cells.

    It takes numpy, whose import lasts 0.1 s: as long as to count the blocks of a small file
    without it.

    Args:
        delimiter: of the cells, one letter.
    """

    _WINDOW = 1 << 17  # of a block, so that what is made of it stays in the processor's cache

    def __init__(self, delimiter: str) -> None:
        import numpy

        self._numpy = numpy
        self._space = [numpy.empty(self._WINDOW + 1, bool) for _ in range(3)]  # to work in
        self._ends = [ord(delimiter), _LINE_END, _RETURN]
        self._never = [letter for letter in ODD_BLANKS if letter not in self._ends]
        self._last = b"\n"  # letter of the block before; the first cell follows an end, too
        self._are_clean = True

    def line_ends(self, block: bytearray) -> int:
        """How many line ends are in the next block of the file; its cells are looked at, too."""
        np = self._numpy
        letters = np.frombuffer(block, np.uint8)
        if self._are_clean:
            self._look(np.frombuffer(self._last + block[:1], np.uint8), self._ends, CLEANED_AWAY)
            self._last = bytes(block[-1:])
            ends, dirt = (
                [letter for letter in some if block.find(letter) >= 0]
                for some in (self._ends, CLEANED_AWAY)
            )
            if any(block.find(letter) >= 0 for letter in self._never):
                self._are_clean = False
            for place in range(0, len(block) if ends and dirt else 0, self._WINDOW):
                self._look(letters[place : place + self._WINDOW + 1], ends, dirt)
        return int(np.count_nonzero(letters == _LINE_END))

    def have_clean_cells(self) -> bool:
        """Whether cleaning would leave every cell alone, now that the file is at its end."""
        letters = self._numpy.frombuffer(self._last + b"\n", self._numpy.uint8)
        self._look(letters, self._ends, CLEANED_AWAY)
        return self._are_clean

    def _look(self, letters: Any, ends: Sequence[int], dirt: Sequence[int]) -> None:
        """Notice dirt beside the end of a cell, and two blanks in a row."""
        np = self._numpy
        is_end, is_dirt, other = (space[: len(letters)] for space in self._space)
        np.equal(letters, ends[0], out=is_end)
        for end in ends[1:]:
            is_end |= np.equal(letters, end, out=other)
        for letter in dirt:
            np.equal(letters, letter, out=is_dirt)
            if letter == _BLANK:  # the last of them
                is_end |= is_dirt
            if (
                np.logical_and(is_end[1:], is_dirt[:-1], out=other[1:]).any()
                or np.logical_and(is_end[:-1], is_dirt[1:], out=other[1:]).any()
            ):
                self._are_clean = False


def _count(
    file: io.BufferedReader, found: Found, layout: Layout, header: bytes, *, checks_utf8: bool
) -> _Counts:
    """Hash and count the lines of a file, and see whether anything in it needs a careful reader."""
    is_large = found.size >= FEW_BLOCKS * BLOCK
    decoder = codecs.getincrementaldecoder("utf-8")() if checks_utf8 else None
    line_ends = returns = pairs = 0
    is_regular = True
    is_doubtful = False
    needle = b"\n" + header
    tail = b""
    trailing = 0  # blank lines at the end
    size = 0
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as beside:
        # A large file is read twice, side by side: to wait for each other would cost more.
        is_beside = is_large and not layout.is_compressed
        hashed = beside.submit(_hash, found.path, is_compressed=False) if is_beside else None
        letters = _Letters(layout.delimiter) if is_large else None
        buffer = bytearray(BLOCK)
        while read := file.readinto(buffer):
            block = buffer if read == BLOCK else buffer[:read]
            if hashed is None:
                digest.update(block)
            size += read
            ends = block.count(b"\n") if letters is None else letters.line_ends(block)
            line_ends += ends
            if ends == 0 and read == BLOCK:
                is_regular = False
            if block.find(b"\r") >= 0:
                returns += block.count(b"\r")
                pairs += block.count(b"\r\n") + (tail[-1:] == b"\r" and block[:1] == b"\n")
            if block.find(b"\0") >= 0:
                is_regular = False
            is_doubtful = is_doubtful or has_spaced_quote(block, tail[-1] if tail else _LINE_END)
            if decoder is not None:
                try:
                    decoder.decode(bytes(block), final=read < BLOCK)
                except UnicodeDecodeError:
                    is_regular, decoder = False, None
            if header and (block.find(needle) >= 0 or needle in tail + bytes(block[: len(needle)])):
                is_regular = False
            tail = bytes(block[-max(len(needle), 1024) :])
    if returns not in (0, line_ends) or returns != pairs:
        is_regular = False
    if is_doubtful and is_regular:
        with open_file(found.path, layout.is_compressed) as again:
            skipped = again.peek(len(_BOM)).startswith(_BOM) * len(_BOM)
            again.seek(skipped)
            blocks = iter(lambda: again.read(BLOCK), b"")
            is_regular = quotes_are_plain(blocks, layout.delimiter)
    if tail.endswith(b"\n"):
        blank = tail.replace(b"\r", b"")
        trailing = len(blank) - len(blank.rstrip(b"\n")) - 1
        if trailing >= 500:
            is_regular = False
    lines = line_ends - trailing + (1 if size and not tail.endswith(b"\n") else 0)
    return _Counts(
        digest.hexdigest() if hashed is None else hashed.result(),
        lines,
        is_regular,
        has_clean_cells=letters is not None and letters.have_clean_cells(),
    )


def _hash(path: Path, is_compressed: bool) -> str:
    digest = hashlib.sha256()
    buffer = bytearray(4 * BLOCK)  # for each, it may have to wait for Python's lock
    with open_file(path, is_compressed) as file:
        while read := file.readinto(buffer):
            digest.update(memoryview(buffer)[:read])
    return digest.hexdigest()


@dataclass(frozen=True)
class _Reading:
    """What the first lines of a CSV file are when they are split at one delimiter.

    Attributes:
        delimiter: which.
        first: place of the first line that is not blank.
        titles: cells of that line.
        names: the contract's for the titles.
        known: how many of them the contract knows.
    """

    delimiter: str
    first: int
    titles: list[str]
    names: list[str]
    known: int


def read_layout(
    lines: Sequence[bytes], contract: Contract, is_compressed: bool
) -> tuple[Layout, int, tuple[str, ...]]:
    """The layout that the first lines of a CSV file tell, and what its owner should know.

    Args:
        lines: without their ends.
        contract: of the feed.
        is_compressed: gzip.

    Returns:
        The layout, the place of the header or of the first row among the lines, and the notes.

    Raises:
        RefusedError: the first is neither a header of the feed nor, where that is allowed, a row.
    """
    readings = []
    for delimiter in DELIMITERS:
        places = (place for place, line in enumerate(lines) if not _is_blank(line, delimiter))
        first = next(places, None)
        if first is None:
            raise RefusedError("holds no line")
        text = _decoded(lines[first])
        if text is None:
            raise RefusedError("has a first line that is not UTF-8; save it as UTF-8")
        titles = [_unquoted(cell) for cell in _cells(text, delimiter)]
        names = contract.named(titles)
        known = sum(name in contract.names for name in names)
        readings.append(_Reading(delimiter, first, titles, names, known))
    best = _best_header(readings, lines)
    required = [column.name for column in contract.columns if column.required]
    missing = [name for name in contract.names if name not in best.names]
    lacking = [name for name in missing if name in required] or missing * (not best.known)
    if lacking and contract.headerless:
        reading = _best_rows(readings, lines, contract)
        if reading is not None:
            columns = tuple(contract.names)
            layout = Layout("csv", columns, reading.delimiter, False, is_compressed)
            note = "has no header; its columns are taken in the order of the contract"
            return layout, reading.first, (note,)
    if lacking:
        raise RefusedError(
            f"has a header without {', '.join(lacking)}; it says {_shown(best.titles)}. The "
            f"columns of {contract.feed} are {', '.join(contract.names)}{_row_wanted(contract)}"
        )
    twice = sorted({name for name in contract.names if best.names.count(name) > 1})
    if twice:
        raise RefusedError(f"has a header that names {', '.join(twice)} more than once; keep one")
    columns = tuple(
        name if name in contract.names else f"unread_{place}"
        for place, name in enumerate(best.names)
    )
    extra = [name for name in best.names if name not in contract.names]
    layout = Layout("csv", columns, best.delimiter, True, is_compressed)
    return layout, best.first, tuple(column_notes(extra, missing, contract))


def _row_wanted(contract: Contract) -> str:
    """What a first line must be to pass for a row, where a file need not have a header."""
    if not contract.headerless:
        return ""
    typed = [column.name for column in contract.columns if column.pattern is not None]
    return (
        ". Without a header, the first line is a row with all of these columns, and a sound "
        f"{' or '.join(typed)}"
    )


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _cells(text: str, delimiter: str) -> list[str]:
    """The fields of a line as well as they can be told, also where it is no CSV."""
    try:
        return split_fields(text, delimiter)
    except OpenQuoteError:
        return _cells(text + QUOTE, delimiter)
    except QuoteError:
        return text.split(delimiter)


def _looked_at(lines: Sequence[bytes], reading: _Reading) -> Iterator[list[str]]:
    """The fields of the first lines, from the first one that is not blank."""
    for line in lines[reading.first : reading.first + LINES_LOOKED_AT]:
        if (text := _decoded(line)) is not None:
            yield _cells(text, reading.delimiter)


def _best_header(readings: Sequence[_Reading], lines: Sequence[bytes]) -> _Reading:
    """The reading that finds most columns of the contract; of equal ones, that which splits most.

    A line of one title does not tell. Then the other lines do: those that have more than one field
    must not pass for one.
    """
    best = max((reading.known, len(reading.titles)) for reading in readings)
    equal = [reading for reading in readings if (reading.known, len(reading.titles)) == best]
    if len(equal) == 1:
        return equal[0]
    return max(
        equal,
        key=lambda reading: sum(len(cells) > 1 for cells in _looked_at(lines, reading)),
    )


def _best_rows(
    readings: Sequence[_Reading], lines: Sequence[bytes], contract: Contract
) -> _Reading | None:
    """The reading by which most lines are rows of a feed without a header.

    A row has the right number of cells, and of those that are not text at least one is its type.

    Returns:
        None if the first line is none, or no line has as many cells as the contract has columns.
    """
    width, least = len(contract.names), contract.least(contract.names)

    def typed(cells: Sequence[str]) -> int:
        pairs = zip(contract.columns, cells, strict=False)
        return sum(
            column.pattern is not None and re.fullmatch(column.pattern, _unquoted(cell)) is not None
            for column, cell in pairs
        )

    best: tuple[tuple[int, int], _Reading] | None = None
    for reading in reversed(readings):  # of equals not the comma, which is in texts and numbers too
        whole = parsed = 0
        for cells in _looked_at(lines, reading):
            count = len(cells)
            if fit(cells, width, least) and (sound := typed(cells)):
                whole += count >= width
                parsed += sound
        if whole and (best is None or (whole, parsed) > best[0]):
            best = ((whole, parsed), reading)
    return best[1] if best is not None and typed(best[1].titles) else None


def _unquoted(cell: str) -> str:
    text = cell.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    return text


def column_notes(extra: Sequence[str], missing: Sequence[str], contract: Contract) -> Iterator[str]:
    """What the owner of a file should know of columns that are not read, or are not there."""
    beaten = [title for title in extra if contract.canonical(title) in contract.names]
    unknown = [title for title in extra if title not in beaten]
    if unknown:
        yield f"ignored column {_shown(unknown)}, which the contract does not know"
    if beaten:
        names = ", ".join(map(contract.canonical, beaten))
        yield f"ignored column {_shown(beaten)}, another name of {names}, which is there"
    if missing:
        yield f"has no column {', '.join(missing)}; it is taken as empty"


def _shown(titles: Sequence[str]) -> str:
    text = ", ".join(repr(title) if not title.strip() else title for title in titles)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _refuse_foreign(start: bytes) -> None:
    for magic, reason in _FOREIGN:
        if start.startswith(magic):
            raise RefusedError(reason)
    if start.lstrip()[:1] == b"<":
        raise RefusedError("is HTML or XML; export the data as CSV")


# ---------------------------------------------------------------------------- JSON


def _scan_json(file: io.BufferedReader, is_compressed: bool) -> Scan:
    start = file.read(HEADER_LIMIT)
    _refuse_foreign(start)
    if start.removeprefix(_BOM).decode("utf-8", "replace").lstrip()[:1] not in ("[", "{"):
        raise RefusedError("is not JSON: it must be a list of objects, or one object per line")
    file.seek(0)
    digest = hashlib.sha256()
    objects = _Objects()
    while block := file.read(BLOCK):
        digest.update(block)
        objects.add(block)
    return Scan(
        digest.hexdigest(),
        Layout("json", is_compressed=is_compressed),
        objects.count(),
        is_regular=False,
        braces=objects.braces,
    )


class _Objects:
    """Counts the objects of a JSON file by its braces; it is no parser, to be held against one."""

    # A text in quotes, also one that goes on in the next block, maybe in an escape.
    _TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|(\\?\Z))', re.DOTALL)
    _NO_BRACE = bytes(set(range(256)) - set(b"{}"))

    def __init__(self) -> None:
        self.braces = 0  # also those within texts
        self._begun = b""  # the text that the last block ended in
        self._objects = 0
        self._open = 0
        self._is_whole = True

    def add(self, block: bytes) -> None:
        """Look at the next block of the file."""
        self.braces += block.count(b"{")
        # Every second piece says how a text ended: None with its quote.
        pieces = self._TEXT.split(self._begun + block)
        self._begun = b"" if len(pieces) < 2 or pieces[-2] is None else b'"' + pieces[-2]
        outside = b"".join(pieces[::2]).translate(None, self._NO_BRACE)
        found = b"{" * self._open + outside
        closed = found.rstrip(b"{")
        if closed == b"{}" * (len(closed) // 2):  # no object in another
            self._objects += len(closed) // 2
            self._open = len(found) - len(closed)
            return
        self._open = 0
        for brace in found:
            if brace == ord("{"):
                self._open += 1
            elif self._open:
                self._open -= 1
                self._objects += self._open == 0
            else:
                self._is_whole = False

    def count(self) -> int | None:
        """How many objects stand in no other one; None where braces or quotes are unbalanced."""
        return self._objects if self._is_whole and not self._open and not self._begun else None


# ---------------------------------------------------------------------------- Parquet


@dataclass(frozen=True)
class _ParquetColumn:
    """A column of a Parquet file.

    Attributes:
        title: as the file calls it.
        name: as DuckDB calls it, which tells apart what differs in case alone.
        type: as DuckDB says it; `INT96` for times of that kind.
        kept_as: how the file keeps it, as pyarrow says it; None for nested values.
    """

    title: str
    name: str
    type: str
    kept_as: str | None


def _scan_parquet(found: Found, contract: Contract) -> Scan:
    with open_file(found.path, is_compressed=False) as file:
        start = file.read(8)
        if not start.startswith(b"PAR1"):
            _refuse_foreign(start)
            raise RefusedError("is not a Parquet file")
    digest = _hash(found.path, is_compressed=False)
    try:
        columns, counted, read = _look_into_parquet(found.path)
        if counted != read:
            raise RefusedError(
                f"is a Parquet file of {counted:,} rows by its metadata, of which {read:,} can be "
                "read; copy it again"
            )
        layout, notes = _parquet_layout(columns, contract)
        for column in columns:
            if column.type == "INT96" and contract.canonical(column.title) in contract.names:
                _refuse_nanoseconds(found.path, column.title)
    # Of pyarrow, too, whose errors are these; the file can be read, as the hash shows.
    except (duckdb.Error, OSError, ValueError, RuntimeError, MemoryError) as error:
        reason = in_short(error, found)
        raise RefusedError(f"cannot be read as Parquet; copy it again. {reason}") from None
    return Scan(digest, layout, rows=counted, notes=notes)


def _look_into_parquet(path: Path) -> tuple[list[_ParquetColumn], int, int]:
    """The columns of a Parquet file, its rows by its metadata, and those that can be read."""
    from pyarrow import parquet  # takes 0.2 s

    metadata = parquet.read_metadata(path)
    leaves = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    kept_as = {
        leaf.path: f"{leaf.physical_type} {leaf.logical_type}"
        for leaf in leaves
        if leaf.max_repetition_level == 0
    }
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        found = connection.read_parquet(glob_free(path), hive_partitioning=False)
        columns = [
            _ParquetColumn(
                title,
                name,
                "INT96" if kept_as.get(title, "").startswith("INT96") else str(type_),
                kept_as.get(title),
            )
            for title, name, type_ in zip(
                metadata.schema.to_arrow_schema().names, found.columns, found.types, strict=True
            )
        ]
        # Every page is read here, so that a damaged one is found before anything is loaded.
        values = ", ".join(f'"{_escaped(column.name)}"' for column in columns)
        ((read, _total),) = found.aggregate(f"count(*), bit_xor(hash({values}))").fetchall()
    return columns, metadata.num_rows, read


def _refuse_nanoseconds(path: Path, title: str) -> None:
    """Refuse times that are kept as INT96 and have digits below a microsecond: DuckDB drops them.

    Raises:
        RefusedError: there is one.
    """
    from pyarrow import int64, parquet

    batches = (
        parquet.ParquetFile(path, coerce_int96_timestamp_unit=unit).iter_batches(columns=[title])
        for unit in ("us", "ns")
    )
    for parts in zip(*batches, strict=True):
        micros, nanos = (part.column(0).cast(int64()).fill_null(0).to_numpy() for part in parts)
        if (micros * 1000 != nanos).any():  # far from 1970 both run over alike
            raise RefusedError(
                f"has nanoseconds in column {title} (INT96), which would be lost; write it as a "
                "TIMESTAMP"
            )


# Types whose text has every digit of the value; others are refused. A double is written with the
# digits that tell it from any other.
_EXACT = re.compile(
    r"VARCHAR|JSON|UUID|ENUM\(.*\)|BOOLEAN|U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|FLOAT|DOUBLE|"
    r"DECIMAL\(\d+,\d+\)|DATE|TIME(_NS)?|TIME WITH TIME ZONE|TIMESTAMP(_S|_MS|_NS)?|INT96|"
    r'TIMESTAMP WITH TIME ZONE|TIMESTAMPTZ_NS|"NULL"',
    re.DOTALL,
)


def _parquet_layout(
    columns: Sequence[_ParquetColumn], contract: Contract
) -> tuple[Layout, tuple[str, ...]]:
    known: dict[str, _ParquetColumn] = {}
    names = contract.named([column.title for column in columns])
    for column, name in zip(columns, names, strict=True):
        if name in contract.names:
            if name in known:
                raise RefusedError(f"has column {name} more than once; keep one")
            known[name] = column
    missing = [name for name in contract.names if name not in known]
    lacking = [
        column.name for column in contract.columns if column.required and column.name in missing
    ]
    if lacking:
        raise RefusedError(
            f"has no column {', '.join(lacking)}; it has "
            f"{_shown([column.title for column in columns])}. The columns of {contract.feed} are "
            f"{', '.join(contract.names)}"
        )
    layout = Layout(
        "parquet",
        tuple(column.title for column in columns),
        has_header=False,
        types=tuple(column.type for column in columns),
        expressions=tuple(
            _text_of(known[name]) if name in known else "cast(null as varchar)"
            for name in contract.names
        ),
    )
    extra = [name for name in names if name not in contract.names]
    return layout, tuple(column_notes(extra, missing, contract))


def _text_of(column: _ParquetColumn) -> str:
    """SQL that gives a column's values as text.

    Raises:
        RefusedError: DuckDB cannot, or it would change digits.
    """
    title, type_, kept_as = column.title, column.type, column.kept_as or ""
    if not _EXACT.fullmatch(type_):
        raise RefusedError(f"has nested or binary values in column {title} ({type_})")
    if type_ in ("FLOAT", "DOUBLE") and not kept_as.startswith(type_):
        raise RefusedError(
            f"has numbers in column {title} that would lose digits ({kept_as}); write them as "
            "decimals of at most 38 digits, or as text"
        )
    value = f'"{_escaped(column.name)}"'
    if type_ in ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"):
        value = f"timezone('UTC', {value})"
    text = f"cast({value} as varchar)"
    if re.fullmatch(r"DECIMAL\(\d+,3\)", type_):  # 2.500 as text might be meant as 2500
        text = f"rtrim(rtrim({text}, '0'), '.')"
    return text


def _escaped(identifier: str) -> str:
    return identifier.replace('"', '""')
