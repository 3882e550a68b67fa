"""Hostile text in every place: no fault, no other data, and a database that could not give more."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pytest

from api.settings import ROOT, Settings
from api.snapshots import Snapshot, SnapshotStore
from tests.api.support import PROBLEM, Api, Row, as_problem, declared, json_rows, parsed
from tests.support import Project
from warehouse.published import CATALOG, PublishedFolder

Sample = dict[str, list[Row]]

HOSTILE = (
    "'",
    '"',
    "''",
    '""',
    "' or '1'='1",
    "' or 1=1 --",
    '" or 1=1 --',
    "x'; drop table daily_sales; --",
    "'; attach '/tmp/x.db'; --",
    "') union select * from hires_by_quarter --",
    '" union all select department from hires_by_quarter --',
    "1; select 1",
    "1/**/or/**/1=1",
    "1) or (1=1",
    "$1",
    "?",
    "%s%n%x",
    "{0}{{7*7}}${jndi:ldap://x/}",
    "\\",
    "\\'",
    "\u2019 or 1=1",
    "\uff07 or \uff071\uff07=\uff071",
    "\u202e\u0000",
    "\x00",
    "a\x00b",
    "\r\nSet-Cookie: x=1",
    "read_parquet('/etc/passwd')",
    "/etc/passwd",
    "../../../../etc/passwd",
    "..\\..\\x",
    "%2e%2e%2f",
    "columns(*)",
    "*",
    "NULL",
    "null",
    "true",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1",
    "9" * 40,
    "0x7f",
    "9999-99-99",
    "0000-00-00",
    "2025-02-30",
    "-4713-01-01",
    "infinity",
    "epoch",
    "2025-01-01T99:99:99Z",
    "in.",
    "in.,",
    'in."',
    "in." + "1," * 600,
    "gt.",
    "eq.",
    "is.",
    "is.null.null",
    "between.1.2",
    "\U0001f4a5" * 100,
    "a" * 4000,
    "[]",
    "{}",
    '["a"]',
    "<script>alert(1)</script>",
    "kpi_" + "A" * 43,
)
# As bytes, percent-encoded: not UTF-8, and surrogates.
UNDECODABLE = ("%ff", "%c0%af", "%ed%a0%80", "%f8%88%80%80%80", "%", "%zz", "%u0041", "%80abc")

PLACES = (
    *("marts/daily_sales", "marts/rejected_rows", "marts/hires_by_quarter", "marts/feed_health"),
    *("daily_sales", "product_metrics", "top_customers", "metrics/hired-employees"),
    *("metrics", "feedback", "marts", "order_kpis", "quality", "build_history"),
)


def parameters(path: str) -> list[str]:
    """Every parameter that a path knows."""
    paging = ["limit", "cursor", "version"]
    mart = path.removeprefix("marts/")
    if path.startswith("marts/"):
        return [*declared()[mart].types, "columns", "order", *paging]
    if path == "metrics":
        return ["start", "end", "compare", "platform", "account", "device", "version"]
    if path == "feedback":
        return ["category", "start_date", "end_date", "version"]
    if path == "build_history":
        return ["limit"]
    for declaration in declared().values():
        if declaration.api.get("route") == path:
            hide = declaration.api.get("hide", {}).values()
            flags = [rule["unless"] for rule in hide if "unless" in rule]
            return [*declaration.api.get("filters", {}), *flags, *paging]
    return ["version"]


def is_refused_or_harmless(answer: Any) -> bool:
    """Whether an answer is a problem of the client's, or a page that is as any other."""
    if answer.status == 200:
        parsed(answer.body)
        return True
    assert answer.status in (400, 404, 410, 414), (answer.status, answer.body)
    assert answer.headers["content-type"] == PROBLEM
    assert b"Traceback" not in answer.body
    assert b"Error:" not in answer.body  # as DuckDB's and Python's messages begin
    assert b"passwd:" not in answer.body
    problem = parsed(answer.body)
    assert problem["status"] == answer.status
    return True


@pytest.mark.parametrize("path", PLACES)
def test_hostile_values_are_values_in_every_parameter(path: str, api: Api) -> None:
    for name in parameters(path):
        for text in HOSTILE:
            assert is_refused_or_harmless(api.get(path, {name: text})), (name, text)
        for raw in UNDECODABLE:
            assert is_refused_or_harmless(api.get(f"/api/v1/{path}?{name}={raw}")), (name, raw)
    assert api.get("/ready").status == 200


