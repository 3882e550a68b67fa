"""How long the landing zone takes to load, against a bare read of the same file, in one run.

A file of order lines, made by `seeds/generate_data.py --scale`, is loaded by `dbt run` (read, hash,
count, cast, judge, store, log), then nothing new, then one more file of 1 % of the rows. The
baseline is `create table as select * from read_csv(...)` with the types given, in a new database.
Both on two threads, in turn; the seconds are the engine's (dbt's own for the one model, without its
start and parse), and the median of the rounds counts. At the end seeds are compared with dbt's
default.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from tests.support import ROOT, Project

ENVIRONMENT = {"WAREHOUSE_SAMPLE_DATA": "0"}


def make_lines(rows: int, folder: Path) -> Path:
    """A CSV file of order lines."""
    subprocess.run(
        [
            *(sys.executable, str(ROOT / "seeds/generate_data.py")),
            *("--scale", str(rows), "--out", str(folder)),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "order_items/order_items.csv"


def bare_seconds(file: Path, folder: Path) -> float:
    """Read the file into a table of a new database, on two threads."""
    header = file.open().readline().strip().split(",")
    columns = ", ".join(
        f"'{name}': '{'integer' if name == 'quantity' else 'varchar'}'"
        if name != "ordered_at"
        else f"'{name}': 'timestamp'"
        for name in header
    )
    database = folder / "bare.duckdb"
    database.unlink(missing_ok=True)
    with duckdb.connect(str(database), config={"threads": "2"}) as connection:
        started = time.perf_counter()
        connection.execute(
            f"create table lines as select * from read_csv('{file}', columns = {{{columns}}}, "
            "auto_detect = false, header = true)"
        )
        return time.perf_counter() - started


def load_seconds(project: Project, *arguments: str) -> float:
    """Build base_order_items; the seconds dbt took for it."""
    outcome = project.dbt("run", "--select", "base_order_items", *arguments, **ENVIRONMENT)
    if outcome.exit_code:
        raise SystemExit("\n".join(outcome.lines))
    report = json.loads((project.folder / "target/run_results.json").read_text())
    return float(report["results"][0]["execution_time"])


def seed_seconds(project: Project) -> float:
    """Load the seed order_items once; the seconds dbt took for it."""
    outcome = project.dbt("seed", "--select", "order_items", "--full-refresh")
    if outcome.exit_code:
        raise SystemExit("\n".join(outcome.lines))
    report = json.loads((project.folder / "target/run_results.json").read_text())
    return float(report["results"][0]["execution_time"])


def measure_landing(rows: int, rounds: int, folder: Path) -> None:
    """Print what loading costs, as a share of the bare read and of the whole load."""
    project = Project(folder / "landing")
    file = make_lines(rows, folder / "whole")
    more = make_lines(max(rows // 100, 1), folder / "more")
    landed = project.folder / "landing/order_items"
    landed.mkdir(parents=True)
    shutil.copy2(file, landed / "lines.csv")
    project.dbt("seed", "--select", "order_items")
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        for way, took in (
            ("bare read, types given", bare_seconds(file, folder)),
            ("load of everything", load_seconds(project, "--full-refresh")),
            ("nothing new", load_seconds(project)),
        ):
            found.setdefault(way, []).append(took)
        shutil.copy2(more, landed / f"more_{number}.csv")
        with (landed / f"more_{number}.csv").open("a") as added:  # equal content would be refused
            added.write(f"O{number},P0001,1,2025-01-01 00:00:00\n")
        found.setdefault("one more file of 1 %", []).append(load_seconds(project))
        (landed / f"more_{number}.csv").unlink()
    bare, whole = found["bare read, types given"], found["load of everything"]
    size = file.stat().st_size / 1e6
    print(f"{rows:,} order lines, {size:,.0f} MB, median of {rounds} rounds\n")
    print("| what | seconds | of the bare read | of the load |")
    print("|---|---|---|---|")
    for way, seconds in found.items():
        of_bare = statistics.median(a / b for a, b in zip(seconds, bare, strict=True))
        of_load = statistics.median(a / b for a, b in zip(seconds, whole, strict=True))
        print(f"| {way} | {statistics.median(seconds):.2f} | {of_bare:.2f} | {of_load:.1%} |")


def measure_seeds(rows: int, rounds: int, folder: Path) -> None:
    """Print how fast a seed loads, against dbt's default, which leaves out our macro."""
    ours, default = Project(folder / "ours"), Project(folder / "default")
    (default.folder / "macros/ingest/seed.sql").unlink()
    file = make_lines(rows, folder / "seed")
    for project in (ours, default):
        shutil.copy2(file, project.folder / "seeds/shop/order_items.csv")
    runs = [(seed_seconds(ours), seed_seconds(default)) for _ in range(rounds)]
    print(f"\nSeed of {rows:,} rows, median of {rounds} rounds\n")
    print("| way | seconds | rows/s | times as fast |")
    print("|---|---|---|---|")
    for place, way in enumerate(("this project", "dbt's default")):
        median = statistics.median(run[place] for run in runs)
        times = statistics.median(run[1] / run[place] for run in runs)
        print(f"| {way} | {median:.2f} | {rows / median:,.0f} | {times:.1f} |")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.landing_load", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="order lines (10000000)")
    parser.add_argument("--seed-rows", type=int, default=1_000_000, help="of a seed (1000000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure_landing(options.rows, options.rounds, Path(name))
        measure_seeds(options.seed_rows, options.rounds, Path(name))


if __name__ == "__main__":
    main()
