"""The OpenAPI 3.1 description of the API, made from the catalog of a snapshot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from api import formats, quality
from api.catalog import DEFAULT_LIMIT, MAX_LIMIT, Catalog, Column, Mart
from api.computed import Computed
from api.formats import CSV, FORMATS
from api.query import OPERATORS, base_type, is_filterable
from api.routes.quality import HISTORY_COLUMNS, HISTORY_EXAMPLE, SCOPE
from api.routes.table import COMPUTED

Node = dict[str, Any]

_TYPES: dict[str, Node] = {
    "VARCHAR": {"type": "string"},
    "BIGINT": {"type": "integer", "format": "int64"},
    "INTEGER": {"type": "integer", "format": "int32"},
    "SMALLINT": {"type": "integer"},
    "TINYINT": {"type": "integer"},
    "DECIMAL": {"type": "number"},
    "FLOAT": {"type": "number"},
    "DOUBLE": {"type": "number"},
    "DATE": {"type": "string", "format": "date"},
    "TIMESTAMP": {"type": "string", "format": "date-time"},
    "BOOLEAN": {"type": "boolean"},
    "VARCHAR[]": {"type": "array", "items": {"type": "string"}},
}
_INTRODUCTION = """
Numbers of finished, tested builds. Each answer comes from one published snapshot, which never
changes; its version is in `meta` and in the header `X-Snapshot-Version`. `?version=` reads an older
one.

- **Token**: `Authorization: Bearer <token>`, with the scope that the endpoint names.
- **Formats**: JSON; or CSV, Arrow and Parquet by `Accept` or by a suffix of the path, such as
  `/api/v1/daily_sales.csv`.
- **Pages**: `limit` rows; `meta.next` (in other formats the header `X-Next-Cursor`) is the `cursor`
  of the next page, and stays on the same version. A file that has not all rows says
  `X-Truncated: true`.
- **Caching**: an answer has an ETag, and `If-None-Match` gets 304 until the next publication;
  `/quality` and `/build_history`, which change in between, have none.
- **Numbers** are decimals with their exact digits; a null is a number that has no value, such as a
  ratio without a base. Times are UTC.
