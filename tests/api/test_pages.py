"""The pages for people: what they say, and that they need nothing from elsewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest

from api.problems import KINDS
from tests.api.support import Api, as_problem, declared, parsed
from tests.support import ROOT, Project

PAGES = ("/", "/docs", "/docs/problems")


class Links(HTMLParser):
    """What a page loads, what it links to, and what it has in it that a policy may forbid."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.ids: set[str] = set()
        self.inline: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in ("script", "img", "iframe", "source") and "src" in values:
            self.loaded.append(values["src"])
        if tag == "link":
            self.loaded.append(values["href"])
        if tag == "a":
            self.linked.append(values["href"])
        if "id" in values:
            self.ids.add(values["id"])
        self.inline += [name for name in values if name.startswith("on")]
        self._in_script = tag == "script"

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - as the base class has it
        self._in_script = False


def read(api: Api, path: str) -> tuple[str, Links]:
    answer = api.get(path, scopes=())
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.body.decode()
    links = Links()
    links.feed(text)
    return text, links


def policy(header: str) -> dict[str, list[str]]:
    """A Content-Security-Policy as directive to sources."""
    parts = [part.split() for part in header.split(";") if part.strip()]
    return {name: sources for name, *sources in parts}


TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_from_this_server_only(path: str, api: Api) -> None:
    text, links = read(api, path)
    assert links.loaded
    for source in links.loaded:
        assert source.startswith("/"), source
        assert not source.startswith("//"), source
        answer = api.get(source, scopes=())
        assert answer.status == 200, source
        kind = TYPES[source.rpartition(".")[2]]
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        if kind == "text/css":
            for found in re.findall(
                r"url\(['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", answer.body.decode()
            ):
                target = "".join(found)
                assert target.startswith("data:") or "//" not in target, target
    own = f"http://127.0.0.1:{api.server.port}/"
    for address in re.findall(r"https?://[^\s\"'<]+", text):
        assert address.startswith(own), address


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_somewhere(path: str, api: Api) -> None:
    _, links = read(api, path)
    assert links.linked
    for link in links.linked:
        target = urljoin(path, link).partition("#")[0]
        assert api.get(target, scopes=()).status == 200, link


@pytest.mark.parametrize("path", PAGES)
def test_the_policy_of_a_page_lets_swagger_ui_run_and_nothing_from_elsewhere(
    path: str, api: Api
) -> None:
    _, links = read(api, path)
    headers = api.get(path, scopes=()).headers
    rules = policy(headers["content-security-policy"])
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == ["'self'"]
    assert rules["connect-src"] == ["'self'"]  # openapi.json, and "try it out"
    assert set(rules["style-src"]) == {"'self'", "'unsafe-inline'"}  # it sets styles by script
    assert set(rules["img-src"]) == {"'self'", "data:"}  # its icons
    assert rules["frame-ancestors"] == rules["base-uri"] == ["'none'"]
    # What the policy forbids is not there.
    assert links.inline == []
    for source in links.loaded:
        if source.endswith(".js"):
            assert "unsafe-eval" not in headers["content-security-policy"]
    assert (headers["x-frame-options"], headers["referrer-policy"]) == ("DENY", "no-referrer")


def test_data_have_the_strictest_policy(api: Api) -> None:
    for path in ("daily_sales", "marts", "/ready", "/health", "/api/v1/openapi.json", "nothing"):
        headers = api.get(path).headers
        rules = policy(headers["content-security-policy"])
        assert rules["default-src"] == ["'none'"]
        assert "script-src" not in rules
        assert headers["x-content-type-options"] == "nosniff"


def test_the_first_page_says_what_is_served_and_how_to_read_it(api: Api, built: Project) -> None:
    newest = built.published.newest()
    assert newest is not None
    catalog = built.published.catalog(newest.version)
    text, links = read(api, "/")
    plain = " ".join(re.sub(r"<[^>]+>", " ", text).split())
    assert newest.version in plain
    assert f"{newest.at:%Y-%m-%d %H:%M:%S} UTC," in plain
    assert " ago" in plain
    assert f"{catalog['rows']:,} in {len(declared())} marts" in plain
    tests = catalog["tests"]
    passed = tests["data_tests"]["passed"], tests["unit_tests"]["passed"]
    assert f"{passed[0]} data tests and {passed[1]} unit tests passed" in plain
    assert "make token" in plain
    assert f"http://127.0.0.1:{api.server.port}/api/v1/metrics?compare=last30_prev30" in plain
    for mart in declared():
        assert mart in plain
        assert f"/docs#/marts/mart_{mart}" in links.linked
    assert {"/docs", "/docs/problems", "/ready", "/api/v1/openapi.json"} <= set(links.linked)


