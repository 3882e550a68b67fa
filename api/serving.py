"""`flask --app api serve`: granian, with the app in worker processes of their own."""

from __future__ import annotations

import atexit
import ctypes
import gc
import logging.config
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack

import click
from flask import Flask
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from api.access_log import LOGGING
from api.connections import SECONDS_TO_SEND, Guard, allow_files, most_accepted
from api.monitoring import MULTIPROCESS
from api.settings import Settings, SettingsError
from api.snapshots import SnapshotStore
from api.tokens import exposure
from warehouse.published import PublishedError, PublishedFolder

SECONDS_TO_END = 30  # for requests in flight, after SIGTERM or Ctrl+C; then workers are killed
SECONDS_TO_START = 60
MAX_HEAD = 64 * 1024  # bytes of a request line and headers; beyond it there is no problem body

_PR_SET_PDEATHSIG = 1


def serve(settings: Settings, target: str = "api.serving:make_worker") -> None:
    """Serve until SIGTERM or Ctrl+C, then finish the requests in flight.

    Both are the ways to end it, so both end with 0. Logs go to stdout; what people are told goes
    to stderr.

    Args:
        settings: where to listen, and with how many workers and threads.
        target: what makes the application of a worker, as `module:function`.

    Raises:
        SettingsError: it cannot serve as it was told to.
        SystemExit: 1, the workers cannot be kept alive.
    """
    check(settings)
    warning = exposure(settings.tokens)
    if warning:
        click.echo(f"warning: {warning}", err=True)
    allow_files()
    multiprocessing.set_start_method("spawn", force=True)  # a fork would inherit what is open here
    logging.config.dictConfig(LOGGING)
    server = Granian(
        target,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers,
        blocking_threads=settings.threads,
        factory=True,
        websockets=False,
        # HTTP/2 without TLS is for nobody. While granian waits to see which of the two a client
        # speaks, no time limit holds: 1,024 connections that sent nothing stopped it for good.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=SECONDS_TO_SEND * 1000, max_buffer_size=MAX_HEAD
        ),
        backpressure=most_accepted(),
        log_dictconfig=LOGGING,
        log_level="warning",  # type: ignore[arg-type]
        respawn_failed_workers=True,
        workers_kill_timeout=SECONDS_TO_END,
    )
    server.on_startup(threading.Thread(target=_greet, args=(settings,), daemon=True).start)
    with ExitStack() as stack:
        if settings.workers > 1:
            os.environ[MULTIPROCESS] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="kpi-metrics-")
            )
        server.serve()


def check(settings: Settings) -> None:
    """Refuse to start where it would not do what was asked.

    Raises:
        SettingsError: several workers would count apart, or the port cannot be used.
    """
    if settings.workers > 1 and settings.rate_storage == "memory://":
        raise SettingsError(
            f"{settings.workers} workers cannot share rate limits that are counted in memory, so "
            "each token would have as many budgets. Set API_RATE_STORAGE=redis://127.0.0.1:6379 "
            "(and: .venv/bin/python -m pip install redis), or WORKERS=1"
        )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        # granian shares its port with other processes that ask for that; this finds them first.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {settings.host}, port {settings.port}: {error.strerror}. "
                "Choose another: PORT=5001"
            ) from None


def make_worker() -> Flask:
    """The application of one worker process, with its snapshot loaded."""
    from api import create_app

    logging.config.dictConfig(LOGGING)
    _end_with_parent()
    app = create_app()
    store: SnapshotStore = app.extensions["snapshots"]
    store.start()
    guard = _guard(app.extensions["settings"])
    guard.start()
    gc.collect()
    gc.freeze()  # what is loaded by now stays; looking through it again would only cost time
    atexit.register(_end_worker, store, guard)
    return app


def _guard(settings: Settings) -> Guard:
    """What keeps the connections of this worker within bounds, so that there is room for more.

    Behind a proxy every connection is the proxy's, which has to count them itself.
    """
    of_one = None if settings.trusted_proxies else settings.connections_per_address
    return Guard(most_accepted() // 2, of_one)


def _end_worker(store: SnapshotStore, guard: Guard) -> None:
    """Leave nothing of duckdb behind, or it says at the end that its objects leak."""
    guard.close()
    store.close()
    gc.unfreeze()


def _end_with_parent() -> None:
    """Let Linux end this worker when its parent is killed, or it would keep the port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _greet(settings: Settings) -> None:
    """Say where it listens, as soon as it does."""
    host = settings.url.removeprefix("http://").rpartition(":")[0].strip("[]")
    give_up_at = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < give_up_at:
        try:
            socket.create_connection((host, settings.port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            served = what_is_served(PublishedFolder(settings.published))
            click.echo(f"Serving {served} at {settings.url} (make token gives a token)", err=True)
            return


def what_is_served(folder: PublishedFolder) -> str:
    """The newest version, or what to do when there is none."""
    try:
        entry = folder.newest()
    except (PublishedError, OSError) as error:
        return f"nothing yet ({error})"
    return f"snapshot {entry.version}" if entry else "no snapshot yet (make build makes one)"
