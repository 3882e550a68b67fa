"""The snapshot that is served: found by the publish log, loaded beside the old one, swapped.

A snapshot is opened once and read by many threads, each through a cursor of its own. Whoever reads
holds it: an old snapshot is closed when its last reader is done. While it is open its files are
leased, so that `prune` leaves them alone.

A small snapshot is loaded into memory. A large one stays in its files, which are read by
descriptors that are kept open: removing or replacing a file does not reach them. Before and after
each query they are asked whether something changed in place; no answer is made of what did.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from api.catalog import Catalog, Mart, Order, read_catalog
from api.problems import Problem
from api.query import order_by, quoted
from api.redaction import without_paths
from api.settings import Settings
from warehouse.published import (
    DamagedError,
    Entry,
    GoneError,
    PublishedError,
    PublishedFolder,
    Standing,
    standing,
)

log = logging.getLogger("api")

OLD_SNAPSHOTS_OPEN = 2  # older versions that stay open for ?version=
SECONDS_BEFORE_RETRY = 30.0  # before a damaged snapshot is tried again
TRIES = 3  # of a query whose files were touched, such as by a backup that links them
# Where an open file has a path of its own; macOS has the other one.
DESCRIPTORS = "/proc/self/fd" if Path("/proc/self/fd").is_dir() else "/dev/fd"
_UNREADABLE = (duckdb.IOException, duckdb.PermissionException)
_T = TypeVar("_T")
_TICK = 0.1  # seconds between two looks at the clock, for queries that take too long


class Snapshot:
    """One published version, opened for reading.

    Args:
        folder: the published folder.
        version: the version to open.
        settings: limits of size and time.

    Raises:
        PublishedError: it is gone, or not what was published.
        duckdb.Error: its files cannot be read.
    """

    def __init__(self, folder: PublishedFolder, version: str, settings: Settings) -> None:
        """Lease its files, compare them with their catalog, and load them."""
        self.version = version
        self.damage: str | None = None  # what is wrong with it since it was opened
        with ExitStack() as held:
            held.enter_context(folder.lease(version))
            with ExitStack() as files:
                content, self._files = folder.hold(version, files)
                self.catalog = _read(content)
                self.in_memory = self.catalog.bytes <= settings.in_memory_bytes
                loaded = self._load(folder, settings) if self.in_memory else None
                self.in_memory = loaded is not None
                self._connection = loaded or self._open(folder, settings)
                if self.in_memory:
                    self._files = {}
                else:
                    held.enter_context(files.pop_all())
            held.callback(self._connection.close)
            self._held = held.pop_all()
        self.widths: dict[str, dict[str, int]] = {}  # of text columns, by mart, once looked up
        self._readers = 0
        self._is_retired = False
        self._lock = threading.Lock()

    def _load(
        self, folder: PublishedFolder, settings: Settings
    ) -> duckdb.DuckDBPyConnection | None:
        """Load it into memory; None when it does not fit.

        Raises:
            DamagedError: a file changed meanwhile.
        """
        for _ in range(TRIES):
            before = self.check()
            try:
                connection = self._open(folder, settings)
            except duckdb.OutOfMemoryException:
                return None
            if self.is_whole() and self.check() == before:
                return connection
            connection.close()
        raise DamagedError(f"the files of {self.version} changed while they were read")

    def _open(self, folder: PublishedFolder, settings: Settings) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(
            ":memory:",
            config={"memory_limit": f"{settings.memory_limit}B", "temp_directory": ""},
        )
        try:
            place = folder.folder(self.catalog.version).resolve()
            for mart in self.catalog.marts.values():
                file = f"{DESCRIPTORS}/{self._files[mart.file].descriptor}"
                rows = f"select * from read_parquet('{file}')"
                connection.execute(
                    # Sorted once here, so that a page in the default order needs no sort.
                    f"create table {quoted(mart.name)} as {rows} {order_by(mart.order)}"
                    if self.in_memory
                    else f"create view {quoted(mart.name)} as {rows}"
                )
            if not self.in_memory:
                escaped = str(place).replace("'", "''")
                # DuckDB asks where a descriptor leads; for a file that was removed, nowhere.
                connection.execute(f"set allowed_directories = ['{escaped}/', '{DESCRIPTORS}/']")
            # The server's threads are the parallelism: a small query is faster on one.
            connection.execute("set threads = 1")
            connection.execute("set enable_external_access = false")
            connection.execute("set lock_configuration = true")
        except BaseException:
            connection.close()
            raise
        return connection

    def has_order(self, mart: Mart, order: Sequence[Order]) -> bool:
        """Whether a mart's rows come in this order when none is asked for.

        DuckDB keeps the order of a table through where and limit; its documentation promises it.
        """
        return self.in_memory and tuple(order) == mart.order

    def check(self) -> object:
        """Make sure that its files are what was published; costs an fstat each.

        Returns:
            A value that is another one once a file has changed.

        Raises:
            DamagedError: one is not what was published; it stays so.
        """
        if self.damage is not None:
            raise DamagedError(self.damage)
        try:
            return tuple(file.check() for file in self._files.values())
        except DamagedError as error:
            self.damage = str(error)
            raise

    def give_up(self, error: Exception) -> DamagedError:
        """Its files cannot be read any more, so nothing is read from now on."""
        self.damage = self.damage or f"{self.version} can no longer be read: {error}"
        return DamagedError(self.damage)

    def is_whole(self) -> bool:
        """Whether `check` finds nothing."""
        try:
            self.check()
        except DamagedError:
            return False
        return True

    def out_of_place(self) -> str | None:
        """What to say of files that it reads, and whose paths name nothing or others now."""
        files = [file.path for file in self._files.values() if not file.is_in_place()]
        if not files:
            return None
        others = f" and {len(files) - 1} more" if len(files) > 1 else ""
        return (
            f"{files[0]}{others}: removed or replaced. What was published is served from the open "
            "file, until the server stops. Bring it back from a copy, or build again"
        )

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own for one thread; the caller closes it."""
        return self._connection.cursor()

    def acquire(self) -> bool:
        """Count a reader; False when the snapshot was closed meanwhile."""
        with self._lock:
            if self._is_retired and self._readers == 0:
                return False
            self._readers += 1
            return True

    def release(self) -> None:
        """A reader is done; the last one of a retired snapshot closes it."""
        with self._lock:
            self._readers -= 1
            is_last = self._is_retired and self._readers == 0
        if is_last:
            self._close()

    def retire(self) -> None:
        """No new reader comes; close now, or when the last one is done."""
        with self._lock:
            if self._is_retired:
                return
            self._is_retired = True
            is_unused = self._readers == 0
        if is_unused:
            self._close()

    def _close(self) -> None:
        self._held.close()


