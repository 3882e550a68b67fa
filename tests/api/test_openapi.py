"""The description says what the server does: valid, complete, and with examples that are true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from jsonschema.protocols import Validator

from tests.api.support import (
    MEDIA_TYPES,
    PROBLEM,
    Api,
    Number,
    Row,
    as_problem,
    declared,
    json_rows,
    parsed,
)
from tests.support import Project
from warehouse.audit import faults_of_api

Sample = dict[str, list[Row]]

# Enough of the other parameters to be answered.
WITH = {"start": {"end": "2025-12-31"}, "end": {"start": "2025-12-01"}}
ALWAYS = {"/api/v1/metrics": {"start": "2025-12-01", "end": "2025-12-31"}}
JSON_ONLY = ("/api/v1/marts", "/api/v1/quality")
WITHOUT_VERSION = ("/api/v1/build_history",)
WITHOUT_ETAG = ("/api/v1/quality", "/api/v1/build_history")


@pytest.fixture(scope="module")
def document(api: Api) -> Row:
    answer = api.get("/api/v1/openapi.json", scopes=())
    assert answer.headers["content-type"] == "application/json"
    content: Row = json.loads(answer.body)
    return content


def operations(document: Row) -> Iterator[tuple[str, Row]]:
    for path, item in document["paths"].items():
        assert list(item) == ["get"], path
        yield path, item["get"]


def schemas(node: Any) -> Iterator[Row]:
    """Every schema of the document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "schema":
                yield value
            yield from schemas(value)
    elif isinstance(node, list):
        for item in node:
            yield from schemas(item)


def validator(document: Row, schema: Row) -> Validator:
    """Checks a value against a schema that may refer to the document's components."""
    return jsonschema.Draft202012Validator(
        {**schema, "components": document["components"]},
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )


def response_schema(operation: Row) -> Row:
    schema: Row = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return schema


