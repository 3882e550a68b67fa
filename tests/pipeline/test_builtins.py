"""What dbt's documentation says of its built-ins holds in this project, for models added to it."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.pipeline.textbook_models import INCREMENTAL, LEFT_ALONE, MADE_EACH_TIME
from tests.support import ROOT, Project, own_environment

# What of dbt is replaced; docs/decisions.md, 54, says why each still does what dbt says.
REPLACED = {
    "generate_schema_name",
    "materialization_seed_duckdb",
    "materialization_seed_spark",
    "spark__escape_single_quotes",
    "spark__safe_cast",
}

_BLOCK = re.compile(r"\{%-?\s*(macro|materialization|test|data_test)\s+(\w+)([^%]*)%\}")
_DISPATCHED = re.compile(r"^(duckdb|spark|default)__")


def macros(folder: Path) -> Iterator[str]:
    """The names of the macros in a folder, as dbt calls them."""
    for file in folder.rglob("*.sql"):
        for kind, name, rest in _BLOCK.findall(file.read_text()):
            if kind == "materialization":
                adapter = re.search(r"adapter\s*=\s*['\"](\w+)", rest)
                yield f"materialization_{name}_{adapter[1] if adapter else 'default'}"
            else:
                yield name if kind == "macro" else f"test_{name}"


def stem(name: str) -> str:
    """What a macro stands for: dbt finds ours first, whichever adapter it is for."""
    if name.startswith("materialization_"):
        return name.rpartition("_")[0]
    return _DISPATCHED.sub("", name)


def of_dbt() -> set[str]:
    """What dbt and its adapters call theirs, macros and what is in every context."""
    from dbt.context.providers import ModelContext

    found = set(ModelContext._context_members_) | {"run_query", "statement"}
    for package in ("global_project", "duckdb", "spark"):
        spec = importlib.util.find_spec(f"dbt.include.{package}")
        if spec and spec.origin:
            found |= {stem(name) for name in macros(Path(spec.origin).parent)}
    return found


def test_no_macro_takes_the_place_of_one_of_dbt_unless_it_is_listed() -> None:
    builtins = of_dbt()
    assert {
        "materialization_table",
        "materialization_snapshot",
        "is_incremental",
        "ref",
    } <= builtins
    ours = {*macros(ROOT / "macros"), *macros(ROOT / "tests/data/generic")}
    assert {name for name in ours if stem(name) in builtins} == REPLACED


def test_every_replaced_builtin_is_a_decision() -> None:
    text = (ROOT / "docs/decisions.md").read_text()
    entry = text.split("### 54. ")[1].split("\n### ")[0]
    for name in REPLACED:
        assert f"`{stem(name).removeprefix('materialization_')}`" in entry.replace("spark__", "")


def test_textbook_models_mean_what_dbt_says(tmp_path: Path) -> None:
    project, results = Project(tmp_path / "project"), tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.textbook_models", project.folder, results],
        cwd=project.folder,
        env=own_environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(results.read_text())
    by_type = {"code": "VARCHAR", "since": "DATE", "Share": "DECIMAL(5,2)"}
    assert found == {
        "all of it builds": {},
        "types of a seed with column_types": sorted(map(list, by_type.items())),
        "rows of a seed": [["01", "2024-01-01", "0.50"], ["x", None, None]],
        "a contract, an index and a comment of a kept table": [
            [[False]],
            [[1]],
            [["What is promised."]],
        ],
        "left alone in a second build": sorted([*LEFT_ALONE, "promised"]),
        "hooks run in each build": [[[1, 1, 2, 2, 3, 3]]],
        "on_schema_change: fail": True,
        "rows of incremental models": {
            "inc_filtered": 2391,
            "inc_two_keys": 2391,
            "inc_append": 2391,
            "inc_merge": 2391,
            "inc_merge_predicate": 3,
            "inc_microbatch": 2,
            "inc_ignore": 1,  # it fails when a column is gone
            "inc_append_new_columns": 2,
            "inc_sync_all_columns": 2,
        },
        "what a merge with a predicate left": [["O1", 0], ["O1", 1], ["O1", 1]],
        "columns by on_schema_change": {
            "inc_ignore": ["id", "name"],
            "inc_append_new_columns": ["id", "name", "colour"],
            "inc_sync_all_columns": ["id", "colour"],
        },
        "versions in snapshots": [3, 3],
        "rows after --full-refresh": [1, 1],
        "made anew when changed by hand": [
            "kept_of_a_kept_table",
            "kept_of_a_seed",
            "kept_of_an_ephemeral_model",
            "kept_through_a_view",
        ],
        "as it was before": [[["01"], ["x"]], 2, "code"],
        "and then left alone": ["UNCHANGED"],
        "clones, and their rows": [
            ["dev", "inc_filtered", "VIEW"],
            ["dev", "kept_of_a_seed", "VIEW"],
            ["dev", "plain_table", "VIEW"],
            ["dev_seeds", "regions", "VIEW"],
            [2],
        ],
        "two targets in one database know their own tables": ["UNCHANGED"] * 3,
    }
    assert len(INCREMENTAL) + len(MADE_EACH_TIME) > 30
