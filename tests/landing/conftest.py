"""The SQL of the project's feeds, taken from the shared build."""

from __future__ import annotations

import pytest

from tests.landing.loading import Compiled, compiled_feeds
from tests.support import Project


@pytest.fixture(scope="session")
def compiled(built: Project) -> dict[str, Compiled]:
    """Each feed as dbt compiled it."""
    return compiled_feeds(built)
