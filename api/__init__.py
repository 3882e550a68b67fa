"""The REST API over the published snapshots. It reads them, and nothing else of the warehouse.

`flask --app api run` serves it for development, `flask --app api serve` for use.
"""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from api import access_log, auth, cli, cors, limits, monitoring, problems, safety
from api.answers import AnswerCache
from api.routes import data, pages, quality
from api.settings import Settings, read_settings
from api.snapshots import SnapshotStore
from warehouse.history import BuildHistory

__all__ = ["create_app"]


def create_app(settings: Settings | None = None) -> Flask:
    """Make the application; no file is read or written, and no thread started, before a request.

    Args:
        settings: None: those of the environment.

    Raises:
        SettingsError: a setting cannot be used.
    """
    settings = settings or read_settings()
    app = Flask(__name__)
    app.url_map.merge_slashes = False  # a path with two slashes is another one, not a redirect
    app.extensions["settings"] = settings
    app.extensions["snapshots"] = SnapshotStore(settings)
    app.extensions["build_history"] = BuildHistory(settings.published)
    app.extensions["answers"] = AnswerCache(settings.cache_bytes)
    # Before a request in this order, after it in reverse.
    access_log.install(app)
    monitoring.install(app)
    problems.install(app)
    cors.install(app, settings)
    safety.install(app)
    limits.install(app, settings)
    auth.install(app, settings, pages=(pages.blueprint.name,))
    app.register_blueprint(data.blueprint)
    app.register_blueprint(quality.blueprint)
    app.register_blueprint(pages.blueprint)
    cli.install(app)
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count
        )
    return app
