"""Budgets: of a token for its requests, and of an address for wrong tokens and open pages.

Flask-Limiter holds the counts, in memory or in Redis. Its own hooks around each request are left
off: they look up limits by endpoint, which costs twice as much as the rest of Flask, and ours
depend on the token alone. We ask its strategy, whose windows begin with the first hit.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NoReturn

import limits
from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter
from limits import RateLimitItem
from limits.errors import ConfigurationError

from api.problems import Problem
from api.safety import add_headers
from api.settings import Settings, SettingsError
from api.tokens import Token

MOST_COUNTED = 20_000  # counters in memory; each takes some 600 bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands after a hit.

    Attributes:
        amount: hits that a window allows.
        window: seconds that a window lasts.
        remaining: hits left in this window.
        ends_at: when the window ends, seconds of the epoch.
        exceeded: whether this hit was one too many.
    """

    amount: int
    window: int
    remaining: int
    ends_at: float
    exceeded: bool


class Budgets:
    """The budgets of one application.

    Args:
        settings: the limits, and where to count.

    Raises:
        SettingsError: the storage cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        """Choose the storage; no connection is made yet."""
        self._token_limit = settings.rate_limit
        self._failed_limit = settings.failed_limit
        self._open_limit = settings.open_limit
        # End of the window and count, by kind, address and part of the limit.
        self._open: dict[tuple[str, str, RateLimitItem], tuple[float, int]] = {}
        self._limiter = make_limiter(settings.rate_storage)
        # The storage in memory starts one timer in two threads, which fails, if they ask at once.
        is_in_memory = settings.rate_storage == "memory://"
        self._one_at_a_time: AbstractContextManager[object] = (
            threading.Lock() if is_in_memory else nullcontext()
        )

    def spend(self, token: Token) -> Standing:
        """Count a request of a token.

        Raises:
            StorageError: the storage cannot be reached.
        """
        return self._hit("token", token.digest, token.limit or self._token_limit)

    def spend_failure(self, address: str) -> Standing:
        """Count a wrong token from an address.

        Raises:
            StorageError: the storage cannot be reached.
        """
        return self._hit("failed", self._counted(address), self._failed_limit)

    def spend_open(self, kind: str, address: str) -> Standing | None:
        """Count a request without a token from an address.

        In this process, wherever the other budgets are counted: it costs next to nothing, and a
        monitor hears that the process lives when Redis does not.

        Returns:
            How the part of the budget stands that is used up; None while there is none.
        """
        now = time.time()
        for item in parts(self._open_limit):
            key = (kind, address, item)
            ends_at, count = self._open.get(key, (0.0, 0))
            if ends_at <= now:
                if key not in self._open and len(self._open) >= MOST_COUNTED:
                    self._open = {
                        kept: one for kept, one in self._open.copy().items() if one[0] > now
                    }
                    if len(self._open) >= MOST_COUNTED:
                        key = (kind, "the rest", item)
                        ends_at, count = self._open.get(key, (0.0, 0))
                if ends_at <= now:
                    ends_at, count = now + item.get_expiry(), 0
            self._open[key] = (ends_at, count + 1)
            if count >= item.amount:
                return Standing(item.amount, item.get_expiry(), 0, ends_at, exceeded=True)
        return None

    def _counted(self, address: str) -> str:
        """The address, or a common name for all that come when very many are counted already.

        What is counted in memory must not grow by every address that somebody has; Redis forgets by
        itself. Requests with a valid token are not counted by address.
        """
        is_full = len(getattr(self._limiter.storage, "storage", ())) >= MOST_COUNTED
        return "the rest" if is_full else address

    def _hit(self, kind: str, who: str, limit: str) -> Standing:
        """Count a hit against each part of a limit; the part that is nearest to its end tells."""
        strategy = self._limiter.limiter
        tightest: Standing | None = None
        for item in parts(limit):
            with self._one_at_a_time:
                is_within = strategy.hit(item, kind, who)
                window = strategy.get_window_stats(item, kind, who)
            standing = Standing(
                item.amount, item.get_expiry(), window.remaining, window.reset_time, not is_within
            )
            if standing.exceeded:
                return standing
            if tightest is None or standing.remaining < tightest.remaining:
                tightest = standing
        if tightest is None:
            raise ValueError(f"{limit!r} is no limit")
        return tightest


@functools.lru_cache(maxsize=1024)
def parts(limit: str) -> tuple[RateLimitItem, ...]:
    """The parts of a limit such as `10/second; 600/minute`."""
    return tuple(limits.parse_many(limit))


def make_limiter(uri: str) -> Limiter:
    """Flask-Limiter, counting where the URI says.

    Raises:
        SettingsError: the package for it is not installed, or the URI is wrong.
    """
    try:
        return Limiter(
            key_func=lambda: request.remote_addr or "",
            app=Flask("limits"),  # serves nothing: the hooks stay there
            storage_uri=uri,
            storage_options={} if uri == "memory://" else {"wrap_exceptions": True},
            strategy="fixed-window",
        )
    except ConfigurationError:
        raise SettingsError(
            "API_RATE_STORAGE names Redis, and its client is not installed. "
            "Run: .venv/bin/python -m pip install redis"
        ) from None
    except Exception as error:  # what the client makes of a wrong URI; it may hold a password
        raise SettingsError(
            f"API_RATE_STORAGE cannot be used ({type(error).__name__}); give a URI such as "
            "redis://127.0.0.1:6379/0"
        ) from None


def install(app: Flask, settings: Settings) -> None:
    """Give the app its budgets, and every answer to a token the headers about them."""
    app.extensions["budgets"] = Budgets(settings)
    app.after_request(_add_headers)


def spend(token: Token) -> None:
    """Count this request against the budget of its token.

    Raises:
        Problem: 429, the budget is used up.
        StorageError: the storage cannot be reached.
    """
    budgets: Budgets = current_app.extensions["budgets"]
    standing = g.budget = budgets.spend(token)
    if standing.exceeded:
        raise Problem(
            429,
            "too-many-requests",
            f"The token may make {standing.amount} requests in {standing.window} seconds.",
            {"Retry-After": str(_seconds_left(standing))},
        )


def spend_failure(address: str) -> int | None:
    """Count a wrong token from this address.

    Returns:
        None while the budget lasts, then the seconds until it is renewed.

    Raises:
        StorageError: the storage cannot be reached.
    """
    budgets: Budgets = current_app.extensions["budgets"]
    standing = budgets.spend_failure(address)
    return _seconds_left(standing) if standing.exceeded else None


def spend_open(kind: str, address: str) -> Standing | None:
    """Count a request without a token from this address.

    Args:
        kind: what is counted apart, such as `probe`.
        address: who asks.

    Returns:
        None while the budget lasts, then how it stands.
    """
    budgets: Budgets = current_app.extensions["budgets"]
    return budgets.spend_open(kind, address)


def refuse_open(standing: Standing) -> NoReturn:
    """Refuse a request without a token.

    Raises:
        Problem: 429, the budget of the address is used up.
    """
    raise Problem(
        429,
        "too-many-requests",
        f"An address may make {standing.amount} requests in {standing.window} seconds without a "
        "token.",
        {"Retry-After": str(_seconds_left(standing))},
    )


def _seconds_left(standing: Standing) -> int:
    return max(1, math.ceil(standing.ends_at - time.time()))


def _add_headers(response: Response) -> Response:
    """Say how the budget stands: in the usual headers, and in those of the IETF's draft."""
    standing: Standing | None = g.get("budget")
    if standing is not None:
        left = _seconds_left(standing)
        add_headers(
            (
                ("X-RateLimit-Limit", str(standing.amount)),
                ("X-RateLimit-Remaining", str(standing.remaining)),
                ("X-RateLimit-Reset", str(math.ceil(standing.ends_at))),
                ("RateLimit-Policy", f'"token";q={standing.amount};w={standing.window}'),
                ("RateLimit", f'"token";r={standing.remaining};t={left}'),
            )
        )
    return response
