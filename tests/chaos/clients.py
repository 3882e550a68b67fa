"""Clients that read without a pause, and what each of their answers must be."""

from __future__ import annotations

import hashlib
import http.client
import io
import random
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pyarrow.parquet

from tests.api.server import Answer
from tests.api.support import Api, Row, as_text, in_order, json_rows, parsed, read_csv
from tests.chaos.builds import half_done
from warehouse.published import PublishedFolder, Standing, is_version, standing

SECONDS_BETWEEN_REQUESTS = 0.1  # at most, at random
OLDER_VERSIONS = 5  # that clients still ask for
FIRST_FAILURES = 20  # that are kept


@dataclass(frozen=True)
class Question:
    """A question whose answer can be told from the Parquet file of a mart.

    Attributes:
        path: below /api/v1, with the suffix of its format.
        mart: the mart behind it.
        order: of the rows, total.
        limit: rows of a page.
        station: the only station to show; None: all.
        names_order: whether the request has to name the order.
    """

    path: str
    mart: str
    order: tuple[str, ...]
    limit: int
    station: str | None = None
    names_order: bool = False

    @property
    def query(self) -> dict[str, str]:
        """Its parameters, without version and cursor."""
        query = {"limit": str(self.limit)}
        if self.station is not None:
            query["station"] = self.station
        if self.names_order:
            query["order"] = ",".join(self.order)
        return query

    @property
    def suffix(self) -> str:
        """Its format."""
        return self.path.partition(".")[2] or "json"


QUESTIONS = (
    Question("chaos/readings", "readings", ("-reading",), 1500),
    Question("chaos/readings", "readings", ("-reading",), 100, "station 7"),
    Question("chaos/readings.csv", "readings", ("-reading",), 2000),
    Question("marts/readings.csv", "readings", ("station", "reading"), 900, None, True),
    Question("marts/readings.arrow", "readings", ("-measured", "reading"), 2500, None, True),
    Question("marts/readings.parquet", "readings", ("note", "reading"), 4000, None, True),
    Question("chaos/stations", "stations", ("-highest", "station"), 25),
    Question("marts/stations.csv", "stations", ("-highest", "station"), 100),
    Question("marts/days", "days", ("day",), 20),
    Question("marts/days.parquet", "days", ("day",), 100),
    Question("marts/totals", "totals", (), 10),
)


@dataclass(frozen=True)
class Page:
    """A page of the answer to a question, of one version."""

    question: Question
    offset: int
    version: str


class Snapshots:
    """The Parquet files of every version, kept beside the published folder, which is pruned.

    Args:
        published: the published folder.
        kept: where the copies go.
    """

    def __init__(self, published: PublishedFolder, kept: Path) -> None:
        self._published = published
        self._kept = kept
        self.rows = lru_cache(maxsize=24)(self._rows)

    def take(self, version: str) -> None:
        """Verify and copy a version, the first time."""
        if not (self._kept / version).exists():
            self._published.verify(version)
            shutil.copytree(self._published.folder(version), self._kept / version)

    def _rows(self, version: str, mart: str) -> list[Row]:
        """The rows of a mart, read by DuckDB."""
        with duckdb.connect() as connection:
            cursor = connection.execute(
                "select * from read_parquet(?)", [str(self._kept / version / f"{mart}.parquet")]
            )
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def page(self, page: Page) -> tuple[list[Row], bool]:
        """The rows that a page must have, and whether there is a further page."""
        question = page.question
        rows = in_order(
            (
                row
                for row in self.rows(page.version, question.mart)
                if question.station is None or row["station"] == question.station
            ),
            question.order,
        )
        end = page.offset + question.limit
        return rows[page.offset : end], end < len(rows)


class Log:
    """What the publish log came to, entry by entry.

    Args:
        published: the published folder.
    """

    def __init__(self, published: PublishedFolder) -> None:
        self._published = published
        self._stamp: object = None
        self._standings = [standing([])]  # after so many entries
        self._lock = threading.Lock()

    def length(self) -> int:
        """How many entries it has at this instant."""
        with self._lock:
            stamp = self._published.stamp()
            if stamp != self._stamp:
                entries = self._published.entries()
                for number in range(len(self._standings), len(entries) + 1):
                    self._standings.append(standing(entries[:number]))
                self._stamp = stamp
            return len(self._standings) - 1

    def between(self, first: int, last: int) -> list[Standing]:
        """What it came to with so many entries, and with each that came after."""
        return self._standings[first : last + 1]


