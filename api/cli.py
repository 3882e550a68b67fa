"""The commands: `flask --app api tokens|publications|serve`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from api.settings import Settings, parse_host, shorten
from api.tokens import (
    ALL_SCOPES,
    SCOPES,
    NameTakenError,
    Token,
    TokenFile,
    TokenRefusedError,
    TokensError,
    exposure,
)
from warehouse.history import BuildHistory, BuildRun
from warehouse.published import GoneError, PublishedError, PublishedFolder

FAILED, CANNOT_RUN = 1, 2
SHOWN_RUNS = 20
DEFAULT_NAME = "local"

tokens = AppGroup("tokens", help="Make, list and revoke the tokens that the API asks for.")
publications = AppGroup(
    "publications",
    help="List the published snapshots and the builds, go back to a snapshot, remove old ones.",
)


def install(app: Flask) -> None:
    """Add the commands to the app's."""
    for command in (tokens, publications, serve):
        app.cli.add_command(command)


# ---------------------------------------------------------------------------- tokens


def read_expiry(text: str, now: datetime) -> datetime | None:
    """When a token ends that is valid for `90d`, until `2027-01-31` (UTC, included), or `never`.

    Raises:
        ValueError: the text is none of these.
    """
    if text == "never":
        return None
    try:
        if days := re.fullmatch(r"(\d{1,6})d", text, re.ASCII):
            return now + timedelta(days=int(days[1]))
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        pass
    raise ValueError("give days (90d), a date (2027-01-31) or never")


def _valid_expiry(ctx: click.Context, param: click.Parameter, value: str) -> datetime | None:
    try:
        return read_expiry(value, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@tokens.command("create")
@click.argument("name", required=False)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help=f"What it may read: {', '.join(SCOPES)}, or '*' for all. Can be repeated.",
)
@click.option(
    "--expires",
    callback=_valid_expiry,
    default="90d",
    show_default=True,
    metavar="90d|2027-01-31|never",
    help="How long it is valid: days, its last day (UTC), or never.",
)
@click.option("--limit", metavar="LIMIT", help='Its own budget, such as "6000 per minute".')
def create_token(
    name: str | None, scopes: Sequence[str], expires: datetime | None, limit: str | None
) -> None:
    """Make a token and print it; it is shown this once.

    Without a NAME it may read everything and is called local (or local-2, ...).
    """
    if name is not None and not scopes:
        raise click.UsageError(
            f"say what {name} may read: --scope {'|'.join(SCOPES)}, or --scope '*' for all"
        )
    scopes = scopes or (ALL_SCOPES,)
    file = _token_file()
    with _errors():
        name, secret = _create(file, name, scopes, expires, limit)
    until = f"until {_minutes(expires)}" if expires else "until it is revoked"
    click.echo(
        f"Token {name}: {', '.join(sorted(scopes))}, {until}. It is not shown again. Try it:",
        err=True,
    )
    click.echo(secret)
    click.echo(f'curl -H "Authorization: Bearer {secret}" {_settings().url}/api/v1/marts', err=True)


def _create(
    file: TokenFile,
    name: str | None,
    scopes: Sequence[str],
    ends_at: datetime | None,
    limit: str | None,
) -> tuple[str, str]:
    """Make the token; without a name, with the first default one that is free."""
    if name is not None:
        return name, file.create(name, scopes, ends_at, limit)
    number = 1
    while True:
        name = DEFAULT_NAME if number == 1 else f"{DEFAULT_NAME}-{number}"
        try:
            return name, file.create(name, scopes, ends_at, limit)
        except NameTakenError:
            number += 1


@tokens.command("list")
def list_tokens() -> None:
    """List the tokens, without what would let one in."""
    with _errors():
        known = _token_file().all()
    if not known:
        click.echo("No tokens yet. Make one: flask --app api tokens create", err=True)
        return
    _print_table(
        ("name", "state", "scopes", "limit", "made", "valid until", "digest"),
        [
            (
                token.name,
                _state(token),
                ",".join(sorted(token.scopes)),
                token.limit or "default",
                _minutes(token.created_at),
                _minutes(token.expires_at) if token.expires_at else "never ends",
                f"{token.digest[:8]}...",
            )
            for token in known
        ],
    )


@tokens.command("revoke")
@click.argument("name")
def revoke_token(name: str) -> None:
    """Make the token of this NAME invalid; a running server refuses it from its next request on."""
    with _errors():
        _token_file().revoke(name)
    click.echo(f"Token {name} is revoked.")


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "valid" if token.is_live() else "expired"


# ---------------------------------------------------------------------------- publications


@publications.command("list")
def list_publications() -> None:
    """List the snapshots, newest first, with what was tested, and which one is served."""
    folder = PublishedFolder(_settings().published)
    with _errors():
        served = folder.newest()
        versions = folder.versions()
        withdrawn = folder.standing().withdrawn
    if served is None:
        click.echo("Nothing is published yet. Run: make build", err=True)
        return
    if served.version not in versions:
        click.echo(f"warning: {served.version}, which is to be served, is gone", err=True)
    rows = []
    for version in sorted(versions, reverse=True):
        marks = ["withdrawn"] if version in withdrawn else []
        if version == served.version:
            marks.append("served, rolled back to" if served.action == "rollback" else "served")
        if folder.contains_sample(version):
            marks.append("contains the sample")
        rows.append((version, *_about(folder, version), "; ".join(marks)))
    _print_table(("version", "published", "age", "rows", "size", "tests", "mark"), rows)


