"""The careful readers: what is a row, what is broken; and that both readers of CSV agree."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import duckdb
import pytest

from tests.landing.loading import Compiled, Loading
from warehouse.landing.files import Column, Contract, Layout, RefusedError
from warehouse.landing.lines import (
    LONGEST_LINE,
    LONGEST_RECORD,
    Broken,
    Row,
    in_chunks,
    read_csv,
    read_json,
)

THREE = Contract("things", (Column("a"), Column("b", ("bee",)), Column("c")))
Found = tuple[int, list[str | None]] | tuple[int, bytes, str]

FEW, MANY = "the line has too few fields", "the line has too many fields"
OPEN, AFTER = "the line has a quote that is not closed", "the line has text after a closing quote"


def told(item: Row | Broken) -> Found:
    if isinstance(item, Row):
        return item.number, list(item.cells)
    return item.number, item.text, item.reason


def csv_of(
    content: bytes, *, columns: str = "abc", header: bool = True, delimiter: str = ","
) -> list[Found]:
    layout = Layout("csv", tuple(columns), delimiter, has_header=header)
    ends_with_cr = b"\r" in content and b"\n" not in content
    items = read_csv(io.BytesIO(content), layout, THREE, ends_with_cr=ends_with_cr)
    return [told(item) for item in items]


def json_of(content: bytes) -> list[Found]:
    return [told(item) for item in read_json(io.BytesIO(content), THREE)]


# --- CSV ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["", "bom"])
def test_lines_are_read_whatever_ends_them(end: bytes, bom: bytes) -> None:
    lines = [b"a,b,c", b"1,2,3", b"4,,6"]
    expected = [(2, ["1", "2", "3"]), (3, ["4", None, "6"])]
    assert csv_of(bom + end.join(lines)) == expected
    assert csv_of(bom + end.join(lines) + end) == expected


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        (b'"1",2,3', ["1", "2", "3"]),
        (b'1,"2,""x""",3', ["1", '2,"x"', "3"]),
        (b'1,"",3', ["1", None, "3"]),
        (b'1, "2" ,3', ["1", "2", "3"]),
        (b'1,2"x",3', ["1", '2"x"', "3"]),
        (b"1, 2 ,3", ["1", " 2 ", "3"]),
        (b"1,2,3,", ["1", "2", "3"]),
        (b",,", [None, None, None]),
        ("1,Łą,3".encode(), ["1", "Łą", "3"]),
        (b"1,'2,3", ["1", "'2", "3"]),
        (b"1,a\rb,3", ["1", "a\rb", "3"]),
    ],
)
def test_a_sound_line_is_a_row(line: bytes, cells: list[str | None]) -> None:
    assert csv_of(b"a,b,c\n" + line + b"\n7,8,9\n") == [(2, cells), (3, ["7", "8", "9"])]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,2", FEW),
        (b" ", FEW),
        (b"1,2,3,4", MANY),
        (b"1,2,3,,", MANY),
        (b'1,"2,3', OPEN),
        (b'"1,2,3', OPEN),
        (b'1,2,3"', None),
        (b'1,"2"x,3', AFTER),
        (b'1,"2"" ,3', OPEN),
        (b"1,\xff,3", "the line is not UTF-8"),
        (b"1,\xed\xa0\x80,3", "the line is not UTF-8"),
        (b"1,\0,3", "the line holds a NUL byte"),
        (b"a,b,c", "the line repeats the header"),
        (b"1,2," + b"3" * LONGEST_LINE, "the line is longer than 2 MB"),
    ],
)
def test_a_broken_line_is_told_and_its_neighbours_are_rows(line: bytes, reason: str | None) -> None:
    found = csv_of(b"a,b,c\n4,5,6\n" + line + b"\n7,8,9\n")
    cells: list[str | None] = [*line.decode(errors="replace").split(",")]
    middle: Found = (3, line, reason) if reason else (3, cells)
    assert found == [(2, ["4", "5", "6"]), middle, (4, ["7", "8", "9"])]


