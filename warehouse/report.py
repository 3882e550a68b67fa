"""The short table for people at the end of a build."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import duckdb

from warehouse.dbt import Run
from warehouse.failures import known_failure
from warehouse.landing.lines import from_record
from warehouse.published import PublishedError, PublishedFolder, what_readers_see
from warehouse.settings import Settings

PERIOD_DAYS = 30
REASONS_SHOWN = 3
UNCHANGED = "UNCHANGED"  # what macros/build/kept_table.sql says of a table that it left alone


class NotBuiltError(Exception):
    """The database is missing, in use, or has no marts; the message says what to do."""


def open_database(settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open the built database for reading.

    Raises:
        NotBuiltError: there is none, another process writes it, or it is no database.
    """
    shown = settings.shown(settings.database)
    if not settings.database.exists():
        raise NotBuiltError(f"there is no database {shown}. Build it: make build")
    try:
        return duckdb.connect(str(settings.database), read_only=True)
    except duckdb.Error as error:
        raise NotBuiltError(known_failure(str(error), settings) or str(error)) from error


def open_built_or_published(settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open the built database; where that cannot be, the snapshot that readers see, and say so.

    Raises:
        NotBuiltError: neither can be opened; it says what is wrong with the database.
    """
    try:
        return open_database(settings)
    except NotBuiltError as error:
        try:
            connection = open_published(settings)
        except NotBuiltError:
            raise error from None
        seen = what_readers_see(settings.published)
        print(f"note: {error}\nnote: these are published numbers: {seen}", file=sys.stderr)
        return connection


def open_published(settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open the snapshot that readers see as the schema `marts` of a database in memory.

    Raises:
        NotBuiltError: nothing is published, or it cannot be read.
    """
    published = PublishedFolder(settings.published)
    connection = duckdb.connect(":memory:")
    try:
        newest = published.newest()
        if newest is None:
            raise NotBuiltError(f"nothing is published in {settings.shown(settings.published)}")
        connection.execute("create schema marts")
        for mart in published.catalog(newest.version)["marts"]:
            file = str(published.folder(newest.version) / mart["file"])
            quoted = file.replace("'", "''")
            connection.execute(f"create view marts.{mart['name']} as from read_parquet('{quoted}')")
    except (PublishedError, OSError, duckdb.Error) as error:
        raise NotBuiltError(str(error)) from error
    return connection


def report(run: Run, settings: Settings, *, on_spark: bool = False) -> str:
    """The feeds, the headline numbers, the tests, and what to type next.

    Args:
        run: the run of dbt that built the database.
        settings: where the database is.
        on_spark: it was built there; the numbers are those that were published.

    Returns:
        Text of some 30 lines, without a line end at its end.

    Raises:
        NotBuiltError: the database, or what is published, cannot be opened.
    """
    if on_spark and not run.publication.startswith("Published "):
        return "\n".join(_outcome(run, settings, "", on_spark=True))
    connection = open_published(settings) if on_spark else open_database(settings)
    try:
        built = {
            name
            for (name,) in _rows(
                connection,
                "select table_name from duckdb_tables() "
                "union all select view_name from duckdb_views()",
            )
        }
        sections = [
            (title, section(connection)) for title, marts, section in _SECTIONS if marts <= built
        ]
        if "feed_health" in built:
            files = _files(connection, run) if "stg_ingested_files" in built else {}
            sections.insert(0, ("Feeds", _feeds(connection, files)))
        expectations = _expectations(connection) if "expectation_results" in built else ""
    finally:
        connection.close()
    lines = []
    for title, body in sections:
        lines += [title, *(f"  {line}" for line in body), ""]
    lines += _outcome(run, settings, expectations, on_spark=on_spark)
    return "\n".join(lines)


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, *values: object) -> list[Any]:
    return connection.execute(sql, list(values)).fetchall()


# ---------------------------------------------------------------------------- feeds


