"""JSON in whatever arrangement, whole or damaged: each object is a row once, or rejected once."""

from __future__ import annotations

import io
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.landing.loading import Compiled, Loading
from tests.landing.test_fuzz import SEED
from warehouse.landing.files import BLOCK, Column, Contract, RefusedError, _Objects
from warehouse.landing.lines import LONGEST_LINE, Broken, Row, Tally, read_json

JOBS = Contract("jobs", (Column("id", required=True), Column("job", required=True), Column("note")))
TWO = b'{"id": 1, "job": "a"}', b'{"id": 2, "job": "b"}'
MARKER = re.compile(rb"MARK\d+X")
# Damage may join two objects into a whole one, whose other members are unknown columns.
MEMBER = re.compile(rb'"([^"]*)"\s*:\s*"[^"]*?(MARK\d+X)')


def read(content: bytes) -> tuple[list[Row], list[Broken]]:
    """The rows and the broken objects, after both counts were compared."""
    tally = Tally()
    items = list(read_json(io.BytesIO(content), JOBS, tally))
    counted = count(content)
    assert tally.braces == counted.braces
    broken = [item for item in items if isinstance(item, Broken)]
    assert tally.broken == len(broken)
    if not broken:
        assert counted.count() == len(items)
    numbers = [item.number for item in items]
    assert numbers == sorted(set(numbers)), "each row has a number of its own"
    return [item for item in items if isinstance(item, Row)], broken


def count(content: bytes, size: int = BLOCK) -> _Objects:
    """The second count, in blocks of a size."""
    objects = _Objects()
    for place in range(0, len(content), size):
        objects.add(content[place : place + size])
    return objects


def both(content: bytes) -> list[tuple[int, list[str | None]]]:
    """Number and cells of rows that have no broken ones beside them."""
    rows, broken = read(content)
    assert broken == []
    return [(row.number, list(row.cells)) for row in rows]


# --- Arrangements ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "between",
    [
        *(
            b"\x0c,",
            b"\x0b,",
            b",\x0c",
            "\u00a0,".encode(),
            b"\x1e",
            b"\xef\xbb\xbf,",
        ),
        *("\u2028,".encode(), "\u200b,".encode(), b"", b" ", b"\n", b",\n", b",,", b"\r\n\r\n"),
        *(b",\n,", b"][", b"]\n[", b"],\n\n["),
    ],
)
@pytest.mark.parametrize("is_list", [True, False], ids=["list", "lines"])
def test_both_objects_are_rows_whatever_blank_stands_between(between: bytes, is_list: bool) -> None:
    first, second = TWO
    if b"[" in between:
        is_list = True
    content = first + between + second
    content = b"[" + content + b"]" if is_list else content
    cells = [cells for _, cells in both(content)]
    assert cells == [["1", "a", None], ["2", "b", None]]


