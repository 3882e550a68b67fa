"""Spark reads the SQL of every model, and gives it the types that its contract says.

Nothing is built and no cluster is asked: dbt compiles the project for Spark, and a session in this
machine's memory analyses the SQL, in the order in which models read each other, on empty tables.
Analysis knows every name and type; what a value comes to is compared elsewhere.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.spark.session import RefusedError, SessionError, SparkSession
from tests.support import ROOT, Project, own_environment
from warehouse.landing.load import Request, Words
from warehouse.loading import read_contract
from warehouse.spark.feeds import Session, _SparkLoad

pytestmark = pytest.mark.spark_sql

# dbt, which goes on after a node that does not compile.
_DBT = (
    "from dbt.task.compile import CompileTask; CompileTask.raise_on_first_error = lambda _: False; "
    "from dbt.cli.main import cli; cli()"
)
_COMPILE = (
    *("--quiet", "--no-use-colors", "compile", "--target", "spark"),
    *("--no-populate-cache", "--no-introspect", "--indirect-selection", "empty"),
    # Python has no SQL; this test asks the database while it is compiled.
    *("--exclude", "file:*.py", "test_name:has_declared_columns"),
    *("--select", "resource_type:model", "resource_type:analysis"),
)

# What macros/ingest/feed.sql hands over for each feed, and the SQL of its view.
_FEEDS = """\
{%- for feed in feed_names() -%}{%- do ref(feed) -%}{%- endfor -%}
{%- if execute -%}
    {%- set found = [] -%}
    {%- for feed in feed_names() -%}
        {%- set contract, types = feed_contract(feed), {} -%}
        {%- for column in contract.columns -%}
            {%- do types.update({column.name: type_of(column.type)}) -%}
        {%- endfor -%}
        {%- do found.append({
            'base': 'base_' ~ feed,
            'contract': contract,
            'types': types,
            'table': landing_table(feed).render(),
            'log': landing_table(feed ~ '_files').render(),
            'seed': ref(feed).render(),
            'day': feed_day(feed),
            'view': rows_of_files(contract),
        }) -%}
    {%- endfor -%}
    {{ tojson(found) }}
{%- endif -%}
"""

_JUDGED = {"_reasons": "array<string>", "_record": "string"}
_ORIGIN = {
    "_file": "string",
    "_line_number": "bigint",
    "_modified_ns": "bigint",
    "_loaded_at": "timestamp",
}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A session with the settings that dbt gives one."""
    profile = yaml.safe_load((ROOT / "profiles/profiles.yml").read_text())
    settings = profile["kpi_warehouse"]["outputs"]["spark"]["server_side_parameters"]
    try:
        session = SparkSession(
            tmp_path_factory.mktemp("session"),
            # As dbt-spark adds it.
            {**settings, "spark.sql.ansi.enabled": "false"},
        )
    except SessionError as error:
        pytest.fail(str(error), pytrace=False)
    yield session
    session.close()


@pytest.fixture
def copied(tmp_path: Path) -> Project:
    """A copy of the project, which compiles also what feeds need."""
    project = Project(tmp_path / "project")
    (project.folder / "analyses").mkdir()
    (project.folder / "analyses/feeds.sql").write_text(_FEEDS)
    return project


# ---------------------------------------------------------------- what dbt compiles


class NotCompiledError(Exception):
    """dbt compiles nothing; the message is what it says, in one line, with the name in front."""


@dataclass
class Compiled:
    """The project's nodes and the SQL of those that have some.

    Attributes:
        nodes: of the manifest, by id.
        sql: compiled SQL by id.
        faults: by id, what dbt says of a node that it cannot compile.
        feeds: what `_FEEDS` gives, by name of the base model.
    """

    nodes: Mapping[str, Any]
    sql: Mapping[str, str]
    faults: Mapping[str, str]
    feeds: Mapping[str, Mapping[str, Any]]

    def ids(self, *kinds: str) -> list[str]:
        """The nodes of these kinds, each after those that it reads."""
        found = {key: node for key, node in self.nodes.items() if node["resource_type"] in kinds}
        edges = {
            key: set(node["depends_on"].get("nodes", ())) & set(found)
            for key, node in found.items()
        }
        return list(TopologicalSorter(edges).static_order())


