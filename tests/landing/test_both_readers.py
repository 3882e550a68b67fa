"""A CSV file gives the same rows by the fast reader as by the careful one, whatever is in it.

Files of random pieces go through the loader as they are, then again with the fast reader kept out,
then with one more line that is broken. Each line must have the same fate all three times.

FUZZ_SEED (a number) makes other files; FUZZ_SECONDS is how long the long test goes on.
"""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.landing.loading import Compiled, Loading
from warehouse.landing.files import (
    Column,
    Contract,
    Found,
    Layout,
    RefusedError,
    Scan,
    find_files,
    scan,
)
from warehouse.landing.grammar import DELIMITERS, is_blank, split_fields
from warehouse.landing.load import Request
from warehouse.spark.feeds import pattern_of

SEED = int(os.environ.get("FUZZ_SEED", "17"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "600"))
FILES = 100  # that are loaded together

NUMBER = "[0-9]+"
THINGS = Contract(
    "things",
    (
        Column("a", required=True, pattern=NUMBER),
        Column("b", ("bee",)),
        Column("c"),
    ),
    headerless=True,
)
# Casts and judges as a base model does, in a few words.
SQL = """
    select
        landing.clean_cell(a) as a,
        landing.clean_cell(b) as b,
        landing.clean_cell(c) as c,
        case when landing.clean_cell(a) is null then ['a: is missing'] end as _reasons,
        cast(json_object('a', a, 'b', b, 'c', c) as varchar) as _record,
        _line_number
    from seeds.things
"""
VIEW = """
    CREATE VIEW staging.base_things as
    select
        a, b, c, _rejected, _cells, parse_filename(files.file) as _file,
        coalesce(_line, landed.rowid - first_rows.first_row + first_line) as _line_number,
        null as _loaded_at
    from landing.things as landed
    inner join landing.things_files as files using (_file_id)
    inner join (
        select _file_id, min(rowid) as first_row from landing.things group by _file_id
    ) as first_rows using (_file_id)
    where files.state = 'loaded'
""".replace("files using (_file_id)", "files on landed._file_id = files.file_id").replace(
    "first_rows using (_file_id)", "first_rows on landed._file_id = first_rows._file_id"
)
FEED = Compiled(
    request=Request(
        contract=THINGS,
        has_key=True,
        sql=SQL,
        source="seeds.things",
        seed_file="seeds/things.csv",
        is_reference=False,
        table="landing.things",
        log="landing.things_files",
        database="warehouse",
        types={"a": "varchar", "b": "varchar", "c": "varchar"},
        day="cast(null as date)",
        is_full_refresh=False,
        run="run",
        started_at="2024-01-01 00:00:00",
    ),
    view=VIEW,
    repeats=None,
)

# What files are made of; `|` stands for the delimiter, `$` for a line end.
PIECES = (
    *("1", "2", "x", "é", "0.5", "-", "#", "\\", "'", "''", "'x'", "|", "|", "|", "|", "||", '"'),
    *('"', '""', '"x"', '"|"', '"$"', '"x""y"', ' "', '" ', '|"', '"|', '  "', '"\t"', '" "'),
    *(" ", "  ", "\t", "\u00a0", "\x0b", "\x0c", "\x1f", "\u2028", "\ufeff", ",", ";", "\r", "\\N"),
    *("$", "$", "$", "$$", "1|2|3$", '1|"x"|3$', '"a$b"', "1|2$", "1$", "1|2|3|$", "1|2|3||$"),
    *("||$", " | | $", '""|""|""$', "|||||$", "1|2|3| $", "a|b|c$", "1|2|3|4$", "NULL", "x" * 300),
)
CELLS = (
    *(
        "1",
        "2",
        "x",
        "",
        "",
        '""',
        '" "',
        '"x"',
        '"|"',
        '"""x"""',
        '"x""|"',
        "'|'",
        "é",
        "\u00a0",
        " ",
    ),
    *(
        "\\",
        '"\\"',
        "\t",
        "\x0b",
        "# x",
        "\ufeff",
        "NULL",
        '""""',
        "2\u2028",
        "''",
        "' '",
        "\x1f",
        "-",
    ),
)
HEADERS = (
    *("a|b|c$", "a|b|c$", "a|b|c$", "c|a|b$", "A| bee |C$", "a|b|c|$", "b|note|a|c$", '"a"|"b"|c$'),
    *("\ufeffa|b|c$", "$a|b|c$", "||$a|b|c$", "a|b$", "9|8|7$", "9|8|7$", '"a$b"|a|c$', "bee|b|a$"),
)
ENDS = ("", "", "$", "1|2|3$", "1|2|3", "$$", "||", '"')
NUL, LATIN1 = "\0", "\udcff"  # the second becomes a byte that is not UTF-8


