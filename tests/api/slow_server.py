"""The real server with endpoints that the tests need: a slow one, a faulty one, a streamed one."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask import Flask, Response

from api import serving
from api.settings import read_settings


def make_worker() -> Flask:
    app = serving.make_worker()

    def slow() -> str:
        time.sleep(2)
        return "done"

    def faulty() -> str:
        raise RuntimeError("a secret of the server")

    def streamed() -> Response:
        def parts() -> Iterator[bytes]:
            yield b"one,"
            yield b"two"

        return Response(parts(), content_type="text/csv")

    app.add_url_rule("/slow", "slow", slow)
    app.add_url_rule("/faulty", "faulty", faulty)
    app.add_url_rule("/streamed", "streamed", streamed)
    return app


if __name__ == "__main__":
    serving.serve(read_settings(), target="tests.api.slow_server:make_worker")
