"""How long the models take on a small Spark cluster, with one executor and two, against DuckDB.

One set of `seeds/generate_data.py` is loaded and made into marts, without tests, by the same
models: on DuckDB with one thread and with two, and on a local cluster of one worker and of two, one
core each. Seconds are what dbt took to execute the nodes, one after the other. The order lines of
each run must be as many.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.warehouse_build import (
    BenchmarkError,
    group_of,
    machine,
    make_set,
    markdown,
    read_nodes,
    say,
    whole_number,
)
from tests.api.server import free_port
from tests.support import Project, own_environment
from warehouse.spark.cluster import Size, down, up

MODELS_ALONE = (
    *("build", "--exclude-resource-type", "test", "--exclude-resource-type", "unit_test"),
    *("--exclude", "expectation_results", "publication", "--threads", "1"),
)
ON_DUCKDB = "from dbt.cli.main import cli; cli()"
ON_SPARK = f"from warehouse.spark.adapter import extend; extend(); {ON_DUCKDB}"
EXECUTOR_MEMORY = 2048  # MB


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        engine: as the table names it.
        whole: seconds of the process.
        load: seconds of dbt's on seeds and feeds.
        models: on the other models.
        order_lines: rows of the mart.
    """

    engine: str
    whole: float
    load: float
    models: float
    order_lines: int


def run_dbt(what: str, project: Project, landing: Path, start: str, **variables: str) -> Run:
    """Make every mart from nothing; the mart's rows are counted by the caller."""
    say(what)
    target = project.folder / "target"
    shutil.rmtree(target, ignore_errors=True)
    environment = own_environment() | {
        "DBT_PROFILES_DIR": "profiles",
        "WAREHOUSE_LANDING": str(landing),
        "WAREHOUSE_SAMPLE_DATA": "0",
        "WAREHOUSE_MEMORY_LIMIT": "4GiB",
        **variables,
    }
    arguments = [*MODELS_ALONE, "--target", "spark" if start == ON_SPARK else "duckdb"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", start, "--quiet", *arguments],
        cwd=project.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    whole = time.monotonic() - began
    if done.returncode:
        raise BenchmarkError(f"{what} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    _, nodes = read_nodes(target)
    of_input = {node for node in nodes if group_of(node) == "load" or node.startswith("seed.")}
    load = sum(nodes[node] for node in of_input)
    models = sum(nodes[node] for node in nodes.keys() - of_input if group_of(node) == "models")
    return Run(what, whole, load, models, 0)


def on_duckdb(project: Project, landing: Path, threads: int) -> Run:
    """Make every mart on DuckDB."""
    project.database.unlink(missing_ok=True)
    what = f"DuckDB, {threads} {'thread' if threads == 1 else 'threads'}"
    run = run_dbt(what, project, landing, ON_DUCKDB, WAREHOUSE_THREADS=str(threads))
    with duckdb.connect(str(project.database), read_only=True) as connection:
        ((rows,),) = connection.sql("select count(*) from marts.order_lines").fetchall()
    return Run(run.engine, run.whole, run.load, run.models, int(rows))


@contextmanager
def cluster_of(folder: Path, workers: int) -> Iterator[int]:
    """The port of the Thrift server of a cluster that nobody else uses."""
    size = Size(workers=workers, worker_memory=EXECUTOR_MEMORY, driver_memory=2048)
    cluster = up(folder, say, port=free_port(), size=size)
    try:
        yield cluster.port
    finally:
        down(folder, say)


def on_spark(project: Project, landing: Path, folder: Path, workers: int) -> Run:
    """Make every mart on a cluster."""
    from pyhive import hive

    what = f"Spark, {workers} {'executor' if workers == 1 else 'executors'}"
    with cluster_of(folder, workers) as port:
        run = run_dbt(what, project, landing, ON_SPARK, WAREHOUSE_SPARK_PORT=str(port))
        cursor = hive.connect("127.0.0.1", port, auth="NOSASL", username="dbt").cursor()
        cursor.execute("select count(*) from marts.order_lines")
        ((rows,),) = cursor.fetchall()
    return Run(run.engine, run.whole, run.load, run.models, int(rows))


def table(runs: Sequence[Run]) -> str:
    """The runs as a table, against the last one on DuckDB."""
    base = next(run for run in reversed(runs) if run.engine.startswith("DuckDB"))
    return markdown(
        ["engine", "load s", "models s", "load and models s", f"of {base.engine}", "whole s"],
        [
            [
                run.engine,
                f"{run.load:.1f}",
                f"{run.models:.1f}",
                f"{run.load + run.models:.1f}",
                f"{(run.load + run.models) / (base.load + base.models):.1f}",
                f"{run.whole:.1f}",
            ]
            for run in runs
        ],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark_cluster", description=__doc__)
    parser.add_argument(
        "--lines", type=whole_number, default=1_000_000, help="order lines (1000000)"
    )
    known = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            say(f"making {known.lines:,} order lines")
            landing = make_set(known.lines, folder / "set")
            project = Project(folder / "project")
            runs = [
                *(on_duckdb(project, landing, threads) for threads in (1, 2)),
                *(on_spark(project, landing, folder / f"spark{n}", n) for n in (1, 2)),
            ]
        except BenchmarkError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    if len({run.order_lines for run in runs}) != 1:
        print(f"error: order lines differ: {json.dumps([r.order_lines for r in runs])}")
        return 1
    print(f"\n{known.lines:,} order lines, {machine()}\n\n{table(runs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
