"""The endpoints that compute over a range of dates: advertising metrics and top categories."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

from api import formats
from api.answers import Key, Question, page_headers
from api.catalog import Column
from api.computed import Computed, Parameter, change_pct, rounded
from api.formats import JSON, Format
from api.problems import Problem
from api.query import Condition, Parameters, bad_parameter, quoted, read_date, read_text
from api.snapshots import Snapshot, SnapshotStore

DIMENSIONS = ("platform", "account", "campaign", "country", "device")
COMPARISONS = {"last30_prev30": 30}
TOP_CATEGORIES = 3

_MONEY, _COUNT, _TEXT, _DATE = "DECIMAL(28,2)", "BIGINT", "VARCHAR", "DATE"


def _column(name: str, kind: str, description: str, formula: str | None = None) -> Column:
    return Column(name, kind, description, formula)


# ---------------------------------------------------------------------------- metrics


@dataclass(frozen=True)
class Period:
    """Sums of advertising over some days.

    Attributes:
        spend: in the currency of the accounts.
        conversions: count.
        revenue: conversions x their worth, in the same currency.
    """

    spend: Decimal
    conversions: int
    revenue: Decimal

    @property
    def cac(self) -> Fraction | None:
        """Customer acquisition cost: spend / conversions, exact; None without conversions."""
        return Fraction(self.spend) / self.conversions if self.conversions else None

    @property
    def roas(self) -> Fraction | None:
        """Return on ad spend: revenue / spend, exact; None without spend."""
        return Fraction(self.revenue) / Fraction(self.spend) if self.spend else None

    def shown(self) -> dict[str, Any]:
        """The period as it is answered."""
        return {
            "spend": self.spend,
            "conversions": self.conversions,
            "CAC": rounded(self.cac),
            "ROAS": rounded(self.roas),
        }


def _metrics(
    store: SnapshotStore, snapshot: Snapshot, parameters: Parameters, shape: Format
) -> Question:
    start, end = read_date(parameters, "start"), read_date(parameters, "end")
    compare = parameters.one("compare")
    chosen = {
        name: value for name in DIMENSIONS if (value := read_text(parameters, name)) is not None
    }
    parameters.nothing_else(METRICS.known())
    if compare is not None:
        if compare not in COMPARISONS:
            raise bad_parameter("compare", f"must be {' or '.join(COMPARISONS)}")
        if start is not None or end is not None:
            raise bad_parameter("compare", "cannot be combined with start and end")
        end = _newest_date(store, snapshot)
        start = end and end - timedelta(days=COMPARISONS[compare] - 1)
    elif start is None or end is None:
        raise Problem(
            400,
            "missing-parameter",
            "Give start and end, both dates, or compare=last30_prev30.",
            known=METRICS.known(),
        )
    elif start > end:
        raise bad_parameter("start", "must not be after end")

    def make() -> tuple[bytes, Mapping[str, str]]:
        current, previous = _periods(store, snapshot, start, end, chosen)
        about = formats.meta(snapshot.catalog)
        changes = {
            "CAC_change_pct": change_pct(current.cac, previous.cac),
            "ROAS_change_pct": change_pct(current.roas, previous.roas),
        }
        if shape is JSON:
            answer = {
                "start": start,
                "end": end,
                "current_period": current.shown(),
                "previous_period": previous.shown(),
                "delta_pct": changes,
                "meta": about,
            }
            return formats.json_text(answer).encode(), {}
        before = _days_before(start, end) if start and end else (None, None)
        rows: list[list[Any]] = [
            ["current", start, end, *current.shown().values(), *changes.values()],
            ["previous", *before, *previous.shown().values(), None, None],
        ]
        body = formats.records_as_bytes(METRICS.columns, rows, shape, about)
        return body, page_headers("metrics", snapshot.version, shape, None)

    question = json.dumps([str(start), str(end), chosen], sort_keys=True)
    return Question(Key(snapshot.version, "metrics", question, shape.suffix), make)


def _newest_date(store: SnapshotStore, snapshot: Snapshot) -> date | None:
    ((newest,),) = store.rows(snapshot, f"select max(date) from {quoted(METRICS.mart)}", [])
    return None if newest is None else date.fromisoformat(str(newest))


def _days_before(start: date, end: date) -> tuple[date, date] | tuple[None, None]:
    """As many days, ending the day before; none where the calendar begins."""
    try:
        return start - timedelta(days=(end - start).days + 1), start - timedelta(days=1)
    except OverflowError:
        return None, None


def _periods(
    store: SnapshotStore,
    snapshot: Snapshot,
    start: date | None,
    end: date | None,
    chosen: Mapping[str, str],
) -> tuple[Period, Period]:
    before = _days_before(start, end) if start and end else (None, None)
    dimensions = "".join(f" and {quoted(name)} = ?" for name in chosen)
    sums = ", ".join(
        f"coalesce(sum({measure}) filter (where date between cast(? as date) and cast(? as date)),"
        " 0)"
        for measure in ("spend", "conversions", "revenue")
    )
    sql = (
        f"select {sums}, {sums} from {quoted(METRICS.mart)}"
        f" where date between cast(? as date) and cast(? as date){dimensions}"
    )
    values = [*[start, end] * 3, *before * 3, before[0] or start, end, *chosen.values()]
    (row,) = store.rows(snapshot, sql, values)
    return _period(row[:3]), _period(row[3:])


def _period(sums: Sequence[Any]) -> Period:
    spend, conversions, revenue = sums
    cent = Decimal("0.01")
    return Period(Decimal(spend).quantize(cent), int(conversions), Decimal(revenue).quantize(cent))


METRICS = Computed(
    resource="metrics",
    mart="ads_performance_daily",
    summary="Spend, conversions, CAC and ROAS of a period and of the one before",
    formula=(
        "CAC = sum(spend) / sum(conversions); ROAS = sum(revenue) / sum(spend); change = "
        "100 x (current - previous) / previous, from ratios that are not rounded; two decimals, "
        "null without a base. The previous period has as many days and ends the day before start. "
        "last30 ends on the newest date in the data."
    ),
    parameters=(
        Parameter("start", _DATE, "First day, included. Needs end."),
        Parameter("end", _DATE, "Last day, included. Needs start."),
        Parameter(
            "compare",
            "last30_prev30",
            "The last 30 days of the data and the 30 before; instead of start and end.",
            example="last30_prev30",
        ),
        *(Parameter(name, _TEXT, f"Only this {name}.") for name in DIMENSIONS),
    ),
    columns=(
        _column("period", _TEXT, "current or previous."),
        _column("start", _DATE, "First day of the period."),
        _column("end", _DATE, "Last day of the period."),
        _column("spend", _MONEY, "Spend.", "sum(spend)"),
        _column("conversions", _COUNT, "Conversions.", "sum(conversions)"),
        _column("CAC", _MONEY, "Customer acquisition cost.", "spend / conversions"),
        _column("ROAS", _MONEY, "Return on ad spend.", "revenue / spend"),
        _column("CAC_change_pct", _MONEY, "Change of CAC in percent.", "100 x (new - old) / old"),
        _column("ROAS_change_pct", _MONEY, "Change of ROAS in percent.", "100 x (new - old) / old"),
    ),
    example={
        "start": "2025-12-02",
        "end": "2025-12-31",
        "current_period": {
            "spend": 35254.93,
            "conversions": 1143,
            "CAC": 30.84,
            "ROAS": 3.24,
        },
        "previous_period": {
            "spend": 31333.35,
            "conversions": 1040,
            "CAC": 30.13,
            "ROAS": 3.32,
        },
        "delta_pct": {"CAC_change_pct": 2.38, "ROAS_change_pct": -2.32},
    },
    question=_metrics,
)


# ---------------------------------------------------------------------------- feedback


def _feedback(
    store: SnapshotStore, snapshot: Snapshot, parameters: Parameters, shape: Format
) -> Question:
    category = read_text(parameters, "category")
    start, end = read_date(parameters, "start_date"), read_date(parameters, "end_date")
    parameters.nothing_else(FEEDBACK.known())
    if start is not None and end is not None and start > end:
        raise bad_parameter("start_date", "must not be after end_date")
    conditions = [Condition("true")]
    if category is not None:
        conditions.append(Condition("category = ?", (category,)))
    if start is not None:
        conditions.append(Condition("date >= cast(? as date)", (start,)))
    if end is not None:
        conditions.append(Condition("date <= cast(? as date)", (end,)))

    def make() -> tuple[bytes, Mapping[str, str]]:
        sql = (
            "select category, cast(sum(sales_count) as bigint), cast(sum(revenue) as decimal(38,6))"
            f" from {quoted(FEEDBACK.mart)}"
            f" where {' and '.join(condition.sql for condition in conditions)}"
            f" group by category order by sum(sales_count) desc, category limit {TOP_CATEGORIES}"
        )
        values = [value for condition in conditions for value in condition.values]
        rows = [
            [name, sales, revenue.quantize(Decimal("0.01"), ROUND_HALF_UP)]
            for name, sales, revenue in store.rows(snapshot, sql, values)
        ]
        about = formats.meta(snapshot.catalog)
        body = formats.records_as_bytes(FEEDBACK.columns, rows, shape, about)
        return body, page_headers("feedback", snapshot.version, shape, None)

    question = json.dumps([category, str(start), str(end)])
    return Question(Key(snapshot.version, "feedback", question, shape.suffix), make)


FEEDBACK = Computed(
    resource="feedback",
    mart="sales_by_category_daily",
    summary="The three categories with most sales, most first, with their revenue",
    formula=(
        "sales_count = sum(sales_count) and revenue = sum(revenue) over the days, rounded last; "
        "most sales first, then by name"
    ),
    parameters=(
        Parameter("category", _TEXT, "Only this category."),
        Parameter("start_date", _DATE, "First day, included."),
        Parameter("end_date", _DATE, "Last day, included."),
    ),
    columns=(
        _column("category", _TEXT, "Category; Unknown when the feed names none."),
        _column("sales_count", _COUNT, "Items sold.", "sum(sales_count)"),
        _column("revenue", _MONEY, "Revenue.", "sum(revenue), rounded last"),
    ),
    example={
        "data": [
            {"category": "clothing", "sales_count": 852, "revenue": 108482.72},
            {"category": "shoes", "sales_count": 350, "revenue": 49769.12},
            {"category": "accessories", "sales_count": 329, "revenue": 42449.33},
        ]
    },
    question=_feedback,
)
