"""What is expected of the state of the feeds: how much of what came in may be rejected."""

from __future__ import annotations

import great_expectations.expectations as gxe

from expectations.suites import WARNING, Suite, at_least, between, trimmed

FEED_HEALTH = Suite(
    area="quality",
    mart="feed_health",
    columns={
        "feed": "VARCHAR",
        "files": "BIGINT",
        "rows_read": "BIGINT",
        "rows_accepted": "BIGINT",
        "rows_rejected": "BIGINT",
        "unknown_references": "BIGINT",
        "rows_on_hold": "BIGINT",
        "has_sample": "BOOLEAN",
        "first_date": "DATE",
        "last_date": "DATE",
        "last_loaded_at": "TIMESTAMP",
    },
    query="""
        select
            *,
            cast(rows_rejected as double) / nullif(rows_read, 0) as rejected_share,
            cast(unknown_references as double) / nullif(rows_accepted, 0) as unknown_per_row,
            cast(rows_on_hold as double) / nullif(rows_accepted, 0) as on_hold_share
        from mart
    """,
    expectations=[
        gxe.ExpectColumnValuesToBeUnique(column="feed"),
        gxe.ExpectColumnValuesToMatchRegex(column="feed", regex=r"^[a-z][a-z_]*$"),
        at_least("last_date", "first_date"),
        between("rejected_share", 0, 0.5, severity=WARNING, notes="Of the rows of each feed."),
        between("unknown_per_row", 0, 0.5, severity=WARNING, notes="References to nothing."),
        between("on_hold_share", 0, 0.05, severity=WARNING, notes="Lines of rejected headers."),
    ],
)

REJECTED_ROWS = Suite(
    area="quality",
    mart="rejected_rows",
    show_values=False,
    columns={
        "feed": "VARCHAR",
        "area": "VARCHAR",
        "file": "VARCHAR",
        "line_number": "BIGINT",
        "reasons": "VARCHAR[]",
        "record": "VARCHAR",
    },
    expectations=[
        *trimmed("file"),
        between("line_number", 1, None),
        gxe.ExpectColumnValuesToBeJsonParseable(column="record"),
    ],
)

SUITES = (FEED_HEALTH, REJECTED_ROWS)
