"""Break each mart in many ways, and see what stops the publication.

    python -m tests.quality.mutants FOLDER RESULTS [INDEX...]

runs mutants in FOLDER, a copy of the project that was built and published, and writes what caught
each to the file RESULTS.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.quality.one_process import Warehouse

# A row of ten, or of three, told by what it holds: the same rows in every run, of every DuckDB.
TENTH = "md5_number_lower(concat_ws('|', {0})) % 10 = 0"
THIRD = "md5_number_lower(concat_ws('|', {0})) % 3 = 0"


@dataclass(frozen=True)
class Mutant:
    """A mart that is wrong.

    Attributes:
        mart: the model.
        fault: what is wrong with it.
        select: instead of the model's last line, `select * from {last}`.
    """

    mart: str
    fault: str
    select: str


@dataclass(frozen=True)
class Caught:
    """What stopped a mutant.

    Attributes:
        mart: the model.
        fault: what was wrong with it.
        unit_tests: names of those that failed; of the model or of what reads it.
        data_tests: the same.
        expectations: suite and column of the critical ones that did not hold.
    """

    mart: str
    fault: str
    unit_tests: list[str] = field(default_factory=list)
    data_tests: list[str] = field(default_factory=list)
    expectations: list[str] = field(default_factory=list)


def times_ten(mart: str, column: str, type_: str = "decimal(28, 2)") -> Mutant:
    """A number that is ten times as large."""
    return Mutant(
        mart,
        f"{column} times 10",
        f"select * replace (cast({column} * 10 as {type_}) as {column}) from {{last}}",
    )


def swapped(mart: str, a: str, b: str) -> Mutant:
    """Two columns that changed places."""
    return Mutant(
        mart, f"{a} and {b} swapped", f"select * replace ({b} as {a}, {a} as {b}) from {{last}}"
    )


def null_share(mart: str, column: str, by: str) -> Mutant:
    """A column without its value in a tenth of the rows."""
    return Mutant(
        mart,
        f"{column} null in a tenth of the rows",
        f"select * replace (case when {TENTH.format(by)} then null else {column} end as {column})"
        " from {last}",
    )


def dropped(mart: str, condition: str, fault: str) -> Mutant:
    """Rows that are not there."""
    return Mutant(mart, fault, f"select * from {{last}} where ({condition}) is not true")


def lost_third(mart: str, by: str) -> Mutant:
    """A third of the rows lost."""
    return dropped(mart, THIRD.format(by), "a third lost")


def doubled(mart: str, condition: str, what: str) -> Mutant:
    """A row that is there twice."""
    return Mutant(
        mart,
        f"{what} twice",
        f"select * from {{last}} union all (select * from {{last}} where {condition} limit 1)",
    )


DAY = "date = date '2025-08-19'"

MUTANTS: tuple[Mutant, ...] = (
    times_ten("ads_performance_daily", "spend"),
    times_ten("ads_performance_daily", "roas"),
    dropped("ads_performance_daily", DAY, "a day dropped"),
    swapped("ads_performance_daily", "clicks", "impressions"),
    null_share("ads_performance_daily", "cac", "date, campaign, country, device"),
    lost_third("ads_performance_daily", "date, campaign, country, device"),
    times_ten("order_lines", "quantity", "bigint"),
    dropped("order_lines", DAY, "a day dropped"),
    doubled("order_lines", "is_sale", "a line"),
    swapped("order_lines", "order_id", "product_id"),
    null_share("order_lines", "total_price_usd", "source_line"),
    lost_third("order_lines", "source_line"),
    times_ten("daily_sales", "total_sales"),
    dropped("daily_sales", DAY, "a day dropped"),
    swapped("daily_sales", "order_count", "units"),
    null_share("daily_sales", "total_sales_usd", "date"),
    lost_third("daily_sales", "date"),
    times_ten("product_metrics", "revenue"),
    swapped("product_metrics", "units_sold", "order_count"),
    doubled("product_metrics", "units_rank = 1", "the best product"),
    null_share("product_metrics", "last_sale_date", "product_id"),
    lost_third("product_metrics", "product_id"),
    times_ten("product_daily_growth", "units", "bigint"),
    dropped("product_daily_growth", DAY, "a day dropped"),
    swapped("product_daily_growth", "units", "units_previous_day"),
    null_share("product_daily_growth", "growth", "date, product_id"),
    times_ten("category_metrics", "revenue_usd"),
    swapped("category_metrics", "units_sold", "order_count"),
    lost_third("category_metrics", "category"),
    doubled("customer_lifetime_value", "spend_rank = 1", "a customer"),
    times_ten("customer_lifetime_value", "total_spent"),
    swapped("customer_lifetime_value", "first_order_date", "last_order_date"),
    null_share("customer_lifetime_value", "average_order_value", "customer_id"),
    lost_third("customer_lifetime_value", "customer_id"),
    times_ten("order_kpis", "average_ticket"),
    times_ten("order_kpis", "top_product_units", "bigint"),
    swapped("order_kpis", "top_product", "fastest_growing_product"),
    times_ten("sales_by_category_daily", "revenue", "decimal(28, 6)"),
    dropped("sales_by_category_daily", DAY, "a day dropped"),
    null_share("sales_by_category_daily", "category", "date, category"),
    lost_third("sales_by_category_daily", "date, category"),
    times_ten("country_contribution", "revenue_pct"),
    swapped("country_contribution", "revenue_pct", "items_pct"),
    null_share("country_contribution", "continent", "id_country"),
    lost_third("country_contribution", "id_country"),
    times_ten("country_relationships", "combined_revenue"),
    swapped("country_relationships", "country_a", "country_b"),
    lost_third("country_relationships", "id_country_a, id_country_b"),
    times_ten("repeat_buyer_revenue", "week1_revenue"),
    dropped("repeat_buyer_revenue", "month = '2025-06'", "a month dropped"),
    swapped("repeat_buyer_revenue", "week1_revenue", "week2_revenue"),
    times_ten("hires_by_quarter", "q4", "bigint"),
    swapped("hires_by_quarter", "q1", "q2"),
    doubled("hires_by_quarter", "year = 2025", "a row"),
    lost_third("hires_by_quarter", "year, department, job"),
    times_ten("departments_above_mean", "hired", "bigint"),
    null_share("departments_above_mean", "is_above_mean", "year, id"),
    lost_third("departments_above_mean", "year, id"),
    times_ten("feed_health", "rows_rejected", "bigint"),
    swapped("feed_health", "rows_read", "rows_accepted"),
    lost_third("feed_health", "feed"),
    doubled("rejected_rows", "feed = 'orders'", "a row"),
    null_share("rejected_rows", "record", "feed, line_number"),
    lost_third("rejected_rows", "feed, line_number"),
)


def mutate(sql: str, mutant: Mutant) -> str:
    """The model with its last line replaced.

    Raises:
        AssertionError: the model does not end with `select * from <its last step>`.
    """
    head, _, last_line = sql.rstrip().rpartition("\n")
    last = last_line.removeprefix("select * from ")
    if not last.isidentifier():
        raise AssertionError(f"{mutant.mart} ends with {last_line!r}")
    return f"{head}\n{mutant.select.format(last=last)}\n"


class Laboratory:
    """Examines mutants, each on a copy of the same good database.

    Args:
        folder: the copy of the project; it becomes the working directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._warehouse = Warehouse(folder)
        self._good = folder / "build/good.duckdb"
        shutil.copy2(self._warehouse.database, self._good)

    def examine(self, mutant: Mutant) -> Caught:
        """Build the mutant and what reads it, and ask every test; then undo all of it."""
        (path,) = (self._folder / "models").rglob(f"{mutant.mart}.sql")
        good = path.read_text()
        path.write_text(mutate(good, mutant))
        caught = Caught(mutant.mart, mutant.fault)
        reads = f"{mutant.mart}+"
        try:
            built = self._dbt("run", "--select", reads, "--exclude", "publication")
            if faults := [name for name, status in built if status not in ("success", "no-op")]:
                raise AssertionError(f"{mutant} is no mutant: {', '.join(faults)} cannot be built")
            for name, status in self._dbt("test", "--select", reads):
                if status not in ("pass", "warn", "skipped"):
                    kind, _, *rest = name.split(".")
                    test = rest[1] if kind == "unit_test" else rest[0]
                    if test != "expectations_hold":  # its rows are told apart
                        (caught.unit_tests if kind == "unit_test" else caught.data_tests).append(
                            test
                        )
            caught.expectations.extend(self._failed_expectations())
        finally:
            path.write_text(good)
            self._restore()
        return caught

    def _dbt(self, *arguments: str) -> list[tuple[str, str]]:
        """Run dbt; unique id and status of each node."""
        results = self._warehouse.dbt(*arguments)
        return [(result.node.unique_id, str(result.status)) for result in results]

    def _failed_expectations(self) -> list[str]:
        return [
            text
            for (text,) in self._warehouse.query(
                "select suite || ': ' || \"column\" from marts.expectation_results"
                " where not success and severity = 'critical' order by suite, position"
            )
        ]

    def _restore(self) -> None:
        self._warehouse.close()
        shutil.copy2(self._good, self._warehouse.database)


def as_line(caught: Caught) -> str:
    """The line of docs/quality.md."""

    def cell(names: Sequence[str]) -> str:
        if not names:
            return ""
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{min(names)}{more}"

    cells = (cell(caught.unit_tests), cell(caught.data_tests), cell(caught.expectations))
    return f"| {caught.mart} | {caught.fault} | {' | '.join(cells)} |"


def run_mutants(folder: Path, indexes: Sequence[int]) -> list[Caught]:
    """Examine these mutants one after the other."""
    laboratory = Laboratory(folder)
    return [laboratory.examine(MUTANTS[index]) for index in indexes]


if __name__ == "__main__":
    chosen = [int(text) for text in sys.argv[3:]] or list(range(len(MUTANTS)))
    caught = run_mutants(Path(sys.argv[1]).resolve(), chosen)
    Path(sys.argv[2]).write_text(json.dumps([asdict(each) for each in caught], indent=1))