@pytest.mark.parametrize("path", PLACES)
def test_hostile_names_are_no_parameters(path: str, api: Api) -> None:
    for text in HOSTILE:
        answer = api.get(path, {text: "1"})
        # A version that is not there would be looked at first, but no text here is one.
        as_problem(answer, 414 if len(text) > 8000 else 400, "unknown-parameter")
    for raw in UNDECODABLE:
        assert is_refused_or_harmless(api.get(f"/api/v1/{path}?{raw}=1"))


def test_hostile_names_are_no_marts_and_no_routes(api: Api) -> None:
    for text in HOSTILE:
        for before in ("", "marts/", "metrics/", "marts/daily_sales"):
            raw = quote(text, safe="")
            answer = api.get(f"/api/v1/{before}{raw}")
            assert answer.status in (400, 404, 414), (before, text)
            assert answer.headers["content-type"] == PROBLEM
    for raw in UNDECODABLE:
        answer = api.get(f"/api/v1/marts/{raw}")
        assert answer.status in (400, 404), raw
    for name in ("sqlite_master", "duckdb_settings()", "information_schema.tables", "daily_sales "):
        answer = api.get(f"/api/v1/marts/{quote(name)}")
        as_problem(answer, 404, "unknown-resource")


def test_a_hostile_value_matches_nothing_and_no_more(api: Api, sample: Sample) -> None:
    # Text columns take any text: the answer is what a comparison gives, never all rows.
    for text in HOSTILE:
        if "\x00" in text or text.startswith("in."):
            continue
        query = {"name": f"eq.{text}", "limit": "10000"}
        assert api.rows("marts/product_metrics", query) == [], text
        query = {"name": f"ne.{text}", "limit": "10000"}
        assert len(api.rows("marts/product_metrics", query)) == len(sample["product_metrics"])
        assert api.rows("product_metrics", {"category": f"eq.{text}"}) == []
        assert api.rows("feedback", {"category": f"eq.{text}"}) == []
        found = api.page("metrics", {"compare": "last30_prev30", "platform": f"eq.{text}"})
        assert found["current_period"]["conversions"] == 0
    assert api.rows("marts/product_metrics", {"limit": "10000"}) == json_rows(
        sample["product_metrics"]
    )


# --- Forged cursors -------------------------------------------------------------------------------


def opened(cursor: str) -> list[Any]:
    content: list[Any] = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return content


def forged(content: object) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


FORGED_KEYS: tuple[object, ...] = (
    *HOSTILE,
    *(None, 1, 1.5, True, [], {}, ["a"], {"a": "b"}, "a\ud800", "\udfff", float("nan"), 10**400),
    [[["deep"]]],
)


@pytest.mark.parametrize(
    ("path", "order", "place"),
    [
        ("marts/daily_sales", "date", 0),
        ("marts/daily_sales", "-total_sales", 0),
        ("marts/hires_by_quarter", "is_unknown,year", 1),
        ("marts/hires_by_quarter", "is_unknown,year", 0),
        ("marts/product_metrics", "category,name", 1),
        ("marts/feed_health", "last_loaded_at", 0),
    ],
)
def test_forged_keys_of_a_cursor_are_values_or_refused(
    path: str, order: str, place: int, api: Api
) -> None:
    query = {"order": order, "limit": "2"}
    whole = {json.dumps(row, default=str) for row in api.walk(path, {"limit": "10000"})}
    version, fingerprint, *keys = opened(api.page(path, query)["meta"]["next"])
    for key in FORGED_KEYS:
        changed = [*keys[:place], key, *keys[place + 1 :]]
        cursor = forged([version, fingerprint, *changed])
        if len(cursor) > 7000:
            continue
        answer = api.get(path, query | {"cursor": cursor})
        assert is_refused_or_harmless(answer), key
        if answer.status == 200:  # a place in the order, from which rows of this mart follow
            rows = parsed(answer.body)["data"]
            assert {json.dumps(row, default=str) for row in rows} <= whole
            assert key is None or isinstance(key, str)
    for content in (
        [version, fingerprint],
        [version, fingerprint, *keys, "more"],
        [version, fingerprint[::-1], *keys],
        ["../../etc", fingerprint, *keys],
        ["'; drop table x; --", fingerprint, *keys],
        [version.lower(), fingerprint, *keys],
        [None, fingerprint, *keys],
        {"version": version},
        b"[" * 5000,
        b"\xff\xfe" * 20,
        b"{" * 1000 + b"}" * 1000,
        b'["' + version.encode() + b'", "' + b"x" * 3000 + b'"]',
    ):
        answer = api.get(path, query | {"cursor": forged(content)})
        assert answer.status in (400, 404), content
        assert is_refused_or_harmless(answer)