def make_file(chance: random.Random) -> bytes:
    """A file of random pieces, some of whole lines."""
    delimiter, end = chance.choice(",,;\t"), chance.choice(("\n", "\n", "\n", "\r\n", "\r"))
    pieces = [chance.choice(HEADERS), *(["9|8|7$"] * chance.randrange(3))]
    for _ in range(chance.randrange(4)):
        cells = "|".join(chance.choice(CELLS) for _ in range(3))
        pieces.append(cells + chance.choice(("$", "$", "$", "|$", "|||$", '|""$')))
    pieces += [chance.choice(PIECES) for _ in range(chance.choice((0, 0, 0, 1, 2, 4, 8)))]
    if chance.randrange(8) == 0:
        pieces.insert(chance.randrange(1, len(pieces) + 1), chance.choice((NUL, LATIN1)))
    text = "".join([*pieces, chance.choice(ENDS)])
    text = text.replace("$", end).replace("|", delimiter)
    return text.encode("utf-8", "surrogateescape")


Fate = tuple[Any, ...]


class Reading:
    """Loads a folder of files, and tells what became of each line of them."""

    def __init__(self, files: Mapping[str, bytes], folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        loading = Loading(FEED, folder)
        try:
            loading.load()
            self.fates: dict[str, dict[int, Fate]] = {
                name: {} for name, state in loading.states().items() if state != "refused"
            }
            for name, line, *fate in loading.rows(
                "_file, _line_number, a, b, c, _rejected, _cells"
            ):
                assert line not in self.fates[name], (files[name], line)
                self.fates[name][line] = tuple(fate)
            self.fast = {
                name
                for (name,) in loading.query(
                    "select parse_filename(file) from landing.things_files "
                    "where first_line is not null and rows_read > 0"
                )
            }
            self.counts = dict(
                loading.query("select parse_filename(file), rows_read from landing.things_files")
            )
        finally:
            loading.close()


@contextmanager
def only_careful(ends: dict[str, bool]) -> Iterator[None]:
    """Let no file pass for one that the fast reader may have; see which lines end in CR alone."""

    def look(found: Found, contract: Contract) -> Scan:
        seen = scan(found, contract)
        ends[found.name] = seen.ends_with_cr
        return replace(seen, is_regular=False)

    with mock.patch("warehouse.landing.load.scan", look):
        yield


def compare(files: Mapping[str, bytes], folder: Path) -> int:
    """Load files in each way; how many of them the fast reader had."""
    ends: dict[str, bool] = {}
    as_it_comes = Reading(files, folder)
    with only_careful(ends):
        careful = Reading(files, folder)
    assert set(as_it_comes.fates) == set(careful.fates)
    assert not careful.fast
    for name, content in files.items():
        if name in careful.fates:
            how = "fast" if name in as_it_comes.fast else "as it comes"
            assert as_it_comes.fates[name] == careful.fates[name], (how, content)
            assert as_it_comes.counts[name] == careful.counts[name], (how, content)
    more = {}
    for name, content in files.items():
        end = b"\r" if ends.get(name) else b"\n"
        gap = b"" if content.endswith(end) else end
        more[name] = content + gap + b"broken\0line" + end
    with_broken = Reading(more, folder)
    assert set(with_broken.fates) == set(as_it_comes.fates)
    for name, fates in as_it_comes.fates.items():
        found = dict(with_broken.fates[name])
        _, broken = found.popitem()
        assert "the line holds a NUL byte" in broken[3], more[name]
        assert found == fates, more[name]
    return len(as_it_comes.fast)


def files_of(chance: random.Random, folder: Path) -> dict[str, bytes]:
    """Files of which none is another's copy; most of them are such as the fast reader may have."""
    contents: set[bytes] = set()
    path = folder / "look.csv"
    while len(contents) < FILES:
        content = make_file(chance)
        path.write_bytes(content)
        (found,) = find_files(folder)
        with suppress(RefusedError):
            if scan(found, THINGS).is_regular or chance.random() < 0.05:
                contents.add(content)
    path.unlink()
    return {f"{number:04}.csv": content for number, content in enumerate(sorted(contents))}


def test_a_line_has_the_same_fate_by_either_reader_and_beside_a_broken_line(
    tmp_path: Path,
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    assert compare(files_of(chance, tmp_path), tmp_path / "things") > FILES / 10


@pytest.mark.deep
def test_lines_have_the_same_fate_by_either_reader_for_long(tmp_path: Path) -> None:
    chance = random.Random(f"{SEED} long")  # noqa: S311 - no secret
    until, files, fast = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < until:
        fast += compare(files_of(chance, tmp_path), tmp_path / "things")
        files += FILES
    print(f"{files:,} files, {fast:,} of them by the fast reader")
    assert fast > files / 10


def test_what_spark_reads_itself_are_lines_that_any_reader_splits_alike() -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    pieces = [*PIECES, *("1|2|3", '"1"|"2"|"3"', "||", " |\t|\u00a0", '""|""|""')]
    sound = 0
    for number in range(30_000):
        delimiter = DELIMITERS[number % 3]
        some = (chance.choice(pieces) for _ in range(chance.randrange(1, 7)))
        line = "".join(some).replace("|", delimiter)
        line = line.replace("$", "").replace("\r", "")
        if re.search(pattern_of(Layout("csv", ("a", "b", "c"), delimiter)), line):
            sound += 1
            fields = split_fields(line, delimiter)
            assert len(fields) == 3, line
            assert not is_blank(line, delimiter), line
            assert [fields] == list(csv.reader([line], delimiter=delimiter)), line
        elif '"' not in line and not is_blank(line, delimiter):
            assert len(line.split(delimiter)) != 3, line
    assert sound > 1_000
