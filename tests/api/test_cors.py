"""Which pages from elsewhere may read answers in a browser."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import create_app
from api.cors import EXPOSED_HEADERS
from api.settings import Settings, read_settings
from api.tokens import TokenFile

OURS, OTHERS = "https://dashboard.example.com", "https://evil.example.com"


def client_with(tmp_path: Path, *origins: str, **changes: str) -> FlaskClient:
    settings: Settings = dataclasses.replace(
        read_settings({"API_CORS_ORIGINS": ",".join(origins)}),
        tokens=tmp_path / "tokens.json",
        published=tmp_path / "published",
        **changes,  # type: ignore[arg-type]
    )
    return create_app(settings).test_client()


def preflight(client: FlaskClient, path: str, origin: str) -> TestResponse:
    return client.options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        },
    )


def told(answer: TestResponse) -> set[str]:
    """The headers of an answer that are about origins."""
    return {name for name in answer.headers.keys() if name.startswith("Access-Control-")}  # noqa: SIM118


def test_without_the_setting_no_page_from_elsewhere_may_read(tmp_path: Path) -> None:
    client = client_with(tmp_path)
    for path in ("/health", "/api/v1/marts", "/no/such"):
        answer = client.get(path, headers={"Origin": OURS})
        assert not told(answer)
        assert "Origin" not in answer.headers.getlist("Vary")
    refused = preflight(client, "/api/v1/marts", OURS)
    assert (refused.status_code, told(refused)) == (401, set())


@pytest.mark.parametrize("path", ["/api/v1/marts", "/api/v1/daily_sales", "/health", "/no/such"])
def test_a_preflight_is_answered_without_a_token(tmp_path: Path, path: str) -> None:
    answer = preflight(client_with(tmp_path, OURS), path, OURS)
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"Authorization", "Accept", "If-None-Match"} <= set(allowed)
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert "Origin" in answer.headers.getlist("Vary")
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        OTHERS,
        "null",
        "",
        f"{OURS}.evil.com",
        f"{OURS}:8443",
        OURS.replace("https", "http"),
        OURS.upper(),
        f"{OURS}, {OTHERS}",
        "*",
    ],
)
def test_any_other_origin_is_told_nothing(tmp_path: Path, origin: str) -> None:
    client = client_with(tmp_path, OURS)
    refused = preflight(client, "/api/v1/marts", origin)
    assert (refused.status_code, told(refused)) == (401, set())
    answer = client.get("/health", headers={"Origin": origin})
    assert (answer.status_code, told(answer)) == (200, set())
    assert "Origin" in answer.headers.getlist("Vary")


def test_errors_are_readable_for_an_allowed_origin(tmp_path: Path) -> None:
    client = client_with(tmp_path, OURS, OTHERS, rate_limit="1 per minute")
    good = {"Authorization": f"Bearer {TokenFile(tmp_path / 'tokens.json').create('Ann', ['*'])}"}
    for status, path, headers in (
        (401, "/api/v1/marts", {}),
        (401, "/api/v1/marts", {"Authorization": "Bearer no"}),
        (404, "/no/such", {}),
        (405, "/health", {}),
        (414, "/health?" + "a" * 9000, {}),
        (431, "/health", {"X-Any": "a" * 9000}),
        (503, "/api/v1/marts", good),
        (429, "/api/v1/marts", good),
    ):
        method = "POST" if status == 405 else "GET"
        answer = client.open(path, method=method, headers={"Origin": OURS, **headers})
        assert answer.status_code == status
        assert answer.headers.getlist("Access-Control-Allow-Origin") == [OURS]
        assert answer.headers["Access-Control-Expose-Headers"] == EXPOSED_HEADERS


def test_a_star_allows_any_origin_and_varies_by_none(tmp_path: Path) -> None:
    client = client_with(tmp_path, "*")
    answer = client.get("/health", headers={"Origin": OTHERS})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Origin" not in answer.headers.getlist("Vary")
    assert preflight(client, "/api/v1/marts", OTHERS).status_code == 204


def test_options_that_are_no_preflight_need_what_they_needed(tmp_path: Path) -> None:
    client = client_with(tmp_path, OURS)
    answer = client.options("/api/v1/marts", headers={"Origin": OURS})
    assert answer.status_code == 401
    assert client.options("/health", headers={"Origin": OURS}).status_code == 200


def test_preflights_have_the_budget_of_open_pages(tmp_path: Path) -> None:
    client = client_with(tmp_path, OURS, open_limit="3 per minute")
    assert {preflight(client, "/api/v1/marts", OURS).status_code for _ in range(3)} == {204}
    answer = preflight(client, "/api/v1/marts", OURS)
    assert answer.status_code == 429
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
