"""The configuration of nginx that we ship, with Debian's nginx in front of a real server."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.api.server import Server, free_port, make_token
from tests.api.support import NO_LIMITS
from tests.support import ROOT

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@contextmanager
def proxied(folder: Path, server: Server) -> Iterator[int]:
    """Our nginx.conf with ports and a certificate of the test; the port that it listens on."""
    port, plain = free_port(), free_port()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=kpi.example.com", "-keyout", folder / "kpi.key"),
            *("-out", folder / "kpi.crt"),
        ],
        check=True,
        capture_output=True,
    )
    text = (ROOT / "deploy/nginx.conf").read_text()
    for ours, test in (
        ("listen 80 ", f"listen 127.0.0.1:{plain} "),
        ("listen 443 ", f"listen 127.0.0.1:{port} "),
        ("127.0.0.1:5000", f"127.0.0.1:{server.port}"),
        ("/etc/nginx/kpi", f"{folder}/kpi"),
        ("worker_processes auto;", "worker_processes 1;"),
    ):
        assert text.count(ours) >= 1, ours
        text = text.replace(ours, test)
    (folder / "nginx.conf").write_text(text)
    command = [
        *(NGINX or "", "-c", str(folder / "nginx.conf"), "-p", str(folder)),
        *("-e", str(folder / "error.log"), "-g", f"daemon off; pid {folder}/nginx.pid;"),
    ]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    process = subprocess.Popen(command)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def ask(
    port: int, path: str, headers: dict[str, str] | None = None, source: str = "127.0.0.1"
) -> http.client.HTTPResponse:
    context = ssl._create_unverified_context()  # noqa: S323 - of the test itself
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=10, context=context, source_address=(source, 0)
    )
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_behind_our_nginx_clients_are_told_apart_and_silent_ones_stop_nobody(
    tmp_path: Path,
) -> None:
    token = make_token(tmp_path, "Ann", "--scope", "monitoring")
    limits = NO_LIMITS | {"API_TRUSTED_PROXIES": "1", "API_FAILED_LIMIT": "2 per minute"}
    with ExitStack() as stack:
        server = stack.enter_context(Server(tmp_path, **limits))
        port = stack.enter_context(proxied(tmp_path, server))
        assert ask(port, "/health").status == 200
        assert ask(port, "/metrics", {"Authorization": f"Bearer {token}"}).status == 200
        assert ask(port, "/health", {"X-Any": "a" * 20_000}).status in (400, 431)
        assert ask(port, "/health?" + "a" * 8_300).status == 414

        # The client's address is what nginx saw, whatever a header says.
        wrong = {"Authorization": "Bearer no", "X-Forwarded-For": "192.0.2.1"}
        assert [ask(port, "/metrics", wrong).status for _ in range(3)] == [401, 401, 429]
        assert ask(port, "/metrics", wrong, source="127.0.0.2").status == 401
        assert {line["remote"] for line in server.log} == {"127.0.0.1", "127.0.0.2"}

        for number in range(1500):
            client = stack.enter_context(socket.socket())
            client.bind((f"127.0.0.{3 + number % 5}", 0))
            client.connect(("127.0.0.1", port))
        started = time.monotonic()
        assert ask(port, "/health").status == 200
        assert time.monotonic() - started < 5
