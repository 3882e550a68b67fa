"""From parameters to SQL: pure functions, without a server or a database."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from api.catalog import Catalog, Mart, read_catalog
from api.problems import KINDS, Problem
from api.query import (
    MAX_LIST,
    PageQuery,
    Parameters,
    generic_query,
    order_by,
    read_version,
    route_parameters,
    route_query,
)

VERSION = "20260101T020304Z-1a2b3c4d"
TYPES = {
    "id": "BIGINT",
    "name": "VARCHAR",
    "price": "DECIMAL(18,2)",
    "weight": "DOUBLE",
    "size": "FLOAT",
    "rank": "SMALLINT",
    "day": "DATE",
    "seen_at": "TIMESTAMP",
    "is_new": "BOOLEAN",
    'a "quoted" name': "INTEGER",
    "labels": "VARCHAR[]",
}


def catalog(**api: Any) -> Catalog:
    """A catalog with one mart that has a column of each type."""
    columns = [
        {"name": name, "type": type_, "description": name, "formula": None}
        for name, type_ in TYPES.items()
    ]
    mart = {
        "name": "things",
        "description": "Things.",
        "grain": ["id"],
        "file": "things.parquet",
        "rows": 1,
        "bytes": 1,
        "columns": columns,
        "api": {"scope": "shop", **api},
    }
    return read_catalog(
        {
            "version": VERSION,
            "published_at": "2026-01-01T02:03:04.5Z",
            "rows": 1,
            "tests": {},
            "engine": {},
            "git_commit": None,
            "marts": [mart, {**mart, "name": "inner", "api": None}],
        }
    )


def mart(**api: Any) -> Mart:
    return catalog(**api).marts["things"]


def asked(*pairs: tuple[str, str], cursor: str | None = None, **api: Any) -> PageQuery:
    """The query on the generic route with these parameters."""
    return generic_query(mart(**api), Parameters(pairs), cursor)


def refused(*pairs: tuple[str, str], cursor: str | None = None, **api: Any) -> Problem:
    """The problem that these parameters are."""
    with pytest.raises(Problem) as caught:
        asked(*pairs, cursor=cursor, **api)
    assert caught.value.status == 400
    assert caught.value.kind in KINDS
    return caught.value


def following(query: PageQuery, keys: Sequence[str | None]) -> str:
    return query.next_cursor(VERSION, keys)


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("id", "-12", -12),
        ("id", "007", 7),
        ("id", str(2**63 - 1), 2**63 - 1),
        ("id", str(-(2**63)), -(2**63)),
        ("name", "", ""),
        ("name", " Łódź; drop table things --", " Łódź; drop table things --"),
        ("name", "eq.like.%", "like.%"),
        ("name", "v1.5", "v1.5"),
        ("name", "1.5", "1.5"),
        ("name", "a.b@c.d", "a.b@c.d"),
        ("name", "search.brand", "search.brand"),
        ("name", ".eq", ".eq"),
        ("name", "neq", "neq"),
        ("name", "e.g. this", "e.g. this"),
        ("name", "Inn. 5", "Inn. 5"),
        ("name", "eq.eq.x", "eq.x"),
        ("price", "1.10", Decimal("1.10")),
        ("price", "-0.0000000001", Decimal("-0.0000000001")),
        ("weight", "2.5", 2.5),
        ("weight", "1e-07", 1e-07),
        ("size", "0.1", 0.1),
        ("rank", "-3", -3),
        ("day", "2024-02-29", date(2024, 2, 29)),
        ("seen_at", "2024-02-29", datetime(2024, 2, 29)),
        ("seen_at", "2024-02-29T23:59:59.123456Z", datetime(2024, 2, 29, 23, 59, 59, 123456)),
        ("seen_at", "2024-02-29 23:30+02:00", datetime(2024, 2, 29, 21, 30)),
        ("is_new", "false", False),
        ('a "quoted" name', "5", 5),
    ],
)
def test_a_value_is_read_by_the_type_of_its_column_and_bound(
    column: str, text: str, value: object
) -> None:
    (condition,) = asked((column, text)).conditions
    assert condition.values == (value,)
    assert [type(bound) for bound in condition.values] == [type(value)]
    name = '"' + column.replace('"', '""') + '"'
    assert condition.sql.startswith(f"{name} = cast(? as ")
    assert condition.sql.count("?") == 1


@pytest.mark.parametrize(
    ("column", "text"),
    [
        *(
            ("id", text)
            for text in ("", "1.0", "1e3", "0x10", "\u0661", "9" * 20, "9" * 5000, " 1")
        ),
        ("id", str(2**63)),
        ("id", str(-(2**63) - 1)),
        *(("price", text) for text in ("", "NaN", "Infinity", "1e3", ".5", "1.", "9" * 25)),
        ("price", "0.00000000001"),
        *(("weight", text) for text in ("", "inf", "nan", "1e999", "0x1p3", "9" * 400)),
        *(("day", text) for text in ("", "2023-02-29", "9999-99-99", "2023-2-1", "0000-01-01")),
        ("day", "2023-02-28T00:00:00"),
        ("day", "20230228"),
        *(("seen_at", text) for text in ("now", "2023-02-28T24:00", "2023-02-28T10", "2023-W01-1")),
        ("seen_at", "0001-01-01T00:00+14:00"),  # is before the calendar in UTC
        *(("is_new", text) for text in ("", "1", "True", "yes")),
        ("name", "a\x00b"),
        ("name", "a\ud800b"),
        ("labels", "x"),
    ],
)
@pytest.mark.parametrize("operator", ["eq.", "gte.", "in."])
def test_a_value_of_another_type_is_refused_by_the_name_of_its_parameter(
    column: str, text: str, operator: str
) -> None:
    problem = refused((column, operator + text))
    assert problem.kind == "bad-parameter"
    assert problem.members["parameter"] == column
    assert len(problem.detail) < 200


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("gt.5", '"id" > cast(? as bigint)'),
        ("gte.5", '"id" >= cast(? as bigint)'),
        ("lt.5", '"id" < cast(? as bigint)'),
        ("lte.5", '"id" <= cast(? as bigint)'),
        ("ne.5", '"id" is distinct from cast(? as bigint)'),
        ("in.5", '"id" in (cast(? as bigint))'),
        ("is.null", '"id" is null'),
        ("is.not_null", '"id" is not null'),
    ],
)
def test_each_operator_is_one_comparison(text: str, sql: str) -> None:
    (condition,) = asked(("id", text)).conditions
    assert condition.sql == sql
    assert condition.values == ((5,) if "?" in sql else ())


@pytest.mark.parametrize(
    "text",
    [
        *("neq.Meta", "NEQ.Meta", "like.*x*", "ilike.x", "EQ.", "Eq.x", "EQ.x", "GTE.5", "In.a,b"),
        *(
            "not.eq.x",
            "not.in.(a,b)",
            "nin.a,b",
            "is.NULL",
            "is.true",
            "IS.null",
            "fts.x",
            "cs.{a}",
        ),
        *("contains.x", "startswith.x", "startsWith.x", "starts_with.x", "between.1,2", "isnull."),
        *("match.^x", "ge.5", "is_not_null."),
    ],
)
@pytest.mark.parametrize("column", ["name", "id", "day"])
def test_an_operator_that_is_none_here_is_refused_with_those_there_are(
    column: str, text: str
) -> None:
    problem = refused((column, text))
    assert (problem.kind, problem.members["parameter"]) == ("bad-parameter", column)
    assert problem.members["operators"] == [
        *("eq", "ne", "gt", "gte", "lt", "lte", "in", "is.null", "is.not_null")
    ]
    assert "eq." in problem.detail
    if column == "name":  # and there is a way to look for it
        assert asked(("name", f"eq.{text}")).conditions[0].values == (text,)


def test_a_list_in_parentheses_is_refused() -> None:
    assert "without parentheses" in refused(("name", "in.(a,b)")).detail
    assert asked(("name", "in.(a),b")).conditions[0].values == ("(a)", "b")


@pytest.mark.parametrize(
    ("column", "low", "high"),
    [
        ("day", "2025-02-01", "2025-01-31"),
        ("id", "10", "9"),
        ("price", "1.10", "1.09"),
        ("weight", "1e3", "999"),
        ("seen_at", "2025-01-01T00:00:01Z", "2025-01-01T00:00:00Z"),
        ("seen_at", "2025-01-01T00:00Z", "2025-01-01T00:30+02:00"),
        ("name", "b", "a"),
    ],
)
@pytest.mark.parametrize("lower", ["gt", "gte"])
@pytest.mark.parametrize("upper", ["lt", "lte"])
def test_a_range_that_ends_before_it_starts_is_refused(
    column: str, low: str, high: str, lower: str, upper: str
) -> None:
    for pairs in (
        [(column, f"{lower}.{low}"), (column, f"{upper}.{high}")],
        [(column, f"{upper}.{high}"), ("is_new", "true"), (column, f"{lower}.{low}")],
    ):
        assert refused(*pairs).members["parameter"] == column
    # The other way round it is a range, and so is a half-open one of nothing.
    assert len(asked((column, f"{lower}.{high}"), (column, f"{upper}.{low}")).conditions) == 2
    assert len(asked((column, f"{lower}.{low}"), (column, f"{upper}.{low}")).conditions) == 2


def test_a_list_is_csv() -> None:
    (condition,) = asked(("name", 'in.a,"b, c","say ""hi""",,a')).conditions
    assert set(condition.values) == {"a", "b, c", 'say "hi"', ""}
    assert condition.sql.count("?") == 4
    assert [condition.values for condition in asked(("name", "in.")).conditions] == [("",)]
    for text in ('in."open', 'in."a"b', "in.a\nb", "in." + ",".join("x" * (MAX_LIST + 1))):
        assert refused(("name", text)).kind == "bad-parameter"
    assert len(asked(("id", "in." + ",".join(map(str, range(MAX_LIST))))).conditions) == 1


