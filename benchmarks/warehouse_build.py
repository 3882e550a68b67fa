"""How long a whole build takes, against the limit and against the usual way, in one run.

Large sets of `seeds/generate_data.py` are built by `dbt build` with every test and the publication:
from an empty database, again with nothing new, and again after one more file of 1 % new order
lines. The limit is `limit.py`, one script of DuckDB; the usual way is `usual_way.py`, pandas. Both
must give the values of the warehouse, or the benchmark stops. At the largest size the runs take
turns, and the medians of the rounds count; the smaller sizes, one round each, show how the cost
grows.

Everything is a process of its own. Whole seconds are those of the process; engine seconds are what
dbt took to execute the nodes, one after the other, without its start, its parsing and compiling,
and what the baselines say of themselves. Unit tests never see the data and are counted apart.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import ParamSpec, TypeVar

import duckdb

from benchmarks.limit import Parser
from tests.support import ROOT, Project, own_environment
from warehouse.settings import memory_of_machine

P = ParamSpec("P")
T = TypeVar("T")

# The kinds of runs, as the tables name them.
LIMIT, USUAL = BASELINES = ("limit", "usual way")
FIRST, NOTHING_NEW, MORE = ("first build", "nothing new", "one more file of 1 %")

# What the seconds of a run are counted as; the rest is start, parsing, compiling and the end.
GROUPS = ("load", "models", "expectations", "publication", "data tests", "unit tests", "rest")

USUAL_LINES = 1_000_000
SLOWEST = 25


class BenchmarkError(Exception):
    """A run failed, or its values are not those of the warehouse; the message says which."""


@dataclass(frozen=True)
class Settings:
    """What the processes may use.

    Attributes:
        threads: threads of DuckDB; dbt itself has one, so that nodes follow each other.
        memory_limit: memory of DuckDB, such as 3GiB.
    """

    threads: int
    memory_limit: str


@dataclass(frozen=True)
class Run:
    """What one process took.

    Attributes:
        whole: seconds from its start to its end.
        peak_mib: the most memory it ever had.
        groups: engine seconds of each of `GROUPS`; those that it does not have are missing.
        nodes: engine seconds of each node of dbt, by its unique id.
        before: seconds of `rest` before the first node: dbt starts and parses the project.
    """

    whole: float
    peak_mib: float
    groups: Mapping[str, float]
    nodes: Mapping[str, float] = field(default_factory=dict)
    before: float = 0.0

    def seconds(self, *groups: str) -> float:
        """Engine seconds of some groups."""
        return sum(self.groups.get(group, 0.0) for group in groups)

    @property
    def models(self) -> float:
        """Engine seconds of loading and of models."""
        return self.seconds("load", "models")

    @property
    def tested(self) -> float:
        """Engine seconds of loading, models and data tests."""
        return self.models + self.seconds("data tests")

    @property
    def published(self) -> float:
        """Engine seconds of everything that sees the data."""
        return self.tested + self.seconds("expectations", "publication")

    @property
    def rest(self) -> float:
        """Seconds of the process that belong to no group."""
        return self.whole - sum(self.groups.values())


@dataclass(frozen=True)
class Step:
    """The runs on a set of some size, in the order of the rounds, by what they are."""

    lines: int
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def add(self, kind: str, run: Run) -> None:
        """Keep a run and say what it took."""
        self.runs.setdefault(kind, []).append(run)
        say(f"  {kind}: {run.whole:.1f} s, models {run.models:.2f} s, {run.peak_mib:,.0f} MiB")

    def median(self, kind: str, of: Callable[[Run], float]) -> float:
        """The median of the rounds."""
        return statistics.median(of(run) for run in self.runs[kind])

    def ratio(
        self,
        kind: str,
        of: Callable[[Run], float],
        base: str,
        of_base: Callable[[Run], float] | None = None,
    ) -> float:
        """The median, over the rounds, of what a run took as a share of another of its round."""
        pairs = zip(self.runs[kind], self.runs[base], strict=True)
        return statistics.median(of(run) / (of_base or of)(other) for run, other in pairs)

    def peak(self, kind: str) -> float:
        """The most memory of any round, in MiB."""
        return max(run.peak_mib for run in self.runs[kind])


@dataclass(frozen=True)
class Target:
    """Something to reach, and what was found."""

    what: str
    aim: str
    found: str
    is_met: bool


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


# --- Processes ------------------------------------------------------------------------------------


def in_a_child(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a function in a new process.

    A child's peak of memory is at least that of the process that started it: this one stays small.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()


def run_child(
    what: str, module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple[float, float, str]:
    """Run a Python module and measure it.

    Args:
        what: What it is, for the message of an error.
        module: The module.
        arguments: Its arguments.
        folder: The folder it runs in.
        environment: Variables beside those of this process.

    Returns:
        Whole seconds, the peak of its memory in MiB, and what it printed.

    Raises:
        BenchmarkError: It failed; with the last 20 lines of what it printed.
    """
    with tempfile.TemporaryFile() as printed:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env=own_environment() | dict(environment),
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        whole = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read().decode(errors="replace")
    if process.returncode:
        last = [line for line in text.splitlines() if line.strip()][-20:]
        raise BenchmarkError(
            "\n".join([f"{what} failed with exit code {process.returncode}", *last])
        )
    return whole, usage.ru_maxrss / 1024, text


def make_set(lines: int, folder: Path) -> Path:
    """Make a landing zone with so many order lines.

    Raises:
        BenchmarkError: It could not be made.
    """
    say(f"{lines:,} lines: making the set")
    script = "seeds.generate_data"
    arguments = ["--scale", str(lines), "--out", str(folder)]
    run_child(f"making {lines:,} lines", script, arguments, ROOT, {})
    return folder


def make_more_lines(lines: int, file: Path) -> None:
    """Write 1 % new order lines of new orders, on the seven days after the last one of the set."""
    count, products = max(1, lines // 100), max(10, min(5_000, lines // 100))
    duckdb.execute(
        f"""
        copy (
            select
                'O' || cast(800000000 + i // 3 as varchar) as order_id,
                'P' || lpad(cast(hash(i) % {products} as varchar), 5, '0') as product_id,
                1 + hash(i, 'quantity') % 5 as quantity,
                date '2026-01-01' + cast(i // 3 * 21 // {count + 2} as integer) as ordered_at
            from range({count}) as lines (i)
        ) to '{file}' (header)
        """
    )


def differences(module: str, made: Path, warehouse: Path) -> list[str]:
    """What differs between the marts of a baseline and those of the warehouse."""
    found: list[str] = importlib.import_module(f"benchmarks.{module}").differences(made, warehouse)
    return found


def check_values(module: str, made: Path, project: Project) -> None:
    """Check that a baseline made the values of the warehouse.

    Raises:
        BenchmarkError: It did not.
    """
    say("  comparing the values")
    found = in_a_child(differences, module, made, project.database)
    if found:
        message = f"{module} and the warehouse differ in {len(found)} places"
        raise BenchmarkError("\n".join([message, *found[:20]]))


# --- What is measured -----------------------------------------------------------------------------


def group_of(unique_id: str) -> str:
    """Which of `GROUPS` a node of dbt belongs to."""
    kind, _package, name = unique_id.split(".")[:3]
    if kind in ("test", "unit_test"):
        return {"test": "data tests", "unit_test": "unit tests"}[kind]
    if kind not in ("model", "seed"):
        return "rest"
    if kind == "model" and name.startswith("base_") and not name.endswith("_repeats"):
        return "load"
    return {"expectation_results": "expectations", "publication": "publication"}.get(name, "models")


def read_nodes(target: Path) -> tuple[datetime, dict[str, float]]:
    """When the first node of the last run began, and the engine seconds of each, by unique id."""
    begun, nodes = [], {}
    for result in json.loads((target / "run_results.json").read_text())["results"]:
        for step in result["timing"]:
            started, ended = (
                datetime.fromisoformat(step[name]) for name in ("started_at", "completed_at")
            )
            begun.append(started)
            if step["name"] == "execute":
                nodes[result["unique_id"]] = (ended - started).total_seconds()
    return min(begun), nodes


def grouped(nodes: Mapping[str, float]) -> dict[str, float]:
    """The engine seconds of each group that has a node; those of `rest` are not the engine's."""
    groups: dict[str, float] = {}
    for unique_id, seconds in nodes.items():
        group = group_of(unique_id)
        if group != "rest":
            groups[group] = groups.get(group, 0.0) + seconds
    return groups


def dbt_build(what: str, project: Project, landing: Path, settings: Settings) -> Run:
    """Build, test and publish everything.

    Raises:
        BenchmarkError: dbt failed.
    """
    environment = {
        "DBT_PROFILES_DIR": "profiles",
        "WAREHOUSE_LANDING": str(landing),
        "WAREHOUSE_SAMPLE_DATA": "0",
        "WAREHOUSE_THREADS": str(settings.threads),
        "WAREHOUSE_MEMORY_LIMIT": settings.memory_limit,
    }
    arguments = ("--no-use-colors", "build", "--threads", "1")
    started = datetime.now(UTC)
    whole, peak, _ = run_child(what, "dbt.cli.main", arguments, project.folder, environment)
    begun, nodes = read_nodes(project.folder / "target")
    return Run(whole, peak, grouped(nodes), nodes, (begun - started).total_seconds())


def run_baseline(module: str, landing: Path, made: Path, *arguments: str) -> Run:
    """Make the marts with `limit` or `usual_way`.

    Raises:
        BenchmarkError: It failed.
    """
    command = (str(landing), str(made), *arguments)
    whole, peak, text = run_child(module, f"benchmarks.{module}", command, ROOT, {})
    return Run(whole, peak, {"models": json.loads(text.splitlines()[-1])["seconds"]})


def measure_step(
    lines: int, rounds: int, settings: Settings, folder: Path, *, again: bool, usual: bool
) -> Step:
    """Measure the runs on a set of some size.

    Args:
        lines: Order lines of the set.
        rounds: How often the runs are repeated.
        settings: What they may use.
        folder: A folder for the set and the databases; made, and removed at the end.
        again: Build again too, with nothing new and with one more file.
        usual: Make the marts in the usual way too, once.

    Raises:
        BenchmarkError: A run failed, or values differ.
    """
    step = Step(lines)
    landing = make_set(lines, folder / "landing")
    for number in range(rounds):
        say(f"{lines:,} lines, round {number + 1} of {rounds}")
        project = Project(folder / "project")
        limit_database = folder / "limit.duckdb"
        name = f"of {lines:,} lines"
        step.add(FIRST, dbt_build(f"the first build {name}", project, landing, settings))
        options = ("--threads", str(settings.threads), "--memory-limit", settings.memory_limit)
        step.add(LIMIT, run_baseline("limit", landing, limit_database, *options))
        check_values("limit", limit_database, project)
        if usual and not number:
            step.add(USUAL, run_baseline("usual_way", landing, folder / "usual_way"))
            check_values("usual_way", folder / "usual_way", project)
        if again:
            run = dbt_build(f"the build with nothing new {name}", project, landing, settings)
            step.add(NOTHING_NEW, run)
            more = landing / "order_items/more.csv"
            in_a_child(make_more_lines, lines, more)
            run = dbt_build(f"the build with one more file {name}", project, landing, settings)
            step.add(MORE, run)
            more.unlink()
        shutil.rmtree(project.folder)
        limit_database.unlink()
    shutil.rmtree(folder)
    return step


def measure(sizes: Sequence[int], rounds: int, settings: Settings, folder: Path) -> list[Step]:
    """Measure each size, the largest with all its rounds.

    Raises:
        BenchmarkError: A run failed, or values differ.
    """
    largest = sizes[-1]
    # pandas keeps everything in memory, so it gets a set of a million lines.
    usual = max((lines for lines in sizes if lines <= USUAL_LINES), default=sizes[0])
    return [
        measure_step(
            lines,
            rounds if lines == largest else 1,
            settings,
            folder / str(lines),
            again=lines == largest,
            usual=lines == usual,
        )
        for lines in sizes
    ]


@contextmanager
def largest_size(folder: Path) -> Iterator[list[int]]:
    """Watch a folder; yields a list of one number, the most bytes its files had together."""
    found = [0]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.2):
            size = 0
            for parent, _folders, names in os.walk(folder):  # bears what is removed meanwhile
                for name in names:
                    with suppress(FileNotFoundError):
                        size += (Path(parent) / name).stat().st_size
            found[0] = max(found[0], size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        is_over.set()
        watcher.join()


def measure_spill(lines: int, settings: Settings, folder: Path) -> None:
    """Build a set once that need not fit in memory, and print what it took.

    Raises:
        BenchmarkError: The build failed.
    """
    landing = make_set(lines, folder / "landing")
    project = Project(folder / "project")
    say(f"{lines:,} lines: building")
    with largest_size(project.folder / "build/tmp") as spilled:
        run = dbt_build(f"the build of {lines:,} lines", project, landing, settings)
    print(f"{machine()}\n")
    print(
        markdown(
            ("order lines", "memory limit", "whole s", "models s", "peak MiB", "spilled MiB"),
            [
                (
                    f"{lines:,}",
                    settings.memory_limit,
                    f"{run.whole:.1f}",
                    f"{run.models:.1f}",
                    f"{run.peak_mib:,.0f}",
                    f"{spilled[0] / 2**20:,.0f}",
                )
            ],
        )
    )


# --- What is printed ------------------------------------------------------------------------------


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    cells = [heads, ["---"] * len(heads), *rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines[1] = "|" + "---|" * len(heads)
    return "\n".join(lines)


def machine() -> str:
    """What the figures are from: the processor, the memory and the versions."""
    processor = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.is_file() else ():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    memory = memory_of_machine() / 2**30
    packages = ("duckdb", "dbt-core", "dbt-duckdb", "pandas")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    python = platform.python_version()
    return f"{os.cpu_count()} x {processor}, {memory:.1f} GiB; Python {python}, {versions}"


def usual_step(steps: Sequence[Step]) -> Step:
    """The step at which the usual way ran."""
    return next(step for step in steps if USUAL in step.runs)


def whole_of(run: Run) -> float:
    """Seconds of a whole run."""
    return run.whole


def models_of(run: Run) -> float:
    """Engine seconds of loading and of models."""
    return run.models


def tested_of(run: Run) -> float:
    """Engine seconds of loading, models and data tests."""
    return run.tested


def table_of_runs(steps: Sequence[Step]) -> str:
    """What each kind of run took at the largest size; the usual way at its own."""
    last, usual = steps[-1], usual_step(steps)
    heads = (
        *("run", "whole s", "of first build", "models s", "of limit"),
        *("+ data tests s", "of limit", "+ expectations and publication s", "unit tests s"),
        *("rest s", "of it before the first node", "peak MiB"),
    )
    rows = []
    kinds = [(last, kind) for kind in (LIMIT, FIRST, NOTHING_NEW, MORE)]
    for step, kind in [*kinds, (usual, USUAL)]:
        is_dbt = kind not in BASELINES

        def seconds(
            of: Callable[[Run], float],
            shown: bool = True,
            step: Step = step,
            kind: str = kind,
        ) -> str:
            return f"{step.median(kind, of):.2f}" if shown else ""

        # The usual way ran once, in the first round.
        first = Step(step.lines, {name: runs[:1] for name, runs in step.runs.items()})
        ratios = first if kind == USUAL else step
        rows.append(
            (
                kind if step is last else f"{kind}, {step.lines:,} lines",
                seconds(whole_of),
                f"{ratios.ratio(kind, whole_of, FIRST):.1%}",
                seconds(models_of),
                f"{ratios.ratio(kind, models_of, LIMIT):.2f}",
                seconds(tested_of, is_dbt),
                f"{ratios.ratio(kind, tested_of, LIMIT):.2f}" if is_dbt else "",
                seconds(lambda run: run.published, is_dbt),
                seconds(lambda run: run.seconds("unit tests"), is_dbt),
                seconds(lambda run: run.rest),
                seconds(lambda run: run.before, is_dbt),
                f"{step.peak(kind):,.0f}",
            )
        )
    return markdown(heads, rows)


def table_of_growth(steps: Sequence[Step]) -> str:
    """What the first build and the limit took at each size."""
    heads = (
        *("order lines", "models s", "whole s", "limit s", "models of the limit", "peak MiB"),
        *("models us/line", "whole us/line"),
    )
    rows = [
        (
            f"{step.lines:,}",
            f"{step.median(FIRST, models_of):.2f}",
            f"{step.median(FIRST, whole_of):.2f}",
            f"{step.median(LIMIT, models_of):.2f}",
            f"{step.ratio(FIRST, models_of, LIMIT):.2f}",
            f"{step.peak(FIRST):,.0f}",
            f"{per_line(step, FIRST, models_of):.2f}",
            f"{per_line(step, FIRST, whole_of):.2f}",
        )
        for step in steps
    ]
    return markdown(heads, rows)


def per_line(step: Step, kind: str, of: Callable[[Run], float]) -> float:
    """Microseconds for each order line."""
    return step.median(kind, of) / step.lines * 1e6


def times_as_fast(steps: Sequence[Step], step: Step, of: Callable[[Run], float]) -> float:
    """How many times as fast as the usual way the first build is, for each order line."""
    return per_line(usual_step(steps), USUAL, of) / per_line(step, FIRST, of)


def table_of_usual_way(steps: Sequence[Step]) -> str:
    """The first build against the usual way, for each order line."""
    usual = usual_step(steps)
    rows = [
        (
            "usual way",
            f"{usual.lines:,}",
            f"{per_line(usual, USUAL, models_of):.2f}",
            "1.0",
            f"{per_line(usual, USUAL, whole_of):.2f}",
            "1.0",
        )
    ]
    rows += [
        (
            FIRST,
            f"{step.lines:,}",
            f"{per_line(step, FIRST, models_of):.2f}",
            f"{times_as_fast(steps, step, models_of):.1f}",
            f"{per_line(step, FIRST, whole_of):.2f}",
            f"{times_as_fast(steps, step, whole_of):.1f}",
        )
        for step in {usual.lines: usual, steps[-1].lines: steps[-1]}.values()
    ]
    heads = (
        *("way", "order lines", "models us/line", "times as fast"),
        *("whole us/line", "times as fast"),
    )
    return markdown(heads, rows)


def table_of_nodes(step: Step) -> str:
    """The nodes of the first build that took longest, unit tests too."""
    runs = step.runs[FIRST]
    seconds = {
        unique_id: statistics.median(run.nodes.get(unique_id, 0.0) for run in runs)
        for unique_id in runs[0].nodes
    }
    total = sum(seconds.values())
    rows = [
        (short_name(unique_id), group_of(unique_id), f"{took:.2f}", f"{took / total:.1%}")
        for unique_id, took in sorted(seconds.items(), key=lambda node: (-node[1], node[0]))
    ]
    return markdown(("node", "group", "seconds", "of all nodes"), rows[:SLOWEST])


def short_name(unique_id: str) -> str:
    """A node's name without its package and the hash of a test."""
    kind, _package, *names = unique_id.split(".")
    return ".".join(names[:1] if kind == "test" else names)


def targets_of(steps: Sequence[Step]) -> list[Target]:
    """What is to be reached, and whether it was."""
    first, last, usual = steps[0], steps[-1], usual_step(steps)

    def at_most(what: str, found: float, most: float, unit: str = "x") -> Target:
        def shown(value: float) -> str:
            if unit == "%":
                return f"{value:.1%}"
            return f"{value:.2f} {unit}" if value < 100 else f"{value:,.0f} {unit}"

        return Target(what, f"<= {shown(most)}", shown(found), found <= most)

    def at_least(what: str, found: float, least: float) -> Target:
        return Target(what, f">= {least:.2f} x", f"{found:.2f} x", found >= least)

    peak = max(step.peak(kind) for step in steps for kind in step.runs if kind not in BASELINES)
    growth = per_line(last, FIRST, models_of) / per_line(first, FIRST, models_of)
    return [
        at_most("models, of the limit", last.ratio(FIRST, models_of, LIMIT), 1.5),
        at_most("models and data tests, of the limit", last.ratio(FIRST, tested_of, LIMIT), 2),
        *(
            at_least(
                f"models at {step.lines:,} lines, times as fast per line as the usual way at "
                f"{usual.lines:,}",
                times_as_fast(steps, step, models_of),
                3,
            )
            for step in {usual.lines: usual, last.lines: last}.values()
        ),
        at_most(
            "nothing new, whole, of the first build",
            last.ratio(NOTHING_NEW, whole_of, FIRST),
            0.30,
            "%",
        ),
        at_most(
            "one more file of 1 %, whole, of the first build",
            last.ratio(MORE, whole_of, FIRST),
            0.35,
            "%",
        ),
        at_most(
            "one more file of 1 %, models, of the first build",
            last.ratio(MORE, models_of, FIRST),
            0.10,
            "%",
        ),
        at_most("peak of any build", peak, 4096, "MiB"),
        at_most(
            f"models per line at {last.lines:,} lines, of those at {first.lines:,}", growth, 1.0
        ),
    ]


def table_of_targets(targets: Sequence[Target]) -> str:
    """The targets, with yes or no."""
    rows = [
        (target.what, target.aim, target.found, "yes" if target.is_met else "no")
        for target in targets
    ]
    return markdown(("target", "aim", "found", "reached"), rows)


def report(steps: Sequence[Step], settings: Settings) -> str:
    """Everything that was found, as Markdown."""
    last = steps[-1]
    rounds = len(last.runs[FIRST])
    parts = [
        machine(),
        f"{last.lines:,} order lines, {settings.threads} threads, memory limit "
        f"{settings.memory_limit}, median of {rounds} round{'s' * (rounds > 1)}",
        table_of_runs(steps),
        "Growth of the first build",
        table_of_growth(steps),
        "For each order line, against the usual way",
        table_of_usual_way(steps),
        f"The {SLOWEST} nodes of the first build that took longest",
        table_of_nodes(last),
        "Targets",
        table_of_targets(targets_of(steps)),
    ]
    return "\n\n".join(parts)


# --- The chart ------------------------------------------------------------------------------------

# Shades and hatches that differ in black and white too.
FILLS = {
    "load": ("#1f4e79", ""),
    "models": ("#5b9bd5", ""),
    "expectations": ("#c5c5c5", "////"),
    "publication": ("#8f8f8f", "|||"),
    "data tests": ("#f4b183", "\\\\\\\\"),
    "unit tests": ("#ffffff", "xxxx"),
    "rest": ("#ffffff", ""),
}
NAMES = {"rest": "start, parse, compile"}


def draw_chart(steps: Sequence[Step], file: Path) -> None:
    """Draw how the cost grows and what each run is made of; equal figures give equal bytes."""
    # Only here: the process that starts the others stays small.
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    def draw_growth(axes: Axes) -> None:
        sizes = [step.lines for step in steps]
        usual = usual_step(steps)
        for label, kind, of, marks, colour in (
            ("whole build", FIRST, whole_of, "s-", "#1f4e79"),
            ("models", FIRST, models_of, "o--", "#5b9bd5"),
            ("limit", LIMIT, models_of, "^-.", "#000000"),
        ):
            seconds = [step.median(kind, of) for step in steps]
            axes.plot(sizes, seconds, marks, label=label, color=colour, linewidth=1.8)
        start = steps[0].median(FIRST, models_of)
        axes.plot(
            sizes,
            [start * lines / sizes[0] for lines in sizes],
            label="models, if linear",
            linestyle=":",
            color="#8f8f8f",
        )
        axes.plot(
            [usual.lines],
            [usual.median(USUAL, models_of)],
            label="usual way",
            marker="X",
            markersize=9,
            linestyle="",
            color="#c55a11",
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sizes)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,.10g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("order lines")
        axes.set_ylabel("seconds")
        axes.set_title("Growth")
        axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
        axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.15))

    def draw_groups(axes: Axes) -> None:
        last, usual = steps[-1], usual_step(steps)
        bars = [
            *((last, kind) for kind in (LIMIT, FIRST, NOTHING_NEW, MORE)),
            (usual, USUAL),
        ]
        names = [
            kind if step is last else f"{kind},\n{step.lines:,} lines only" for step, kind in bars
        ]
        # The median run as a whole: medians of its parts would not add up to it.
        middle = [
            sorted(step.runs[kind], key=whole_of)[len(step.runs[kind]) // 2] for step, kind in bars
        ]
        left = [0.0] * len(bars)
        for group in GROUPS:
            widths = [run.rest if group == "rest" else run.seconds(group) for run in middle]
            colour, hatch = FILLS[group]
            axes.barh(
                names,
                widths,
                left=left,
                label=NAMES.get(group, group),
                color=colour,
                hatch=hatch,
                edgecolor="#000000",
                linewidth=0.6,
                height=0.62,
            )
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for place, end in enumerate(left):
            axes.annotate(
                f"{end:.1f} s", (end, place), (4, 0), textcoords="offset points", va="center"
            )
        axes.invert_yaxis()
        axes.set_xlim(0, max(left) * 1.13)
        axes.set_xlabel("seconds of the whole process")
        axes.set_title(f"What a run of {last.lines:,} order lines is made of")
        axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.42, -0.15))
        axes.spines[["top", "right"]].set_visible(False)

    with mpl.rc_context(
        {"svg.hashsalt": "kpi_warehouse", "font.size": 9, "hatch.linewidth": 0.5, "backend": "svg"}
    ):
        figure = Figure(figsize=(12, 4.8), layout="constrained")
        growth, groups = figure.subplots(1, 2, width_ratios=(1, 1.35))
        draw_growth(growth)
        draw_groups(groups)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None})


