"""make docs, make serve-docs and make quality."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import warehouse.__main__ as command_line
from api.catalog import read_catalog
from api.openapi import describe
from tests.static_pages import faults, read_page
from tests.support import ROOT, Outcome, Project, copy_of
from warehouse.docs_site import FILES, DocsError, FolderError, as_script, has_display, write_docs
from warehouse.settings import Settings, read_settings

MADE_AT = datetime(2026, 11, 21, 13, 5, 59, tzinfo=UTC)

# What cannot stand as it is in a script, or in a page.
AWKWARD = "Sales </script><script>alert(1)</script> <!-- & of the “day”"


@pytest.fixture(scope="module")
def documented(built: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Outcome]:
    """A copy of the built project after `make docs`, and what that printed; look only."""
    project = copy_of(built, tmp_path_factory.mktemp("documented") / "project")
    shutil.copytree(built.folder / "build/data_docs", project.folder / "build/data_docs")
    old = "Sales of the shop by calendar day"
    project.edit("models/marts/shop/_shop__models.yml", old, f"{AWKWARD}. {old}")
    (project.folder / "build/docs").mkdir()
    outcome = project.run("warehouse", "docs")
    assert outcome.exit_code == 0, outcome.lines
    return project, outcome


@pytest.fixture
def site(documented: tuple[Project, Outcome]) -> Path:
    return documented[0].folder / "build" / "docs"


@pytest.fixture
def settings(documented: tuple[Project, Outcome], tmp_path: Path) -> Settings:
    """The settings of the documented project, but for where the documentation goes."""
    for file in ("dbt_project.yml", "api/static/style.css"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, tmp_path / file)
    return replace(read_settings({}, documented[0].folder), root=tmp_path)


# ---------------------------------------------------------------------------- the site


def test_make_docs_says_where_the_first_page_is(documented: tuple[Project, Outcome]) -> None:
    project, outcome = documented
    page = project.folder / "build/docs/index.html"
    assert page.is_file()
    assert outcome.out.splitlines() == [
        "Making the documentation",
        f"build/docs/index.html  {page.as_uri()}",
    ]


def test_every_link_leads_to_a_file_and_nothing_comes_from_outside(site: Path) -> None:
    assert faults(site) == []
    index = read_page(site / "index.html")
    assert {"dbt/index.html", "data_docs/index.html", "api/index.html"} <= set(index.links)
    assert index.loads == ["data:,", "style.css"]
    # The page of dbt is a program: this keeps it from loading anything.
    policy = read_page(site / "dbt/index.html").meta["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert not re.search(r"https?:|\*|'self'|connect-src", policy)


def test_the_first_page_says_what_this_is(documented: tuple[Project, Outcome], site: Path) -> None:
    project, _ = documented
    manifest = project.manifest()
    kinds = [node["resource_type"] for node in manifest["nodes"].values()]
    newest = project.published.newest()
    assert newest is not None
    catalog = project.published.catalog(newest.version)
    text = read_page(site / "index.html").text
    made = re.search(r"Made (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", text)
    assert made
    age = datetime.now(UTC) - datetime.fromisoformat(made[1]).replace(tzinfo=UTC)
    assert age.total_seconds() < 3600
    assert f"kpi_warehouse 1.0.0, dbt {manifest['metadata']['dbt_version']}" in text
    models, marts = kinds.count("model"), len(catalog["marts"])
    assert f"Models {models}, of which {marts} are marts; 11 feeds" in text
    tests, unit_tests = kinds.count("test"), len(manifest["unit_tests"])
    assert f"{tests} data tests and {unit_tests} unit tests" in text
    assert f"{newest.version}, contains the sample, {catalog['rows']:,} rows" in text
    assert "daily_sales date 731 /api/v1/daily_sales" in text


def embedded(page: str, name: str) -> Any:
    """What stands in a script after `name:` or `name =`."""
    found = re.search(rf"{re.escape(name)}(?::| = )(?=\{{\")", page)
    assert found
    return json.JSONDecoder().raw_decode(page, found.end())[0]


def test_the_page_of_dbt_holds_every_model_with_its_columns(
    built: Project, documented: tuple[Project, Outcome], site: Path
) -> None:
    project, _ = documented
    page = (site / "dbt/index.html").read_text()
    manifest, catalog = embedded(page, "{manifest"), embedded(page, ",catalog")
    mart = "model.kpi_warehouse.daily_sales"
    assert manifest["nodes"][mart]["description"].startswith(AWKWARD)
    assert manifest["nodes"].keys() == project.manifest()["nodes"].keys()
    assert {"date", "total_sales", "units"} <= catalog["nodes"][mart]["columns"].keys()
    # It can be published: nothing tells where the project is on this machine.
    assert not any("root_path" in node for node in manifest["nodes"].values())
    for root in (built.folder, project.folder):
        assert str(root) not in page


def test_no_text_ends_the_script_that_it_stands_in(site: Path) -> None:
    assert json.loads(as_script({"text": AWKWARD})) == {"text": AWKWARD}
    assert "<" not in as_script({"text": AWKWARD})
    theirs = (ROOT / ".venv").glob("lib/python*/site-packages/dbt/task/docs/index.html")
    original = read_page(next(theirs))
    ours = read_page(site / "dbt/index.html")
    assert ours.tags.count("script") == original.tags.count("script")


def test_the_api_reference_holds_every_path(
    documented: tuple[Project, Outcome], site: Path
) -> None:
    project, _ = documented
    newest = project.published.newest()
    assert newest is not None
    catalog = read_catalog(project.published.catalog(newest.version))
    script = (site / "api/openapi.js").read_text()
    description = embedded(script, "window.openapi")
    assert description["paths"].keys() == describe(catalog)["paths"].keys()
    assert description["info"]["version"] == newest.version
    operation = description["paths"]["/api/v1/daily_sales"]["get"]
    assert {"start", "end"} <= {parameter["name"] for parameter in operation["parameters"]}
    # Swagger UI would get the page again for each reference, which a page of files may not.
    assert "$ref" not in script
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert "published_at" in answer["properties"]["meta"]["properties"]
    assert "servers" not in description
    assert "(problems.html)" in description["info"]["description"]
    assert "supportedSubmitMethods: []" in (site / "api/reference.js").read_text()
    assert "missing-scope" in read_page(site / "api/problems.html").text


def test_the_data_docs_are_those_of_the_last_run(
    documented: tuple[Project, Outcome], site: Path
) -> None:
    project, _ = documented
    theirs = {path.name: path.read_bytes() for path in (site / "data_docs").iterdir()}
    own = (project.folder / "build/data_docs").iterdir()
    assert theirs == {path.name: path.read_bytes() for path in own if path.name != FILES}
    assert "shop.daily_sales.html" in theirs


def test_what_is_missing_is_said_on_the_first_page(settings: Settings, tmp_path: Path) -> None:
    nothing = replace(settings, data_docs=tmp_path / "none", published=tmp_path / "none")
    page = write_docs(nothing, MADE_AT)
    text = read_page(page).text
    assert page == tmp_path / "build/docs/index.html"
    assert "No expectations were run yet. Run them: make build" in text
    assert "Nothing has been published yet. Publish: make build" in text
    assert "Made 2026-11-21 13:05:59 UTC" in text
    assert faults(page.parent) == []
    assert sorted(path.name for path in page.parent.iterdir()) == [
        *(FILES, "dbt", "index.html", "style.css")
    ]


@pytest.mark.parametrize("catalog", ["{}", '{"version": "20260101T020304Z-1a2b3c4d", "format": 1}'])
def test_a_damaged_snapshot_is_said_on_the_first_page(
    settings: Settings, tmp_path: Path, catalog: str
) -> None:
    published = tmp_path / "published"
    version = "20260101T020304Z-1a2b3c4d"
    (published / version).mkdir(parents=True)
    (published / version / "catalog.json").write_text(catalog)
    line = {"version": version, "at": "2026-01-01T02:03:04Z", "action": "publish"}
    (published / "log.jsonl").write_text(json.dumps(line) + "\n")
    page = write_docs(replace(settings, published=published), MADE_AT)
    assert "published snapshot cannot be read: " in read_page(page).text
    assert not (page.parent / "api").exists()


def test_the_documentation_before_is_replaced_as_a_whole(
    settings: Settings, tmp_path: Path
) -> None:
    site = write_docs(settings, MADE_AT).parent
    assert (site / "api").is_dir()
    write_docs(replace(settings, published=tmp_path / "none"), MADE_AT)
    assert not (site / "api").exists()
    (site / "dbt" / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"docs holds files .*, such as dbt/notes\.txt\. Move"):
        write_docs(settings, MADE_AT)
    assert (site / "dbt" / "notes.txt").read_text() == "mine"
    assert [path.name for path in site.parent.iterdir()] == ["docs"]


def test_another_page_of_dbt_is_refused_with_the_reason(
    settings: Settings, documented: tuple[Project, Outcome], tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    for name in ("manifest.json", "catalog.json"):
        shutil.copy2(documented[0].folder / "target" / name, target)
    (target / "index.html").write_text("<html><head></head></html>")
    with pytest.raises(DocsError, match=r'target/index\.html of dbt .* lacks "MANIFEST'):
        write_docs(replace(settings, target=target), MADE_AT)
    assert not (tmp_path / "build/docs").exists()
    (tmp_path / "dbt_project.yml").write_text("name: x")
    with pytest.raises(DocsError, match=r"dbt_project\.yml has no version"):
        write_docs(settings, MADE_AT)


# ---------------------------------------------------------------------------- the commands


def test_make_docs_builds_first_when_nothing_was_built(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    builds: list[object] = []

    def fail_to_build(*arguments: object) -> int:
        builds.append(arguments)
        return 1

    monkeypatch.setattr(command_line, "build", fail_to_build)
    never_built = replace(settings, database=tmp_path / "none.duckdb")
    assert command_line.make_docs(never_built) == 1
    assert builds == [(never_built, [])]


def test_make_docs_says_in_one_line_what_is_wrong(built: Project, tmp_path: Path) -> None:
    project = copy_of(built, tmp_path / "project")
    (project.folder / "build/docs").mkdir()
    (project.folder / "build/docs/notes.txt").write_text("mine")
    outcome = project.run("warehouse", "docs")
    assert outcome.exit_code == 2
    assert outcome.lines[-1].startswith("error: ")
    assert "build/docs holds files that are not of the site that goes there" in outcome.lines[-1]
    project.edit("models/marts/shop/daily_sales.sql", "ref('int_orders')", "ref('no_such_model')")
    outcome = project.run("warehouse", "docs")
    assert outcome.exit_code == 2
    (error,) = [line for line in outcome.lines if line.startswith("error: ")]
    assert "no_such_model" in error
    assert (project.folder / "build/docs/notes.txt").read_text() == "mine"


def start_with_ctrl_c() -> None:
    """Undo an inherited "ignore Ctrl+C", as shells set it for what they run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def serving(project: Project, port: int) -> Iterator[subprocess.Popen[str]]:
    server = subprocess.Popen(
        [sys.executable, "-m", "warehouse", "serve-docs", "--port", str(port)],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=start_with_ctrl_c,
    )
    try:
        yield server
    finally:
        if server.poll() is None:
            server.kill()
        server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def fetch(url: str, server: subprocess.Popen[str]) -> bytes:
    """The page, as soon as the server answers."""
    for _ in range(240):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - loopback
                return bytes(answer.read())
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"no answer from {url}")


