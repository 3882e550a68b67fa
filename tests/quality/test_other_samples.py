"""Input that is as good as the sample raises no alarm, however its dice fell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT, Project, copy_of

SEEDS = range(1, 11)

# One process for all builds: dbt and Great Expectations take seconds to start. The unit tests are
# left out, since they do not see the input, and so is the publication: each sample is compared with
# what was published of the first.
_BUILDS = """
import json, shutil, subprocess, sys
from pathlib import Path
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
import duckdb

generator, seeds = sys.argv[1], sys.argv[2:]
for seed in seeds:
    subprocess.run([sys.executable, generator, "--seed", seed, "--out", "seeds"], check=True)
    done = dbtRunner().invoke([
        "--quiet", "--log-level", "none", "build", "--exclude", "publication",
        "--exclude-resource-type", "unit_test",
    ])
    if done.exception is not None:
        raise done.exception
    bad = [
        f"{result.node.name}: {result.status} {result.message}"
        for result in done.result.results
        if str(result.status) not in ("success", "pass", "no-op")
    ]
    DuckDBConnectionManager.close_all_connections()
    with duckdb.connect("build/warehouse.duckdb", read_only=True) as connection:
        bad += [
            f"{suite}: {column}: {observed}"
            for suite, column, observed in connection.execute(
                'select suite, "column", observed from marts.expectation_results'
                " where success is distinct from true"
            ).fetchall()
        ]
        ((spend,),) = connection.execute(
            "select sum(spend)::varchar from marts.ads_performance_daily"
        ).fetchall()
    print(json.dumps({"seed": seed, "spend": spend, "bad": bad}))
"""


def test_ten_samples_of_other_seeds_raise_no_alarm(built: Project, tmp_path: Path) -> None:
    project = copy_of(built, tmp_path / "project")
    done = subprocess.run(
        [sys.executable, "-c", _BUILDS, ROOT / "seeds/generate_data.py", *map(str, SEEDS)],
        cwd=project.folder,
        env=os.environ | {"DBT_PROFILES_DIR": "profiles", "PYTHONPATH": str(project.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [one["seed"] for one in found] == [str(seed) for seed in SEEDS]
    assert {one["seed"]: one["bad"] for one in found if one["bad"]} == {}
    assert len({one["spend"] for one in found}) == len(found)  # they are other samples indeed
