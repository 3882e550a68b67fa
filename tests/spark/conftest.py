"""A Spark cluster of the tests' own, started once for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.server import free_port
from warehouse.spark.cluster import Cluster, Size, down, up


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master, two workers of one core and the Thrift server, on a free port."""
    folder = tmp_path_factory.mktemp("cluster")
    started = up(folder, print, port=free_port(), size=Size())
    try:
        yield started
    finally:
        down(folder, print)


@pytest.fixture(scope="session")
def spark_port(cluster: Cluster) -> int:
    """The port of its Thrift server."""
    return cluster.port
