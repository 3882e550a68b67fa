"""The documentation as one static site: dbt's docs, Data Docs, and the API reference.

Every page opens from the file system, loads nothing from elsewhere, and links relatively, so the
folder can be put anywhere. A site replaces the one before as a whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from warehouse.audit import marts_of
from warehouse.published import PublishedError, PublishedFolder
from warehouse.settings import Settings

if TYPE_CHECKING:
    from api.catalog import Catalog

FIRST_PAGE = "index.html"
FILES = ".files"  # in each site: the names of its files, so that nothing else is ever removed
_TEMPLATES = Path(__file__).resolve().parent / "templates"

# What desktops leave behind in a folder that somebody looks at.
_OF_DESKTOPS = {".DS_Store", "Thumbs.db", "desktop.ini"}

# dbt's page is one file with everything in it. Its icon and its canonical address point nowhere,
# and it has a tracker, which the project's settings leave off and the policy would not let load.
_DBT_BROKEN_LINKS = (
    '<link rel="canonical" href="/overview/"/>',
    """<link rel="shortcut icon" href="${require('./assets/favicons/favicon.ico')}"/>""",
)
_DBT_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
    'font-src data:">'
)


class FolderError(Exception):
    """A folder that a site cannot replace; the message says why, and what to do."""


class DocsError(Exception):
    """A part of the documentation is not what is expected; the message says which."""


# ---------------------------------------------------------------------------- a site in a folder


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Write a site beside an older one, and put it in its place when all of it is there.

    A process that dies within leaves the older site as it was, and `.<name>.new` and `.<name>.old`
    beside it, which the next one removes.

    Args:
        folder: where the site goes; made when missing.

    Returns:
        An empty folder to write into.

    Raises:
        FolderError: the folder holds files that are not of an older site.
        OSError: the folders cannot be written.
    """
    folder = folder.resolve()
    new, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    _refuse_files_of_others(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)  # a process died between the two renames below
    for left in (new, old):
        if left.exists():
            shutil.rmtree(left)
    new.mkdir(parents=True)
    try:
        yield new
        names = sorted(_files(new))
        (new / FILES).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def _refuse_files_of_others(folder: Path) -> None:
    """See that all in a folder is of a site that was written by `replaced_folder`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FolderError(f"{folder} is no folder. Move it away, then try again")
    try:
        ours = {FILES, *(folder / FILES).read_text(encoding="utf-8").split("\n")}
    except FileNotFoundError:
        ours = set()
    others = sorted(name for name in _files(folder) - ours if Path(name).name not in _OF_DESKTOPS)
    if others:
        raise FolderError(
            f"{folder} holds files that are not of the site that goes there, such as {others[0]}. "
            "Move them away, then try again"
        )


def template_environment(folder: Path) -> Environment:
    """What renders the templates of a folder: values are escaped, and none may be missing."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def folder_of_docs(settings: Settings) -> Path:
    """Where the documentation goes."""
    return settings.root / "build" / "docs"


# ---------------------------------------------------------------------------- what is in it


def write_docs(settings: Settings, made_at: datetime) -> Path:
    """Write the documentation; `dbt docs generate` has run before.

    Args:
        settings: where the artifacts of dbt, the Data Docs and the snapshots are.
        made_at: when, with a time zone.

    Returns:
        The first page.

    Raises:
        DocsError: dbt's page or project file is not what is expected.
        FolderError: the folder holds files that are not of older documentation.
        OSError: something cannot be read or written.
    """
    environment = template_environment(_TEMPLATES)
    catalog, why_no_api = _read_catalog(settings)
    manifest = json.loads((settings.target / "manifest.json").read_text(encoding="utf-8"))
    has_data_docs = (settings.data_docs / FIRST_PAGE).is_file()
    folder = folder_of_docs(settings)
    with replaced_folder(folder) as new:
        (new / "dbt").mkdir()
        (new / "dbt" / FIRST_PAGE).write_text(_dbt_page(settings, manifest), encoding="utf-8")
        if has_data_docs:
            shutil.copytree(
                settings.data_docs, new / "data_docs", ignore=shutil.ignore_patterns(FILES)
            )
        if catalog is not None:
            _write_api_reference(new / "api", catalog, environment)
        shutil.copyfile(settings.root / "api/static/style.css", new / "style.css")
        page = environment.get_template("index.html.j2").render(
            version=_version(settings),
            made_at=made_at.astimezone(UTC),
            dbt_version=manifest["metadata"]["dbt_version"],
            counts=_counts(manifest),
            catalog=catalog,
            why_no_api=why_no_api,
            has_data_docs=has_data_docs,
        )
        (new / FIRST_PAGE).write_text(page, encoding="utf-8")
    return folder / FIRST_PAGE