def compiled(project: Project, *, with_tests: bool) -> Compiled:
    """Compile everything for Spark; where a server would be, nothing listens."""
    tests = ["resource_type:test"] if with_tests else []
    results = project.folder / "target/run_results.json"
    results.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", _DBT, *_COMPILE, *tests],
        cwd=project.folder,
        env=own_environment()
        | {"DBT_PROFILES_DIR": "profiles", "WAREHOUSE_SPARK_PORT": "9", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if not results.exists():
        text = done.stdout + done.stderr
        raise NotCompiledError(told(text.partition("Encountered an error:")[2] or text))
    report = json.loads(results.read_text())["results"]
    sql = {
        node["unique_id"]: node["compiled_code"] for node in report if node["status"] == "success"
    }
    faults = {
        node["unique_id"]: told(node["message"]) for node in report if node["status"] == "error"
    }
    feeds = [text for key, text in sql.items() if key.startswith("analysis.")]
    if not feeds:
        raise NotCompiledError("\n".join(faults.values()))
    return Compiled(
        project.manifest()["nodes"],
        sql,
        faults,
        {feed["base"]: feed for feed in json.loads(feeds[0])},
    )


def told(message: str) -> str:
    """`name: what is wrong`, in one line, of what dbt says."""
    text = " ".join(message.split())
    found = re.search(r" Error in \w+ (\w+) \(\S+\) (.*)", text)
    return f"{found[1]}: {found[2]}" if found else f"dbt: {text}"


# ---------------------------------------------------------------- what Spark says of it


class Recorder(Session):
    """Takes down what a load would have a cluster do."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def execute(self, sql: str) -> None:
        self.statements.append(sql)

    def rows(self, sql: str) -> list[Any]:
        if sql.startswith("describe "):  # a log that was just made
            return [("identity",)]
        return [(0,)] if "count(*)" in sql else []


@dataclass
class Check:
    """One look at a whole project.

    Attributes:
        project: what dbt compiled.
        spark: the session.
        faults: `name: what is wrong`, one line each.
        unknown: ids of nodes of which nobody knows what columns they have.
        unseen: names of models that read them.
    """

    project: Compiled
    spark: SparkSession
    faults: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    unseen: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        """Analyse everything; the faults."""
        schemas = {node["schema"] for node in self.project.nodes.values()} | {"landing"}
        for schema in sorted(schemas):
            self.spark.columns(f"drop database if exists {schema} cascade")
            self.spark.columns(f"create database {schema}")
        for feed in self.project.feeds.values():
            self._make_table(
                feed["seed"], {**dict.fromkeys(feed["types"], "string"), "_line_number": "bigint"}
            )
            for statement in recorded_load(feed, ""):
                if not statement.startswith("insert"):
                    self.spark.columns(statement)
        for key in self.project.ids("model", "test"):
            self._look_at(self.project.nodes[key])
        if self.unseen:
            self.faults.append(f"not looked at, since they read these: {', '.join(self.unseen)}")
        return self.faults

    def _look_at(self, node: Mapping[str, Any]) -> None:
        """Analyse a model or test, and leave a relation for those that read it."""
        key, before = node["unique_id"], len(self.faults)
        if key in self.project.faults:
            self.faults.append(self.project.faults[key])
        elif self.unknown.intersection(node["depends_on"]["nodes"]):
            self._leave_out(node)
        elif key in self.project.sql:
            try:
                self._analyse(node, self.project.sql[key])
            except RefusedError as error:
                self.faults.append(f"{node['name']}: {error}")
            if len(self.faults) == before:
                return
        else:
            self._leave_out(node)  # dbt did, since it reads one that does not compile
        if node["resource_type"] == "model":
            self._stand_in(node)

    def _leave_out(self, node: Mapping[str, Any]) -> None:
        if node["resource_type"] == "model" and node["language"] == "sql":
            self.unseen.append(node["name"])

    def _analyse(self, node: Mapping[str, Any], sql: str) -> None:
        relation, kind = node["relation_name"], node["config"].get("materialized")
        if node["resource_type"] == "test":
            self.spark.columns(sql)
            return
        if kind == "feed":
            feed = self.project.feeds[node["name"]]
            judged = {**feed["types"], **_JUDGED, "_line_number": "bigint"}
            self._compare(node["name"], self.spark.columns(sql), judged)
            for statement in recorded_load(feed, sql):
                if statement.startswith("insert"):
                    # A query alone is analysed; the insert would run.
                    self.spark.columns(statement[statement.index(" select ") :])
            sql = feed["view"]
        if kind in ("feed", "view"):
            self.spark.columns(f"create view {relation} as\n{sql}")
            found = self.spark.columns(f"select * from {relation}")
        else:
            found = self.spark.columns(sql)
            self._make_table(relation, found)
        self._compare(node["name"], found, self._declared(node))

    def _declared(self, node: Mapping[str, Any]) -> dict[str, str]:
        """The columns that a model must have; those of no declared type have ''."""
        if node["config"]["materialized"] == "feed":
            return {**self.project.feeds[node["name"]]["types"], **_JUDGED, **_ORIGIN}
        return {name: column["data_type"] or "" for name, column in node["columns"].items()}

    def _stand_in(self, node: Mapping[str, Any]) -> None:
        """Let others see what the contract says of a model that is no good, or no SQL."""
        key, declared = node["unique_id"], self._declared(node)
        if not declared or "" in declared.values():
            self.unknown.add(key)
            return
        try:
            self._make_table(node["relation_name"], declared)
        except RefusedError as error:
            self.unknown.add(key)
            fault = f"{node['name']}: {error}"
            if fault not in self.faults:
                self.faults.append(fault)

    def _compare(self, name: str, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
        """Note where columns are not as expected; a type of '' is any."""
        casts = [f"cast(null as {type_}) as `{one}`" for one, type_ in expected.items() if type_]
        types = self.spark.columns(f"select {', '.join(casts)}") if casts else {}
        for column in {**expected, **found}:
            if column not in found:
                self.faults.append(f"{name}: column {column} is missing")
            elif column not in expected:
                self.faults.append(f"{name}: column {column} is not declared")
            elif found[column] != types.get(column, found[column]):
                self.faults.append(
                    f"{name}: column {column} is {found[column]}, declared as {types[column]}"
                )

    def _make_table(self, relation: str, types: Mapping[str, str]) -> None:
        columns = ", ".join(f"`{name}` {type_}" for name, type_ in types.items())
        with suppress(RefusedError):  # it is a table
            self.spark.columns(f"drop view if exists {relation}")
        self.spark.columns(f"drop table if exists {relation}")
        self.spark.columns(f"create table {relation} ({columns}) using parquet")


def recorded_load(feed: Mapping[str, Any], sql: str) -> list[str]:
    """The statements that make the tables of a feed and load its seed with this query."""
    request = Request(
        contract=read_contract(feed["contract"]),
        has_key=bool(feed["contract"]["key"]),
        sql=sql,
        source=feed["seed"],
        seed_file="",
        is_reference=feed["contract"]["reference"],
        table=feed["table"],
        log=feed["log"],
        database=None,
        types=feed["types"],
        day=feed["day"],
        is_full_refresh=False,
        run="",
        started_at="2024-01-01 00:00:00",
    )
    recorder = Recorder()
    load = _SparkLoad(recorder, request, Path(), Path(), Words(warn=print, tell=print))
    load._make_tables(set())
    load._insert_seed(1)
    return recorder.statements


def faults_of(project: Project, spark: SparkSession, *, with_tests: bool = True) -> list[str]:
    """What dbt and Spark say against the models and tests of a project, one line each."""
    try:
        return Check(compiled(project, with_tests=with_tests), spark).run()
    except NotCompiledError as error:
        return [str(error)]
    except SessionError as error:
        pytest.fail(str(error), pytrace=False)


# ---------------------------------------------------------------- the checks


def test_spark_reads_every_model_and_finds_the_types_of_its_contract(
    copied: Project, spark: SparkSession
) -> None:
    faults = faults_of(copied, spark)
    if faults:
        pytest.fail("on Spark:\n" + "\n".join(faults), pytrace=False)


def test_every_fault_is_told_with_the_name_of_the_model(
    copied: Project, spark: SparkSession
) -> None:
    for path, old, new in [
        ("staging/shop/stg_fx_rates", "_file as", "no_file as"),
        ("quality/rejected_rows", "from rejected_rows", "from rejected_rows order first"),
        ("marts/hiring/hires_by_quarter", " total,", " list_sum(array(total)) as total,"),
        ("marts/hiring/departments_above_mean", "id as bigint", "id as integer"),
        ("marts/shop/category_metrics", " order_count,\n        revenue,", " revenue,"),
    ]:
        copied.edit(f"models/{path}.sql", old, new)
    faults = faults_of(copied, spark, with_tests=False)
    for start in [
        "stg_fx_rates: [UNRESOLVED_COLUMN",
        "rejected_rows: [PARSE_SYNTAX_ERROR] Syntax error at or near 'first'",
        "hires_by_quarter: [UNRESOLVED_ROUTINE] Cannot resolve routine `list_sum`",
        "departments_above_mean: column id is int, declared as bigint",
        "category_metrics: column order_count is missing",
        "not looked at, since they read these: int_",  # what has a contract is known from that
    ]:
        assert any(fault.startswith(start) for fault in faults), "\n".join([start, "", *faults])


def test_a_macro_without_its_half_for_spark_is_told(copied: Project) -> None:
    copied.edit("macros/dialect/time.sql", "macro spark__months_from_to", "macro other")
    with pytest.raises(NotCompiledError, match=r"^dbt: .* No macro named 'months_from_to' found"):
        compiled(copied, with_tests=False)


def test_without_java_there_is_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SessionError, match=r"^Spark needs Java, .* Install Java 17: .*$"):
        SparkSession(tmp_path, {})


def test_without_pyspark_there_is_no_session(tmp_path: Path) -> None:
    (tmp_path / "pyspark.py").write_text("raise ImportError('no module')")
    with pytest.raises(SessionError, match=r"PySpark is not installed .*: pip install .*$"):
        SparkSession(tmp_path, {})