def test_all_conditions_hold_together() -> None:
    where = asked(("id", "gt.1"), ("id", "lt.9"), ("name", "a or b")).where()
    assert where.sql == (
        '("id" > cast(? as bigint)) and ("id" < cast(? as bigint)) '
        'and ("name" = cast(? as varchar))'
    )
    assert where.values == (1, 9, "a or b")
    assert asked().where().sql == "true"


# --- Questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("id", "5")], [("id", "eq.5")]),
        ([("id", "5")], [("id", "005")]),
        ([("id", "gt.1"), ("name", "x")], [("name", "x"), ("id", "gt.1")]),
        ([("id", "5")], [("id", "5"), ("id", "5")]),
        ([("id", "gt.1"), ("id", "lt.9")], [("id", "lt.9"), ("id", "gt.1")]),
        ([("id", "in.1,2")], [("id", "in.2,1,1")]),
        ([("seen_at", "2024-01-01T01:00Z")], [("seen_at", "2024-01-01T02:00:00+01:00")]),
        ([], [("order", "id")]),
        ([], [("columns", ",".join(TYPES))]),
        ([], [("limit", "100")]),
    ],
)
def test_spellings_of_one_question_have_one_key(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    assert asked(*one).key == asked(*other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("id", "5")], [("id", "6")]),
        ([("id", "gt.5")], [("id", "gte.5")]),
        ([("name", "5")], [("id", "5")]),
        ([("name", "is.null")], [("name", "eq.is.null")]),
        ([("name", "in.a,b")], [("name", 'in."a,b"')]),
        ([("name", "['a']")], [("name", "in.\"['a']\"")]),
        ([("name", "a"), ("name", "b")], [("name", "a")]),
        ([("columns", "id,name")], [("columns", "name,id")]),
        ([("order", "name")], [("order", "-name")]),
        ([("limit", "5")], [("limit", "6")]),
        ([("price", "1")], [("price", "2")]),
    ],
)
def test_different_questions_have_different_keys(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    assert asked(*one).key != asked(*other).key


def test_an_order_ends_with_the_grain_so_that_no_rows_tie() -> None:
    assert order_by(asked(("order", "-price,name")).order) == (
        'order by "price" desc nulls last, "name" asc nulls last, "id" asc nulls last'
    )
    assert order_by(asked(("order", "-id")).order) == 'order by "id" desc nulls last'
    assert (
        order_by(asked(order=["-day"]).order)
        == 'order by "day" desc nulls last, "id" asc nulls last'
    )
    assert order_by(asked().order) == 'order by "id" asc nulls last'


def test_identifiers_are_looked_up_and_quoted() -> None:
    query = asked(("order", 'a "quoted" name'), ("columns", 'a "quoted" name'))
    assert (
        order_by(query.order) == 'order by "a ""quoted"" name" asc nulls last, "id" asc nulls last'
    )
    assert query.columns == ('a "quoted" name',)
    for name in ("order", "columns"):
        for text in ('id"', "id desc", "id;", "ID", "--id", "*", "1", "id, name", "id,,name", ""):
            problem = refused((name, text))
            assert problem.kind == "unknown-column", text
            assert problem.members["known"] == list(TYPES)
    assert refused(("order", "labels")).kind == "bad-parameter"
    assert refused(("order", "id,-id")).kind == "bad-parameter"
    assert refused(("columns", "id,id")).kind == "bad-parameter"


def test_an_unknown_parameter_is_named_and_those_that_are_known_too() -> None:
    problem = refused(("id", "1"), ("'; drop table things --" * 50, "x"))
    assert problem.kind == "unknown-parameter"
    reserved = ["columns", "order", "limit", "cursor", "version", "excel"]
    assert problem.members["known"] == [*reserved, *TYPES]
    assert len(str(problem.members["parameter"])) == 100


@pytest.mark.parametrize("text", ["0", "-1", "10001", "1.5", "", "1e3", "9" * 30, "\u0663"])
def test_a_limit_is_a_whole_number_within_bounds(text: str) -> None:
    assert refused(("limit", text)).members["parameter"] == "limit"
    assert [asked(("limit", good)).limit for good in ("1", "10000")] == [1, 10_000]
    assert asked().limit == 100
    assert asked(default_limit=7).limit == 7


@pytest.mark.parametrize("name", ["limit", "columns", "order"])
def test_what_is_one_thing_is_given_once(name: str) -> None:
    assert "more than once" in refused((name, "id"), (name, "id")).detail


# --- Declared routes ------------------------------------------------------------------------------

ROUTE: dict[str, Any] = {
    "route": "things",
    "filters": {"from": "day.gte", "is": "name", "of": "id.in"},
    "order": ["-price"],
    "hide": {"is_new": {"equals": True, "unless": "show_new"}, "name": {"equals": "x"}},
}


def routed(*pairs: tuple[str, str]) -> PageQuery:
    return route_query(mart(**ROUTE), Parameters(pairs), None)


def test_a_route_has_its_own_parameters_only() -> None:
    where = routed(("from", "2024-01-01"), ("is", "eq.gt.5"), ("of", "1,2")).where()
    assert where.sql == (
        '("day" >= cast(? as date)) and ("name" = cast(? as varchar)) '
        'and ("id" in (cast(? as bigint), cast(? as bigint))) '
        'and ("is_new" is distinct from ?) and ("name" is distinct from ?)'
    )
    assert where.values == (date(2024, 1, 1), "gt.5", 1, 2, True, "x")
    known = ["from", "is", "of", "show_new", "limit", "cursor", "version", "excel"]
    assert route_parameters(mart(**ROUTE)) == known
    for name in ("id", "columns", "order", "price", "day"):
        with pytest.raises(Problem) as caught:
            routed((name, "1"))
        assert caught.value.kind == "unknown-parameter"
        assert caught.value.members["known"] == known


def test_a_route_takes_no_operator_and_no_range_that_ends_before_it_starts() -> None:
    for text in ("gt.5", "neq.x", "LIKE.x", "in.a,b", "is.null"):
        with pytest.raises(Problem, match="takes none") as caught:
            routed(("is", text))
        assert (caught.value.status, caught.value.members["parameter"]) == (400, "is")
    filters = {"route": "things", "filters": {"start": "day.gte", "end": "day.lte"}}
    for start, end, is_range in (("02", "01", False), ("01", "01", True), ("01", "02", True)):
        pairs = [("end", f"2025-01-{end}"), ("start", f"2025-01-{start}")]
        if is_range:
            assert route_query(mart(**filters), Parameters(pairs), None).conditions
        else:
            with pytest.raises(Problem, match="'start' must not be after end"):
                route_query(mart(**filters), Parameters(pairs), None)


def test_hidden_rows_are_shown_only_by_their_own_flag() -> None:
    hidden = '("is_new" is distinct from ?)'
    assert hidden in routed(("show_new", "false")).where().sql
    assert hidden not in routed(("show_new", "true")).where().sql
    assert '("name" is distinct from ?)' in routed(("show_new", "true")).where().sql
    assert routed(("show_new", "true")).key != routed().key
    for text in ("", "1", "TRUE"):
        with pytest.raises(Problem):
            routed(("show_new", text))


# --- Cursors --------------------------------------------------------------------------------------


def test_a_cursor_takes_up_after_its_row() -> None:
    first = asked(("order", "-price,name"))
    cursor = following(first, ["1.50", None, "7"])
    where = asked(("order", "-price,name"), cursor=cursor).where()
    price, name = "cast(? as decimal(38, 10))", "cast(? as bigint)"
    assert where.sql == (
        f'("price" < {price} or "price" is null or ("price" = {price} and '
        f'("name" is null and ("id" > {name} or "id" is null or ("id" = {name} and (false))))))'
    )
    assert where.values == (Decimal("1.50"), Decimal("1.50"), 7, 7)
    assert read_version(Parameters([("cursor", cursor)])) == (VERSION, cursor)


@pytest.mark.parametrize("text", ["0.5", "1e-7", "2.5e+20", "-1.7976931348623157e+308"])
def test_a_cursor_on_a_double_takes_up_where_the_page_ended(text: str) -> None:
    # As DuckDB writes a double; a filter does not take exponents.
    cursor = following(asked(("order", "weight")), [text, "7"])
    where = asked(("order", "weight"), cursor=cursor).where()
    assert where.values == (float(text), float(text), 7, 7)


def test_a_cursor_of_another_question_is_refused() -> None:
    cursor = following(asked(("order", "name")), ["a", "1"])
    for pairs in ([], [("order", "-name")], [("order", "name"), ("id", "1")]):
        assert "another question" in refused(*pairs, cursor=cursor).detail
    # Neither the size of a page nor the cursor itself is part of the question.
    assert asked(("order", "name"), ("limit", "3"), cursor=cursor).after == ("a", "1")


def encoded(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


FINGERPRINT = json.loads(base64.urlsafe_b64decode(following(asked(), ["1"]) + "=="))[1]


CONTENTS: list[object] = [
    *(None, 1, "x", {}, [], [VERSION], [None, None], [VERSION, None, "1"]),
    [VERSION, FINGERPRINT],
    [VERSION, FINGERPRINT, "1", "1"],
    [VERSION, FINGERPRINT, 1],
    [VERSION, FINGERPRINT, True],
    [VERSION, FINGERPRINT, ["1"]],
    [VERSION, FINGERPRINT, {"a": 1}],
    [VERSION, FINGERPRINT, float("nan")],
    [VERSION, FINGERPRINT, float("inf")],
    [VERSION, FINGERPRINT, "1 or 1=1"],
    [VERSION, FINGERPRINT, "9" * 30],
    [VERSION, FINGERPRINT, "1); drop table things; --"],
    [VERSION, "0" * 16, "1"],
    [1, 2, 3],
]


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "====", "é", "W10", "bnVsbA", "A" * 5000, "[]", "//4", "\ud800"),
        *(encoded(content) for content in CONTENTS),
        base64.urlsafe_b64encode(b"[" * 6000).decode().rstrip("="),
        base64.urlsafe_b64encode(b"[" + b"1" * 5000 + b"]").decode().rstrip("="),
        base64.urlsafe_b64encode(b"\xff\xfe[\x00").decode(),
    ],
)  # fmt: skip
def test_a_forged_cursor_is_a_problem_and_no_fault(cursor: str) -> None:
    with pytest.raises(Problem) as caught:
        asked(cursor=read_version(Parameters([("cursor", cursor)]))[1])
    assert (caught.value.status, caught.value.kind) == (400, "bad-parameter")