def test_a_broken_last_line_without_a_line_end_is_kept_whole() -> None:
    assert csv_of(b'a,b,c\n1,"2') == [(2, b'1,"2', OPEN)]


def test_a_field_in_quotes_may_run_over_lines_and_numbers_go_on_after_it() -> None:
    assert csv_of(b'a,b,c\n1,"x\n\ny",3\n\n4,5\n6,7,8\n') == [
        (2, ["1", "x\n\ny", "3"]),
        (6, b"4,5", FEW),
        (7, ["6", "7", "8"]),
    ]
    assert csv_of(b'a,b,c\r\n1,"x\r\ny",3\r\n') == [(2, ["1", "x\r\ny", "3"])]


def test_the_first_field_of_a_line_may_run_over_lines_too() -> None:
    assert csv_of(b'a,b,c\n"x\ny",2,3\n4,5,6\n') == [(2, ["x\ny", "2", "3"]), (4, ["4", "5", "6"])]


@pytest.mark.parametrize("last", ['7,"8",9', '7,8",9'])
def test_an_open_quote_does_not_take_the_rows_after_it(last: str) -> None:
    cells: list[str | None] = ["7", "8" if '"8' in last else '8"', "9"]
    assert csv_of(f'a,b,c\n1,"2,3\n4,5,6\n{last}\n'.encode()) == [
        (2, b'1,"2,3', OPEN),
        (3, ["4", "5", "6"]),
        (4, cells),
    ]


def test_a_field_in_quotes_runs_over_so_many_lines_and_no_more() -> None:
    for more, is_row in ((LONGEST_RECORD, True), (LONGEST_RECORD + 1, False)):
        content = b'a,b,c\n1,"x' + b"\ny" * (more - 1) + b'\ny",3\n'
        assert (csv_of(content)[0] == (2, ["1", "x" + "\ny" * more, "3"])) is is_row


def test_blank_lines_are_none_and_count_as_lines() -> None:
    assert csv_of(b"\n\r\na,b,c\n\n1,2,3\n\r\n4,5,6\n\n") == [
        (5, ["1", "2", "3"]),
        (7, ["4", "5", "6"]),
    ]


def test_cells_come_in_the_order_of_the_contract_and_missing_ones_are_none() -> None:
    layout = Layout("csv", ("c", "unread_1", "a"), ";")
    items = read_csv(io.BytesIO(b"C;x;A\n1;2;3\n"), layout, THREE, ends_with_cr=False)
    assert [told(item) for item in items] == [(2, ["3", None, "1"])]


def test_a_file_without_header_begins_with_its_first_line() -> None:
    assert csv_of(b"\xef\xbb\xbf1,2,3\n4,5,6", header=False) == [
        (1, ["1", "2", "3"]),
        (2, ["4", "5", "6"]),
    ]


@pytest.mark.parametrize("ends_with_cr", [False, True])
def test_a_line_without_end_refuses_the_file(
    monkeypatch: pytest.MonkeyPatch, ends_with_cr: bool
) -> None:
    monkeypatch.setattr("warehouse.landing.lines.LARGEST_LINE", 1000)
    layout = Layout("csv", ("a", "b", "c"))
    content = (b"a,b,c\r" if ends_with_cr else b"a,b,c\n") + b"x" * 3000
    with pytest.raises(RefusedError, match="has a line of more than"):
        list(read_csv(io.BytesIO(content), layout, THREE, ends_with_cr=ends_with_cr))


def test_chunks_hold_all_items_in_order() -> None:
    items = [Row(number, []) for number in range(7)]
    assert [len(chunk) for chunk in in_chunks(items, 3)] == [3, 3, 1]
    assert [item for chunk in in_chunks(items, 3) for item in chunk] == items


# --- JSON -----------------------------------------------------------------------------------------


def test_objects_give_cells_as_they_are_written() -> None:
    content = (
        b'{"a": 1.10, "B": 12345678901234567890.5, "C": null}\n{"bee": true, "x": [1], "a": -0}'
    )
    assert json_of(content) == [
        (1, ["1.10", "12345678901234567890.5", None]),
        (2, ["-0", "true", None]),
    ]


