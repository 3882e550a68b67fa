"""Drive the real server and the real commands, in processes of their own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import ROOT, Outcome

SECONDS_TO_START = 60


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The variables of a process whose snapshots and tokens are below the folder."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("WAREHOUSE_", "API_", "PYTEST_"))
        and key not in ("HOST", "PORT", "WORKERS")
    }
    return (
        kept
        | {
            "WAREHOUSE_PUBLISHED": str(folder / "published"),
            "WAREHOUSE_TOKENS": str(folder / "tokens.json"),
        }
        | more
    )


def flask(folder: Path, *arguments: str, **variables: str) -> Outcome:
    """Run `flask --app api <arguments>`."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "api", *arguments],
        cwd=ROOT,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def make_token(folder: Path, *arguments: str) -> str:
    """Make a token by the command, and return it."""
    outcome = flask(folder, "tokens", "create", *arguments)
    assert outcome.exit_code == 0, outcome.err
    return outcome.out.strip()


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Answer:
    """What the server sent; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Server:
    """`flask --app api serve` in a process of its own, for the length of a with block.

    Args:
        folder: holds its tokens and snapshots, and gets its logs.
        command: what to run instead, after `python -m`.
        variables: further environment variables.
    """

    def __init__(self, folder: Path, *command: str, **variables: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._command = command or ("flask", "--app", "api", "serve")
        self._variables = variables

    def __enter__(self) -> Server:
        """Start it, and wait until it listens."""
        self._out = (self.folder / "server.out").open("wb")
        self._err = (self.folder / "server.err").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *self._command],
            cwd=ROOT,
            env=environment(self.folder, PORT=str(self.port), **self._variables),
            stdout=self._out,
            stderr=self._err,
        )
        give_up_at = time.monotonic() + SECONDS_TO_START
        while "Serving" not in self.err:
            if self.process.poll() is not None or time.monotonic() > give_up_at:
                self.process.kill()
                raise AssertionError(f"the server did not start: {self.err}{self.out}")
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.stop()
        self._out.close()
        self._err.close()

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end; its exit code."""
        self.process.send_signal(sign)
        return self.process.wait(60)

    @property
    def out(self) -> str:
        """What it wrote to stdout so far."""
        return (self.folder / "server.out").read_text()

    @property
    def err(self) -> str:
        """What it wrote to stderr so far."""
        return (self.folder / "server.err").read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines on stdout, parsed; every one must be JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    def get(
        self,
        path: str,
        token: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        method: str = "GET",
    ) -> Answer:
        """Ask the server."""
        sent = [*headers, *([("Authorization", f"Bearer {token}")] if token else [])]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in sent:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            connection.close()
