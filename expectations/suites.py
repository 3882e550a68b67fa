"""What a suite of expectations is, and the few that several of them share.

The suites themselves stand in one module per area (marketing.py, shop.py, marketplace.py,
hiring.py, quality.py); `expectations.running` runs them.

An expectation of severity `critical` stops the publication when it does not hold: the number is
wrong, or so unlike anything seen that a person must look first. One of severity `warning` is shown
and lets the numbers pass. To change a range, change it in the area's module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

import great_expectations.expectations as gxe
from great_expectations.expectations import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity

CRITICAL, WARNING = FailureSeverity.CRITICAL, FailureSeverity.WARNING

# No business day of any feed lies before it: a year such as 1900 or 0024 is a parser's mistake.
EARLIEST_DAY = datetime(1990, 1, 1)

TRIMMED = r"^\S(?:[\s\S]*\S)?$"


@dataclass(frozen=True)
class Suite:
    """Expectations of one mart, or of the accepted rows of one feed.

    Attributes:
        area: `marketing`, `shop`, `marketplace`, `hiring` or `quality`.
        mart: the dbt model that is looked at.
        expectations: what is expected of the frame, which has the columns that they name.
        part: tells two suites of one mart apart.
        query: SQL that makes the rows of the frame from the relation `mart`; it sees every row.
            None: they are the mart's, a sample of them when there are many.
        columns: names and DuckDB types that readers of the mart rely on; it may have more.
        show_values: whether values that were not expected may be shown; False where they are about
            people.
        observed: of a column of the only row, what to say instead of its value.
        why_not: why nothing of it can be evaluated; empty when it can.
        areas: of a suite about several marts, where `mart` is empty: the area of each.
    """

    area: str
    mart: str
    expectations: Sequence[Expectation]
    part: str = ""
    query: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    show_values: bool = True
    observed: Mapping[str, str] = field(default_factory=dict)
    why_not: str = ""
    areas: Mapping[str, str] = field(default_factory=dict)

    def area_of(self, mart: str) -> str:
        """The area whose numbers a result about a mart tells."""
        return self.areas.get(mart, self.area)

    @property
    def name(self) -> str:
        """Such as `shop.daily_sales`, or `marketing.ads_performance_daily.overall`."""
        return ".".join(filter(None, (self.area, self.mart, self.part)))


def trimmed(*columns: str) -> Iterator[Expectation]:
    """Texts without blanks around them; an empty text is none."""
    for column in columns:
        yield gxe.ExpectColumnValuesToMatchRegex(
            column=column, regex=TRIMMED, notes="Not empty, and without blanks around it."
        )


def filled(
    *columns: str, share: float = 1.0, severity: FailureSeverity = CRITICAL
) -> Iterator[Expectation]:
    """Columns where at least this share of the rows has a value."""
    for column in columns:
        yield gxe.ExpectColumnValuesToNotBeNull(column=column, mostly=share, severity=severity)


def key(column: str) -> Iterator[Expectation]:
    """A column with a value in every row, another one in each."""
    yield from filled(column)
    yield gxe.ExpectColumnValuesToBeUnique(column=column)


def rank(column: str) -> Iterator[Expectation]:
    """Places from 1 on that no two rows share."""
    yield gxe.ExpectColumnValuesToBeUnique(column=column)
    yield gxe.ExpectColumnMinToBeBetween(column=column, min_value=1, max_value=1)


def between(
    column: str,
    low: float | datetime | None,
    high: float | datetime | None,
    *,
    share: float = 1.0,
    severity: FailureSeverity = CRITICAL,
    notes: str = "",
) -> Expectation:
    """Values within these bounds, both included, in at least this share of the rows."""
    return gxe.ExpectColumnValuesToBeBetween(
        column=column,
        min_value=low,
        max_value=high,
        mostly=share,
        severity=severity,
        notes=notes or None,
    )


def at_least(
    larger: str,
    smaller: str,
    *,
    share: float = 1.0,
    severity: FailureSeverity = CRITICAL,
    notes: str = "",
) -> Expectation:
    """Rows where `larger` >= `smaller`; rows that lack one of them do not count."""
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=larger,
        column_B=smaller,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
        mostly=share,
        severity=severity,
        notes=notes or None,
    )


def day(column: str) -> Iterator[Expectation]:
    """Days that can be one: hardly any before `EARLIEST_DAY`, none in the future."""
    yield between(column, EARLIEST_DAY, None, share=0.99)
    yield between(
        column,
        EARLIEST_DAY,
        datetime.combine(date.today() + timedelta(days=2), time()),
        severity=WARNING,
        notes="A day in the future is most often a month and a day that changed places.",
    )