@pytest.mark.parametrize("blank", ["", " ", "\n", "\r\n\t"])
def test_a_list_is_read_whatever_stands_between_its_objects(blank: str) -> None:
    items = ['{"a":"1"}', '{"a":"}],{"}', '{"a":"\\"]"}', '{"a":""}']
    content = f"{blank}[{blank}{f'{blank},{blank}'.join(items)}{blank}]{blank}"
    expected = [json.loads(item)["a"] for item in items]
    assert [cells[0] for _, cells in json_of(content.encode())] == expected  # type: ignore[misc]


def test_an_empty_list_has_no_rows() -> None:
    assert json_of(b" [ ] \n") == []


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_list_is_read_alike_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch, size: int, indent: int | None
) -> None:
    chance = random.Random(size)  # noqa: S311 - no secret
    texts = ['x"y', "\\", "]},{[", "é", "a" * 50, '\\"', ""]
    items = [{"a": chance.choice(texts), "b": chance.choice(texts), "c": None} for _ in range(40)]
    content = json.dumps(items, ensure_ascii=False, indent=indent).encode()
    monkeypatch.setattr("warehouse.landing.lines.BLOCK", size)
    assert json_of(content) == [
        (number, [item["a"], item["b"], None]) for number, item in enumerate(items, start=1)
    ]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (b'{"a": 1, "b": }', "the line is not JSON"),
        (b'{"a": 1 "b": 2}', "the line is not JSON"),
        (b"{'a': 1}", "the line is not JSON"),
        (b'{"a": 01}', "the line is not JSON"),
        (b"17", "the line is no JSON object"),
        (b"[1]", "the line is no JSON object"),
        (b"null", "the line is no JSON object"),
        (b'{"a": {"b": 1}}', "the object has nested values in a"),
        (b'{"a": []}', "the object has nested values in a"),
        (b'{"a": 1, "A": 2}', "the object names a more than once"),
        (b'{"b": 1, "bee": 2}', "the object names b more than once"),
        (b'{"a": "\\u0000"}', "the line holds a NUL byte"),
        (b'{"a": "\\ud800"}', "the line is not UTF-8"),
        (b'{"a": "\xff"}', "the line is not UTF-8"),
        (b'{"a": "never closed}', "the line is not JSON"),
        (b'{"a": 1', "the line is not JSON"),
    ],
)
@pytest.mark.parametrize("form", ["lines", "list"])
def test_a_broken_object_is_told_and_its_neighbours_are_rows(
    item: bytes, reason: str, form: str
) -> None:
    good = b'{"a": "x"}'
    content = b"\n".join([good, item, good])
    if form == "list":
        content = b"[" + content.replace(b"\n", b",\n") + b"]"
    assert json_of(content) == [
        (1, ["x", None, None]),
        (2, item, reason),
        (3, ["x", None, None]),
    ]


def test_what_follows_a_list_is_read() -> None:
    assert json_of(b'[{"a": 1}]\n{"a": 2}\n[{"a": 3}] x') == [
        (1, ["1", None, None]),
        (2, ["2", None, None]),
        (3, ["3", None, None]),
        (4, b"x", "the line is not JSON"),
    ]


@pytest.mark.parametrize("content", [b'[{"a": 1}, {"a": 2', b'[{"a": 1},\n{"a": "x'])
def test_a_list_that_is_cut_short_keeps_what_is_whole(content: bytes) -> None:
    first, last = json_of(content)
    assert first == (1, ["1", None, None])
    assert last[1:] == (content.split(b",")[1].strip(), "the line is not JSON")


def test_a_deep_nest_is_no_row_and_no_crash() -> None:
    deep = b"[" * 100_000
    assert json_of(b'{"a": ' + deep + b"\n" + b'{"a": 1}')[-1] == (2, ["1", None, None])


# --- Both readers of CSV --------------------------------------------------------------------------

