"""The limit: the same marts in one DuckDB script, with nothing of a warehouse around it.

`limit.sql` reads the large sets of `seeds/generate_data.py` with the types given and makes the
marts in one process. It says how fast the engine can be; what the warehouse costs above that are
its contracts, its record of rejected rows, its log of files, and its layers. The seconds are those
from opening the new database file to its last checkpoint, without the start of Python.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import duckdb

SCRIPT = Path(__file__).with_name("limit.sql")

FEEDS = (
    *("ads_spend", "customers", "products", "orders", "order_items", "fx_rates", "sales"),
    *("countries", "departments", "jobs", "hired_employees"),
)

# The marts and their grain. That of order_lines is the line of the file, which the baselines do not
# read: there are equal lines, and they agree in all columns.
MARTS: dict[str, tuple[str, ...]] = {
    "ads_performance_daily": ("date", "platform", "account", "campaign", "country", "device"),
    "order_lines": ("order_id", "product_id", "quantity"),
    "daily_sales": ("date",),
    "product_metrics": ("product_id",),
    "product_daily_growth": ("product_id", "date"),
    "category_metrics": ("category",),
    "customer_lifetime_value": ("customer_id",),
    "order_kpis": (),
    "sales_by_category_daily": ("date", "category"),
    "country_contribution": ("id_country",),
    "country_relationships": ("id_country_a", "id_country_b"),
    "repeat_buyer_revenue": ("month",),
    "hires_by_quarter": ("year", "department_id", "job_id"),
    "departments_above_mean": ("year", "id"),
}

LEFT_OUT = {"order_lines": frozenset({"source_file", "source_line"})}


class UnusableError(Exception):
    """A folder or file cannot be used; the message is one line."""


class Parser(argparse.ArgumentParser):
    """A parser of arguments that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def check_landing(landing: Path) -> None:
    """Check that a folder holds a large set.

    Args:
        landing: The folder, with a folder for each feed.

    Raises:
        UnusableError: The folder or a file in it is missing.
    """
    if not landing.is_dir():
        raise UnusableError(f"{landing} is no folder")
    for feed in FEEDS:
        if not (landing / feed / f"{feed}.csv").is_file():
            raise UnusableError(f"{landing} has no {feed}/{feed}.csv")


def peak_mib() -> float:
    """The most memory that this process ever had, in MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def make_marts(
    landing: Path, database: Path, threads: int = 2, memory_limit: str = "4GiB"
) -> float:
    """Make a new database with the marts.

    Args:
        landing: The folder of a large set.
        database: The database file; it must not be there.
        threads: How many threads DuckDB uses.
        memory_limit: How much memory DuckDB uses, such as 4GiB.

    Returns:
        The seconds of the engine.

    Raises:
        UnusableError: An input is missing, or the database is there, or cannot be.
    """
    check_landing(landing)
    if database.exists():
        raise UnusableError(f"{database} is there already")
    if not database.parent.is_dir():
        raise UnusableError(f"{database.parent} is no folder")
    script = SCRIPT.read_text(encoding="utf-8")
    settings: dict[str, str | bool | int | float | list[str]]
    settings = {"threads": threads, "memory_limit": memory_limit}
    started = time.perf_counter()
    with duckdb.connect(str(database), config=settings) as connection:
        connection.execute("set enable_progress_bar = false")
        connection.execute("set variable landing = $folder", {"folder": str(landing)})
        connection.execute(script)
    return time.perf_counter() - started


def columns_of(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """The columns of a relation and their types."""
    rows = connection.execute(f"describe select * from {relation}").fetchall()
    return {row[0]: row[1] for row in rows}


def surplus(
    connection: duckdb.DuckDBPyConnection, query: str, other: str
) -> tuple[int, tuple[object, ...]]:
    """How many rows of a query another one lacks, counted with repeats, and the first of them."""
    found = connection.execute(
        f"select count(*) over (), * from ({query} except all {other}) order by all limit 1"
    ).fetchone()
    return (found[0], found[1:]) if found else (0, ())


def differences(limit_database: Path, warehouse_database: Path) -> list[str]:
    """Compare the marts of both databases, value by value.

    Args:
        limit_database: The database that `make_marts` made.
        warehouse_database: The one that dbt made from the same files.

    Returns:
        A line for each difference; none when the marts are equal.
    """
    found: list[str] = []
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        connection.execute(f"attach '{limit_database}' as limited (read_only)")
        connection.execute(f"attach '{warehouse_database}' as warehouse (read_only)")
        for mart in MARTS:
            found += mart_differences(connection, mart)
    return found


def mart_differences(connection: duckdb.DuckDBPyConnection, mart: str) -> list[str]:
    """Compare one mart of the attached databases `limited` and `warehouse`."""
    try:
        ours = columns_of(connection, f"limited.marts.{mart}")
        theirs = columns_of(connection, f"warehouse.marts.{mart}")
    except duckdb.CatalogException as error:
        return [f"{mart}: {str(error).splitlines()[0]}"]
    for column in LEFT_OUT.get(mart, ()):
        theirs.pop(column, None)
    found = [
        f"{mart}.{column}: {ours.get(column, 'missing')} in the limit, "
        f"{theirs.get(column, 'missing')} in the warehouse"
        for column in sorted(ours.keys() | theirs.keys())
        if ours.get(column) != theirs.get(column)
    ]
    names = ", ".join(f'"{column}"' for column in theirs if column in ours)
    if not names:
        return found
    limited = f"select {names} from limited.marts.{mart}"
    warehouse = f"select {names} from warehouse.marts.{mart}"
    for where, query, other in (
        ("limit", limited, warehouse),
        ("warehouse", warehouse, limited),
    ):
        count, example = surplus(connection, query, other)
        if count:
            found.append(f"{mart}: {count:,} rows are only in the {where}, such as {example}")
    return found


def say_what_it_took(parser: Parser, make: Callable[[], float]) -> int:
    """Make the marts and print one line of JSON; 2 when an input cannot be used."""
    try:
        seconds = make()
    except UnusableError as error:
        parser.error(str(error))
    print(json.dumps({"seconds": round(seconds, 3), "peak_mib": peak_mib()}))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the marts and print one line of JSON; 2 when an input cannot be used."""
    parser = Parser(prog="python -m benchmarks.limit", description=__doc__)
    parser.add_argument("landing", type=Path, help="folder of a large set")
    parser.add_argument("database", type=Path, help="database file to make")
    parser.add_argument("--threads", type=int, default=2, help="threads of DuckDB (2)")
    parser.add_argument("--memory-limit", default="4GiB", help="memory of DuckDB (4GiB)")
    options = parser.parse_args(arguments)
    return say_what_it_took(
        parser,
        lambda: make_marts(
            options.landing, options.database, options.threads, options.memory_limit
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
