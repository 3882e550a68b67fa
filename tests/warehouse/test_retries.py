"""What a retry may lean on: whatever a node or a test depends on, if it changed, it runs anew."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from warehouse.audit import Outcome
from warehouse.retries import (
    RECORD,
    Record,
    circumstances,
    definitions,
    read_record,
    state_of_file,
    still_good,
    write_record,
)

GOOD = Outcome("success")
TABLE = "macro.p.materialization_table_duckdb"


def node(name: str, parents: list[str], macros: list[str]) -> dict[str, Any]:
    return {
        "raw_code": f"select {name}",
        "config": {"materialized": "table"},
        "depends_on": {"nodes": parents, "macros": macros},
    }


@pytest.fixture
def manifest() -> dict[str, Any]:
    """Source -> a -> b -> c; a test of b and one of c, a unit test of b; a macro behind a macro."""
    return {
        "nodes": {
            "model.p.a": node("a", ["source.p.s"], []),
            "model.p.b": node("b", ["model.p.a"], ["macro.p.outer"]),
            "model.p.c": node("c", ["model.p.b"], []),
            "test.p.of_b": node("of_b", ["model.p.b"], []),
            "test.p.of_c": node("of_c", ["model.p.c"], []),
        },
        "unit_tests": {"unit_test.p.b.zero": node("zero", ["model.p.b"], []) | {"given": []}},
        "sources": {"source.p.s": {"columns": {}, "config": {"meta": {}}}},
        "macros": {
            "macro.p.outer": {"macro_sql": "o", "depends_on": {"macros": ["macro.p.inner"]}},
            "macro.p.inner": {"macro_sql": "i", "depends_on": {"macros": []}},
            TABLE: {"macro_sql": "t", "depends_on": {"macros": []}},
            "macro.dbt.statement": {"macro_sql": "s", "depends_on": {"macros": []}},
        },
    }  # fmt: skip


@pytest.fixture
def record(manifest: dict[str, Any]) -> Record:
    """The model c failed, so its test was skipped."""
    outcomes = dict.fromkeys(("model.p.a", "model.p.b"), GOOD) | {
        "test.p.of_b": Outcome("warn", 2),
        "unit_test.p.b.zero": Outcome("pass"),
        "model.p.c": Outcome("error"),
        "test.p.of_c": Outcome("skipped"),
    }
    return Record("same", "same", outcomes, definitions(manifest))


def left(record: Record, manifest: dict[str, Any], *ran: str) -> set[str]:
    """The names of what is still good when these have run."""
    outcomes = dict.fromkeys(ran, GOOD)
    found = still_good(record, manifest, definitions(manifest), outcomes)
    return {name.split(".", 2)[2] for name in found}


def test_what_was_built_and_passed_is_good_and_what_failed_is_not(
    record: Record, manifest: dict[str, Any]
) -> None:
    assert left(record, manifest, "model.p.c", "test.p.of_c") == {"a", "b", "of_b", "b.zero"}


def test_what_reads_a_node_that_was_made_again_must_run_again(
    record: Record, manifest: dict[str, Any]
) -> None:
    assert left(record, manifest, "model.p.b") == {"a", "b.zero"}  # a unit test reads no table
    assert left(record, manifest, "model.p.a") == {"b.zero"}


CHANGES: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "the model": (("nodes", "model.p.b", "raw_code"), {"a"}),
    "what it reads": (("nodes", "model.p.a", "raw_code"), {"b.zero"}),
    "its contract": (("nodes", "model.p.b", "contract"), {"a"}),
    "the test": (("nodes", "test.p.of_b", "raw_code"), {"a", "b", "b.zero"}),
    "the unit test": (("unit_tests", "unit_test.p.b.zero", "given"), {"a", "b", "of_b"}),
    "the source": (("sources", "source.p.s", "columns"), {"b.zero"}),
    "a macro behind a macro": (("macros", "macro.p.inner", "macro_sql"), {"a"}),
    "a materialization": (
        ("macros", TABLE, "macro_sql"),
        set(),
    ),
    "a macro of dbt": (
        ("macros", "macro.dbt.statement", "macro_sql"),
        {"a", "b", "of_b", "b.zero"},
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_depends_on_changed_code_must_run_again(
    record: Record, manifest: dict[str, Any], what: str
) -> None:
    (kind, name, key), expected = CHANGES[what]
    changed = copy.deepcopy(manifest)
    changed[kind][name][key] = "something else"
    assert left(record, changed, "model.p.c", "test.p.of_c") == expected


def test_a_node_that_is_gone_or_was_not_run_is_not_good(
    record: Record, manifest: dict[str, Any]
) -> None:
    outcomes = {name: good for name, good in record.outcomes.items() if name != "model.p.a"}
    partial = Record("same", "same", outcomes, record.definitions)
    assert left(partial, manifest) == {"b.zero"}  # what reads a table of nobody knows when
    del manifest["nodes"]["test.p.of_b"]
    assert left(record, manifest) == {"a", "b", "b.zero"}


def test_circumstances_are_variables_settings_and_code(tmp_path: Path) -> None:
    code = tmp_path / "expectations"
    (code / "shop").mkdir(parents=True)
    module = code / "shop/suite.py"
    module.write_text("limit = 3\n")
    found = {circumstances({"vars": {"a": 1}}, [code])}
    found.add(circumstances({"vars": {"a": 2}}, [code]))
    module.write_text("limit = 4\n")
    found.add(circumstances({"vars": {"a": 1}}, [code]))
    (code / "more.py").touch()
    found.add(circumstances({"vars": {"a": 1}}, [code]))
    assert len(found) == 4
    assert circumstances({"vars": {"a": 1}}, [code]) in found


def test_a_record_is_read_as_it_was_written_and_a_torn_one_is_none(
    tmp_path: Path, record: Record
) -> None:
    assert read_record(tmp_path) is None
    write_record(tmp_path, record)
    known = {name: record.definitions[name] for name in record.outcomes}
    assert read_record(tmp_path) == Record("same", "same", record.outcomes, known)
    content = (tmp_path / RECORD).read_bytes()
    for torn in (
        b"",
        content[:-1],
        b"[]",
        b'{"circumstances": "", "database": "", "nodes": {"a": 1}}',
    ):
        (tmp_path / RECORD).write_bytes(torn)
        assert read_record(tmp_path) is None


def test_the_state_of_a_database_changes_with_every_write_and_with_no_read(tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    assert state_of_file(file) is None
    with duckdb.connect(str(file)) as connection:
        connection.execute("create table t as select 1 as n")
        assert state_of_file(file) is None  # what was written is beside it still
    before = state_of_file(file)
    with duckdb.connect(str(file)) as connection:
        connection.execute("from t").fetchall()
        connection.execute("create schema if not exists main")
    assert state_of_file(file) == before is not None
    times = file.stat()
    with duckdb.connect(str(file)) as connection:
        connection.execute("update t set n = 2")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert state_of_file(file) != before
