"""Every mart is broken in several ways; each time something must stop the publication."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.quality.mutants import MUTANTS, Caught, as_line
from tests.support import ROOT, Project, copy_of

WORKERS = 2


@pytest.mark.deep
@pytest.mark.parametrize("worker", range(WORKERS))
def test_every_mutant_is_caught_as_the_documentation_says(
    built: Project, tmp_path: Path, worker: int
) -> None:
    project = copy_of(built, tmp_path / "project")
    indexes = range(len(MUTANTS))[worker::WORKERS]
    results = tmp_path / "caught.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.quality.mutants", project.folder, results),
            *map(str, indexes),
        ],
        cwd=project.folder,  # its modules come first, these of the tests from the root
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    caught = [Caught(**fields) for fields in json.loads(results.read_text())]
    assert len(caught) == len(indexes)
    missed = [
        f"{one.mart}: {one.fault}"
        for one in caught
        if not (one.unit_tests or one.data_tests or one.expectations)
    ]
    assert missed == []
    documented = (ROOT / "docs/quality.md").read_text().splitlines()
    # What it should say, when it does not: the lines that are missing.
    assert [line for line in map(as_line, caught) if line not in documented] == []


def test_every_mart_and_every_kind_of_fault_is_among_the_mutants(built: Project) -> None:
    marts = set(built.column("select mart from publication.publication"))
    # A mart that is made in Python has no last line of SQL; tests/expectations/ breaks it.
    assert {mutant.mart for mutant in MUTANTS} == marts - {"expectation_results"}
    assert len(MUTANTS) > 30
    for kind in ("times 10", "a day dropped", "a customer twice", "null in", "swapped", "third"):
        assert any(kind in mutant.fault for mutant in MUTANTS), kind


def test_the_documentation_lists_no_mutant_that_is_not_there() -> None:
    lines = (ROOT / "docs/quality.md").read_text().splitlines()
    marts = {mutant.mart for mutant in MUTANTS}
    listed = [line.split(" | ")[:2] for line in lines if line.split(" | ")[0][2:] in marts]
    assert listed == [[f"| {mutant.mart}", mutant.fault] for mutant in MUTANTS]
