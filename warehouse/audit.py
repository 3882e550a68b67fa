"""May this run publish? Asked of dbt's manifest and of what became of each node of the run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Node = Mapping[str, Any]

MART_FOLDERS = ("marts", "quality")  # below models/
SHOWN = 3  # names in a message; the others are counted

# What a token needs to read a mart; api/tokens.py issues tokens with these.
SCOPES = ("marketing", "shop", "marketplace", "hiring", "quality")

API_KEYS = (
    *("scope", "row_scope", "route", "filters", "order", "default_limit", "hide", "example"),
)
OPERATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "in")
LARGEST_LIMIT = 10_000
# Parameters that every route has, and routes that are written by hand.
RESERVED_PARAMETERS = ("limit", "cursor", "columns", "order", "version", "format", "excel")
RESERVED_ROUTES = ("marts", "metrics", "feedback", "quality", "build_history")

WHOLE_BUILD = "a whole build publishes: dbt build, without --select, --exclude or excluded types"
_BUILT, _TESTED = ("success",), ("pass", "warn")


@dataclass(frozen=True)
class Outcome:
    """What became of a node in this run.

    Attributes:
        status: dbt's word: success, pass, warn, fail, error, skipped.
        failures: rows that a test returned; 0 for other nodes.
    """

    status: str
    failures: int = 0


@dataclass(frozen=True)
class Command:
    """The command of this run.

    Attributes:
        which: dbt's name of it, such as `build`.
        leaves_out: the option that leaves rows out, such as `--empty`; None without one.
    """

    which: str
    leaves_out: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What an audit found; nothing when the run may be published.

    Attributes:
        faults: what is wrong, a clause each: the publication fails.
        skipped: what the run did not do, with what to do: the publication is skipped.
    """

    faults: tuple[str, ...] = ()
    skipped: str = ""


@dataclass(frozen=True)
class Needed:
    """What must have been built and must have passed before the publication, by unique id."""

    nodes: tuple[str, ...]
    data_tests: tuple[str, ...]
    unit_tests: tuple[str, ...]


def is_mart(node: Node) -> bool:
    """Whether a node of the manifest is a mart: in a folder of marts, or shown by the API."""
    return node["resource_type"] == "model" and (
        node["fqn"][1] in MART_FOLDERS or "api" in node["config"]["meta"]
    )


def marts_of(manifest: Node) -> list[Node]:
    """The marts of the project, by name."""
    found = [node for node in manifest["nodes"].values() if is_mart(node)]
    return sorted(found, key=lambda node: str(node["name"]))


def needed_by(manifest: Node, publication: str) -> Needed:
    """Everything upstream of the publication, and every test of it.

    A data test belongs here when all that it reads is upstream: those are the tests that dbt runs
    before the publication.

    Args:
        manifest: dbt's manifest.
        publication: unique id of the publication.
    """
    upstream = _upstream(manifest, publication)
    nodes = manifest["nodes"]
    return Needed(
        nodes=tuple(sorted(name for name in upstream if name in nodes)),
        data_tests=tuple(
            sorted(
                unique_id
                for unique_id, node in nodes.items()
                if node["resource_type"] == "test" and upstream.issuperset(_parents(node))
            )
        ),
        unit_tests=tuple(
            sorted(
                unique_id
                for unique_id, unit_test in manifest["unit_tests"].items()
                if upstream.intersection(_parents(unit_test))
            )
        ),
    )


def _parents(node: Node) -> Sequence[str]:
    parents: Sequence[str] = node["depends_on"].get("nodes", [])  # a seed has none
    return parents


def _upstream(manifest: Node, publication: str) -> set[str]:
    """The unique ids of all that the publication reads, and of what that reads, and so on."""
    found: set[str] = set()
    rest = [publication]
    while rest:
        node = manifest["nodes"].get(rest.pop())
        new = set(_parents(node)) - found if node is not None else set()
        found |= new
        rest += new
    return found


