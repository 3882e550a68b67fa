"""The rejected rows of a feed as files, from a database made by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import pytest

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
