"""What a look at a file tells: its layout, its rows, or why it is refused."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import duckdb
import pytest

from tests.landing.loading import grammar
from warehouse.landing.files import (
    FEW_BLOCKS,
    HEADER_LIMIT,
    Column,
    Contract,
    RefusedError,
    Scan,
    find_files,
    kind_of,
    scan,
)

PRODUCTS = Contract(
    "products",
    (
        Column("product_id", ("id",), required=True),
        Column("name", required=True),
        Column("price", required=True),
        Column("stock"),
    ),
)
INTEGER, MOMENT, MONEY = grammar("integer"), grammar("timestamp"), grammar("decimal(18,2)")
JOBS = Contract(
    "jobs", (Column("id", required=True, pattern=INTEGER), Column("job", required=True)), True
)
HIRES = Contract(
    "hired_employees",
    (
        Column("id", required=True, pattern=INTEGER),
        Column("name"),
        Column("datetime", required=True, pattern=MOMENT),
        Column("department_id", pattern=INTEGER),
        Column("job_id", pattern=INTEGER),
    ),
    True,
)
PRICES = Contract("prices", (Column("price", pattern=MONEY), Column("amount", pattern=MONEY)), True)
HEADER = b"product_id,name,price,stock\n"
ROWS = HEADER + b"P1,Mug,9.90,3\nP2,Cup,5,\n"
PACKED = gzip.compress(ROWS, mtime=0)


def look(folder: Path, name: str, content: bytes, contract: Contract = PRODUCTS) -> Scan:
    (folder / name).write_bytes(content)
    (found,) = (file for file in find_files(folder) if file.name == name)
    return scan(found, contract)


def refusal(folder: Path, name: str, content: bytes, contract: Contract = PRODUCTS) -> str:
    with pytest.raises(RefusedError) as caught:
        look(folder, name, content, contract)
    return str(caught.value)


@pytest.fixture(params=[FEW_BLOCKS, 0], ids=["small", "large"])
def small_or_large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at a file as at a small one, and as at a large one."""
    monkeypatch.setattr("warehouse.landing.files.FEW_BLOCKS", request.param)


def test_hidden_files_unfinished_ones_and_folders_are_no_files_of_a_feed(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", ".hidden.csv", "x.csv.tmp", "y.csv.part", "z.TMP", "q.Part"):
        (tmp_path / name).write_bytes(ROWS)
    (tmp_path / "folder.csv").mkdir()
    assert [file.name for file in find_files(tmp_path)] == ["a.csv", "b.csv"]


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert find_files(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", ("csv", False)),
        ("a.CSV", ("csv", False)),
        ("a.tsv", ("csv", False)),
        ("a.2024.csv.gz", ("csv", True)),
        ("a.json", ("json", False)),
        ("a.jsonl", ("json", False)),
        ("a.ndjson.GZ", ("json", True)),
        ("a.parquet", ("parquet", False)),
    ],
)
def test_the_name_tells_the_kind(name: str, kind: tuple[str, bool]) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    "name", ["a", "a.txt", "a.xlsx", "a.parquet.gz", "csv", "a.gz", "a.csv.zip"]
)
def test_another_kind_is_refused(name: str) -> None:
    with pytest.raises(RefusedError, match=r"is of no kind that is read: \.csv"):
        kind_of(name)


@pytest.mark.usefixtures("small_or_large")
@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (ROWS, 2),
        (ROWS.replace(b"\n", b"\r\n"), 2),
        (ROWS.rstrip(b"\n"), 2),
        (b"\xef\xbb\xbf" + ROWS, 2),
        (ROWS + b"\n\n\n", 2),
        (ROWS.replace(b"\n", b"\r\n") + b"\r\n\r\n", 2),
        (HEADER, 0),
        (HEADER.rstrip(b"\n"), 0),
    ],
    ids=[
        *("lf", "crlf", "no final line end", "bom", "blank lines at the end"),
        *("the same with crlf", "only a header", "only a header without line end"),
    ],
)
def test_the_rows_of_a_regular_file_are_counted(tmp_path: Path, content: bytes, rows: int) -> None:
    found = look(tmp_path, "a.csv", content)
    assert (found.rows, found.is_regular) == (rows, True)
    assert found.layout.columns == ("product_id", "name", "price", "stock")


