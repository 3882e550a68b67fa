"""Builds fail and are killed at any instant, while eight clients read what was published.

It takes about four minutes on two cores. CHAOS_SEED repeats what was planned (not the timing of
processes), CHAOS_KILLS asks for more.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.api.server import Server, flask
from tests.api.support import NO_LIMITS, Api
from tests.chaos.builds import (
    AIMS,
    DATA_TESTS,
    UNIT_TESTS,
    Build,
    BuiltAgainAndAgain,
    Killer,
    half_done,
)
from tests.chaos.clients import Board, Client, Snapshots, follows
from tests.chaos.usage import Usage, usage_of
from warehouse.published import LOG, PRUNE, PublishedFolder, standing

KILLS = 30
CLIENTS = 8
MARTS = ("days", "readings", "stations", "totals")
ANY_TIME = "any time"  # of the whole build
SECONDS_TO_SERVE = 20.0  # a new snapshot; it takes less than one when the machine is not busy

# Commands that leave tests or models out; their data are bad, or are left over from a killed build.
CARELESS = (
    ("run",),
    ("build", "--exclude", "readings_are_of_a_good_build"),
    ("build", "--select", "publication"),
    ("build", "--select", "days", "publication"),
)


class Chaos:
    """Two projects, one published folder, and what is done to them.

    Args:
        folder: where all of it goes.
        random: decides what happens, and when.
    """

    def __init__(self, folder: Path, random: random.Random) -> None:
        self.folder = folder
        self.random = random
        self.published = PublishedFolder(folder / "published")
        self.projects = [
            BuiltAgainAndAgain(folder / name, self.published.path) for name in ("first", "second")
        ]
        self.snapshots = Snapshots(self.published, folder / "kept")
        self.board = Board(self.published)
        self.servers: list[Server] = []
        self.usages: list[list[Usage]] = []
        self.builds: list[Build] = []
        self.audited: set[str] = set()
        self.kills: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.cleaned = 0
        self.slowest_to_serve = 0.0
        self._left: set[str] = set()
        self._last_number = 0
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """Tell what happens; pytest shows it when the test fails."""
        print(f"{time.monotonic() - self._started:6.1f} s  {text}")

    # ------------------------------------------------------------ rounds

    def good(self) -> None:
        """A whole, green build."""
        self._round([("good", None)])

    def failing(self) -> None:
        """A build with a failing test."""
        self._round([("failing", None)])

    def careless(self, command: Sequence[str]) -> None:
        """A command that does not test everything."""
        project = self.random.choice(self.projects)
        bad = self.random.random() < 0.7
        build = project.start(self._number(), command, is_good=not bad)
        self._end([(project, build, None)], " ".join(command))

    def killed(self, aim: str, kind: str = "good") -> None:
        """A build that is killed, at an instant of `AIMS` or at any."""
        self._round([(kind, aim)])

    def pair(self, first: tuple[str, str | None], second: tuple[str, str | None]) -> None:
        """Two builds at once, which publish into one folder."""
        self._round([first, second])

    def roll_back(self) -> None:
        """Back to an older version, which the clients then see."""
        versions = self.published.versions()
        newest = self._newest()
        version = self.random.choice([each for each in versions[-4:] if each != newest])
        outcome = flask(self.folder, "publications", "rollback", version)
        assert outcome.exit_code == 0, outcome.err
        self.say(f"rollback to {version}")
        self._wait_until_served()

    def prune_while_building(self, keep: int) -> None:
        """Remove old versions, some of which clients ask for, while a build is about to publish."""
        project = self.random.choice(self.projects)
        build = project.start(self._number())
        outcome = flask(self.folder, "publications", "prune", "--keep", str(keep))
        assert outcome.exit_code == 0, outcome.err
        self.say(f"prune: {outcome.out.strip() or outcome.err.strip()}")
        self._end([(project, build, None)], "good while pruning")

    def _round(self, plans: Sequence[tuple[str, str | None]]) -> None:
        projects = self.random.sample(self.projects, len(plans))
        running = []
        for project, (kind, aim) in zip(projects, plans, strict=True):
            build = project.start(self._number(), is_good=kind == "good")
            killer = self._killer(build, aim) if aim else None
            running.append((project, build, killer))
        self._end(running, " with ".join(f"{kind}, {aim or 'not killed'}" for kind, aim in plans))

    def _killer(self, build: Build, aim: str) -> Killer:
        """A killer of a build, at an instant of `AIMS` or at any."""
        if aim == ANY_TIME:
            lengths = [build.seconds for build in self.builds if build.exit_code == 0]
            instant, longest = "start", min(lengths[-4:])
        else:
            instant, longest = AIMS[aim]
        return Killer(build, self.published.path, instant, self.random.uniform(0, longest))

    def _number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _end(
        self, running: Sequence[tuple[BuiltAgainAndAgain, Build, Killer | None]], what: str
    ) -> None:
        for project, build, killer in running:
            self.builds.append(build)
            project.wait(build)
            if killer:
                killer.join()
        for _, build, killer in running:
            self._judge(build, killer, what)
        self._look_at_the_folder([build for _, build, _ in running])
        self._wait_until_served()
        self.check()

    # ------------------------------------------------------------ what must hold

    def _judge(self, build: Build, killer: Killer | None, what: str) -> None:
        """Compare how a build ended, and what it published, with what was to be expected."""
        version = build.version(self.published)
        assert version is None or build.may_publish, f"{version} is of an unaudited build: {what}"
        if build.exit_code == -9:
            assert killer is not None, build.last_words
            phase = build.phase(self.published)
            self.kills[phase] += 1
            became = f"killed: {phase}"
        else:
            expected = 0 if build.may_publish else 1
            assert build.exit_code == expected, f"{what}: {build.last_words}"
            became = "published" if version else "not published"
            assert (version is not None) == build.may_publish, f"{what}: {build.last_words}"
        self.outcomes[became.partition(":")[0]] += 1
        self.say(f"build {build.number} ({what}), {build.seconds:.1f} s: {became} {version or ''}")
        if version:
            assert build.tests_passed == DATA_TESTS + UNIT_TESTS, build.last_words
            self._audit(version, build)

    def _audit(self, version: str, build: Build) -> None:
        """What is in the log is whole, and of this one build."""
        self.snapshots.take(version)
        catalog = self.published.catalog(version)
        assert catalog["tests"]["data_tests"]["passed"] == DATA_TESTS
        assert catalog["tests"]["unit_tests"]["passed"] == UNIT_TESTS
        assert [mart["name"] for mart in catalog["marts"]] == [*MARTS]
        for mart in MARTS:
            numbers = {row["build"] for row in self.snapshots.rows(version, mart)}
            assert numbers == {build.number}, f"{mart} of {version} is of {numbers}"
        assert all(row["is_good"] for row in self.snapshots.rows(version, "readings")), version
        self.audited.add(version)

    def _look_at_the_folder(self, builds: Sequence[Build]) -> None:
        """Readers find a whole snapshot, and what killed builds left goes with the next one."""
        entries = self.published.entries()
        assert {entry.version for entry in entries} == self.audited
        self.published.verify(self._newest())
        left = half_done(self.published)
        if all(build.exit_code == 0 for build in builds):
            assert not left, f"left behind: {left}"
        if any(build.exit_code == 0 for build in builds):
            assert not left & self._left, f"never cleaned up: {left & self._left}"
            self.cleaned += len(self._left)
        self._left = left
        content = (self.published.path / LOG).read_bytes()
        assert len(content.splitlines()) == len(entries)
        for line in content.splitlines():
            json.loads(line)

    def _wait_until_served(self) -> None:
        newest = self._newest()
        started = time.monotonic()
        for server in self.servers:
            assert server.process.poll() is None, f"a server ended: {server.err[-500:]}"
            while (ready := server.get("/ready").json)["version"] != newest:
                assert ready["status"] == "ready", ready
                assert time.monotonic() < started + SECONDS_TO_SERVE, f"{newest} is not served"
                time.sleep(0.02)
        self.slowest_to_serve = max(self.slowest_to_serve, time.monotonic() - started)

    def _newest(self) -> str:
        newest = self.published.newest()
        assert newest is not None
        return newest.version

    def check(self) -> None:
        """What the clients saw so far is right."""
        self.board.check(self.snapshots)
        assert not self.board.failures, "\n".join(self.board.failures)
        if self.servers:
            self.usages.append([usage_of(server.process.pid) for server in self.servers])

    def check_at_the_end(self) -> None:
        """What holds for the whole run."""
        self.check()
        entries = self.published.entries()
        logged = [entry.version for entry in entries if entry.action != PRUNE]
        for client, seen in self.board.newest.items():
            assert follows(seen, logged), f"{client} saw {seen}, the log has {logged}"
        there = self.published.versions()
        for version in there:
            self.published.verify(version)
        ever_withdrawn = {
            version
            for number in range(len(entries))
            for version in standing(entries[: number + 1]).withdrawn
        }
        assert not (self.board.gone & set(there)) - ever_withdrawn, (
            "what is there was said to be gone"
        )
        assert self.board.versions <= self.audited
        for server in self.servers:
            assert server.process.poll() is None
            bad = [line for line in server.log if line.get("level") in ("error", "critical")]
            assert not bad, bad[:3]
        for usages in zip(*self.usages, strict=True):
            has_not_grown(usages)

    # ------------------------------------------------------------ readers

    @contextmanager
    def served(self) -> Iterator[None]:
        """Two servers, one with tables in memory and one that reads files, and their clients."""
        stop = threading.Event()
        with ExitStack() as stack:
            apis = []
            for name, variables in (("memory", {}), ("files", {"API_IN_MEMORY_BYTES": "0"})):
                folder = self.folder / name
                folder.mkdir()
                (folder / "published").symlink_to(self.published.path)
                server = Server(
                    folder, **NO_LIMITS, **variables, API_POLL_SECONDS="0.1", API_CACHE_BYTES="4MB"
                )
                apis.append(Api(server))
                apis[-1].token("*")
                self.servers.append(stack.enter_context(server))
            threads = [
                threading.Thread(
                    target=Client(
                        f"client {number}",
                        apis[number % len(apis)],
                        self.board,
                        random.Random(self.random.random()),  # noqa: S311 - decides what to ask
                        stop,
                    ).run
                )
                for number in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                stop.set()
                for thread in threads:
                    thread.join(60)


def has_not_grown(usages: Sequence[Usage]) -> None:
    """The last third of a run uses little more than the second third."""
    third = len(usages) // 3
    before, after = usages[third : 2 * third], usages[2 * third :]
    for measure, spare in (("threads", 16), ("files", 12), ("memory", 64 * 1024**2)):
        allowed = max(getattr(usage, measure) for usage in before) + spare
        found = max(getattr(usage, measure) for usage in after)
        assert found <= allowed, f"{measure} grew: {found}, at first {allowed - spare}"
    # The current snapshot, two older ones, and those that somebody is just reading or loading.
    assert max(usage.catalogs for usage in after) <= 3 + CLIENTS


def planned(chaos: Chaos, kills: int) -> list[Callable[[], None]]:
    """What is done, in an order of chance; pairs and killed builds make up the kills."""
    aims = [*AIMS, *AIMS]
    any_time = partial(chaos.killed, ANY_TIME)
    rounds: list[Callable[[], None]] = [partial(chaos.killed, aim) for aim in aims]
    rounds += [any_time] * (kills - len(aims) - 9)
    rounds += [partial(any_time, "failing")] * 3
    rounds += [
        partial(chaos.pair, ("good", "publication"), ("good", None)),
        partial(chaos.pair, ("good", "file 2"), ("good", ANY_TIME)),
        partial(chaos.pair, ("good", "catalog"), ("good", "log")),
        partial(chaos.pair, ("failing", None), ("good", "file 4")),
        partial(chaos.pair, ("good", None), ("good", None)),
    ]
    rounds += [chaos.good] * 4 + [chaos.failing] * 4 + [chaos.roll_back] * 2
    rounds += [partial(chaos.careless, command) for command in CARELESS]
    chaos.random.shuffle(rounds)
    rounds.insert(len(rounds) // 2, partial(chaos.prune_while_building, 3))
    rounds.append(partial(chaos.prune_while_building, 2))
    return rounds


def test_readers_see_only_whole_audited_snapshots_while_builds_fail_and_are_killed(
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    kills = int(os.environ.get("CHAOS_KILLS") or KILLS)
    print(f"CHAOS_SEED={seed}")
    chaos = Chaos(tmp_path, random.Random(seed))  # noqa: S311 - to be repeated
    try:
        chaos.good()
        chaos.pair(("good", None), ("good", None))
        with chaos.served():
            for act in planned(chaos, kills):
                act()
            while chaos.kills.total() < kills:
                chaos.killed(chaos.random.choice([ANY_TIME, *AIMS]))
            chaos.good()
            chaos.check_at_the_end()
    finally:
        for project in chaos.projects:
            project.close()
        report(chaos)
    assert chaos.kills.total() >= kills
    assert chaos.board.checked > 100


def report(chaos: Chaos) -> None:
    """Say what happened."""
    board = chaos.board
    chaos.say(f"builds {len(chaos.builds)}: {dict(chaos.outcomes)}")
    chaos.say(f"kills {chaos.kills.total()}: {dict(chaos.kills.most_common())}")
    chaos.say(f"versions {len(chaos.audited)}, seen by clients {len(board.versions)}")
    chaos.say(f"half-done folders cleaned up: {chaos.cleaned}")
    chaos.say(f"requests {board.statuses.total()}: {dict(board.statuses)}")
    chaos.say(f"distinct answers compared {board.checked}")
    chaos.say(f"slowest request {board.slowest[0]:.3f} s: {board.slowest[1]}")
    chaos.say(f"slowest to be served {chaos.slowest_to_serve:.2f} s")
    for usages in zip(*chaos.usages, strict=True):
        chaos.say(f"first {usages[0]}, last {usages[-1]}")