- **Errors** are `application/problem+json` ([kinds](/docs/problems)).
"""
CONTAINS_SAMPLE = "**This version contains the sample**, which is made up."


@lru_cache(maxsize=4)
def document(catalog: Catalog | None) -> tuple[str, str]:
    """The description as JSON text, and its ETag with its quotes.

    Args:
        catalog: of the snapshot that is served; None: only what does not depend on one.
    """
    text = formats.json_text(describe(catalog))
    return text, f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def describe(catalog: Catalog | None) -> Node:
    """The description as a tree of mappings and lists."""
    paths: Node = {}
    schemas: Node = {"Problem": _problem(), "Meta": _meta()}
    marts = catalog.marts if catalog else {}
    for endpoint in COMPUTED.values():
        if endpoint.mart in marts:
            path = f"/api/v1/{endpoint.resource}"
            paths[path] = {"get": _computed(endpoint, marts)}
    for mart in marts.values():
        schemas[mart.name] = _row(mart.columns)
        if mart.route:
            paths[f"/api/v1/{mart.route}"] = {"get": _route(mart)}
    paths["/api/v1/build_history"] = {"get": _build_history()}
    paths["/api/v1/marts"] = {"get": _list_of_marts()}
    for mart in marts.values():
        paths[f"/api/v1/marts/{mart.name}"] = {"get": _generic(mart)}
    paths |= {path: {"get": operation} for path, operation in _without_token().items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "KPI warehouse",
            "version": catalog.version if catalog else "nothing published",
            "description": "\n\n".join(
                [
                    _INTRODUCTION.strip(),
                    *([CONTAINS_SAMPLE] if catalog and catalog.sample_data else []),
                ]
            ),
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    }


# ---------------------------------------------------------------------------- endpoints


def _computed(endpoint: Computed, marts: Mapping[str, Mart]) -> Node:
    mart = marts[endpoint.mart]
    parameters = [
        _parameter(
            parameter.name,
            _TYPES.get(parameter.type) or {"type": "string", "enum": [parameter.type]},
            parameter.description,
        )
        | ({} if parameter.example is None else {"example": parameter.example})
        for parameter in endpoint.parameters
    ]
    schema = _SCHEMAS.get(endpoint.resource)
    return _operation(
        name=endpoint.resource,
        tag=mart.scope,
        summary=endpoint.summary,
        description=f"{_behind(mart)}\n\n{endpoint.formula}",
        parameters=[*parameters, _version()],
        schema=_rows(_row(_by_name(endpoint.columns), all_there=True))
        if schema is None
        else schema(marts),
        example={**endpoint.example, "meta": _EXAMPLE_META},
        media_types=tuple(shape.media_type for shape in endpoint.formats),
        is_lasting=endpoint.is_lasting,
    )


def _by_name(columns: tuple[Column, ...]) -> dict[str, Column]:
    return {column.name: column for column in columns}


def _build_history() -> Node:
    meta = _object({"next": {"type": "null", "description": "The answer is one page."}})
    rows = _rows(_row(_by_name(HISTORY_COLUMNS), all_there=True))
    rows["properties"]["meta"] = meta
    return _operation(
        name="build_history",
        tag="quality",
        summary="The builds so far, newest first, also those that published nothing.",
        description=(
            f"Scope `{SCOPE}`. Asked of no snapshot: it is answered before the first one too, and "
            "a build that failed is in it at once. A build without an end is `unfinished`: still "
            "running, or killed. It has no ETag, and nobody keeps it."
        ),
        parameters=[_limit(DEFAULT_LIMIT)],
        schema=rows,
        example=HISTORY_EXAMPLE,
        is_lasting=False,
    )


def _route(mart: Mart) -> Node:
    assert mart.route is not None  # noqa: S101 - asked for such marts only
    parameters = [
        _parameter(
            rule.parameter,
            _TYPES.get(base_type(mart.columns[rule.column]), {"type": "string"}),
            f"{_COMPARED[rule.operator].format(column=rule.column)} "
            f"{mart.columns[rule.column].description}",
        )
        for rule in mart.filters
    ]
    parameters += [
        _parameter(hidden.unless, {"type": "boolean"}, f"Show rows with {hidden.column} too.")
        for hidden in mart.hide
        if hidden.unless
    ]
    fixed = [
        f"Leaves out the rows where `{hidden.column}` is {formats.json_text(hidden.equals)}"
        + (f", unless `{hidden.unless}=true`." if hidden.unless else ".")
        for hidden in mart.hide
    ]
    return _operation(
        name=mart.route.replace("/", "_").replace("-", "_"),
        tag=mart.scope,
        summary=mart.description.split(". ")[0].rstrip(".") + ".",
        description="\n\n".join([_behind(mart), _order(mart), *fixed, _formulas(mart)]),
        parameters=[*parameters, *_paging(mart), _version()],
        schema=_rows(_row(mart.columns, all_there=True)),
        example=_example(mart),
    )


def _generic(mart: Mart) -> Node:
    parameters = [
        _parameter(
            column.name,
            {"type": "array", "items": {"type": "string"}},
            f"{column.description} ({column.type})",
        )
        | {"explode": True, "style": "form"}
        for column in mart.columns.values()
        if is_filterable(column)
    ]
    parameters += [
        _parameter("columns", {"type": "string"}, "Columns to show, separated by commas."),
        _parameter("order", {"type": "string"}, "Columns to sort by; `-column` is descending."),
    ]
    operators = ", ".join([*OPERATORS, "in"])
    return _operation(
        name=f"mart_{mart.name}",
        tag="marts",
        summary=f"Any rows of {mart.name}.",
        description="\n\n".join(
            [
                mart.description,
                _behind(mart),
                _order(mart),
                f"A filter is `column=value` or `column=operator.value` ({operators}; also "
                '`is.null`, `is.not_null`), such as `gte.10` or `in.a,"b,c"`. The same column may '
                "be filtered more than once; all filters must hold. A text that begins like an "
                "operator, also of another API (`like.`, `not.`, `EQ.`), is 400, and is written "
                "with `eq.` before it.",
                _formulas(mart),
            ]
        ),
        parameters=[*parameters, *_paging(mart), _version()],
        schema=_rows({"$ref": f"#/components/schemas/{mart.name}"}),
        example=_example(mart),
    )


def _list_of_marts() -> Node:
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    optional = {"type": ["string", "null"]}
    column = _object({"name": text, "type": text, "description": text, "formula": optional})
    row = _object(
        {
            "mart": text,
            "description": text,
            "grain": texts,
            "rows": _TYPES["BIGINT"],
            "scope": text,
            "url": text,
            "route": optional,
            "order": texts,
            "columns": {"type": "array", "items": column},
        }
    )
    return _operation(
        name="marts",
        tag="marts",
        summary="The marts that the token may read, with their columns.",
        description="Needs any valid token. JSON only.",
        parameters=[_version()],
        schema=_rows(row),
        example=None,
        media_types=("application/json",),
    )


def _without_token() -> dict[str, Node]:
    status = {"type": "string"}
    ready = _object(
        {
            "status": {"type": "string", "enum": ["ready", "degraded"]},
            "version": {"type": "string"},
            "published_at": {"type": "string", "format": "date-time"},
            "contains_sample": _CONTAINS_SAMPLE,
            "age_seconds": {"type": "integer"},
            "marts": {"type": "integer"},
            "rows": {"type": "integer"},
            "tests": _tests(),
            "failure": _or_null(
                _object({"version": {"type": ["string", "null"]}, "detail": {"type": "string"}})
            ),
        }
    )
    return {
        "/health": _open("health", "Whether the process answers.", _object({"status": status})),
        "/ready": _open("ready", "Which version is served; 503 without any.", ready),
    }


# ---------------------------------------------------------------------------- their parts

_MEDIA_TYPES = tuple(shape.media_type for shape in FORMATS)
_COMPARED = {
    "eq": "Only this {column}.",
    "ne": "All but this {column}.",
    "gt": "Only a {column} above this.",
    "gte": "Only from this {column} on.",
    "lt": "Only a {column} below this.",
    "lte": "Only up to this {column}.",
    "in": "Only these values of {column}, separated by commas.",
}
_CONTAINS_SAMPLE = {
    "type": ["boolean", "null"],
    "description": "Whether the numbers have the sample in them; null: an old snapshot.",
}
_EXAMPLE_META = {
    "version": "20260101T020304Z-1a2b3c4d",
    "published_at": "2026-01-01T02:03:04Z",
    "contains_sample": False,
    "next": None,
}
_PROBLEMS = {
    "400": "A parameter is unknown, or its value is not of its type.",
    "401": "The token is missing, unknown, expired or revoked.",
    "403": "The token lacks the scope.",
    "404": "There is no such resource, or no such version.",
    "406": "None of the formats is accepted.",
    "410": "The version was removed.",
    "414": "The address is too long.",
    "429": "The budget of the token, or of failed attempts, is used up; see Retry-After.",
    "503": "Nothing is published yet, or the query was too slow.",
}


def _operation(
    *,
    name: str,
    tag: str,
    summary: str,
    description: str,
    parameters: list[Node],
    schema: Node,
    example: Mapping[str, Any] | None,
    media_types: tuple[str, ...] = _MEDIA_TYPES,
    is_lasting: bool = True,
) -> Node:
    content: Node = {media_type: {} for media_type in media_types}
    content["application/json"] = {"schema": schema}
    if example is not None:
        content["application/json"]["example"] = dict(example)
    kept: Node = {"304": {"description": "The client has this answer already."}}
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "description": description,
        "parameters": parameters + ([_excel()] if CSV.media_type in media_types else []),
        "responses": {
            "200": {
                "description": "The answer.",
                "headers": _headers() if is_lasting else _truncated(),
                "content": content,
            },
            **(kept if is_lasting else {}),
            **{status: _problem_response(text) for status, text in _PROBLEMS.items()},
        },
    }


def _open(name: str, summary: str, schema: Node) -> Node:
    return {
        "operationId": name,
        "tags": ["service"],
        "summary": summary,
        "security": [],
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {"application/json": {"schema": schema}},
            },
            "414": _problem_response(_PROBLEMS["414"]),
            "503": _problem_response("Nothing is published yet."),
        },
    }


def _problem_response(description: str) -> Node:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": schema}},
    }


def _headers() -> Node:
    text = {"schema": {"type": "string"}}
    return {
        "ETag": text,
        "X-Snapshot-Version": text,
        "X-Snapshot-Published-At": text,
        "X-Snapshot-Contains-Sample": {
            "description": "`true` where the numbers have the sample in them; else not there.",
            "schema": {"type": "string"},
        },
        "X-Next-Cursor": {
            "description": "The cursor of the next page, when there is one.",
            "schema": {"type": "string"},
        },
        **_truncated(),
    }


def _truncated() -> Node:
    return {
        "X-Truncated": {
            "description": "`true` when there are more rows than a file (CSV, Arrow, Parquet) has.",
            "schema": {"type": "string", "enum": ["true"]},
        }
    }


def _parameter(name: str, schema: Node, description: str) -> Node:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _limit(default: int) -> Node:
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": default}
    return _parameter("limit", schema, "Rows of a page.")


def _paging(mart: Mart) -> list[Node]:
    return [
        _limit(mart.default_limit),
        _parameter("cursor", {"type": "string"}, "`meta.next` of the page before."),
    ]


def _version() -> Node:
    return _parameter("version", {"type": "string"}, "An older snapshot, by its version.")


def _excel() -> Node:
    return _parameter(
        "excel",
        {"type": "boolean"},
        "CSV only: `true` for a file that spreadsheets may open, with a byte order mark, where a "
        "text that they would compute begins with an apostrophe.",
    )


def _behind(mart: Mart) -> str:
    grain = ", ".join(f"`{column}`" for column in mart.grain) or "one row"
    rows = (
        f" Rows of an area need that area's scope too (`{mart.row_scope}`)."
        if mart.row_scope
        else ""
    )
    return f"Mart `{mart.name}`, one row per {grain}. Scope `{mart.scope}`.{rows}"


def _order(mart: Mart) -> str:
    return f"Order: {', '.join(f'`{term}`' for term in mart.order) or 'one row'}."


def _formulas(mart: Mart) -> str:
    lines = [
        f"| `{column.name}` | {_cell(column.formula)} |"
        for column in mart.columns.values()
        if column.formula
    ]
    return "\n".join(["| metric | formula |", "|---|---|", *lines]) if lines else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _example(mart: Mart) -> Node:
    return {"data": [dict(mart.example)] if mart.example else [], "meta": _EXAMPLE_META}


# ---------------------------------------------------------------------------- schemas


def _row(columns: Mapping[str, Column], *, all_there: bool = False) -> Node:
    row: Node = {
        "type": "object",
        "properties": {column.name: _column(column) for column in columns.values()},
        "additionalProperties": False,
    }
    return row | {"required": list(columns)} if all_there else row


def _column(column: Column) -> Node:
    schema = dict(_TYPES.get(base_type(column), {"type": "string"}))
    schema["type"] = [schema["type"], "null"]
    formula = f" Formula: {' '.join(column.formula.split())}" if column.formula else ""
    return schema | {"description": column.description + formula}


def _rows(row: Node) -> Node:
    return _object(
        {
            "data": {"type": "array", "items": row},
            "meta": {"$ref": "#/components/schemas/Meta"},
        }
    )


def _object(properties: Node) -> Node:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _meta() -> Node:
    return _object(
        {
            "version": {"type": "string", "description": "Version of the snapshot."},
            "published_at": {"type": "string", "format": "date-time"},
            "contains_sample": _CONTAINS_SAMPLE,
            "next": {"type": ["string", "null"], "description": "Cursor of the next page."},
        }
    )


def _metrics_schema(marts: Mapping[str, Mart]) -> Node:  # noqa: ARG001 - as all of _SCHEMAS
    optional = {"type": ["number", "null"]}
    day = {"type": ["string", "null"], "format": "date"}
    period = _object(
        {
            "spend": {"type": "number"},
            "conversions": {"type": "integer"},
            "CAC": optional,
            "ROAS": optional,
        }
    )
    return _object(
        {
            "start": day,
            "end": day,
            "current_period": period,
            "previous_period": period,
            "delta_pct": _object({"CAC_change_pct": optional, "ROAS_change_pct": optional}),
            "meta": {"$ref": "#/components/schemas/Meta"},
        }
    )


def _tests() -> Node:
    count = {"type": "integer"}
    warning = _object({"test": {"type": "string"}, "failures": {"type": ["integer", "null"]}})
    return _object(
        {
            "data_tests": _object({"passed": count, "warned": count}),
            "unit_tests": _object({"passed": count}),
            "warnings": {"type": "array", "items": warning},
        }
    )


def _quality_schema(marts: Mapping[str, Mart]) -> Node:
    text, count = {"type": "string"}, {"type": "integer"}
    number, rows = {"type": ["number", "null"]}, {"type": ["integer", "null"]}
    threshold = _or_null(
        _object({"count": count, "period": {"type": "string", "enum": ["minute", "hour", "day"]}})
    )
    statuses = [
        *(quality.FRESH, quality.LATE, quality.STALE, quality.UNKNOWN, quality.UNCHECKED),
    ]
    freshness = _object(
        {
            "status": {"type": "string", "enum": statuses},
            "age_hours": number,
            "warn_after": threshold,
            "error_after": threshold,
        }
    )
    feed = _row(marts[quality.FEED_HEALTH].columns, all_there=True)
    feed["properties"] |= {"rejected_pct": number, "freshness": freshness}
    feed["required"] += ["rejected_pct", "freshness"]
    counts = ("evaluated", "passed", "failed", "not_evaluated", "sampled")
    results = marts.get(quality.EXPECTATION_RESULTS)
    failing = _row(results.columns, all_there=True) if results else {"type": "object"}
    expectations = _object(
        {**dict.fromkeys(counts, count), "failing": {"type": "array", "items": failing}}
    )
    total = _object(
        {"column": text, "total": number, "previous_total": number, "change_pct": number}
    )
    mart = _object(
        {
            "mart": text,
            "rows": rows,
            "previous_rows": rows,
            "rows_change_pct": number,
            "totals": {"type": ["array", "null"], "items": total},
        }
    )
    drift = _object(
        {
            "previous_version": {"type": ["string", "null"]},
            "previous_published_at": {"type": ["string", "null"], "format": "date-time"},
            "detail": {"type": ["string", "null"]},
            "marts": {"type": "array", "items": mart},
        }
    )
    return _object(
        {
            "status": {"type": "string", "enum": [quality.OK, quality.WARNING, quality.STALE]},
            "tests": _tests(),
            "feeds": {"type": "array", "items": feed},
            "expectations": _or_null(expectations),
            "drift": drift,
            "meta": {"$ref": "#/components/schemas/Meta"},
        }
    )


def _or_null(schema: Node) -> Node:
    return {"anyOf": [{"type": "null"}, schema]}


# Of the computed endpoints whose answer is more than rows.
_SCHEMAS: dict[str, Callable[[Mapping[str, Mart]], Node]] = {
    "metrics": _metrics_schema,
    "quality": _quality_schema,
}


def _problem() -> Node:
    return {
        "type": "object",
        "description": "RFC 9457.",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "request_id": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail"],
    }
