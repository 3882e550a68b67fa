"""The careful readers: what is a row, what is broken; and that both readers of CSV agree."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

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
ALL_THREE = Contract("things", (Column("a"), Column("b"), Column("c", required=True)))
TWO = Contract("things", (Column("a"), Column("b", required=True), Column("c")))
Found = tuple[int, list[str | None]] | tuple[int, bytes, str]

FEW, MANY = "the line has too few fields", "the line has too many fields"
OPEN, AFTER = "the line has a quote that is not closed", "the line has text after a closing quote"


def told(item: Row | Broken) -> Found:
    if isinstance(item, Row):
        return item.number, list(item.cells)
    return item.number, item.text, item.reason


def csv_of(
    content: bytes,
    *,
    contract: Contract = ALL_THREE,
    columns: str = "abc",
    header: bool = True,
    delimiter: str = ",",
) -> list[Found]:
    layout = Layout("csv", tuple(columns), delimiter, has_header=header)
    ends_with_cr = b"\r" in content and b"\n" not in content
    items = read_csv(io.BytesIO(content), layout, contract, ends_with_cr=ends_with_cr)
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
        (b"1,2,3,,", ["1", "2", "3"]),
        (b'1,2,3, ,"",' + b"," * 500, ["1", "2", "3"]),
        (b'"","",""', [None, None, None]),
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
        (b",2", FEW),
        (b"1,2,3,4", MANY),
        (b"1,2,3,,4", MANY),
        (b"1,2,3,4,", MANY),
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


@pytest.mark.parametrize(
    "blank", ["", "\r", " ", ",", ",,", ",,,,,", " ,\t, ", "\u00a0,,", " \u00a0"]
)
def test_blank_lines_and_those_of_delimiters_are_none_and_count_as_lines(blank: str) -> None:
    lines = [blank, blank, "a,b,c", blank, "1,2,3", blank, "4,5,6", blank]
    assert csv_of("\n".join(lines).encode()) == [
        (5, ["1", "2", "3"]),
        (7, ["4", "5", "6"]),
    ]


def test_other_delimiters_make_no_blank_line() -> None:
    assert csv_of(b"a;b;c\n,\n;;\n", delimiter=";") == [(2, b",", FEW)]


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        (b"1,2", ["1", "2", None]),
        (b",2", [None, "2", None]),
        (b'"1","2"', ["1", "2", None]),
        (b'1,"2\n2"', ["1", "2\n2", None]),
        (b"1", FEW),
        (b'1,2"', FEW),
        (b'"1"', FEW),
    ],
)
def test_optional_cells_that_a_row_lacks_at_its_end_are_empty(
    line: bytes, cells: list[str | None] | str
) -> None:
    found = csv_of(b"a,b,c\n4,5,6\n" + line + b"\n7,8,9\n", contract=TWO)
    middle: Found = (3, line, cells) if isinstance(cells, str) else (3, cells)
    assert found == [(2, ["4", "5", "6"]), middle, (4 + line.count(b"\n"), ["7", "8", "9"])]


def test_what_a_row_may_lack_goes_by_the_columns_of_the_file() -> None:
    content = b"b,a,c\n2\n2,1\n"
    assert csv_of(content, contract=TWO, columns="bac") == [
        (2, [None, "2", None]),
        (3, ["1", "2", None]),
    ]


def test_an_open_quote_does_not_take_a_row_that_lacks_cells() -> None:
    assert csv_of(b'a,b,c\n1,"2\n4,5\n7,"8\n', contract=TWO) == [
        (2, b'1,"2', OPEN),
        (3, ["4", "5", None]),
        (4, b'7,"8', OPEN),
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
        (b'{"bee": 1, "BEE": 2}', "the object names b more than once"),
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


def test_the_name_of_a_column_beats_its_alias() -> None:
    assert json_of(b'{"bee": 1, "B": 2}\n{"bee": 3}') == [
        (1, [None, "2", None]),
        (2, [None, "3", None]),
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
        "C1",
        "C1,Ana,a@b,BR,2024-01-01,,",
        'C1,Ana,a@b,BR,2024-01-01,"",',
        "C1,Ana,a@b,BR,2024-01-01, ",
        "C1,Ana,a@b,BR,2024-01-01,,x",
        'C1,  "Ana, Maria",a@b,BR,',
        'C1,  "Ana,a@b,BR,',
        'C1,"Ana" "",a@b,BR,',
        " , , , , ",
        '"","","","",""',
        "'',,,,",
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
                row
                for row in loading.rows("* exclude (_loaded_at, _modified_ns)")
                if row[0] is not None or "line_base64" not in str(row)
            ]
        )
        loading.close()
    fast, careful = found
    assert fast == careful


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
