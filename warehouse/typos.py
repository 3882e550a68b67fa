"""Names that a person mistyped, of what to build and of variables: errors that name the nearest."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from dbt.adapters.factory import FACTORY
from dbt_common.exceptions import DbtRuntimeError

# Methods of selection that rightly find nothing when nothing changed or failed.
_MAY_BE_EMPTY = ("state", "result", "source_status", "config", "version")


def nearest(name: str, known: Iterable[str]) -> str:
    """A question that names what is spelled most like it; empty when nothing is."""
    found = get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def refuse_typo(criterion: str) -> None:
    """Refuse a criterion of --select or --exclude that names nothing.

    Args:
        criterion: as dbt quotes it, such as `+daily_sles` or `tag:shop,marts`.

    Raises:
        DbtRuntimeError: it names nothing; one line, with the nearest name.
    """
    parts = [_bare(part) for part in criterion.split(",")]
    if any(part.split(":")[0].split(".")[0] in _MAY_BE_EMPTY for part in parts if ":" in part):
        return
    (adapter,) = FACTORY.adapters.values()
    resolver: Any = adapter.get_macro_resolver()
    names = names_to_select(resolver.writable_manifest().to_dict(omit_none=False))
    questions = [nearest(part, names) for part in parts if part not in names]
    raise DbtRuntimeError(
        f"{criterion} selects nothing: no model, test, seed, source, folder or tag of that name"
        f"{next(filter(None, questions), '')}"
    )


def names_to_select(manifest: Mapping[str, Any]) -> set[str]:
    """What --select may name: nodes, parts of their paths, tags and sources."""
    names: set[str] = set()
    for kind in ("nodes", "unit_tests", "exposures"):
        for node in manifest[kind].values():
            names |= {node["name"], *node["fqn"], ".".join(node["fqn"])}
            path = node["original_file_path"]
            names |= {
                path,
                path.rpartition("/")[2],
                f"path:{path}",
                f"path:{path.rpartition('/')[0]}",
            }
            names |= {f"tag:{tag}" for tag in node.get("tags") or node["config"].get("tags") or ()}
    for source in manifest["sources"].values():
        names |= {
            f"source:{source['source_name']}",
            f"source:{source['source_name']}.{source['name']}",
        }
    return names


def _bare(criterion: str) -> str:
    """A criterion without the signs for what is above and below it."""
    return re.sub(r"^(@|\d*\+)|(\+\d*)$", "", criterion)


def unknown_variables(
    given: Collection[str], declared: Collection[str], manifest: Mapping[str, Any], project: str
) -> str | None:
    """A line for the variables of --vars that nothing reads; None when there are none.

    Args:
        given: their names.
        declared: those of dbt_project.yml.
        manifest: dbt's manifest; what its SQL reads with var() is known, too.
        project: the name of the project, which may stand before its variables.
    """
    missing = [name for name in given if name not in declared and name != project]
    if not missing:
        return None
    code = [node["raw_code"] for node in manifest["nodes"].values()]
    code += [macro["macro_sql"] for macro in manifest["macros"].values()]
    read = set(re.findall(r"""\bvar\(\s*['"](\w+)['"]""", "\n".join(code))) | set(declared)
    unknown = [name for name in missing if name not in read]
    if not unknown:
        return None
    return "; ".join(f"--vars: nothing reads {name}{nearest(name, read)}" for name in unknown)
