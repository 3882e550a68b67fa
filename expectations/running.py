"""Run the suites on pandas frames, and say what came of each expectation.

models/quality/expectation_results.py calls `run`. Great Expectations takes seconds to import, so
nothing but the build may import this module.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import great_expectations as gx
import pandas as pd
import pyarrow as pa
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.expectations import Expectation

from expectations import (
    columns,
    drift,
    hiring,
    marketing,
    marketplace,
    quality,
    shop,
)
from expectations.data_docs import SuiteOutcome, faults, shown, write_data_docs
from expectations.suites import Suite
from warehouse.published import PublishedFolder
from warehouse.settings import read_settings

AREAS = (marketing, shop, marketplace, hiring, quality)
SUITES: tuple[Suite, ...] = tuple(suite for area in AREAS for suite in area.SUITES)

# What the mart expectation_results is made of.
SCHEMA = pa.schema(
    [
        ("suite", pa.string()),
        ("area", pa.string()),
        ("mart", pa.string()),
        ("position", pa.int64()),
        ("expectation", pa.string()),
        ("column", pa.string()),
        ("expected", pa.string()),
        ("severity", pa.string()),
        ("success", pa.bool_()),
        ("observed", pa.string()),
        ("rows_checked", pa.int64()),
        ("is_sampled", pa.bool_()),
    ]
)

EXAMPLES = 3  # unexpected values in `observed`
# Those that say something about rows that lack the value.
_ABOUT_NULLS = (
    "expect_column_values_to_not_be_null",
    "expect_column_proportion_of_non_null_values_to_be_between",
)


@dataclass(frozen=True)
class Frame:
    """What a suite looks at.

    Attributes:
        rows: those of the relation.
        frame: its rows, or some of them, or what a query made of them.
        is_sampled: whether it holds only some of the rows.
    """

    rows: int
    frame: pd.DataFrame
    is_sampled: bool


def context() -> Any:
    """A context in memory, which asks and tells nobody: no files, progress bars or analytics."""
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        ),
    )


def run(
    relations: Mapping[str, duckdb.DuckDBPyRelation], limits: drift.Limits, sample_rows: int
) -> pa.Table:
    """Evaluate every expectation within a build of dbt, and write Data Docs of it.

    Args:
        relations: the marts and the accepted rows of the feeds, by the model's name.
        limits: how far the marts may be from what is published.
        sample_rows: see `check`.

    Returns:
        The rows of expectation_results.
    """
    from dbt_common.invocation import get_invocation_id

    settings = read_settings()
    has_sample = drift.has_sample(relations[drift.FEED_HEALTH])
    published = drift.read_published(PublishedFolder(settings.published), sample_data=has_sample)
    table, outcomes = check(relations, published, limits, sample_rows)
    write_data_docs(
        outcomes,
        settings.data_docs,
        run_id=str(get_invocation_id()),
        made_at=datetime.now(UTC),
        has_sample=has_sample,
    )
    return table


def check(
    relations: Mapping[str, duckdb.DuckDBPyRelation],
    published: drift.Published,
    limits: drift.Limits,
    sample_rows: int,
) -> tuple[pa.Table, list[SuiteOutcome]]:
    """Evaluate every expectation.

    Args:
        relations: the marts and the accepted rows of the feeds, by the model's name.
        published: what readers see now, to compare with.
        limits: how far the marts may be from it.
        sample_rows: rows of a relation that are looked at, where a suite has no query of its own;
            of a larger one a sample is taken, which is marked.

    Returns:
        The rows of expectation_results, and what Data Docs are made of.
    """
    # One asset for all frames: each new one would write the whole configuration anew.
    asset = context().data_sources.add_pandas("warehouse").add_dataframe_asset("frame")
    batches = asset.add_batch_definition_whole_dataframe("all")
    rows: list[dict[str, Any]] = []
    outcomes: list[SuiteOutcome] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for suite in SUITES:
            frame = read_frame(suite, relations[suite.mart], sample_rows)
            _add(rows, outcomes, *evaluate(batches, suite, frame))
        for suite, found in (
            columns.suite_and_frame(SUITES, relations),
            drift.suite_and_frame(relations, published, limits),
        ):
            _add(rows, outcomes, *evaluate(batches, suite, Frame(len(found), found, False)))
    return pa.Table.from_pylist(rows, schema=SCHEMA), outcomes


def _add(
    rows: list[dict[str, Any]],
    outcomes: list[SuiteOutcome],
    new: Sequence[dict[str, Any]],
    outcome: SuiteOutcome,
) -> None:
    rows += new
    outcomes.append(outcome)


# ---------------------------------------------------------------------------- frames


def read_frame(suite: Suite, relation: duckdb.DuckDBPyRelation, sample_rows: int) -> Frame:
    """Read what a suite looks at: no more columns than it names, no more rows than it may."""
    ((rows,),) = relation.aggregate("count(*)").fetchall()
    if suite.query is not None:
        made = _select(relation, "mart", suite.query)
        plain = _select(made, "made", _plain(made, columns_of(suite)))
        return Frame(rows, _fetch(plain), is_sampled=False)
    sql = _plain(relation, columns_of(suite))
    is_sampled = rows > sample_rows
    if is_sampled:
        sql += f" using sample {100 * sample_rows / rows:.9f} percent (bernoulli, 42)"
    return Frame(rows, _fetch(_select(relation, "made", sql)), is_sampled)


def _select(relation: duckdb.DuckDBPyRelation, name: str, sql: str) -> duckdb.DuckDBPyRelation:
    """The rows of a query that sees the relation by this name.

    DuckDB 1.5 finds a view of a view in itself when both have one name.
    """
    found = relation.query(name, sql)
    if found is None:
        raise ValueError(f"not a query: {sql}")
    return found


def _fetch(relation: duckdb.DuckDBPyRelation) -> pd.DataFrame:
    """The rows as a frame, its days and times in nanoseconds where those reach.

    Great Expectations compares nanoseconds a column at a time, and any other unit a row at a time.
    They reach from 1677 to 2262; a column with a day beyond stays as it is.
    """
    frame = relation.df()
    for name in frame.select_dtypes("datetime").columns:
        with suppress(pd.errors.OutOfBoundsDatetime):
            frame[name] = frame[name].astype("datetime64[ns]")
    return frame


def columns_of(suite: Suite) -> set[str]:
    """The columns that the expectations of a suite name."""
    found: set[str] = set()
    for expectation in suite.expectations:
        for key in ("column", "column_A", "column_B"):
            found |= {getattr(expectation, key)} if hasattr(expectation, key) else set()
        found |= set(getattr(expectation, "column_list", ()))
    return found


def _plain(relation: duckdb.DuckDBPyRelation, names: Collection[str]) -> str:
    """A query for these columns with decimals as doubles: objects of Python take too long here.

    Without any of them it is for the first column, since the rows are still counted. That money is
    exact to the cent is tested in SQL.
    """
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    named = [name for name in types if name in names] or relation.columns[:1]
    shown = [
        f'cast("{name}" as double) as "{name}"'
        if types[name].startswith(("DECIMAL", "HUGEINT"))
        else f'"{name}"'
        for name in named
    ]
    return f"select {', '.join(shown)} from made"


# ---------------------------------------------------------------------------- evaluation


def evaluate(
    batches: BatchDefinition[Any], suite: Suite, found: Frame
) -> tuple[list[dict[str, Any]], SuiteOutcome]:
    """Evaluate one suite.

    Args:
        batches: makes a batch of Great Expectations of a frame.
        suite: what is expected.
        found: what it is expected of.

    Returns:
        A row of expectation_results for each expectation, in the order of the suite, and the
        outcome for Data Docs.
    """
    frame = found.frame
    skipped = {
        position: why
        for position, expectation in enumerate(suite.expectations)
        if (why := suite.why_not or _nothing_to_see(expectation, frame))
    }
    definition = gx.ExpectationSuite(
        name=suite.name,
        expectations=[
            expectation.copy(update={"meta": {"position": position}})
            for position, expectation in enumerate(suite.expectations)
            if position not in skipped
        ],
    )
    result: ExpectationSuiteValidationResult | None = None
    answers: dict[int, Any] = {}
    if definition.expectations:
        batch = batches.get_batch({"dataframe": frame})
        result = batch.validate(definition, result_format="SUMMARY")
        for answer in result.results:
            configuration = answer.expectation_config
            assert configuration is not None  # noqa: S101 - it was just asked
            answers[configuration.meta["position"]] = answer
    # Of a summary, its value says more than that one row is as expected.
    only_row = {**(frame.iloc[0].to_dict() if len(frame) == 1 else {}), **suite.observed}
    rows_checked = len(frame) if suite.query is None else found.rows
    rows = [
        {
            "suite": suite.name,
            "area": suite.area_of(mart),
            "mart": mart,
            "position": position + 1,
            "expectation": expectation.expectation_type,
            "column": _column(expectation),
            "expected": _expected(expectation),
            "severity": str(expectation.severity.value),
            "success": None if position in skipped else bool(answers[position].success),
            "observed": f"not evaluated: {skipped[position]}"
            if position in skipped
            else _observed(answers[position], only_row, show_values=suite.show_values),
            "rows_checked": rows_checked,
            "is_sampled": found.is_sampled,
        }
        for position, expectation in enumerate(suite.expectations)
        for mart in [suite.mart or _column(expectation).partition(".")[0]]
    ]
    outcome = SuiteOutcome(
        suite=suite.name,
        area=suite.area,
        mart=suite.mart,
        rows=found.rows,
        rows_checked=rows_checked,
        show_values=suite.show_values,
        result=result,
        suite_definition=gx.ExpectationSuite(
            name=suite.name, expectations=[one.copy() for one in suite.expectations]
        ),
        why_not=suite.why_not,
        only_row=only_row,
    )
    return rows, outcome


def _nothing_to_see(expectation: Expectation, frame: pd.DataFrame) -> str:
    """Why an expectation cannot be evaluated; empty when it can.

    Great Expectations lets a share of no rows pass, and a mean of no values fail. Neither says
    anything about the numbers.
    """
    if frame.empty and not expectation.expectation_type.startswith("expect_table_"):
        return "no rows"
    column = getattr(expectation, "column", None)
    if (
        column in frame.columns
        and expectation.expectation_type not in _ABOUT_NULLS
        and not frame[column].notna().any()
    ):
        return "no values"
    return ""


def _column(expectation: Expectation) -> str:
    """The column, or the columns with commas between; empty for one about the whole table."""
    names = [getattr(expectation, key, None) for key in ("column", "column_A", "column_B")]
    names += getattr(expectation, "column_list", ())
    return ", ".join(name for name in names if name)


# What says how Great Expectations does it, not what is expected.
_NOT_EXPECTED = {
    *("column", "column_A", "column_B", "column_list", "batch_id", "id", "meta", "notes"),
    *("result_format", "catch_exceptions", "rendered_content", "description", "severity"),
    *(
        "windows",
        "row_condition",
        "condition_parser",
        "ignore_row_if",
        "parse_strings_as_datetimes",
    ),
}


def _expected(expectation: Expectation) -> str:
    """The arguments of an expectation that are not as usual: `min_value 0, mostly 0.95`."""
    usual = {name: field.default for name, field in type(expectation).__fields__.items()}
    return ", ".join(
        f"{name} {shown(value)}"
        for name, value in expectation.dict(exclude=_NOT_EXPECTED).items()
        if value is not None and value != usual.get(name)
    )


def _observed(answer: Any, only_row: Mapping[str, Any], *, show_values: bool) -> str:
    """What was found: a value, or how many rows are otherwise, with the first of their values."""
    raised = list(faults(answer.exception_info))
    if raised:
        return f"cannot be evaluated: {'; '.join(raised)}"
    found = answer.result
    if "observed_value" in found:
        return shown(found["observed_value"])
    column = answer.expectation_config.kwargs.get("column")
    if column in only_row and show_values:
        return shown(only_row[column])
    count = found.get("unexpected_count", 0)
    total = found.get("element_count", 0)
    if not count:
        return f"all of {total:,} rows"
    unexpected = dict.fromkeys(map(shown, found.get("partial_unexpected_list", ())))
    examples = [value for value in unexpected if value != shown(None)][:EXAMPLES]
    values = f", such as {', '.join(examples)}" if show_values and examples else ""
    return f"{count:,} of {total:,} rows are otherwise{values}"