def _feeds(connection: duckdb.DuckDBPyConnection, files: dict[str, str]) -> list[str]:
    table = [("feed", "files", "rows read", "accepted", "rejected")]
    for feed, loaded, *counts in _rows(
        connection,
        "select feed, files, rows_read, rows_accepted, rows_rejected from marts.feed_health",
    ):
        table.append((feed, files.get(feed, str(loaded or "none")), *(f"{n:,}" for n in counts)))
    return list(_aligned(table, right={2, 3, 4}))


def _files(connection: duckdb.DuckDBPyConnection, run: Run) -> dict[str, str]:
    """What became of the files of each feed, such as `1 new, 11 unchanged, 1 refused`."""
    counted = _rows(
        connection,
        """
        select
            feed,
            case
                when state <> 'loaded' then 'refused'
                when not is_present then 'gone, their rows are kept'
                when run_id = ? then change
                else 'unchanged'
            end as word,
            count(*) as files
        from staging.stg_ingested_files
        where state = 'loaded' or is_present
        group by all
        """,
        run.invocation,
    )
    words: dict[str, dict[str, int]] = {}
    for feed, word, files in counted:
        words.setdefault(feed, {})[word] = files
    order = ("new", "replaced", "unchanged", "refused", "gone, their rows are kept")
    return {
        feed: ", ".join(f"{found[word]} {word}" for word in order if word in found)
        for feed, found in words.items()
    }


# A reason without the value of its row, so that equal faults count together:
# `quantity: "-3" is not > 0` is of the kind `quantity is not > 0`.
KIND_OF_REASON = """
    regexp_replace(
        regexp_replace(
            regexp_replace(reason, ': (?:".*" )?', ' ', 's'),
            '; line [0-9]+( of .*)? is kept$', '', 's'
        ),
        ' is not one of .*', ' is not an accepted value', 's'
    )
"""


