"""Fixtures: the project built once for the tests that only look, and copies to break."""

from __future__ import annotations

from pathlib import Path

import pytest

import expectations  # noqa: F401 - before Great Expectations: keeps PySpark from it, where it is
from tests.support import Outcome, Project


@pytest.fixture(scope="session")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Outcome]:
    """The project as a fresh clone, built once on the sample data, and what the build printed."""
    project = Project(tmp_path_factory.mktemp("built") / "project")
    outcome = project.build()
    assert outcome.exit_code == 0, outcome.out + outcome.err
    return project, outcome


@pytest.fixture(scope="session")
def built(first_build: tuple[Project, Outcome]) -> Project:
    """The built project; look only."""
    return first_build[0]


@pytest.fixture
def project(tmp_path: Path, built: Project) -> Project:
    """A fresh copy of the project, not built, to change and break."""
    return Project(tmp_path / "project", parsed_from=built)
