"""What a contract accepts, every mart can carry.

The rows come from the contracts: for each column the least and the largest value, the longest
text, the first and the last instant, each in a row of its own; then a row of all the least, and a
thousand rows of all the largest, which refer to each other. So a new column is covered by itself.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from tests.support import Project

LARGEST_ROWS = 1_000
LONGEST_TEXT = 1_000  # characters
BITS = {"integer": 31, "bigint": 63}
# What makes rows meet: the models look at rates of one pair of currencies alone.
SPECIAL = {"from_currency": "BRL", "to_currency": "USD"}

Row = dict[str, str]


def least_and_largest(column: Mapping[str, Any]) -> tuple[str, str]:
    """The first and the last value that the contract accepts."""
    meta, kind = column["config"]["meta"], column["data_type"]
    if kind == "text":
        accepted = meta.get("accepted_values", ["x", "\u00ff" * 40])
        return accepted[0], accepted[-1]
    if kind in ("date", "timestamp"):
        first, last = meta.get("minimum", "1900-01-01"), meta.get("maximum", "2099-12-31")
        if kind == "date":
            return first, last
        # Where the years alone bound it, an offset still moves it over the edge.
        edge = "" if "minimum" in meta else "+14:00"
        return f"{first}T00:00:00{edge}", f"{last}T23:59:59.999999999"
    if kind in BITS:
        step, largest = Decimal(1), Decimal(2 ** BITS[kind] - 1)
        least = -largest - 1
    else:
        precision, scale = (int(part) for part in kind[len("decimal(") : -1].split(","))
        step = Decimal(1).scaleb(-scale)
        largest = Decimal(10) ** (precision - scale) - step
        least = -largest
    least = Decimal(str(meta.get("minimum", least)))
    if "exclusive_minimum" in meta:
        least = Decimal(str(meta["exclusive_minimum"])) + step
    largest = Decimal(str(meta.get("maximum", largest)))
    return f"{least:f}", f"{largest:f}"


class Extremes:
    """The rows of one feed."""

    def __init__(self, source: Mapping[str, Any], last_order_day: str) -> None:
        self.columns: list[Mapping[str, Any]] = list(source["columns"].values())
        self.key: list[str] = source["config"]["meta"]["feed"].get("key", [])
        self.feed: str = source["name"]
        self._last_order_day = last_order_day
        self._rows = 0

    def rows(self) -> Iterator[Row]:
        """All of them."""
        for column in self.columns:
            name = column["name"]
            values = list(least_and_largest(column))
            if column["data_type"] == "text" and "accepted_values" not in column["config"]["meta"]:
                values.append("\u00ff" * LONGEST_TEXT)
            for value in values:
                yield self._row(1) | ({} if name in self.key else {name: value})
                if name in self.key:
                    yield self._row(1) | {name: value}
        yield self._row(0)
        for _ in range(LARGEST_ROWS):
            yield self._row(1)
        # The one that all the largest rows of other feeds refer to.
        yield self._row(1) | {name: self._first_key(name) for name in self.key}
        if self.feed == "fx_rates":
            yield self._row(1) | {"rate_date": self._last_order_day}

    def _row(self, which: int) -> Row:
        """A row of all the least (0) or all the largest values (1) and a new key."""
        self._rows += 1
        row = {}
        for column in self.columns:
            name = column["name"]
            row[name] = least_and_largest(column)[which]
            if "references" in column["config"]["meta"]:
                row[name] = self._first_key(name)
            elif name in SPECIAL:
                row[name] = SPECIAL[name]
            elif name in self.key:
                row[name] = self._new_key(column)
        return row

    def _first_key(self, name: str) -> str:
        if name in SPECIAL:
            return SPECIAL[name]
        types = {column["name"]: column["data_type"] for column in self.columns}
        return {"text": "first", "date": "2049-12-01"}.get(types[name], "1")

    def _new_key(self, column: Mapping[str, Any]) -> str:
        if column["data_type"] == "date":
            return f"{1900 + self._rows // 28 % 140:04}-02-{self._rows % 28 + 1:02}"
        return str(1_000_000 + self._rows) if column["data_type"] in BITS else f"k{self._rows}"


def as_csv(rows: list[Row]) -> str:
    """Rows as the text of a file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def test_every_value_that_a_contract_accepts_passes_every_model(
    project: Project, built: Project
) -> None:
    sources = [
        source
        for source in built.manifest()["sources"].values()
        if source["source_name"] == "landing"
    ]
    orders = next(source for source in sources if source["name"] == "orders")
    last_order = least_and_largest(orders["columns"]["order_date"])[1]
    landed = {}
    for source in sources:
        rows = list(Extremes(source, last_order[:10]).rows())
        landed[source["name"]] = len(rows)
        project.land(f"{source['name']}/extremes.csv", as_csv(rows))

    # Midnight is in another year there.
    settings = {"WAREHOUSE_SAMPLE_DATA": "0"}
    outcome = project.build("--vars", "business_timezone: Pacific/Kiritimati", **settings)

    rejected = project.query(
        "select feed, left(cast(reasons as varchar), 200), count(*) from marts.rejected_rows "
        "where file like 'landing/%' group by all"
    )
    # The suites of expectations ask whether a table as a whole is plausible; this one is not.
    failed = [line for line in outcome.lines if line.startswith(("failed: ", "error: "))]
    assert failed
    assert all("expectation" in line for line in failed), failed
    assert rejected == []
    health = project.query("select feed, rows_read, rows_accepted from marts.feed_health")
    for feed, rows_read, rows_accepted in health:
        if feed != "fx_rates":  # whose reference seed comes on top
            assert (rows_read, rows_accepted) == (landed[feed], landed[feed]), feed