def _rejected(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The most frequent kinds of reasons of each feed, each with its first row as an example."""
    found = _rows(
        connection,
        f"""
        with reasons as (
            select feed, file, line_number, substr(record, 1, 400) as record,
                unnest(reasons) as reason
            from marts.rejected_rows
        ),
        kinds as (
            select feed, {KIND_OF_REASON} as kind, count(*) as count,
                min(row(file, line_number, record)) as example
            from reasons
            group by feed, kind
        )
        select feed, kind, count, example,
            row_number() over (partition by feed order by count desc, kind) as place,
            count(*) over (partition by feed) as kinds
        from kinds
        qualify place <= {REASONS_SHOWN}
        order by feed, place
        """,
    )
    if not found:
        return ["none"]
    order = [feed for (feed,) in _rows(connection, "select feed from marts.feed_health")]
    table = [("feed", "rows", "reason", "for example", "")]
    for feed, kind, count, (file, line, record), place, kinds in sorted(
        found, key=lambda row: (order.index(row[0]), row[4])
    ):
        table.append(
            (
                feed if place == 1 else "",
                f"{count:,}",
                _cut(kind, 60),
                f"{file}:{line}",
                _cut(shown_record(record), 60),
            )
        )
        if place == REASONS_SHOWN and kinds > place:
            more = kinds - place
            table.append(("", "", f"and {more} more {'kind' if more == 1 else 'kinds'}", "", ""))
    return list(_aligned(table, right={1}))


def shown_record(record: str) -> str:
    """A rejected row on one line: its cells, or the line as it is.

    Args:
        record: the beginning of the row's JSON.
    """
    try:
        cells = json.loads(record)
    except ValueError:  # cut short
        return record
    line = from_record(cells)
    if line is not None:
        return line.decode("utf-8", "backslashreplace")
    return ",".join("" if cell is None else str(cell) for cell in cells.values())


def _cut(text: str, length: int) -> str:
    shown = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return shown if len(shown) <= length else f"{shown[: length - 3]}..."


# ---------------------------------------------------------------------------- headline numbers


@dataclass(frozen=True)
class AdsPeriod:
    """Sums of ads_performance_daily over some days, both ends included."""

    start: date
    end: date
    spend: Decimal
    conversions: int
    revenue: Decimal

    @property
    def cac(self) -> Decimal | None:
        """Customer acquisition cost: spend / conversions, not rounded; None without them."""
        return _divide(self.spend, Decimal(self.conversions))

    @property
    def roas(self) -> Decimal | None:
        """Return on ad spend: revenue / spend, not rounded; None without spend."""
        return _divide(self.revenue, self.spend)


def ads_period(
    connection: duckdb.DuckDBPyConnection, end: date, days: int = PERIOD_DAYS
) -> AdsPeriod:
    """The sums of the `days` days that end on `end`."""
    start = end - timedelta(days=days - 1)
    ((spend, conversions, revenue),) = _rows(
        connection,
        "select coalesce(sum(spend), 0), coalesce(sum(conversions), 0), coalesce(sum(revenue), 0)"
        " from marts.ads_performance_daily where date between ? and ?",
        start,
        end,
    )
    return AdsPeriod(start, end, Decimal(spend), int(conversions), Decimal(revenue))


def _divide(numerator: Decimal, denominator: Decimal) -> Decimal | None:
    return numerator / denominator if denominator else None


def _two_decimals(number: Decimal) -> str:
    return f"{number.quantize(Decimal('0.01'), ROUND_HALF_UP):,}"


def _marketing(connection: duckdb.DuckDBPyConnection) -> list[str]:
    ((newest,),) = _rows(connection, "select max(date) from marts.ads_performance_daily")
    if newest is None:
        return ["no ad spend"]
    current = ads_period(connection, newest)
    previous = ads_period(connection, current.start - timedelta(days=1))
    return list(
        _aligned(
            [
                (f"last {PERIOD_DAYS} days", f"{current.start} to {current.end}", ""),
                ("CAC", *_compared(current.cac, previous.cac)),
                ("ROAS", *_compared(current.roas, previous.roas)),
                ("spend", f"{current.spend:,}", f"{current.conversions:,} conversions"),
            ]
        )
    )


def _compared(new: Decimal | None, old: Decimal | None) -> tuple[str, str]:
    if new is None:
        return "none", ""
    if not old:
        return _two_decimals(new), f"the {PERIOD_DAYS} days before: none"
    change = (100 * (new - old) / old).quantize(Decimal("0.01"), ROUND_HALF_UP)
    before = f"the {PERIOD_DAYS} days before: {_two_decimals(old)} ({change:+} %)"
    return _two_decimals(new), before


def _shop(connection: duckdb.DuckDBPyConnection) -> list[str]:
    (
        (
            day,
            orders,
            product,
            units,
            sales,
            usd,
            currency,
            categories,
            ticket,
            growing,
            growing_day,
            growing_units,
        ),
    ) = _rows(
        connection,
        "select busiest_date, busiest_date_orders, top_product, top_product_units,"
        " top_product_sales, top_product_sales_usd, currency, top_categories, average_ticket,"
        " fastest_growing_product, fastest_growing_date, fastest_growing_units"
        " from marts.order_kpis",
    )
    if day is None:
        return ["no sales"]
    dollars = f" ({usd:,} USD)" if usd is not None else ""
    lines = [
        ("busiest day", f"{day}, {orders:,} {'order' if orders == 1 else 'orders'}"),
        ("average ticket", f"{ticket:,} {currency}"),
        ("top categories", categories or "none"),
    ]
    if product is not None:
        lines.insert(
            1, ("top product", f"{product}, {units:,} units, {sales:,} {currency}{dollars}")
        )
    if growing is not None:
        lines.append(("fastest growing", f"{growing}, +{growing_units:,} units on {growing_day}"))
    return list(_aligned(lines))


def _marketplace(connection: duckdb.DuckDBPyConnection) -> list[str]:
    categories = _rows(
        connection,
        "select category from marts.sales_by_category_daily group by category"
        " order by sum(sales_count) desc, category limit 3",
    )
    if not categories:
        return ["no sales"]
    lines = [("top categories", " > ".join(category for (category,) in categories))]
    for a, b, revenue, count in _rows(
        connection,
        "select country_a, country_b, combined_revenue, sales_count"
        " from marts.country_relationships where revenue_rank = 1",
    ):
        lines.append(("best country pair", f"{a} and {b}, revenue {revenue:,} in {count:,} sales"))
    for country, revenue, share in _rows(
        connection,
        "select country, revenue, revenue_pct from marts.country_contribution"
        " where id_country <> 'Unknown' order by revenue desc, country limit 1",
    ):
        shown = f" ({share} %)" if share is not None else ""
        lines.append(("top seller country", f"{country}, revenue {revenue:,}{shown}"))
    return list(_aligned(lines))


def _hiring(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = _rows(
        connection,
        "select year, department, hired, mean_hired, is_above_mean"
        " from marts.departments_above_mean"
        " where year = (select max(year) from marts.departments_above_mean)"
        " order by hired desc, department",
    )
    if not rows:
        return ["no hires"]
    year, mean = rows[0][0], rows[0][3]
    above = [f"{department} ({hired:,})" for _, department, hired, _, is_above in rows if is_above]
    return [f"departments above the mean of {mean:,} hires in {year}: {'; '.join(above) or 'none'}"]


_SECTIONS = [
    ("Rejected rows", {"feed_health", "rejected_rows"}, _rejected),
    ("Marketing", {"ads_performance_daily"}, _marketing),
    ("Shop", {"order_kpis"}, _shop),
    (
        "Marketplace",
        {"sales_by_category_daily", "country_relationships", "country_contribution"},
        _marketplace,
    ),
    ("Hiring", {"departments_above_mean"}, _hiring),
]


# ---------------------------------------------------------------------------- the end


def _expectations(connection: duckdb.DuckDBPyConnection) -> str:
    """How many expectations held, did not, and could not be evaluated."""
    ((held, failed, unknown),) = _rows(
        connection,
        "select count(*) filter (where success), count(*) filter (where not success),"
        " count(*) filter (where success is null) from marts.expectation_results",
    )
    words = [f"{held:,} held"]
    words += [f"{failed:,} did not"] if failed else []
    words += [f"{unknown:,} could not be evaluated"] if unknown else []
    return ", ".join(words)


def _outcome(run: Run, settings: Settings, expectations: str, *, on_spark: bool) -> list[str]:
    tests = run.count("test", "pass", "warn")
    unit_tests = run.count("unit_test", "pass")
    warned = run.count("test", "warn")
    kept = sum(result.kind == "model" and result.message == UNCHANGED for result in run.results)
    models = f"{run.count('model', 'success') - kept} models built"
    if kept:
        models += f", {kept} unchanged"
    built = [
        ("Database", settings.shown(settings.database)),
        ("Serve", "make serve"),
        ("Docs", "make docs"),
        ("Look", 'make query SQL="select * from marts.daily_sales order by date desc"'),
        ("Rejected", "make rejected FEED=orders"),
    ]
    if on_spark:
        built = [("Cluster", settings.spark), ("Serve", "make serve")]
    return [
        f"{models}; {tests} data tests and {unit_tests} unit "
        f"tests passed{f', {warned} with warnings' if warned else ''}; {run.seconds:.0f} s.",
        "",
        *_aligned(
            [
                ("Published", _published(run, settings)),
                *([("Expected", f"{expectations}; make quality")] if expectations else []),
                *built,
            ]
        ),
    ]


def _published(run: Run, settings: Settings) -> str:
    """What dbt said of the publication, without the word that begins the line."""
    said = run.publication.removeprefix("Published ").removeprefix("Not published: ")
    if run.publication.startswith("Published "):
        return said
    return f"nothing new: {said or what_readers_see(settings.published)}"


def _aligned(table: Sequence[Sequence[str]], right: Collection[int] = ()) -> Iterator[str]:
    """Lines of a table with two blanks between columns; the columns in `right` end together."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
