"""Builds fail and are killed at any instant, while eight clients read what was published.

Snapshots are taken back by rollbacks, forward again and pruned meanwhile, all of it with a clock
that is set forward and back. The long form does so for CHAOS_SECONDS, 600 by default, while the
files of a landing zone change under builds that are killed (zone.py). CHAOS_SEED repeats what was
planned, not the timing of processes.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.api.server import Server
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
from tests.chaos.zone import Zone
from warehouse.history import BuildHistory
from warehouse.published import CATALOG, LOG, PRUNE, PublishedFolder

SECONDS = 600.0  # of the long form
CLIENTS = 8
STAYING_PUT = 4  # versions that a prune leaves in the long form, at least
SECONDS_OF_A_COMMAND = 0.5  # within which one that is killed is killed
POLL_SECONDS = 0.1  # between two looks of a server at the log
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
        self.commands: Counter[str] = Counter()
        self.steps = 0  # processes whose clock was wrong
        self.cleaned = 0
        self.slowest_to_serve = 0.0
        self._left: set[str] = set()
        self._last_number = 0
        self._copies = 0
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
        build = project.start(self._number(), command, is_good=not bad, clock=self._clock())
        self._end([(project, build, None)], " ".join(command))

    def killed(self, aim: str, kind: str = "good") -> None:
        """A build that is killed, at an instant of `AIMS` or at any."""
        self._round([(kind, aim)])

    def pair(self, first: tuple[str, str | None], second: tuple[str, str | None]) -> None:
        """Two builds at once, which publish into one folder."""
        self._round([first, second])

    def roll_back(self) -> None:
        """Back to an older version, or forward to one that was withdrawn, which clients then see.

        What is between is withdrawn, and nobody may see it any more.
        """
        self._operate(self._another())
        self._wait_until_served(sure=True)

    def roll_back_while_building(self) -> None:
        """The same while a build is about to publish."""
        builder, operator = self.random.sample(self.projects, 2)
        build = builder.start(self._number(), clock=self._clock())
        time.sleep(self.random.uniform(0, self._length_of_a_build()))
        self._operate(self._another(), operator)
        self._end([(builder, build, None)], "good while rolling back")

    def prune(self, keep: int) -> None:
        """Remove old versions, some of which clients ask for."""
        self._operate(("prune", "--keep", str(keep)))
        self._wait_until_served(sure=True)

    def prune_while_building(self, keep: int) -> None:
        """The same while a build is about to publish."""
        builder, operator = self.random.sample(self.projects, 2)
        build = builder.start(self._number(), clock=self._clock())
        self._operate(("prune", "--keep", str(keep)), operator)
        self._end([(builder, build, None)], "good while pruning")

    def kill_a_command(self) -> None:
        """A rollback or a prune that is killed at any instant is done, or is not."""
        self._operate(
            self.random.choice([self._another(), ("prune", "--keep", str(STAYING_PUT))]),
            is_killed=True,
        )
        self._wait_until_served(sure=True)

    def damage_a_copy(self) -> None:
        """A server that finds the newest snapshot damaged never goes back to one withdrawn."""
        self._copies += 1
        folder = self.folder / f"copy {self._copies}"
        shutil.copytree(self.published.path, folder / "published")
        copied = PublishedFolder(folder / "published")
        stands = copied.standing()
        newest, *others = stands.servable
        names = [path.name for path in copied.folder(newest).glob("*.parquet")]
        file = copied.folder(newest) / self.random.choice([CATALOG, *names])
        file.chmod(0o600)  # the copy's, whatever the mode of what is published
        file.write_bytes(file.read_bytes()[:-100])
        with Server(folder, **NO_LIMITS) as server:
            answer = server.get("/ready").json
            expected = next((version for version in others if version in copied.versions()), None)
            assert answer["version"] == expected, (answer, stands)
            api = Api(server)
            for version in sorted(stands.withdrawn):
                status = api.get("chaos/stations", {"version": version}).status
                assert status == 410, f"withdrawn {version}: {status}"
        shutil.rmtree(folder)
        self.outcomes["damaged copy"] += 1
        self.say(f"damaged {file.name} of {newest} in a copy: {expected} was served")

    def _another(self) -> tuple[str, str]:
        """A rollback to any version that is there but not the newest, withdrawn or not."""
        newest = self._newest()
        there = [version for version in self.published.versions() if version != newest]
        withdrawn = [one for one in there if one in self.published.standing().withdrawn]
        self.random.shuffle(there)
        return "rollback", self.random.choice([*there[-4:], *withdrawn[-2:]])

    def _operate(
        self,
        command: Sequence[str],
        project: BuiltAgainAndAgain | None = None,
        *,
        is_killed: bool = False,
    ) -> None:
        project = project or self.random.choice(self.projects)
        running = project.operate(*command, clock=self._clock())
        if is_killed:
            time.sleep(self.random.uniform(0, SECONDS_OF_A_COMMAND))
            with suppress(ProcessLookupError):
                os.killpg(running.process, signal.SIGKILL)
        project.forge.wait(running)
        became = "killed" if running.exit_code == -9 else "done"
        assert is_killed or running.exit_code == 0, running.last_words
        self.commands[f"{command[0]} {became}"] += 1
        self.say(f"{' '.join(command)}: {became}")

    def _clock(self) -> list[float]:
        """By how many seconds the clock of a process is wrong, each time that it is read."""
        steps = self.random.choice([[], [-1], [1], [0, -1, 3], [2, -5, 1, -1]])
        hours = self.random.choice([1, 7, 24, 24 * 40])
        self.steps += len(steps) > 0
        return [step * hours * 3600 + self.random.random() for step in steps]

    def _length_of_a_build(self) -> float:
        return min([build.seconds for build in self.builds if build.exit_code == 0][-4:])

    def _round(self, plans: Sequence[tuple[str, str | None]]) -> None:
        projects = self.random.sample(self.projects, len(plans))
        running = []
        for project, (kind, aim) in zip(projects, plans, strict=True):
            build = project.start(self._number(), is_good=kind == "good", clock=self._clock())
            killer = self._killer(build, aim) if aim else None
            running.append((project, build, killer))
        self._end(running, " with ".join(f"{kind}, {aim or 'not killed'}" for kind, aim in plans))

    def _killer(self, build: Build, aim: str) -> Killer:
        """A killer of a build, at an instant of `AIMS` or at any."""
        if aim == ANY_TIME:
            instant, longest = "start", self._length_of_a_build()
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
            project.forge.wait(build)
            if killer:
                killer.join()
        for _, build, killer in running:
            self._judge(build, killer, what)
        self._look_at_the_folder([build for _, build, _ in running])
        self._wait_until_served(sure=what.endswith("rolling back"))
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
            # A run that leaves something out publishes nothing, which is no failure.
            expected = (0 if build.may_publish else 1,) if build.is_whole else (0, 1)
            assert build.exit_code in expected, f"{what}: {build.last_words}"
            became = "published" if version else "not published"
            assert (version is not None) == build.may_publish, f"{what}: {build.last_words}"
            runs = {run.run_id[:8]: run for run in BuildHistory(self.published.path).runs()}
            assert runs[build.invocation].outcome == became, runs[build.invocation]
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
        published = [build.exit_code == 0 and build.may_publish for build in builds]
        if all(published):
            assert not left, f"left behind: {left}"
        if any(published):
            assert not left & self._left, f"never cleaned up: {left & self._left}"
            self.cleaned += len(self._left)
        self._left = left
        content = (self.published.path / LOG).read_bytes()
        assert len(content.splitlines()) == len(entries)
        for line in content.splitlines():
            json.loads(line)

    def _wait_until_served(self, *, sure: bool = False) -> None:
        """Wait until the servers have taken up the log.

        Args:
            sure: give them some looks more: they may have served that version all the time,
                because they had not yet seen what was just withdrawn.
        """
        entries, newest = self.board.log.length(), self._newest()
        started = time.monotonic()
        for server in self.servers:
            assert server.process.poll() is None, f"a server ended: {server.err[-500:]}"
            while (ready := server.get("/ready").json)["version"] != newest:
                assert ready["status"] == "ready", ready
                assert time.monotonic() < started + SECONDS_TO_SERVE, f"{newest} is not served"
                time.sleep(0.02)
        self.slowest_to_serve = max(self.slowest_to_serve, time.monotonic() - started)
        if sure:
            time.sleep(5 * POLL_SECONDS)
        for server in self.servers:
            self.board.taken_up[server.port] = entries

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
        for version in self.published.versions():
            self.published.verify(version)
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
                    folder,
                    **NO_LIMITS,
                    **variables,
                    API_POLL_SECONDS=str(POLL_SECONDS),
                    API_CACHE_BYTES="4MB",
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


def planned(chaos: Chaos) -> list[Callable[[], None]]:
    """What the short form does, in an order of chance."""
    any_time = partial(chaos.killed, ANY_TIME)
    rounds: list[Callable[[], None]] = [partial(chaos.killed, aim) for aim in AIMS]
    rounds += [any_time, partial(any_time, "failing")]
    rounds += [
        partial(chaos.pair, ("good", "file 2"), ("good", ANY_TIME)),
        partial(chaos.pair, ("good", "catalog"), ("good", "log")),
        partial(chaos.pair, ("failing", None), ("good", "file 4")),
        partial(chaos.pair, ("good", None), ("good", None)),
    ]
    rounds += [chaos.good, chaos.failing]
    rounds += [partial(chaos.careless, command) for command in CARELESS]
    rounds += [chaos.roll_back] * 3 + [chaos.roll_back_while_building]
    chaos.random.shuffle(rounds)
    rounds.insert(len(rounds) // 2, partial(chaos.prune_while_building, 3))
    rounds.append(partial(chaos.prune_while_building, 2))
    return rounds


def by_chance(chaos: Chaos) -> Callable[[], None]:
    """What the long form does next."""
    random = chaos.random
    aims = [ANY_TIME, *AIMS, None]
    one, other = [(random.choice(["good", "good", "failing"]), random.choice(aims)) for _ in "ab"]
    keep = random.randint(STAYING_PUT, 3 * STAYING_PUT)
    acts: dict[Callable[[], None], int] = {
        partial(chaos.killed, random.choice(list(AIMS))): 6,
        partial(chaos.killed, ANY_TIME, random.choice(["good", "failing"])): 3,
        partial(chaos.pair, one, other): 3,
        chaos.good: 2,
        chaos.failing: 1,
        partial(chaos.careless, random.choice(CARELESS)): 1,
        chaos.roll_back: 3,
        chaos.roll_back_while_building: 2,
        partial(chaos.prune, keep): 1,
        partial(chaos.prune_while_building, keep): 1,
        chaos.kill_a_command: 2,
        chaos.damage_a_copy: 1,
    }
    (act,) = random.choices([*acts], [*acts.values()])
    return act


@contextmanager
def chaos_in(folder: Path) -> Iterator[tuple[Chaos, int]]:
    """Two projects with a few snapshots, that are read; and the seed."""
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    print(f"CHAOS_SEED={seed}")
    chaos = Chaos(folder, random.Random(seed))  # noqa: S311 - to be repeated
    try:
        chaos.good()
        chaos.pair(("good", None), ("good", None))
        with chaos.served():
            yield chaos, seed
            chaos.good()
            chaos.check_at_the_end()
    finally:
        for project in chaos.projects:
            project.forge.close()
        report(chaos)
    assert chaos.board.checked > 100


def test_readers_see_only_whole_audited_snapshots_while_builds_fail_and_are_killed(
    tmp_path: Path,
) -> None:
    with chaos_in(tmp_path) as (chaos, _):
        for act in planned(chaos):
            act()
    assert chaos.kills.total() >= len(AIMS)
    assert chaos.commands["rollback done"] == 4


@pytest.mark.deep
def test_readers_and_the_landing_zone_are_right_whatever_happens_for_ten_minutes(
    tmp_path: Path,
) -> None:
    seconds = float(os.environ.get("CHAOS_SECONDS") or SECONDS)
    with ExitStack() as stack:
        chaos, seed = stack.enter_context(chaos_in(tmp_path))
        zone = stack.enter_context(Zone(tmp_path / "zone", seed))
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(1) as beside:
            rounds = beside.submit(zone.churn_until, until)
            try:
                while time.monotonic() < until and not rounds.done():
                    by_chance(chaos)()
            finally:
                zone.stop()
            rounds.result()
    assert chaos.kills.total() >= seconds / 60
    assert chaos.commands["rollback done"] >= seconds / 120


def report(chaos: Chaos) -> None:
    """Say what happened."""
    board = chaos.board
    chaos.say(f"builds {len(chaos.builds)}: {dict(chaos.outcomes)}")
    chaos.say(f"kills {chaos.kills.total()}: {dict(chaos.kills.most_common())}")
    chaos.say(f"commands {dict(chaos.commands)}, clocks that were wrong {chaos.steps}")
    chaos.say(f"versions {len(chaos.audited)}, seen by clients {len(board.versions)}")
    chaos.say(f"half-done folders cleaned up: {chaos.cleaned}")
    chaos.say(f"requests {board.statuses.total()}: {dict(board.statuses)}")
    chaos.say(
        f"answers held against the log {board.judged}, distinct ones compared {board.checked}"
    )
    chaos.say(f"slowest request {board.slowest[0]:.3f} s: {board.slowest[1]}")
    chaos.say(f"slowest to be served {chaos.slowest_to_serve:.2f} s")
    for usages in zip(*chaos.usages, strict=True):
        chaos.say(f"first {usages[0]}, last {usages[-1]}")
