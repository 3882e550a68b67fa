"""How far the marts are from what readers see now: rows lost, totals that moved.

Compared with the catalog of the snapshot that is read. A mart takes part when its YAML names its
totals (`config: meta: totals:`).
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


@dataclass(frozen=True)
class Published:
    """What readers see now.

    Attributes:
        version: the snapshot; empty when nothing is compared.
        marts: rows and totals of its marts: {"daily_sales": {"rows": 731, "totals": {...}}}.
        why_not: why nothing is compared; empty when something is.
    """

    version: str = ""
    marts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
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


def read_published(folder: PublishedFolder, *, sample_data: bool) -> Published:
    """What the catalog of the snapshot that readers see says of its marts.

    Args:
        folder: the published folder.
        sample_data: whether this run reads the sample; a snapshot made otherwise is another shop.
    """
    try:
        newest = folder.newest()
        catalog = folder.catalog(newest.version) if newest else None
    except (PublishedError, OSError) as error:
        return Published(why_not=f"the published snapshot cannot be read: {error}")
    if newest is None or catalog is None:
        return Published(why_not="nothing was published before")
    if catalog.get("sample_data", sample_data) != sample_data:
        left = "with" if sample_data else "without"
        return Published(why_not=f"{newest.version} was not made {left} the sample data")
    marts = {mart["name"]: mart for mart in catalog["marts"] if mart.get("totals") is not None}
    why_not = "" if marts else f"{newest.version} says no totals"
    return Published(newest.version, marts, why_not)


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
    for mart, before in published.marts.items():
        if mart not in relations:
            continue
        relation = relations[mart]
        totals = {name: text for name, text in before["totals"].items() if name in relation.columns}
        sums = [f'cast(coalesce(sum("{name}"), 0) as double)' for name in totals]
        (found,) = relation.aggregate(", ".join(["count(*)", *sums])).fetchall()
        rows, *new = found
        ratios[f"{mart}.rows"] = _ratio(rows, before["rows"])
        expectations.append(
            between(
                f"{mart}.rows",
                1 - limits.rows_lost_pct / 100,
                None,
                severity=severity,
                notes=f"{rows:,} rows, {before['rows']:,} published. {against}",
            )
        )
        for (name, text), total in zip(totals.items(), new, strict=True):
            ratios[f"{mart}.{name}"] = _ratio(total, float(text))
            expectations.append(
                between(
                    f"{mart}.{name}",
                    1 / limits.total_factor,
                    limits.total_factor,
                    severity=severity,
                    notes=f"A total of {total:,.2f}, {float(text):,.2f} published. {against}",
                )
            )
    if not expectations:
        expectations = [between("every mart.rows", 1 - limits.rows_lost_pct / 100, None)]
    suite = Suite(
        area="quality",
        mart="",
        part="drift",
        expectations=expectations,
        why_not=published.why_not,
        areas={mart: _area(before) for mart, before in published.marts.items()},
    )
    return suite, pd.DataFrame([ratios], dtype="float64")


def _area(mart: Mapping[str, Any]) -> str:
    """The area of a mart of the catalog: the scope that readers of its numbers need."""
    return str((mart.get("api") or {}).get("scope") or mart.get("area", ""))


def _ratio(new: float, old: float) -> float | None:
    """New / old; None, which nothing is expected of, when there was nothing before."""
    return new / old if old else None
