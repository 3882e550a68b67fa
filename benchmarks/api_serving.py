"""How many requests the API answers, and how fast, each as a ratio to a trivial endpoint.

A real server process serves the sample data; wrk (Debian's package of that name) asks it with eight
connections, on the same two cores. The kinds of requests take turns, and the median of the rounds
counts. At the end the cached answer is asked for while a whole build runs on the other core and its
snapshot is swapped in.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.api.server import Server, make_token
from tests.api.support import NO_LIMITS
from tests.support import Project

CACHED = "/api/v1/metrics?compare=last30_prev30"

# Asks for another page each time, so that no answer is in the cache; tells the result as JSON.
SCRIPT = """
local first = tonumber(os.getenv("FIRST_LINE"))
if first then
  local line = first
  request = function()
    line = line + 1
    return wrk.format("GET", wrk.path .. line)
  end
end
done = function(summary, latency, requests)
  io.write(string.format(
    '\\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "max": %d, "wrong": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
"""


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    Attributes:
        name: for the table.
        path: what is asked; with `is_new`, a number is added.
        connections: clients at a time.
        has_answer: send the ETag of the answer, to get 304.
        is_new: each request is another one, so that none is cached.
    """

    name: str
    path: str
    connections: int = 8
    has_answer: bool = False
    is_new: bool = False


KINDS = (
    Kind("trivial (/health)", "/health"),
    Kind("small cached answer", CACHED),
    Kind("900 rows, cached", "/api/v1/marts/product_daily_growth?limit=900"),
    Kind("304", CACHED, has_answer=True),
    Kind(
        "100 rows, not cached",
        "/api/v1/marts/order_lines?limit=100&quantity=gte.1&source_line=gt.",
        is_new=True,
    ),
    Kind(
        "the same, one client",
        "/api/v1/marts/order_lines?limit=100&quantity=gte.2&source_line=gt.",
        connections=1,
        is_new=True,
    ),
)


@dataclass(frozen=True)
class Result:
    """What wrk saw.

    Attributes:
        rate: requests per second.
        p50, p99, worst: latency in milliseconds.
    """

    rate: float
    p50: float
    p99: float
    worst: float


class Client:
    """wrk, with a token.

    Args:
        server: to ask.
        token: to send.
        folder: for wrk's script.
    """

    def __init__(self, server: Server, token: str, folder: Path) -> None:
        """Write the script."""
        self._url = f"http://127.0.0.1:{server.port}"
        self._token = token
        self._script = folder / "wrk.lua"
        self._script.write_text(SCRIPT)
        self._asked = 0

    def size(self, kind: Kind) -> tuple[int, str]:
        """Bytes of the answer, and its ETag."""
        request = urllib.request.Request(  # noqa: S310 - the server we started
            self._url + kind.path + ("0" if kind.is_new else ""),
            headers={"Authorization": f"Bearer {self._token}"},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return len(answer.read()), answer.headers.get("ETag", "")

    def ask(self, kind: Kind, seconds: int) -> Result:
        """Ask as fast as the server answers.

        Raises:
            SystemExit: a request failed.
        """
        headers = ["-H", f"Authorization: Bearer {self._token}"]
        if kind.has_answer:
            headers += ["-H", f"If-None-Match: {self.size(kind)[1]}"]
        # Lines begin far below the first, at another number each time: the answer is the same first
        # page, but the question is a new one.
        self._asked += 10_000_000
        environment = {"FIRST_LINE": str(-self._asked)} if kind.is_new else {}
        done = subprocess.run(
            [
                *("wrk", "-t", "1", "-c", str(kind.connections), "-d", f"{seconds}s"),
                *("--timeout", "10s", "-s", str(self._script), *headers),
                self._url + kind.path,
            ],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        seen = json.loads(done.stdout.splitlines()[-1])
        if seen["wrong"]:
            raise SystemExit(f"{kind.name}: {seen['wrong']} requests failed\n{done.stdout}")
        rate = seen["requests"] / (seen["microseconds"] / 1e6)
        return Result(rate, seen["p50"] / 1000, seen["p99"] / 1000, seen["max"] / 1000)


def while_building(client: Client, project: Project, seconds: int) -> tuple[Result, int]:
    """Ask for the cached answer while the project is built on the last core.

    Returns:
        What was seen from the start of the build to `seconds` after its end, and how many
        snapshots were published meanwhile.
    """
    before = len(project.published.versions())
    last = max(os.sched_getaffinity(0))
    build = subprocess.Popen(
        [sys.executable, "-m", "warehouse", "build"],
        cwd=project.folder,
        preexec_fn=lambda: os.sched_setaffinity(0, {last}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    results: list[Result] = []
    while build.poll() is None:
        results.append(client.ask(KINDS[1], 5))
    results.append(client.ask(KINDS[1], seconds))
    if build.returncode:
        raise SystemExit("the build failed")
    worst = max(results, key=lambda result: result.p99)
    rate = statistics.median(result.rate for result in results)
    p50 = statistics.median(result.p50 for result in results)
    published = len(project.published.versions()) - before
    return Result(rate, p50, worst.p99, max(result.worst for result in results)), published


def print_table(rounds: Sequence[Sequence[Result]], sizes: Sequence[int]) -> None:
    """The medians, and the median of each round's ratio to the trivial endpoint."""
    print("| request | bytes | requests/s | of trivial | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|")
    for index, kind in enumerate(KINDS):
        results = [results[index] for results in rounds]
        ratio = statistics.median(results[index].rate / results[0].rate for results in rounds)
        rate, p50, p99 = (
            statistics.median(getattr(result, name) for result in results)
            for name in ("rate", "p50", "p99")
        )
        share = f"{ratio:.0%}" if kind.connections == KINDS[0].connections else ""
        print(f"| {kind.name} | {sizes[index]:,} | {rate:,.0f} | {share} | {p50:.2f} | {p99:.2f} |")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_serving", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement (5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("error: wrk is not installed. On Debian: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name) / "project")
        print("Building the sample data", file=sys.stderr)
        outcome = project.build()
        if outcome.exit_code:
            raise SystemExit("\n".join(outcome.lines))
        with Server(project.folder, **NO_LIMITS) as server:
            token = make_token(project.folder, "bench", "--scope", "*")
            client = Client(server, token, Path(name))
            for kind in KINDS:  # warm up, and fill the cache
                client.ask(kind, 1)
            sizes = [0 if kind.has_answer else client.size(kind)[0] for kind in KINDS]
            rounds = [
                [client.ask(kind, options.seconds) for kind in KINDS] for _ in range(options.rounds)
            ]
            print_table(rounds, sizes)
            result, published = while_building(client, project, options.seconds)
            print(
                f"\nsmall cached answer while a build runs on the other core and {published} "
                f"snapshot is swapped in: {result.rate:,.0f}/s, p50 {result.p50:.2f} ms, worst p99 "
                f"of any 5 s {result.p99:.2f} ms, slowest request {result.worst:.1f} ms"
            )


if __name__ == "__main__":
    main()
