"""`python -m warehouse build|docs|query|rejected|fetch-fx`; the Makefile calls it."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from collections.abc import Sequence

import duckdb

from warehouse import fetch_fx
from warehouse.dbt import Run, run_dbt
from warehouse.failures import explain
from warehouse.published import what_readers_see
from warehouse.rejected import UnknownFeedError, write_rejected
from warehouse.report import NotBuiltError, open_database, report
from warehouse.settings import Settings, SettingsError, read_settings

FAILED, CANNOT_RUN, TERMINATED = 1, 2, 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 when all is well, 1 when a model or test failed, 2 when the command could not run.
    """
    parser = argparse.ArgumentParser(prog="python -m warehouse", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("build", help="build and test everything, then show the numbers")
    docs = commands.add_parser("docs", help="make the dbt docs and serve them on this machine")
    docs.add_argument("--port", type=int, default=8080, help="local port (8080)")
    query = commands.add_parser("query", help="print the rows of a SQL query")
    query.add_argument("sql", help="a query, such as: select * from marts.order_kpis")
    rejected = commands.add_parser("rejected", help="write the rejected rows of a feed, to mend")
    rejected.add_argument("feed", help="a feed, such as: orders")
    fetch_fx.add_arguments(
        commands.add_parser("fetch-fx", help="write rates of exchange to the landing zone")
    )
    known, for_dbt = parser.parse_known_args(arguments)
    if for_dbt and known.command != "build":
        parser.error(f"unknown arguments: {' '.join(for_dbt)}")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        settings = read_settings()
        if known.command == "build":
            return build(settings, for_dbt)
        if known.command == "docs":
            return serve_docs(settings, known.port)
        if known.command == "fetch-fx":
            return fetch_fx.run(settings, known)
        if known.command == "rejected":
            return show_rejected(settings, known.feed)
        return print_query(settings, known.sql)
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
    run = run_dbt(["build", *for_dbt], settings)
    for warning in run.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if run.exit_code:
        code = _explain(run, settings)
        print(f"not published: {what_readers_see(settings.published)}.", file=sys.stderr)
        return code
    print(f"\n{report(run, settings)}")
    return 0


def serve_docs(settings: Settings, port: int) -> int:
    """Make the dbt docs and serve them until Ctrl+C."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return _fail(
                f"port {port} cannot be used: {reason}. Choose another: make docs PORT=8081"
            )
    if not settings.database.exists():
        code = build(settings, [])
        if code:
            return code
    print("Making the docs", flush=True)
    run = run_dbt(["docs", "generate"], settings)
    if run.exit_code:
        return _explain(run, settings)
    print(f"The docs are at http://127.0.0.1:{port}; Ctrl+C stops.", flush=True)
    run = run_dbt(
        ["docs", "serve", "--host", "127.0.0.1", "--port", str(port), "--no-browser"], settings
    )
    return 0 if run.exit_code == 130 else run.exit_code


def print_query(settings: Settings, sql: str) -> int:
    """Print the rows of a query; the database is opened for reading only."""
    connection = open_database(settings)
    try:
        relation = connection.sql(sql)
        if relation is not None:
            relation.show(max_rows=100, max_width=200)
    except duckdb.Error as error:
        return _fail(" ".join(str(error).split("\n\n")[0].split()), FAILED)
    finally:
        connection.close()
    return 0


def show_rejected(settings: Settings, feed: str) -> int:
    """Write the rejected rows of a feed, and say where."""
    connection = open_database(settings)
    try:
        found = write_rejected(connection, settings, feed)
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
        print(f"Mend them, then drop the file into landing/{feed}/ and: make build")
    return 0


def _explain(run: Run, settings: Settings) -> int:
    for line in explain(run, settings):
        print(line, file=sys.stderr)
    return run.exit_code if run.exit_code in (FAILED, 130) else CANNOT_RUN


def _fail(message: str, code: int = CANNOT_RUN) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