def audit(
    manifest: Node, publication: str, command: Command, outcomes: Mapping[str, Outcome]
) -> Verdict:
    """What keeps this run from being published.

    Args:
        manifest: dbt's manifest of this run.
        publication: unique id of the publication.
        command: what was asked of dbt.
        outcomes: what became of the nodes of this very run so far, by unique id, and for a retry
            what is still good of the build that failed.

    Returns:
        Its faults, and why it is skipped if it has none.
    """
    if command.which != "build":
        return Verdict(skipped=f"dbt {command.which} does not run the tests; dbt build does")
    if command.leaves_out:
        return Verdict(skipped=f"{command.leaves_out} leaves rows out; use dbt build without it")
    needed = needed_by(manifest, publication)
    bad = _not_successful(manifest, needed, outcomes)
    not_run = _not_run(manifest, needed, outcomes)
    return Verdict(
        faults=(*faults_of_marts(manifest, publication), *bad),
        skipped=f"{not_run}; {WHOLE_BUILD}" if not_run else "",
    )


def _not_run(manifest: Node, needed: Needed, outcomes: Mapping[str, Outcome]) -> str:
    """What was not built and tested in this run; empty when nothing is missing.

    Asked of what really ran, not of what was selected: dbt's list of selected nodes lacks the unit
    tests, and a node that is selected may still not run.
    """
    counts, names = [], []
    for kind, unique_ids, _ in _kinds(needed):
        missing = [name for name in unique_ids if name not in outcomes]
        if missing:
            counts.append(f"{len(missing)} of {len(unique_ids)} {kind}")
            names += [_name(manifest, unique_id) for unique_id in missing]
    return f"not run: {', '.join(counts)} ({enumerated(names)})" if names else ""


def _not_successful(
    manifest: Node, needed: Needed, outcomes: Mapping[str, Outcome]
) -> Iterator[str]:
    """What ran and failed, a clause for each kind."""
    for kind, unique_ids, good in _kinds(needed):
        bad = [
            name for name in unique_ids if name in outcomes and outcomes[name].status not in good
        ]
        if bad:
            names = enumerated([_name(manifest, unique_id) for unique_id in bad])
            verb = "was" if len(bad) == 1 else "were"
            yield f"{len(bad)} of {len(unique_ids)} {kind} {verb} not successful ({names})"


def _kinds(needed: Needed) -> Iterator[tuple[str, Sequence[str], Collection[str]]]:
    """What is needed, by kind, with the statuses that are good."""
    yield "seeds and models", needed.nodes, _BUILT
    yield "data tests", needed.data_tests, _TESTED
    yield "unit tests", needed.unit_tests, _TESTED[:1]


def _name(manifest: Node, unique_id: str) -> str:
    return str((manifest["nodes"].get(unique_id) or manifest["unit_tests"][unique_id])["name"])


def enumerated(names: Collection[str]) -> str:
    """Some names, in order, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + more


def faults_of_marts(manifest: Node, publication: str) -> Iterator[str]:
    """What is wrong with the marts' declarations, a clause for each fault."""
    read = _parents(manifest["nodes"][publication])
    routes: dict[str, str] = {}
    for mart in marts_of(manifest):
        name, meta = mart["name"], mart["config"]["meta"]
        if mart["unique_id"] not in read:
            yield f"publication.sql does not read mart {name}: add it"
        if not isinstance(meta.get("grain"), list):
            yield f"mart {name} declares no grain (config: meta: grain)"
        elif unknown := set(meta["grain"]) - set(mart["columns"]):
            yield f"mart {name}: the grain names unknown columns ({enumerated(unknown)})"
        if unknown := set(meta.get("totals") or ()) - set(mart["columns"]):
            yield f"mart {name}: the totals name unknown columns ({enumerated(unknown)})"
        untyped = [key for key, column in mart["columns"].items() if not column["data_type"]]
        if untyped or not mart["columns"]:
            yield f"mart {name} declares no data_type for {enumerated(untyped) or 'any column'}"
        if "api" in meta:
            for fault in faults_of_api(meta["api"], mart["columns"]):
                yield f"mart {name}: meta.api: {fault}"
            route = meta["api"].get("route") if isinstance(meta["api"], Mapping) else None
            if isinstance(route, str) and routes.setdefault(route, name) != name:
                yield f"marts {routes[route]} and {name} have one route, {route}: change one"


