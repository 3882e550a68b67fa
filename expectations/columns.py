"""The columns and types that readers of the marts rely on.

A contract of dbt says what a mart has today; whoever changes the model changes it too. This list
says what must not go away: each suite's `columns`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import great_expectations.expectations as gxe
import pandas as pd

from expectations.suites import Suite


def suite_and_frame(
    suites: Sequence[Suite], relations: Mapping[str, duckdb.DuckDBPyRelation]
) -> tuple[Suite, pd.DataFrame]:
    """One expectation for each mart: that its columns are among what was found.

    Args:
        suites: those whose `columns` are asked for.
        relations: the marts, by name.

    Returns:
        The suite, and a frame with a column for each mart: its columns as `name TYPE`.
    """
    relied_on = {suite.mart: suite.columns for suite in suites if suite.columns}
    found = {
        mart: pd.Series(
            [
                f"{name} {type_}"
                for name, type_ in zip(relations[mart].columns, relations[mart].types, strict=True)
            ]
        )
        for mart in relied_on
    }
    suite = Suite(
        area="quality",
        mart="",
        part="columns",
        expectations=[
            gxe.ExpectColumnDistinctValuesToContainSet(
                column=mart,
                value_set=[f"{name} {type_}" for name, type_ in columns.items()],
                notes="Programs read these columns, of these types.",
            )
            for mart, columns in relied_on.items()
        ],
        areas={suite.mart: suite.area for suite in suites},
    )
    return suite, pd.DataFrame(found)