@pytest.mark.parametrize("indent", [1, 4, "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_pretty_printed_objects_are_rows_with_the_line_they_begin_on(
    indent: int | str, end: str
) -> None:
    objects = [{"id": 1, "job": "a", "more": [{"x": {"y": 1}}]}, {"id": 2, "job": "b"}]
    texts = [json.dumps(one, indent=indent) for one in objects]
    one = both(texts[0].replace("\n", end).encode())
    two = both("\n".join(texts).replace("\n", end).encode())
    assert one == [(1, ["1", "a", None])]
    assert two == [*one, (texts[0].count("\n") + 2, ["2", "b", None])]


def test_objects_on_one_line_have_numbers_of_their_own() -> None:
    content = b"".join(TWO) + b"\n\n\n" + TWO[0]
    assert [number for number, _ in both(content)] == [1, 2, 4]


@pytest.mark.parametrize(
    ("content", "rows", "broken"),
    [
        (b"[%s xyz, %s]", ["2"], [b"%s xyz"]),
        (b"[xyz, %s, %s]", ["1", "2"], [b"xyz"]),
        (b"%s xyz\n%s", ["2"], [b"%s xyz"]),
        (b"%s, // said\n%s", ["1", "2"], [b"// said"]),
        (b"%s\n]\n%s", ["1", "2"], [b"]"]),
        (b"[%s, 17, %s]", ["1", "2"], [b"17"]),
        (b"[%s, [1, 2], %s]", ["1", "2"], [b"[1, 2]"]),
        (b"[%s, %s", ["1", "2"], [b""]),
        (b"[%s,\n%s,", ["1", "2"], [b""]),
    ],
)
def test_what_is_no_object_is_told_beside_its_neighbours(
    content: bytes, rows: list[str], broken: list[bytes]
) -> None:
    found, told = read(content % TWO)
    assert [row.cells[0] for row in found] == rows
    assert [item.text for item in told] == [text.replace(b"%s", TWO[0]) for text in broken]


def test_a_list_that_does_not_end_is_told() -> None:
    _, (item,) = read(b"[" + TWO[0])
    assert item.reason == "the list does not end; the file may be cut short"


# --- Objects inside others ------------------------------------------------------------------------

INNER = [{"id": 1, "job": "a"}, {"id": 2, "job": "b"}]


@pytest.mark.parametrize(
    ("envelope", "path"),
    [
        ({"data": INNER, "paging": {"next": 2}}, "data"),
        ({"meta": {"id": 7}, "rows": INNER}, "rows"),
        ({"result": {"items": INNER}}, "result.items"),
        ({"a": {"b": {"c": [INNER]}}}, "a.b.c"),
        ({"data": INNER[:1]}, "data"),
        ({"data": [{"something": "else"}], "n": 1}, "data"),
        ({"data": [], "paging": None}, "data"),
        ({"by key": {"id": 1, "job": "a"}}, "by key"),
        ({"id": 5, "data": INNER}, "data"),
        ({"errors": [{"code": 1}], "data": INNER}, "data"),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("pages", [1, 3])
def test_an_envelope_is_refused_and_says_where_the_objects_are(
    envelope: dict[str, object], path: str, indent: int | None, pages: int
) -> None:
    content = "\n".join([json.dumps(envelope, indent=indent)] * pages).encode()
    with pytest.raises(RefusedError, match=rf"the objects are inside {path}\. "):
        read(content)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("first", ["paging", "data"])
def test_an_envelope_longer_than_a_row_may_be_is_refused_too(
    indent: int | None, first: str
) -> None:
    many = [{"id": number, "job": "x" * 200} for number in range(LONGEST_LINE // 150)]
    members: dict[str, object] = {"paging": {"a": [1, {}]}} if first == "paging" else {}
    envelope = {**members, "answer": {"data": many}} | ({"paging": {}} if not members else {})
    content = json.dumps(envelope, indent=indent).encode()
    path = "paging.a" if members else "answer.data"
    with pytest.raises(RefusedError, match=rf"the objects are inside {path}\. "):
        read(content)


def test_an_object_with_the_columns_of_the_contract_is_a_row_whatever_is_in_it() -> None:
    content = json.dumps({"id": 1, "job": "a", "parts": [{"id": 2}], "more": {"job": "x"}})
    assert both(content.encode()) == [(1, ["1", "a", None])]


def test_an_envelope_among_rows_is_rejected_whole_and_costs_no_neighbour() -> None:
    envelope = json.dumps({"data": INNER}).encode()
    for order in ([envelope, *TWO], [*TWO, envelope]):
        rows, (item,) = read(b"\n".join(order))
        assert [row.cells[0] for row in rows] == ["1", "2"]
        assert (item.text, item.reason) == (envelope, "the objects are inside data")


def test_an_object_that_lacks_a_column_and_has_another_instead_is_kept_whole() -> None:
    content = b'{"id": 1, "jab": "a"}'
    rows, (item,) = read(content)
    assert rows == []
    assert (item.text, item.reason) == (content, "the object has no job")


# --- The second count -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, BLOCK])
def test_objects_are_counted_alike_in_blocks_of_any_size(size: int) -> None:
    chance = random.Random(size)  # noqa: S311 - no secret
    texts = ['x"y', "\\", "]},{[", "é", "a" * 50, '\\"', "", "{", "\\\\"]
    for _ in range(20):
        items = [{"a": chance.choice(texts), "b": [{"c": "}"}, {}]} for _ in range(9)]
        objects = count(json.dumps(items).encode(), size)
        assert (objects.count(), objects.braces) == (9, json.dumps(items).count("{"))
    for cut in (b"{", b'{"a": "', b"{}}", b'{"a": "\\'):
        assert count(cut, size).count() is None


def test_a_reader_that_loses_an_object_refuses_the_file(
    compiled: dict[str, Compiled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(*arguments: object) -> object:
        items = list(read_json(*arguments))  # type: ignore[arg-type]
        return items[:-1]

    monkeypatch.setattr("warehouse.landing.lines.read_json", lossy)
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "a.json").write_bytes(b"\n".join(TWO))
    loading = Loading(compiled["jobs"], folder)
    (warning,) = loading.load()
    rows = loading.rows()
    loading.close()
    assert (
        "a.json is refused: it holds 2 objects and 2 braces, of which 1 and 2 were read" in warning
    )
    assert rows == []


# --- Damage ---------------------------------------------------------------------------------------

JUNK: tuple[bytes, ...] = (
    b"\x0c",
    b"\x0b",
    b"\xa0",
    b"\xc2\xa0",
    b"\0",
    b"\n",
    b"\r\n",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
)
JUNK += (b'"', b"\\", b":", b"NaN", b"/* x */", b"// x\n", b"'", b"\xff", b"\xef\xbb\xbf", b" x ")


def arrangement(chance: random.Random) -> bytes:
    """Whole JSON with a marker in each object."""
    objects: list[dict[str, object]] = []
    for number in range(chance.randrange(1, 12)):
        one: dict[str, object] = {"id": number, "job": f"MARK{number}X"}
        if chance.random() < 0.3:
            one["note"] = chance.choice(["", 'say "{"', "a\\", "é", "]},", None, 1.50, True])
        if chance.random() < 0.2:
            one["more"] = chance.choice([[1, {"a": []}], {"b": {"c": "}"}}, "{"])
        objects.append(one)
    indent = chance.choice([None, None, 1, 4])
    texts = [json.dumps(one, indent=indent, ensure_ascii=chance.random() < 0.5) for one in objects]
    form = chance.choice(["lines", "list", "list on lines", "joined", "dumped"])
    if form == "dumped":
        return json.dumps(objects, indent=indent).encode()
    joint = {"lines": "\n", "list": ", ", "list on lines": ",\n", "joined": ""}[form]
    text = joint.join(texts)
    return (f"[{text}]" if form.startswith("list") else text + chance.choice(["", "\n"])).encode()


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The same with a few bytes gone, changed, or put in."""
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        place = chance.randrange(len(content) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            content = content[:place] + content[place + 1 :]
        elif kind == 1:
            content = content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]
        elif kind == 2:
            content = content[:place] + content[place + chance.randrange(30) :]
        elif kind == 3 and chance.random() < 0.3:
            content = content[:place]
        else:
            content = content[:place] + chance.choice(JUNK) + content[place:]
        content = content or b"{"
    return content


def markers(texts: Sequence[bytes]) -> Counter[bytes]:
    """How often each marker is in texts."""
    return Counter(mark for text in texts for mark in MARKER.findall(text))


def lose_no_marker(rounds: range) -> None:
    refused = clean = 0
    for number in rounds:
        chance = random.Random(SEED * 7_000_003 + number)  # noqa: S311
        whole = arrangement(chance)
        rows, broken = read(whole)
        assert not broken
        assert len(rows) == len(MARKER.findall(whole)), whole
        content = damaged(whole, chance)
        try:
            rows, broken = read(content)
        except RefusedError:
            refused += 1
            continue
        cells = [(cell or "").encode() for row in rows for cell in row.cells]
        found = markers([*cells, *(item.text for item in broken)])
        unread = markers([text for title, text in MEMBER.findall(content) if title != b"job"])
        expected = markers([content])
        assert found <= expected, (number, content)
        assert expected - found <= unread, (number, content)
        clean += len(rows)
    assert refused < len(rounds) / 20
    assert clean > len(rounds)


def test_no_object_of_damaged_json_is_lost_or_comes_twice() -> None:
    lose_no_marker(range(4_000))


@pytest.mark.parametrize(
    "content",
    [
        b"[" + b",".join([b"{'id': 1}"] * 20_000) + b"]",
        b"{\n" * 20_000,
        b'{"id":' * 100_000,
        b'{"id' * 100_000,
        b"[" * 100_000,
        b"x " * 500_000,
    ],
    ids=lambda content: content[:9].decode(),
)
def test_damage_everywhere_is_read_in_one_go(content: bytes) -> None:
    """A reader that looks through the rest of the file for each object would take minutes."""
    before = time.process_time()
    _, broken = read(content)
    assert broken
    assert time.process_time() - before < 20


@pytest.mark.deep
def test_no_object_of_much_damaged_json_is_lost_or_comes_twice() -> None:
    lose_no_marker(range(10_000, 10_000 + int(os.environ.get("N", "400000"))))


def test_no_object_is_lost_on_the_way_into_the_database(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    chance = random.Random(SEED)  # noqa: S311
    folder = tmp_path / "jobs"
    folder.mkdir()
    contents: dict[str, bytes] = {}
    for number in range(80):
        content = damaged(arrangement(chance), chance).replace(b"MARK", f"MARK{number}0".encode())
        contents[f"{number}.json"] = content
        (folder / f"{number}.json").write_bytes(content)
    loading = Loading(compiled["jobs"], folder)
    loading.load()
    states = loading.states()
    stored: dict[str, list[bytes]] = {}
    rows = loading.rows("parse_filename(_file), job, _record, _reasons")
    for file, job, record, reasons in rows:
        kept = (record if reasons else job) or ""
        if reasons and "line_base64" in kept:
            continue  # what is no text is looked at above
        stored.setdefault(file, []).append(kept.encode())
    log = loading.query("select sum(rows_read) from landing.jobs_files where state = 'loaded'")
    loading.close()
    assert log == [(len(rows),)]
    texts = {
        file: content
        for file, content in contents.items()
        if states[file] == "loaded" and content.isascii() and b"\0" not in content
    }
    assert len(texts) > 30
    for file, content in texts.items():
        assert markers(stored.get(file, [])) == markers([content]), file
