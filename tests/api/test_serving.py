"""`flask --app api serve`, as a real process: what it logs, and how it starts and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.server import Answer, Server, flask, make_token

SLOW = "tests.api.slow_server"
LINE = {
    *("time", "event", "request_id", "remote", "method", "path", "status", "bytes", "ms"),
    *("token", "version", "cache"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with some more endpoints, for the tests that only ask."""
    with Server(tmp_path_factory.mktemp("server"), SLOW, API_FAILED_LIMIT="1000/minute") as running:
        yield running


def line_of(server: Server, answer: Answer) -> dict[str, object]:
    """The access log's one line about an answer."""
    lines = [
        line
        for line in server.log
        if line["event"] == "request" and line["request_id"] == answer.headers["x-request-id"]
    ]
    assert len(lines) == 1
    return lines[0]


# ---------------------------------------------------------------------------- starting


def test_it_says_in_one_line_where_it_listens_and_what_it_serves(server: Server) -> None:
    (line,) = server.err.splitlines()
    assert f"http://127.0.0.1:{server.port}" in line
    assert "no snapshot yet" in line
    assert "make token" in line


def test_a_port_that_is_used_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        outcome = flask(tmp_path, "serve", "--port", str(other.getsockname()[1]))
    assert outcome.exit_code == 2
    (line,) = outcome.lines
    assert line.startswith("Error: cannot listen on 127.0.0.1, port")
    assert "PORT=5001" in line


def test_a_second_server_on_the_same_port_is_refused(server: Server, tmp_path: Path) -> None:
    outcome = flask(tmp_path, "serve", PORT=str(server.port))
    assert outcome.exit_code == 2
    assert "Address already in use" in outcome.err


def test_several_workers_with_limits_in_memory_are_refused_with_the_reason(tmp_path: Path) -> None:
    for outcome in (
        flask(tmp_path, "serve", WORKERS="2"),
        flask(tmp_path, "serve", "--workers", "2"),
    ):
        assert outcome.exit_code == 2
        (line,) = outcome.lines
        assert "cannot share rate limits" in line
        assert "API_RATE_STORAGE=redis://" in line


# ---------------------------------------------------------------------------- ending


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_are_answered_before_it_ends(
    tmp_path: Path, sign: signal.Signals
) -> None:
    token = make_token(tmp_path)
    answers: list[Answer] = []
    with Server(tmp_path, SLOW) as server:
        client = threading.Thread(target=lambda: answers.append(server.get("/slow", token)))
        client.start()
        time.sleep(0.7)  # it is being computed
        assert server.stop(sign) == 0
        client.join(10)
        with pytest.raises(ConnectionRefusedError):
            server.get("/health")
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"done")]
    paths = [line["path"] for line in server.log if line["event"] == "request"]
    assert paths == ["/slow"]
    assert len(server.err.splitlines()) == 1  # no trace, no noise


def test_a_killed_server_leaves_no_worker_behind(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.process.kill()
        server.process.wait(10)
        for _ in range(100):
            try:
                server.get("/health")
            except OSError:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("the port is still served")


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        first = {int(pid) for pid in children.read_text().split()}
        for pid in first:
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        for _ in range(150):
            time.sleep(0.1)
            try:
                if server.get("/health").status == 200:
                    break
            except OSError:
                continue
        else:
            raise AssertionError("no worker came back")


# ---------------------------------------------------------------------------- tokens


def test_tokens_made_and_revoked_while_it_runs_count_at_once(server: Server) -> None:
    token = make_token(server.folder, "short", "--scope", "monitoring")
    assert server.get("/metrics", token).status == 200
    flask(server.folder, "tokens", "revoke", "short")
    assert server.get("/metrics", token).status == 401


def test_a_doubled_header_is_refused_even_with_a_good_token_in_both(server: Server) -> None:
    token = make_token(server.folder, "doubled", "--scope", "*")
    good = ("Authorization", f"Bearer {token}")
    assert server.get("/metrics", headers=[good]).status == 200
    for headers in (
        [good, good],
        [good, ("Authorization", "Bearer x")],
        [("Authorization", "Basic x"), good],
    ):
        assert server.get("/metrics", headers=headers).status == 401


# ---------------------------------------------------------------------------- logs


def test_each_request_has_one_line_with_what_happened(server: Server) -> None:
    token = make_token(server.folder, "log reader", "--scope", "monitoring")
    answer = server.get("/metrics?from=here", token, [("X-Request-Id", "my-id.1")])
    assert answer.headers["x-request-id"] == "my-id.1"
    line = line_of(server, answer)
    assert set(line) == LINE
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line["time"]))
    assert line["remote"] == "127.0.0.1"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/metrics", 200)
    assert line["token"] == "log reader"  # noqa: S105 - its name
    assert line["bytes"] == len(answer.body)
    assert isinstance(line["ms"], float)
    assert line["version"] is None


