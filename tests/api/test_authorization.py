"""A token reads what its scopes allow, by whatever path and parameter, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.support import (
    PROBLEM,
    SCOPES,
    SUFFIXES,
    Api,
    Row,
    as_problem,
    declared,
    json_rows,
    parsed,
    read_csv,
)

Sample = dict[str, list[Row]]

COMPUTED = {
    **{"metrics": "marketing", "feedback": "marketplace"},
    **{"quality": "quality", "build_history": "quality"},
}
NEEDED = {"metrics": {"compare": "last30_prev30"}}
JSON_ONLY = ("quality",)
WITHOUT_VERSION = ("build_history",)
NEVER_KEPT = ("quality", "build_history")
# Of rejected_rows: which area a row is of says which further scope it needs.
AREAS = ("marketing", "shop", "marketplace", "hiring")


def resources() -> dict[str, str]:
    """Every path below /api/v1 that needs a scope, and the scope."""
    found = dict(COMPUTED)
    for mart, declaration in declared().items():
        scope = declaration.api["scope"]
        found[f"marts/{mart}"] = scope
        if "route" in declaration.api:
            found[declaration.api["route"]] = scope
    return found


def hiring_secrets(sample: Sample) -> set[str]:
    """Texts that only hiring data hold."""
    return {row["department"] for row in sample["departments_above_mean"]}


# --- Every endpoint, every scope ------------------------------------------------------------------


def test_the_description_names_the_same_endpoints_and_scopes(api: Api) -> None:
    document = parsed(api.get("/api/v1/openapi.json", scopes=()).body)
    found = {
        path.removeprefix("/api/v1/"): operation["get"]["description"]
        for path, operation in document["paths"].items()
        if path.startswith("/api/v1/") and path != "/api/v1/marts"
    }
    assert found.keys() == resources().keys()
    for resource, scope in resources().items():
        assert f"Scope `{scope}`" in found[resource], resource


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_its_own_endpoints_in_every_format_and_no_other(scope: str, api: Api) -> None:
    version = api.get("feedback").headers["x-snapshot-version"]
    opened: set[tuple[str, ...]] = set()
    for resource, needed in resources().items():
        query = NEEDED.get(resource, {"limit": "2"} if resource not in COMPUTED else {})
        suffixes = ("json",) if resource in JSON_ONLY else SUFFIXES
        for suffix in ("", *(f".{suffix}" for suffix in suffixes)):
            for more in ({}, {} if resource in WITHOUT_VERSION else {"version": version}):
                for method in ("GET", "HEAD"):
                    answer = api.get(
                        resource + suffix, query | more, scopes=(scope,), method=method
                    )
                    if needed == scope:
                        assert answer.status == 200, (resource, suffix)
                        opened.add((resource, suffix, method, *more))
                    elif method == "HEAD":
                        assert (answer.status, answer.body) == (403, b""), resource
                    else:
                        assert as_problem(answer, 403, "missing-scope")["scope"] == needed
                        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    kinds = {resource: 20 for resource, needed in resources().items() if needed == scope}
    kinds |= {"quality": 8, "build_history": 10} if scope == "quality" else {}
    assert len(opened) == sum(kinds.values())


def test_a_kept_answer_needs_the_scope_as_well(api: Api) -> None:
    for resource, needed in resources().items():
        if resource in NEVER_KEPT:
            continue
        query = NEEDED.get(
            resource, {"category": "x"} if resource == "feedback" else {"limit": "4"}
        )
        good = api.get(resource, query, scopes=(needed,))
        assert good.status == 200
        for scope in SCOPES:
            if scope != needed:
                for headers in (
                    {},
                    {"If-None-Match": good.headers["etag"]},
                    {"If-None-Match": "*"},
                ):
                    answer = api.get(resource, query, scopes=(scope,), headers=headers)
                    as_problem(answer, 403, "missing-scope")
        # Whose rows depend on the other scopes.
        if resource not in ("marts/rejected_rows", "marts/expectation_results"):
            assert api.get(resource, query, scopes=SCOPES).body == good.body


def test_without_a_token_there_is_nothing(api: Api) -> None:
    for resource in (*resources(), "marts", "nothing", "marts/nothing"):
        answer = api.get(resource, scopes=())
        as_problem(answer, 401, "unauthenticated")
    for path in ("/health", "/ready", "/docs", "/docs/problems", "/", "/api/v1/openapi.json"):
        assert api.get(path, scopes=()).status == 200, path


def test_marts_lists_what_the_token_may_read(api: Api) -> None:
    for scope in SCOPES:
        listed = [row["mart"] for row in api.rows("marts", scopes=(scope,))]
        assert set(listed) == {
            mart for mart, declaration in declared().items() if declaration.api["scope"] == scope
        }, scope
    assert len(api.rows("marts", scopes=("shop", "hiring"))) == 9
    assert len(api.rows("marts")) == len(api.rows("marts", scopes=SCOPES)) == len(declared())
    # Also when it was asked for in other words just before.
    known = api.get("marts").headers["etag"]
    for scope in SCOPES:
        answer = api.get("marts", scopes=(scope,), headers={"If-None-Match": known})
        assert answer.status == 200


def test_numbers_about_the_server_need_a_scope_of_their_own(api: Api) -> None:
    for scope in SCOPES:
        answer = api.get("/metrics", scopes=(scope,))
        if scope == "monitoring":
            assert answer.status == 200
        else:
            as_problem(answer, 403, "missing-scope")
    as_problem(api.get("/metrics", scopes=()), 401, "unauthenticated")


# --- Other ways to spell a path -------------------------------------------------------------------


def spellings(resource: str) -> Iterator[str]:
    """Paths that a careless router might take for the resource."""
    base = "/api/v1/"
    yield from (
        f"{base}{resource}/",
        f"{base}{resource}//",
        f"{base}/{resource}",
        f"//api/v1/{resource}",
        f"/api//v1/{resource}",
        f"{base}./{resource}",
        f"{base}%2e/{resource}",
        f"{base}x/../{resource}",
        f"{base}x/%2e%2e/{resource}",
        f"{base}feedback/../{resource}",
        f"{base}feedback%2f..%2f{resource}",
        f"{base}{resource.upper()}",
        f"/API/V1/{resource}",
        f"{base}{resource}%20",
        f"{base}%20{resource}",
        f"{base}{resource}%00",
        f"{base}{resource};x=1",
        f"{base}{resource}%3Flimit=1",
        f"{base}{resource}%23",
        f"{base}{resource}.",
        f"{base}{resource}.json.json",
        f"{base}{resource}.JSON",
        f"{base}{resource}%2ejson",
        f"{base}{resource}%252ejson",
        f"{base}%{ord(resource[0]):02x}{resource[1:]}",
        f"{base}{resource.replace('/', '%2f')}",
        f"{base}{resource.replace('/', '//')}",
        f"{base}{resource.replace('/', '/./')}",
        f"{base}{resource.replace('/', '/%2e%2e/marts/')}",
        f"{base}{resource.replace('_', '%5f')}",
        f"{base}{resource.replace('a', '%c1%a1')}",
        f"{base}marts/{resource}",
        f"{base}marts%2f{resource}",
        f"{base}marts/%22{resource.rpartition('/')[2]}%22",
        f"{base}marts/main.{resource.rpartition('/')[2]}",
        f"{base}metrics/{resource}",
    )


@pytest.mark.parametrize("resource", resources())
def test_no_spelling_of_a_path_gets_around_the_scope(
    resource: str, api: Api, sample: Sample
) -> None:
    needed = resources()[resource]
    own = "feedback" if needed != "marketplace" else "daily_sales"
    other = "marketplace" if needed != "marketplace" else "shop"
    secrets = [name.encode() for name in hiring_secrets(sample)]
    reached = 0
    for path in spellings(resource):
        with_scope = api.get(path, NEEDED.get(resource), scopes=(needed,))
        answer = api.get(path, NEEDED.get(resource), scopes=(other,))
        hops = 0
        while answer.status in (301, 302, 307, 308):
            location = answer.headers["location"]
            # Only to this server, and the new path is asked for with the token, as any other.
            path = location.removeprefix(f"http://127.0.0.1:{api.server.port}")
            assert path.startswith("/"), location
            assert not path.startswith("//"), location
            answer = api.get(path, scopes=(other,))
            hops += 1
            assert hops < 3
        assert answer.status in (400, 403, 404, 503), path
        assert answer.headers["content-type"] == PROBLEM
        if needed == "hiring":
            assert not [secret for secret in secrets if secret in answer.body]
        reached += with_scope.status == 200
        if with_scope.status == 200:
            assert answer.status in (400, 403), path
    assert reached >= 2
    assert api.get(own, scopes=(other,)).status == 200


# --- Other marts through parameters ---------------------------------------------------------------


def test_columns_order_and_filters_name_columns_of_the_mart_itself(api: Api) -> None:
    shop = ("shop",)
    for name in (
        *("department", "hires_by_quarter.department", 'hires_by_quarter"."department', "q1"),
        *("(select department from hires_by_quarter)", "*", "hires_by_quarter.*", "columns(*)"),
    ):
        for parameter in ("columns", "order"):
            answer = api.get("marts/daily_sales", {parameter: name}, scopes=shop)
            as_problem(answer, 400, "unknown-column")
        answer = api.get("marts/daily_sales", {name: "x"}, scopes=shop)
        as_problem(answer, 400, "unknown-parameter")


def test_a_cursor_opens_nothing(api: Api) -> None:
    query = {"limit": "2"}
    for path in ("marts/hires_by_quarter", "metrics/hired-employees", "marts/rejected_rows"):
        cursor = api.page(path, query)["meta"]["next"]
        answer = api.get(path, query | {"cursor": cursor}, scopes=("shop",))
        as_problem(answer, 403, "missing-scope")
        answer = api.get("marts/daily_sales", query | {"cursor": cursor}, scopes=("shop",))
        as_problem(answer, 400, "bad-parameter")


# --- Rows that need a further scope ---------------------------------------------------------------


def allowed(sample: Sample, *areas: str) -> list[Any]:
    return json_rows(row for row in sample["rejected_rows"] if row["area"] in areas)


def test_rejected_rows_show_the_areas_whose_scope_the_token_has(api: Api, sample: Sample) -> None:
    path = "marts/rejected_rows"
    everything = {"limit": "10000"}
    assert {row["area"] for row in sample["rejected_rows"]} == set(AREAS)
    # The same question by one after the other: each finds what the others left in the cache.
    for scopes in (
        *[(*("quality", area),) for area in AREAS],
        *[("quality",), ("*",), ("quality", "shop", "hiring"), ("quality", *AREAS), ("quality",)],
        *[(*("quality", area),) for area in reversed(AREAS)],
        ("quality", "monitoring"),
        ("*",),
    ):
        areas = AREAS if "*" in scopes else scopes
        expected = allowed(sample, *areas)
        assert api.rows(path, everything, scopes=scopes) == expected, scopes
        assert api.walk(path, {"limit": "17"}, scopes=scopes) == expected, scopes
        rows = read_csv(api.get(f"{path}.csv", everything, scopes=scopes).body)
        assert [row["record"] for row in rows] == [row["record"] for row in expected]
    for area in AREAS:
        as_problem(api.get(path, everything, scopes=(area,)), 403, "missing-scope")


def test_no_filter_order_or_column_shows_rows_of_another_area(api: Api, sample: Sample) -> None:
    scopes = ("quality", "shop")
    expected = allowed(sample, "shop")
    hidden = [row for row in sample["rejected_rows"] if row["area"] != "shop"]
    for query in (
        {"area": "hiring"},
        {"area": "in.hiring,marketing,marketplace"},
        {"area": "ne.shop"},
        {"area": ["gte.a", "ne.shop"]},
        {"feed": "hired_employees"},
        {"record": f"eq.{hidden[0]['record']}"},
        {"line_number": f"eq.{hidden[0]['line_number']}", "feed": hidden[0]["feed"]},
    ):
        assert api.rows("marts/rejected_rows", {"limit": "10000", **query}, scopes=scopes) == []
    for query in (
        {"area": "is.not_null"},
        {"area": ["gte.a", "lte.z"]},
        {"area": "in.hiring,shop"},
        {"feed": "ne.nothing"},
        {"record": "ne.1) or (1=1"},
    ):
        found = api.rows("marts/rejected_rows", {"limit": "10000", **query}, scopes=scopes)
        assert found == expected, query
    # Without the column, and sorted so that hidden rows would come first.
    query = {"columns": "record", "order": "-area,-feed,line_number", "limit": "7"}
    walked = api.walk("marts/rejected_rows", query, scopes=scopes)
    assert sorted(row["record"] for row in walked) == sorted(row["record"] for row in expected)


def test_a_cursor_of_another_token_shows_no_more_rows(api: Api, sample: Sample) -> None:
    query = {"limit": "3", "order": "-feed,line_number"}
    cursor = api.page("marts/rejected_rows", query)["meta"]["next"]
    for scopes in (("quality", "hiring"), ("quality", "shop"), ("quality",)):
        rows = api.walk(
            "marts/rejected_rows", query | {"cursor": cursor, "limit": "11"}, scopes=scopes
        )
        own = allowed(sample, *scopes)
        assert all(row in own for row in rows)
        assert {row["area"] for row in rows} <= set(scopes)


def test_one_question_has_one_etag_for_each_set_of_rows(api: Api) -> None:
    etags = {
        scopes: api.get("marts/rejected_rows", scopes=scopes).headers["etag"]
        for scopes in [("*",), ("quality",), *((("quality", area)) for area in AREAS)]
    }
    assert len(set(etags.values())) == len(etags)
    for known in etags.values():
        for scopes, own in etags.items():
            answer = api.get("marts/rejected_rows", scopes=scopes, headers={"If-None-Match": known})
            assert answer.status == (304 if own == known else 200)
    # Where all rows are the same for all, so is the ETag: the cache is shared.
    assert (
        api.get("marts/daily_sales", scopes=("shop",)).headers["etag"]
        == api.get("marts/daily_sales", scopes=("shop", "hiring")).headers["etag"]
    )


def test_counts_do_not_tell_of_rows_that_are_hidden(api: Api, sample: Sample) -> None:
    # A page that is filled by its own area ends where its own area ends.
    own = allowed(sample, "marketing")
    query = {"limit": str(len(own)), "area": "in.marketing,hiring,shop"}
    page = api.page("marts/rejected_rows", query, scopes=("quality", "marketing"))
    assert page["data"] == own
    assert page["meta"]["next"] is None