# --- Paths to files -------------------------------------------------------------------------------


def traversals() -> Iterator[str]:
    for up in ("..", "%2e%2e", "..%2f..", "%2e%2e%2f%2e%2e", "....//....", "..%5c..", "%252e%252e"):
        for target in ("etc/passwd", "api_tokens.json", "tokens.json", "index.html", "__init__.py"):
            for deep in (1, 4):
                yield "/".join([up] * deep) + f"/{target}"
    yield from ("/etc/passwd", "%2fetc%2fpasswd", "", ".", "%00", "swagger-ui.css%00.json")


def test_the_files_of_the_documentation_are_all_that_is_served_from_disk(api: Api) -> None:
    for folder in ("/docs/assets/", "/static/"):
        for path in traversals():
            answer = api.get(folder + path, scopes=())
            assert answer.status == 404, (folder, path)
            assert answer.headers["content-type"] == PROBLEM
            assert b"root:" not in answer.body
            assert b"sha256" not in answer.body
    assert api.get("/docs/assets/swagger-ui.css", scopes=()).status == 200


def test_a_version_is_no_path(api: Api, built: Project) -> None:
    newest = built.published.newest()
    assert newest is not None
    for text in (
        *("../published", "..", ".", "/", "/etc", "log.jsonl", ".lock", f"./{newest.version}"),
        *(f"{newest.version}/", f"{newest.version}/catalog.json", f"{newest.version}\x00"),
        *(f"../published/{newest.version}", newest.version + " ", newest.version.upper() + "x"),
        *(f"{newest.version[:-1]}?", f"{newest.version}\n"),
    ):
        for path in ("daily_sales", "marts", "metrics", "quality", "marts/order_kpis.csv"):
            answer = api.get(path, {"version": text})
            problem = as_problem(answer, 404, "unknown-version")
            assert str(built.folder) not in json.dumps(problem)


def test_headers_and_lines_that_make_no_sense_do_not_reach_further(api: Api) -> None:
    path, known = b"/api/v1/daily_sales", b"Authorization: Bearer " + api.token("*").encode()
    for first, header in (
        (path + b"?x=\xff\xfe", b"X: x"),
        (b"/api/v1/marts/\xff", b"X: x"),
        (path, b"Accept: \xff\xfe;q=x"),
        (path, b'If-None-Match: "\xff'),
        (b"http://evil.example" + path, b"X: x"),
    ):
        lines = (b"GET " + first + b" HTTP/1.1", b"Host: x", header, known, b"Connection: close")
        with socket.create_connection(("127.0.0.1", api.server.port), timeout=10) as connection:
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
            received = b""
            while part := connection.recv(65536):
                received += part
        assert received.startswith(b"HTTP/1.1 "), first
        assert not received.startswith(b"HTTP/1.1 5"), received
        assert b"Traceback" not in received
    for headers in (
        {"Accept": "x" * 3000},
        {"Accept": ",".join(["text/csv;q=0.1"] * 200)},
        {"Accept": "text/csv;q=nan"},
        {"If-None-Match": '"' * 501},
        {"If-None-Match": "W/" * 500},
        {"If-Modified-Since": "yesterday"},
        {"Range": "bytes=0-1"},
        {"X-Request-Id": "' or 1=1 --"},
        {"X-Forwarded-Host": "evil.example"},
    ):
        answer = api.get("daily_sales", {"limit": "1"}, headers=headers)
        assert answer.status in (200, 406), headers
        assert b"evil.example" not in api.get("/", scopes=(), headers=headers).body


