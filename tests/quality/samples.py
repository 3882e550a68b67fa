"""Build samples of other seeds, and see what raises an alarm.

    python -m tests.quality.samples FOLDER RESULTS SEED...

builds each in FOLDER, a copy of the project that was built and published, and writes what came of
it to the file RESULTS. The unit tests are left out, since they do not see the input, and so is the
publication: each sample is compared with what was published of the first.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.quality.one_process import Warehouse


@dataclass(frozen=True)
class Sample:
    """What came of a sample.

    Attributes:
        seed: of its generator.
        spend: a total of it, which another sample has not.
        bad: models and tests that did not succeed, and expectations that did not hold or could not
            be evaluated.
    """

    seed: int
    spend: str
    bad: list[str]


def build_sample(warehouse: Warehouse, seed: int) -> Sample:
    """Make a sample in place of the one before, and build it."""
    subprocess.run(
        [sys.executable, "seeds/generate_data.py", "--seed", str(seed), "--out", "seeds"],
        check=True,
    )
    results = warehouse.dbt(
        *("build", "--exclude", "publication", "--exclude-resource-type", "unit_test")
    )
    bad = [
        f"{result.node.name}: {result.status} {result.message}"
        for result in results
        if str(result.status) not in ("success", "pass", "no-op")
    ]
    bad += [
        f"{suite}: {column}: {observed}"
        for suite, column, observed in warehouse.query(
            'select suite, "column", observed from marts.expectation_results'
            " where success is distinct from true"
        )
    ]
    ((spend,),) = warehouse.query("select sum(spend)::varchar from marts.ads_performance_daily")
    return Sample(seed, spend, bad)


def build_samples(folder: Path, seeds: Sequence[int]) -> list[Sample]:
    """Build the samples of these seeds one after the other."""
    warehouse = Warehouse(folder)
    return [build_sample(warehouse, seed) for seed in seeds]


if __name__ == "__main__":
    samples = build_samples(Path(sys.argv[1]).resolve(), [int(text) for text in sys.argv[3:]])
    Path(sys.argv[2]).write_text(json.dumps([asdict(each) for each in samples], indent=1))
