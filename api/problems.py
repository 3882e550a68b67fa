"""Errors as clients see them: `application/problem+json` (RFC 9457), all made here."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from flask import Flask, Response, g, request
from limits.errors import StorageError
from werkzeug.exceptions import HTTPException

from api.tokens import TokensError, redacted

MEDIA_TYPE = "application/problem+json"
_LONGEST_INSTANCE = 4096  # characters of the path that an answer repeats

# What /docs/problems says about each kind; a `type` in a body points to its entry there.
KINDS: dict[str, str] = {
    "bad-request": "The request is malformed.",
    "unauthenticated": "No token was sent. Send one in the header Authorization: Bearer <token>.",
    "invalid-token": "The token is unknown, expired or revoked, or the Authorization header is "
    "not of the form Bearer <token>.",
    "missing-scope": "The token is good but lacks the scope that this answer needs.",
    "too-many-failures": "Too many wrong tokens came from this address. Retry-After says when to "
    "try again; a valid token is served meanwhile.",
    "too-many-requests": "The budget of the token, or of an address that sends none, is used up. "
    "Retry-After says when to go on.",
    "tokens-unreadable": "The server cannot read its tokens, so it lets nobody in. Its log says "
    "why.",
    "limits-unreachable": "The server cannot count requests, so it answers none. Its log says why.",
    "not-found": "There is nothing at this path.",
    "method-not-allowed": "The path exists, but not for this method; Allow lists those it has.",
    "unknown-resource": "There is no such mart or endpoint in this version.",
    "unknown-parameter": "The endpoint has no such parameter; known lists those it has.",
    "unknown-column": "The mart has no such column; known lists those it has.",
    "bad-parameter": "A parameter has a value that it cannot have.",
    "missing-parameter": "A parameter that is needed was not given.",
    "unknown-version": "No such version was ever published.",
    "version-gone": "The version was published, but has been removed since. Ask without a version; "
    "a cursor of it cannot be followed any more.",
    "version-withdrawn": "The version was published, then taken back by a rollback. Ask without a "
    "version; a cursor of it cannot be followed any more.",
    "nothing-published": "No snapshot can be served. Build one: make build.",
    "snapshot-damaged": "A file of the snapshot changed on the server's disk, so no number is "
    "taken from it. Retry-After says when to ask again: the last good version is served then.",
    "query-too-slow": "The query took longer than one may take. Filter more, or ask for less.",
    "query-too-large": "The query needs more memory than one may have. Filter more, or ask for "
    "less.",
    "not-acceptable": "The answer exists in none of the formats that Accept asks for.",
    "content-too-large": "The request has a body that is too large; this API reads none.",
    "uri-too-long": "The path or the query string is longer than this API reads.",
    "headers-too-large": "The headers are larger than this server reads.",
    "internal-error": "A fault of the server. Its log has the details under the request's id.",
    "http-error": "The request failed; title and status say how.",
}

_KIND_OF_STATUS = {
    400: "bad-request",
    401: "unauthenticated",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "content-too-large",
    414: "uri-too-long",
    429: "too-many-requests",
    431: "headers-too-large",
    500: "internal-error",
}

_log = logging.getLogger("api")


class Problem(Exception):  # noqa: N818 - the name of the thing in RFC 9457
    """An answer that is an error.

    Args:
        status: HTTP status code.
        kind: a key of `KINDS`.
        detail: what is wrong with this request and what to do, for people.
        headers: further headers of the answer.
        members: further members of the body.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        """Say what the answer is to tell."""
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members


def problem_response(problem: Problem) -> Response:
    """The answer that tells a client of this problem."""
    body: dict[str, object] = {
        "type": f"/docs/problems#{problem.kind}",
        "title": _phrase(problem.status),
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.path[:_LONGEST_INSTANCE],
        "request_id": g.get("request_id"),
    }
    # A member must not change what the status line says.
    body |= {key: value for key, value in problem.members.items() if key not in body}
    response = Response(json.dumps(redacted(body)), problem.status, content_type=MEDIA_TYPE)
    response.headers.update(problem.headers)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def install(app: Flask) -> None:
    """Answer every error of this app with a problem body."""
    app.register_error_handler(Problem, problem_response)
    app.register_error_handler(HTTPException, _from_http_exception)
    app.register_error_handler(TokensError, _from_tokens_error)
    app.register_error_handler(StorageError, _from_storage_error)
    app.register_error_handler(Exception, _from_fault)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _from_http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # a redirect of the router is no error
        return Response(error.get_response().get_data(), status, error.get_response().headers)
    headers = {
        name: value
        for name, value in error.get_headers()
        if name.lower() in ("allow", "retry-after", "www-authenticate")
    }
    kind = _KIND_OF_STATUS.get(status, "http-error")
    detail = KINDS[kind] if status in _KIND_OF_STATUS else (error.description or _phrase(status))
    return problem_response(Problem(status, kind, detail, headers))


def _from_tokens_error(error: TokensError) -> Response:  # noqa: ARG001 - logged where it was found
    return problem_response(Problem(503, "tokens-unreadable", KINDS["tokens-unreadable"]))


def _from_storage_error(error: StorageError) -> Response:
    _log.error(
        "the storage of the rate limits failed: %s",
        type(error.storage_error).__name__,
        extra={"event": "limits_unreachable", "request_id": g.get("request_id")},
    )
    return problem_response(
        Problem(503, "limits-unreachable", KINDS["limits-unreachable"], {"Retry-After": "5"})
    )


def _from_fault(error: Exception) -> Response:
    _log.error(
        "%s in %s",
        type(error).__name__,
        request.endpoint,
        exc_info=error,
        extra={"event": "fault", "request_id": g.get("request_id")},
    )
    return problem_response(Problem(500, "internal-error", KINDS["internal-error"]))
