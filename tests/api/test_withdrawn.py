"""What was withdrawn is never served: whatever is published, rolled back to, pruned or damaged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from api import create_app, snapshots
from api.settings import ROOT, Settings
from api.snapshots import SnapshotStore
from api.tokens import TokenFile
from tests.api.support import damage, publish_tiny
from tests.support import overwrite
from warehouse.published import LOG, PublishedFolder

STEPS = 25


class World:
    """A published folder, an API over it, and what must be served, kept apart from both."""

    def __init__(self, root: Path) -> None:
        self.folder = PublishedFolder(root / "published")
        self.settings = Settings(
            ROOT,
            self.folder.path,
            root / "tokens.json",
            poll_seconds=3600,
            rate_limit="1000000/second",
        )
        token = TokenFile(self.settings.tokens).create("all", ["*"])
        self.headers = {"Authorization": f"Bearer {token}"}
        self.values: dict[str, int] = {}  # of all versions, in the order of publication
        self.withdrawn: set[str] = set()
        self.pruned: set[str] = set()
        self.damaged: dict[str, bytes] = {}
        self.served: str | None = None
        self.start()

    def start(self) -> None:
        """Start the API, for the first time or again."""
        self.app: Flask = create_app(self.settings)
        self.store: SnapshotStore = self.app.extensions["snapshots"]
        self.served = None

    def close(self) -> None:
        self.store.close()

    # ------------------------------------------------------------ what is done

    def publish(self) -> None:
        version = publish_tiny(self.folder, len(self.values))
        self.values[version] = len(self.values)

    def roll_back(self, version: str) -> None:
        self.folder.rollback(version)
        names = list(self.values)
        self.withdrawn |= set(names[names.index(version) + 1 :])
        self.withdrawn.discard(version)

    def prune(self, keep: int) -> None:
        self.pruned |= set(self.folder.prune(keep).removed)

    def damage(self, version: str) -> None:
        file = self.folder.folder(version) / "tiny.parquet"
        self.damaged[version] = file.read_bytes()
        damage(file)

    def mend(self, version: str) -> None:
        overwrite(self.folder.folder(version) / "tiny.parquet", self.damaged.pop(version))

    # ------------------------------------------------------------ what must come of it

    def servable(self) -> list[str]:
        """The best first."""
        return [
            version
            for version in reversed(self.values)
            if version not in self.withdrawn and version not in self.pruned
        ]

    def check(self) -> None:
        self.store.start()
        self.store.refresh()
        line = self.servable()
        whole = [version for version in line if version not in self.damaged]
        if line and line[0] in whole:
            self.served = line[0]
        elif self.served not in line:  # else it stays: it was whole when it was opened
            self.served = whole[0] if whole else None
        answer = self.get("")
        if self.served is None:
            assert answer == (503, None)
        else:
            assert answer == (200, self.values[self.served])
        for version in self.values:
            status, value = self.get(f"?version={version}")
            if self.served is None:
                assert (status, value) == (503, None)
            elif version in self.withdrawn or version in self.pruned:
                assert (status, value) == (410, None), version
            else:  # one that is open, or whose answer is kept, is as whole as when it was opened
                assert (status, value) == (200, self.values[version]) or (
                    version in self.damaged and status == 410
                )

    def get(self, query: str) -> tuple[int, int | None]:
        answer = self.app.test_client().get(f"/api/v1/marts/tiny{query}", headers=self.headers)
        rows = answer.get_json().get("data")
        return answer.status_code, rows[0]["value"] if rows else None


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(snapshots, "SECONDS_BEFORE_RETRY", -1.0)  # tried again each time
    made = World(tmp_path)
    yield made
    made.close()


def test_a_withdrawn_version_does_not_come_back_when_the_newest_is_damaged(world: World) -> None:
    for _ in range(3):
        world.publish()
    first, second, third = world.values
    world.roll_back(first)
    world.publish()
    fourth = list(world.values)[-1]
    world.damage(fourth)
    world.check()
    assert world.served == first
    for version in (second, third):
        assert world.get(f"?version={version}")[0] == 410
    world.damage(first)
    world.close()
    world.start()
    world.check()
    assert world.served is None


def test_what_is_served_is_let_go_when_it_is_withdrawn_though_nothing_else_is_whole(
    world: World,
) -> None:
    world.publish()
    world.publish()
    first, second = world.values
    world.check()
    world.roll_back(first)
    world.damage(first)
    world.check()
    assert world.served is None
    world.mend(first)
    world.check()
    assert world.served == first
    assert second in world.withdrawn


def test_an_answer_that_is_kept_is_not_given_once_its_version_is_withdrawn(world: World) -> None:
    for _ in range(3):
        world.publish()
    first, second, third = world.values
    world.check()
    assert world.get(f"?version={second}") == (200, 1)
    world.roll_back(first)
    world.roll_back(third)  # served as when the answer was kept
    world.check()
    assert world.get(f"?version={second}") == (410, None)


def test_what_a_lost_entry_withdrew_stays_withdrawn(world: World) -> None:
    for _ in range(2):
        world.publish()
    first, second = world.values
    before = (world.folder.path / LOG).read_bytes()
    world.roll_back(first)
    world.check()
    (world.folder.path / LOG).write_bytes(before)  # it went back
    world.check()
    assert world.get(f"?version={second}") == (410, None)
    ready = world.app.test_client().get("/ready").get_json()
    assert (ready["status"], ready["version"]) == ("degraded", first)
    assert "log.jsonl lacks entries" in ready["failure"]["detail"]
    world.publish()  # goes on, behind the log that went back
    world.damage(list(world.values)[-1])
    world.check()
    assert world.served == first


def run(world: World, seed: int, steps: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    for _ in range(steps):
        there = [version for version in world.values if version not in world.pruned]
        whole = [version for version in there if version not in world.damaged]
        match chance.choice(
            ("publish", "publish", "back", "back", "prune", "damage", "mend", "new")
        ):
            case "back" if whole:
                world.roll_back(chance.choice(whole))
            case "prune":
                world.prune(chance.randint(1, 4))
                world.damaged = {v: b for v, b in world.damaged.items() if v not in world.pruned}
            case "damage" if whole:
                world.damage(chance.choice(whole))
            case "mend" if world.damaged:
                world.mend(chance.choice(list(world.damaged)))
            case "new":
                world.close()
                world.start()
            case _:
                world.publish()
        world.check()


@pytest.mark.parametrize("seed", range(4))
def test_no_sequence_of_steps_serves_what_was_withdrawn(seed: int, world: World) -> None:
    run(world, seed, STEPS)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(100, 160))
def test_no_long_sequence_of_steps_serves_what_was_withdrawn(seed: int, world: World) -> None:
    run(world, seed, 4 * STEPS)