SOUND = (
    "",
    "x",
    " y ",
    '"q"',
    '"a,b"',
    '"say ""hi"""',
    "'s",
    "é",
    '""',
    "\t",
    "5",
    "\\",
    '"\\"',
    "#",
)


def through_duckdb(path: Path) -> list[tuple[int, list[str | None]]]:
    rows = duckdb.execute(
        "select * from read_csv(?, columns = {'a': 'varchar', 'b': 'varchar', 'c': 'varchar'}, "
        "auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', "
        "compression = 'none')",
        [str(path)],
    ).fetchall()
    return [(number, list(row)) for number, row in enumerate(rows, start=2)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("seed", range(20))
def test_both_readers_find_the_same_cells(tmp_path: Path, seed: int, end: str) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    lines = [",".join(chance.choice(SOUND) for _ in range(3)) for _ in range(100)]
    content = end.join(["a,b,c", *lines]).encode()
    (tmp_path / "a.csv").write_bytes(content)
    careful = [(number, [cell or None for cell in cells]) for number, cells in csv_of(content)]  # type: ignore[misc]
    assert careful == through_duckdb(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "lines",
    [
        'C1,"Ana, Maria",a@b,BR,2024-01-01',
        'C1,5" disk,a@b,BR,2024-01-01',
        'C1, "Ana" ,a@b,BR,2024-01-01',
        'C1,"say ""hi""",a@b,BR,2024-01-01',
        'C1,"two\nlines",a@b,BR,2024-01-01',
        '"two\nlines",Ana,a@b,BR,2024-01-01',
        'C1,,"",BR,',
        "C1,Ana,a@b,BR,2024-01-01,",
        "C1,Ana,a@b,BR",
        'C1,"Ana"x,a@b,BR,',
        'C1,"Ana,a@b,BR,',
        "C1,A\\na,a@b,BR,",
        "# C1,Ana,a@b,BR,",
        "C1,\u00a0,a@b,BR,",
        "C1,Ana,a@b,BR,\n\nC3,Ana,a@b,BR,",
        "C1,Ana,a@b,BR,soon",
        ",,,,",
    ],
)
def test_a_file_gives_the_same_rows_whether_it_needs_care_or_not(
    compiled: dict[str, Compiled], tmp_path: Path, lines: str
) -> None:
    """The second file has a line that only the careful reader takes."""
    content = (
        f"customer_id,name,email,country,join_date\nC0,Bo,,,\n{lines}\nC2,Cy,c@d,PL,2024-01-02\n"
    )
    found = []
    for number, more in enumerate((b"", b"broken\0line\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.csv").write_bytes(content.encode() + more)
        loading = Loading(compiled["customers"], folder)
        loading.load()
        found.append(
            [
                (*row[:-1], row[-2] and json.loads(row[-1]))  # of an accepted row it may be null
                for row in loading.rows(
                    "* exclude (_record, _reasons, _loaded_at, _modified_ns), _reasons, _record"
                )
                if not row[-1] or "line_base64" not in row[-1]
            ]
        )
        loading.close()
    fast, careful = found
    assert [row[:-1] for row in fast] == [row[:-1] for row in careful]
    empty_is_missing = [
        [{name: cell or None for name, cell in (row[-1] or {}).items()} for row in rows]
        for rows in found
    ]
    assert empty_is_missing[0] == empty_is_missing[1]


@pytest.mark.parametrize("content", [b"C1\n\nC2\n", b"C1\n\n\n", b"C1\n \nC2\n", b'C1\n""\nC2\n'])
def test_a_file_of_one_column_gives_the_same_rows_whether_it_needs_care_or_not(
    compiled: dict[str, Compiled], tmp_path: Path, content: bytes
) -> None:
    found = []
    for number, more in enumerate((b"", b"broken\0line\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.csv").write_bytes(b"customer_id\n" + content + more)
        loading = Loading(compiled["customers"], folder)
        loading.load()
        found.append(loading.rows("customer_id, _line_number, _reasons"))
        loading.close()
    fast, careful = found
    assert fast == [row for row in careful if row[2] != ["the line holds a NUL byte"]]
