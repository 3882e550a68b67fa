"""How far the marts are from what readers see now: rows lost, totals that moved.

Compared with the catalog of the snapshot that is read. A mart takes part when its YAML names its
totals (`config: meta: totals:`). Of feed_health it is the accepted rows of each feed, which may
grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pandas as pd
from great_expectations.expectations import Expectation

from expectations.suites import CRITICAL, WARNING, Suite, between
from warehouse.published import PublishedError, PublishedFolder

FEED_HEALTH = "feed_health"


@dataclass(frozen=True)
class Published:
    """What readers see now.

    Attributes:
        version: the snapshot; empty when nothing is compared.
        marts: rows and totals of its marts: {"daily_sales": {"rows": 731, "totals": {...}}}.
        feeds: accepted rows of each feed.
        why_not: why nothing is compared; empty when something is.
    """

    version: str = ""
    marts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    feeds: Mapping[str, int] = field(default_factory=dict)
    why_not: str = ""


@dataclass(frozen=True)
class Limits:
    """How far a mart may be from what was published.

    Attributes:
        rows_lost_pct: the share of its rows that it may lose, in percent.
        total_factor: how many times as large, or as small, a total may become.
        is_accepted: whether what is beyond is shown and let pass.
    """

    rows_lost_pct: float
    total_factor: float
    is_accepted: bool = False


def has_sample(feed_health: duckdb.DuckDBPyRelation) -> bool:
    """Whether the rows of the sample are in the marts."""
    return bool(feed_health.filter("has_sample").limit(1).fetchall())


def read_published(folder: PublishedFolder, *, sample_data: bool) -> Published:
    """What the catalog of the snapshot that readers see says of its marts.

    Args:
        folder: the published folder.
        sample_data: whether the sample is in the marts; a snapshot made otherwise is another shop.
    """
    try:
        newest = folder.newest()
        catalog = folder.catalog(newest.version) if newest else None
        feeds = _read_feeds(folder, catalog) if catalog else {}
    except (PublishedError, OSError, duckdb.Error) as error:
        return Published(why_not=f"the published snapshot cannot be read: {error}")
    if newest is None or catalog is None:
        return Published(why_not="nothing was published before")
    if catalog.get("sample_data", sample_data) != sample_data:
        does, do = ("contains", "do not") if catalog["sample_data"] else ("does not contain", "do")
        why_not = f"{newest.version} {does} the sample, and the marts {do}"
        return Published(why_not=why_not)
    marts = {mart["name"]: mart for mart in catalog["marts"] if mart.get("totals") is not None}
    why_not = "" if marts else f"{newest.version} says no totals"
    return Published(newest.version, marts, feeds, why_not)


def _read_feeds(folder: PublishedFolder, catalog: Mapping[str, Any]) -> dict[str, int]:
    """Accepted rows of each feed of a snapshot; none where it does not say."""
    files = [mart["file"] for mart in catalog["marts"] if mart["name"] == FEED_HEALTH]
    if not files:
        return {}
    with duckdb.connect(":memory:") as connection:
        file = connection.read_parquet(str(folder.folder(catalog["version"]) / files[0]))
        return dict(file.project("feed, rows_accepted").fetchall())


def suite_and_frame(
    relations: Mapping[str, duckdb.DuckDBPyRelation], published: Published, limits: Limits
) -> tuple[Suite, pd.DataFrame]:
    """The suite, and a frame of one row: the ratio of each number to the published one.

    Args:
        relations: the marts, by name.
        published: what to compare with.
        limits: how far they may be from it.
    """
    severity = WARNING if limits.is_accepted else CRITICAL
    against = f"Compared with {published.version}." if published.version else ""
    expectations: list[Expectation] = []
    ratios: dict[str, float | None] = {}
    observed: dict[str, str] = {}

    def compare(name: str, new: float, old: float, low: float, high: float | None) -> None:
        ratios[name] = new / old if old else None  # of nothing, nothing is expected
        observed[name] = f"was {_number(old)}, is {_number(new)}"
        notes = f"{observed[name][0].upper()}{observed[name][1:]}. {against}"
        expectations.append(between(name, low, high, severity=severity, notes=notes))

    kept = 1 - limits.rows_lost_pct / 100
    feeds: dict[str, int] = {}
    if FEED_HEALTH in relations:
        feeds = dict(relations[FEED_HEALTH].project("feed, rows_accepted").fetchall())
    # A feed that had no row, and is there now, makes totals what they should be.
    is_back = any(rows and not published.feeds.get(feed, rows) for feed, rows in feeds.items())
    largest = None if is_back else limits.total_factor
    for mart, before in published.marts.items():
        if mart not in relations:
            continue
        relation = relations[mart]
        totals = {name: text for name, text in before["totals"].items() if name in relation.columns}
        if mart == FEED_HEALTH:
            totals = {}
        sums = [f'cast(coalesce(sum("{name}"), 0) as double)' for name in totals]
        (found,) = relation.aggregate(", ".join(["count(*)", *sums])).fetchall()
        rows, *new = found
        compare(f"{mart}.rows", rows, before["rows"], kept, None)
        for (name, text), total in zip(totals.items(), new, strict=True):
            compare(f"{mart}.{name}", total, float(text), 1 / limits.total_factor, largest)
    for feed, accepted in published.feeds.items():
        if feed in feeds:
            compare(f"{FEED_HEALTH}.{feed}", feeds[feed], accepted, kept, None)
    if not expectations:
        expectations = [between("every mart.rows", 1 - limits.rows_lost_pct / 100, None)]
    suite = Suite(
        area="quality",
        mart="",
        part="drift",
        expectations=expectations,
        observed=observed,
        why_not=published.why_not,
        areas={mart: _area(before) for mart, before in published.marts.items()},
    )
    return suite, pd.DataFrame([ratios], dtype="float64")


def _area(mart: Mapping[str, Any]) -> str:
    """The area of a mart of the catalog: the scope that readers of its numbers need."""
    return str((mart.get("api") or {}).get("scope") or mart.get("area", ""))


def _number(value: float) -> str:
    """Such as 2,154 or 936,432.83."""
    return f"{value:,.2f}".removesuffix(".00")
