"""The rejected rows of a feed as files, from a database made by hand."""

from __future__ import annotations

import codecs
import csv
import json
import re
from pathlib import Path

import duckdb
import pytest

from warehouse.landing.in_duckdb import _CLEAN_CELL
from warehouse.rejected import UnknownFeedError, write_rejected
from warehouse.report import NotBuiltError
from warehouse.settings import Settings, read_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({"WAREHOUSE_DB": "warehouse.duckdb"}, root=tmp_path)


@pytest.fixture
def connection(settings: Settings) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(settings.database))
    for statement in (
        "create schema marts",
        "create schema landing",
        "create table landing.jobs (id integer, job varchar, _rejected varchar, _file_id integer)",
        "create table marts.feed_health as select unnest(['jobs', 'orders']) as feed",
        "create table marts.rejected_rows (feed varchar, file varchar, line_number bigint, "
        "reasons varchar[], record varchar)",
        "insert into marts.rejected_rows values "
        "('jobs', 'b.csv', 3, ['id: is missing', 'job: is missing'], "
        '\'{"id":null,"job":""}\'), '
        "('jobs', 'a.csv', 9, ['id: \" x\" is not an integer'], "
        '\'{"id":" x","job":"Cook, \\"head\\""}\'), '
        "('jobs', 'a.csv', 4, ['the line is not UTF-8'], '{\"line_base64\":\"Nyz/Cg==\"}'), "
        "('jobs', 'a.csv', 7, ['the line has too few fields'], '{\"line\":\"só\"}')",
    ):
        connection.execute(statement)
    return connection


def test_rows_are_written_as_they_came_with_where_and_why(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    found = write_rejected(connection, settings, "jobs")
    assert found.rows == 2
    assert found.csv == settings.root / "rejected/jobs.csv"
    with found.csv.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["id", "job", "reasons", "file", "line_number"],
            [" x", 'Cook, "head"', 'id: " x" is not an integer', "a.csv", "9"],
            ["", "", "id: is missing; job: is missing", "b.csv", "3"],
        ]


def test_broken_lines_are_written_byte_for_byte(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    found = write_rejected(connection, settings, "jobs")
    assert found.lines == 2
    assert found.broken == settings.root / "rejected/jobs.lines"
    assert found.broken.read_bytes() == b"7,\xff\n\n" + "só\n".encode()


NASTY = [
    *('=HYPERLINK("http://x";"y")', "@SUM(A1)", "+1+1", "-2+3", "-5.25", "+4915112345678", "\t=1"),
    *(
        "\r=1",
        "\n=1",
        "\t'=1'",
        "='x'",
        "=x'",
        "'=x'",
        '"=1"',
        " =1",
        "\uff1d1",
        "=",
        "Ana",
        "é",
        "",
    ),
    *("-5.25", "+3", "-1e5", "-", "1-2"),
]


def test_a_file_for_spreadsheets_has_nothing_to_compute_and_loads_as_the_other_one(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    connection.execute("delete from marts.rejected_rows")
    for number, cell in enumerate(NASTY, start=1):
        connection.execute(
            "insert into marts.rejected_rows values ('jobs', '=x.csv', ?, ['=reason'], ?)",
            [number, json.dumps({"id": cell, "job": cell})],
        )
    plain = write_rejected(connection, settings, "jobs").csv
    safe = write_rejected(connection, settings, "jobs", for_excel=True).csv
    assert plain is not None
    assert safe == settings.root / "rejected/jobs.excel.csv"
    assert safe.read_bytes().startswith(codecs.BOM_UTF8)
    with plain.open(newline="", encoding="utf-8") as file:
        as_they_came = list(csv.DictReader(file))
    with safe.open(newline="", encoding="utf-8-sig") as file:
        made_safe = list(csv.DictReader(file))
    assert [row["job"] for row in as_they_came] == NASTY
    connection.execute(_CLEAN_CELL)
    for plain_row, safe_row in zip(as_they_came, made_safe, strict=True):
        for name, cell in safe_row.items():
            is_number = name == "id" and re.fullmatch(r"[+-]\d+(\.\d+)?(e\d+)?", cell)
            assert is_number or not cell.startswith(tuple("=+-@\t\r\n\uff1d")), cell
        for name in ("id", "job"):  # the load's own reading of the cells
            ((one, other),) = connection.execute(
                "select landing.clean_cell(?), landing.clean_cell(?)",
                [plain_row[name], safe_row[name]],
            ).fetchall()
            assert one == other, plain_row
    numbers = [row["id"] for row in made_safe if row["id"] in ("-5.25", "+4915112345678", "+3")]
    assert len(numbers) == 4  # they stay numbers in a column of numbers
    assert "'-5.25'" in [row["job"] for row in made_safe]


def test_without_rejected_rows_no_file_is_left(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    write_rejected(connection, settings, "jobs")
    connection.execute("delete from marts.rejected_rows")
    found = write_rejected(connection, settings, "jobs")
    assert (found.rows, found.lines, found.csv, found.broken) == (0, 0, None, None)
    assert list((settings.root / "rejected").iterdir()) == []


def test_a_feed_that_is_none_is_refused_with_those_there_are(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    with pytest.raises(UnknownFeedError, match="no feed 'job'; the feeds are jobs, orders"):
        write_rejected(connection, settings, "job")


def test_a_database_without_marts_says_to_build(settings: Settings) -> None:
    with (
        duckdb.connect(str(settings.database)) as empty,
        pytest.raises(NotBuiltError, match="make build"),
    ):
        write_rejected(empty, settings, "jobs")