class Board:
    """What all clients saw, and what was wrong with it.

    Args:
        published: the published folder.
    """

    def __init__(self, published: PublishedFolder) -> None:
        self.published = published
        self.log = Log(published)
        # How many entries a server has taken up for sure, by its port.
        self.taken_up: defaultdict[int, int] = defaultdict(int)
        self.failures: list[str] = []
        self.statuses: Counter[str] = Counter()
        self.slowest = (0.0, "")
        self.newest: defaultdict[str, list[str]] = defaultdict(list)
        self.versions: set[str] = set()
        self.judged = 0  # answers whose version was held against the log
        self.checked = 0
        self._pending: dict[tuple[Page, str], Answer] = {}
        self._done: set[tuple[Page, str]] = set()
        self._bodies: dict[str, tuple[Page, str]] = {}  # by ETag
        self._lock = threading.Lock()

    def fail(self, message: str) -> None:
        """Note that something is not as it must be."""
        with self._lock:
            if len(self.failures) < FIRST_FAILURES:
                self.failures.append(message)

    def took(self, seconds: float, what: str, status: int) -> None:
        """Count an answer."""
        with self._lock:
            self.statuses[str(status)] += 1
            self.slowest = max(self.slowest, (seconds, what))

    def see(self, version: str) -> None:
        """Note that somebody was given an answer of a version."""
        with self._lock:
            self.versions.add(version)
            self.judged += 1

    def is_logged(self, version: str) -> bool:
        """Whether the log has it at this instant."""
        return any(entry.version == version for entry in self.published.entries())

    def keep(self, page: Page, answer: Answer) -> None:
        """Keep a body to be compared later, once for equal bodies."""
        digest = hashlib.sha256(answer.body).hexdigest()
        etag = answer.headers["etag"]
        with self._lock:
            if self._bodies.setdefault(etag, (page, digest)) != (page, digest):
                self.failures.append(f"{page}: ETag {etag} stands for two bodies")
            if (page, digest) not in self._done:
                self._done.add((page, digest))
                self._pending[page, digest] = answer

    def page_of(self, etag: str) -> Page:
        """What an ETag was given for."""
        with self._lock:
            return self._bodies[etag][0]

    def check(self, snapshots: Snapshots) -> None:
        """Compare the bodies that came since with the Parquet files."""
        with self._lock:
            pending, self._pending = self._pending, {}
        for (page, _), answer in pending.items():
            if self.is_logged(page.version):
                snapshots.take(page.version)
            self.checked += 1
            fault = compare(page, answer, snapshots)
            if fault:
                self.fail(f"{page}: {fault}")


def compare(page: Page, answer: Answer, snapshots: Snapshots) -> str | None:
    """What is wrong with an answer; None when it is just what its version holds."""
    expected, has_next = snapshots.page(page)
    rows: list[Row]
    suffix = page.question.suffix
    if suffix == "json":
        content = parsed(answer.body)
        if content["meta"]["version"] != page.version:
            return f"meta names {content['meta']['version']}"
        if content["meta"]["next"] != answer.headers.get("x-next-cursor"):
            return "the cursors of meta and of the header differ"
        rows, expected = content["data"], json_rows(expected)
    elif suffix == "csv":
        rows = [dict(row) for row in read_csv(answer.body)]
        expected = [{name: _csv(value) for name, value in row.items()} for row in expected]
    elif suffix == "arrow":
        rows = pyarrow.ipc.open_stream(answer.body).read_all().to_pylist()
    else:
        rows = pyarrow.parquet.read_table(io.BytesIO(answer.body)).to_pylist()
    numbers = {str(row["build"]) for row in rows}
    if len(numbers) != 1:
        return f"mixes the builds {sorted(numbers)}"
    if ("x-next-cursor" in answer.headers) != has_next:
        return "the cursor is missing" if has_next else "a cursor leads nowhere"
    if rows != expected:
        index = next(
            (i for i, pair in enumerate(zip(rows, expected, strict=False)) if pair[0] != pair[1]),
            min(len(rows), len(expected)),
        )
        return (
            f"{len(rows)} rows, {len(expected)} in the file; row {index} is "
            f"{rows[index : index + 1]}, in the file {expected[index : index + 1]}"
        )
    return None


def _csv(value: Any) -> str:
    return value.isoformat() + "Z" if isinstance(value, datetime) else as_text(value)