def test_keys_of_a_forged_cursor_are_values_and_nothing_else() -> None:
    query = asked(("order", "name"))
    key = "x') or 1=1; drop table things; --"
    where = asked(("order", "name"), cursor=following(query, [key, "1"])).where()
    assert key not in where.sql
    assert where.values[:2] == (key, key)
    for bad in ("a\x00b", "a\ud800b"):
        forged = encoded([VERSION, json.loads(_decoded(following(query, ["a", "1"])))[1], bad, "1"])
        assert refused(("order", "name"), cursor=forged).kind == "bad-parameter"


def _decoded(cursor: str) -> bytes:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


def test_a_cursor_and_a_version_must_agree() -> None:
    cursor = following(asked(), ["1"])
    assert read_version(Parameters([("cursor", cursor), ("version", VERSION)])) == (VERSION, cursor)
    with pytest.raises(Problem, match="another version"):
        read_version(Parameters([("cursor", cursor), ("version", "20200101T000000Z-00000000")]))
    assert read_version(Parameters([("version", "x")])) == ("x", None)
    assert read_version(Parameters([])) == (None, None)


# --- The catalog ----------------------------------------------------------------------------------


def test_the_catalog_shows_marts_that_declare_an_api_and_their_routes() -> None:
    found = catalog(**ROUTE)
    assert list(found.marts) == ["things"]
    assert list(found.routes) == ["things"]
    assert found.bytes == 2
    assert found.published_at_text == "2026-01-01T02:03:04Z"
    things = found.marts["things"]
    assert [str(term) for term in things.order] == ["-price", "id"]
    assert things.row_scope is None
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_catalog({})
