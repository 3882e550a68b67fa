"""`python -m warehouse build|docs|serve-docs|quality|query|...`; the Makefile calls it."""

from __future__ import annotations

import argparse
import csv
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import duckdb

from warehouse import fetch_fx
from warehouse.dbt import Run, run_dbt
from warehouse.failures import explain
from warehouse.history import NOT_PUBLISHED, UNFINISHED, BuildHistory, EndOfRun
from warehouse.published import what_readers_see
from warehouse.rejected import UnknownFeedError, write_rejected
from warehouse.report import (
    NotBuiltError,
    open_built_or_published,
    open_database,
    report,
)
from warehouse.settings import Settings, SettingsError, read_settings

# warehouse.docs_site, with its templates, is imported by the commands that are about pages.

FAILED, CANNOT_RUN, TERMINATED = 1, 2, 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 when all is well, 1 when a model or test failed, 2 when the command could not run.
    """
    parser = argparse.ArgumentParser(prog="python -m warehouse", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("build", help="build and test everything, then show the numbers")
    commands.add_parser("spark-build", help="build and test everything on a Spark cluster")
    started = commands.add_parser("spark-up", help="start a small Spark cluster on this machine")
    started.add_argument(
        "--workers", type=int, default=2, choices=range(1, 9), metavar="N",
        help="workers, each one executor of one core: 1 to 8 (2)",
    )  # fmt: skip
    commands.add_parser("spark-down", help="stop the Spark cluster")
    commands.add_parser("docs", help="make the documentation, a static site")
    served = commands.add_parser("serve-docs", help="serve the documentation on this machine")
    served.add_argument("--port", type=int, default=8080, help="local port (8080)")
    commands.add_parser("quality", help="show where the pages about the expectations are")
    query = commands.add_parser("query", help="print the rows of a SQL query")
    query.add_argument(
        "sql", nargs="?", default=os.environ.get("WAREHOUSE_SQL", ""),
        help="a query, such as: select * from marts.order_kpis (or the variable WAREHOUSE_SQL)",
    )  # fmt: skip
    query.add_argument(
        "--format", choices=("table", "csv"), default="table", help="a table to look at, or CSV"
    )
    rejected = commands.add_parser("rejected", help="write the rejected rows of a feed, to mend")
    rejected.add_argument("feed", help="a feed, such as: orders")
    rejected.add_argument(
        "--excel",
        action="store_true",
        help="a file that a spreadsheet may open: nothing is computed",
    )
    fetch_fx.add_arguments(
        commands.add_parser("fetch-fx", help="write rates of exchange to the landing zone")
    )
    known, for_dbt = parser.parse_known_args(arguments)
    if for_dbt and known.command not in ("build", "spark-build"):
        parser.error(f"unknown arguments: {' '.join(for_dbt)}")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        settings = read_settings()
        if known.command == "build":
            return build(settings, for_dbt)
        if known.command == "spark-build":
            return spark_build(settings, for_dbt)
        if known.command in ("spark-up", "spark-down"):
            return spark_cluster(settings, known)
        if known.command == "docs":
            return make_docs(settings)
        if known.command == "serve-docs":
            return serve_docs(settings, known.port)
        if known.command == "quality":
            return show_quality(settings)
        if known.command == "fetch-fx":
            return fetch_fx.run(settings, known)
        if known.command == "rejected":
            return show_rejected(settings, known.feed, for_excel=known.excel)
        return print_query(settings, known.sql, as_csv=known.format == "csv")
    except (NotBuiltError, SettingsError, UnknownFeedError) as error:
        return _fail(str(error))


def build(settings: Settings, for_dbt: Sequence[str]) -> int:
    """Run `dbt build` with these further arguments, and print the table or what failed."""
    database = settings.shown(settings.database)
    try:
        settings.database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _fail(
            f"cannot make the folder of {database}: {error.strerror}. "
            "Set WAREHOUSE_DB to another file."
        )
    print(f"Building {database}", flush=True)
    return _build(for_dbt, settings, on_spark=False)


def spark_build(settings: Settings, for_dbt: Sequence[str]) -> int:
    """Build on the Spark cluster of the profile, and print the published numbers or what failed."""
    print(f"Building on Spark at {settings.spark}", flush=True)
    return _build(["--target", "spark", *for_dbt], settings, on_spark=True)


def _build(for_dbt: Sequence[str], settings: Settings, *, on_spark: bool) -> int:
    run = run_dbt(["build", *for_dbt], settings, on_spark=on_spark)
    for warning in run.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if run.exit_code:
        causes = explain(run, settings)
        code = _show_causes(causes, run.exit_code)
        _record_failure(run, causes[0], settings)
        print(f"not published: {what_readers_see(settings.published)}.", file=sys.stderr)
        return code
    print(f"\n{report(run, settings, on_spark=on_spark)}")
    return 0


def spark_cluster(settings: Settings, known: argparse.Namespace) -> int:
    """Start or stop the Spark cluster of this machine."""
    from warehouse.spark.cluster import ClusterError, Size, down, up

    folder = settings.root / "build/spark"

    def tell(text: str) -> None:
        print(text, flush=True)

    try:
        if known.command == "spark-down":
            down(folder, tell)
        else:
            up(folder, tell, port=settings.spark_port, size=Size(workers=known.workers))
    except ClusterError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    return 0


def make_docs(settings: Settings) -> int:
    """Make the documentation, building first when there is no database, and say where it is."""
    from warehouse.docs_site import DocsError, FolderError, write_docs

    if not settings.database.exists():
        code = build(settings, [])
        if code:
            return code
    print("Making the documentation", flush=True)
    run = run_dbt(["docs", "generate"], settings)
    if run.exit_code:
        return _show_causes(explain(run, settings), run.exit_code)
    try:
        page = write_docs(settings, datetime.now(UTC))
    except (DocsError, FolderError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename} cannot be read or written: {error.strerror}.")
    print(f"{settings.shown(page)}  {page.as_uri()}")
    return 0


def serve_docs(settings: Settings, port: int) -> int:
    """Serve the documentation until Ctrl+C."""
    from warehouse.docs_site import FIRST_PAGE, docs_server, folder_of_docs

    folder = folder_of_docs(settings)
    if not (folder / FIRST_PAGE).is_file():
        return _fail("there is no documentation yet. Make it: make docs")
    try:
        server = docs_server(folder, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return _fail(
            f"port {port} cannot be used: {reason}. Choose another: make serve-docs PORT=8081"
        )
    with server:
        address = f"http://127.0.0.1:{server.server_port}"
        print(f"The documentation is at {address}; Ctrl+C stops.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def show_quality(settings: Settings) -> int:
    """Say where the pages about the last run's expectations are; open them where one can see it."""
    import webbrowser

    from warehouse.docs_site import FIRST_PAGE, has_display

    page = settings.data_docs / FIRST_PAGE
    if not page.is_file():
        return _fail("no expectations were run yet. Run them: make build")
    print(f"{settings.shown(page)}  {page.as_uri()}", flush=True)
    if sys.stdout.isatty() and has_display(sys.platform):
        webbrowser.open(page.as_uri())
    return 0


