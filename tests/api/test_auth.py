"""Who gets an answer: tokens, scopes, budgets; and what every error looks like."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, Response, g
from flask.testing import FlaskClient
from limits.errors import StorageError
from werkzeug.test import TestResponse

from api import create_app
from api.auth import public, require
from api.problems import KINDS, Problem
from api.settings import Settings, read_settings
from api.tokens import TokenFile

MakeClient = Callable[..., FlaskClient]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return dataclasses.replace(
        read_settings({}), tokens=tmp_path / "tokens.json", published=tmp_path / "published"
    )


@pytest.fixture
def tokens(settings: Settings) -> TokenFile:
    return TokenFile(settings.tokens)


@pytest.fixture
def make_client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> MakeClient:
    """Makes an application with some more endpoints: guarded, scoped, public, faulty."""
    clock = SimpleNamespace(monotonic=time.monotonic)
    clock.at = float(int(time.time()))
    clock.time = lambda: clock.at
    monkeypatch.setattr("api.limits.time", clock)
    monkeypatch.setattr("limits.storage.memory.time", clock)

    def make(**changes: Any) -> FlaskClient:
        app = create_app(dataclasses.replace(settings, **changes))
        add_probes(app)
        client = app.test_client()
        client.clock = clock  # type: ignore[attr-defined]
        return client

    return make


def add_probes(app: Flask) -> None:
    def scoped() -> str:
        require("hiring")
        return "people"

    def faulty() -> str:
        raise RuntimeError("the password is hunter2")

    def teapot() -> str:
        raise Problem(418, "http-error", "short and stout", title="Fine", color="red")

    def seen() -> Response:
        return Response(f"{g.token.name}")

    app.add_url_rule("/probe", "probe", seen)
    app.add_url_rule("/scoped", "scoped", scoped)
    app.add_url_rule("/faulty", "faulty", public(faulty))
    app.add_url_rule("/teapot", "teapot", public(teapot))
    app.add_url_rule("/public", "public", public(lambda: "open"))


def ask(client: FlaskClient, authorization: str | None, path: str = "/probe") -> TestResponse:
    headers = {} if authorization is None else {"Authorization": authorization}
    return client.get(path, headers=headers)


def assert_problem(answer: TestResponse, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.data)
    assert body["type"] == f"/docs/problems#{kind}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert kind in KINDS
    return body


# ---------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_a_valid_token_is_served_however_the_scheme_is_written(
    make_client: MakeClient, tokens: TokenFile, scheme: str
) -> None:
    answer = ask(make_client(), f"{scheme} {tokens.create('Ann', ['*'])}")
    assert (answer.status_code, answer.text) == (200, "Ann")


@pytest.mark.parametrize("authorization", [None, "", "Basic QW5uOnBhc3M=", "Token kpi_x"])
def test_who_sends_no_bearer_token_is_asked_for_one(
    make_client: MakeClient, authorization: str | None
) -> None:
    answer = ask(make_client(), authorization)
    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="kpi"'


def test_a_token_in_the_query_or_in_another_header_is_none(
    make_client: MakeClient, tokens: TokenFile
) -> None:
    secret = tokens.create("Ann", ["*"])
    client = make_client()
    for name in ("token", "access_token", "api_key", "Authorization"):
        answer = client.get("/probe", query_string={name: secret}, headers={"X-Api-Key": secret})
        assert_problem(answer, 401, "unauthenticated")


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Bearer {good} {good}",
        "Bearer {good},Bearer {good}",
        "Bearer {good}, Basic QQ==",
        "Basic QQ==, Bearer {good}",
        "Bearer {good}=,",
        "Bearer,{good}",
        "Bearer\t{good}",
        'Bearer "{good}"',
        "Bearer {truncated}",
        "Bearer {revoked}",
        "Bearer {expired}",
        "Bearer \xe9\xfc",
        "Bearer " + "A" * 5000,
        "Bearer ' or 1=1 --",
    ],
)
def test_every_wrong_token_gets_one_and_the_same_answer(
    make_client: MakeClient, tokens: TokenFile, authorization: str
) -> None:
    good = tokens.create("Ann", ["*"])
    revoked = tokens.create("Bob", ["*"])
    tokens.revoke("Bob")
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    expired = tokens.create("Eve", ["*"], soon)
    time.sleep(0.25)
    header = authorization.format(good=good, truncated=good[:-1], revoked=revoked, expired=expired)
    answer = ask(make_client(), header)
    body = assert_problem(answer, 401, "invalid-token")
    assert body["detail"] == KINDS["invalid-token"]
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="kpi", error="invalid_token"'
    assert good not in answer.text


def test_a_token_without_the_scope_is_told_which_one_it_lacks(
    make_client: MakeClient, tokens: TokenFile
) -> None:
    client = make_client()
    answer = ask(client, f"Bearer {tokens.create('Ann', ['shop', 'quality'])}", "/scoped")
    assert assert_problem(answer, 403, "missing-scope")["scope"] == "hiring"
    challenge = answer.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope", scope="hiring"' in challenge
    assert "people" not in answer.text
    for scope in ("hiring", "*"):
        answer = ask(client, f"Bearer {tokens.create(f'with {ord(scope[0])}', [scope])}", "/scoped")
        assert answer.status_code == 200


def test_every_endpoint_needs_a_token_unless_it_is_meant_not_to(make_client: MakeClient) -> None:
    client = make_client()
    open_to_all = {"pages", "static", "faulty", "teapot", "public"}
    for rule in client.application.url_map.iter_rules():
        if rule.endpoint.partition(".")[0] in open_to_all or "GET" not in (rule.methods or ()):
            continue
        path = rule.rule.replace("<path:resource>", "marts").replace("<mart>", "x")
        assert client.get(path).status_code == 401, rule.rule
    assert client.get("/public").status_code == 200
    assert client.get("/health").status_code == 200


def test_metrics_of_the_server_need_their_scope(make_client: MakeClient, tokens: TokenFile) -> None:
    client = make_client(failed_limit="1 per hour")
    reader = f"Bearer {tokens.create('Ann', ['shop', 'hiring', 'marketing'])}"
    monitor = f"Bearer {tokens.create('prometheus', ['monitoring'])}"
    assert_problem(ask(client, None, "/metrics"), 401, "unauthenticated")
    assert_problem(ask(client, "Bearer no", "/metrics"), 401, "invalid-token")
    assert_problem(ask(client, reader, "/metrics"), 403, "missing-scope")
    ask(client, reader, "/probe")
    text = ask(client, monitor, "/metrics").text
    assert 'kpi_requests_total{endpoint="probe",status="200"} 1.0' in text
    assert 'kpi_request_seconds_count{endpoint="probe"} 1.0' in text
    assert 'kpi_failed_authentications_total{reason="missing"} 1.0' in text
    assert 'kpi_failed_authentications_total{reason="invalid"} 1.0' in text
    assert "kpi_snapshot_swaps_total 0.0" in text


def test_without_a_readable_file_of_tokens_nobody_is_let_in(
    make_client: MakeClient, tokens: TokenFile
) -> None:
    secret = tokens.create("Ann", ["*"])
    client = make_client()
    assert ask(client, f"Bearer {secret}").status_code == 200
    tokens.path.write_text("{")
    assert_problem(ask(client, f"Bearer {secret}"), 503, "tokens-unreadable")
    assert client.get("/health").status_code == 200


# ---------------------------------------------------------------------------- budgets


def test_a_token_has_a_budget_and_is_told_how_it_stands(
    make_client: MakeClient, tokens: TokenFile
) -> None:
    client = make_client(rate_limit="3 per minute")
    secret = f"Bearer {tokens.create('Ann', ['*'])}"
    for left in (2, 1, 0):
        answer = ask(client, secret)
        assert answer.status_code == 200
        assert answer.headers["X-RateLimit-Limit"] == "3"
        assert answer.headers["X-RateLimit-Remaining"] == str(left)
        assert answer.headers["RateLimit"] == f'"token";r={left};t=60'
        assert answer.headers["RateLimit-Policy"] == '"token";q=3;w=60'
        assert int(answer.headers["X-RateLimit-Reset"]) == client.clock.at + 60  # type: ignore[attr-defined]
        assert "Retry-After" not in answer.headers
    answer = ask(client, secret)
    assert_problem(answer, 429, "too-many-requests")
    assert answer.headers["Retry-After"] == "60"
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    client.clock.at += 60  # type: ignore[attr-defined]
    assert ask(client, secret).status_code == 200


def test_the_budget_is_the_tokens_over_all_endpoints_and_nobody_elses(
    make_client: MakeClient, tokens: TokenFile
) -> None:
    client = make_client(rate_limit="2 per minute")
    ann = f"Bearer {tokens.create('Ann', ['*'])}"
    bob = f"Bearer {tokens.create('Bob', ['*'])}"
    statuses = [ask(client, ann, path).status_code for path in ("/probe", "/scoped", "/probe")]
    assert statuses == [200, 200, 429]
    assert ask(client, bob).status_code == 200


def test_a_token_may_have_a_limit_of_its_own(make_client: MakeClient, tokens: TokenFile) -> None:
    client = make_client(rate_limit="1 per minute")
    more = f"Bearer {tokens.create('more', ['*'], limit='3 per second; 5 per minute')}"
    assert [ask(client, more).status_code for _ in range(4)] == [200, 200, 200, 429]
    client.clock.at += 1  # type: ignore[attr-defined]
    assert [ask(client, more).status_code for _ in range(3)] == [200, 200, 429]


def test_wrong_tokens_use_up_the_budget_of_an_address_but_lock_nobody_out(
    make_client: MakeClient, tokens: TokenFile
) -> None:
    client = make_client(failed_limit="3 per minute")
    good = f"Bearer {tokens.create('Ann', ['*'])}"
    statuses = [ask(client, f"Bearer wrong-{n}").status_code for n in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    answer = ask(client, "Bearer wrong")
    assert_problem(answer, 429, "too-many-failures")
    assert answer.headers["Retry-After"] == "60"
    assert ask(client, good).status_code == 200
    assert ask(client, None).status_code == 401  # asks, does not guess
    elsewhere = client.get(
        "/probe",
        headers={"Authorization": "Bearer wrong"},
        environ_overrides={"REMOTE_ADDR": "192.0.2.7"},
    )
    assert elsewhere.status_code == 401


def test_an_ipv6_network_counts_as_one_address(make_client: MakeClient) -> None:
    client = make_client(failed_limit="2 per minute")
    statuses = [
        client.get(
            "/probe",
            headers={"Authorization": "Bearer wrong"},
            environ_overrides={"REMOTE_ADDR": f"2001:db8:0:{net}::{host}"},
        ).status_code
        for net, host in [(1, 1), (1, 2), (1, 3), (2, 1)]
    ]
    assert statuses == [401, 401, 429, 401]


def test_wrong_tokens_do_not_use_up_the_budget_of_a_token(
    make_client: MakeClient, tokens: TokenFile
) -> None:
    client = make_client(rate_limit="2 per minute")
    secret = tokens.create("Ann", ["*"])
    for _ in range(5):
        ask(client, f"Bearer {secret[:-1]}")
    assert ask(client, f"Bearer {secret}").headers["X-RateLimit-Remaining"] == "1"


@pytest.mark.parametrize("path", ["/docs", "/docs/problems", "/public", "/no/such", "/probe", "/"])
def test_an_address_has_a_budget_for_what_needs_no_token(
    make_client: MakeClient, tokens: TokenFile, path: str
) -> None:
    client = make_client(open_limit="3 per minute")
    assert 429 not in {client.get(path).status_code for _ in range(3)}
    answer = client.get(path)
    assert_problem(answer, 429, "too-many-requests")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert client.get("/health").status_code == 200  # monitors have a budget of their own
    assert ask(client, f"Bearer {tokens.create('Ann', ['*'])}").status_code == 200
    bearer = {"Authorization": f"Bearer {tokens.create('Bob', ['*'])}"}
    assert client.get(path, headers=bearer).status_code != 429
    assert client.get(path, headers={"Authorization": "Bearer no"}).status_code in (401, 429)
    other = client.get(path, environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert other.status_code != 429
    client.clock.at += 60  # type: ignore[attr-defined]
    assert client.get(path).status_code != 429


def test_monitors_are_turned_away_only_for_what_they_ask_themselves(
    make_client: MakeClient,
) -> None:
    client = make_client(rate_limit="1 per minute", open_limit="5 per minute")
    for _ in range(20):
        client.get("/")
    assert {client.get("/health").status_code for _ in range(5)} == {200}
    assert_problem(client.get("/health"), 429, "too-many-requests")
    assert_problem(client.get("/ready"), 429, "too-many-requests")


def test_what_is_counted_by_address_is_bounded(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.limits.MOST_COUNTED", 20)
    client = make_client(failed_limit="5 per day", open_limit="5 per day")
    for number in range(200):
        address = {"REMOTE_ADDR": f"2001:db8:0:{number:x}::1"}
        client.get("/docs", environ_base=address)
        client.get("/probe", headers={"Authorization": "Bearer no"}, environ_base=address)
    budgets = client.application.extensions["budgets"]
    storage = budgets._limiter.storage
    assert len(budgets._open) <= 21
    assert len(storage.storage) <= 22
    assert len(storage.locks) <= 22


def test_the_server_tells_that_it_lives_while_requests_cannot_be_counted(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> int:
        raise StorageError(ConnectionError())

    client = make_client()
    monkeypatch.setattr(
        client.application.extensions["budgets"]._limiter.storage, "incr", unreachable
    )
    assert client.get("/health").status_code == 200


def test_nobody_is_served_while_requests_cannot_be_counted(
    make_client: MakeClient, tokens: TokenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> int:
        raise StorageError(ConnectionError("redis://:password@host"))

    client = make_client()
    secret = f"Bearer {tokens.create('Ann', ['*'])}"
    monkeypatch.setattr(
        client.application.extensions["budgets"]._limiter.storage, "incr", unreachable
    )
    answer = ask(client, secret)
    assert_problem(answer, 503, "limits-unreachable")
    assert "password" not in answer.text


def test_behind_a_trusted_proxy_the_address_is_the_clients(make_client: MakeClient) -> None:
    statuses = {}
    for proxies in (0, 1):
        client = make_client(failed_limit="1 per minute", trusted_proxies=proxies)
        statuses[proxies] = [
            client.get(
                "/probe", headers={"Authorization": "Bearer no", "X-Forwarded-For": f"192.0.2.{n}"}
            ).status_code
            for n in (1, 2, 1)
        ]
    assert statuses == {0: [401, 429, 429], 1: [401, 401, 429]}


# ---------------------------------------------------------------------------- problems


def test_an_unknown_path_is_a_problem(make_client: MakeClient) -> None:
    body = assert_problem(make_client().get("/no/such"), 404, "not-found")
    assert body["instance"] == "/no/such"
    assert body["title"] == "Not Found"


def test_a_method_that_is_not_there_is_a_problem_that_lists_those_that_are(
    make_client: MakeClient,
) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = make_client().open("/health", method=method)
        assert_problem(answer, 405, "method-not-allowed")
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("target", ["/public?" + "a" * 8193, "/" + "a" * 2048])
def test_a_target_that_is_too_long_is_a_problem(make_client: MakeClient, target: str) -> None:
    assert_problem(make_client().get(target), 414, "uri-too-long")


def test_the_longest_query_that_is_read_is_read(make_client: MakeClient) -> None:
    assert make_client().get("/public?" + "a" * 8192).status_code == 200


def test_a_body_that_is_too_large_is_a_problem(make_client: MakeClient) -> None:
    answer = make_client().get("/public", data=b"x" * (16 * 1024 + 1))
    assert_problem(answer, 413, "content-too-large")


def test_a_fault_tells_the_client_nothing_and_the_log_everything(
    make_client: MakeClient, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = make_client().get("/faulty")
    body = assert_problem(answer, 500, "internal-error")
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "api"]
    assert record.__dict__["request_id"] == body["request_id"]
    assert record.exc_info is not None
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["status"] == 500


def test_members_of_a_problem_cannot_change_its_status(make_client: MakeClient) -> None:
    body = make_client().get("/teapot").get_json()
    assert (body["status"], body["color"], body["title"]) == (418, "red", "I'm a Teapot")


def test_a_problem_has_no_body_when_only_its_head_is_asked_for(make_client: MakeClient) -> None:
    client = make_client()
    for path, status in (("/no/such", 404), ("/probe", 401), ("/faulty", 500)):
        answer = client.head(path)
        assert (answer.status_code, answer.data) == (status, b"")
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("path", ["/public", "/probe", "/no/such", "/faulty", "/health"])
def test_every_answer_has_the_security_headers(make_client: MakeClient, path: str) -> None:
    headers = make_client().get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert len(headers.getlist("Content-Security-Policy")) == 1
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_pages_may_load_what_is_ours_and_data_nothing(make_client: MakeClient) -> None:
    client = make_client()
    assert "script-src 'self';" in client.get("/public").headers["Content-Security-Policy"]
    data = client.get("/health").headers["Content-Security-Policy"]
    assert data.startswith("default-src 'none';")
    assert "script-src" not in data


def test_a_request_id_is_taken_over_only_when_it_is_harmless(make_client: MakeClient) -> None:
    client = make_client()

    def id_for(given: str) -> str:
        return client.get("/public", headers={"X-Request-Id": given}).headers["X-Request-Id"]

    assert id_for("Ab.1_2-3") == "Ab.1_2-3"
    for given in ("", "a b", "x" * 65, '"}', "<script>"):
        assert id_for(given) != given
    assert id_for("") != id_for("")


def test_making_the_application_touches_nothing(settings: Settings) -> None:
    import threading

    before = set(threading.enumerate())
    app = create_app(settings)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=5)  # one of Flask-Limiter's counts, which ends by itself
        assert not thread.is_alive()
    assert not list(settings.tokens.parent.iterdir())
    assert app.extensions["settings"] is settings
