"""A small project whose rows all carry the number of their build, and builds of it to kill."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import SmallProject, own_environment
from warehouse.published import CATALOG, PublishedFolder

HERE = Path(__file__).resolve().parent
READINGS = 6000
DATA_TESTS, UNIT_TESTS = 5, 1  # of the small project
LONGEST_BUILD = 120.0  # seconds

# When a build may be killed: an instant that killer.py knows, and the seconds after it, of which
# one is chosen. A publication takes a quarter of a second.
AIMS = {
    "publication": ("folder", 0.3),
    "folder": ("folder", 0.005),
    "file 1": ("file 1", 0.02),
    "file 2": ("file 2", 0.02),
    "file 3": ("file 3", 0.02),
    "file 4": ("file 4", 0.05),
    "catalog": ("catalog", 0.01),
    "log": ("log", 0.02),
}


@dataclass
class Build:
    """A build that was started.

    Attributes:
        number: that all its rows carry.
        is_whole: whether it leaves nothing out.
        may_publish: whether it is a whole build of good data.
        output: what it printed, as JSON lines.
        process: id of its process and of its group.
        exit_code: None while it runs; -9 when it was killed.
        killed_with: the names in the new folders at the instant of the kill.
        seconds: wall time.
    """

    number: int
    is_whole: bool
    may_publish: bool
    output: Path
    process: int
    started: float
    exit_code: int | None = None
    killed_with: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def events(self) -> list[dict[str, Any]]:
        """What dbt said so far; a line without its end is left out."""
        lines = self.output.read_text().split("\n")[:-1] if self.output.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def invocation(self) -> str:
        """The end of the version that it may publish; `none` when it has said nothing yet."""
        events = self.events
        return str(events[0]["info"]["invocation_id"])[:8] if events else "none"

    @property
    def tests_passed(self) -> int:
        """Tests of which dbt said that they passed."""
        return sum(
            event["info"]["name"] == "LogTestResult" and event["data"]["status"] == "pass"
            for event in self.events
        )

    @property
    def last_words(self) -> str:
        """The end of what it printed, for a message."""
        said = [event["info"]["msg"] for event in self.events[-20:]]
        return "\n".join(said) or self.output.read_text()[-2000:] or "(nothing)"

    def version(self, folder: PublishedFolder) -> str | None:
        """The version that it published, if it did."""
        for entry in folder.entries():
            if entry.action == "publish" and entry.version.endswith(f"-{self.invocation}"):
                return entry.version
        return None

    def phase(self, folder: PublishedFolder) -> str:
        """How far it was when it was killed."""
        events = self.events
        nodes = [
            event["data"]["node_info"]["node_name"]
            for event in events
            if event["info"]["name"] == "LogStartLine"
        ]
        if not nodes:
            return "parsing" if events else "starting"
        if self.version(folder):
            return "in the log"
        names = next(
            (
                names
                for name, names in self.killed_with.items()
                if name.endswith(f"-{self.invocation}")
            ),
            None,
        )
        if names is None:
            return "publication begun" if "publication" in nodes else "models and tests"
        if CATALOG in names:
            return "catalog written"
        return "catalog begun" if f"{CATALOG}.new" in names else f"{len(names)} of 4 files"


class Forge:
    """Starts commands in the folder of a project, one at a time, without importing dbt anew.

    Args:
        folder: of the project.
        variables: further environment variables of its commands.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self._folder = folder
        self._commands = 0
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-P", str(HERE / "forge.py")],
            cwd=folder,
            env=own_environment() | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(LONGEST_BUILD)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def start(
        self,
        number: int,
        *command: str,
        program: str = "dbt",
        clock: Sequence[float] = (),
        is_good: bool = False,
    ) -> Build:
        """Start a command.

        Args:
            number: that all rows of a build carry.
            command: what to tell the program.
            program: dbt or flask.
            clock: by how many seconds its clock is wrong, one reading after the other.
            is_good: whether the data that are built pass their tests.
        """
        self._commands += 1
        output = self._folder / f"command-{self._commands}.jsonl"
        options = ["--log-format", "json", "--log-level", "info", "--log-level-file", "none"]
        arguments = [*(options if program == "dbt" else []), *command]
        order = {
            "program": program,
            "arguments": arguments,
            "clock": list(clock),
            "output": str(output),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        is_whole = command == ("build",)
        process = int(self._line())
        return Build(number, is_whole, is_whole and is_good, output, process, time.monotonic())

    def wait(self, build: Build) -> None:
        """Wait for the end of the command."""
        try:
            build.exit_code = int(self._line())
        except AssertionError:
            with suppress(ProcessLookupError):
                os.kill(build.process, signal.SIGUSR1)
                time.sleep(1)
            print(build.output.read_text(errors="replace")[-5000:])
            raise
        build.seconds = time.monotonic() - build.started

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], LONGEST_BUILD)
            byte = self._process.stdout.read(1) if ready else b""
            if not byte:
                raise AssertionError("a command takes too long, or what starts them has ended")
            line += byte
        return line.decode()


class BuiltAgainAndAgain(SmallProject):
    """A small project, and what starts commands in it.

    Args:
        folder: where it goes.
        published: the published folder, which several projects may share.
    """

    def __init__(self, folder: Path, published: Path) -> None:
        super().__init__(folder)
        self.published = PublishedFolder(published)
        self.forge = Forge(folder, WAREHOUSE_PUBLISHED=str(published))

    def start(
        self,
        number: int,
        command: Sequence[str] = ("build",),
        *,
        is_good: bool = True,
        clock: Sequence[float] = (),
    ) -> Build:
        """Start a build; one at a time.

        Args:
            number: that all its rows carry.
            command: what to tell dbt.
            is_good: whether the data pass their tests.
            clock: as of `Forge.start`.
        """
        self.number_builds(number, is_good=is_good)
        return self.forge.start(number, *command, clock=clock, is_good=is_good)

    def operate(self, *command: str, clock: Sequence[float] = ()) -> Build:
        """Start `flask publications <command>` on the published folder."""
        return self.forge.start(0, "publications", *command, program="flask", clock=clock)


class Killer:
    """A process that kills a build at an instant.

    Args:
        build: the build.
        published: the published folder.
        instant: as killer.py names it.
        delay: seconds after it.
    """

    def __init__(self, build: Build, published: Path, instant: str, delay: float) -> None:
        self._build = build
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-S", "-E", str(HERE / "killer.py")),
                *(str(build.process), str(published), instant, str(delay)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    def join(self) -> None:
        """Note what it saw, once the build has ended."""
        printed, _ = self._process.communicate(timeout=10)
        self._build.killed_with = json.loads(printed.splitlines()[-1]) or {}


def half_done(folder: PublishedFolder) -> set[str]:
    """What lies in the published folder without being in its log."""
    logged = {entry.version for entry in folder.entries()}
    return {path.name for path in folder.path.iterdir() if path.is_dir()} - logged
