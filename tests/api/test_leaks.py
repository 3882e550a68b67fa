"""No value of an area reaches a token without its scope, by any route, format, error or header.

Every value of every mart is replaced by one that says whose it is, and so are the numbers that the
catalog has of the mart. Then everything is asked for with a token of each scope.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import create_app
from api.settings import Settings
from api.tokens import TokenFile
from tests.api.support import SCOPES, SUFFIXES, Row, declared, publish_again
from tests.support import ROOT, Project
from warehouse.published import PublishedFolder

AREAS = ("marketing", "shop", "marketplace", "hiring")
KEPT = (
    "area",
    "suite",
    "feed",
    "file",
    "position",
    "success",
)  # say whose a row is, not its values
OF_ROWS = ("rejected_rows", "expectation_results")  # each row is of an area
COMPUTED = ("metrics", "feedback", "quality", "build_history")


def number_of(area: str) -> int:
    """The number that stands in every column of numbers of this area."""
    return 7_310_000 + 11 * AREAS.index(area)


def count_of(area: str) -> int:
    """The rows that the catalog says each mart of this area has."""
    return 88_099_077 + 1_000 * AREAS.index(area)


def day_of(area: str) -> str:
    """The day that stands in every date of this area."""
    return f"27{AREAS.index(area)}0-03-17"


def marks_of(area: str) -> tuple[str, ...]:
    """What the values of an area look like."""
    numbers = number_of(area), count_of(area)
    return f"zq{area}qz", day_of(area), *(f"{n}" for n in numbers), *(f"{n:,}" for n in numbers)


def marked(mart: str) -> str:
    """A query that marks the values of a mart by their area."""
    declaration = declared()[mart]
    if mart in OF_ROWS:
        text = "concat('zq', area, 'qz')"
        whens = " ".join(f"when '{area}' then {number_of(area)}" for area in AREAS)
        kinds = {"bigint": f"case area {whens} else 0 end"}
    else:
        area = declaration.api["scope"]
        text, day = f"'zq{area}qz'", f"timestamp '{day_of(area)}'"
        kinds = {"bigint": str(number_of(area)), "date": day, "timestamp": day}
        kinds["decimal"] = kinds["bigint"]
    replaced = {"success": 'false as "success"'} if "success" in declaration.types else {}
    for column, type_ in declaration.types.items():
        kinds |= {"string": f'{text} || "{column}"', "string[]": f"[{text}]"}
        kind = "decimal" if type_.startswith("decimal") else type_
        if kind in kinds and column not in KEPT:
            replaced[column] = (
                f'cast({kinds[kind]} as {type_.replace("string", "varchar")}) as "{column}"'
            )
    return f"select * replace ({', '.join(replaced.values())}) from mart"


def mark_catalog(catalog: Row) -> None:
    """Mark the numbers that a catalog has of each mart."""
    for mart in catalog["marts"]:
        scope = mart["api"]["scope"]
        if scope in AREAS:
            mart["rows"] = count_of(scope)
            mart["totals"] = {mart["columns"][0]["name"]: f"{number_of(scope)}.5"}


@dataclass(frozen=True)
class World:
    """A server within this process, over two marked snapshots, and its tokens."""

    client: FlaskClient
    tokens: Mapping[tuple[str, ...], str]
    versions: Sequence[str]

    def get(
        self, path: str, scopes: Sequence[str] = (), method: str = "GET", etag: str | None = None
    ) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.tokens[tuple(scopes)]}"} if scopes else {}
        headers |= {"If-None-Match": etag} if etag else {}
        return self.client.open(path, method=method, headers=headers)


def scopes_tried() -> list[tuple[str, ...]]:
    with_quality = [("quality", area) for area in AREAS]
    return [*((scope,) for scope in SCOPES), *with_quality, ("*",)]


@pytest.fixture(scope="module")
def world(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("leaks")
    folder = PublishedFolder(root / "published")
    marts = {mart: marked(mart) for mart, it in declared().items() if it.api["scope"] in AREAS}
    marts |= {mart: marked(mart) for mart in OF_ROWS}
    versions = [publish_again(folder.path, built.published, marts, mark_catalog) for _ in range(2)]
    (folder.path / "build_history.jsonl").write_bytes(
        (built.published.path / "build_history.jsonl").read_bytes()
    )
    file = TokenFile(root / "tokens.json")
    tokens = {
        scopes: file.create(" ".join(scopes).replace("*", "all"), scopes)
        for scopes in scopes_tried()
    }
    settings = Settings(ROOT, folder.path, root / "tokens.json", rate_limit="1000000/second")
    app = create_app(settings)
    yield World(app.test_client(), tokens, versions)
    app.extensions["snapshots"].close()


def resources() -> list[str]:
    routes = [it.api["route"] for it in declared().values() if "route" in it.api]
    return [*COMPUTED, "marts", *routes, *(f"marts/{mart}" for mart in declared())]


def pages(world: World) -> list[str]:
    """What is not below a mart: every rule of the app, and files that must not be reachable."""
    rules = [str(rule) for rule in world.client.application.url_map.iter_rules()]
    version = world.versions[-1]
    files = ("catalog.json", "data_docs/index.html", "daily_sales.parquet", "../log.jsonl")
    return [
        *(rule for rule in rules if "<" not in rule),
        *(
            f"/{place}{version}/{file}"
            for place in ("", "published/", "static/", "docs/assets/", "api/v1/")
            for file in files
        ),
    ]


def queries(mart: str | None, version: str) -> Iterator[str]:
    """Query strings that a curious reader tries."""
    yield from (
        "",
        "?limit=1",
        "?limit=300",
        f"?version={version}",
        f"?version={version}&limit=3",
    )
    yield from ("?start=2000-01-01&end=2999-12-31", "?compare=last30_prev30", "?order=-x", "?a=b")
    for column, type_ in (declared()[mart].types if mart else {}).items():
        yield f"?columns={column}&limit=9"
        yield f"?order=-{column}&limit=2"
        yield f"?{column}=ne.1&limit=9"
        for area in AREAS if mart in OF_ROWS else AREAS[:1]:
            mark = {"string": f"zq{area}qz", "date": day_of(area)}.get(type_, number_of(area))
            yield f"?{column}=gte.{mark}&limit=9"
            yield f"?{column}={mark}&limit=9"


def text_of(answer: TestResponse) -> str:
    """All that an answer says, in the clear: headers, body, and cursors."""
    body = answer.get_data()
    kind = answer.content_type or ""
    texts = [str(answer.headers), body.decode("utf-8", "replace")]
    if body and kind.endswith("arrow.stream"):
        table = pyarrow.ipc.open_stream(body).read_all()
        texts += [str(table.to_pylist()), str(table.schema)]
    elif body and kind.endswith("parquet"):
        file = pyarrow.parquet.ParquetFile(io.BytesIO(body))
        texts += [str(file.read().to_pylist()), str(file.metadata.to_dict())]
    cursor = answer.headers.get("X-Next-Cursor")
    if cursor is None and kind == "application/json" and body:
        meta = answer.get_json().get("meta") or {}
        cursor = meta.get("next") if isinstance(meta, dict) else None
    if cursor:
        texts.append(base64.urlsafe_b64decode(cursor + "==").decode())
    return "\n".join(texts)


def leaks(answer: TestResponse, scopes: Sequence[str]) -> list[str]:
    """Marks of areas whose scope is not among these."""
    text = text_of(answer)
    hidden = [area for area in AREAS if area not in scopes and "*" not in scopes]
    return [mark for area in hidden for mark in marks_of(area) if mark in text]


# --- The marks themselves -------------------------------------------------------------------------


def test_who_may_read_everything_finds_the_marks_of_every_area(world: World) -> None:
    for mart, declaration in declared().items():
        scope = declaration.api["scope"]
        text = text_of(world.get(f"/api/v1/marts/{mart}?limit=10000", ("*",)))
        areas = AREAS if mart in OF_ROWS else (scope,) if scope in AREAS else ()
        for area in areas:
            assert f"zq{area}qz" in text or str(number_of(area)) in text, mart
    listed = text_of(world.get("/api/v1/marts", ("*",)))
    quality = text_of(world.get("/api/v1/quality", ("*",)))
    for area in AREAS:
        assert f"{count_of(area)}" in listed
        assert f"{count_of(area)}" in quality
        assert f"{number_of(area)}.5" in quality
        assert f"zq{area}qz" in quality


# --- Everything, with each token ------------------------------------------------------------------


@pytest.mark.parametrize("scopes", scopes_tried()[:-1], ids=" ".join)
def test_no_value_of_an_area_reaches_a_token_without_its_scope(
    scopes: tuple[str, ...], world: World
) -> None:
    found, good = [], 0
    for resource in resources():
        for suffix in ("", *(f".{suffix}" for suffix in SUFFIXES)):
            mart = resource.removeprefix("marts/") if resource.startswith("marts/") else None
            known: dict[str, str] = {}
            for query in queries(mart, world.versions[0]):
                path = f"/api/v1/{resource}{suffix}{query}"
                answer = world.get(path, scopes)
                good += answer.status_code == 200
                found += [(path, mark) for mark in leaks(answer, scopes)]
                if answer.status_code == 200:
                    known[path] = str(len(answer.get_data()))
                elif not query:
                    break  # the scope is missing; the other questions differ in nothing
                if suffix and query:
                    break  # another format of the same rows
            for path, length in known.items():
                assert world.get(path, scopes, method="HEAD").headers["Content-Length"] == length
    assert found == []
    assert good > 20 or scopes == ("monitoring",)


@pytest.mark.parametrize("scopes", [(), *scopes_tried()[:-1]], ids=" ".join)
def test_no_page_and_no_file_tells_a_value_of_an_area(
    scopes: tuple[str, ...], world: World
) -> None:
    for path in pages(world):
        assert leaks(world.get(path, scopes), scopes) == [], path


def test_what_another_token_was_answered_opens_nothing(world: World) -> None:
    """An ETag and a cursor of somebody who may read everything."""
    for resource in resources():
        path = f"/api/v1/{resource}?limit=2"
        everything = world.get(path, ("*",))
        etag = everything.headers.get("ETag")
        if everything.status_code != 200 or etag is None:
            continue
        cursor = everything.get_json()["meta"]["next"]
        for scopes in scopes_tried()[:-1]:
            answer = world.get(path, scopes, etag=etag)
            assert answer.status_code != 304 or leaks(everything, scopes) == [], (path, scopes)
            if cursor:
                followed = world.get(f"{path}&cursor={cursor}", scopes)
                assert leaks(followed, scopes) == [], (path, scopes)


def test_rows_of_a_snapshot_of_old_that_name_no_area_are_for_all_scopes_only(
    built: Project, tmp_path: Path
) -> None:
    def as_of_old(catalog: Row) -> None:
        for mart in catalog["marts"]:
            if mart["name"] == "expectation_results":
                del mart["api"]["row_scope"]
                mart["columns"] = [it for it in mart["columns"] if it["name"] != "area"]

    marts = {"expectation_results": "select * exclude (area) from mart"}
    publish_again(tmp_path / "published", built.published, marts, as_of_old)
    file = TokenFile(tmp_path / "tokens.json")
    app = create_app(Settings(ROOT, tmp_path / "published", tmp_path / "tokens.json"))
    for scopes, is_shown in (((*AREAS, "quality"), False), (("*",), True)):
        token = file.create(str(len(scopes)), scopes)
        answer = app.test_client().get(
            "/api/v1/marts/expectation_results", headers={"Authorization": f"Bearer {token}"}
        )
        assert bool(answer.get_json()["data"]) == is_shown
    app.extensions["snapshots"].close()