def _dbt_page(settings: Settings, manifest: dict[str, Any]) -> str:
    """The page of dbt with all that it shows in it.

    Not by dbt's `--static`: a `</script>` in a description would end its script there, and the
    manifest says where the project is on this machine.
    """
    for node in manifest["nodes"].values():
        node.pop("root_path", None)
    catalog = json.loads((settings.target / "catalog.json").read_text(encoding="utf-8"))
    page = (settings.target / FIRST_PAGE).read_text(encoding="utf-8")
    for old, new in (
        ('"MANIFEST.JSON INLINE DATA"', as_script(manifest)),
        ('"CATALOG.JSON INLINE DATA"', as_script(catalog)),
        ("<head>", f"<head>{_DBT_POLICY}"),
        *((link, "") for link in _DBT_BROKEN_LINKS),
    ):
        if old not in page:
            raise DocsError(
                f"{settings.shown(settings.target / FIRST_PAGE)} of dbt "
                f"{manifest['metadata']['dbt_version']} lacks {old}; use that of requirements.lock"
            )
        page = page.replace(old, new, 1)
    return page


def as_script(content: object) -> str:
    """JSON that may stand within a script of a page: no text in it can end the script."""
    return json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")


def _counts(manifest: Mapping[str, Any]) -> dict[str, int]:
    kinds = Counter(node["resource_type"] for node in manifest["nodes"].values())
    return {
        "models": kinds["model"],
        "marts": len(marts_of(manifest)),
        "data_tests": kinds["test"],
        "unit_tests": len(manifest["unit_tests"]),
        "feeds": len(manifest["sources"]),
    }


def _version(settings: Settings) -> str:
    """The project's version, from dbt_project.yml."""
    import yaml

    try:
        project = yaml.safe_load((settings.root / "dbt_project.yml").read_text(encoding="utf-8"))
        return str(project["version"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DocsError(f"dbt_project.yml has no version: {error}") from error


# ---------------------------------------------------------------------------- the API reference


def _read_catalog(settings: Settings) -> tuple[Catalog | None, str]:
    """The catalog of what readers see; without one, why there is none."""
    from api.catalog import read_catalog

    published = PublishedFolder(settings.published)
    try:
        newest = published.newest()
        if newest is None:
            return None, "Nothing has been published yet. Publish: make build"
        return read_catalog(published.catalog(newest.version)), ""
    except (PublishedError, OSError) as error:
        return None, f"The published snapshot cannot be read: {error}."
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        return None, f"The catalog of the published snapshot cannot be read: {error!r}."


def _write_api_reference(folder: Path, catalog: Catalog, environment: Environment) -> None:
    """Swagger UI, with the description of the API in a script: pages of files may not fetch."""
    import flask_swagger_ui

    from api.openapi import describe
    from api.problems import KINDS

    described = describe(catalog)
    description = _without_references(described, described["components"]["schemas"])
    del description["servers"]  # none answers here
    info = description["info"]
    info["description"] = info["description"].replace("(/docs/problems)", "(problems.html)")
    folder.mkdir()
    swagger_ui = Path(flask_swagger_ui.__file__).parent / "dist"
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "LICENSE"):
        shutil.copyfile(swagger_ui / name, folder / name)
    (folder / "openapi.js").write_text(
        f"window.openapi = {as_script(description)};\n", encoding="utf-8"
    )
    shutil.copyfile(_TEMPLATES / "reference.js", folder / "reference.js")
    for page, context in ((FIRST_PAGE, {}), ("problems.html", {"kinds": KINDS})):
        template = environment.get_template(f"api/{page}.j2")
        (folder / page).write_text(template.render(**context), encoding="utf-8")


def _without_references(node: Any, schemas: Mapping[str, Any]) -> Any:
    """The same tree with each schema in the place of a reference to it; none is within itself.

    Swagger UI gets the page anew to follow a reference, which a page of files may not.
    """
    if isinstance(node, list):
        return [_without_references(item, schemas) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _without_references(schemas[node["$ref"].rpartition("/")[2]], schemas)
    return {key: _without_references(value, schemas) for key, value in node.items()}


# ---------------------------------------------------------------------------- serving and opening


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: who serves the pages for themselves sees what they load."""


def docs_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder on this machine alone, listening already.

    Args:
        folder: what it serves.
        port: where; 0 for any that is free.

    Raises:
        OSError: the port cannot be used.
        OverflowError: it is no port.
    """
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_QuietHandler, directory=folder))


def has_display(platform: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a browser that is started here would be seen.

    Args:
        platform: `sys.platform`.
        environment: the environment variables.
    """
    return platform == "darwin" or any(
        environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
