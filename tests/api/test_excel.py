"""CSV that people open in a spreadsheet: nothing in it is computed, and numbers stay numbers."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.support import (
    Api,
    as_problem,
    declared,
    publish_again,
    read_csv,
    serving,
)
from tests.support import Project
from warehouse.published import PublishedFolder

NASTY = (
    "=1+1",
    "+1",
    "-2+3",
    "@x",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    '="a""b',
    "a=1",
    " =1",
    "'=1",
    "é",
)
SIGNS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
CSV_PATHS: dict[str, dict[str, str]] = {
    "metrics": {"compare": "last30_prev30"},
    "feedback": {},
    "build_history": {},
}


@pytest.fixture(scope="module")
def nasty(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Products with such names and categories, worth less than nothing."""
    folder: Path = tmp_path_factory.mktemp("excel")
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in NASTY)
    place = f"1 + (row_number() over (order by product_id) - 1) % {len(NASTY)}"
    query = (
        f"select * replace ([{names}][{place}] as name, -5.25::decimal(18, 2) as price) from mart"
    )
    publish_again(folder / "published", built.published, {"product_metrics": query})
    with serving(PublishedFolder(folder / "published")) as api:
        yield api


def cells(body: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")))


def test_text_that_would_be_computed_begins_with_an_apostrophe(nasty: Api) -> None:
    query = {"columns": "product_id,name,price", "limit": "40"}
    plain = nasty.get("marts/product_metrics.csv", query)
    safe = nasty.get("marts/product_metrics.csv", query | {"excel": "true"})
    assert safe.headers["content-type"] == "text/csv; charset=utf-8"
    assert safe.headers["content-disposition"].endswith('.excel.csv"')
    assert safe.body.startswith(codecs.BOM_UTF8)
    assert not plain.body.startswith(codecs.BOM_UTF8)
    assert {row["name"] for row in read_csv(plain.body)} == set(NASTY)
    for before, after in zip(cells(plain.body), cells(safe.body), strict=True):
        for column, (old, new) in enumerate(zip(before, after, strict=True)):
            if column != 2 and old.startswith(SIGNS):
                assert new == f"'{old}"
            else:
                assert new == old
    assert {row[2] for row in cells(safe.body)[1:]} == {"-5.25"}
    # By Accept too, and from the cache; each has an ETag of its own.
    for headers in ({}, {"Accept": "text/csv"}):
        path = "marts/product_metrics" + ("" if headers else ".csv")
        again = nasty.get(path, query | {"excel": "true"}, headers=headers)
        assert again.body == safe.body
        assert nasty.get(path, query, headers=headers).body == plain.body
        assert nasty.get(path, query | {"excel": "false"}, headers=headers).body == plain.body
    known = {"If-None-Match": safe.headers["etag"]}
    assert nasty.get("marts/product_metrics.csv", query, headers=known).status == 200
    assert (
        nasty.get("marts/product_metrics.csv", query | {"excel": "true"}, headers=known).status
        == 304
    )


def test_pages_and_versions_are_for_spreadsheets_as_well(nasty: Api) -> None:
    query = {"columns": "product_id,name", "limit": "9", "excel": "true"}
    first = nasty.get("marts/product_metrics.csv", query)
    assert first.headers["x-truncated"] == "true"
    more = {"cursor": first.headers["x-next-cursor"]}
    second = nasty.get("marts/product_metrics.csv", query | more)
    assert second.body.startswith(codecs.BOM_UTF8)
    assert (
        cells(second.body)[1:]
        == cells(nasty.get("marts/product_metrics.csv", query | {"limit": "18"}).body)[10:]
    )
    version = {"version": first.headers["x-snapshot-version"]}
    assert nasty.get("marts/product_metrics.csv", query | version).body == first.body


def test_every_csv_can_be_had_for_spreadsheets_and_nothing_else(nasty: Api) -> None:
    paths = [it.api["route"] for it in declared().values() if "route" in it.api]
    paths += [*CSV_PATHS, *(f"marts/{mart}" for mart in declared())]
    for path in paths:
        query = CSV_PATHS.get(path, {})
        good = nasty.get(f"{path}.csv", {**query, "excel": "true"})
        assert good.status == 200, path
        assert good.body.startswith(codecs.BOM_UTF8)
        for suffix in ("", ".json", ".arrow", ".parquet"):
            answer = nasty.get(f"{path}{suffix}", {**query, "excel": "true"})
            assert as_problem(answer, 400, "bad-parameter")["parameter"] == "excel"
        as_problem(nasty.get(f"{path}.csv", {**query, "excel": "yes"}), 400, "bad-parameter")
    for path in ("quality", "marts"):
        as_problem(nasty.get(path, {"excel": "true"}), 400, "bad-parameter")
