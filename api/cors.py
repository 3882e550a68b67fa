"""Cross-origin requests: which pages from elsewhere may read answers in a browser.

None may unless a setting names their origin. A token is sent by a page's own script, never by the
browser, so no answer allows credentials. Some forty lines that are asked before the token is: an
extension of Flask would add its headers after it, and answer no preflight without one.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response, request

from api.auth import spend_open
from api.safety import add_headers
from api.settings import Settings

ALLOWED_METHODS = "GET, HEAD, OPTIONS"
ALLOWED_HEADERS = "Authorization, Accept, If-None-Match, X-Request-Id"
# What a script may read of an answer, beside what it always may.
EXPOSED_HEADERS = ", ".join(
    (
        *("Content-Disposition", "ETag", "Retry-After", "WWW-Authenticate", "X-Request-Id"),
        *("X-Next-Cursor", "X-Truncated", "X-Cut-Columns"),
        *("X-Snapshot-Version", "X-Snapshot-Published-At"),
        *("RateLimit", "RateLimit-Policy"),
        *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
    )
)
_PREFLIGHT = (
    ("Access-Control-Allow-Methods", ALLOWED_METHODS),
    ("Access-Control-Allow-Headers", ALLOWED_HEADERS),
    ("Access-Control-Max-Age", "600"),
    ("Cache-Control", "no-store"),
)


def install(app: Flask, settings: Settings) -> None:
    """Let pages of the origins that the settings name read answers, errors too.

    To be installed before whatever may refuse a request.
    """
    if settings.cors_origins:
        app.before_request(_hook(frozenset(settings.cors_origins)))


def _hook(origins: frozenset[str]) -> Callable[[], Response | None]:
    allows_any = "*" in origins

    def hook() -> Response | None:
        """Add the headers about the origin, and answer a preflight."""
        if not allows_any:  # or somebody's cache would give one origin's answer to another
            add_headers((("Vary", "Origin"),))
        origin = request.environ.get("HTTP_ORIGIN")
        if origin is None or not (allows_any or origin in origins):
            return None
        add_headers(
            (
                ("Access-Control-Allow-Origin", "*" if allows_any else origin),
                ("Access-Control-Expose-Headers", EXPOSED_HEADERS),
            )
        )
        is_preflight = "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.environ
        if request.method != "OPTIONS" or not is_preflight:
            return None
        spend_open("page")
        add_headers(_PREFLIGHT)
        return Response(status=204)

    return hook
