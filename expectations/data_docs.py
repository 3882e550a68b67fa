"""Data Docs: a static site about one run of the suites, that opens from the file system.

Great Expectations' own site loads its styles, fonts and scripts from elsewhere, and does not escape
every value. The sentences here are those of its renderers; the pages are ours, without scripts.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Real
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
from great_expectations.core import (
    ExpectationSuite,
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metadata_types import FailureSeverity
from great_expectations.expectations.registry import get_renderer_impl
from great_expectations.render import LegacyRendererType, RenderedStringTemplateContent
from markupsafe import Markup, escape

from warehouse.docs_site import replaced_folder, template_environment

HERE = Path(__file__).resolve().parent
VALUES_SHOWN = 5  # unexpected values of an expectation
LONGEST_VALUE = 200  # characters of a value

FAILED, WARNING, NOT_EVALUATED, PASSED = "failed", "warning", "not evaluated", "passed"
_WORST_FIRST = (FAILED, WARNING, NOT_EVALUATED, PASSED)

# Their observed value is a cell of the column.
_OBSERVES_A_CELL = ("expect_column_max_to_be_between", "expect_column_min_to_be_between")


@dataclass(frozen=True)
class SuiteOutcome:
    """What became of one suite.

    Attributes:
        suite: such as `shop.daily_sales`.
        area: `shop`, `marketing`, `marketplace`, `hiring` or `quality`.
        mart: the relation that was looked at; empty for a suite about several.
        rows: rows that it has.
        rows_checked: rows that were looked at; fewer than `rows`: a sample.
        show_values: whether values of the data may be shown; False where they are about people.
        result: what Great Expectations found; None: nothing could be evaluated.
        suite_definition: the expectations; those without a result were not evaluated.
        why_not: why those were not; empty: there was nothing to look at.
        only_row: the values of a frame of one row, by column; empty where there are more.
    """

    suite: str
    area: str
    mart: str
    rows: int
    rows_checked: int
    show_values: bool
    result: ExpectationSuiteValidationResult | None
    suite_definition: ExpectationSuite
    why_not: str = ""
    only_row: Mapping[str, object] = field(default_factory=dict)


def write_data_docs(
    outcomes: Sequence[SuiteOutcome],
    folder: Path,
    *,
    run_id: str,
    made_at: datetime,
    has_sample: bool = False,
) -> None:
    """Write the pages of a run in place of those of the run before; all of them or none.

    `index.html` has the outcome and the suites, each suite has a page of its own.

    Args:
        outcomes: what became of each suite.
        folder: where the site goes; made when missing.
        run_id: names the run.
        made_at: when it was, with a time zone.
        has_sample: whether the sample is in the numbers.

    Raises:
        FolderError: the folder holds files that are not of an older site.
        OSError: the folder cannot be written.
        ValueError: a suite has results of expectations that its definition lacks.
    """
    environment = template_environment(HERE / "templates")
    suites = [_describe(outcome) for outcome in outcomes]
    pages = _file_names([outcome.suite for outcome in outcomes])
    for suite, page in zip(suites, pages, strict=True):
        suite["page"] = page
    context = {
        "run_id": run_id,
        "made_at": made_at.astimezone(UTC),
        "has_sample": has_sample,
    }
    with replaced_folder(folder) as new:
        (new / "style.css").write_bytes((HERE / "static" / "style.css").read_bytes())
        for suite in suites:
            page = environment.get_template("suite.html.j2").render(suite=suite, **context)
            (new / suite["page"]).write_text(page, encoding="utf-8")
        index = environment.get_template("index.html.j2").render(
            areas=_by_area(suites), **_total(suites), **context
        )
        (new / "index.html").write_text(index, encoding="utf-8")


def _file_names(suites: Sequence[str]) -> list[str]:
    """A file name for each suite: safe everywhere, and another one for each."""
    taken = {"index.html"}
    names = []
    for suite in suites:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", suite).strip("._")[:100] or "suite"
        name, number = f"{stem}.html", 1
        while name.casefold() in taken:  # some file systems know no case
            number += 1
            name = f"{stem}-{number}.html"
        taken.add(name.casefold())
        names.append(name)
    return names


# ---------------------------------------------------------------------------- what is shown


def _describe(outcome: SuiteOutcome) -> dict[str, Any]:
    """A suite as the templates show it."""
    answers: dict[str, list[ExpectationValidationResult]] = {}
    for found in outcome.result.results if outcome.result else ():
        assert found.expectation_config is not None  # noqa: S101 - it was just asked
        answers.setdefault(_key(found.expectation_config), []).append(found)
    rows = []
    for expectation in outcome.suite_definition.expectations:
        of_this = answers.get(_key(expectation.configuration))
        answer = of_this.pop(0) if of_this else None
        rows.append(_describe_expectation(expectation.configuration, answer, outcome))
    if any(answers.values()):
        raise ValueError(f"{outcome.suite} has results of expectations that it does not define")
    rows.sort(key=lambda row: _WORST_FIRST.index(row["outcome"]))
    counts = Counter(row["outcome"] for row in rows)
    return {
        "name": outcome.suite,
        "area": outcome.area,
        "mart": outcome.mart,
        "rows": outcome.rows,
        "rows_checked": outcome.rows_checked,
        "is_sampled": outcome.rows_checked < outcome.rows,
        "show_values": outcome.show_values,
        "outcome": _worst(counts),
        "expectations": rows,
        "counts": counts,
        "why_not": _why_not(outcome),
    }


def _worst(counts: Counter[str]) -> str:
    """The outcome of several expectations; what was not evaluated speaks only when all was not."""
    return next(
        (outcome for outcome in (FAILED, WARNING, PASSED) if counts[outcome]), NOT_EVALUATED
    )


def _key(configuration: ExpectationConfiguration) -> str:
    """What is the same in an expectation of a suite and in its result."""
    said = [configuration.type, _asked(configuration), _severity(configuration)]
    return json.dumps([*said, configuration.notes], default=str, sort_keys=True)


def _asked(configuration: ExpectationConfiguration) -> dict[str, Any]:
    return {key: value for key, value in configuration.kwargs.items() if key != "batch_id"}


def _severity(configuration: ExpectationConfiguration) -> str:
    return FailureSeverity(configuration.severity).value


def _why_not(outcome: SuiteOutcome) -> str:
    return outcome.why_not or ("there are no values" if outcome.rows else "there are no rows")


def _describe_expectation(
    configuration: ExpectationConfiguration,
    answer: ExpectationValidationResult | None,
    outcome: SuiteOutcome,
) -> dict[str, Any]:
    severity = _severity(configuration)
    notes = configuration.notes or ()
    row = {
        "sentence": _sentence(configuration),
        "notes": [notes] if isinstance(notes, str) else list(notes),
        "severity": severity,
        "observed": "",
        "values": [],
        "of_the_first": 0,
        "values_hidden": False,
    }
    if answer is None:
        return row | {"outcome": NOT_EVALUATED, "observed": _why_not(outcome)}
    if answer.success:
        row["outcome"] = PASSED
    else:
        row["outcome"] = FAILED if severity == "critical" else WARNING
    return row | _observed(configuration, answer, outcome)


def _observed(
    configuration: ExpectationConfiguration,
    answer: ExpectationValidationResult,
    outcome: SuiteOutcome,
) -> dict[str, Any]:
    """What was found: in words, with the first unexpected values and how often each is there."""
    show_values = outcome.show_values
    raised = list(faults(answer.exception_info))
    if raised:
        # The message may quote a cell.
        return {"observed": "; ".join(raised) if show_values else "it could not be evaluated"}
    found: Mapping[str, Any] = answer.result
    unexpected = [
        value for value in found.get("partial_unexpected_list") or () if not _is_missing(value)
    ]
    counted = Counter(map(shown, unexpected))
    values = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:VALUES_SHOWN]
    missing = [shown(value) for value in found.get("partial_missing_list") or ()]
    count = found.get("unexpected_count", 0)
    value = found.get("observed_value")
    column = configuration.kwargs.get("column", "")
    if value is not None and not (show_values or _is_safe(configuration.type, value)):
        observed = "not shown"
    elif value is not None:
        observed = shown(value)
    elif column in outcome.only_row and show_values:
        observed, values = shown(outcome.only_row[column]), []
    elif "missing_count" in found and "element_count" not in found:
        observed = f"without {', '.join(missing)}" if missing else "all of them"
    elif "element_count" in found:
        observed = _counted(count, found["element_count"], found.get("missing_count", 0))
    else:
        observed = f"{count:,} unexpected {'value' if count == 1 else 'values'}" if count else ""
    return {
        "observed": observed,
        "values": values if show_values else [],
        "of_the_first": len(unexpected) if len(unexpected) < count else 0,
        "values_hidden": bool(values) and not show_values,
    }


def _counted(otherwise: int, rows: int, without_value: int) -> str:
    if otherwise:
        words = f"{otherwise:,} of {rows:,} rows are otherwise"
    else:
        words = "the only row" if rows == 1 else f"all {rows:,} rows"
    return f"{words}, {without_value:,} without a value" if without_value else words


def _is_safe(type_: str, value: object) -> bool:
    """Whether an observed value tells nothing about a single person: it is a count, or a mean."""
    return isinstance(value, Real) and type_ not in _OBSERVES_A_CELL


def faults(info: Mapping[str, Any]) -> Iterator[str]:
    """The messages of what was raised; Great Expectations keeps one, or one for each metric."""
    for entry in [info] if "raised_exception" in info else info.values():
        if entry["raised_exception"]:
            yield " ".join(str(entry["exception_message"]).split())


def _sentence(configuration: ExpectationConfiguration) -> Markup:
    """An expectation in the words of Great Expectations, with its values marked."""
    if configuration.description:
        return escape(configuration.description)
    # Those of its Data Docs; its "atomic" ones say the same and take a hundred times as long.
    renderer = get_renderer_impl(configuration.type, LegacyRendererType.PRESCRIPTIVE)
    assert renderer is not None  # noqa: S101 - every expectation has one
    said = renderer.renderer(configuration=configuration)
    if not (isinstance(said, list) and isinstance(said[0], RenderedStringTemplateContent)):
        words = configuration.type.replace("_", " ")  # it would be a table
        return Markup("{}: <code>{}</code>").format(words, shown(_asked(configuration)))
    parts = said[0].string_template
    values = {
        name: Markup("<code>{}</code>").format(shown(value))
        for name, value in parts["params"].items()
    }
    return Markup(Template(str(escape(parts["template"]))).safe_substitute(values))  # noqa: S704


def shown(value: object) -> str:
    """A value as people write it: six digits of a fraction, no time of a whole day, never long."""
    if _is_missing(value):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Real):
        number = float(value)
        return f"{number:.6g}" if number % 1 or math.isinf(number) else f"{number:.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(item)}" for name, item in value.items())
    if isinstance(value, list | tuple | set):
        return ", ".join(map(shown, value))
    text = str(value).removesuffix("T00:00:00").removesuffix(" 00:00:00")
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


# ---------------------------------------------------------------------------- the first page


def _by_area(suites: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The suites of each area; failed ones first, and so are the areas that have any."""

    def place(suite: dict[str, Any]) -> int:
        return _WORST_FIRST.index(suite["outcome"])

    areas: dict[str, list[dict[str, Any]]] = {}
    for suite in suites:
        areas.setdefault(suite["area"], []).append(suite)
    found = [(area, sorted(of_area, key=place)) for area, of_area in areas.items()]
    nothing_wrong = _WORST_FIRST.index(NOT_EVALUATED)
    return sorted(found, key=lambda item: min(place(item[1][0]), nothing_wrong))


def _total(suites: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counts: Counter[str] = sum((suite["counts"] for suite in suites), Counter())
    return {
        "counts": counts,
        "outcome": _worst(counts),
        "sampled": sum(
            suite["counts"].total() - suite["counts"][NOT_EVALUATED]
            for suite in suites
            if suite["is_sampled"]
        ),
        "suites": len(suites),
    }
