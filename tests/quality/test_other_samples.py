"""Input that is as good as the sample raises no alarm, however its dice fell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.quality.samples import Sample
from tests.support import ROOT, Project, copy_of

SEEDS = range(1, 11)


@pytest.mark.deep
def test_ten_samples_of_other_seeds_raise_no_alarm(built: Project, tmp_path: Path) -> None:
    project = copy_of(built, tmp_path / "project")
    results = tmp_path / "samples.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.quality.samples", project.folder, results),
            *map(str, SEEDS),
        ],
        cwd=project.folder,  # its modules come first, these of the tests from the root
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = [Sample(**fields) for fields in json.loads(results.read_text())]
    assert [one.seed for one in found] == [*SEEDS]
    assert {one.seed: one.bad for one in found if one.bad} == {}
    assert len({one.spend for one in found}) == len(found)  # they are other samples indeed