def faults_of_api(api: object, columns: Mapping[str, Node]) -> Iterator[str]:
    """What is wrong with the `meta.api` of a mart, a clause for each fault.

    Args:
        api: what the YAML says.
        columns: the mart's columns, by name.
    """
    if not isinstance(api, Mapping):
        yield "is not a mapping of keys to values"
        return
    if unknown := set(api) - set(API_KEYS):
        yield f"unknown key {enumerated(unknown)}; it knows {', '.join(API_KEYS)}"
    if api.get("scope") not in SCOPES:
        yield f"scope is {api.get('scope')!r}, not one of {', '.join(SCOPES)}"
    if "row_scope" in api and api["row_scope"] not in columns:
        yield f"row_scope names the unknown column {api['row_scope']}"
    route = api.get("route")
    if "route" in api:
        if not isinstance(route, str) or not re.fullmatch(r"[a-z0-9_-]+(/[a-z0-9_-]+)*", route):
            yield f"route {route!r} is not lower-case words between slashes"
        elif route in RESERVED_ROUTES or route.startswith("marts/"):
            yield f"route {route} is taken by the API itself"
    else:
        for key in ("filters", "hide"):
            if key in api:
                yield f"{key} has no effect without a route"
    yield from _faults_of_filters(api.get("filters", {}), columns)
    yield from _faults_of_order(api.get("order", []), columns)
    limit = api.get("default_limit", 1)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= LARGEST_LIMIT:
        yield f"default_limit is {limit!r}, not a number from 1 to {LARGEST_LIMIT}"
    yield from _faults_of_hide(api.get("hide", {}), api.get("filters", {}), columns)
    example = api.get("example", {})
    if not isinstance(example, Mapping):
        yield "example is not a mapping of columns to values"
    elif unknown := set(example) - set(columns):
        yield f"example names unknown columns ({enumerated(unknown)})"


def _faults_of_filters(filters: object, columns: Collection[str]) -> Iterator[str]:
    if not isinstance(filters, Mapping):
        yield "filters is not a mapping of parameters to columns"
        return
    for parameter, target in filters.items():
        yield from _faults_of_parameter(parameter)
        column, _, operator = str(target).partition(".")
        if column not in columns:
            yield f"filter {parameter} names the unknown column {column}"
        if operator not in ("", *OPERATORS) or str(target).endswith("."):
            yield f"filter {parameter}: {operator!r} is not one of {', '.join(OPERATORS)}"


def _faults_of_parameter(parameter: object) -> Iterator[str]:
    if not isinstance(parameter, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", parameter):
        yield f"parameter {parameter!r} is not a lower-case word"
    elif parameter in RESERVED_PARAMETERS:
        yield f"parameter {parameter} is taken by the API itself"


def _faults_of_order(order: object, columns: Collection[str]) -> Iterator[str]:
    if not isinstance(order, list):
        yield "order is not a list of columns"
        return
    for key in order:
        if not isinstance(key, str) or key.removeprefix("-") not in columns:
            yield f"order names the unknown column {key}"


def _faults_of_hide(hide: object, filters: object, columns: Collection[str]) -> Iterator[str]:
    if not isinstance(hide, Mapping):
        yield "hide is not a mapping of columns to what they equal"
        return
    for column, rule in hide.items():
        if column not in columns:
            yield f"hide names the unknown column {column}"
        if not isinstance(rule, Mapping) or not {"equals"} <= set(rule) <= {"equals", "unless"}:
            yield f"hide: {column} needs equals and may have unless"
            continue
        if not isinstance(rule["equals"], str | int | bool):
            yield f"hide: {column} equals {rule['equals']!r}, which is not one value"
        if "unless" in rule:
            yield from _faults_of_parameter(rule["unless"])
            if isinstance(filters, Mapping) and rule["unless"] in filters:
                yield f"parameter {rule['unless']} is both a filter and in hide"
