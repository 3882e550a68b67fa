"""/api/v1: everything that is read with a token.

Which resources there are is written in the catalog of the snapshot that is asked: every mart under
`marts/`, and the routes that marts declare. Only those of `table.py` are code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, current_app, g, request

from api import formats
from api.answers import AnswerCache, Key, Question, alias_of, page_question, respond, send
from api.auth import current_token, require
from api.catalog import Mart
from api.formats import Format, for_excel, negotiate, only_json
from api.problems import Problem
from api.query import Parameters, bad_parameter, generic_query, read_version, route_query
from api.routes.table import COMPUTED
from api.snapshots import Snapshot, SnapshotStore
from api.tokens import Token

blueprint = Blueprint("data", __name__, url_prefix="/api/v1")


@blueprint.get("/<path:resource>")
def read(resource: str) -> Response:
    """Answer any resource, from the cache where it was asked before."""
    extensions = current_app.extensions
    store: SnapshotStore = extensions["snapshots"]
    cache: AnswerCache = extensions["answers"]
    token = current_token()
    environ = request.environ
    accept = environ.get("HTTP_ACCEPT", "")
    spelling = (resource, environ["QUERY_STRING"], accept, token.scopes)
    alias = alias_of(store.newest_version(), *spelling)
    answer = cache.spelled(alias)
    if answer is not None and store.may_show(answer.version):
        return send(answer, "hit")
    name, shape = negotiate(resource, accept)
    parameters = Parameters(request.args.items(multi=True))
    shape = for_excel(shape, parameters)
    version, cursor = read_version(parameters)
    with store.reading(version) as snapshot:
        g.version = snapshot.version
        if version is None:  # another one may have been swapped in since the alias was made
            alias = alias_of(snapshot.version, *spelling)
        question = _question(store, snapshot, name, parameters, cursor, shape, token)
        return respond(cache, alias, snapshot.catalog, question)


def _question(
    store: SnapshotStore,
    snapshot: Snapshot,
    resource: str,
    parameters: Parameters,
    cursor: str | None,
    shape: Format,
    token: Token,
) -> Question:
    """Understand a request: which resource, may the token read it, what is asked."""
    catalog = snapshot.catalog
    if cursor is not None and (resource == "marts" or resource in COMPUTED):
        raise bad_parameter("cursor", "has no meaning here: the answer is one page")
    if resource == "marts":
        return _list_of_marts(snapshot, parameters, shape, token)
    if resource in COMPUTED:
        endpoint = COMPUTED[resource]
        require(_known_mart(catalog.marts, endpoint.mart, resource).scope)
        return endpoint.question(store, snapshot, parameters, shape)
    if resource.startswith("marts/"):
        mart = _known_mart(catalog.marts, resource.removeprefix("marts/"), resource)
        understand: Callable[..., Any] = generic_query
    else:
        mart = _known_mart(catalog.routes, resource, resource)
        understand = route_query
    require(mart.scope)
    query = understand(mart, parameters, cursor)
    return page_question(store, snapshot, resource, query, shape, token)


def _known_mart(marts: Mapping[str, Mart], name: str, resource: str) -> Mart:
    if name not in marts:
        raise Problem(
            404,
            "unknown-resource",
            f"There is no resource {resource[:100]!r}. GET /api/v1/marts lists the marts, "
            "/docs all endpoints.",
        )
    return marts[name]


def _list_of_marts(
    snapshot: Snapshot, parameters: Parameters, shape: Format, token: Token
) -> Question:
    """The marts that this token may read."""
    parameters.nothing_else(["version"])
    only_json(shape, "The list of marts")
    scopes = tuple(sorted(token.scopes))

    def make() -> tuple[bytes, Mapping[str, str]]:
        listed = [
            formats.json_text(_described(mart))
            for mart in snapshot.catalog.marts.values()
            if token.allows(mart.scope)
        ]
        return formats.rows_as_json(listed, formats.meta(snapshot.catalog)), {}

    return Question(Key(snapshot.version, "marts", "", shape.suffix, scopes), make)


def _described(mart: Mart) -> dict[str, Any]:
    return {
        "mart": mart.name,
        "description": mart.description,
        "grain": mart.grain,
        "rows": mart.rows,
        "scope": mart.scope,
        "url": f"/api/v1/marts/{mart.name}",
        "route": f"/api/v1/{mart.route}" if mart.route else None,
        "order": [str(term) for term in mart.order],
        "columns": [
            {
                "name": column.name,
                "type": column.type,
                "description": column.description,
                "formula": column.formula,
            }
            for column in mart.columns.values()
        ],
    }
