"""The log: one JSON object a line on stdout, for each request and for what else happens."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, request

from api import monitoring
from api.safety import add_headers
from api.tokens import redacted, without_tokens

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MEMBERS_OF_A_RECORD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_LONGEST_PATH = 2048
_STDOUT = 1

# A request's id: random for the process, then counted. Random bytes for each one cost 10 us more.
_PROCESS = secrets.token_hex(4)
_NUMBERS = itertools.count()


def install(app: Flask) -> None:
    """Give each request an id and, once it is answered, a line.

    To be installed before other hooks: those after a request run in reverse, and the line is last.
    """
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.started = time.perf_counter()
    given = request.environ.get("HTTP_X_REQUEST_ID")
    is_good = given is not None and _REQUEST_ID.fullmatch(given) and without_tokens(given) == given
    g.request_id = given if is_good else f"{_PROCESS}{next(_NUMBERS):08x}"


def _end(response: Response) -> Response:
    kept = g._get_current_object()
    token = kept.get("token")
    started = kept.started
    line: dict[str, Any] = {
        "time": "",
        "event": "request",
        "request_id": kept.request_id,
        # Of a proxy's header, where one is trusted: it may be anything.
        "remote": without_tokens(request.remote_addr or "")[:64],
        "method": without_tokens(request.method)[:16],
        "path": without_tokens(request.path)[:_LONGEST_PATH],
        "status": response.status_code,
        "bytes": 0,
        "ms": 0.0,
        "token": token.name if token is not None else None,
        "version": kept.get("version"),
        "cache": kept.get("cache"),
    }
    endpoint = request.endpoint
    add_headers((("X-Request-Id", kept.request_id),))

    def finish(size: int) -> None:
        seconds = time.perf_counter() - started
        line["time"] = timestamp(datetime.now(UTC))
        line["bytes"] = size
        line["ms"] = round(seconds * 1000, 3)
        write_line(line)
        metrics.observe(endpoint, line["status"], line["cache"], seconds)

    metrics = monitoring.current()
    is_empty = line["method"] == "HEAD" or response.status_code in (204, 304)
    if response.is_streamed and not is_empty:
        response.response = _Counted(response.response, finish)  # type: ignore[assignment]
    else:
        finish(0 if is_empty else response.content_length or 0)
    return response


class _Counted:
    """The parts of a streamed body; tells their size when they are sent, or given up."""

    def __init__(self, parts: Any, finish: Any) -> None:
        self._parts: Iterable[bytes | str] = parts
        self._iterator: Iterator[bytes | str] = iter(parts)
        self._finish = finish
        self._size = 0
        self._is_closed = False

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> bytes | str:
        part = next(self._iterator)
        self._size += len(part) if isinstance(part, bytes) else len(part.encode())
        return part

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            close = getattr(self._parts, "close", None)
            if close is not None:
                close()
        finally:
            self._finish(self._size)


def timestamp(at: datetime) -> str:
    """A time of UTC with milliseconds, such as 2026-11-21T01:35:01.123Z."""
    return f"{at.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def write_line(values: dict[str, Any]) -> None:
    """Write one line to stdout, in one call, so that lines of threads and workers do not mix.

    A log that nobody reads any more must not make requests fail.
    """
    with suppress(OSError):
        os.write(_STDOUT, (json.dumps(values, default=str) + "\n").encode())


class JsonHandler(logging.Handler):
    """Writes log records as lines of JSON.

    What a record was given as `extra` becomes members of the line. Traces are one member.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            write_line(self.values(record))
        except Exception:  # a log must not stop the work it tells of
            self.handleError(record)

    def values(self, record: logging.LogRecord) -> dict[str, Any]:
        """The members of the line of a record."""
        line: dict[str, Any] = {
            "time": timestamp(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "event": "log",
            "logger": record.name,
            "message": without_tokens(record.getMessage()),
        }
        line |= {
            key: redacted(value)
            for key, value in record.__dict__.items()
            if key not in _MEMBERS_OF_A_RECORD
        }
        if record.exc_info:
            formatter = self.formatter or logging.Formatter()
            line["trace"] = without_tokens(formatter.formatException(record.exc_info))
        return line


# For logging.config.dictConfig. granian takes it too, and gives it to each worker.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"json": {"()": "api.access_log.JsonHandler"}},
    "root": {"handlers": ["json"], "level": "WARNING"},
    "loggers": {
        "api": {"level": "INFO"},
        # Only what goes wrong: its notes about starting say less than the line that serve prints.
        "_granian": {"level": "WARNING"},
        "granian.access": {"level": "CRITICAL"},
    },
}
