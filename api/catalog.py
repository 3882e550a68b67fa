"""What a snapshot holds, as its catalog says: marts, columns, and the routes that show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from warehouse.audit import LARGEST_LIMIT as MAX_LIMIT

__all__ = [
    "MAX_LIMIT",
    "Catalog",
    "Column",
    "Feed",
    "Hidden",
    "Mart",
    "Order",
    "RouteFilter",
    "Threshold",
    "read_catalog",
]

DEFAULT_LIMIT = 100

# Of snapshots of a time before the mart named its rows' area: a column that holds no scope, so that
# its rows are shown to tokens of every scope only.
_ROW_SCOPES = {"expectation_results": "suite"}

# dbt's periods of source freshness.
_PERIODS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}


@dataclass(frozen=True)
class Column:
    """A column of a mart.

    Attributes:
        name: as in the mart.
        type: DuckDB's name of its type, such as `DECIMAL(18,2)`.
        description: what it holds, from the dbt contract.
        formula: how it is computed; None for a column that is no metric.
    """

    name: str
    type: str
    description: str
    formula: str | None


@dataclass(frozen=True)
class Order:
    """One term of an order; nulls come last both ways."""

    column: str
    descending: bool = False

    @classmethod
    def parse(cls, text: str) -> Order:
        """Read `column` or `-column`."""
        return cls(text.removeprefix("-"), text.startswith("-"))

    def __str__(self) -> str:
        """The term as it is written in a query."""
        return f"-{self.column}" if self.descending else self.column


@dataclass(frozen=True)
class RouteFilter:
    """A query parameter of a declared route: which column it is compared with, and how."""

    parameter: str
    column: str
    operator: str


@dataclass(frozen=True)
class Hidden:
    """Rows that a route leaves out: those whose column equals a value.

    Attributes:
        column: the column.
        equals: the value of the rows that are left out.
        unless: the boolean parameter that shows them; None: they are never shown.
    """

    column: str
    equals: Any
    unless: str | None


@dataclass(frozen=True)
class Mart:
    """A mart that the API may show.

    Attributes:
        name: as in dbt.
        description: from the dbt contract.
        grain: the columns that tell its rows apart.
        file: its Parquet file, in the folder of the snapshot.
        rows: how many it has.
        columns: in the mart's order, by name.
        scope: the scope that a token needs to read it.
        row_scope: a column whose value names a further scope that each row needs; None: no such.
        route: path of its own below /api/v1; None: only /marts/{name}.
        filters: parameters of that route.
        order: the default order, made total by the grain.
        default_limit: rows of a page, unless the caller says.
        hide: rows that the route leaves out.
        example: one row of the sample data.
        totals: sums of the columns that are watched for drift; None for one that is no number.
    """

    name: str
    description: str
    grain: tuple[str, ...]
    file: str
    rows: int
    columns: Mapping[str, Column]
    scope: str
    row_scope: str | None
    route: str | None
    filters: tuple[RouteFilter, ...]
    order: tuple[Order, ...]
    default_limit: int
    hide: tuple[Hidden, ...]
    example: Mapping[str, Any]
    totals: Mapping[str, Decimal | None]

    def total_order(self, order: tuple[Order, ...]) -> tuple[Order, ...]:
        """An order with the grain at its end, so that no two rows tie."""
        return _total(order, self.grain)


def _total(order: tuple[Order, ...], grain: tuple[str, ...]) -> tuple[Order, ...]:
    named = {term.column for term in order}
    return order + tuple(Order(column) for column in grain if column not in named)


@dataclass(frozen=True)
class Threshold:
    """An age in dbt's terms of source freshness.

    Attributes:
        count: such as 7.
        period: `minute`, `hour` or `day`.
        age: how long that is.
    """

    count: int
    period: str
    age: timedelta


@dataclass(frozen=True)
class Feed:
    """How old the newest file of a feed may be.

    Attributes:
        warn_after: beyond this age it is late; None: it never is.
        error_after: beyond this age it is stale; None: it never is.
    """

    warn_after: Threshold | None
    error_after: Threshold | None


@dataclass(frozen=True, eq=False)
class Catalog:
    """What one snapshot holds; equal to itself alone, so that it can be the key of a cache.

    Attributes:
        version: of the snapshot.
        published_at: when it was published, UTC.
        rows: of all marts.
        tests: counts of the tests that passed, and the warnings.
        engine: versions of dbt, its adapter and the database that made it.
        git_commit: of the project that made it; None when it was no repository.
        bytes: of all Parquet files.
        sample_data: whether it contains the sample; None: a publication of then did not say.
        feeds: how old the files of each feed may be, by name.
        marts: those that the API may show, by name.
        routes: the same by their declared route.
    """

    version: str
    published_at: datetime
    rows: int
    tests: Mapping[str, Any]
    engine: Mapping[str, str]
    git_commit: str | None
    bytes: int
    sample_data: bool | None
    feeds: Mapping[str, Feed]
    marts: Mapping[str, Mart]
    routes: Mapping[str, Mart]

    @property
    def published_at_text(self) -> str:
        """The time of publication in ISO 8601, to the second."""
        return self.published_at.strftime("%Y-%m-%dT%H:%M:%SZ")


def read_catalog(content: Mapping[str, Any]) -> Catalog:
    """Read the catalog of a snapshot.

    Args:
        content: catalog.json, parsed.

    Raises:
        KeyError, TypeError, ValueError, ArithmeticError: it is not what a publication writes.
    """
    marts = {mart["name"]: _read_mart(mart) for mart in content["marts"] if mart["api"] is not None}
    return Catalog(
        version=content["version"],
        published_at=datetime.fromisoformat(content["published_at"]),
        rows=content["rows"],
        tests=content["tests"],
        engine=content["engine"],
        git_commit=content["git_commit"],
        bytes=sum(mart["bytes"] for mart in content["marts"]),
        sample_data=content.get("sample_data"),
        feeds={
            feed["feed"]: Feed(
                _read_threshold(feed["warn_after"]), _read_threshold(feed["error_after"])
            )
            for feed in content.get("feeds", [])
        },
        marts=marts,
        routes={mart.route: mart for mart in marts.values() if mart.route},
    )


def _read_threshold(content: Mapping[str, Any] | None) -> Threshold | None:
    if content is None:
        return None
    count, period = content["count"], content["period"]
    return Threshold(count, period, count * _PERIODS[period])


def _read_total(text: str) -> Decimal | None:
    total = Decimal(text)
    return total if total.is_finite() else None


def _read_mart(content: Mapping[str, Any]) -> Mart:
    api = content["api"]
    filters = []
    for parameter, target in api.get("filters", {}).items():
        column, _, operator = target.partition(".")
        filters.append(RouteFilter(parameter, column, operator or "eq"))
    grain = tuple(content["grain"])
    return Mart(
        name=content["name"],
        description=" ".join(content["description"].split()),
        grain=grain,
        file=content["file"],
        rows=content["rows"],
        columns={
            column["name"]: Column(
                column["name"],
                column["type"],
                " ".join(column["description"].split()),
                column["formula"],
            )
            for column in content["columns"]
        },
        scope=api["scope"],
        row_scope=api.get("row_scope", _ROW_SCOPES.get(content["name"])),
        route=api.get("route"),
        filters=tuple(filters),
        order=_total(tuple(Order.parse(term) for term in api.get("order", grain)), grain),
        default_limit=api.get("default_limit", DEFAULT_LIMIT),
        hide=tuple(
            Hidden(column, rule["equals"], rule.get("unless"))
            for column, rule in api.get("hide", {}).items()
        ),
        example=api.get("example", {}),
        totals={
            column: _read_total(text) for column, text in (content.get("totals") or {}).items()
        },
    )
