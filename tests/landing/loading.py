"""Drive the real loader with the SQL that dbt compiled, without dbt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import jinja2

from tests.support import ROOT, Project
from warehouse.landing.files import Column, Contract
from warehouse.landing.in_duckdb import load_feed, prepare
from warehouse.landing.load import Request, Words

TYPES = {"text": "string"}  # the others are called the same in a contract and in the engine


@dataclass(frozen=True)
class Compiled:
    """A feed as dbt compiled it.

    Attributes:
        request: what the loader is asked for.
        view: SQL that makes base_<feed>.
        repeats: SQL of base_<feed>_repeats; None without a key.
    """

    request: Request = field(repr=False)
    view: str = field(repr=False)
    repeats: str | None = field(repr=False)

    @property
    def contract(self) -> Contract:
        """What files of the feed look like."""
        return self.request.contract


def compiled_feeds(built: Project) -> dict[str, Compiled]:
    """All feeds of a built project."""
    manifest = built.manifest()
    views = dict(
        built.query("select view_name, sql from duckdb_views() where schema_name = 'staging'")
    )
    feeds = {}
    for source in manifest["sources"].values():
        if source["source_name"] == "landing":
            feed = source["name"]
            repeats = manifest["nodes"].get(f"model.kpi_warehouse.base_{feed}_repeats")
            feeds[feed] = Compiled(
                request=_request(source, manifest["nodes"], built.folder),
                view=views[f"base_{feed}"],
                repeats=_compiled(repeats, built.folder) if repeats else None,
            )
    return feeds


class _ReturnedError(Exception):
    """What dbt's return() does in a macro."""


@cache
def grammar(data_type: str) -> str | None:
    """The regular expression that the macro of this name has for a type; None for text."""

    def give_back(value: str) -> None:
        raise _ReturnedError(value)

    environment = jinja2.Environment(extensions=["jinja2.ext.do"])  # noqa: S701 - no HTML
    environment.globals["return"] = give_back
    text = (ROOT / "macros/dialect/casts.sql").read_text()
    decimal = re.fullmatch(r"decimal\((\d+), ?(\d+)\)", data_type)
    type_ = {"name": "decimal", "scale": int(decimal[2])} if decimal else {"name": data_type}
    invoke = jinja2.runtime.Macro._invoke

    def as_in_dbt(macro: Any, *arguments: Any) -> Any:
        """A macro ends where it returns, one that another calls too."""
        try:
            return invoke(macro, *arguments)
        except _ReturnedError as returned:
            return returned.args[0]

    with patch.object(jinja2.runtime.Macro, "_invoke", as_in_dbt):
        module: Any = environment.from_string(text).make_module()
        return module.grammar(type_).strip() or None


def _compiled(node: Mapping[str, Any], folder: Path) -> str:
    path: str = node["compiled_path"]
    return (folder / path).read_text()


def _request(source: Mapping[str, Any], nodes: Mapping[str, Any], folder: Path) -> Request:
    feed = source["name"]
    options = source["config"]["meta"].get("feed", {})
    columns = source["columns"].values()
    day = options.get("date_column")
    return Request(
        contract=Contract(
            feed,
            tuple(
                Column(
                    column["name"],
                    tuple(column["config"]["meta"].get("aliases", [])),
                    column["config"]["meta"].get("required", False),
                    grammar(column["data_type"]),
                )
                for column in columns
            ),
            options.get("headerless", False),
        ),
        has_key=bool(options.get("key")),
        sql=_compiled(nodes[f"model.kpi_warehouse.base_{feed}"], folder),
        source=f'"warehouse"."seeds"."{feed}"',
        seed_file=nodes[f"seed.kpi_warehouse.{feed}"]["original_file_path"],
        is_reference=options.get("reference", False),
        table=f'"warehouse"."landing"."{feed}"',
        log=f'"warehouse"."landing"."{feed}_files"',
        database="warehouse",
        types={
            column["name"]: TYPES.get(column["data_type"], column["data_type"])
            for column in columns
        },
        day=f'cast("{day}" as date)' if day else "cast(null as date)",
        is_full_refresh=False,
        run="run",
        started_at="2024-01-01 00:00:00",
    )


@dataclass
class Heard:
    """What the loader said."""

    warnings: list[str] = field(default_factory=list)

    def words(self) -> Words:
        """For the loader."""
        return Words(warn=self.warnings.append, tell=lambda _text: None)


class Loading:
    """A database with one feed and no sample, and the feed's folder.

    Args:
        feed: as compiled.
        folder: the folder of its files.
        database: a file called warehouse.duckdb; in memory without one.
    """

    def __init__(self, feed: Compiled, folder: Path, database: Path | None = None) -> None:
        self.feed = feed
        self.folder = folder
        self.connection = duckdb.connect(config={"threads": "2"})
        place = "':memory:'" if database is None else f"'{database}'"
        self.connection.execute(f"attach {place} as warehouse")
        self.connection.execute("use warehouse")
        prepare(self.connection)
        texts = ", ".join(f'"{name}" varchar' for name in feed.contract.names)
        self.connection.execute("create schema seeds")
        self.connection.execute("create schema staging")
        self.connection.execute(
            f"create table {feed.request.source} ({texts}, _line_number bigint)"
        )

    def load(self, *, is_full_refresh: bool = False, run: str = "run") -> list[str]:
        """Load what is new; the warnings."""
        heard = Heard()
        load_feed(
            self.connection,
            replace(self.feed.request, is_full_refresh=is_full_refresh, run=run),
            self.folder,
            has_sample=False,
            words=heard.words(),
        )
        view = self.feed.view.replace("CREATE VIEW", "create or replace view", 1)
        self.connection.execute(view)
        return heard.warnings

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.connection.execute(sql).fetchall()

    def rows(self, columns: str = "* exclude (_loaded_at)") -> list[tuple[Any, ...]]:
        """The rows of base_<feed>, sorted by file and line."""
        return self.query(
            f"select {columns} from staging.base_{self.feed.contract.feed} "
            "order by _file, _line_number"
        )

    def repeats(self) -> list[tuple[Any, ...]]:
        """The rows of base_<feed>_repeats, sorted."""
        if self.feed.repeats is None:
            return []
        return self.query(f"select * from ({self.feed.repeats}) order by all")

    def states(self) -> dict[str, str]:
        """Each file that is there, and what became of it."""
        log = self.feed.request.log
        rows: Sequence[tuple[Any, ...]] = self.query(
            f"select parse_filename(file), state from {log} where is_present"
        )
        return dict(rows)

    def close(self) -> None:
        """Give the database back."""
        self.connection.close()
