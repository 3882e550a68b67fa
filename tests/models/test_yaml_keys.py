"""A mistyped YAML key checks nothing, and dbt says nothing: so the keys are listed here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT

META = {"grain", "totals", "formula", "feed"}
# What the Python model reads of the variables.
VARIABLES = {
    *("accept_drift", "max_rows_lost_pct", "max_total_factor", "expectation_sample_rows"),
}
API = {
    *("scope", "row_scope", "route", "filters", "order", "default_limit", "hide", "example"),
}
CONTRACT = {
    *("required", "minimum", "exclusive_minimum", "maximum", "accepted_values", "aliases"),
    *("references", "id", "missing"),
}
TEST_CONFIG = {"severity", "where", "meta"}
MODEL_CONFIG = {"meta", "materialized", "tags", "contract"}
AGE = {"count": None, "period": None}

# Key of a list or mapping to the keys its entries may have; None: anything, checked elsewhere.
COLUMN: dict[str, Any] = {
    "name": None,
    "description": None,
    "data_type": None,
    "data_tests": "tests",
    "config": {"meta": dict.fromkeys(META | CONTRACT)},
}
FILE: dict[str, Any] = {
    "version": None,
    "models": {
        "name": None,
        "description": None,
        "config": dict.fromkeys(MODEL_CONFIG)
        | {
            "meta": dict.fromkeys(META | VARIABLES) | {"api": dict.fromkeys(API)},
            "contract": {"enforced": None},
        },
        "data_tests": "tests",
        "columns": COLUMN,
    },
    "seeds": {"name": None, "description": None, "config": None, "data_tests": "tests"},
    "sources": {
        "name": None,
        "description": None,
        "config": {"loaded_at_query": None},
        "tables": {
            "name": None,
            "description": None,
            "config": {
                "freshness": {"warn_after": AGE, "error_after": AGE},
                "meta": {"feed": dict.fromkeys(("key", "date_column", "headerless", "reference"))},
            },
            "columns": COLUMN,
        },
    },
    "exposures": dict.fromkeys(("name", "label", "type", "url", "description", "depends_on"))
    | {"owner": {"name": None}},
    "unit_tests": {
        "name": None,
        "description": None,
        "model": None,
        "given": dict.fromkeys(("input", "rows", "format", "fixture")),
        "expect": dict.fromkeys(("rows", "format", "fixture")),
        "overrides": {"vars": None, "macros": None, "env_vars": None},
        "config": None,
    },
}
# The generic tests and their arguments.
TESTS: dict[str, set[str]] = {
    "not_null": set(),
    "unique": set(),
    "accepted_values": {"values"},
    "relationships": {"to", "field"},
    "grain": set(),
    "no_nulls": {"columns", "among"},
    "holds": {"condition", "among"},
    "adds_up_to": {"measure", "to", "to_measure", "among", "to_among", "tolerance"},
    "calendar_without_gaps": set(),
    "keeps_contract": {"feed"},
    "has_declared_columns": set(),
    "expectations_hold": {"level"},
    "feeds_have_rows": set(),
}


def unknown_keys(content: Any, allowed: Any, place: str = "") -> Iterator[str]:
    """The paths of keys that are not allowed."""
    if allowed is None or content is None:
        return
    if isinstance(content, list):
        for entry in content:
            name = entry.get("name", "") if isinstance(entry, dict) else ""
            yield from unknown_keys(entry, allowed, f"{place}[{name}]")
    elif allowed == "tests":
        yield from unknown_test_keys(content, place)
    elif isinstance(content, dict):
        for key, value in content.items():
            if key not in allowed:
                yield f"{place}.{key}"
            else:
                yield from unknown_keys(value, allowed[key], f"{place}.{key}")
    else:
        yield f"{place} is {content!r}, not a mapping"


def unknown_test_keys(test: Any, place: str) -> Iterator[str]:
    name, options = (test, {}) if isinstance(test, str) else next(iter(test.items()))
    if name not in TESTS:
        yield f"{place}.{name}"
        return
    for key in options:
        if key not in ("name", "arguments", "config"):
            yield f"{place}.{name}.{key}"
    for key in options.get("arguments", {}):
        if key not in TESTS[name]:
            yield f"{place}.{name}.arguments.{key}"
    for key in options.get("config", {}):
        if key not in TEST_CONFIG:
            yield f"{place}.{name}.config.{key}"


FILES = sorted(path for folder in ("models", "seeds") for path in (ROOT / folder).rglob("*.yml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_yaml_file_has_an_unknown_key(path: Path) -> None:
    assert list(unknown_keys(yaml.safe_load(path.read_text()), FILE)) == []


def test_yaml_files_were_found() -> None:
    assert len(FILES) > 20


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("models: [{name: a, descripton: b}]", ".models[a].descripton"),
        ("models: [{name: a, data_tests: [gran]}]", ".models[a].data_tests[].gran"),
        (
            "models: [{name: a, data_tests: [{holds: {arguments: {conditon: x}}}]}]",
            ".models[a].data_tests[].holds.arguments.conditon",
        ),
        (
            "models: [{name: a, columns: [{name: b, config: {meta: {formla: c}}}]}]",
            ".models[a].columns[b].config.meta.formla",
        ),
        (
            "models: [{name: a, config: {meta: {api: {scop: shop}}}}]",
            ".models[a].config.meta.api.scop",
        ),
        ("modles: []", ".modles"),
    ],
)
def test_a_mistyped_key_is_found(text: str, place: str) -> None:
    assert list(unknown_keys(yaml.safe_load(text), FILE)) == [place]
