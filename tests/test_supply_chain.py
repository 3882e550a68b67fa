"""What is installed is pinned with its hashes, and the locks are those of what people edit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT

LOCKS = ("requirements", "requirements-dev", "requirements-spark", "requirements-supply")


def pins(text: str) -> dict[str, str]:
    """Names, as the package index writes them, and versions of the lines `name==version`."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[\w+\])?==(\S+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def wanted(name: str) -> dict[str, str]:
    """What people asked for in a file of requirements, and in those that it includes."""
    text = (ROOT / f"{name}.txt").read_text()
    found = pins(text)
    for included in re.findall(r"^--requirement (\S+)\.txt$", text, re.MULTILINE):
        found |= wanted(included)
    return found


def locked(name: str) -> dict[str, str]:
    return pins((ROOT / f"{name}.lock").read_text())


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_of_what_people_ask_for(name: str) -> None:
    asked, found = wanted(name), locked(name)
    assert asked
    lines = (ROOT / f"{name}.txt").read_text().splitlines()
    loose = [line for line in lines if line and line[0] not in "#-" and not pins(line)]
    assert not loose, f"{name}.txt does not pin {loose}"
    stale = {name: version for name, version in asked.items() if found.get(name) != version}
    assert not stale, f"{name}.lock has not {stale}; write it anew: make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_of_a_lock_has_hashes(name: str) -> None:
    text = (ROOT / f"{name}.lock").read_text()
    packages = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(packages) >= len(wanted(name))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", package) for package in packages)
    assert "http" not in text  # the address of an index is each machine's own


def test_locks_that_are_installed_together_agree() -> None:
    base = locked("requirements")
    for name in ("requirements-dev", "requirements-spark"):
        assert base.items() <= locked(name).items()


def test_pip_refuses_a_package_of_other_content(tmp_path: Path) -> None:
    """By the command of the Makefile, with a lock whose hashes are of something else."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    wheel = tmp_path / "some-1.0-py3-none-any.whl"
    wheel.write_bytes(b"not what was locked")
    (tmp_path / "requirements.lock").write_text(f"{wheel} --hash=sha256:{'0' * 64}\n")
    binaries = tmp_path / ".venv/bin"
    binaries.mkdir(parents=True)
    python = binaries / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", ".venv/installed"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / ".venv/installed").exists()


def test_actions_of_workflows_are_pinned_by_a_full_commit() -> None:
    used = []
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            used += [step["uses"] for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []


def test_the_readme_names_the_pythons_that_make_takes() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (pythons,) = re.findall(r"^PYTHONS := (.+)$", makefile, re.MULTILINE)
    oldest, *_, newest = pythons.split()
    assert (
        f"Python {oldest} to {newest} and make are all it takes" in (ROOT / "README.md").read_text()
    )
