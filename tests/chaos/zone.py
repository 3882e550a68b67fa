"""A landing zone whose files change while builds load them and are killed.

Every row carries a marker of its own, so that each can be found again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow
import pyarrow.parquet
import yaml

from tests.chaos.builds import Build, Forge
from tests.support import ROOT, Project

COLUMNS = {
    "products": ("product_id", "name", "category", "price", "inventory_count"),
    "order_items": ("order_id", "product_id", "quantity", "ordered_at"),
}
FEEDS = tuple(COLUMNS)
MODELS = ("base_products", "base_products_repeats", "base_order_items")
NAMES = (
    *("a.csv", "b.csv", "c.csv", "d.csv", "e.csv.gz", "f.csv.gz", "g.jsonl", "h.jsonl"),
    *("i.parquet", "j.parquet"),
)
IN_PLACE = (".csv", ".jsonl")  # files that people write into
SECONDS_BETWEEN_CHANGES = 0.04  # at most, at random
SECONDS_OF_A_LOAD = 0.6  # from dbt's first word about a model on, within which it is killed
MARKER = re.compile(r"M\d{8}")
HOUR_NS = 3600 * 10**9


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        data: uncompressed.
        markers: of its rows.
        loads: it is no file that is refused.
    """

    data: bytes
    markers: tuple[str, ...] = ()
    loads: bool = True

    @property
    def hash(self) -> str:
        """As the log of files has it."""
        return hashlib.sha256(self.data).hexdigest()


class FeedsProject(Project):
    """The project with the two feeds alone, which it finds in its own landing zone.

    Args:
        folder: where it goes.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for part in ("models", "seeds"):
            shutil.rmtree(folder / part)
        for file in (folder / "tests/data").glob("*.sql"):
            file.unlink()
        models, seeds = folder / "models/staging/shop", folder / "seeds/shop"
        models.mkdir(parents=True)
        seeds.mkdir(parents=True)
        for name in (*(f"{model}.sql" for model in MODELS), "_shop__docs.md"):
            shutil.copy2(ROOT / "models/staging/shop" / name, models)
        for feed in FEEDS:
            shutil.copy2(ROOT / f"seeds/shop/{feed}.csv", seeds)
            (folder / "landing" / feed).mkdir(parents=True)
        contracts = yaml.safe_load((ROOT / "models/staging/shop/_shop__sources.yml").read_text())
        (source,) = contracts["sources"]
        source["tables"] = [table for table in source["tables"] if table["name"] in FEEDS]
        (models / "_shop__sources.yml").write_text(yaml.safe_dump(contracts))
        self.landing = folder / "landing"
        self.forge = Forge(folder, WAREHOUSE_SAMPLE_DATA="0")

    def do(self, *command: str) -> None:
        """Run a command to its end, which must be a good one."""
        build = self.forge.start(0, *command)
        self.forge.wait(build)
        assert build.exit_code == 0, build.last_words

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query, or none where a table that it reads was not made yet."""
        try:
            return self.query(sql)
        except duckdb.CatalogException:
            return []

    def outcome(self, feed: str) -> dict[str, list[tuple[Any, ...]]]:
        """All that became of the files of a feed."""
        found = {
            "rows": self.rows(
                f"select * exclude (_loaded_at) from staging.base_{feed} "
                "order by _file, _line_number"
            ),
            "files": self.rows(
                "select file, state, reason, content_hash, rows_read, rows_rejected, modified_ns "
                f"from landing.{feed}_files order by file"
            ),
        }
        if f"base_{feed}_repeats" in MODELS:
            found["repeats"] = self.rows(
                f"select * from staging.base_{feed}_repeats order by _file, _line_number"
            )
        return found