def print_query(settings: Settings, sql: str, *, as_csv: bool = False) -> int:
    """Print the rows of a query; the database is opened for reading only.

    While a build writes it, and where there is none, the query is asked of the published snapshot.
    """
    if not sql.strip():
        return _fail(
            'give a query: make query SQL="select * from marts.order_kpis" (FORMAT=csv for CSV)'
        )
    connection = open_built_or_published(settings)
    try:
        if as_csv:
            _print_csv(connection.execute(sql))
        else:
            _print_table(connection, sql)
    except duckdb.Error as error:
        return _fail(str(error), FAILED)  # as it is: a caret stands below the word that it means
    finally:
        connection.close()
    return 0


def _print_csv(answer: duckdb.DuckDBPyConnection) -> None:
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(name for name, *_ in answer.description or ())
    while some := answer.fetchmany(10_000):
        rows.writerows([_cell(value) for value in row] for row in some)


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _print_table(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        relation = connection.sql(sql)
    except duckdb.Error:
        connection.execute(sql)  # fails too, and says where
        raise
    if relation is not None:
        relation.show(max_rows=100, max_width=200)


def show_rejected(settings: Settings, feed: str, *, for_excel: bool) -> int:
    """Write the rejected rows of a feed, and say where."""
    connection = open_database(settings)
    try:
        found = write_rejected(connection, settings, feed, for_excel=for_excel)
    except OSError as error:
        return _fail(f"{error.filename} cannot be written: {error.strerror}. Set WAREHOUSE_DB.")
    finally:
        connection.close()
    if found.csv is not None:
        print(f"{found.rows:,} rejected rows of {feed}  {settings.shown(found.csv)}")
    if found.broken is not None:
        print(f"{found.lines:,} broken lines of {feed}  {settings.shown(found.broken)}")
    if found.csv is None and found.broken is None:
        print(f"No row of {feed} is rejected.")
    else:
        if for_excel:
            print(
                "Cells that a spreadsheet would compute are in quotes; a load reads them without."
            )
        print(f"Mend them, then drop the file into landing/{feed}/ and: make build")
    return 0


def _record_failure(run: Run, cause: str, settings: Settings) -> None:
    """Write a build into the history that dbt could not write itself: it never came to its end."""
    if not run.invocation:
        return
    history = BuildHistory(settings.published)
    now = datetime.now(UTC)
    try:
        known = {build.run_id: build.outcome for build in history.runs()}
        if known.get(run.invocation, UNFINISHED) != UNFINISHED:
            return
        if run.invocation not in known:
            history.start(run.invocation, "build", now - timedelta(seconds=run.seconds))
        history.end(
            run.invocation,
            EndOfRun(
                outcome=NOT_PUBLISHED,
                version=None,
                reason=cause.removeprefix("error: "),
                seconds=round(run.seconds, 3),
                rows=None,
                tests_passed=run.count("test", "pass") + run.count("unit_test", "pass"),
                tests_warned=run.count("test", "warn"),
                tests_failed=run.count("test", "fail", "error")
                + run.count("unit_test", "fail", "error"),
                rows_rejected=None,
            ),
            now,
        )
    except OSError as error:
        place = settings.shown(settings.published)
        print(f"warning: {place} cannot be written: {error.strerror or error}", file=sys.stderr)


def _show_causes(causes: Sequence[str], exit_code: int) -> int:
    """Print why a run of dbt failed; with which code to exit after it."""
    for line in causes:
        print(line, file=sys.stderr)
    return exit_code if exit_code in (FAILED, 130) else CANNOT_RUN


def _fail(message: str, code: int = CANNOT_RUN) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
