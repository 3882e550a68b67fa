"""JSON, CSV, Arrow and Parquet hold the same rows; who has an answer gets 304."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.api.server import Answer, Server
from tests.api.support import (
    LOADED,
    MEDIA_TYPES,
    NO_LIMITS,
    SUFFIXES,
    Api,
    Row,
    as_problem,
    as_text,
    declared,
    in_order,
    parsed,
    read_csv,
)
from tests.support import Project

Sample = dict[str, list[Row]]

TIMES = ("last_loaded_at",)


def read_table(answer: Answer, suffix: str) -> Any:
    """The pyarrow.Table of an answer."""
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == MEDIA_TYPES[suffix]
    if suffix == "parquet":
        return pyarrow.parquet.read_table(io.BytesIO(answer.body))
    return pyarrow.ipc.open_stream(answer.body).read_all()


def arrow_type(data_type: str) -> Any:
    """What a data_type of the contract is in Arrow."""
    digits = re.fullmatch(r"decimal\((\d+), (\d+)\)", data_type)
    if digits:
        return pyarrow.decimal128(int(digits[1]), int(digits[2]))
    return {
        "string": pyarrow.string(),
        "string[]": pyarrow.list_(pyarrow.string()),
        "bigint": pyarrow.int64(),
        "date": pyarrow.date32(),
        "timestamp": pyarrow.timestamp("us"),
        "boolean": pyarrow.bool_(),
    }[data_type]


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
@pytest.mark.parametrize("mart", declared())
def test_arrow_and_parquet_keep_the_types_of_the_contract(
    mart: str, suffix: str, api: Api, sample: Sample
) -> None:
    answer = api.get(f"marts/{mart}.{suffix}", {"limit": "1500"})
    table = read_table(answer, suffix)
    types = {name: arrow_type(data_type) for name, data_type in declared()[mart].types.items()}
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == types
    rows = table.to_pylist()
    for row in rows:
        for name in TIMES:
            if name in row:
                assert row[name].year >= 2026
                row[name] = LOADED
    expected = sample[mart][:1500]
    assert rows == expected
    assert [repr(row) for row in rows[:50]] == [repr(row) for row in expected[:50]]


@pytest.mark.parametrize("mart", declared())
def test_csv_holds_the_same_text_as_json(mart: str, api: Api, sample: Sample) -> None:
    answer = api.get(f"marts/{mart}.csv", {"limit": "1500"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.body.endswith(b"\r\n")
    rows = read_csv(answer.body)
    expected = [{name: as_text(value) for name, value in row.items()} for row in sample[mart]]
    times = [row["last_loaded_at"] for row in rows if "last_loaded_at" in row]
    if times:
        shown = api.rows(f"marts/{mart}")
        assert times == [row["last_loaded_at"] for row in shown]
        rows = [row | {"last_loaded_at": LOADED} for row in rows]
    assert rows == expected[:1500]


@pytest.mark.parametrize("suffix", ["csv", "arrow", "parquet"])
def test_pages_in_every_format_go_on_by_the_header(suffix: str, api: Api, sample: Sample) -> None:
    def names(answer: Answer) -> list[str]:
        if suffix == "csv":
            return [row["name"] for row in read_csv(answer.body)]
        return [row["name"] for row in read_table(answer, suffix).to_pylist()]

    query = {"order": "-revenue,name", "columns": "name,category", "limit": "30"}
    answer = api.get(f"marts/product_metrics.{suffix}", query)
    found = names(answer)
    pages = 1
    while "x-next-cursor" in answer.headers:
        following = query | {"cursor": answer.headers["x-next-cursor"]}
        answer = api.get(f"marts/product_metrics.{suffix}", following)
        found += names(answer)
        pages += 1
    expected = in_order(sample["product_metrics"], ["-revenue", "name", "product_id"])
    assert found == [row["name"] for row in expected]
    assert pages == 3


def test_a_cursor_of_one_format_goes_on_in_another(api: Api) -> None:
    first = api.get("daily_sales.csv", {"limit": "2"})
    third = api.rows("daily_sales", {"limit": "1", "cursor": first.headers["x-next-cursor"]})
    assert third == api.rows("daily_sales", {"limit": "3"})[2:]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_computed_answers_come_in_every_format(suffix: str, api: Api) -> None:
    as_rows: dict[str, Callable[[Answer], list[Any]]] = {
        "csv": lambda answer: read_csv(answer.body),
        "arrow": lambda answer: read_table(answer, "arrow").to_pylist(),
        "parquet": lambda answer: read_table(answer, "parquet").to_pylist(),
        "json": lambda answer: parsed(answer.body)["data"],
    }
    categories = api.rows("feedback")
    found = as_rows[suffix](api.get(f"feedback.{suffix}"))
    assert [as_text(row["sales_count"]) for row in found] == [
        str(row["sales_count"]) for row in categories
    ]
    if suffix == "json":
        assert found == categories
        return
    assert [as_text(row["revenue"]) for row in found] == [row["revenue"].text for row in categories]

    asked = {"start": "2025-12-02", "end": "2025-12-31"}
    answer = api.page("metrics", asked)
    now, before = as_rows[suffix](api.get(f"metrics.{suffix}", asked))
    assert [as_text(now["start"]), as_text(now["end"])] == list(asked.values())
    assert [as_text(before["start"]), as_text(before["end"])] == ["2025-11-02", "2025-12-01"]
    for row, name in ((now, "current_period"), (before, "previous_period")):
        assert {key: as_text(row[key]) for key in answer[name]} == {
            key: str(getattr(value, "text", value)) for key, value in answer[name].items()
        }
    changes = {key: value.text for key, value in answer["delta_pct"].items()}
    assert {key: as_text(now[key]) for key in changes} == changes
    assert {key: as_text(before[key]) for key in changes} == dict.fromkeys(changes, "")
    if suffix != "csv":
        assert isinstance(now["spend"], Decimal)
        assert isinstance(now["start"], date)


def test_an_answer_without_rows_still_has_columns(api: Api) -> None:
    nothing = {"start": "1990-01-01", "end": "1990-01-02"}
    assert api.rows("daily_sales", nothing) == []
    header = ",".join(declared()["daily_sales"].types)
    assert api.get("daily_sales.csv", nothing).body == f"{header}\r\n".encode()
    for suffix in ("arrow", "parquet"):
        table = read_table(api.get(f"daily_sales.{suffix}", nothing), suffix)
        assert (table.num_rows, table.num_columns) == (0, 7)
    empty = {"category": "no such category"}
    assert read_table(api.get("feedback.parquet", empty), "parquet").num_rows == 0


def test_files_have_names(api: Api, built: Project) -> None:
    newest = built.published.newest()
    assert newest is not None
    for suffix in ("csv", "arrow", "parquet"):
        for path, name in (("daily_sales", "daily_sales"), ("marts/order_kpis", "order_kpis")):
            found = api.get(f"{path}.{suffix}").headers["content-disposition"]
            assert found == f'attachment; filename="{name}-{newest.version}.{suffix}"'
    assert "content-disposition" not in api.get("daily_sales").headers


# --- Which format ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "suffix"),
    [
        ("application/json", "json"),
        ("*/*", "json"),
        ("", "json"),
        ("application/*", "json"),
        ("text/csv", "csv"),
        ("text/*", "csv"),
        ("TEXT/CSV", "csv"),
        ("text/csv; charset=utf-8", "csv"),
        ("application/json;q=0.5, text/csv", "csv"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "json"),
        ("text/csv;q=0.1, application/vnd.apache.parquet;q=0.9", "parquet"),
        ("application/vnd.apache.arrow.stream", "arrow"),
        ("application/json;q=0, text/csv;q=0.2", "csv"),
    ],
)
def test_accept_chooses_the_format(accept: str, suffix: str, api: Api) -> None:
    answer = api.get("daily_sales", {"limit": "1"}, headers={"Accept": accept})
    assert answer.status == 200
    assert answer.headers["content-type"].partition(";")[0] == MEDIA_TYPES[suffix]
    assert "Accept" in answer.headers["vary"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_suffix_is_stronger_than_accept(suffix: str, api: Api) -> None:
    for accept in ("application/json", "text/csv", "image/png"):
        answer = api.get(f"daily_sales.{suffix}", {"limit": "1"}, headers={"Accept": accept})
        assert answer.headers["content-type"].partition(";")[0] == MEDIA_TYPES[suffix]


def test_formats_that_are_not_there_are_refused(api: Api) -> None:
    for accept in ("text/html", "image/*", "application/json;q=0", "nonsense"):
        problem = as_problem(
            api.get("daily_sales", headers={"Accept": accept}), 406, "not-acceptable"
        )
        assert problem["available"] == list(MEDIA_TYPES.values())
    for path in ("marts.csv", "marts.parquet"):
        as_problem(api.get(path), 406, "not-acceptable")
    assert parsed(api.get("marts.json").body)["data"] == api.rows("marts")
    for path in ("daily_sales.xml", "daily_sales.JSON", "daily_sales.json.csv", "daily_sales."):
        as_problem(api.get(path), 404, "unknown-resource")


# --- ETags ----------------------------------------------------------------------------------------

ASKED = [
    ("daily_sales", {"limit": "3"}),
    ("daily_sales.csv", {"limit": "3"}),
    ("daily_sales.arrow", {"limit": "3"}),
    ("marts/product_metrics.parquet", {"order": "name"}),
    ("metrics", {"compare": "last30_prev30"}),
    ("feedback", {}),
    ("marts", {}),
    ("/api/v1/openapi.json", {}),
]


@pytest.mark.parametrize(("path", "query"), ASKED)
def test_who_has_an_answer_gets_304(path: str, query: Row, api: Api) -> None:
    answer = api.get(path, query)
    etag = answer.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
    for known in (etag, f"W/{etag}", f'"other", {etag}', f'"a",W/{etag},"b"', "*"):
        again = api.get(path, query, headers={"If-None-Match": known})
        assert (again.status, again.body) == (304, b""), known
        assert again.headers["etag"] == etag
        assert "content-type" not in again.headers
    for other in ('"other"', 'W/"other"', etag.strip('"'), etag[:-2] + '"', ""):
        again = api.get(path, query, headers={"If-None-Match": other})
        if other != etag.strip('"'):  # without quotes it is no ETag; both answers are right
            assert (again.status, again.body) == (200, answer.body), other
    assert answer.headers["cache-control"] in ("private, no-cache", "no-cache")


def test_a_server_that_never_made_the_answer_knows_its_etag(
    api: Api, built: Project, tmp_path: Path
) -> None:
    etags = {path: api.get(path, query).headers["etag"] for path, query in ASKED}
    (tmp_path / "published").symlink_to(built.published.path)
    with Server(tmp_path, **NO_LIMITS) as server:
        fresh = Api(server)
        for path, query in ASKED:
            answer = fresh.get(path, query, headers={"If-None-Match": etags[path]})
            assert (answer.status, answer.body) == (304, b""), path
        # What was not sent was not kept either as if it were the answer.
        for path, query in ASKED:
            assert fresh.get(path, query).body == api.get(path, query).body


def test_each_answer_has_its_own_etag_and_each_spelling_of_a_question_the_same(api: Api) -> None:
    def etag(path: str, **query: str) -> str:
        return api.get(path, query).headers["etag"]

    different = [
        etag("daily_sales"),
        etag("daily_sales.csv"),
        etag("daily_sales", limit="99"),
        etag("daily_sales", start="2024-01-02"),
        etag("daily_sales", end="2024-01-02"),
        etag("marts/daily_sales", date="gte.2024-01-02"),
        etag("marts/daily_sales", order="-date"),
        etag("marts/daily_sales", columns="date"),
        etag("metrics/hired-employees"),
        etag("metrics/hired-employees", include_unknown="true"),
    ]
    assert len(set(different)) == len(different)
    assert etag("daily_sales", limit="100") == etag("daily_sales") == etag("daily_sales.json")
    assert etag("marts/daily_sales", units="eq.3") == etag("marts/daily_sales", units="003")
    one = api.get("/api/v1/marts/daily_sales?units=gt.3&order_count=2").headers["etag"]
    assert one == api.get("/api/v1/marts/daily_sales?order_count=2&units=gt.3").headers["etag"]


def test_a_kept_answer_is_the_same_as_a_new_one(api: Api) -> None:
    for day in (date(2025, 1, 1) + timedelta(days=number) for number in range(5)):
        query = {"start": str(day), "limit": "20"}
        first, second = (api.get("daily_sales", query) for _ in range(2))
        assert first.body == second.body
        assert first.headers["etag"] == second.headers["etag"]
    log = [line for line in api.server.log if line["event"] == "request"]
    assert [line["cache"] for line in log[-2:]] == ["miss", "hit"]


@pytest.mark.parametrize(
    ("path", "query"),
    [*ASKED, ("/health", {}), ("/ready", {}), ("/", {}), ("build_history", {})],
)
def test_head_is_get_without_a_body(path: str, query: Row, api: Api) -> None:
    got, head = api.get(path, query), api.get(path, query, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "etag", "x-next-cursor", "x-snapshot-version", "cache-control"):
        assert head.headers.get(name) == got.headers.get(name), name
    if path not in ("/ready", "/"):  # which tell their age
        assert head.headers.get("content-length", str(len(got.body))) == str(len(got.body))


def test_other_methods_are_refused(api: Api) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("daily_sales", "marts/daily_sales", "metrics", "/health"):
            answer = api.get(path, method=method)
            as_problem(answer, 405, "method-not-allowed")
            assert "GET" in answer.headers["allow"]