@publications.command("rollback")
@click.argument("version")
def rollback(version: str) -> None:
    """Serve an older VERSION again, after checking that its files are whole."""
    folder = PublishedFolder(_settings().published)
    with _errors():
        before = folder.newest()
        folder.rollback(version)
    if before is not None and before.version == version:
        click.echo(f"{version} is served already.")
    else:
        sample = ", which contains the sample" if folder.contains_sample(version) else ""
        click.echo(
            f"{version} is served from now on{sample}; the next build publishes over it. What was "
            "published after it is withdrawn: nobody is shown it, by version neither."
        )


@publications.command("prune")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    required=True,
    metavar="N",
    help="How many of the newest snapshots stay.",
)
def prune(keep: int) -> None:
    """Remove old snapshots, but never the one that is served nor one that is being read."""
    folder = PublishedFolder(_settings().published)
    with _errors():
        pruned = folder.prune(keep)
        left = len(folder.versions())
    for version in pruned.removed:
        click.echo(f"removed {version}")
    for version in pruned.in_use:
        click.echo(f"kept {version}: it is being read")
    click.echo(f"{len(pruned.removed)} removed ({_size(pruned.size)}), {left} left.")


@publications.command("history")
def list_builds() -> None:
    """List the last builds, newest first, also those that published nothing, and why."""
    history: BuildHistory = current_app.extensions["build_history"]
    with _errors():
        runs = history.runs(SHOWN_RUNS)
    if not runs:
        click.echo("No build has run yet. Run: make build", err=True)
        return
    _print_table(
        ("started", "command", "outcome", "seconds", "rows", "rejected", "tests", "version or why"),
        [
            (
                _minutes(run.started_at),
                _one_line(run.command, 40),
                run.outcome,
                _number(run.seconds),
                _number(run.rows),
                _number(run.rows_rejected),
                _tests(run),
                _version_or_why(run),
            )
            for run in runs
        ],
    )


def _version_or_why(run: BuildRun) -> str:
    if run.version is None:
        return _one_line(run.reason or "", 100)
    return run.version + (", contains the sample" if run.contains_sample else "")


def _tests(run: BuildRun) -> str:
    counts = (
        (run.tests_passed, "passed"),
        (run.tests_warned, "warned"),
        (run.tests_failed, "failed"),
    )
    return ", ".join(f"{count} {became}" for count, became in counts if count)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _one_line(text: str, characters: int) -> str:
    return shorten(" ".join(text.split()), characters)


def _about(folder: PublishedFolder, version: str) -> tuple[str, str, str, str, str]:
    """Time, age, rows, size and tests of a snapshot; what is wrong with it when it is damaged."""
    try:
        catalog = folder.catalog(version)
        published_at = datetime.fromisoformat(catalog["published_at"])
        counts = catalog["tests"]
        passed = counts["data_tests"]["passed"] + counts["unit_tests"]["passed"]
        warned = counts["data_tests"]["warned"]
        return (
            _minutes(published_at),
            age(datetime.now(UTC) - published_at),
            f"{catalog['rows']:,}",
            _size(sum(mart["bytes"] for mart in catalog["marts"])),
            f"{passed} passed" + (f", {warned} warned" if warned else ""),
        )
    except (PublishedError, OSError, ValueError, KeyError, TypeError):
        return ("damaged", "", "", "", "")


# ---------------------------------------------------------------------------- serve


def _valid_host(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        return value and parse_host(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command("serve")
@click.option("--host", callback=_valid_host, help="Address to listen on (HOST, 127.0.0.1).")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on (PORT, 5000).")
@click.option("--workers", type=click.IntRange(1, 64), help="Server processes (WORKERS, 1).")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve the newest snapshot until Ctrl+C or SIGTERM.

    Logs go to stdout, one JSON object a line. New snapshots, tokens and revocations are taken up
    without a restart.
    """
    from api import serving  # with granian, which the other commands need not wait for

    settings = _settings()
    serving.serve(
        dataclasses.replace(
            settings,
            host=host or settings.host,
            port=port or settings.port,
            workers=workers or settings.workers,
        )
    )


# ---------------------------------------------------------------------------- common


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings


def _token_file() -> TokenFile:
    """The file of tokens; says so when it is open to others."""
    file: TokenFile = current_app.extensions["tokens"]
    warning = exposure(file.path)
    if warning:
        click.echo(f"warning: {warning}", err=True)
    return file


@contextmanager
def _errors() -> Iterator[None]:
    """Tell an error in one line; 2 when it was asked for something impossible, else 1."""
    try:
        yield
    except (TokenRefusedError, GoneError) as error:
        _fail(str(error), CANNOT_RUN)
    except (TokensError, PublishedError) as error:
        _fail(str(error), FAILED)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", FAILED)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"Error: {_one_line(message, 500)}", err=True)
    raise SystemExit(code)


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _minutes(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def age(time: timedelta) -> str:
    """A time span in the largest unit that fits, such as `3 h`."""
    seconds = max(0, int(time.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _size(count: int) -> str:
    """A number of bytes as people read it, such as `1.4 MB`."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"
