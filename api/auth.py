"""Who asks: the bearer token of a request, and what becomes of those who send a wrong one."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Collection
from typing import Any, NoReturn, TypeVar

from flask import Flask, current_app, g, request

from api import limits, monitoring
from api.problems import KINDS, Problem
from api.settings import Settings
from api.tokens import Token, TokenFile

PROBES = ("pages.health", "pages.ready")
CHALLENGE = 'Bearer realm="kpi"'

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]{1,512}=*)", re.IGNORECASE)
_NAMES_OUR_SCHEME = re.compile(r"(?:^|,)\s*bearer(?![^\s,])", re.IGNORECASE)

View = TypeVar("View", bound=Callable[..., Any])


def public(view: View) -> View:
    """Mark a view that needs no token; every other endpoint needs one."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def install(app: Flask, settings: Settings, pages: Collection[str]) -> None:
    """Guard every endpoint of the app, those of later blueprints too.

    Args:
        app: the application.
        settings: where the tokens are.
        pages: blueprints whose endpoints need no token. An address has a budget for them.
    """
    app.extensions["tokens"] = TokenFile(settings.tokens)
    is_open: dict[str, bool] = {}  # by endpoint, filled as they are asked for

    def guard() -> None:
        endpoint = request.endpoint
        if endpoint is None:  # no such path or method: the router's error follows
            spend_open("page")
            return
        if endpoint not in is_open:
            is_open[endpoint] = (
                endpoint == "static"
                or endpoint.partition(".")[0] in pages
                or getattr(app.view_functions[endpoint], "is_public", False)
            )
        if not is_open[endpoint]:
            # In this order, or anybody could use up the budget of somebody else.
            g.token = authenticate(request.environ.get("HTTP_AUTHORIZATION", ""))
            limits.spend(g.token)
        else:  # what monitors ask is counted apart, so that nobody's visit turns them away
            spend_open("probe" if endpoint in PROBES else "page")

    app.before_request(guard)


def authenticate(header: str) -> Token:
    """Find the live token that a header names.

    Args:
        header: the value of Authorization; empty when there is none.

    Returns:
        The token.

    Raises:
        Problem: 401 without a valid token, 429 when the address sent too many wrong ones, or too
            many requests without any.
        TokensError: the tokens cannot be read.
    """
    if not _NAMES_OUR_SCHEME.search(header):  # nothing, or a scheme that is not ours
        monitoring.count_failed_authentication("missing")
        spend_open("page")
        raise Problem(
            401, "unauthenticated", KINDS["unauthenticated"], {"WWW-Authenticate": CHALLENGE}
        )
    # Servers join doubled headers with a comma, which no bearer token holds.
    match = _BEARER.fullmatch(header)
    tokens: TokenFile = current_app.extensions["tokens"]
    token = tokens.find(match[1]) if match else None
    if token is None:
        _refuse()
    return token


def spend_open(kind: str) -> None:
    """Count a request without a token from the address that it comes from.

    When the budget is used up, a request that has a valid token all the same is counted as one of
    the token's: whoever shares the address with others must not be locked out.

    Args:
        kind: what is counted apart, such as `probe`.

    Raises:
        Problem: 429, the budget is used up.
    """
    standing = limits.spend_open(kind, network_of((request.remote_addr or "")[:64]))
    if standing is None:
        return
    match = _BEARER.fullmatch(request.environ.get("HTTP_AUTHORIZATION", ""))
    tokens: TokenFile = current_app.extensions["tokens"]
    token = tokens.find(match[1]) if match else None
    if token is None:
        limits.refuse_open(standing)
    limits.spend(token)


def _refuse() -> NoReturn:
    """Refuse a wrong token, in the same words whether it is unknown, expired or revoked.

    Who finds an old token learns nothing from it; its owner asks the operator. Only failures are
    counted, and a valid token passes whatever was counted: 256 random bits cannot be guessed, the
    budget saves work and keeps the log readable, and a colleague behind the same address must not
    be locked out.
    """
    monitoring.count_failed_authentication("invalid")
    seconds = limits.spend_failure(network_of((request.remote_addr or "")[:64]))
    if seconds is not None:
        raise Problem(
            429, "too-many-failures", KINDS["too-many-failures"], {"Retry-After": str(seconds)}
        )
    raise Problem(
        401,
        "invalid-token",
        KINDS["invalid-token"],
        {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'},
    )


def current_token() -> Token:
    """The token of this request; only where one is needed."""
    token: Token = g.token
    return token


def require(scope: str) -> None:
    """Refuse the request unless its token has the scope.

    Raises:
        Problem: 403.
    """
    if not current_token().allows(scope):
        raise Problem(
            403,
            "missing-scope",
            f"The token lacks the scope {scope!r}.",
            {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'},
            scope=scope,
        )


@functools.lru_cache(maxsize=4096)
def network_of(address: str | None) -> str:
    """What counts as one address: an IPv6 customer has a whole /64 of them."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