@dataclass
class Client:
    """A reader in a thread of its own.

    Args:
        name: who it is.
        api: the server it asks, and a token.
        board: where it notes what it sees.
        random: what it asks next.
        stop: ends it.
    """

    name: str
    api: Api
    board: Board
    random: random.Random
    stop: threading.Event
    _etags: dict[tuple[Question, int, str | None], str] = field(default_factory=dict)
    _known: list[str] = field(default_factory=list)
    _stood: list[Standing] = field(default_factory=list)  # while the last request was answered

    def run(self) -> None:
        """Ask until told to stop."""
        while not self.stop.is_set():
            try:
                self._act()
            except (OSError, http.client.HTTPException, AssertionError, KeyError) as error:
                self.board.fail(f"{self.name}: {error!r}")
            self._pause()

    def _pause(self) -> None:
        self.stop.wait(self.random.uniform(0, SECONDS_BETWEEN_REQUESTS))

    def _act(self) -> None:
        kind = self.random.random()
        if kind < 0.05:
            self._ask_ready()
        elif kind < 0.1:
            self._ask_for_half_done()
        else:
            older = self._known[-OLDER_VERSIONS:]
            version = self.random.choice(older) if older and kind < 0.35 else None
            self._walk(self.random.choice(QUESTIONS), version)

    def _ask_ready(self) -> None:
        answer = self._get("/ready", {})
        if answer.status != 200 or answer.json["status"] != "ready":
            self.board.fail(f"/ready: {answer.status} {answer.body[:300]!r}")
        else:
            self._saw(answer.json["version"], "/ready", is_newest=True)

    def _ask_for_half_done(self) -> None:
        """A folder that is not in the log does not exist for readers."""
        for version in sorted(half_done(self.board.published)):
            if is_version(version):
                self._ask(QUESTIONS[-1], version, None, 0)

    def _walk(self, question: Question, version: str | None) -> None:
        """Ask for the first page and those after it."""
        cursor, offset = None, 0
        first = version
        while not self.stop.is_set():
            answer = self._ask(question, version, cursor, offset)
            if answer is None or answer.status != 200:
                return
            seen = answer.headers["x-snapshot-version"]
            if first is not None and seen != first:
                self.board.fail(f"{question}: asked for {first}, got {seen}")
            first = seen
            cursor = answer.headers.get("x-next-cursor")
            if cursor is None:
                return
            offset += question.limit
            version = self.random.choice((None, seen))
            self._pause()

    def _ask(
        self, question: Question, version: str | None, cursor: str | None, offset: int
    ) -> Answer | None:
        """One request; the answer if it is 200 and may be right, else None."""
        query = question.query
        query |= {"version": version} if version else {}
        query |= {"cursor": cursor} if cursor else {}
        place = (question, offset, version)
        known = self._etags.get(place)
        headers = {"If-None-Match": known} if known and self.random.random() < 0.5 else {}
        was_logged = version is None or self.board.is_logged(version)
        answer = self._get(question.path, query, headers)
        what = f"{question.path} {query}: {answer.status}"
        if answer.status == 200:
            seen = answer.headers["x-snapshot-version"]
            self._saw(seen, what, is_newest=version is None and cursor is None)
            self._etags[place] = answer.headers["etag"]
            self.board.keep(Page(question, offset, seen), answer)
            return answer
        if answer.status == 304 and headers:
            page = self.board.page_of(headers["If-None-Match"])
            seen = answer.headers["x-snapshot-version"]
            same = (page, answer.headers["etag"]) == (Page(question, offset, seen), known)
            if not same or answer.body:
                self.board.fail(f"{what} for version {seen}, the ETag is of {page}")
            self._saw(seen, what, is_newest=version is None and cursor is None)
        elif answer.status == 404 and not was_logged:
            pass
        elif answer.status == 410 and (version or cursor):
            named = version or str(answer.json["detail"]).split()[1]
            if all(named in stood.servable for stood in self._stood):
                self.board.fail(f"{what}: {named} stands all the time, and is said to be gone")
        else:
            self.board.fail(f"{what} {answer.body[:300]!r}")
        return None

    def _get(
        self, path: str, query: dict[str, str], headers: dict[str, str] | None = None
    ) -> Answer:
        log, first = self.board.log, self.board.taken_up[self.api.server.port]
        started = time.monotonic()
        answer = self.api.get(path, query, headers=headers or {})
        self.board.took(time.monotonic() - started, f"{path} {query}", answer.status)
        self._stood = log.between(first, log.length())
        return answer

    def _saw(self, version: str, what: str, *, is_newest: bool) -> None:
        """Hold an answer against the log, from what the server had taken up to what it has now.

        Args:
            version: whose answer it is.
            what: was asked.
            is_newest: the request names no version, so that it gets what readers see.
        """
        self.board.see(version)
        shown = [stood.servable[:1] if is_newest else stood.servable for stood in self._stood]
        if not any(version in versions for versions in shown):
            last = self._stood[-1]
            became = (
                "withdrawn" if version in last.withdrawn
                else "pruned" if version in last.pruned
                else "not the newest" if version in last.line
                else "not in the log"
            )  # fmt: skip
            self.board.fail(f"{self.name}, {what}: served {version}, which is {became}")
        if not is_newest:
            return
        seen = self.board.newest[self.name]
        if not seen or seen[-1] != version:
            seen.append(version)
            self._known.append(version)


def follows(seen: Sequence[str], logged: Sequence[str]) -> bool:
    """Whether versions were seen in an order that the log allows; some may have been missed."""
    rest = iter(logged)
    return all(version in rest for version in seen)
