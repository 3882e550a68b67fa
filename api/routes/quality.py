"""What is asked to know whether the numbers can be trusted: their quality, and the builds so far.

Both answers change while the snapshot stays the same, since ages grow and builds fail. Nobody keeps
them, neither the server nor, as their headers say, anybody on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from flask import Blueprint, Response, current_app, request

from api import formats
from api.answers import TRUNCATED, Key, Question, file_headers, rows_allowed, send_unkept
from api.auth import current_token, require
from api.catalog import DEFAULT_LIMIT, Column
from api.computed import Computed, rounded
from api.formats import FORMATS, JSON, Format, for_excel, negotiate, only_json
from api.quality import FEED_HEALTH, LONGEST_TEXT, drift, read_quality
from api.query import Parameters, read_limit
from api.settings import shorten
from api.snapshots import Snapshot, SnapshotStore
from warehouse.history import BuildHistory, BuildRun

SCOPE = "quality"

blueprint = Blueprint("quality", __name__, url_prefix="/api/v1")


# ---------------------------------------------------------------------------- quality


def _quality(
    store: SnapshotStore, snapshot: Snapshot, parameters: Parameters, shape: Format
) -> Question:
    parameters.nothing_else(QUALITY.known())
    only_json(shape, "The quality of a snapshot")
    token = current_token()

    def make() -> tuple[bytes, Mapping[str, str]]:
        quality = read_quality(
            store, snapshot, datetime.now(UTC), lambda mart: rows_allowed(mart, token)[0]
        )
        answer = {
            "status": quality.status,
            "tests": quality.tests,
            "feeds": [feed.shown() for feed in quality.feeds],
            "expectations": quality.expectations and quality.expectations.shown(),
            "drift": drift(store, snapshot.catalog, token.allows),
            "meta": formats.meta(snapshot.catalog),
        }
        return formats.json_text(answer).encode(), {}

    key = Key(snapshot.version, QUALITY.resource, "", shape.suffix, tuple(sorted(token.scopes)))
    return Question(key, make, QUALITY.is_lasting)


QUALITY = Computed(
    resource="quality",
    mart=FEED_HEALTH,
    summary="Whether the numbers can be trusted: tests, feeds, expectations and drift",
    formula=(
        "`status` is the worst of it. `stale`: the newest file of a feed is older than its "
        "`error_after`. `warning`: a test warned, an expectation failed (drift beyond its limits "
        "is one, in the suite `quality.drift`), or a feed is `late`, beyond its `warn_after`. Ages "
        "are of now, whatever the version. A feed is `unknown` when nothing was loaded, "
        "`unchecked` when its contract names no thresholds.\n\n"
        "rejected_pct = 100 x rows_rejected / rows_read; change = 100 x (new - previous) / "
        "previous; two decimals, null without a base. `expectations` is null for a snapshot of a "
        "time before them. `drift` compares with the version that readers saw before; `detail` "
        "says why when there is nothing to compare with. The numbers of a mart in `drift` need its "
        "scope, and are null without it; `expectations.failing` has only the areas whose scope the "
        "token has, its counts are of all.\n\n"
        "JSON only. It has no ETag, and nobody keeps it, since ages grow."
    ),
    parameters=(),
    columns=(),
    example={
        "status": "warning",
        "tests": {
            "data_tests": {"passed": 174, "warned": 0},
            "unit_tests": {"passed": 100},
            "warnings": [],
        },
        "feeds": [
            {
                "feed": "orders",
                "files": 1,
                "rows_read": 2413,
                "rows_accepted": 2389,
                "rows_rejected": 24,
                "unknown_references": 6,
                "rows_on_hold": 0,
                "has_sample": True,
                "first_date": "2024-01-01",
                "last_date": "2025-12-31",
                "last_loaded_at": "2026-01-01T02:00:00Z",
                "rejected_pct": 0.99,
                "freshness": {
                    "status": "fresh",
                    "age_hours": 3.5,
                    "warn_after": {"count": 2, "period": "day"},
                    "error_after": {"count": 7, "period": "day"},
                },
            }
        ],
        "expectations": {
            "evaluated": 1,
            "passed": 0,
            "failed": 1,
            "not_evaluated": 0,
            "sampled": 0,
            "failing": [
                {
                    "suite": "quality.feed_health",
                    "area": "quality",
                    "mart": "feed_health",
                    "position": 4,
                    "expectation": "expect_column_values_to_be_between",
                    "column": "rejected_share",
                    "expected": "min_value 0, max_value 0.5",
                    "severity": "warning",
                    "success": False,
                    "observed": "1 of 11 unexpected: 0.61",
                    "rows_checked": 11,
                    "is_sampled": False,
                }
            ],
        },
        "drift": {
            "previous_version": "20251231T020304Z-4d5e6f70",
            "previous_published_at": "2025-12-31T02:03:04Z",
            "detail": None,
            "marts": [
                {
                    "mart": "daily_sales",
                    "rows": 731,
                    "previous_rows": 730,
                    "rows_change_pct": 0.14,
                    "totals": [
                        {
                            "column": "total_sales",
                            "total": 1203.50,
                            "previous_total": 1200.00,
                            "change_pct": 0.29,
                        }
                    ],
                }
            ],
        },
    },
    question=_quality,
    formats=(JSON,),
    is_lasting=False,
)


# ---------------------------------------------------------------------------- build history

HISTORY_COLUMNS = tuple(
    Column(name, type_, description, formula=None)
    for name, type_, description in (
        ("run_id", "VARCHAR", "dbt's id of the run."),
        ("started_at", "TIMESTAMP", "When it started, UTC."),
        ("command", "VARCHAR", "The command of dbt, such as build."),
        ("outcome", "VARCHAR", "published, not published, or unfinished."),
        ("version", "VARCHAR", "The snapshot that it published; null when it published none."),
        ("reason", "VARCHAR", "Why it published none."),
        ("seconds", "DECIMAL(28,2)", "How long it took."),
        ("rows", "BIGINT", "Rows of the marts that it published."),
        ("tests_passed", "BIGINT", "Data tests and unit tests that passed."),
        ("tests_warned", "BIGINT", "Data tests that warned."),
        ("tests_failed", "BIGINT", "Data tests and unit tests that failed."),
        ("rows_rejected", "BIGINT", "Rows of all feeds that no mart counts."),
        ("contains_sample", "BOOLEAN", "Whether that snapshot was made with the sample in it."),
    )
)
HISTORY_EXAMPLE = {
    "data": [
        {
            "run_id": "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d",
            "started_at": "2026-01-01T02:03:04Z",
            "command": "build",
            "outcome": "not published",
            "version": None,
            "reason": "grain_daily_sales_ failed",
            "seconds": 24.31,
            "rows": None,
            "tests_passed": 173,
            "tests_warned": 0,
            "tests_failed": 1,
            "rows_rejected": 165,
            "contains_sample": None,
        }
    ],
    "meta": {"next": None},
}


@blueprint.get("/build_history")
@blueprint.get(f"/build_history.<any({', '.join(shape.suffix for shape in FORMATS)}):_suffix>")
def build_history(_suffix: str = "") -> Response:
    """The builds so far, newest first, also those that failed; asked of no snapshot."""
    require(SCOPE)
    _, shape = negotiate(request.path, request.environ.get("HTTP_ACCEPT", ""))
    parameters = Parameters(request.args.items(multi=True))
    shape = for_excel(shape, parameters)
    limit = read_limit(parameters, DEFAULT_LIMIT)
    parameters.nothing_else(["limit", "excel"])
    history: BuildHistory = current_app.extensions["build_history"]
    found = history.runs(limit + 1)
    rows = [_row(run) for run in found[:limit]]
    headers = file_headers("build_history", shape) | (TRUNCATED if len(found) > limit else {})
    body = formats.records_as_bytes(HISTORY_COLUMNS, rows, shape, {"next": None})
    return send_unkept(body, shape.suffix, headers.items())


def _row(run: BuildRun) -> list[Any]:
    """A build as a row, in the order of the columns."""
    values = {
        **vars(run),
        "reason": None if run.reason is None else shorten(run.reason, LONGEST_TEXT),
        "started_at": run.started_at.replace(tzinfo=None),  # as columns have it, UTC
        "seconds": None if run.seconds is None else rounded(Fraction(run.seconds)),
    }
    return [values[column.name] for column in HISTORY_COLUMNS]
