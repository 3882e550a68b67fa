"""What the endpoints that are code have in common: how one is described, and exact ratios."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any

from api.answers import Question
from api.catalog import Column
from api.formats import CSV, FORMATS, Format
from api.query import Parameters
from api.snapshots import Snapshot, SnapshotStore


@dataclass(frozen=True)
class Parameter:
    """A parameter, for the documentation.

    Attributes:
        name: its name.
        type: of its value; a single value that it may have, where that is no type.
        description: what it does.
        example: what a form fills in; None: nothing. All examples of an endpoint go together.
    """

    name: str
    type: str
    description: str
    example: str | None = None


@dataclass(frozen=True)
class Computed:
    """An endpoint that is computed from a mart.

    Attributes:
        resource: its path below /api/v1.
        mart: the mart behind it, whose scope it needs.
        summary: one line.
        formula: how its numbers are made.
        parameters: those it knows, `version` apart.
        columns: of its rows; for `metrics` those of the tabular formats.
        example: an answer from the sample data, without `meta`.
        question: understands a request.
        formats: of its answers.
        is_lasting: whether its answer is the same as long as its snapshot is; false where it
            depends on the time.
    """

    resource: str
    mart: str
    summary: str
    formula: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]
    example: Mapping[str, Any]
    question: Callable[[SnapshotStore, Snapshot, Parameters, Format], Question]
    formats: tuple[Format, ...] = FORMATS
    is_lasting: bool = True

    def known(self) -> list[str]:
        """The names of its parameters."""
        excel = ["excel"] if CSV in self.formats else []
        return [parameter.name for parameter in self.parameters] + ["version", *excel]


def rounded(number: Fraction | None) -> Decimal | None:
    """Two decimals, half away from zero; None stays None."""
    if number is None:
        return None
    with localcontext(prec=60):
        quotient = Decimal(number.numerator) / Decimal(number.denominator)
        return quotient.quantize(Decimal("0.01"), ROUND_HALF_UP)


def change_pct(new: Fraction | None, old: Fraction | None) -> Decimal | None:
    """100 x (new - old) / old, from numbers that are not rounded; None without a base."""
    if new is None or not old:
        return None
    return rounded(100 * (new - old) / old)
