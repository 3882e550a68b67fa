"""Fixtures: one server over the shared build, and copies of its snapshot to change and break."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.server import Server
from tests.api.support import LOADED, NO_LIMITS, Api, Row, declared, in_order
from tests.models.plain_python import recompute
from tests.support import Project
from warehouse.published import PublishedFolder


@pytest.fixture(scope="session")
def sample(built: Project) -> dict[str, list[Row]]:
    """Every mart of the sample, computed in plain Python, in its documented order.

    Only what came of the expectations is taken from the database: Great Expectations says it.
    """
    marts = recompute(built.folder / "seeds")
    marts["expectation_results"] = built.records("expectation_results")
    for row in marts["rejected_rows"]:
        row["record"] = json.dumps(row["record"], ensure_ascii=False, separators=(",", ":"))
    for row in marts["feed_health"]:
        row["last_loaded_at"] = LOADED  # the one value that the files do not hold
    return {
        mart: [
            {column: row[column] for column in declaration.types}
            for row in in_order(marts[mart], declaration.order)
        ]
        for mart, declaration in declared().items()
        if mart in marts
    }


@pytest.fixture(scope="session")
def api(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server over the snapshot of the shared build; look only."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "published").symlink_to(built.published.path)
    with Server(folder, **NO_LIMITS) as server:
        yield Api(server)


@pytest.fixture
def published(tmp_path: Path, built: Project) -> PublishedFolder:
    """A copy of the published folder, to publish to and to break."""
    shutil.copytree(built.published.path, tmp_path / "published")
    return PublishedFolder(tmp_path / "published")