def test_the_links_to_marts_are_those_that_swagger_ui_knows(api: Api) -> None:
    document = parsed(api.get("/api/v1/openapi.json", scopes=()).body)
    known = {
        f"/docs#/{operation['get']['tags'][0]}/{operation['get']['operationId']}"
        for operation in document["paths"].values()
    }
    _, links = read(api, "/")
    assert {link for link in links.linked if "#" in link} <= known


def test_the_documentation_reads_the_description_of_this_server(api: Api) -> None:
    _, links = read(api, "/docs")
    assert "swagger-ui" in links.ids
    scripts = [source for source in links.loaded if source.endswith(".js")]
    assert any("swagger-ui-bundle" in source for source in scripts)
    own = api.get(next(source for source in scripts if "static" in source), scopes=()).body
    assert b'"/api/v1/openapi.json"' in own
    assert b"validatorUrl: null" in own  # or it would ask a server elsewhere
    assert b"http" not in own


# --- Problems -------------------------------------------------------------------------------------


def kinds_raised() -> Iterator[tuple[str, str]]:
    """Each kind that a `Problem(status, kind, ...)` names in the API, and where."""
    for file in sorted((ROOT / "api").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Problem"
            ):
                kind = node.args[1] if len(node.args) > 1 else None
                place = f"{file.relative_to(ROOT)}:{node.lineno}"
                if isinstance(kind, ast.Constant):
                    yield str(kind.value), place
                else:
                    # Only the handler of Flask's own errors looks its kind up.
                    assert file == Path(ROOT / "api/problems.py"), place


def test_every_kind_of_problem_is_explained(api: Api) -> None:
    raised = dict(kinds_raised())
    assert len(raised) > 10
    assert [place for kind, place in raised.items() if kind not in KINDS] == []
    text, links = read(api, "/docs/problems")
    assert set(KINDS) <= links.ids
    assert all(explanation.split()[0] in text for explanation in KINDS.values())


def test_the_type_of_a_problem_leads_to_its_explanation(api: Api) -> None:
    _, links = read(api, "/docs/problems")
    for answer in (
        api.get("nothing"),
        api.get("daily_sales", {"x": "1"}),
        api.get("daily_sales", scopes=()),
        api.get("daily_sales", scopes=("hiring",)),
        api.get("/nothing", scopes=()),
        api.get("/health", method="POST"),
    ):
        kind = parsed(answer.body)["type"].removeprefix("/docs/problems#")
        problem = as_problem(answer, answer.status, kind)
        assert kind in links.ids
        assert {"type", "title", "status", "detail", "instance", "request_id"} <= problem.keys()


def test_every_place_that_shows_a_version_says_that_it_contains_the_sample(api: Api) -> None:
    assert ", contains the sample" in api.get("/", scopes=()).body.decode()
    description = parsed(api.get("/api/v1/openapi.json", scopes=()).body)["info"]["description"]
    assert "contains the sample" in description
    for path in ("daily_sales", "marts", "metrics", "quality"):
        answer = api.get(path, {"compare": "last30_prev30"} if path == "metrics" else None)
        assert parsed(answer.body)["meta"]["contains_sample"] is True, path
        assert answer.headers["x-snapshot-contains-sample"] == "true", path
    assert api.get("daily_sales.csv").headers["x-snapshot-contains-sample"] == "true"


def test_ready_says_what_is_served(api: Api, built: Project) -> None:
    newest = built.published.newest()
    assert newest is not None
    catalog = built.published.catalog(newest.version)
    answer = api.get("/ready", scopes=())
    assert answer.headers["cache-control"] == "no-store"
    state = parsed(answer.body)
    assert state.pop("age_seconds") >= 0
    assert state == {
        "status": "ready",
        "contains_sample": True,
        "version": newest.version,
        "published_at": f"{newest.at:%Y-%m-%dT%H:%M:%SZ}",
        "marts": len(catalog["marts"]),
        "rows": catalog["rows"],
        "tests": catalog["tests"],
        "failure": None,
    }
    assert parsed(api.get("/health", scopes=()).body) == {"status": "ok"}
