"""Ask the real server, publish more snapshots, and say what an answer must be, in plain Python."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb
import yaml
from jinja2 import Template

from api.tokens import TokenFile
from tests.api.server import Answer, Server
from tests.support import ROOT, overwrite
from warehouse.published import CATALOG, PublishedFolder

Row = dict[str, Any]
Query = Mapping[str, str | Sequence[str]]

SCOPES = ("marketing", "shop", "marketplace", "hiring", "quality", "monitoring")
SUFFIXES = ("json", "csv", "arrow", "parquet")
MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
PROBLEM = "application/problem+json"
# Stands for feed_health.last_loaded_at, which is another one in each build.
LOADED = "when it was loaded"
# Enough for any test.
NO_LIMITS = dict.fromkeys(
    ("API_RATE_LIMIT", "API_FAILED_LIMIT", "API_OPEN_LIMIT"), "1000000 per second"
)


# --- Asking ---------------------------------------------------------------------------------------


class Api:
    """A running server and its tokens.

    Args:
        server: the server; its folder holds the file of tokens.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._file = TokenFile(server.folder / "tokens.json")
        self._tokens: dict[tuple[str, ...], str] = {}

    def token(self, *scopes: str) -> str:
        """A token with these scopes; made once."""
        key = tuple(sorted(scopes))
        if key not in self._tokens:
            name = " ".join(key).replace("*", "all")
            self._tokens[key] = self._file.create(name, key)
        return self._tokens[key]

    def get(
        self,
        path: str,
        query: Query | None = None,
        *,
        scopes: Sequence[str] = ("*",),
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> Answer:
        """Ask for a path below /api/v1, or for one that begins with a slash."""
        path = path if path.startswith("/") else f"/api/v1/{path}"
        text = f"?{urlencode(query, doseq=True)}" if query else ""
        token = self.token(*scopes) if scopes else None
        return self.server.get(path + text, token, list((headers or {}).items()), method)

    def page(self, path: str, query: Query | None = None, **how: Any) -> Row:
        """A good JSON answer, parsed with the exact digits of its numbers."""
        answer = self.get(path, query, **how)
        assert answer.status == 200, answer.body
        content: Row = parsed(answer.body)
        return content

    def rows(self, path: str, query: Query | None = None, **how: Any) -> list[Row]:
        """The rows of one page."""
        rows: list[Row] = self.page(path, query, **how)["data"]
        return rows

    def pages(self, path: str, query: Query | None = None, **how: Any) -> Iterator[Row]:
        """All pages, from cursor to cursor."""
        content = self.page(path, query, **how)
        yield content
        while content["meta"]["next"]:
            content = self.page(path, {**(query or {}), "cursor": content["meta"]["next"]}, **how)
            yield content

    def walk(self, path: str, query: Query | None = None, **how: Any) -> list[Row]:
        """The rows of all pages."""
        return [row for page in self.pages(path, query, **how) for row in page["data"]]


@contextmanager
def serving(folder: PublishedFolder, **variables: str) -> Iterator[Api]:
    """A server that looks at the log of the folder twenty times a second."""
    variables = {"API_POLL_SECONDS": "0.05"} | NO_LIMITS | variables
    with Server(folder.path.parent, **variables) as server:
        yield Api(server)


def wait_until(is_so: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that comes to be in another process or thread."""
    give_up_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up_at, "it never came to be"
        time.sleep(0.02)


@dataclass(frozen=True)
class Number:
    """A number of a JSON text that is not whole, with its digits as they were sent."""

    text: str


def parsed(body: bytes | str) -> Any:
    """JSON with exact digits; NaN and Infinity are refused, and so is a repeated key."""

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    def without_repeats(pairs: list[tuple[str, Any]]) -> Row:
        names = [name for name, _ in pairs]
        assert len(set(names)) == len(names), names
        return dict(pairs)

    return json.loads(
        body, parse_float=Number, parse_constant=refuse, object_pairs_hook=without_repeats
    )


def as_problem(answer: Answer, status: int, kind: str) -> Row:
    """The body of an answer that must be this problem."""
    assert (answer.status, answer.headers["content-type"]) == (status, PROBLEM), answer.body
    problem: Row = parsed(answer.body)
    assert problem["type"] == f"/docs/problems#{kind}", problem
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


# --- What an answer must be -----------------------------------------------------------------------


def as_json(value: Any) -> Any:
    """A value of a mart as `parsed` gives it."""
    if isinstance(value, Decimal):
        return Number(format(value, "f"))
    if isinstance(value, datetime):
        return value.isoformat() + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return value


def as_text(value: Any) -> str:
    """A value of a mart as it stands in a CSV file, and in a filter."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def json_rows(rows: Iterable[Row]) -> list[Row]:
    """Rows of a mart as JSON rows."""
    return [{name: as_json(value) for name, value in row.items()} for row in rows]


def read_csv(body: bytes) -> list[dict[str, str]]:
    """The rows of a CSV answer, as text."""
    return list(csv.DictReader(io.StringIO(body.decode(), newline="")))


@dataclass(frozen=True)
class Declared:
    """What the YAML says of a mart.

    Attributes:
        types: data_type of each column, in order.
        grain: the columns of the grain.
        api: the `meta.api` block.
        formulas: of the metrics.
    """

    types: dict[str, str]
    grain: list[str]
    api: Row
    formulas: dict[str, str]

    @property
    def order(self) -> list[str]:
        """The documented order, with the grain at its end."""
        order: list[str] = self.api.get("order", [])
        named = {term.removeprefix("-") for term in order}
        return order + [name for name in self.grain if name not in named]


def on_duckdb(text: str) -> str:
    """A text of the YAML as dbt reads it for a build on DuckDB."""
    return Template(text).render(target={"type": "duckdb"})


@cache
def declared() -> dict[str, Declared]:
    """All marts, from the YAML of the project."""
    marts = {}
    for file in sorted(ROOT.glob("models/**/_*__models.yml")):
        for model in yaml.safe_load(file.read_text()).get("models", []):
            meta = model.get("config", {}).get("meta", {})
            if "api" in meta:
                columns = model["columns"]
                marts[model["name"]] = Declared(
                    {column["name"]: on_duckdb(column["data_type"]) for column in columns},
                    meta["grain"],
                    meta["api"],
                    {
                        column["name"]: column["config"]["meta"]["formula"]
                        for column in columns
                        if "formula" in column.get("config", {}).get("meta", {})
                    },
                )
    return marts


def in_order(rows: Iterable[Row], order: Sequence[str]) -> list[Row]:
    """Rows sorted by columns, `-column` descending, nulls last both ways; ties stay as they are."""
    found = list(rows)
    for term in reversed(order):
        name = term.removeprefix("-")
        known = [row for row in found if row[name] is not None]
        known.sort(key=lambda row: row[name], reverse=term.startswith("-"))
        found = known + [row for row in found if row[name] is None]
    return found


# --- More snapshots -------------------------------------------------------------------------------


def publish_again(
    folder: Path,
    source: PublishedFolder,
    marts: Mapping[str, str] | None = None,
    edit: Callable[[Row], None] | None = None,
) -> str:
    """Publish the newest snapshot of a folder again, changed, as a build would.

    Args:
        folder: the published folder to write to.
        source: where the snapshot is; may be the same folder.
        marts: for some marts, a query on `mart` that makes its rows.
        edit: changes the catalog in place.

    Returns:
        The new version.
    """
    newest = source.newest()
    assert newest is not None
    catalog, old = source.catalog(newest.version), source.folder(newest.version)
    draft = PublishedFolder(folder).begin(str(uuid.uuid4()))
    for mart in catalog["marts"]:
        file = draft.path / mart["file"]
        if mart["name"] in (marts or {}):
            with duckdb.connect() as connection:
                connection.execute(
                    f"copy (with mart as (from read_parquet('{old / mart['file']}')) "
                    f"{(marts or {})[mart['name']]}) to '{file}' (format parquet)"
                )
                relation = connection.read_parquet(str(file))
                mart["rows"] = len(relation)
        else:
            shutil.copy2(old / mart["file"], file)
        mart["bytes"] = file.stat().st_size
        mart["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    catalog["version"] = draft.version
    catalog["published_at"] = f"{draft.at:%Y-%m-%dT%H:%M:%S.%fZ}"
    catalog["rows"] = sum(mart["rows"] for mart in catalog["marts"])
    if edit:
        edit(catalog)
    draft.write_catalog(catalog)
    return draft.publish().version


def publish_tiny(folder: PublishedFolder, value: int) -> str:
    """Publish a snapshot of one mart, `tiny`, whose one row holds a value; its version."""
    draft = folder.begin(str(uuid.uuid4()))
    file = draft.path / "tiny.parquet"
    duckdb.execute(f"copy (select {value}::bigint as value) to '{file}' (format parquet)")
    column = {"name": "value", "type": "BIGINT", "description": "", "formula": None}
    mart = {
        **{"name": "tiny", "description": "", "area": "shop", "grain": ["value"], "rows": 1},
        **{"file": file.name, "bytes": file.stat().st_size, "columns": [column]},
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "api": {"scope": "shop"},
    }
    tests = {
        "data_tests": {"passed": 0, "warned": 0},
        "unit_tests": {"passed": 0},
        "warnings": [],
    }
    draft.write_catalog(
        {
            **{"format": 1, "version": draft.version, "marts": [mart], "rows": 1, "tests": tests},
            **{"published_at": f"{draft.at:%Y-%m-%dT%H:%M:%S.%fZ}", "engine": {}},
            "git_commit": None,
        }
    )
    return draft.publish().version


def damage(file: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    overwrite(file, bytes(content))


def cut_short(folder: PublishedFolder, version: str) -> None:
    """Cut a catalog in half."""
    catalog = folder.folder(version) / CATALOG
    overwrite(catalog, catalog.read_bytes()[: catalog.stat().st_size // 2])
