"""Files dropped into the landing zone: what shapes are read, and what is said of broken ones."""

from __future__ import annotations

import base64
import gzip
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support import ALONE, ROOT, Outcome, Project

ALL_FEEDS = ("--select", "+stg_ingested_files", "+stg_rejected_rows")
PRODUCTS = (
    "product_id,name,category,price,inventory_count\n{}-1,Mug,Kitchen,9.90,3\n{}-2,Cup,Kitchen,5,\n"
)
OBJECTS = [
    {
        "product_id": "{}-1",
        "name": "Mug",
        "category": "Kitchen",
        "price": 9.90,
        "inventory_count": 3,
    },
    {"ID": "{}-2", "name": "Cup", "category": "Kitchen", "price": "5", "inventory_count": None},
]


def parquet(query: str) -> bytes:
    """A Parquet file of a query's rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        duckdb.connect().execute(f"copy ({query}) to '{path}' (format parquet)")
        return path.read_bytes()


def shapes() -> dict[str, bytes]:
    """Mug and cup in every shape, by the name of the file."""
    texts = {
        "comma.csv": PRODUCTS,
        "semicolon.csv": PRODUCTS.replace(",", ";"),
        "tab.csv": PRODUCTS.replace(",", "\t"),
        "tab-by-name.tsv": PRODUCTS.replace(",", "\t"),
        "crlf.csv": PRODUCTS.replace("\n", "\r\n"),
        "cr.csv": PRODUCTS.replace("\n", "\r"),
        "bom.csv": "\ufeff" + PRODUCTS,
        "bom-and-crlf.csv": "\ufeff" + PRODUCTS.replace("\n", "\r\n"),
        "no-final-line-end.csv": PRODUCTS.rstrip("\n"),
        "blank-lines-at-the-end.csv": PRODUCTS + "\n\n",
        "alias.csv": PRODUCTS.replace("product_id", "id"),
        "upper.CSV": PRODUCTS.replace("product_id,name", "PRODUCT_ID,Name"),
        "blanks-in-header.csv": PRODUCTS.replace("product_id,name", ' "product_id" ,  name '),
        "trimmed.csv": PRODUCTS.replace("Mug", "  Mug\t").replace("9.90", " 9.90 "),
        "quoted.csv": PRODUCTS.replace("Mug", '"Mug"').replace("9.90", '"9.90"'),
        "quoted-by-hand.csv": PRODUCTS.replace("Mug", "' Mug '").replace("9.90", "'9.90'"),
        "a-delimiter-at-each-end.csv": PRODUCTS.replace("3\n", "3,\n").replace("5,\n", "5,,\n"),
        "order.csv": "price,inventory_count,category,name,id\n"
        "9.90,3,Kitchen,Mug,{}-1\n5,,Kitchen,Cup,{}-2\n",
        "extra.csv": "note,product_id,name,category,price,inventory_count\n"
        "fragile,{}-1,Mug,Kitchen,9.90,3\n,{}-2,Cup,Kitchen,5,\n",
        "list.json": json.dumps(OBJECTS, indent=2),
        "list-on-one-line.json": json.dumps(OBJECTS),
        "list-bom.json": "\ufeff" + json.dumps(OBJECTS),
        "lines.json": "\n".join(map(json.dumps, OBJECTS)),
        "lines.jsonl": "".join(json.dumps(item) + "\r\n" for item in OBJECTS),
        "lines.ndjson": "\n\n".join(map(json.dumps, OBJECTS)) + "\n",
    }
    files = {
        name: text.replace("{}", name.split(".")[0] + name.split(".")[1][0]).encode()
        for name, text in texts.items()
    }
    files["packed.csv.gz"] = gzip.compress(PRODUCTS.replace("{}", "packedc").encode(), mtime=0)
    files["packed.jsonl.gz"] = gzip.compress(
        "\n".join(map(json.dumps, OBJECTS)).replace("{}", "packedj").encode()
    )
    files["columns.parquet"] = parquet(
        "select * from (values ('columnsp-1', 'Mug', 'Kitchen', 9.90::decimal(9,2), 3, true), "
        "('columnsp-2', 'Cup', 'Kitchen', 5, null, false)) "
        't("Product_ID", name, category, price, inventory_count, "a note")'
    )
    return files


# Files of order_items with a broken line each: the content, the line, the reason, its bytes.
HEADER = b"order_id,product_id,quantity,ordered_at\n"
GOOD = b"O1,P1,1,2024-01-01\n"
LONG = b"O2,P1,2," + b"x" * 10_000_000
BROKEN_LINES: dict[str, tuple[bytes, int, str, bytes]] = {
    "few.csv": (b"O2,P1\n", 3, "the line has too few fields", b"O2,P1"),
    "many.csv": (b"O2,P1,2,,x,y\n", 3, "the line has too many fields", b"O2,P1,2,,x,y"),
    "open.csv": (b'O2,"P1,2,\n', 3, "the line has a quote that is not closed", b'O2,"P1,2,'),
    "after.csv": (b'O2,"P"1,2,\n', 3, "the line has text after a closing quote", b'O2,"P"1,2,'),
    "latin.csv": (b"O2,Caf\xe9,2,\n", 3, "the line is not UTF-8", b"O2,Caf\xe9,2,"),
    "nul.csv": (b"O2,P\x001,2,\n", 3, "the line holds a NUL byte", b"O2,P\x001,2,"),
    "long.csv": (LONG + b"\n", 3, "the line is longer than 2 MB", LONG),
    "again.csv": (HEADER, 3, "the line repeats the header", HEADER.strip()),
    "crlf.csv": (b"O2,P1\r\n", 3, "the line has too few fields", b"O2,P1"),
    "blank.csv": (b"\n\nO2,P1\n", 5, "the line has too few fields", b"O2,P1"),
    "breaks.csv": (b'"O\n\n2",P1,2,\nO2,P1\n', 6, "the line has too few fields", b"O2,P1"),
}
GOOD_OBJECT = b'{"order_id": "O1", "product_id": "P1", "quantity": 1, "ordered_at": "2024-01-01"}'
BROKEN_OBJECTS: dict[str, tuple[bytes, str]] = {
    "cut": (b'{"order_id": "O2", "product_id":', "the line is not JSON"),
    "list": (b"[1, 2]", "the line is no JSON object"),
    "text": (b'"O2"', "the line is no JSON object"),
    "words": (b"hello", "the line is not JSON"),
    "nested": (
        b'{"order_id": "O2", "product_id": {"id": "P1"}, "quantity": 1}',
        "the object has nested values in product_id",
    ),
    "array": (
        b'{"order_id": ["O2"], "product_id": "P1", "quantity": 1}',
        "the object has nested values in order_id",
    ),
    "twice": (
        b'{"order_id": "O2", "ORDER_ID": "O3", "product_id": "P1", "quantity": 1}',
        "the object names order_id more than once",
    ),
    "two": (GOOD_OBJECT + b" x", "the line has text after its object"),
    "latin": (b'{"order_id": "\xe9", "product_id": "P1", "quantity": 1}', "the line is not UTF-8"),
    "nul": (b'{"order_id": "O\\u00002", "product_id": "P1"}', "the line holds a NUL byte"),
}
WHOLE_PARQUET = parquet("select 'O1' as order_id, 'C1' as customer_id from range(1000)")
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n\n", "holds no line"),
    "wrong.csv": (
        b"day,amount\n2024-01-01,3\n",
        "has a header without order_id, customer_id, order_date, total_amount, status; it says "
        "day, amount. The columns of orders are order_id, customer_id, order_date, total_amount, "
        "status",
    ),
    "no-header.csv": (b"O1,C1,2024-01-01,1,pending\n", "has a header without order_id"),
    "sheet.csv": (
        b"PK\x03\x04\x14\x00\x06\x00",
        "is a spreadsheet or a zip archive; save it as CSV",
    ),
    "sheet.xlsx": (b"PK\x03\x04\x14\x00\x06\x00", "is of no kind that is read: .csv"),
    "page.csv": (b"<!doctype html><html></html>", "is HTML or XML"),
    "cut.csv.gz": (
        gzip.compress(PRODUCTS.encode(), mtime=0)[:-4],
        "is a gzip file that is damaged or cut",
    ),
    "cut.parquet": (WHOLE_PARQUET[:-20], "cannot be read as Parquet"),
    "lacks.parquet": (WHOLE_PARQUET, "has no column order_date, total_amount, status; it has"),
    "none.json": (b"order_id: O1", "is not JSON"),
    "utf16.csv": ("order_id,customer_id".encode("utf-16"), "is UTF-16; save it as UTF-8"),
}
ORDERS = (
    "order_id,customer_id,order_date,total_amount,status\n"
    "O1,C1,2024-03-01 10:00:00,1.50,pending\n"
    "O2,C1,2024-02-01,2,completed\n"
    "O3,C1,soon,-1,completed\n"
)
DIGITS = "123456789012.78"


def fill(project: Project) -> None:
    """All shapes and faults there are, each in a file of its own."""
    for name, content in shapes().items():
        project.land(f"products/{name}", content)
    for name, (line, *_) in BROKEN_LINES.items():
        header, good = HEADER, GOOD
        if b"\r\n" in line:
            header, good = header.replace(b"\n", b"\r\n"), good.replace(b"\n", b"\r\n")
        # Each file has a row of its own too, since equal files would be refused.
        last = good.replace(b"O1", name.encode())
        project.land(f"order_items/{name}", header + good + line + good + last)
    for name, (line, _) in BROKEN_OBJECTS.items():
        last = GOOD_OBJECT.replace(b"O1", name.encode())
        objects = [GOOD_OBJECT, line, GOOD_OBJECT, last]
        project.land(f"order_items/{name}.jsonl", b"\n".join(objects))
        if name not in ("two", "words", "cut", "latin"):
            project.land(f"order_items/{name}.json", b"[" + b",\n".join(objects) + b"]")
    project.land("orders/good.csv", ORDERS)
    for name, (content, _) in REFUSED.items():
        project.land(f"orders/{name}", content)
    os.mkfifo(project.folder / "landing/orders/pipe.csv")
    (project.folder / "landing/orders/circle.csv").symlink_to("circle.csv")
    (project.folder / "landing/orders/out.csv").symlink_to(ROOT / "README.md")
    project.land("departments/a.csv", "1,Sales\nx,Nobody\n2,Legal")
    project.land("jobs/a.csv", "\ufeff1;Recruiter\r\n2;Analyst\r\n")
    project.land("jobs/b.tsv", "id\tjob\n3\tCook\n")
    project.land(
        "hired_employees/a.csv", "1,Ada,2021-11-07T02:48:42Z,2,1\n2,,2021-11-07T02:48:42Z,,\n"
    )
    customers = "customer_id\nC1\nC2\n"
    project.land("customers/good.csv", customers)
    project.land("customers/only-a-header.csv", "customer_id,name\n")
    for name in (".hidden.csv", "copying.csv.tmp", "copying.csv.part", "folder/inside.csv"):
        project.land(f"customers/{name}", customers.replace("C", name))
    ads = {
        "date": "2024-01-01", "platform": "Meta", "account": "a", "campaign": "c", "country": "BR",
        "device": "mobile", "clicks": 98765432109, "impressions": 1, "conversions": 0,
    }  # fmt: skip
    text = json.dumps(ads)[:-1]
    project.land("ads_spend/a.json", f'{text}, "spend": {DIGITS}}}')
    project.land("ads_spend/b.json", f'[{text}, "spend": 0.10}}, {text}, "spend": 1e2}}]')
    cells = ", ".join(f"'{value}' as {name}" for name, value in ads.items())
    project.land(
        "ads_spend/c.parquet", parquet(f"select {cells}, {DIGITS}::decimal(18,2) as spend")
    )
    project.land(
        "ads_spend/d.csv", f"{','.join(ads)},spend\n{','.join(map(str, ads.values()))},{DIGITS}\n"
    )


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory, built: Project) -> tuple[Project, Outcome]:
    """A landing zone with everything in it, built without the sample, and what dbt printed."""
    project = Project(tmp_path_factory.mktemp("zone") / "project", parsed_from=built)
    fill(project)
    outcome = project.dbt("build", *ALL_FEEDS, **ALONE, WAREHOUSE_SAMPLE_DATA="0")
    return project, outcome


@pytest.fixture(scope="module")
def landed(zone: tuple[Project, Outcome]) -> Project:
    """The same, to look at."""
    return zone[0]


# --- Shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(shapes()))
def test_every_shape_of_a_file_gives_the_same_rows(landed: Project, name: str) -> None:
    mark = name.split(".")[0] + name.split(".")[1][0]
    rows = landed.query(
        "select product_id, name, category, cast(price as varchar), inventory_count, _reasons"
        f" from staging.base_products where _file = 'landing/products/{name}' order by all"
    )
    assert rows == [
        (f"{mark}-1", "Mug", "Kitchen", "9.90", 3, None),
        (f"{mark}-2", "Cup", "Kitchen", "5.00", None, None),
    ]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        *(("comma.csv", [2, 3]), ("cr.csv", [2, 3]), ("bom-and-crlf.csv", [2, 3])),
        *(("packed.csv.gz", [2, 3]), ("list.json", [1, 2]), ("lines.ndjson", [1, 3])),
        ("columns.parquet", [1, 2]),
    ],
)
def test_a_row_knows_its_line_or_its_place(landed: Project, name: str, lines: list[int]) -> None:
    assert (
        landed.column(
            "select _line_number from staging.base_products"
            f" where _file = 'landing/products/{name}' order by product_id"
        )
        == lines
    )


@pytest.mark.parametrize(("name", "column"), [("extra.csv", "note"), ("columns.parquet", "a note")])
def test_an_unknown_column_is_ignored_and_reported(
    zone: tuple[Project, Outcome], name: str, column: str
) -> None:
    says = f"landing/products/{name}: ignored column {column}, which the contract does not know"
    assert any(line.endswith(says) for line in zone[1].lines)


def test_a_missing_column_that_may_be_empty_is_reported(zone: tuple[Project, Outcome]) -> None:
    says = "landing/customers/good.csv: has no column name, email, country, join_date; it is taken"
    assert any(says in line for line in zone[1].lines)
    assert zone[0].query(
        "select customer_id, name, join_date from staging.base_customers order by all"
    ) == [("C1", None, None), ("C2", None, None)]


def test_hiring_files_may_come_without_a_header(landed: Project) -> None:
    assert landed.query(
        "select id, department, _line_number, _reasons from staging.base_departments"
        " order by _line_number"
    ) == [
        (1, "Sales", 1, None),
        (None, "Nobody", 2, ['id: "x" is not an integer']),
        (2, "Legal", 3, None),
    ]
    assert landed.query("select id, job from staging.base_jobs order by all") == [
        *((1, "Recruiter"), (2, "Analyst"), (3, "Cook"))
    ]
    assert landed.query(
        "select id, name, cast(datetime as varchar), department_id, job_id"
        " from staging.base_hired_employees order by id"
    ) == [
        (1, "Ada", "2021-11-07 02:48:42", 2, 1),
        (2, None, "2021-11-07 02:48:42", None, None),
    ]


def test_hidden_files_unfinished_ones_and_folders_are_ignored(landed: Project) -> None:
    assert landed.column(
        "select file from staging.stg_ingested_files where feed = 'customers' order by file"
    ) == ["landing/customers/good.csv", "landing/customers/only-a-header.csv"]


def test_numbers_keep_every_digit(landed: Project) -> None:
    assert landed.query(
        "select parse_filename(_file), cast(spend as varchar), clicks, _reasons"
        " from staging.base_ads_spend order by _file, _line_number"
    ) == [
        ("a.json", DIGITS, 98765432109, None),
        ("b.json", "0.10", 98765432109, None),
        ("b.json", None, 98765432109, ['spend: "1e2" is not a number']),
        ("c.parquet", DIGITS, 98765432109, None),
        ("d.csv", DIGITS, 98765432109, None),
    ]


# --- Broken lines ---------------------------------------------------------------------------------


def kept(record: str) -> bytes:
    """The bytes of a broken line."""
    fields: dict[str, str] = json.loads(record)
    if "line" in fields:
        return fields["line"].encode()
    return base64.b64decode(fields["line_base64"])


@pytest.mark.parametrize("name", list(BROKEN_LINES))
def test_a_broken_line_is_kept_with_its_number_reason_and_bytes(landed: Project, name: str) -> None:
    _, number, reason, line = BROKEN_LINES[name]
    ((found_number, reasons, record),) = landed.query(
        "select line_number, reasons, record from staging.stg_rejected_rows"
        f" where file = 'landing/order_items/{name}'"
    )
    assert (found_number, reasons) == (number, [reason])
    assert kept(record) == line


@pytest.mark.parametrize(
    ("name", "rows"), [(name, 4 if name == "breaks.csv" else 3) for name in BROKEN_LINES]
)
def test_the_neighbours_of_a_broken_line_are_loaded(landed: Project, name: str, rows: int) -> None:
    found = landed.column(
        "select order_id from staging.base_order_items"
        f" where _file = 'landing/order_items/{name}' and _reasons is null order by _line_number"
    )
    expected = ["O1", "O1", name]
    if rows == 4:
        expected.insert(1, "O\n\n2")
    assert found == expected


JSON_FILES = [
    (name, ending)
    for name in BROKEN_OBJECTS
    for ending in ("jsonl", "json")
    if ending == "jsonl" or name not in ("two", "words", "cut", "latin")
]


@pytest.mark.parametrize(("name", "ending"), JSON_FILES)
def test_a_broken_json_object_is_kept_and_its_neighbours_are_loaded(
    landed: Project, name: str, ending: str
) -> None:
    line, reason = BROKEN_OBJECTS[name]
    file = f"landing/order_items/{name}.{ending}"
    ((number, reasons, record),) = landed.query(
        f"select line_number, reasons, record from staging.stg_rejected_rows where file = '{file}'"
    )
    assert (number, reasons) == (2, [reason])
    assert kept(record) == line
    assert landed.query(
        "select order_id, quantity from staging.base_order_items"
        f" where _file = '{file}' and _reasons is null order by _line_number"
    ) == [("O1", 1), ("O1", 1), (name, 1)]


# --- Broken files ---------------------------------------------------------------------------------


def test_broken_files_are_a_warning(zone: tuple[Project, Outcome]) -> None:
    project, outcome = zone
    assert outcome.exit_code == 0, outcome.lines
    assert any("WARN" in line and "every_file_is_loaded" in line for line in outcome.lines)
    assert project.column(
        "select file from staging.stg_ingested_files where feed = 'orders' and state = 'loaded'"
    ) == ["landing/orders/good.csv"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pipe.csv", "is no file but a pipe"),
        ("circle.csv", "is a symbolic link that leads nowhere"),
        ("out.csv", "is reached by a symbolic link that leaves the landing zone"),
    ],
)
def test_what_is_no_file_of_the_landing_zone_is_named_and_stops_nothing(
    zone: tuple[Project, Outcome], name: str, reason: str
) -> None:
    _, outcome = zone
    assert any(f"landing/orders/{name} is refused: it {reason}" in line for line in outcome.lines)


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_broken_file_is_refused_whole_with_its_reason(
    zone: tuple[Project, Outcome], name: str
) -> None:
    project, outcome = zone
    says = f"landing/orders/{name} is refused: it {REFUSED[name][1]}"
    assert any(says in line for line in outcome.lines)
    ((state, reason),) = project.query(
        f"select state, reason from staging.stg_ingested_files where file = 'landing/orders/{name}'"
    )
    assert state == "refused"
    assert reason.startswith(REFUSED[name][1])
    assert str(project.folder) not in reason
    assert project.query(f"select 1 from staging.base_orders where _file like '%{name}'") == []


def test_a_file_with_only_a_header_is_loaded_and_has_no_rows(landed: Project) -> None:
    assert landed.query(
        "select state, rows_read, rows_invalid from staging.stg_ingested_files"
        " where file = 'landing/customers/only-a-header.csv'"
    ) == [("loaded", 0, 0)]


def test_a_broken_file_fails_the_build_where_files_are_strict(project: Project) -> None:
    project.land("orders/good.csv", ORDERS)
    project.land("orders/bad.csv", "nothing\n")
    outcome = project.dbt(
        *("build", *ALL_FEEDS, "--vars", "{strict_files: true}"), **ALONE, WAREHOUSE_SAMPLE_DATA="0"
    )
    assert outcome.exit_code == 1
    assert any("FAIL 1" in line and "every_file_is_loaded" in line for line in outcome.lines)


# --- The load log ---------------------------------------------------------------------------------


def test_the_load_log_says_what_was_read(landed: Project) -> None:
    file = landed.folder / "landing" / "orders" / "good.csv"
    status = file.stat()
    (row,) = landed.query(
        "select feed, state, reason, size_bytes, modified_ns, content_hash, rows_read,"
        " rows_invalid, cast(first_date as varchar), cast(last_date as varchar), change, notes,"
        " is_present from staging.stg_ingested_files where file = 'landing/orders/good.csv'"
    )
    digest = duckdb.execute("select sha256(?)", [ORDERS]).fetchall()[0][0]
    expected: tuple[Any, ...] = (
        *("orders", "loaded", None, status.st_size, status.st_mtime_ns, digest, 3, 1),
        *("2024-02-01", "2024-03-01", "new", None, True),
    )
    assert row == expected


def test_the_load_log_counts_what_the_rows_are(landed: Project) -> None:
    for feed in ("products", "order_items", "orders", "departments", "ads_spend"):
        assert landed.query(
            "select file, rows_read, rows_invalid from staging.stg_ingested_files"
            f" where feed = '{feed}' and rows_read > 0 order by file"
        ) == landed.query(
            f"select _file, count(*), count(_reasons) from staging.base_{feed}"
            " group by _file order by _file"
        )


def test_the_load_log_names_the_run(landed: Project) -> None:
    invocation = json.loads((landed.folder / "target/run_results.json").read_text())["metadata"][
        "invocation_id"
    ]
    assert landed.query(
        "select distinct run_id, loaded_at is null from staging.stg_ingested_files"
    ) == [(invocation, False)]
