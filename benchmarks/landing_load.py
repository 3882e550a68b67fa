"""How long the landing zone takes to load, against a bare read of the same file, in one run.

A file of order lines is loaded by `dbt run`, then nothing new, then one more file of 1 % of the
rows. The baseline is `create table as select * from read_csv(...)` with the types given, in a new
database. Both on two threads, in turn; the median of the rounds counts. The seconds are those of
the loader (list, hash, count, read, cast, judge, store, log), which says them in dbt's log, and
beside them what dbt took to execute the node, macros and view included. Neither has dbt's start,
its parsing and compiling. At the end seeds are compared with dbt's default.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.warehouse_build import read_nodes
from tests.support import Project


def make_lines(rows: int, file: Path, *, first: int = 0, faulty: bool = False) -> Path:
    """A CSV file of order lines; of a faulty one each thousandth quantity is no number."""
    quantity = "case when i % 1000 = 7 then 'two' else cast(1 + hash(i) % 5 as varchar) end"
    duckdb.execute(
        f"""
        copy (
            select
                'O' || lpad(cast(i // 3 as varchar), 9, '0') as order_id,
                'P' || lpad(cast(hash(i * 7) % 5000 as varchar), 5, '0') as product_id,
                {quantity if faulty else "1 + hash(i) % 5"} as quantity,
                timestamp '2020-01-01' + to_seconds(i * 15) as ordered_at
            from range({first}, {first + rows}) as lines(i)
        ) to '{file}' (header)
        """
    )
    return file


def bare_seconds(file: Path, folder: Path) -> float:
    """Read the file into a table of a new database, on two threads."""
    database = folder / "bare.duckdb"
    database.unlink(missing_ok=True)
    with duckdb.connect(str(database), config={"threads": "2"}) as connection:
        started = time.perf_counter()
        connection.execute(
            f"create table lines as select * from read_csv('{file}', auto_detect = false, "
            "header = true, columns = {'order_id': 'varchar', 'product_id': 'varchar', "
            "'quantity': 'integer', 'ordered_at': 'timestamp'})"
        )
        return time.perf_counter() - started


def engine_seconds(project: Project, *command: str, **environment: str) -> float:
    """Build one node; the seconds dbt took to execute it, once it was compiled."""
    outcome = project.dbt(*command, **environment)
    if outcome.exit_code:
        raise SystemExit("\n".join(outcome.lines))
    _begun, nodes = read_nodes(project.folder / "target")
    (seconds,) = nodes.values()
    return seconds


@dataclass(frozen=True)
class Load:
    """Seconds of one load of base_order_items.

    Attributes:
        load: of the loader: list, hash, count, read, cast, judge, store, log.
        node: until dbt had executed the node: the loader, the macros around it, the view.
    """

    load: float
    node: float


def load_once(project: Project, *arguments: str) -> Load:
    """Build base_order_items."""
    command = ("run", "--select", "base_order_items", *arguments)
    node = engine_seconds(project, *command, WAREHOUSE_SAMPLE_DATA="0")
    log = (project.folder / "logs/dbt.log").read_text()
    return Load(float(re.findall(r"order_items: loaded in ([0-9.]+) s", log)[-1]), node)


def seed_seconds(project: Project) -> float:
    """Load the seed order_items once."""
    return engine_seconds(project, "seed", "--select", "order_items", "--full-refresh")


def measure_landing(rows: int, rounds: int, folder: Path) -> None:
    """Print what loading costs, as a share of the bare read and of the whole load."""
    project = Project(folder / "landing")
    landed = project.folder / "landing/order_items"
    landed.mkdir(parents=True)
    file = make_lines(rows, landed / "lines.csv")
    faulty = make_lines(rows, folder / "faulty.csv", faulty=True)
    project.dbt("seed", "--select", "order_items")
    found: dict[str, list[Load]] = {}
    bare: list[float] = []
    for number in range(rounds):
        bare.append(bare_seconds(file, folder))
        found.setdefault("load of everything", []).append(load_once(project, "--full-refresh"))
        found.setdefault("nothing new", []).append(load_once(project))
        more = make_lines(rows // 100, landed / "more.csv", first=rows * (number + 2))
        found.setdefault("one more file of 1 %", []).append(load_once(project))
        more.unlink()
        file.rename(folder / "aside.csv")
        faulty.rename(landed / "faulty.csv")
        way = "load with 0.1 % rejected rows"
        found.setdefault(way, []).append(load_once(project, "--full-refresh"))
        (landed / "faulty.csv").rename(faulty)
        (folder / "aside.csv").rename(file)
    whole = found["load of everything"]
    size = file.stat().st_size / 1e6
    print(f"{rows:,} order lines, {size:,.0f} MB, median of {rounds} rounds\n")
    print("| what | load s | of the bare read | of the load | node s | of the load's node |")
    print("|---|---|---|---|---|---|")
    print(f"| bare read, types given | {statistics.median(bare):.2f} | 1.00 | | | |")
    for way, loads in found.items():
        load, node = (
            statistics.median(getattr(one, of) for one in loads) for of in ("load", "node")
        )
        of_bare = statistics.median(one.load / a for one, a in zip(loads, bare, strict=True))
        of_load, of_node = (
            statistics.median(
                getattr(one, of) / getattr(a, of) for one, a in zip(loads, whole, strict=True)
            )
            for of in ("load", "node")
        )
        print(
            f"| {way} | {load:.2f} | {of_bare:.2f} | {of_load:.1%} | {node:.2f} | {of_node:.1%} |"
        )


def measure_seeds(rows: int, rounds: int, folder: Path) -> None:
    """Print how fast a seed loads, against dbt's default, which leaves out our macro."""
    ours, default = Project(folder / "ours"), Project(folder / "default")
    (default.folder / "macros/ingest/seed.sql").unlink()
    file = make_lines(rows, folder / "seed.csv")
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
