"""What a look at a file tells: its layout, its rows, or why it is refused."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import duckdb
import pytest

from warehouse.landing.files import (
    FEW_BLOCKS,
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
JOBS = Contract("jobs", (Column("id", required=True), Column("job", required=True)), True)
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


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "is empty"),
        ("a.json", b"", "is empty"),
        ("a.parquet", b"", "is empty"),
        ("a.csv", b"\n\n  \n", "holds no line"),
        ("a.csv", b"P1,Mug,9.90,3\n", "has a header without product_id, name, price; it says P1"),
        ("a.csv", b"id,name\nP1,Mug\n", "has a header without price; it says id, name"),
        ("a.csv", b"id,product_id,name,price\n", "has a header that names product_id more than"),
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
    twice = write_parquet(tmp_path / "t.parquet", "select 1 id, 1 product_id, 'x' as name, 2 price")
    assert refusal(tmp_path, "c.parquet", twice) == "has column product_id more than once; keep one"
