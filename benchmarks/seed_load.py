"""How fast seeds load, against dbt's default materialization, in one run.

Both load the same file, order_items made by `seeds/generate_data.py --scale`, in a copy of the
project each; the default is had by leaving out `macros/ingest/seed.sql`. The seconds are dbt's own
for the one seed, without its start and parse; the median of the runs counts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import ROOT, Project


def load_seconds(project: Project) -> float:
    """Load the seed order_items once; the seconds dbt took for it."""
    outcome = project.dbt("seed", "--select", "order_items", "--full-refresh")
    if outcome.exit_code:
        raise SystemExit("\n".join(outcome.lines))
    report = json.loads((project.folder / "target/run_results.json").read_text())
    return float(report["results"][0]["execution_time"])


def main() -> None:
    """Measure both, in turn, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seed_load", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the file (200000)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each way (3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generator = str(ROOT / "seeds/generate_data.py")
        subprocess.run(
            [sys.executable, generator, "--scale", str(options.rows), "--out", str(folder / "in")],
            check=True,
            capture_output=True,
        )
        ours, default = Project(folder / "ours"), Project(folder / "default")
        (default.folder / "macros/ingest/seed.sql").unlink()
        for project in (ours, default):
            made = folder / "in/order_items/order_items.csv"
            shutil.copy2(made, project.folder / "seeds/shop/order_items.csv")
        runs = [(load_seconds(ours), load_seconds(default)) for _ in range(options.runs)]
    baseline = statistics.median(run[1] for run in runs)
    print(f"seed of {options.rows:,} rows, median of {options.runs} runs")
    for way, median in (
        ("this project", statistics.median(run[0] for run in runs)),
        ("dbt's default", baseline),
    ):
        rate = options.rows / median
        print(f"{way:14} {median:7.2f} s  {rate:10,.0f} rows/s  {baseline / median:5.1f} x")


if __name__ == "__main__":
    main()