def test_a_streamed_answer_has_its_line_with_all_its_bytes(server: Server) -> None:
    token = make_token(server.folder, "stream", "--scope", "*")
    answer = server.get("/streamed", token)
    assert answer.body == b"one,two"
    time.sleep(0.2)
    assert line_of(server, answer)["bytes"] == 7


def test_an_answer_without_a_body_has_no_bytes(server: Server) -> None:
    answer = server.get("/health", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert line_of(server, answer)["bytes"] == 0


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/%0a%7b%22event%22%3a1%7d", '/\n{"event":1}'),
        ("/%1b[31m%00", "/\x1b[31m\x00"),
        ("/%ff%fe", "/\ufffd\ufffd"),
        ("/%e2%80%a8", "/\u2028"),
    ],
)
def test_no_path_breaks_the_line(server: Server, path: str, logged: str) -> None:
    answer = server.get(path)
    assert answer.status == 404
    assert line_of(server, answer)["path"] == logged
    assert all(ord(character) >= 32 for line in server.out.splitlines() for character in line)


def test_no_token_or_value_is_in_any_log_or_error(server: Server) -> None:
    token = make_token(server.folder, "careful", "--scope", "monitoring")
    wrong = "kpi_" + "w" * 43
    answers = [
        server.get(f"/metrics?name=Jane+Doe&token={token}", token),
        server.get(f"/{token}"),
        server.get(f"/health/{token}?{token}"),
        server.get("/metrics", wrong),
        server.get("/metrics", headers=[("Authorization", f"Basic {token}")]),
        server.get("/metrics", headers=[("Authorization", f"Bearer {token} {token}")]),
        server.get("/metrics", headers=[("X-Request-Id", f"{token}!")]),
        server.get("/metrics", headers=[("X-Request-Id", token)]),
        server.get(f"/api/v1/%6bpi_{token[4:]}"),
        server.get(f"/api/v1/%256bpi_{token[4:]}"),
        server.get(f"/api/v1/marts/%25256bp%2569_{token[4:]}", token),
        server.get(f"/api/v1/marts/{token}?{token}={token}", token),
        server.get("/health", headers=[("User-Agent", token), ("Referer", f"http://x/?t={token}")]),
        server.get("/health", method=token),
        server.get(f"/faulty?{token}", make_token(server.folder, "faulty", "--scope", "*")),
    ]
    assert [answer.status for answer in answers] == [
        *(200, 404, 404, 401, 401, 401, 401, 401),
        *(401, 401, 503, 503, 200, 405, 500),
    ]
    written = server.out + server.err + "".join(answer.body.decode() for answer in answers)
    for secret in (token, wrong, "Jane"):
        assert secret not in written
    assert "kpi_***" in written


def test_a_fault_is_one_line_of_the_log_and_not_in_the_answer(server: Server) -> None:
    token = make_token(server.folder, "fault", "--scope", "*")
    answer = server.get("/faulty", token)
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"secret" not in answer.body
    (line,) = [
        line
        for line in server.log
        if line["event"] == "fault" and line["request_id"] == answer.json["request_id"]
    ]
    assert line["level"] == "error"
    assert "RuntimeError: a secret of the server" in line["trace"]


def test_a_broken_file_of_tokens_is_one_line_of_the_log(tmp_path: Path) -> None:
    token = make_token(tmp_path)
    with Server(tmp_path) as server:
        (tmp_path / "tokens.json").write_text(json.dumps({"tokens": "none"}))
        for _ in range(3):
            answer = server.get("/metrics", token)
            assert answer.status == 503
            assert answer.json["type"] == "/docs/problems#tokens-unreadable"
        lines = [line for line in server.log if line["event"] == "tokens_unreadable"]
    assert len(lines) == 1
    assert "is not a file of tokens" in lines[0]["message"]


def test_an_answer_does_not_tell_the_version_of_the_server(server: Server) -> None:
    headers = server.get("/health").headers
    assert not re.search(r"\d", headers.get("server", ""))


# ---------------------------------------------------------------------------- several workers


def test_the_numbers_of_several_workers_are_added_up(tmp_path: Path) -> None:
    token = make_token(tmp_path, "prometheus", "--scope", "monitoring")
    with Server(tmp_path, "tests.api.shared_server", WORKERS="2") as server:
        ports = [server.get("/health") for _ in range(20)]
        assert {answer.status for answer in ports} == {200}
        time.sleep(0.3)
        seen = {
            re.findall(r'kpi_requests_total{endpoint="pages.health",status="200"} (\S+)', text)[0]
            for text in (server.get("/metrics", token).body.decode() for _ in range(6))
        }
    assert seen == {"20.0"}