@pytest.mark.parametrize(("how", "exit_code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_documentation_is_served_until_it_is_stopped(
    documented: tuple[Project, Outcome], site: Path, how: signal.Signals, exit_code: int
) -> None:
    project, _ = documented
    port = free_port()
    with serving(project, port) as server:
        url = f"http://127.0.0.1:{port}"
        assert fetch(f"{url}/", server) == (site / "index.html").read_bytes()
        assert fetch(f"{url}/dbt/index.html", server) == (site / "dbt/index.html").read_bytes()
        for outside in ("/../warehouse.duckdb", "/%2e%2e/warehouse.duckdb"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                fetch(url + outside, server)
        # The port is taken now: a second server says so.
        outcome = project.run("warehouse", "serve-docs", "--port", str(port))
        assert outcome.exit_code == 2
        assert outcome.lines == [
            f"error: port {port} cannot be used: Address already in use. "
            "Choose another: make serve-docs PORT=8081"
        ]
        server.send_signal(how)
        printed, _ = server.communicate(timeout=60)
    assert server.returncode == exit_code, printed
    assert printed.splitlines() == [f"The documentation is at {url}; Ctrl+C stops."]


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_what_is_no_port_is_named(documented: tuple[Project, Outcome], port: str) -> None:
    outcome = documented[0].run("warehouse", "serve-docs", f"--port={port}")
    assert outcome.exit_code == 2
    (line,) = outcome.lines
    assert line.startswith(f"error: port {port} cannot be used: ")


def test_what_was_not_made_yet_is_said_in_one_line(built: Project, tmp_path: Path) -> None:
    project = copy_of(built, tmp_path / "project")
    for command, line in (
        ("serve-docs", "error: there is no documentation yet. Make it: make docs"),
        ("quality", "error: no expectations were run yet. Run them: make build"),
    ):
        outcome = project.run("warehouse", command)
        assert (outcome.exit_code, outcome.lines) == (2, [line])


def test_make_quality_says_where_the_pages_are(built: Project) -> None:
    outcome = built.run("warehouse", "quality")
    page = built.folder / "build/data_docs/index.html"
    assert outcome.exit_code == 0
    assert outcome.lines == [f"build/data_docs/index.html  {page.as_uri()}"]


@pytest.mark.parametrize(("on_terminal", "display"), [(True, ":0"), (True, ""), (False, ":0")])
def test_make_quality_opens_a_browser_only_where_somebody_sees_it(
    built: Project, tmp_path: Path, on_terminal: bool, display: str
) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    browser.chmod(0o755)
    terminal, screen = pty.openpty() if on_terminal else os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "warehouse", "quality"],
            cwd=built.folder,
            env={
                **{name: value for name, value in os.environ.items() if name != "WAYLAND_DISPLAY"},
                **{"DISPLAY": display, "BROWSER": f"{browser} %s"},
            },
            stdout=screen,
            check=False,
        )
    finally:
        os.close(screen)
        os.close(terminal)
    assert done.returncode == 0
    page = built.folder / "build/data_docs/index.html"
    if on_terminal and display:
        assert opened.read_text() == page.as_uri()
    else:
        assert not opened.exists()


def test_a_display_is_a_mac_or_named_by_the_environment() -> None:
    assert has_display("darwin", {})
    assert has_display("linux", {"DISPLAY": ":0"})
    assert has_display("linux", {"WAYLAND_DISPLAY": "wayland-0"})
    assert not has_display("linux", {"DISPLAY": "", "SSH_TTY": "/dev/pts/0"})


def test_make_lists_the_commands_of_the_documentation() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for command in ("docs", "serve-docs", "quality"):
        assert re.search(rf"^  make {command} +[A-Z]", done.stdout, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert {"docs", "serve-docs", "quality"} <= set(phony[1].split())
