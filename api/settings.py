"""Settings of the API, read from environment variables in this one place."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
import limits

ROOT = Path(__file__).resolve().parent.parent

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS |= {_letter: 1000**_power, f"{_letter}b": 1000**_power, f"{_letter}ib": 1024**_power}

_ORIGINS = 'give origins without a path, such as "https://dashboard.example.com", or *'
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])"
    r"(:(?P<port>\d{1,5}))?",
    re.ASCII,
)

_SMALLEST_PAGE = 64_000  # bytes, in which a row with all its numbers has room

Value = TypeVar("Value")


class SettingsError(click.ClickException):
    """A setting that cannot be used; the message is one line for people.

    The command line prints it and ends with 2, wherever it comes from.
    """

    exit_code = 2


@dataclass(frozen=True)
class Settings:
    """What the API can be told. Relative paths are relative to the project's root.

    Attributes:
        root: the project's folder.
        published: the folder of the snapshots (`WAREHOUSE_PUBLISHED`).
        tokens: the file of the tokens' digests (`WAREHOUSE_TOKENS`).
        host: address to listen on (`HOST`).
        port: TCP port to listen on (`PORT`).
        workers: server processes (`WORKERS`).
        threads: requests that one worker computes at once (`API_THREADS`).
        rate_limit: budget of a token that has none of its own (`API_RATE_LIMIT`).
        failed_limit: wrong tokens that one address may send (`API_FAILED_LIMIT`).
        open_limit: requests that one address may make without a token (`API_OPEN_LIMIT`).
        connections_per_address: connections that one address may have at once
            (`API_CONNECTIONS_PER_ADDRESS`).
        rate_storage: where budgets are counted, `memory://` or a `redis://` URI
            (`API_RATE_STORAGE`).
        cache_bytes: memory for cached answers, in bytes (`API_CACHE_BYTES`).
        memory_limit: memory DuckDB may use for one snapshot, in bytes (`API_MEMORY_LIMIT`).
        page_bytes: of one page of rows (`API_PAGE_BYTES`).
        in_memory_bytes: largest snapshot, in bytes of Parquet, that is loaded into memory; a
            larger one is read from its files (`API_IN_MEMORY_BYTES`).
        query_seconds: time after which a query is stopped (`API_QUERY_SECONDS`).
        poll_seconds: time between two looks at the publish log (`API_POLL_SECONDS`).
        cors_origins: origins whose pages may read answers, or `*` (`API_CORS_ORIGINS`).
        trusted_proxies: reverse proxies in front whose X-Forwarded-* headers count
            (`API_TRUSTED_PROXIES`).
    """

    root: Path
    published: Path
    tokens: Path
    host: str = "127.0.0.1"
    port: int = 5000
    workers: int = 1
    threads: int = 2
    rate_limit: str = "600 per minute"
    failed_limit: str = "20 per minute"
    open_limit: str = "600 per minute"
    connections_per_address: int = 100
    rate_storage: str = "memory://"
    cache_bytes: int = 64 * 1024**2
    memory_limit: int = 1024**3
    page_bytes: int = 8 * 1024**2
    in_memory_bytes: int = 256 * 1024**2
    query_seconds: float = 10.0
    poll_seconds: float = 1.0
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: int = 0

    def shown(self, path: Path) -> str:
        """A path as people type it: from the root where it is inside."""
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    @property
    def url(self) -> str:
        """Where people on this machine reach the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def read_settings(environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> Settings:
    """Read the settings; a variable that is missing or empty has its default.

    Args:
        environment: the variables.
        root: the project's folder.

    Returns:
        The settings, each one checked.

    Raises:
        SettingsError: a variable has a value that cannot be used; the message names it.
    """

    def read(name: str, parse: Callable[[str], Value], default: Value) -> Value:
        text = environment.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise SettingsError(f"{name} is {shorten(text)!r}: {error}") from None

    return Settings(
        root=root,
        published=root / (environment.get("WAREHOUSE_PUBLISHED") or "published"),
        tokens=root / (environment.get("WAREHOUSE_TOKENS") or "api_tokens.json"),
        host=read("HOST", parse_host, Settings.host),
        port=read("PORT", whole_number(1, 65535), Settings.port),
        workers=read("WORKERS", whole_number(1, 64), Settings.workers),
        threads=read("API_THREADS", whole_number(1, 256), Settings.threads),
        rate_limit=read("API_RATE_LIMIT", parse_limit, Settings.rate_limit),
        failed_limit=read("API_FAILED_LIMIT", parse_limit, Settings.failed_limit),
        open_limit=read("API_OPEN_LIMIT", parse_limit, Settings.open_limit),
        connections_per_address=read(
            "API_CONNECTIONS_PER_ADDRESS", whole_number(1, 4096), Settings.connections_per_address
        ),
        rate_storage=read("API_RATE_STORAGE", _parse_storage, Settings.rate_storage),
        cache_bytes=read("API_CACHE_BYTES", parse_size, Settings.cache_bytes),
        memory_limit=read("API_MEMORY_LIMIT", parse_size, Settings.memory_limit),
        page_bytes=read("API_PAGE_BYTES", _parse_page_size, Settings.page_bytes),
        in_memory_bytes=read("API_IN_MEMORY_BYTES", parse_size, Settings.in_memory_bytes),
        query_seconds=read("API_QUERY_SECONDS", _seconds(0.001, 3600), Settings.query_seconds),
        poll_seconds=read("API_POLL_SECONDS", _seconds(0.0, 3600), Settings.poll_seconds),
        cors_origins=read("API_CORS_ORIGINS", parse_origins, Settings.cors_origins),
        trusted_proxies=read("API_TRUSTED_PROXIES", whole_number(0, 10), Settings.trusted_proxies),
    )


def shorten(text: str, characters: int = 60) -> str:
    """A text that fits into a message."""
    return text if len(text) <= characters else f"{text[:characters]}..."


def parse_size(text: str) -> int:
    """A size in bytes from a text such as `64MB` (1000s), `64MiB` (1024s) or `65536`.

    Raises:
        ValueError: the text is no size; the message says what is.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)", text.strip().lower(), re.ASCII)
    if match is None or match[2] not in _UNITS:
        raise ValueError("give a size, such as 64MB, 1GiB or 65536")
    return int(float(match[1]) * _UNITS[match[2]])


def _parse_page_size(text: str) -> int:
    size = parse_size(text)
    if size < _SMALLEST_PAGE:
        raise ValueError("give a size of at least 64KB, such as 8MiB")
    return size


def parse_limit(text: str) -> str:
    """A rate limit as people write it, such as `600 per minute` or `10/second; 200/hour`.

    Raises:
        ValueError: the text is no limit, or one that lets nothing through.
    """
    try:
        items = limits.parse_many(text)
    except ValueError:
        items = []
    if not items or any(item.amount < 1 or item.multiples < 1 for item in items):
        raise ValueError('give a limit, such as "600 per minute" or "10 per second"')
    return text


def parse_host(text: str) -> str:
    """A host name or an IP address to listen on.

    Raises:
        ValueError: the text is neither.
    """
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        looks_like_an_address = re.fullmatch(r"[\d.]+", text)
        if looks_like_an_address or not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})", text):
            raise ValueError("give an address or a host name, such as 127.0.0.1") from None
    return text


def parse_origins(text: str) -> tuple[str, ...]:
    """Origins as browsers send them, with commas or spaces between, or `*` alone for any.

    Raises:
        ValueError: one of them is no origin.
    """
    origins = [_parse_origin(part) for part in re.split(r"[\s,]+", text.strip(" \t\n,")) if part]
    if not origins or ("*" in origins and len(origins) > 1):
        raise ValueError(_ORIGINS)
    return tuple(dict.fromkeys(origins))


def _parse_origin(text: str) -> str:
    if text == "*":
        return text
    match = _ORIGIN.fullmatch(text.lower())
    if match is None or not 0 < int(match["port"] or 1) < 65536:
        raise ValueError(_ORIGINS)
    scheme, host, port = match["scheme"], match["host"], match["port"]
    if port is None or int(port) == {"http": 80, "https": 443}[scheme]:  # a browser leaves it out
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}"


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """A parser of whole numbers within bounds, both included."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not lowest <= int(text) <= highest:
            raise ValueError(f"give a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def _seconds(lowest: float, highest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text, re.ASCII):
            raise ValueError("give a number of seconds, such as 10 or 0.5")
        if not lowest <= float(text) <= highest:
            raise ValueError(f"give seconds from {lowest:g} to {highest:g}")
        return float(text)

    return parse


def _parse_storage(text: str) -> str:
    if text == "memory://" or re.match(r"(redis|rediss|redis\+unix)://.", text):
        return text
    raise ValueError("give memory:// or a redis:// URI")