def test_nothing_hostile_became_a_fault_in_the_log(api: Api) -> None:
    for text in HOSTILE[:20]:
        api.get("marts/daily_sales", {"date": text, "order": text})
    log = api.server.log
    assert [line for line in log if line.get("level") == "error"] == []
    assert max(line["status"] for line in log if line["event"] == "request") < 500


# --- The database behind it -----------------------------------------------------------------------


@pytest.fixture(params=[10**9, 1], ids=["tables", "views"])
def snapshot(request: pytest.FixtureRequest, built: Project) -> Iterator[Snapshot]:
    newest = built.published.newest()
    assert newest is not None
    settings = Settings(ROOT, built.published.path, Path("none"), in_memory_bytes=request.param)
    snapshot = Snapshot(PublishedFolder(built.published.path), newest.version, settings)
    assert snapshot.in_memory is (request.param > 1)
    yield snapshot
    snapshot.retire()


def test_the_database_reads_nothing_but_its_snapshot(snapshot: Snapshot, built: Project) -> None:
    secret = built.folder / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    other = built.folder / "seeds/hiring/jobs.csv"
    target = built.folder / "written.csv"
    cursor = snapshot.cursor()
    assert cursor.execute("select count(*) from daily_sales").fetchall() == [(731,)]
    for sql in (
        f"select * from read_csv('{secret}')",
        f"select * from read_text('{secret}')",
        f"select * from read_blob('{other}')",
        f"from '{other}'",
        f"select * from glob('{built.folder}/*')",
        f"select * from read_parquet('{built.published.path.parent}/../x.parquet')",
        f"select * from read_json('{built.folder}/target/manifest.json')",
        f"attach '{built.database}' as other (read_only)",
        f"attach '{built.folder / 'new.duckdb'}' as other",
        f"copy daily_sales to '{target}'",
        f"export database '{built.folder / 'out'}'",
        "copy daily_sales to '/dev/stdout'",
        f"create table stolen as from '{secret}'",
        "install httpfs",
        "load httpfs",
        f"load '{secret}'",
        f"import database '{built.folder}'",
        "select * from read_csv('http://127.0.0.1:1/x.csv')",
    ):
        with pytest.raises(duckdb.Error, match=r"(?i)permission|disabled|not allowed|cannot"):
            cursor.execute(sql).fetchall()
    secret.unlink()
    assert not target.exists()
    assert not (built.folder / "new.duckdb").exists()
    assert not (built.folder / "out").exists()


def test_the_settings_of_the_database_cannot_be_changed(snapshot: Snapshot) -> None:
    cursor = snapshot.cursor()
    for sql in (
        "set enable_external_access = true",
        "set lock_configuration = false",
        "set allowed_directories = ['/']",
        "set allowed_paths = ['/etc/passwd']",
        "set memory_limit = '100GB'",
        "set threads = 64",
        "set temp_directory = '/tmp'",
        "pragma enable_external_access = true",
        "reset memory_limit",
        "set global autoinstall_known_extensions = true",
        "set allow_unsigned_extensions = true",
    ):
        with pytest.raises(duckdb.Error, match=r"(?i)lock|cannot"):
            cursor.execute(sql)
    values = cursor.execute(
        "select current_setting('enable_external_access'), current_setting('lock_configuration'),"
        " current_setting('threads')"
    ).fetchall()
    assert values == [(False, True, 1)]


def test_a_snapshot_of_views_reads_its_own_folder_only(
    published: PublishedFolder,
) -> None:
    (first,) = published.versions()
    settings = Settings(ROOT, published.path, Path("none"), in_memory_bytes=1)
    store = SnapshotStore(settings)
    try:
        with store.reading() as snapshot:
            for path in (
                published.path / "log.jsonl",
                published.path / first / ".." / "log.jsonl",
                f"{published.path / first}-x/daily_sales.parquet",
            ):
                with pytest.raises(duckdb.PermissionException):
                    snapshot.cursor().execute(f"select * from read_text('{path}')").fetchall()
            # Its own catalog it may read: that is what views need.
            own = published.folder(first) / CATALOG
            assert snapshot.cursor().execute(f"from read_text('{own}')").fetchall()
    finally:
        store.close()