@pytest.mark.usefixtures("small_or_large")
@pytest.mark.parametrize(
    "content",
    [
        ROWS.replace(b"\n", b"\r"),
        HEADER + b"P1,Mug,9.90,3\r\nP2,Cup,5,\n",
        HEADER + b"P1,Mug\rtoo,9.90,3\n",
        HEADER + b"P1,Mu\0g,9.90,3\n",
        ROWS + HEADER + b"P3,Pan,1,\n",
        b"\n" + ROWS,
        HEADER + b"P1," + b"x" * 3_000_000 + b",1,1\n",
        ROWS + b"\n" * 600,
    ],
    ids=[
        *("cr", "mixed line ends", "a lone cr", "nul", "a second header", "a blank first line"),
        *("a long line", "hundreds of blank lines"),
    ],
)
def test_what_is_not_regular_is_left_to_the_careful_reader(tmp_path: Path, content: bytes) -> None:
    assert not look(tmp_path, "a.csv", content).is_regular


@pytest.mark.usefixtures("small_or_large")
@pytest.mark.parametrize("shift", range(-6, 7))
def test_a_second_header_is_seen_also_where_two_blocks_meet(tmp_path: Path, shift: int) -> None:
    block = 1 << 20
    row = b"P1,Mug,9.90,3\n"
    before = HEADER + row * ((block - len(HEADER)) // len(row) - 4)
    filler = block - len(before) - len(HEADER) // 2 + shift
    content = before + b"P1," + b"x" * (filler - 8) + b",1,1\n"
    assert abs(len(content) + len(HEADER) // 2 - block) < 10
    assert look(tmp_path, "a.csv", content + row * 3).is_regular
    assert not look(tmp_path, "a.csv", content + HEADER + row * 3).is_regular


@pytest.mark.usefixtures("small_or_large")
@pytest.mark.parametrize("shift", range(-2, 3))
def test_a_crlf_over_two_blocks_is_one_line_end(tmp_path: Path, shift: int) -> None:
    header = HEADER.replace(b"\n", b"\r\n")
    length = (1 << 20) - len(header) - 8 + shift
    rows = [b"P1," + b"x" * (length // 4) + b",1,1\r\n"] * 4 + [b"P2,Cup,5,\r\n"] * 3
    found = look(tmp_path, "a.csv", header + b"".join(rows))
    assert (found.rows, found.is_regular) == (7, True)


CLEAN = [
    *(ROWS, ROWS.replace(b"\n", b"\r\n"), ROWS.rstrip(b"\n"), b"\xef\xbb\xbf" + ROWS),
    *(ROWS.replace(b",", b";"), ROWS.replace(b",", b"\t"), ROWS + b"\n\n\n"),
    HEADER + 'P1,café au lait,9.90,3\nP2,Éclair ñ,5,\nP3,O\'Neil "said" so,1,\n'.encode(),
]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at a file as at a large one."""
    monkeypatch.setattr("warehouse.landing.files.FEW_BLOCKS", 0)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("content", CLEAN)
def test_the_cells_of_a_large_file_are_seen_to_be_clean(tmp_path: Path, content: bytes) -> None:
    assert look(tmp_path, "a.csv", content).has_clean_cells


def test_nobody_looks_at_the_cells_of_a_small_file(tmp_path: Path) -> None:
    assert not look(tmp_path, "a.csv", ROWS).has_clean_cells


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("dirt", [" ", "\t", '"', "'", "\u00a0"])
@pytest.mark.parametrize(
    "row",
    ["*P1,Mug,1,2", "P1*,Mug,1,2", "P1,*Mug,1,2", "P1,Mug*,1,2", "P1,Mug,1,*2", "P1,Mug,1,2*"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_one_blank_or_quote_at_the_end_of_a_cell_is_seen(
    tmp_path: Path, dirt: str, row: str, end: str
) -> None:
    content = ROWS + row.replace("*", dirt).encode() + end.encode()
    assert not look(tmp_path, "a.csv", content).has_clean_cells


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("blanks", ["  ", "\t", "\v", "\f"])
def test_blanks_that_a_format_of_times_would_skip_are_seen(tmp_path: Path, blanks: str) -> None:
    content = ROWS + f"P3,Blue{blanks}mug,1,\n".encode()
    assert not look(tmp_path, "a.csv", content).has_clean_cells


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("place", [1 << 17, 1 << 20, (1 << 20) + (1 << 17)])
@pytest.mark.parametrize("shift", range(-3, 4))
@pytest.mark.parametrize("cell", [" x", "x "])
def test_a_blank_is_seen_also_where_two_looks_meet(
    tmp_path: Path, place: int, shift: int, cell: str
) -> None:
    row = b"P1,Mug,9.90,3\n"
    before = HEADER + row * (place // len(row) - 4)
    before += b"P1," + b"x" * (place - len(before) - 8 + shift) + b","
    assert look(tmp_path, "a.csv", before + b"1,1\n" + row * 3).has_clean_cells
    content = before + cell.encode() + b",1\n" + row * 3
    assert not look(tmp_path, "a.csv", content).has_clean_cells


@pytest.mark.parametrize(
    ("content", "ends_with_cr"),
    [
        (b"id,job\r1,a\r", True),
        (b"id,job\r1,a\n\n\n\r", True),
        (b'id,job\r1,"a\nb"\r', True),
        (b"\r\rid,job\r1,a", True),
        (b"id,job\n1,a\rb\n", False),
        (b"1,a\rb\n2,c\n", False),
        (b"id,job\r\n1,a\rb\r\n", False),
        (b"id,job\r\n", False),
    ],
)
def test_most_lines_tell_whether_a_carriage_return_ends_them(
    tmp_path: Path, content: bytes, ends_with_cr: bool
) -> None:
    assert look(tmp_path, "a.csv", content, JOBS).ends_with_cr is ends_with_cr


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_tells_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    found = look(tmp_path, "a.csv", ROWS.replace(b",", delimiter.encode()))
    assert found.layout.delimiter == delimiter


def test_a_header_may_have_any_case_and_order_quotes_aliases_and_more(tmp_path: Path) -> None:
    found = look(tmp_path, "a.csv", b" NAME ,\"Id\",note,'Price'\nMug,P1,fragile,1\n")
    assert found.layout.columns == ("name", "product_id", "unread_2", "price")
    assert found.notes == (
        "ignored column note, which the contract does not know",
        "has no column stock; it is taken as empty",
    )


def test_the_hash_is_of_the_content_whatever_it_is_packed_in(tmp_path: Path) -> None:
    digest = hashlib.sha256(ROWS).hexdigest()
    assert look(tmp_path, "a.csv", ROWS).content_hash == digest
    assert look(tmp_path, "a.csv.gz", PACKED).content_hash == digest


def test_a_file_without_header_is_read_in_the_order_of_the_contract(tmp_path: Path) -> None:
    found = look(tmp_path, "a.csv", b"1;Recruiter\n2;Analyst\n", JOBS)
    assert (found.layout.has_header, found.layout.columns, found.rows) == (False, ("id", "job"), 2)
    assert found.notes == ("has no header; its columns are taken in the order of the contract",)


HIRE = b"9001,Ana,2026-01-12T09:00:00Z,2,1\n"


@pytest.mark.parametrize(
    "header",
    [
        "IdEmpleado,NombreCompleto,FechaContratacion,IdCargo,IdDepto",
        "\ufeffIdEmpleado,NombreCompleto,FechaContratacion,IdCargo,IdDepto",
        '"IdEmpleado","Nombre, completo","FechaContratacion","IdCargo","IdDepto"',
        " 'IdEmpleado' , NombreCompleto , FechaContratacion , IdCargo , IdDepto ",
        "氏名,名前,日付,職種,部門",
        "id,NombreCompleto,FechaContratacion,IdCargo,IdDepto",
        "x1,Ana,soon,two,one",
        ",Ana,,,",
        '"",Ana,NULL,n/a,-',
        "Hires of 2026,,,,",
        "a,b,c",
        "a,b,c,d,e,f,g",
        "Report",
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_first_line_without_a_typed_cell_is_a_header_and_a_wrong_one_refuses_the_file(
    tmp_path: Path, header: str, delimiter: str
) -> None:
    quoted = header.replace(", ", "\0").replace(",", delimiter).replace("\0", ", ")
    content = quoted.encode() + b"\n" + HIRE.replace(b",", delimiter.encode()) * 3
    reason = refusal(tmp_path, "a.csv", content, HIRES)
    assert reason.startswith("has a header without ")
    assert "The columns of hired_employees are id, name, datetime, department_id, job_id" in reason
    assert "a sound id or datetime or department_id or job_id" in reason


@pytest.mark.parametrize(
    "first",
    [
        "9001,Ana,2026-01-12T09:00:00Z,2,1",
        "\ufeff9001,Ana,2026-01-12T09:00:00Z,2,1",
        "x1,Ana,2026-01-12T09:00:00Z,,",
        "x1,Ana,soon,two,1",
        '"9001","Ana, Maria",,,',
        " 9001 ,,,,",
        "'9001',,,,",
        "1,2,3,4,5",
        "9001,name,datetime,department_id,job_id",
        "9001,Ana",
        "9001,Ana,2026-01-12T09:00:00Z",
        "9001,Ana,2026-01-12T09:00:00Z,2,1,",
        "9001,Ana,2026-01-12T09:00:00Z,2,1,7",
        '9001,"Ana',
    ],
)
def test_a_first_line_with_a_typed_cell_is_a_row_whatever_else_is_wrong_with_it(
    tmp_path: Path, first: str
) -> None:
    found = look(tmp_path, "a.csv", first.encode() + b"\n" + HIRE * 3, HIRES)
    assert (found.layout.has_header, found.layout.delimiter) == (False, ",")
    assert found.layout.columns == tuple(HIRES.names)


@pytest.mark.parametrize("header", ["id,job", "ID;JOB", " Id\t'job'", "job,id", "id,job,note"])
def test_a_header_that_names_the_columns_is_one(tmp_path: Path, header: str) -> None:
    found = look(tmp_path, "a.csv", header.encode() + b"\n", JOBS)
    assert found.layout.has_header


@pytest.mark.parametrize("row", ["1,Recruiter,7", "1", "9001,Ana,2026-01-12T09:00:00Z,2"])
def test_rows_without_header_that_never_have_all_columns_refuse_the_file(
    tmp_path: Path, row: str
) -> None:
    contract = HIRES if "Ana" in row else JOBS
    reason = refusal(tmp_path, "a.csv", f"{row}\n".encode() * 5, contract)
    assert "the first line is a row with all of these columns" in reason


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("1;Sales, Europe\n2;Legal\n", ";"),
        ("1\tSales, Europe\n2\tLegal\n", "\t"),
        ("1,Sales; Europe\n2,Legal\n", ","),
        ("1\tSales; Europe\n2\tLegal\n", "\t"),
        ("1;Sales, Europe\n2;Legal, too\n3;IT, as well\n", ";"),
        ('1;"Sales, Europe; Asia"\n2;Legal\n', ";"),
        ("\ufeff1;Sales, Europe\r\n2;Legal\r\n", ";"),
        ("1;Sales, Europe\r2;Legal\r", ";"),
        ("1;Sales, EU, US\n2,5;x\n3;Legal\n", ";"),
        ("1;a,b\n;;\n\n2;c\n", ";"),
        ('1;"two\nlines, here"\n2;Legal\n', ";"),
    ],
)
def test_all_lines_looked_at_tell_the_delimiter_where_no_header_does(
    tmp_path: Path, content: str, delimiter: str
) -> None:
    found = look(tmp_path, "a.csv", content.encode(), JOBS)
    assert (found.layout.has_header, found.layout.delimiter) == (False, delimiter)


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("1;2,5\n2;7\n", ";"),
        ("1;2,5\n", ";"),
        ("1,5;2\n1,5;2,5\n", ";"),
        ("1.5,2.5\n", ","),
        ("1\t2,5\n", "\t"),
    ],
)
def test_decimal_commas_are_no_delimiters_beside_others(
    tmp_path: Path, content: str, delimiter: str
) -> None:
    assert look(tmp_path, "a.csv", content.encode(), PRICES).layout.delimiter == delimiter


def test_a_late_line_may_tell_the_delimiter(tmp_path: Path) -> None:
    content = "1;2,5\n" * 90 + "1,5;2,5;\n" + "7;7\n"
    assert look(tmp_path, "a.csv", content.encode(), PRICES).layout.delimiter == ";"


def test_no_more_than_the_first_bytes_of_a_file_are_looked_at(tmp_path: Path) -> None:
    content = b"1,a\n" + b"2," + b"x" * 3 * HEADER_LIMIT + b"\n3,b\n"
    assert look(tmp_path, "a.csv", content, JOBS).layout.delimiter == ","


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_lines_of_a_file_of_one_column_that_have_two_do_not_pass_for_one(
    tmp_path: Path, delimiter: str
) -> None:
    contract = Contract("c", (Column("customer_id", required=True), Column("name")))
    content = f"customer_id\nC1{delimiter}Ana\nC2{delimiter}Bo\n".encode()
    assert look(tmp_path, "a.csv", content, contract).layout.delimiter == delimiter


@pytest.mark.parametrize("pipe", ["1|Sales, Europe\n2|Legal\n", "id|job\n1|Sales\n"])
def test_a_pipe_is_no_delimiter_and_refuses_the_file(tmp_path: Path, pipe: str) -> None:
    assert refusal(tmp_path, "a.csv", pipe.encode(), JOBS).startswith("has a header without id")


@pytest.mark.parametrize("blank", ["\n", ",,,\n", " , ,\n\n", ";;\n", "\t\n", ",\n" * 300])
@pytest.mark.parametrize("content", ["1,Sales\n", "id,job\n1,Sales\n"])
def test_lines_of_nothing_but_delimiters_may_stand_above_the_first(
    tmp_path: Path, blank: str, content: str
) -> None:
    if ";" in blank:
        content = content.replace(",", ";")
    found = look(tmp_path, "a.csv", (blank + content).encode(), JOBS)
    assert (found.layout.has_header, found.is_regular) == (content[0] == "i", False)


def test_an_empty_title_at_the_beginning_is_no_blank(tmp_path: Path) -> None:
    found = look(tmp_path, "a.csv", b"\n\tid\tjob\n0\t1\tSales\n", JOBS)
    assert found.layout.columns == ("unread_0", "id", "job")


def test_the_name_of_a_column_beats_its_alias(tmp_path: Path) -> None:
    found = look(tmp_path, "a.csv", b"ID,product_id,name,price,stock\n1,P1,Mug,9,1\n")
    assert found.layout.columns == ("unread_0", "product_id", "name", "price", "stock")
    assert found.notes == ("ignored column ID, another name of product_id, which is there",)


@pytest.mark.parametrize("blank", ["", "\n", ",,,\n", "\n , ,\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
def test_files_without_rows_are_no_copies_of_each_other(
    tmp_path: Path, blank: str, end: str
) -> None:
    content = (HEADER.decode().strip() + end + blank * bool(end)).replace("\n", end or "\n")
    first, second = (look(tmp_path, name, content.encode()) for name in ("a.csv", "b.csv"))
    assert (first.rows, second.rows) == (0, 0)
    assert first.content_hash != second.content_hash
    assert first.layout == second.layout


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_files_with_a_row_may_be_copies(tmp_path: Path, end: str) -> None:
    content = ROWS.decode().replace("\n", end).encode()
    first, second = (look(tmp_path, name, content) for name in ("a.csv", "b.csv"))
    assert first.content_hash == second.content_hash == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "row",
    [
        'P1,"Mug, blue",9.90,3',
        '"P1","Mug","9.90","3"',
        '"P1","say ""hi""","""","3"',
        'P1,"",9.90,""',
        'P1," ",9.90,"  "',
        'P1,"a ""blue"" mug",9.90,3',
        'P1,"a "", "" b",9.90,3',
        'P1,5" disk,1,2',
        'P1,"two\nlines",9.90,3',
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_around_whole_fields_are_plain(tmp_path: Path, row: str, end: str) -> None:
    content = (HEADER.decode() + row + "\n" + row).replace("\n", end).encode()
    assert look(tmp_path, "a.csv", content).is_regular


@pytest.mark.parametrize(
    "row",
    [
        'P1, "Mug",1,2',
        'P1,  "Mug,1,2',
        'P1,  "Mug",1,2',
        'P1,"Mug" "",1,2',
        'P1,"Mug"  "",1,2',
        'P1,Mug "blue",1,2',
        'P1,Mug "blue,1,2',
        'P1,"a "" b"x,1,2',
        'P1,"a "" b,1,2',
        'P1,"a "" b" ,1,2',
        'P1,"a \\" ""b",1,2',
    ],
)
def test_quotes_after_spaces_are_left_to_the_careful_reader(tmp_path: Path, row: str) -> None:
    assert look(tmp_path, "a.csv", ROWS).is_regular
    for content in (row + "\nP2,Cup,5,\n", "P2,Cup,5,\n" + row):
        assert not look(tmp_path, "a.csv", HEADER + content.encode()).is_regular


@pytest.mark.parametrize("shift", range(-4, 5))
@pytest.mark.parametrize(
    ("field", "is_plain"),
    [
        ('"x"', True),
        ('"x""y"', True),
        ('""', True),
        ('"x" ', False),
        ('x"', False),
        ('"x""', False),
    ],
)
def test_quotes_are_seen_also_where_two_blocks_meet(
    tmp_path: Path, shift: int, field: str, is_plain: bool
) -> None:
    block, row = 1 << 20, b'P1,"a ""blue"" mug",9.90,3\n'
    before = HEADER + row * (block // len(row) - 4)
    before += b"P1," + b"x" * (block - len(before) - 4 + shift) + b","
    content = before + field.encode() + b",1\n" + row * 3
    assert look(tmp_path, "a.csv", content).is_regular is is_plain


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "is empty"),
        ("a.json", b"", "is empty"),
        ("a.parquet", b"", "is empty"),
        ("a.csv", b"\n\n  \n", "holds no line"),
        ("a.csv", b"P1,Mug,9.90,3\n", "has a header without product_id, name, price; it says P1"),
        ("a.csv", b"id,name\nP1,Mug\n", "has a header without price; it says id, name"),
        ("a.csv", b"id,ID,name,price\n", "has a header that names product_id more than"),
        (
            "a.csv",
            b"id,product_id,Product_ID,name,price\n",
            "has a header that names product_id more than",
        ),
        ("a.csv", b",,,\n , ,\n", "holds no line"),
        ("a.csv", b"PK\x03\x04rest", "is a spreadsheet or a zip archive; save it as CSV"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel file"),
        ("a.csv", ROWS.decode().encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("a.csv", b"%PDF-1.7\n", "is a PDF"),
        ("a.csv", PACKED, "is compressed; its name must end in .gz"),
        ("a.csv", b"<html><body>Sign in</body></html>\n", "is HTML or XML"),
        ("a.csv", b"PAR1rest", "is a Parquet file; its name must end in .parquet"),
        ("a.csv", b"product_id,n\xe4me,price\n", "has a first line that is not UTF-8"),
        ("a.csv", b"x" * 100_000, "has a first line of more than 65,536 bytes"),
        ("a.csv.gz", ROWS, "is a gzip file that is damaged or cut short"),
        (
            "a.csv.gz",
            PACKED[:-9],
            "is a gzip file that is damaged or cut short",
        ),
        (
            "a.csv.gz",
            PACKED[:-5] + b"12345",
            "is a gzip file that is damaged",
        ),
        ("a.json", b"product_id,name\n", "is not JSON"),
        ("a.json", b"   \n", "is not JSON"),
        ("a.json", b'"text"', "is not JSON"),
        ("a.parquet", ROWS, "is not a Parquet file"),
        ("a.parquet", b"PAR1" + b"x" * 50 + b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_its_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    assert refusal(tmp_path, name, content).startswith(reason)


def write_parquet(path: Path, query: str) -> bytes:
    duckdb.connect().execute(f"copy ({query}) to '{path}' (format parquet)")
    return path.read_bytes()


def test_a_parquet_file_that_is_cut_short_or_damaged_is_refused(tmp_path: Path) -> None:
    whole = write_parquet(
        tmp_path / "whole.parquet",
        "select 'P' || i as id, 'Mug' || hash(i) as name, i as price from range(5000) t(i)",
    )
    assert look(tmp_path, "a.parquet", whole).rows == 5000
    for cut in (5, 100, len(whole) // 2, len(whole) - 1):
        assert "Parquet" in refusal(tmp_path, "a.parquet", whole[:cut])
    hole = bytearray(whole)
    hole[2000:6000] = b"\xff" * 4000
    assert "cannot be read as Parquet" in refusal(tmp_path, "a.parquet", bytes(hole))


def test_a_parquet_file_with_nested_or_lacking_columns_is_refused(tmp_path: Path) -> None:
    nested = write_parquet(tmp_path / "n.parquet", "select 1 id, [1] as name, 2 as price")
    assert refusal(tmp_path, "a.parquet", nested).startswith(
        "has nested or binary values in column"
    )
    lacking = write_parquet(tmp_path / "l.parquet", "select 1 id, 2 as price")
    assert refusal(tmp_path, "b.parquet", lacking).startswith(
        "has no column name; it has id, price"
    )


def test_the_name_of_a_column_beats_its_alias_in_parquet_too(tmp_path: Path) -> None:
    both = write_parquet(tmp_path / "t.parquet", "select 1 id, 2 product_id, 'x' as name, 2 price")
    found = look(tmp_path, "c.parquet", both)
    assert found.layout.expressions[0] == 'cast("product_id" as varchar)'
    assert found.notes[0] == "ignored column id, another name of product_id, which is there"