class Churner:
    """Somebody who changes files of a landing zone without a pause, and knows what is in them.

    Args:
        zone: the landing zone.
        random: decides what is done.
    """

    def __init__(self, zone: Path, random: random.Random) -> None:
        self.zone = zone
        self.random = random
        self.there: dict[tuple[str, str], Content] = {}  # by feed and name
        self.known: dict[str, Content] = {}  # what was ever in a file, by hash
        # Since the last check: places where something new is, and hashes that gave way to it.
        self.written: set[tuple[str, str]] = set()
        self.replaced: set[str] = set()
        self.done: Counter[str] = Counter()
        self._last_marker = 0
        self._acts: dict[Callable[[str, str], object], int] = {
            self.write: 8,
            self.write_into: 3,
            self.replace_with_equal_size_and_time: 4,
            self.change_and_change_back: 4,
            self.append: 4,
            self.delete: 4,
            self.rename: 3,
            self.copy: 3,
            self.touch: 3,
            self.make_odd: 2,
            self.lock_for_a_moment: 1,
        }

    def run(self, stop: threading.Event) -> None:
        """Change something again and again."""
        while not stop.wait(self.random.uniform(0, SECONDS_BETWEEN_CHANGES)):
            self.act()

    def act(self) -> None:
        """Change something; what cannot be done to the file as it is does nothing."""
        (act,) = self.random.choices([*self._acts], [*self._acts.values()])
        feed, name = self.random.choice(FEEDS), self.random.choice(NAMES)
        if act(feed, name) is not False:
            self.done[act.__name__.replace("_", " ")] += 1

    # ------------------------------------------------------------ what is done

    def write(self, feed: str, name: str) -> None:
        """A new file takes the place of the old one, all at once."""
        content, data = self._new(feed, name)
        part = self.zone / feed / f"{name}.part"
        part.write_bytes(data)
        self._stamp(part)
        part.rename(self._path(feed, name))
        self._note(feed, name, content)

    def write_into(self, feed: str, name: str) -> None:
        """The old file is emptied and written anew."""
        content, data = self._new(feed, name)
        path = self._path(feed, name)
        if not self._is_file(path):
            path.unlink(missing_ok=True)
        self._note(feed, name, content)
        path.write_bytes(data)
        if self.random.random() < 0.5:
            self._stamp(path)

    def replace_with_equal_size_and_time(self, feed: str, name: str) -> bool:
        """Another content of the same size, with the time of the one before."""
        content = self._in_place(feed, name)
        if content is None:
            return False
        other = self._with_other_markers(content)
        self._overwrite(feed, name, other)
        return True

    def change_and_change_back(self, feed: str, name: str) -> bool:
        """Another content for a moment, and then the old one again."""
        content = self._in_place(feed, name)
        if content is None:
            return False
        self._overwrite(feed, name, self._with_other_markers(content))
        time.sleep(self.random.uniform(0, 0.05))
        self._overwrite(feed, name, content)
        return True

    def append(self, feed: str, name: str) -> bool:
        """Rows more at the end of a file, in two steps."""
        content = self._in_place(feed, name)
        if content is None:
            return False
        path = self._path(feed, name)
        for _ in "ab":
            lines, markers = self._lines(feed, name, self.random.randint(1, 3))
            content = Content(content.data + lines, content.markers + markers)
            self._note(feed, name, content)
            with path.open("ab", buffering=0) as file:
                file.write(lines)
            time.sleep(self.random.uniform(0, 0.02))
        return True

    def delete(self, feed: str, name: str) -> None:
        """The file is gone, whatever it was."""
        self._path(feed, name).unlink(missing_ok=True)
        self.there.pop((feed, name), None)

    def rename(self, feed: str, name: str) -> bool:
        """The file goes on under another name, in place of what has that name."""
        return self._pass_on(feed, name, lambda path, other: path.rename(other), moves=True)

    def copy(self, feed: str, name: str) -> bool:
        """The file is there twice."""

        def copy(path: Path, other: Path) -> None:
            other.unlink(missing_ok=True)
            shutil.copyfile(path, other)
            self._stamp(other)

        return self._pass_on(feed, name, copy, moves=False)

    def touch(self, feed: str, name: str) -> bool:
        """The file has another time, later or earlier."""
        if (feed, name) not in self.there:
            return False
        self._stamp(self._path(feed, name))
        return True

    def make_odd(self, feed: str, name: str) -> None:
        """There is something that is no file, or none of the landing zone."""
        path = self._path(feed, name)
        self._give_way(feed, name)
        self.delete(feed, name)
        match self.random.randrange(4):
            case 0:
                os.mkfifo(path)
            case 1:
                path.symlink_to(name)
            case 2:
                path.symlink_to("nowhere.csv")
            case _:
                path.symlink_to(ROOT / "seeds/shop" / f"{feed}.csv")

    def lock_for_a_moment(self, feed: str, name: str) -> bool:
        """Nobody may read the file; root may all the same."""
        path = self._path(feed, name)
        if (feed, name) not in self.there:
            return False
        path.chmod(0)
        time.sleep(self.random.uniform(0, 0.1))
        path.chmod(0o644)
        return True

    # ------------------------------------------------------------ how

    def _path(self, feed: str, name: str) -> Path:
        return self.zone / feed / name

    @staticmethod
    def _is_file(path: Path) -> bool:
        return path.is_file() and not path.is_symlink()

    def _note(self, feed: str, name: str, content: Content) -> None:
        """Note what a file holds, before it does."""
        self._give_way(feed, name)
        self.there[feed, name] = content
        if content.loads:
            self.known[content.hash] = content

    def _give_way(self, feed: str, name: str) -> None:
        """Note that there is to be something else, so that rows of what was there may go."""
        self.written.add((feed, name))
        if (feed, name) in self.there:
            self.replaced.add(self.there[feed, name].hash)

    def _stamp(self, path: Path) -> None:
        """Set the time of a file, as a clock does that is set forward and back."""
        at = time.time_ns() + self.random.randint(-72, 72) * HOUR_NS + self.random.randrange(10**9)
        os.utime(path, ns=(at, at))

    def _in_place(self, feed: str, name: str) -> Content | None:
        """What a file holds that people write into; None for another one."""
        content = self.there.get((feed, name))
        is_text = name.endswith(IN_PLACE)
        return content if content is not None and content.markers and is_text else None

    def _overwrite(self, feed: str, name: str, content: Content) -> None:
        path = self._path(feed, name)
        at = path.stat().st_mtime_ns
        self._note(feed, name, content)
        with path.open("r+b", buffering=0) as file:
            file.write(content.data)
        os.utime(path, ns=(at, at))

    def _pass_on(
        self, feed: str, name: str, act: Callable[[Path, Path], object], *, moves: bool
    ) -> bool:
        suffixes = Path(name).suffixes
        alike = [one for one in NAMES if Path(one).suffixes == suffixes and one != name]
        other = self.random.choice(alike)
        content = self.there.get((feed, name))
        if content is None:
            return False
        self._note(feed, other, content)
        act(self._path(feed, name), self._path(feed, other))
        if moves:
            del self.there[feed, name]
        return True

    # ------------------------------------------------------------ what is in files

    def _new(self, feed: str, name: str) -> tuple[Content, bytes]:
        """A new content, and the bytes of a file of it."""
        kind = self.random.random()
        if kind < 0.04:
            content = Content(b"", loads=False)
        elif kind < 0.08:
            content = Content(b"PK\x03\x04 no table\n", loads=False)
        elif name.endswith(".parquet"):
            content = self._parquet(feed)
            if kind < 0.16:
                content = Content(content.data[: len(content.data) // 2], loads=False)
        else:
            header = f"{','.join(COLUMNS[feed])}\n".encode() if ".csv" in name else b""
            if kind < 0.12 and header:
                content = Content(b"nothing,of,this\n1,2,3\n", loads=False)
            else:
                lines, markers = self._lines(feed, name, self.random.choice([1, 2, 5, 40]))
                content = Content(header + lines, markers)
        data = content.data
        if name.endswith(".gz"):
            data = gzip.compress(data, mtime=self.random.randrange(10**9))
            if 0.12 <= kind < 0.18:
                data = data[:-9]
                content = Content(content.data, loads=False)
        return content, data

    def _row(self, feed: str) -> dict[str, str]:
        """A row with a new marker; one of some is rejected."""
        self._last_marker += 1
        marker = f"M{self._last_marker:08}"
        number = str(self.random.randint(1, 9)) if self.random.random() < 0.9 else "x"
        if feed == "products":
            key, price = self.random.randrange(12), self.random.randrange(100_000) / 100
            cells = [f"P{key}", marker, "Kitchen", f"{price:.2f}", number]
        else:
            cells = [f"O{self.random.randrange(50)}", marker, number, "2024-01-01"]
        return dict(zip(COLUMNS[feed], cells, strict=True))

    def _lines(self, feed: str, name: str, count: int) -> tuple[bytes, tuple[str, ...]]:
        """Lines of CSV or JSON; one of some is broken, and one has a line end within."""
        rows = [self._row(feed) for _ in range(count)]
        lines: list[str] = []
        for row in rows:
            kind = self.random.random()
            cells = [*row.values()]
            if ".jsonl" in name:
                is_json = kind < 0.95 or not lines  # a file that begins otherwise is refused
                lines.append(json.dumps(row) if is_json else f"no JSON {cells[1]}")
            elif kind < 0.9:
                lines.append(",".join(cells))
            elif kind < 0.94:
                lines.append(",".join(cells[:2]))
            elif kind < 0.97:
                lines.append(",".join([*cells, "too", "many"]))
            else:
                lines.append(",".join([f'"{cells[0]}\n"', *cells[1:]]))
        return "".join(f"{line}\n" for line in lines).encode(), _markers_of(rows)

    def _parquet(self, feed: str) -> Content:
        rows = [self._row(feed) for _ in range(self.random.choice([1, 2, 5, 40]))]
        file = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        return Content(file.getvalue(), _markers_of(rows))

    def _with_other_markers(self, content: Content) -> Content:
        """A content of the same size."""
        data, markers = content.data.decode(), []
        for marker in content.markers:
            self._last_marker += 1
            markers.append(f"M{self._last_marker:08}")
            data = data.replace(marker, markers[-1])
        return Content(data.encode(), tuple(markers))


def _markers_of(rows: Sequence[dict[str, str]]) -> tuple[str, ...]:
    return tuple(cell for row in rows for cell in row.values() if MARKER.fullmatch(cell))


class Zone:
    """The landing zone, the project that loads it, and one that loads it from nothing.

    Args:
        folder: where all of it goes.
        seed: repeats what is planned.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - to be repeated
        self.project, self.fresh = FeedsProject(folder / "changing"), FeedsProject(folder / "fresh")
        self.churner = Churner(self.project.landing, random.Random(seed + 1))  # noqa: S311
        self.empty = folder / "empty.duckdb"
        self.kills: Counter[str] = Counter()
        self.builds: Counter[str] = Counter()
        self.rounds = 0
        self.rows_compared = 0
        self.vanished = 0
        self._settled: dict[tuple[str, str], str] = {}  # hashes of what was loaded when last equal
        self._forgot = False  # a full refresh was begun since
        self._stopped = threading.Event()

    def __enter__(self) -> Zone:
        """Make both databases, with nothing in them but the seeds."""
        for project in (self.project, self.fresh):
            project.do("seed")
        shutil.copy2(self.fresh.database, self.empty)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what starts builds, and say what was done."""
        for project in (self.project, self.fresh):
            project.forge.close()
        print(
            f"landing zone: {self.rounds} rounds, builds {dict(self.builds)}, "
            f"kills {self.kills.total()}: {dict(self.kills)}\n"
            f"landing zone: changes {self.churner.done.total()}: {dict(self.churner.done)}\n"
            f"landing zone: {self.rows_compared} rows compared with a rebuild, of which files that "
            f"had vanished had {self.vanished}"
        )

    def stop(self) -> None:
        """Let the rounds end."""
        self._stopped.set()

    def churn_until(self, at: float) -> None:
        """Round after round, until then or until told to stop."""
        while time.monotonic() < at and not self._stopped.is_set():
            self.round()

    def round(self) -> None:
        """Some builds while files change, some of them killed; then one while nothing changes."""
        for _ in range(self.random.randint(1, 3)):
            with self._changing_files():
                self._build_and_perhaps_kill()
            self._rows_are_those_of_the_log()
        for _ in range(self.random.randrange(4)):
            self.churner.act()
        self.project.do("run")
        self._equals_a_rebuild()
        self.rounds += 1

    @contextmanager
    def _changing_files(self) -> Iterator[None]:
        stop, faults = threading.Event(), []

        def run() -> None:
            try:
                self.churner.run(stop)
            except BaseException as error:
                faults.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if faults:
            raise faults[0]

    def _build_and_perhaps_kill(self) -> None:
        command = ["run", *(["--full-refresh"] if self.random.random() < 0.1 else [])]
        self._forgot |= len(command) > 1
        hours = self.random.choice([0, 0, 1, -1, -30, 24 * 40])
        build = self.project.forge.start(0, *command, clock=[hours * 3600.0] if hours else [])
        if self.random.random() < 0.6:
            self._kill(build)
        self.project.forge.wait(build)
        self.builds[" ".join(command)] += 1
        if build.exit_code == -9:
            begun = [
                event["data"]["node_info"]["node_name"]
                for event in build.events
                if event["info"]["name"] == "LogStartLine"
            ]
            self.kills[begun[-1] if begun else "before the models"] += 1
        else:
            assert build.exit_code == 0, build.last_words

    def _kill(self, build: Build) -> None:
        """Kill a build while it loads, at any instant."""
        delay = self.random.uniform(0, SECONDS_OF_A_LOAD)
        with suppress(ProcessLookupError):
            while b'"LogStartLine"' not in _read(build.output):
                os.kill(build.process, 0)
                time.sleep(0.005)
            time.sleep(delay)
            os.killpg(build.process, signal.SIGKILL)

    # ------------------------------------------------------------ what must hold

    def _refused(self, feed: str) -> list[tuple[object, ...]]:
        """Files of the log that are not loaded, each with the reason."""
        return self.project.query(
            f"select file, reason from landing.{feed}_files where state <> 'loaded'"
        )

    def _loaded(self, feed: str) -> list[tuple[str, str, int, bool]]:
        """Names, hashes, times and presence of the files whose rows count."""
        return [
            (Path(file).name, content, modified, is_present)
            for file, content, modified, is_present in self.project.rows(
                "select file, content_hash, modified_ns, is_present "
                f"from landing.{feed}_files where state = 'loaded' order by file"
            )
        ]

    def _rows_are_those_of_the_log(self) -> None:
        """Each file that the log calls loaded has the rows of the content that the log names."""
        for feed in FEEDS:
            found: dict[str, Counter[str]] = {}
            for _file, *row in self.project.rows(
                f"select _file, * from staging.base_{feed} order by _file, _line_number"
            ):
                markers = set(MARKER.findall(repr(row)))
                found.setdefault(Path(_file).name, Counter()).update(markers)
            for name, content, _, _ in self._loaded(feed):
                expected = Counter(self.churner.known[content].markers)
                had = found.pop(name, Counter[str]())
                assert had == expected, f"{feed}/{name}: {_differences(had, expected)}"
            assert not found, f"{feed}: rows of files that are not loaded: {sorted(found)}"

    def _equals_a_rebuild(self) -> None:
        """What was loaded file by file is what is loaded from nothing.

        Rows of files that vanished stay, as if the files were still there.
        """
        churner = self.churner
        self._rows_are_those_of_the_log()
        shutil.rmtree(self.fresh.landing)
        _copy(self.project.landing, self.fresh.landing)
        vanished: set[tuple[str, str]] = set()
        hashes: dict[tuple[str, str], str] = {}
        for feed in FEEDS:
            there = {name: one for (of, name), one in churner.there.items() if of == feed}
            for name, content, modified, is_present in self._loaded(feed):
                hashes[feed, name] = content
                if is_present:
                    had = there[name].hash if name in there else None
                    assert had == content, f"{feed}/{name} holds {had}, and is loaded as {content}"
                    continue
                assert name not in there, f"{feed}/{name} is there, and is said to have vanished"
                vanished.add((feed, name))
                copy = self.fresh.landing / feed / name
                data = churner.known[content].data
                copy.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
                os.utime(copy, ns=(modified, modified))
            wanted = {one.hash for one in there.values() if one.loads}
            missing = wanted - {one for (of, _), one in hashes.items() if of == feed}
            names = [name for name, one in there.items() if one.hash in missing]
            assert not missing, f"{feed}: not loaded: {names}; {self._refused(feed)}"
        if not self._forgot:
            lost = [
                place
                for place, content in self._settled.items()
                if place not in churner.written
                and content not in churner.replaced
                and content not in hashes.values()
            ]
            assert not lost, f"rows of files that vanished are gone: {lost}"
        self.fresh.database.unlink()
        shutil.copy2(self.empty, self.fresh.database)
        self.fresh.do("run")
        for feed in FEEDS:
            mine, fresh = self.project.outcome(feed), self.fresh.outcome(feed)
            # The log still knows those that were refused, of which nothing is kept.
            mine["files"], fresh["files"] = (
                [file for file in outcome["files"] if self._is_known(feed, file, vanished)]
                for outcome in (mine, fresh)
            )
            for what, rows in fresh.items():
                assert mine[what] == rows, (
                    f"{what} of {feed}: {_first_difference(mine[what], rows)}"
                )
            self.rows_compared += len(fresh["rows"])
            self.vanished += sum((feed, Path(row[-3]).name) in vanished for row in fresh["rows"])
        self._settled, self._forgot = hashes, False
        churner.written.clear()
        churner.replaced.clear()

    def _is_known(self, feed: str, file: Sequence[Any], vanished: set[tuple[str, str]]) -> bool:
        name = Path(file[0]).name
        return os.path.lexists(self.project.landing / feed / name) or (feed, name) in vanished


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _copy(source: Path, target: Path) -> None:
    """Copy a landing zone with its times, its pipes and its links."""
    for folder in source.iterdir():
        (target / folder.name).mkdir(parents=True)
        for path in folder.iterdir():
            copy = target / folder.name / path.name
            if path.is_fifo():
                os.mkfifo(copy)
                times = path.lstat().st_mtime_ns
                os.utime(copy, ns=(times, times))
            else:
                shutil.copy2(path, copy, follow_symlinks=False)


def _differences(found: Counter[str], expected: Counter[str]) -> str:
    return f"missing {dict(expected - found)}, too many {dict(found - expected)}"


def _first_difference(found: Sequence[object], expected: Sequence[object]) -> str:
    for one, other in zip(found, expected, strict=False):
        if one != other:
            return f"{one}, in the rebuild {other}"
    return f"{len(found)}, in the rebuild {len(expected)}"
