"""What a build that failed had built and tested, for the `dbt retry` that mends it.

`dbt retry` runs what failed and what was skipped, and nothing else. The publication asks for all
tests. So a build that fails leaves a record in dbt's target folder, and a retry may lean on it: on
a node that was built, or a test that passed, where nothing that it depends on has changed since.
That is its own definition and those of all that it reads, the tables (nobody wrote the database
file in between), the variables, the settings and the code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.audit import Node, Outcome

RECORD = "failed_build.json"  # in dbt's target folder

# What says how a node is made or tested; the rest of the manifest is when, where and why.
_DEFINING = (
    *("raw_code", "language", "checksum", "config", "columns", "constraints", "contract", "fqn"),
    *("relation_name", "refs", "test_metadata", "column_name", "freshness", "meta"),
    *("model", "given", "expect", "overrides"),
)
# Macros of dbt, which its version tells; dbt notes some of them only as a test runs.
_OF_DBT = ("macro.dbt.", "macro.dbt_duckdb.", "macro.dbt_spark.")
_GOOD = ("success", "pass", "warn")


@dataclass(frozen=True)
class Record:
    """A build that failed.

    Attributes:
        circumstances: a hash of all that every node depends on (`circumstances`).
        database: the database file as the build left it (`state_of_file`).
        outcomes: what became of each node, by unique id.
        definitions: a hash of how each of them is made, by unique id.
    """

    circumstances: str
    database: str
    outcomes: Mapping[str, Outcome]
    definitions: Mapping[str, str]


def write_record(target: Path, record: Record) -> None:
    """Leave a record in dbt's target folder.

    Raises:
        OSError: it cannot be written.
    """
    written = target / f"{RECORD}.{os.getpid()}"
    written.write_text(
        json.dumps(
            {
                "circumstances": record.circumstances,
                "database": record.database,
                "nodes": {
                    name: [outcome.status, outcome.failures, record.definitions[name]]
                    for name, outcome in record.outcomes.items()
                },
            }
        )
    )
    written.replace(target / RECORD)


def read_record(target: Path) -> Record | None:
    """The record that the last build left; None when it left none that can be read."""
    try:
        fields = json.loads((target / RECORD).read_text())
        nodes = fields["nodes"]
        return Record(
            fields["circumstances"],
            fields["database"],
            {name: Outcome(status, failures) for name, (status, failures, _) in nodes.items()},
            {name: definition for name, (_, _, definition) in nodes.items()},
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def state_of_file(path: Path) -> str | None:
    """A text that is another one once a database file was written; None without one at rest."""
    try:
        found = path.stat()
    except OSError:
        return None
    if path.with_name(f"{path.name}.wal").exists():
        return None
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def circumstances(settings: Mapping[str, Any], code: Iterable[Path]) -> str:
    """A hash of what every node depends on.

    Args:
        settings: variables, versions and the like.
        code: folders of Python that models and materializations run.
    """
    digest = hashlib.sha256(_bytes(settings))
    for folder in code:
        for file in sorted(folder.rglob("*.py")):
            name = str(file.relative_to(folder.parent))
            digest.update(_bytes([name, hashlib.sha256(file.read_bytes()).hexdigest()]))
    return digest.hexdigest()


def definitions(manifest: Node) -> dict[str, str]:
    """A hash of how each node is made, by unique id.

    The macros that it calls, its materialization and the sources that it reads are part of that;
    for a unit test, so is the model that it is about.

    Args:
        manifest: dbt's manifest.
    """
    macros = manifest["macros"]
    nodes: dict[str, Node] = manifest["nodes"] | manifest["unit_tests"]
    found = {}
    for name, node in nodes.items():
        parts = [node]
        for parent in node["depends_on"].get("nodes", []):
            if parent in manifest["sources"]:
                parts.append(manifest["sources"][parent])
            elif name in manifest["unit_tests"] and parent in nodes:
                parts.append(nodes[parent])
        called: set[str] = set()
        for part in parts:
            _add_macros(_macros_of(part, macros), macros, called)
        defined = [{key: part.get(key) for key in _DEFINING} for part in parts]
        code = [[macro, macros[macro]["macro_sql"]] for macro in sorted(called)]
        found[name] = hashlib.sha256(_bytes([defined, code])).hexdigest()
    return found


def _macros_of(node: Node, macros: Node) -> list[str]:
    """The macros that a node calls, and the materializations that may make it."""
    made = f".materialization_{node['config'].get('materialized')}_"
    return [
        *node.get("depends_on", {}).get("macros", []),
        *(name for name in macros if made in name),
    ]


def _add_macros(names: Collection[str], macros: Node, found: set[str]) -> None:
    """Add these macros, and those that they call, but for those of dbt."""
    rest = list(names)
    while rest:
        name = rest.pop()
        if name in macros and name not in found and not name.startswith(_OF_DBT):
            found.add(name)
            rest += macros[name]["depends_on"]["macros"]


def still_good(
    record: Record, manifest: Node, defined: Mapping[str, str], outcomes: Mapping[str, Outcome]
) -> dict[str, Outcome]:
    """What the failed build built and tested, and this run neither did again nor made untrue.

    Args:
        record: what the failed build left.
        manifest: dbt's manifest of this run.
        defined: how each node is made now.
        outcomes: what became of the nodes of this run.
    """
    nodes, unit_tests = manifest["nodes"], manifest["unit_tests"]
    known: dict[str, bool] = {}

    def is_good(name: str) -> bool:
        if name not in known:
            outcome = record.outcomes.get(name)
            known[name] = (
                name not in outcomes
                and outcome is not None
                and outcome.status in _GOOD
                and record.definitions[name] == defined.get(name)
                # What a unit test reads is written in it.
                and (name in unit_tests or all(map(is_good, parents(name))))
            )
        return known[name]

    def parents(name: str) -> list[str]:
        return [parent for parent in nodes[name]["depends_on"].get("nodes", []) if parent in nodes]

    return {name: record.outcomes[name] for name in record.outcomes if is_good(name)}


def _bytes(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()