def test_it_is_valid_openapi_3_1(document: Row) -> None:
    assert document["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(document).validate()
    found = [*schemas(document), *document["components"]["schemas"].values()]
    assert len(found) > 100
    for schema in found:
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere(document: Row) -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            node = list(node.values())
        if isinstance(node, list):
            for item in node:
                yield from references(item)

    found = set(references(document))
    assert len(found) > 10
    for reference in found:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_it_names_every_mart_with_its_grain_and_formulas(document: Row) -> None:
    paths = {path: found.get("description", "") for path, found in operations(document)}
    for mart, declaration in declared().items():
        own = [f"/api/v1/marts/{mart}"]
        if "route" in declaration.api:
            own.append(f"/api/v1/{declaration.api['route']}")
        for path in own:
            text = paths[path]
            assert f"Mart `{mart}`" in text
            for column in declaration.grain:
                assert f"`{column}`" in text, path
            for column, formula in declaration.formulas.items():
                assert f"| `{column}` | {' '.join(formula.split())} |" in text, (path, column)
            order = ", ".join(f"`{term}`" for term in declaration.order) or "one row"
            assert f"Order: {order}." in text
    for path, mart in (
        ("/api/v1/metrics", "ads_performance_daily"),
        ("/api/v1/feedback", "sales_by_category_daily"),
        ("/api/v1/quality", "feed_health"),
    ):
        assert f"Mart `{mart}`" in paths[path]
        assert "sum(" in paths[path] or "100 x" in paths[path]


def test_it_describes_every_column_by_its_type(document: Row) -> None:
    kinds = {
        "string": "string", "bigint": "integer", "date": "string", "timestamp": "string",
        "boolean": "boolean", "string[]": "array",
    }  # fmt: skip
    for mart, declaration in declared().items():
        properties = document["components"]["schemas"][mart]["properties"]
        assert list(properties) == list(declaration.types)
        for column, data_type in declaration.types.items():
            kind = "number" if data_type.startswith("decimal") else kinds[data_type]
            assert properties[column]["type"] == [kind, "null"], (mart, column)
            assert properties[column]["description"]


def test_what_needs_no_token_says_so_and_the_rest_needs_one(document: Row, api: Api) -> None:
    assert document["security"] == [{"token": []}]
    assert document["components"]["securitySchemes"] == {
        "token": {"type": "http", "scheme": "bearer"}
    }
    for path, operation in operations(document):
        answer = api.get(path, ALWAYS.get(path), scopes=())
        assert answer.status == (200 if operation.get("security") == [] else 401), path
    assert api.get("/api/v1/openapi.json", scopes=()).status == 200


# --- Parameters -----------------------------------------------------------------------------------

VALUES = {"integer": "1", "number": "1.5", "boolean": "true", "array": "is.not_null"}


def value_for(name: str, schema: Row) -> str | None:
    """A value that the schema of a parameter allows; None: it must be looked up."""
    if name in ("cursor", "version", "columns", "order"):
        return None
    if "enum" in schema:
        return str(schema["enum"][0])
    if schema.get("format") == "date":
        return "2025-12-15"
    if schema.get("format") == "date-time":
        return "2025-12-15T00:00:00Z"
    return VALUES.get(schema["type"], "x")


def test_the_server_accepts_every_parameter_that_is_described(document: Row, api: Api) -> None:
    accepted = 0
    for path, operation in operations(document):
        columns = list(
            declared()
            .get(path.removeprefix("/api/v1/marts/"), next(iter(declared().values())))
            .types
        )
        for parameter in operation.get("parameters", []):
            name = parameter["name"]
            assert parameter["in"] == "query"
            assert parameter["description"]
            value = value_for(name, parameter["schema"])
            query = dict(ALWAYS.get(path, {}))
            if name == "compare":
                query = {}
            if name == "version":
                value = api.get(path, query).headers["x-snapshot-version"]
            elif name in ("columns", "order"):
                value = columns[0]
            elif name == "cursor":
                following = api.page(path, query | {"limit": "1"})["meta"]["next"]
                if following is None:  # there is but one row
                    continue
                value = following
            suffix = ".csv" if name == "excel" else ""
            answer = api.get(path + suffix, query | {name: str(value)})
            assert answer.status == 200, (path, name, value, answer.body)
            accepted += 1
    assert accepted > 200


def test_the_server_has_no_parameter_that_is_not_described(document: Row, api: Api) -> None:
    for path, operation in operations(document):
        if operation.get("security") == []:
            continue
        described = {parameter["name"] for parameter in operation["parameters"]}
        answer = api.get(path, {"no_such_parameter": "1"})
        assert answer.status == 400
        known = set(parsed(answer.body)["known"])
        mart = declared().get(path.removeprefix("/api/v1/marts/"))
        lists = [name for name, kind in mart.types.items() if kind.endswith("[]")] if mart else []
        assert known - set(lists) == described, path


def test_limits_are_those_that_are_described(document: Row, api: Api) -> None:
    for path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            if parameter["name"] == "limit":
                schema = parameter["schema"]
                for value, status in (
                    (schema["minimum"], 200),
                    (schema["maximum"], 200),
                    (schema["minimum"] - 1, 400),
                    (schema["maximum"] + 1, 400),
                ):
                    columns = {"columns": "date"} if path.endswith("daily_growth") else {}
                    assert api.get(path, {"limit": str(value)} | columns).status == status
                page = api.page(path)
                assert len(page["data"]) <= schema["default"]
                if page["meta"]["next"]:
                    assert len(page["data"]) == schema["default"]


# --- Answers --------------------------------------------------------------------------------------


def test_answers_and_examples_are_valid_against_their_schemas(document: Row, api: Api) -> None:
    problem = validator(document, {"$ref": "#/components/schemas/Problem"})
    for path, operation in operations(document):
        check = validator(document, response_schema(operation))
        check.validate(json.loads(api.get(path, ALWAYS.get(path)).body))
        content = operation["responses"]["200"]["content"]
        if "example" in content["application/json"]:
            check.validate(content["application/json"]["example"])
        for media_type in content:
            answer = api.get(path, ALWAYS.get(path), headers={"Accept": media_type})
            assert answer.headers["content-type"].partition(";")[0] == media_type
        if operation.get("security") != []:
            if path not in JSON_ONLY:
                assert list(content) == list(MEDIA_TYPES.values())
            ways: list[tuple[str, Row]] = [
                ("400", {"query": {"nothing": "x"}}),
                ("401", {"scopes": ()}),
                ("404", {"query": {**ALWAYS.get(path, {}), "version": "x"}}),
                ("406", {"headers": {"Accept": "image/png"}}),
            ]
            for status, how in ways:
                if status == "404" and path in WITHOUT_VERSION:
                    continue
                answer = api.get(path, **how)
                assert answer.status == int(status), (path, status)
                assert list(operation["responses"][status]["content"]) == [PROBLEM]
                problem.validate(json.loads(answer.body))


def test_what_can_be_kept_has_an_etag_and_the_rest_has_none(document: Row, api: Api) -> None:
    for path, operation in operations(document):
        if operation.get("security") != []:
            answer = api.get(path, ALWAYS.get(path))
            can_be_kept = path not in WITHOUT_ETAG
            assert ("etag" in answer.headers) == can_be_kept, path
            assert ("ETag" in operation["responses"]["200"]["headers"]) == can_be_kept, path
            assert ("304" in operation["responses"]) == can_be_kept, path


def test_no_mart_can_take_the_route_of_an_endpoint_that_is_code(document: Row) -> None:
    of_marts = {declaration.api.get("route") for declaration in declared().values()}
    own = {path.removeprefix("/api/v1/") for path in document["paths"] if path.startswith("/api/")}
    routes = [name for name in own - of_marts if not name.startswith("marts/")]
    assert len(routes) == 5
    for route in routes:
        faults = list(faults_of_api({"scope": "shop", "route": route}, {}))
        assert faults == [f"route {route} is taken by the API itself"]


def test_every_column_of_a_row_is_described(document: Row, api: Api) -> None:
    # Were a schema empty, everything would be valid.
    for path, operation in operations(document):
        check = validator(document, response_schema(operation))
        answer = json.loads(api.get(path, ALWAYS.get(path)).body)
        assert list(check.iter_errors(answer | {"more": 1})), path
        if answer.get("data"):
            row = answer["data"][0] | {"more": 1}
            assert list(check.iter_errors(answer | {"data": [row]})), path
            for name in answer["data"][0]:
                wrong = answer["data"][0] | {name: {"not": "this"}}
                assert list(check.iter_errors(answer | {"data": [wrong]})), (path, name)


def as_declared(value: Any, data_type: str) -> Any:
    """A value of the YAML, as the answer would hold it."""
    if data_type.startswith("decimal") and value is not None:
        digits = int(data_type.removesuffix(")").rpartition(",")[2])
        return Number(f"{value:.{digits}f}")
    return value


@pytest.mark.parametrize("mart", declared())
def test_the_example_of_a_mart_is_a_row_of_the_sample(
    mart: str, document: Row, sample: Sample
) -> None:
    declaration = declared()[mart]
    example = dict(declaration.api["example"])
    assert list(example) == list(declaration.types)
    paths = [f"/api/v1/marts/{mart}"]
    if "route" in declaration.api:
        paths.append(f"/api/v1/{declaration.api['route']}")
    for path in paths:
        shown = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        assert shown["example"]["data"] == [example]
    typed = {name: as_declared(example[name], kind) for name, kind in declaration.types.items()}
    rows = json_rows(sample[mart])
    for row in [typed, *rows]:
        row.pop("last_loaded_at", None)
    assert typed in rows
    # On a route that hides rows, the example is one that is shown.
    for column, rule in declaration.api.get("hide", {}).items():
        assert example[column] != rule["equals"]


def test_the_examples_of_computed_endpoints_are_answers_on_the_sample(
    document: Row, api: Api
) -> None:
    for path, query in (("metrics", {"compare": "last30_prev30"}), ("feedback", {})):
        content = document["paths"][f"/api/v1/{path}"]["get"]["responses"]["200"]["content"]
        example = dict(content["application/json"]["example"])
        answer = json.loads(api.get(path, query).body)
        assert answer["meta"].keys() == example.pop("meta").keys()
        assert example == {key: value for key, value in answer.items() if key != "meta"}


def test_what_a_form_fills_in_is_answered(document: Row, api: Api) -> None:
    """As Swagger UI does: the example of each parameter, else its default, all at once."""
    tried = 0
    for path, operations in document["paths"].items():
        filled = {
            parameter["name"]: str(value)
            for parameter in operations["get"].get("parameters", [])
            for schema in [parameter["schema"]]
            for value in [parameter.get("example", schema.get("example", schema.get("default")))]
            if value is not None
        }
        answer = api.get(path, filled)
        assert answer.status == 200, (path, filled, answer.body)
        tried += 1
    assert tried > 25
    names = {
        parameter["name"]: parameter
        for parameter in document["paths"]["/api/v1/metrics"]["get"]["parameters"]
    }
    assert "example" in names["compare"]
    assert "example" not in names["start"] | names["end"]


def test_a_file_of_some_of_the_rows_says_so(document: Row, api: Api) -> None:
    """And no other answer: JSON has `next`."""
    seen = 0
    for path, operations in document["paths"].items():
        content = operations["get"]["responses"]["200"]["content"]
        if "text/csv" not in content:
            continue
        assert "X-Truncated" in operations["get"]["responses"]["200"]["headers"], path
        query = {"compare": "last30_prev30"} if path.endswith("/metrics") else {}
        total = api.page(path, query)["meta"]["next"]
        for suffix in ("csv", "arrow", "parquet"):
            whole = api.get(f"{path}.{suffix}", query)
            assert ("x-truncated" in whole.headers) == (total is not None), path
            if total is not None:
                assert whole.headers["x-truncated"] == "true"
                again = api.get(f"{path}.{suffix}", query)  # one that was kept
                assert again.headers["x-truncated"] == "true"
                head = api.get(f"{path}.{suffix}", query, method="HEAD")
                assert head.headers["x-truncated"] == "true"
                seen += 1
        assert "x-truncated" not in api.get(path, query).headers
    assert seen > 20
    last = {"limit": "10000"}
    assert "x-truncated" not in api.get("daily_sales.csv", last).headers


def test_an_operator_or_a_range_turned_round_is_no_empty_answer(api: Api) -> None:
    month = {"start": "2025-01-01", "end": "2025-01-31"}
    for path, query in (
        ("metrics", month | {"platform": "neq.Meta"}),
        ("metrics", month | {"platform": "ne.Meta"}),
        ("metrics", month | {"campaign": "like.*x*"}),
        ("metrics", {"start": "2025-02-01", "end": "2025-01-31"}),
        ("feedback", {"category": "EQ.shoes"}),
        ("feedback", {"start_date": "2025-02-01", "end_date": "2025-01-31"}),
        ("daily_sales", {"start": "2025-02-01", "end": "2025-01-31"}),
        ("product_metrics", {"category": "neq.x"}),
        ("marts/ads_performance_daily", {"platform": "neq.Meta"}),
        ("marts/daily_sales", {"date": ["gte.2025-02-01", "lte.2025-01-31"]}),
    ):
        as_problem(api.get(path, query), 400, "bad-parameter")
    with_escape = api.page("metrics", month | {"platform": "eq.Meta"})
    assert with_escape == api.page("metrics", month | {"platform": "Meta"})


def test_the_version_of_the_document_is_that_of_the_snapshot(document: Row, built: Project) -> None:
    newest = built.published.newest()
    assert newest is not None
    assert document["info"]["version"] == newest.version