def _read(content: Mapping[str, Any]) -> Catalog:
    """Read a catalog.

    Raises:
        PublishedError: it is not what a publication writes.
    """
    try:
        return read_catalog(content)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise PublishedError(
            f"the catalog of {content['version']} is none that this version of the API can read: "
            f"{error!r}"
        ) from error


@dataclass(frozen=True)
class Status:
    """What `/ready` says.

    Attributes:
        catalog: of the snapshot that is served; None: there is none.
        failure: why the newest one is not served, or what became of its files; None: all is well.
        failed_version: the version that failed; None when none did, or the log itself did.
        swaps: snapshots taken up since the start.
    """

    catalog: Catalog | None
    failure: str | None
    failed_version: str | None
    swaps: int


@dataclass
class _Failure:
    """Why the newest entry is not served, and when to try again."""

    version: str | None
    message: str
    again_at: float = field(default_factory=lambda: time.monotonic() + SECONDS_BEFORE_RETRY)


class SnapshotStore:
    """The snapshots that are open, and the thread that follows the publish log.

    Args:
        settings: where the published folder is, and the limits.
    """

    def __init__(self, settings: Settings) -> None:
        """Open nothing yet; the first reader does, or `start`."""
        self._settings = settings
        self._folder = PublishedFolder(settings.published)
        self._current: Snapshot | None = None
        self._old: OrderedDict[str, Snapshot] = OrderedDict()
        self._failure: _Failure | None = None
        self._out_of_place: str | None = None  # what is wrong with paths of the current one
        self._stamp: object = None
        self._entries: list[Entry] = []  # all that the log ever had, since the start
        self._standing = standing([])
        self._swaps = 0
        self._lock = threading.Lock()  # the fields above
        self._opening = threading.Lock()  # one snapshot is opened at a time
        self._deadlines: dict[duckdb.DuckDBPyConnection, float] = {}
        self._is_started = False
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def page_bytes(self) -> int:
        """How many bytes a page of rows may have."""
        return self._settings.page_bytes

    # ------------------------------------------------------------ following the log

    def start(self) -> None:
        """Load the newest snapshot and follow the log; more calls do nothing."""
        with self._lock:
            if self._is_started:
                return
            self._is_started = True
        self.refresh()
        for name, target in (("publish-log", self._follow), ("query-time", self._watch)):
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop following and close every snapshot, each when its last reader is done."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        with self._lock:
            snapshots = [*self._old.values(), *([self._current] if self._current else [])]
            self._current = None
            self._old.clear()
        for snapshot in snapshots:
            snapshot.retire()

    def _follow(self) -> None:
        while not self._ended.wait(self._settings.poll_seconds):
            try:
                self.refresh()
            except Exception:  # the thread must outlive whatever a disk can do
                log.exception("publish log not followed", extra={"event": "follow_failed"})

    def refresh(self) -> None:
        """Take up the newest snapshot if the log has changed, or if it is time to try again."""
        with self._opening:
            self._look_at_log()
            self._look_at_paths()

    def _look_at_log(self) -> None:
        failure, current = self._failure, self._current
        with self._lock:
            old = list(self._old.values())
        self._let_go([snapshot.version for snapshot in old if not snapshot.is_whole()])
        is_whole = current is None or current.is_whole()
        stamp = self._folder.stamp()
        is_time = failure is not None and time.monotonic() >= failure.again_at
        if stamp == self._stamp and is_whole and not is_time:
            return
        self._stamp = stamp
        try:
            is_shorter = self._read_log()
        except (PublishedError, OSError) as error:
            self._fail(None, str(error))
            if is_whole:
                return
            is_shorter = False
        self._take_up(self._standing)
        if is_shorter and self._failure is None:
            self._fail(
                None,
                "log.jsonl lacks entries that were in it; what they said still counts here. "
                "Bring the file back from a copy, or start the server again to do without them",
            )

    def _look_at_paths(self) -> None:
        """Note, and say once, that files which are read have lost their paths."""
        current, known = self._current, self._out_of_place
        message = current.out_of_place() if current is not None else None
        self._out_of_place = message and without_paths(message, self._settings.published)
        if message is not None and self._out_of_place != known:
            version = current.version if current is not None else None
            log.error(message, extra={"event": "snapshot_out_of_place", "version": version})

    def _read_log(self) -> bool:
        """Take in what the log says now.

        What it said before stays true when the file is gone, was cut, or came back from a copy:
        nobody is to be shown what an entry that is lost had withdrawn.

        Returns:
            Whether it lacks entries that it had.

        Raises:
            PublishedError, OSError: it cannot be read.
        """
        entries = self._folder.entries()
        is_shorter = entries[: len(self._entries)] != self._entries
        if is_shorter:
            entries = [*self._entries, *(one for one in entries if one not in self._entries)]
        self._entries, self._standing = entries, standing(entries)
        return is_shorter

    def may_show(self, version: str) -> bool:
        """Whether a version may be shown: it was neither withdrawn nor pruned."""
        return version not in self._standing.withdrawn and version not in self._standing.pruned

    def _take_up(self, stands: Standing) -> None:
        """Serve the best that is whole; what is served already is better than an older one."""
        self._let_go([version for version in self._old if not self.may_show(version)])
        failure: _Failure | None = None
        may_stay = (
            self._current is not None
            and self._current.version in stands.servable
            and self._current.is_whole()
        )
        for version in stands.servable:
            served = self._current
            if may_stay and served and (version == served.version or failure is not None):
                break  # it is served already, or it is the last good one
            try:
                snapshot = Snapshot(self._folder, version, self._settings)
            except (PublishedError, duckdb.Error, OSError) as error:
                message = " ".join(str(error).split())
                if failure is None:
                    failure = _Failure(version, message)
                continue
            self._swap(snapshot)
            break
        else:
            if not may_stay:  # it was withdrawn, and nothing else is whole
                self._swap(None)
        if failure is not None:
            self._fail(failure.version, failure.message)
        else:
            self._failure = None

    def _swap(self, snapshot: Snapshot | None) -> None:
        with self._lock:
            old, self._current = self._current, snapshot
            self._swaps += snapshot is not None
        if snapshot is not None:
            self._say_swapped(snapshot, old)
        if old is not None:
            old.retire()

    def _let_go(self, versions: Sequence[str]) -> None:
        """Close older snapshots that are open, each when its last reader is done."""
        with self._lock:
            retired = [self._old.pop(version) for version in versions if version in self._old]
        for snapshot in retired:
            snapshot.retire()

    @staticmethod
    def _say_swapped(snapshot: Snapshot, old: Snapshot | None) -> None:
        log.info(
            "serving another snapshot",
            extra={
                "event": "snapshot_swapped",
                "version": snapshot.version,
                "previous_version": old.version if old else None,
                "rows": snapshot.catalog.rows,
                "in_memory": snapshot.in_memory,
            },
        )

    def _fail(self, version: str | None, message: str) -> None:
        known = self._failure
        shown = without_paths(message, self._settings.published)  # the log alone has it whole
        self._failure = _Failure(version, shown)
        if known is None or (known.version, known.message) != (version, shown):
            log.error(
                message,
                extra={
                    "event": "snapshot_refused",
                    "version": version,
                    "serving": self._current.version if self._current else None,
                },
            )

    # ------------------------------------------------------------ readers

    @contextmanager
    def reading(self, version: str | None = None) -> Iterator[Snapshot]:
        """Hold a snapshot while an answer is made of it.

        Args:
            version: the version to read; None: the newest.

        Raises:
            Problem: nothing is published yet (503), or this version is not there (404, 410).
        """
        self.start()
        snapshot = self._acquire(version)
        try:
            yield snapshot
        finally:
            snapshot.release()

    def newest_version(self) -> str:
        """The version that is served, for those who only want its name.

        Raises:
            Problem: nothing is published yet (503).
        """
        snapshot = self._current
        if snapshot is not None:
            return snapshot.version
        with self.reading() as first:
            return first.version

    def _acquire(self, version: str | None) -> Snapshot:
        while True:
            snapshot = self._current
            if version is not None and (snapshot is None or version != snapshot.version):
                snapshot = self._older(version)
            if snapshot is None:
                raise self._nothing_published()
            if snapshot.damage is not None:
                raise self._damaged(snapshot)
            if snapshot.acquire():
                return snapshot

    def _nothing_published(self) -> Problem:
        failure = self._failure
        if failure is not None:
            detail = f"No snapshot can be served: {failure.message}"
        else:
            detail = "Nothing has been published yet. Run: make build"
        return Problem(503, "nothing-published", detail, headers={"Retry-After": "5"})

    def _older(self, version: str) -> Snapshot:
        with self._lock:
            snapshot = self._old.get(version)
            if snapshot is not None and self.may_show(version):
                self._old.move_to_end(version)
                return snapshot
        with self._opening:
            with self._lock:
                if version in self._old and self.may_show(version):
                    return self._old[version]
            try:
                self._read_log()
                if version not in {entry.version for entry in self._entries}:
                    raise Problem(
                        404,
                        "unknown-version",
                        f"There is no version {version[:50]!r}.",
                        available=self._available(),
                    )
                if version in self._standing.withdrawn:
                    raise Problem(
                        410,
                        "version-withdrawn",
                        f"Version {version} was taken back by a rollback. Ask again without a "
                        "version or cursor.",
                        available=self._available(),
                    )
                if not self.may_show(version):
                    raise GoneError(version)
                snapshot = Snapshot(self._folder, version, self._settings)
            except GoneError:
                raise Problem(
                    410,
                    "version-gone",
                    f"Version {version} was removed. Ask again without a version or cursor.",
                    available=self._available(),
                ) from None
            except (PublishedError, duckdb.Error, OSError) as error:
                log.exception("older snapshot", extra={"event": "snapshot_refused"})
                raise Problem(
                    410, "version-gone", f"Version {version} can no longer be read."
                ) from error
            with self._lock:
                self._old[version] = snapshot
                retired = [
                    self._old.popitem(last=False)[1]
                    for _ in range(len(self._old) - OLD_SNAPSHOTS_OPEN)
                ]
        for old in retired:
            old.retire()
        return snapshot

    def _available(self) -> list[str]:
        """Versions that can be asked for, the newest last."""
        return [version for version in self._folder.versions() if self.may_show(version)][-10:]

    def before(self, version: str) -> Catalog:
        """The catalog of what readers saw before a version, and was not withdrawn since.

        Args:
            version: of a snapshot.

        Raises:
            GoneError: there was none, or it was removed.
            PublishedError: the log or that catalog is not what was written.
            OSError: one of them cannot be read.
        """
        previous = self._standing.before(version)
        if previous is None:
            raise GoneError(f"nothing was published before {version}")
        try:
            return _read(self._folder.catalog(previous))
        except GoneError as error:
            raise GoneError(f"{previous}, which was published before it, was removed") from error

    def shown(self, error: Exception) -> str:
        """What clients are told of an error: without the paths of this machine."""
        return without_paths(" ".join(str(error).split()), self._settings.published)

    def status(self) -> Status:
        """What is served now, and what could not be."""
        self.start()
        with self._lock:
            snapshot, failure = self._current, self._failure
            if failure is None and snapshot is not None and self._out_of_place is not None:
                failure = _Failure(snapshot.version, self._out_of_place)
            return Status(
                catalog=snapshot.catalog if snapshot else None,
                failure=failure.message if failure else None,
                failed_version=failure.version if failure else None,
                swaps=self._swaps,
            )

    # ------------------------------------------------------------ queries

    def rows(self, snapshot: Snapshot, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """The rows of a query, within the time that a query may take.

        Raises:
            Problem: it took too long, needs more memory than a snapshot may have, or a file of the
                snapshot is not what was published.
        """
        return self._answer(snapshot, lambda cursor: cursor.execute(sql, list(values)).fetchall())

    def arrow(self, snapshot: Snapshot, sql: str, values: Sequence[object]) -> Any:
        """The same as `rows`, as a pyarrow.Table."""
        return self._answer(
            snapshot, lambda cursor: cursor.sql(sql, params=list(values)).to_arrow_table()
        )

    def _answer(self, snapshot: Snapshot, fetch: Callable[[duckdb.DuckDBPyConnection], _T]) -> _T:
        """What a query gives, once it is sure that its files did not change under it."""
        try:
            for _ in range(TRIES):
                before = snapshot.check()
                failure: Exception | None = None
                try:
                    with self._limited(snapshot) as cursor:
                        answer = fetch(cursor)
                except (Problem, duckdb.Error) as caught:  # half a file may look like anything
                    failure = caught
                if snapshot.check() != before:
                    continue
                if failure is None:
                    return answer
                if isinstance(failure, _UNREADABLE) and not snapshot.in_memory:
                    raise snapshot.give_up(failure)
                raise failure
        except DamagedError as error:
            raise self._damaged(snapshot) from error
        raise self._damaged(snapshot)

    @staticmethod
    def _damaged(snapshot: Snapshot) -> Problem:
        """No number of it is shown; within a look at the log, another snapshot is served."""
        return Problem(
            503,
            "snapshot-damaged",
            f"Files of version {snapshot.version} changed on the server's disk. Ask again.",
            headers={"Retry-After": "2"},
        )

    @contextmanager
    def _limited(self, snapshot: Snapshot) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = snapshot.cursor()
        self._deadlines[cursor] = time.monotonic() + self._settings.query_seconds
        try:
            yield cursor
        except duckdb.InterruptException:
            raise Problem(
                503,
                "query-too-slow",
                f"The query took more than {self._settings.query_seconds:g} s. "
                "Ask for fewer rows, or filter by the columns the mart is sorted by.",
            ) from None
        except duckdb.OutOfMemoryException:
            raise Problem(
                503,
                "query-too-large",
                "The query needs more memory than it may have. Filter more, or ask for fewer "
                "columns.",
            ) from None
        finally:
            del self._deadlines[cursor]
            cursor.close()

    def _watch(self) -> None:
        while not self._ended.wait(_TICK):
            now = time.monotonic()
            for cursor, deadline in self._deadlines.copy().items():
                if now > deadline:
                    with suppress(duckdb.Error):  # it may have ended, and closed, just now
                        cursor.interrupt()
