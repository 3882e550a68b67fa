"""How good the numbers of a snapshot are: its tests, its feeds, what was expected, what changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from api import formats
from api.catalog import Catalog, Feed, Mart, Threshold
from api.computed import change_pct, rounded
from api.formats import JSON
from api.query import Condition, order_by, quoted
from api.snapshots import Snapshot, SnapshotStore
from warehouse.published import PublishedError

FEED_HEALTH, EXPECTATION_RESULTS = "feed_health", "expectation_results"

LONGEST_TEXT = 10_000  # characters of what an expectation observed, and of other texts

OK, WARNING = "ok", "warning"  # of a snapshot; or stale
FRESH, LATE, STALE, UNKNOWN, UNCHECKED = "fresh", "late", "stale", "unknown", "unchecked"

_NO_THRESHOLDS = Feed(None, None)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Freshness:
    """How old the newest file of a feed is.

    Attributes:
        status: `fresh`, `late` (beyond warn_after), `stale` (beyond error_after), `unknown`
            (nothing was loaded) or `unchecked` (no threshold says how old it may be).
        age: since it was loaded; None when nothing was.
        limits: how old it may be.
    """

    status: str
    age: timedelta | None
    limits: Feed

    def shown(self) -> dict[str, Any]:
        """The freshness as it is answered; the age in hours, to a tenth."""
        return {
            "status": self.status,
            "age_hours": None if self.age is None else round(self.age / _HOUR, 1),
            "warn_after": _shown(self.limits.warn_after),
            "error_after": _shown(self.limits.error_after),
        }


def _shown(threshold: Threshold | None) -> dict[str, Any] | None:
    return None if threshold is None else {"count": threshold.count, "period": threshold.period}


def freshness(limits: Feed, last_loaded_at: datetime | None, now: datetime) -> Freshness:
    """How fresh a feed is.

    Args:
        limits: how old its newest file may be.
        last_loaded_at: when that was loaded, with a time zone; None: nothing was.
        now: the time, with a time zone.
    """
    if last_loaded_at is None:
        return Freshness(UNKNOWN, None, limits)
    age = max(timedelta(0), now - last_loaded_at)
    if limits == _NO_THRESHOLDS:
        status = UNCHECKED
    elif limits.error_after is not None and age > limits.error_after.age:
        status = STALE
    elif limits.warn_after is not None and age > limits.warn_after.age:
        status = LATE
    else:
        status = FRESH
    return Freshness(status, age, limits)


@dataclass(frozen=True)
class FeedState:
    """The state of a feed.

    Attributes:
        row: of the mart feed_health, by column, as JSON has it.
        freshness: how old its newest file is.
    """

    row: Mapping[str, Any]
    freshness: Freshness

    @property
    def rejected_pct(self) -> Decimal | None:
        """100 x rows_rejected / rows_read, two decimals; None without rows."""
        read = self.row["rows_read"]
        return rounded(Fraction(100 * self.row["rows_rejected"], read)) if read else None

    def shown(self) -> dict[str, Any]:
        """The feed as it is answered."""
        return {
            **self.row,
            "rejected_pct": self.rejected_pct,
            "freshness": self.freshness.shown(),
        }


@dataclass(frozen=True)
class Expectations:
    """What came of the expectations.

    Attributes:
        passed: those that held.
        failed: those that did not.
        not_evaluated: those with nothing to evaluate them on.
        sampled: those that looked at some of the rows only.
        failing: the rows of the mart expectation_results about those that failed, as far as they
            may be shown.
    """

    passed: int
    failed: int
    not_evaluated: int
    sampled: int
    failing: tuple[Mapping[str, Any], ...]

    def shown(self) -> dict[str, Any]:
        """The expectations as they are answered."""
        return {
            "evaluated": self.passed + self.failed,
            "passed": self.passed,
            "failed": self.failed,
            "not_evaluated": self.not_evaluated,
            "sampled": self.sampled,
            "failing": self.failing,
        }


@dataclass(frozen=True)
class Quality:
    """How good the numbers of a snapshot are.

    Attributes:
        tests: counts of the tests that passed, and the warnings.
        feeds: the state of each feed; none when the snapshot does not say.
        expectations: None when the snapshot does not say.
    """

    tests: Mapping[str, Any]
    feeds: tuple[FeedState, ...]
    expectations: Expectations | None

    @property
    def status(self) -> str:
        """The worst of it: `stale` when a feed is, `warning` when anything is not as it should."""
        states = {feed.freshness.status for feed in self.feeds}
        if STALE in states:
            return STALE
        has_failures = self.expectations is not None and self.expectations.failed > 0
        has_warnings = self.tests["data_tests"]["warned"] > 0
        return WARNING if has_failures or has_warnings or LATE in states else OK


def read_quality(
    store: SnapshotStore, snapshot: Snapshot, now: datetime, allowed: Callable[[Mart], Condition]
) -> Quality:
    """How good the numbers of a snapshot are.

    Args:
        store: runs the queries.
        snapshot: the snapshot to read.
        now: the time, with a time zone.
        allowed: the rows of a mart that may be shown; counts are of all of them.

    Raises:
        Problem: a query took too long, or needs more memory than it may have.
    """
    marts, limits = snapshot.catalog.marts, snapshot.catalog.feeds
    feeds, results = marts.get(FEED_HEALTH), marts.get(EXPECTATION_RESULTS)
    return Quality(
        tests=snapshot.catalog.tests,
        feeds=tuple(
            FeedState(
                row,
                freshness(
                    limits.get(row["feed"], _NO_THRESHOLDS), _time(row["last_loaded_at"]), now
                ),
            )
            for row in (_rows(store, snapshot, feeds, allowed(feeds)) if feeds else ())
        ),
        expectations=_read_expectations(store, snapshot, results, allowed) if results else None,
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _read_expectations(
    store: SnapshotStore, snapshot: Snapshot, mart: Mart, allowed: Callable[[Mart], Condition]
) -> Expectations:
    counts = ", ".join(
        f"count(*) filter (where {condition})"
        for condition in ("success", "not success", "success is null", "is_sampled")
    )
    (found,) = store.rows(snapshot, f"select {counts} from {quoted(mart.name)}", [])
    passed, failed, not_evaluated, sampled = found
    shown = allowed(mart)
    failed_and_shown = Condition(f"not success and ({shown.sql})", shown.values)
    failing = tuple(_rows(store, snapshot, mart, failed_and_shown))
    return Expectations(passed, failed, not_evaluated, sampled, failing)


def _rows(
    store: SnapshotStore, snapshot: Snapshot, mart: Mart, condition: Condition
) -> Iterator[dict[str, Any]]:
    """Rows of a mart as JSON has them."""
    shown = formats.select_list([*mart.columns.values()], JSON, LONGEST_TEXT)
    sql = f"select {shown} from {quoted(mart.name)} where {condition.sql} {order_by(mart.order)}"
    for (text,) in store.rows(snapshot, sql, condition.values):
        yield json.loads(text, parse_float=Decimal)


# ---------------------------------------------------------------------------- drift


def drift(
    store: SnapshotStore, catalog: Catalog, may_read: Callable[[str], bool]
) -> dict[str, Any]:
    """How far a snapshot is from the one that readers saw before, as it is answered.

    Args:
        store: finds the one before.
        catalog: of the snapshot.
        may_read: whether a scope is allowed; the numbers of marts of other scopes are left out.
    """
    try:
        previous = store.before(catalog.version)
    except (PublishedError, OSError) as error:
        return _drift(None, store.shown(error), [])
    samples = (catalog.sample_data, previous.sample_data)
    if None not in samples and samples[0] != samples[1]:
        of, other = ("with", "without") if catalog.sample_data else ("without", "with")
        why = f"{catalog.version} was made {of} the sample data, {previous.version} {other} it"
        return _drift(previous, why, [])
    marts = [
        _drift_of_mart(name, catalog.marts.get(name), previous.marts.get(name), may_read)
        for name in {**catalog.marts, **previous.marts}
    ]
    return _drift(previous, None, marts)


def _drift(
    previous: Catalog | None, detail: str | None, marts: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "previous_version": previous.version if previous else None,
        "previous_published_at": previous.published_at_text if previous else None,
        "detail": detail,
        "marts": marts,
    }


def _drift_of_mart(
    name: str, mart: Mart | None, previous: Mart | None, may_read: Callable[[str], bool]
) -> dict[str, Any]:
    """How far a mart is from the one before; None: the snapshot lacks it."""
    scopes = {found.scope for found in (mart, previous) if found}
    if not all(map(may_read, scopes)):
        numbers = ("rows", "previous_rows", "rows_change_pct", "totals")
        return {"mart": name, **dict.fromkeys(numbers)}
    rows = mart.rows if mart else None
    previous_rows = previous.rows if previous else None
    totals = mart.totals if mart else {}
    previous_totals = previous.totals if previous else {}
    return {
        "mart": name,
        "rows": rows,
        "previous_rows": previous_rows,
        "rows_change_pct": _change_pct(rows, previous_rows),
        "totals": [
            {
                "column": column,
                "total": totals.get(column),
                "previous_total": previous_totals.get(column),
                "change_pct": _change_pct(totals.get(column), previous_totals.get(column)),
            }
            for column in {**totals, **previous_totals}
        ],
    }


def _change_pct(new: Decimal | int | None, old: Decimal | int | None) -> Decimal | None:
    return None if new is None or old is None else change_pct(Fraction(new), Fraction(old))