# --- The command ----------------------------------------------------------------------------------


def whole_number(text: str) -> int:
    """Read a number of lines, rounds or threads.

    Raises:
        ValueError: It is no whole number of at least 1.
    """
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def whole_numbers(text: str) -> list[int]:
    """Read numbers of lines with commas between them.

    Raises:
        ValueError: One of them is no whole number of at least 1.
    """
    return [whole_number(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables and draw the chart; 1 when a run fails or values differ."""
    parser = Parser(prog="python -m benchmarks.warehouse_build", description=__doc__)
    parser.add_argument(
        "--lines", type=whole_number, default=10_000_000, help="order lines (10000000)"
    )
    parser.add_argument("--rounds", type=whole_number, default=3, help="rounds (3)")
    parser.add_argument("--threads", type=whole_number, default=2, help="threads of DuckDB (2)")
    parser.add_argument("--memory-limit", default="3GiB", help="memory of DuckDB (3GiB)")
    parser.add_argument(
        "--steps",
        type=whole_numbers,
        default=[1_000_000, 3_000_000, 10_000_000],
        help="sizes that show the growth; those above --lines are left out "
        "(1000000,3000000,10000000)",
    )
    parser.add_argument(
        "--chart",
        type=Path,
        default=ROOT / "docs/build_benchmark.svg",
        help="the chart, an SVG file (docs/build_benchmark.svg)",
    )
    parser.add_argument(
        "--spill",
        type=whole_number,
        metavar="LINES",
        help="only build so many lines once, to see that a build finishes that needs more memory",
    )
    options = parser.parse_args(arguments)
    settings = Settings(options.threads, options.memory_limit)
    sizes = sorted({options.lines, *(size for size in options.steps if size < options.lines)})
    try:
        with tempfile.TemporaryDirectory(prefix="warehouse_build.") as name:
            if options.spill:
                measure_spill(options.spill, settings, Path(name))
                return 0
            steps = measure(sizes, options.rounds, settings, Path(name))
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report(steps, settings))
    draw_chart(steps, options.chart)
    say(f"The chart is in {options.chart}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
