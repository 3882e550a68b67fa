"""What needs no token: health, readiness, the documentation, and a page for people."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, current_app, g, render_template, send_from_directory

from api import formats, openapi
from api.answers import client_has, rows_allowed
from api.problems import KINDS
from api.quality import read_quality
from api.snapshots import SnapshotStore

blueprint = Blueprint("pages", __name__)

_SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"


def _store() -> SnapshotStore:
    store: SnapshotStore = current_app.extensions["snapshots"]
    return store


@blueprint.get("/health")
def health() -> Response:
    """Say that the process answers; nothing about data."""
    return _json({"status": "ok"})


@blueprint.get("/ready")
def ready() -> Response:
    """Say which version is served, and what is wrong if the newest is not; 503 without any."""
    with _store().reading():
        pass
    status = _store().status()
    catalog = status.catalog
    assert catalog is not None  # noqa: S101 - reading() raises without a snapshot
    g.version = catalog.version
    return _json(
        {
            "status": "ready" if status.failure is None else "degraded",
            "version": catalog.version,
            "published_at": catalog.published_at_text,
            "contains_sample": catalog.sample_data,
            "age_seconds": int(_age(catalog.published_at)),
            "marts": len(catalog.marts),
            "rows": catalog.rows,
            "tests": catalog.tests,
            "failure": status.failure
            and {"version": status.failed_version, "detail": status.failure},
        }
    )


@blueprint.get("/api/v1/openapi.json")
def openapi_document() -> Response:
    """The description of the API, made from the catalog of the snapshot that is served."""
    catalog = _store().status().catalog
    body, etag = openapi.document(catalog)
    is_known = client_has(etag)
    response = Response(status=304) if is_known else Response(body, mimetype="application/json")
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "no-cache"
    return response


@blueprint.get("/")
def index() -> str:
    """A page for people: what this is, what it serves, where to go."""
    store = _store()
    status = store.status()
    if status.catalog is None:
        return render_template("index.html", status=status, catalog=None)
    with store.reading() as snapshot:
        return render_template(
            "index.html",
            status=status,
            catalog=snapshot.catalog,
            age=shown_age(_age(snapshot.catalog.published_at)),
            quality=read_quality(
                store, snapshot, datetime.now(UTC), lambda mart: rows_allowed(mart, None)[0]
            ),
            shown_age=shown_age,
        )


@blueprint.get("/docs")
def docs() -> str:
    """The documentation, rendered by Swagger UI from the installed package."""
    return render_template("docs.html")


@blueprint.get("/docs/assets/<path:name>")
def docs_assets(name: str) -> Response:
    """A file of Swagger UI."""
    # Not conditional: Werkzeug's parsers of If-None-Match and Range would read what anybody sends.
    response = send_from_directory(_SWAGGER_UI, name, max_age=86400, conditional=False)
    response.headers["Cache-Control"] = "public, max-age=86400"
    return response


@blueprint.get("/docs/problems")
def problems() -> str:
    """What each kind of problem means."""
    return render_template("problems.html", kinds=KINDS)


def _json(value: object) -> Response:
    response = Response(formats.json_text(value), mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _age(time: datetime) -> float:
    return max(0.0, (datetime.now(UTC) - time).total_seconds())


def shown_age(seconds: float) -> str:
    """An age as people say it: `3 minutes`."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"
