"""Numbers about the running server, for Prometheus, at /metrics."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from api.snapshots import SnapshotStore

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"  # set by serve when there are several workers

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The counters of one application."""

    def __init__(self, app: Flask) -> None:
        """Make the counters; with several workers they live in files, one for each."""
        self._app = app
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "kpi_requests",
            "Requests answered.",
            ("endpoint", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "kpi_request_seconds",
            "Time to answer a request.",
            ("endpoint",),
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self._cache = Counter(
            "kpi_cached_answers",
            "Answers with data: from the cache (hit), made anew (miss), or not sent (304).",
            ("outcome",),
            registry=self.registry,
        )
        self._failed = Counter(
            "kpi_failed_authentications",
            "Requests without a token (missing) and with a wrong one (invalid).",
            ("reason",),
            registry=self.registry,
        )
        self._known: dict[tuple[str | None, int, str | None], tuple[Any, ...]] = {}
        self.registry.register(_Snapshots(app))

    def observe(self, endpoint: str | None, status: int, cache: str | None, seconds: float) -> None:
        """Count a request and its time.

        The counters of a combination are looked up once: endpoints, statuses and outcomes are few.
        """
        key = (endpoint, status, cache)
        counters = self._known.get(key)
        if counters is None:
            name = endpoint or "none"
            counters = self._known[key] = (
                self._seconds.labels(name),
                self._requests.labels(name, str(status)),
                *([self._cache.labels(cache)] if cache else []),
            )
        counters[0].observe(seconds)
        for counter in counters[1:]:
            counter.inc()

    def count_failed_authentication(self, reason: str) -> None:
        """Count a request that was refused: `missing` or `invalid`."""
        self._failed.labels(reason).inc()

    def text(self) -> bytes:
        """All numbers in Prometheus' text format, those of other workers added up."""
        if not os.environ.get(MULTIPROCESS):
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(_Snapshots(self._app))
        return generate_latest(registry)


class _Snapshots:
    """What is served, looked up when it is asked for; of the worker that is asked."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def describe(self) -> list[Metric]:
        """Nothing: or the store would be asked, and begin to load, when the app is made."""
        return []

    def collect(self) -> Iterator[Metric]:
        store: SnapshotStore = self._app.extensions["snapshots"]
        status = store.status()
        served = GaugeMetricFamily(
            "kpi_snapshot_info", "The version that is served.", labels=["version"]
        )
        age = GaugeMetricFamily("kpi_snapshot_age_seconds", "Time since it was published.")
        sample = GaugeMetricFamily(
            "kpi_snapshot_contains_sample", "1 where the numbers have the sample in them."
        )
        if status.catalog is not None:
            served.add_metric([status.catalog.version], 1)
            age.add_metric([], time.time() - status.catalog.published_at.timestamp())
            sample.add_metric([], bool(status.catalog.sample_data))
        yield served
        yield age
        yield sample
        yield GaugeMetricFamily(
            "kpi_snapshot_refused",
            "1 while the newest version is damaged and an older one is served.",
            value=status.failure is not None,
        )
        yield CounterMetricFamily(
            "kpi_snapshot_swaps", "Versions taken up since the start.", value=status.swaps
        )


def install(app: Flask) -> None:
    """Count what the app does, and serve the numbers at /metrics."""
    app.extensions["metrics"] = Metrics(app)
    app.add_url_rule("/metrics", "metrics", _answer)


def current() -> Metrics:
    """The metrics of the application that answers this request."""
    metrics: Metrics = current_app.extensions["metrics"]
    return metrics


def count_failed_authentication(reason: str) -> None:
    """Count a request that was refused: `missing` or `invalid`."""
    current().count_failed_authentication(reason)


def _answer() -> Response:
    from api.auth import require  # it counts failures here

    require("monitoring")
    return Response(
        current().text(),
        content_type="text/plain; version=0.0.4; charset=utf-8",
        headers={"Cache-Control": "no-store"},
    )
