"""What a build on Spark publishes: a small project of its own, on the cluster, and the parts of it.

Tests with `spark_port` need a cluster; the others play it, or need none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest

pytest.importorskip("dbt.adapters.spark")
pytest.importorskip("pyhive")

from dbt_common.exceptions import DbtRuntimeError

from tests.support import ROOT, Outcome, own_environment
from warehouse.published import CATALOG, PublishedError, PublishedFolder
from warehouse.publishing import Columns, read_back
from warehouse.spark import adapter, python_models
from warehouse.spark.publishing import (
    SparkPublishing,
    duckdb_type,
    sum_on_duckdb,
    sums_on_spark,
    take,
    text_of_row,
)

Row = tuple[Any, ...]

# ---------------------------------------------------------------------------- the text of a row

COLUMNS: Columns = (
    ("name", "VARCHAR"),
    ("more", "VARCHAR"),
    ("units", "BIGINT"),
    ("rank", "INTEGER"),
    ("price", "DECIMAL(18,8)"),
    ("share", "DECIMAL(4,4)"),
    ("huge", "DECIMAL(38,0)"),
    ("is_new", "BOOLEAN"),
    ("day", "DATE"),
    ("seen_at", "TIMESTAMP"),
    ("reasons", "VARCHAR[]"),
)
ROWS: list[Row] = [
    (
        *("it's", '"', 9223372036854775807, -2147483648),
        *(Decimal("-0.00000001"), Decimal("-0.5000"), Decimal("-1" + "0" * 37), True),
        *(date(2025, 2, 28), datetime(2025, 2, 28), ["a", "", None, "it's é,2:x"]),
    ),
    (
        *("", "é\n\\日本", 0, 0, Decimal("0.00000000"), Decimal("0.0000"), Decimal(0), False),
        *(date(1600, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999999), []),
    ),
    (
        *("1:a", "-", -1, 7, Decimal("1234567890.12345678"), Decimal("0.1200"), Decimal(10), None),
        *(date(2999, 12, 31), datetime(2025, 3, 4, 5, 6, 7, 120), [""]),
    ),
    (None,) * len(COLUMNS),
]


def measured(text: str | None) -> str:
    return "-" if text is None else f"{len(text.encode())}:{text}"


def text_of_cell(value: Any, type_: str) -> str:
    """A value as text, computed without SQL."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return measured(value)
    if isinstance(value, list):
        return measured("".join(map(measured, value)))
    if isinstance(value, bool):
        return "true;" if value else "false;"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f;")
    if isinstance(value, Decimal):
        text = f"{value:f};"
        return text.replace("0.", ".", 1) if type_ == "DECIMAL(4,4)" else text
    return f"{value};"


def text_of(row: Row) -> str:
    return "".join(
        text_of_cell(value, type_) for value, (_, type_) in zip(row, COLUMNS, strict=True)
    )


def sum_of(rows: Sequence[Row]) -> str:
    digests = [hashlib.md5(text_of(row).encode()).hexdigest() for row in rows]  # noqa: S324
    return f"md5 {sum(int(digest[:15], 16) for digest in digests)}"


@pytest.fixture
def table() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the rows in the table `mart`."""
    with duckdb.connect() as connection:
        listed = ", ".join(f'"{name}" {type_}' for name, type_ in COLUMNS)
        connection.execute(f"create table mart ({listed})")
        marks = ", ".join("?" * len(COLUMNS))
        connection.executemany(f"insert into mart values ({marks})", ROWS)
        yield connection


def test_duckdb_makes_the_text_that_plain_python_makes(table: duckdb.DuckDBPyConnection) -> None:
    texts = table.execute(f"select {text_of_row('duckdb', COLUMNS)} from mart").fetchall()
    assert [text for (text,) in texts] == [text_of(row) for row in ROWS]
    assert texts[-1] == ("-" * len(COLUMNS),)


def test_the_sum_is_that_of_plain_python_whatever_the_order(
    table: duckdb.DuckDBPyConnection,
) -> None:
    query = f"select {sum_on_duckdb(COLUMNS)} from mart"
    assert table.execute(query).fetchall() == [(sum_of(ROWS),)]
    assert table.execute(f"{query} where false").fetchall() == [("md5 0",)]
    assert sum_of(ROWS) == sum_of(ROWS[::-1])


def test_types_that_two_engines_write_differently_are_refused() -> None:
    assert duckdb_type("decimal(18,2)") == "DECIMAL(18,2)"
    assert duckdb_type("array<string>") == "VARCHAR[]"
    for other in ("timestamp", "map<string,string>", "array<int>", "tinyint"):
        assert duckdb_type(other) is None
        with pytest.raises(PublishedError, match=rf"mart m: at is {other} on Spark, which cannot"):
            SparkPublishing()._types({"mart": "m", "columns": [["at", other]]})
    for engine in ("spark", "duckdb"):
        with pytest.raises(PublishedError, match=r"column at is DOUBLE: .* Make it a decimal"):
            text_of_row(engine, [("at", "DOUBLE")])


# ---------------------------------------------------------------------------- files


def test_a_file_is_moved_or_copied_and_may_be_read_by_all_who_read_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, snapshot = tmp_path / "part", tmp_path / "snapshot"
    snapshot.mkdir(0o755)
    for number in range(2):
        part.write_text("rows")
        part.chmod(0o600)
        file = snapshot / f"{number}"
        take(part, file)
        assert file.read_text() == "rows"
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        assert part.exists() == (number == 1)

        def another_disk(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(Path, "rename", another_disk)


def test_an_exchange_that_cannot_be_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_SPARK_EXCHANGE", str(tmp_path / "file" / "exchange"))
    (tmp_path / "file").touch()
    with pytest.raises(DbtRuntimeError) as raised:
        adapter.exchange_folder("publication")
    assert raised.value.msg.startswith(f"{tmp_path}/file/exchange cannot be written: Not a dir")
    assert "\n" not in raised.value.msg

    monkeypatch.setattr(adapter, "execute", lambda _: None)  # on another machine
    with pytest.raises(DbtRuntimeError, match=r"none is in /.*Set WAREHOUSE_SPARK_EXCHANGE to a"):
        adapter.export("select 1", tmp_path / "mart", {})


def test_an_exchange_folder_is_for_those_of_the_folder_of_exchanges_and_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_SPARK_EXCHANGE", str(tmp_path))
    tmp_path.chmod(0o2775)
    with adapter.exchange_folder("publication") as folder:
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o2775
        (Path(folder) / ".crc").touch()
    assert list(tmp_path.iterdir()) == []


def test_of_what_the_cluster_says_the_cause_is_one_line() -> None:
    told = (
        "org.apache.hive.service.cli.HiveSQLException: Error running query: "
        "[PATH_NOT_FOUND] org.apache.spark.sql.AnalysisException: [PATH_NOT_FOUND] Path does not "
        "exist: file:/x. SQLSTATE: 42K03\n\tat org.apache.spark.Some.scala(1)\n"
    )
    assert adapter.cause(DbtRuntimeError(told)) == (
        "[PATH_NOT_FOUND] Path does not exist: file:/x. SQLSTATE: 42K03"
    )
    aborted = f"{told}Caused by: java.io.IOException: No space left on device\n\t... 3 more\n"
    assert adapter.cause(DbtRuntimeError(aborted)) == "No space left on device"
    assert adapter.cause(DbtRuntimeError("Connection refused")) == "Connection refused"
    assert adapter.cause(DbtRuntimeError("")) == ""


# ---------------------------------------------------------------------------- Python models

MODEL = """
def model(dbt, session):
    return dbt.ref("one")

class dbtObj:
    def __init__(self, load): self.ref = load

# --- Autogenerated dbt materialization code. --- #
df.write.saveAsTable("marts.model")
"""


class Cluster:
    """Plays a cluster: says what it was told, and writes a file when it is to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.read: list[Row] = []
        for module in (adapter, python_models):
            monkeypatch.setattr(module, "execute", self.execute)

    def execute(self, sql: str) -> None:
        self.told.append(sql)
        if sql.startswith("insert overwrite directory 'file:"):
            folder = Path(sql.split("'")[1].removeprefix("file:"))
            folder.mkdir()
            duckdb.execute(f"copy (select 1 as a, 'x' as b) to '{folder}/part-0.parquet'")
        else:
            file = sql.split("parquet.`file:")[1].removesuffix("`")
            self.read = duckdb.execute(f"from '{file}'").fetchall()


@pytest.fixture
def exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAREHOUSE_SPARK_EXCHANGE", str(tmp_path))
    return tmp_path


def python_model() -> python_models.PythonModel:
    columns = {"a": {"data_type": "bigint"}, "b": {"data_type": None}}
    parsed = {"alias": "model", "original_file_path": "models/model.py", "columns": columns}
    return python_models.PythonModel(parsed, None)


@pytest.mark.parametrize("returned", ["dbt.ref('one')", "dbt.ref('one').to_arrow_table()"])
def test_what_a_python_model_returns_becomes_its_table(
    exchange: Path, monkeypatch: pytest.MonkeyPatch, returned: str
) -> None:
    cluster = Cluster(monkeypatch)
    python_model().submit(MODEL.replace('dbt.ref("one")', returned))
    exported, made = cluster.told
    assert exported.endswith(") select * from one")
    assert made.startswith(
        "create table marts.model using parquet as select cast(`a` as bigint) as `a`, `b` from "
    )
    assert cluster.read == [(1, "x")]
    assert list(exchange.iterdir()) == []


def test_a_relation_is_brought_once(exchange: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch)
    with duckdb.connect() as connection:
        relations = python_models.Relations(connection, exchange)
        assert relations.load("s.one") is relations.load("s.one")
        assert relations.load("s.two").fetchall() == [(1, "x")]
    assert len(cluster.told) == 2


def test_a_python_model_that_fails_says_where_and_leaves_nothing(
    exchange: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(monkeypatch)
    with pytest.raises(DbtRuntimeError) as raised:
        python_model().submit(MODEL.replace('dbt.ref("one")', 'dbt.ref("one").nothing'))
    assert raised.value.msg.startswith("Python model failed:\nTraceback")
    assert 'File "models/model.py", line 3, in model' in raised.value.msg
    assert len(cluster.told) == 1
    assert list(exchange.iterdir()) == []


# ---------------------------------------------------------------------------- on the cluster

SETTINGS = {
    "spark.sql.ansi.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}


@pytest.fixture(scope="module")
def cursor(spark_port: int) -> Iterator[Any]:
    from pyhive import hive

    with hive.connect(
        "127.0.0.1", spark_port, auth="NOSASL", username="dbt", configuration=SETTINGS
    ) as connection:
        yield connection.cursor()


def values(rows: Sequence[Row]) -> str:
    """A query of Spark's for the rows."""
    spark = {"VARCHAR": "string", "TIMESTAMP": "timestamp_ntz", "VARCHAR[]": "array<string>"}
    selects = []
    for row in rows:
        cells = [
            f"cast({literal(value)} as {spark.get(type_, type_)}) as `{name}`"
            for value, (name, type_) in zip(row, COLUMNS, strict=True)
        ]
        selects.append(f"select {', '.join(cells)}")
    return "\nunion all\n".join(selects)


def literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"cast(array({', '.join(map(literal, value))}) as array<string>)"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, Decimal):
        return f"{value:f}BD"
    return f"'{value}'"


def replaced(row: int, **cells: Any) -> list[Row]:
    names = [name for name, _ in COLUMNS]
    changed = dict(zip(names, ROWS[row], strict=True)) | cells
    return [*ROWS[:row], tuple(changed.values()), *ROWS[row + 1 :]]


SAME = {
    "as they are": ROWS,
    "none": [],
    "one cell": replaced(0, price=Decimal("0.00000001")),
    "null for an empty text": replaced(1, name=None),
    "an empty text for null": replaced(3, name=""),
    "a null less in a list": replaced(0, reasons=["a", "", "it's é,2:x"]),
    "cells that moved": replaced(2, name="1:", more="a-"),
    "a microsecond": replaced(2, seen_at=datetime(2025, 3, 4, 5, 6, 7, 121)),
}


@pytest.mark.spark
def test_both_engines_find_the_same_sum_and_another_of_other_rows(
    cursor: Any, tmp_path: Path
) -> None:
    """What Spark computes of the rows is what DuckDB computes of the file, and plain Python."""
    found = {}
    for what, rows in SAME.items():
        query = values(rows) if rows else f"select * from ({values(ROWS)}) where false"
        cursor.execute(sums_on_spark(f"({query})", COLUMNS))
        ((found[what],),) = cursor.fetchall()
        folder = tmp_path / what.replace(" ", "_")
        cursor.execute(
            f"insert overwrite directory 'file:{folder}' using parquet "
            f"select /*+ coalesce(1) */ * from ({query})"
        )
        (file,) = folder.glob("*.parquet")
        with duckdb.connect() as connection:
            read = read_back(file, connection, sum_on_duckdb)
        assert (read.columns, read.rows) == (COLUMNS, len(rows)), what
        assert (found[what], read.hashes) == (sum_of(rows), sum_of(rows)), what
    assert len(set(found.values())) == len(SAME)


@pytest.mark.spark
def test_totals_have_all_their_digits(cursor: Any) -> None:
    names = ("units", "rank", "price", "share")
    for rows, expected in (
        (values(ROWS), "9223372036854775806 -2147483641 1234567890.12345677 -0.3800"),
        (f"select * from ({values(ROWS)}) where false", "0 0 0.00000000 0.0000"),
    ):
        cursor.execute(sums_on_spark(f"({rows})", COLUMNS, names))
        ((found,),) = cursor.fetchall()
        assert found.split(" ", 2)[2] == expected
    cursor.execute(sums_on_spark(f"({values([ROWS[0]] * 11)})", COLUMNS, ["huge"]))
    assert cursor.fetchall() == [(None,)]  # more than 38 digits


# ---------------------------------------------------------------------------- a small project

START = "from warehouse.spark.adapter import extend; extend()\n"
RUN = "from dbt.cli.main import cli; cli()"

PROJECT = """
name: kpi_warehouse
version: "1.0.0"
config-version: 2
profile: kpi_warehouse
flags: {send_anonymous_usage_stats: false}
vars: {rejected: 7}
models:
  kpi_warehouse:
    +materialized: table
    marts: {+contract: {enforced: true}}
    publication: {+materialized: publication}
"""

MODELS = {
    "marts/shop/sales.sql": """
        select
            cast(id as string) as product,
            id as units,
            cast(id * 0.5 - 100 as decimal(18, 2)) as revenue,
            if(id % 1000 = 7, null, date_add(date '2025-01-01', cast(id * 7 % 300 as int))) as day,
            id % 2 = 0 as is_new,
            cast('2025-01-01 00:00:00.000120' as timestamp_ntz) as seen_at,
            array('a', null, concat('é', cast(id as string))) as names
        from range(50000)
    """,
    "marts/shop/empty_sales.sql": "select product, units from {{ ref('sales') }} where false",
    "marts/shop/feed_health.sql": (
        "select 'sales' as feed, cast(1 as bigint) as files, false as has_sample, "
        "cast({{ var('rejected') }} as bigint) as rows_rejected"
    ),
    "quality/checked.py": """
import pyarrow as pa


def model(dbt, session):
    dbt.config(materialized="table")
    sales, empty = dbt.ref("sales"), dbt.ref("empty_sales")
    return pa.table({
        "name": ["sales", "empty_sales"],
        "row_count": [len(sales), len(empty)],
        "types": [", ".join(map(str, one.types)) for one in (sales, empty)],
        "is_sampled": pa.array([None, None], pa.bool_()),
    })
""",
    "publication/publication.sql": "\nunion all\n".join(
        f"select '{mart}' as mart, count(*) as row_count from {{{{ ref('{mart}') }}}}"
        for mart in ("sales", "empty_sales", "feed_health", "checked")
    ),
    "models.yml": """
models:
  - name: sales
    config: {meta: {grain: [day, units], totals: [units, revenue], api: {scope: shop}}}
    columns:
      - {name: product, data_type: string, data_tests: [not_null]}
      - {name: units, data_type: bigint}
      - {name: revenue, data_type: "decimal(18,2)"}
      - {name: day, data_type: date}
      - {name: is_new, data_type: boolean}
      - {name: seen_at, data_type: timestamp_ntz}
      - {name: names, data_type: "array<string>"}
  - name: empty_sales
    config: {meta: {grain: [product], totals: [units], api: {scope: shop}}}
    columns: [{name: product, data_type: string}, {name: units, data_type: bigint}]
  - name: feed_health
    config: {meta: {grain: [feed], totals: [rows_rejected], api: {scope: quality}}}
    columns:
      - {name: feed, data_type: string}
      - {name: files, data_type: bigint}
      - {name: has_sample, data_type: boolean}
      - {name: rows_rejected, data_type: bigint}
  - name: checked
    config: {contract: {enforced: false}, meta: {grain: [name], api: {scope: quality}}}
    columns:
      - {name: name, data_type: string}
      - {name: row_count, data_type: bigint}
      - {name: types, data_type: string}
      - {name: is_sampled, data_type: boolean}
  - name: publication
""",
}

MARTS = ("checked", "empty_sales", "feed_health", "sales")


class Tiny:
    """A project with a few marts, and what the real one has to publish them."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.schema = f"test_publication_{uuid4().hex[:8]}"
        self.published = PublishedFolder(folder / "published")
        self.exchange = folder / "exchange"
        self.environment = own_environment() | {
            "DBT_PROFILES_DIR": "profiles",
            "WAREHOUSE_SPARK_PORT": str(port),
            "WAREHOUSE_SPARK_SCHEMA": self.schema,
            "WAREHOUSE_SPARK_EXCHANGE": str(self.exchange),
        }
        for part in ("warehouse", "profiles", "macros/publish", "macros/ingest", "macros/dialect"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        for name, text in MODELS.items():
            file = folder / "models" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (folder / "dbt_project.yml").write_text(PROJECT)

    def dbt(self, *arguments: str, first: str = "", start: str = START) -> Outcome:
        """Run dbt on Spark; `first` is Python that runs before it."""
        done = subprocess.run(
            [
                *(sys.executable, "-c", f"{start}{first}\n{RUN}"),
                *("--no-use-colors", *arguments, "--target", "spark"),
            ],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def catalog(self, version: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder_of(version) / CATALOG).read_text())
        return found

    def folder_of(self, version: str) -> Path:
        return self.published.folder(version)

    def left(self) -> list[Path]:
        """What is in the exchange folder, and snapshots that were not published."""
        return [
            *self.exchange.rglob("*"),
            *(set(self.published.path.glob("2*")) - set(map(self.folder_of, self.versions()))),
        ]

    def versions(self) -> list[str]:
        return self.published.versions()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, spark_port: int, cursor: Any) -> Iterator[Tiny]:
    """The small project, built once; tests of it look, or publish once more."""
    project = Tiny(tmp_path_factory.mktemp("tiny"), spark_port)
    outcome = project.dbt("build")
    assert outcome.exit_code == 0, outcome.out + outcome.err
    yield project
    cursor.execute(f"drop schema {project.schema} cascade")


@pytest.mark.spark
def test_a_green_build_publishes_one_file_for_each_mart(tiny: Tiny) -> None:
    version = tiny.versions()[0]
    tiny.published.verify(version)
    catalog, folder = tiny.catalog(version), tiny.folder_of(version)
    assert catalog["engine"]["adapter"] == "spark 1.11.0"
    assert catalog["engine"]["database"] == "Apache Spark 4.3.0"
    assert [(mart["name"], mart["rows"]) for mart in catalog["marts"]] == [
        *(("checked", 2), ("empty_sales", 0), ("feed_health", 1), ("sales", 50_000)),
    ]
    assert {file.name for file in folder.iterdir()} == {
        *(f"{mart}.parquet" for mart in MARTS),
        CATALOG,
    }
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o440}
    assert tiny.left() == []
    history = (tiny.published.path / "build_history.jsonl").read_text().splitlines()
    end = json.loads(history[1])
    assert (end["outcome"], end["rows_rejected"], end["rows"]) == ("published", 7, 50_003)


@pytest.mark.spark
def test_a_file_holds_the_rows_sorted_in_groups_with_types_and_totals(tiny: Tiny) -> None:
    version = tiny.versions()[0]
    file = tiny.folder_of(version) / "sales.parquet"
    mart = next(mart for mart in tiny.catalog(version)["marts"] if mart["name"] == "sales")
    assert [column["type"] for column in mart["columns"]] == [
        *("VARCHAR", "BIGINT", "DECIMAL(18,2)", "DATE", "BOOLEAN", "TIMESTAMP", "VARCHAR[]"),
    ]
    assert mart["totals"] == {"units": "1249975000", "revenue": "619987500.00"}
    with duckdb.connect() as connection:
        groups = connection.execute(
            "select distinct row_group_id, row_group_num_rows, compression "
            f"from parquet_metadata('{file}') order by all"
        ).fetchall()
        rows = connection.execute(
            f"select day, units, product, revenue, is_new, seen_at, names from '{file}'"
        ).fetchall()
    assert groups == [(0, 40_960, "ZSTD"), (1, 9_040, "ZSTD")]
    keys = [(row[0] is None, row[0] or date.min, row[1]) for row in rows]
    assert keys == sorted(keys)
    assert rows[-1] == (
        *(None, 49_007, "49007", Decimal("24403.50"), False),
        *(datetime(2025, 1, 1, 0, 0, 0, 120), ["a", None, "é49007"]),
    )


@pytest.mark.spark
def test_a_python_model_reads_relations_of_the_cluster(tiny: Tiny) -> None:
    file = tiny.folder_of(tiny.versions()[0]) / "checked.parquet"
    types = "VARCHAR, BIGINT, DECIMAL(18,2), DATE, BOOLEAN, TIMESTAMP, VARCHAR[]"
    assert duckdb.execute(f"from '{file}'").fetchall() == [
        ("empty_sales", 0, "VARCHAR, BIGINT", None),
        ("sales", 50_000, types, None),
    ]


@pytest.mark.spark
def test_a_mart_of_the_same_rows_keeps_its_file(tiny: Tiny) -> None:
    before = tiny.versions()[-1]
    outcome = tiny.dbt("build", "--vars", "{rejected: 8}")
    assert outcome.exit_code == 0, outcome.out
    after = tiny.versions()[-1]
    assert after != before
    tiny.published.verify(after)
    old, new = tiny.folder_of(before), tiny.folder_of(after)
    kept = {
        mart
        for mart in MARTS
        if (new / f"{mart}.parquet").read_bytes() == (old / f"{mart}.parquet").read_bytes()
    }
    assert kept == set(MARTS) - {"feed_health"}
    assert tiny.left() == []


UNAUDITED = """
from warehouse import publishing
from warehouse.audit import Verdict
publishing.audit = lambda *_: Verdict()
publishing.count_tests = lambda *_: {}
publishing._what_is_seen = lambda *_: None  # no file is kept
from warehouse.spark import publishing as of_spark
take = of_spark.take
def take_and_change(part, file):
    take(part, file)
    import duckdb
    if file.name == "feed_health.parquet":
        duckdb.sql(f"{CHANGE} from '{file}'").write_parquet(str(file) + ".new")
        file.with_name("feed_health.parquet.new").replace(file)
of_spark.take = take_and_change
"""

CHANGED = {
    "select * replace (rows_rejected + 1 as rows_rejected)": "holds other values than the mart",
    "select * replace (null::bigint as rows_rejected)": "holds other values than the mart",
    "select * replace (rows_rejected::int as rows_rejected)": (
        "has other types: rows_rejected is BIGINT"
    ),
    "select * replace (unnest([feed, feed]) as feed)": "holds 2 rows, publication.sql counts 1",
}


@pytest.mark.spark
@pytest.mark.parametrize("change", CHANGED)
def test_a_file_that_is_not_the_mart_is_not_published(tiny: Tiny, change: str) -> None:
    before = tiny.versions()
    outcome = tiny.dbt(
        *("build", "--select", "publication"), first=f'CHANGE = "{change}"\n{UNAUDITED}'
    )
    assert outcome.exit_code == 1
    assert f"  not published: feed_health.parquet {CHANGED[change]}" in outcome.out
    assert tiny.versions() == before
    assert tiny.left() == []


@pytest.mark.spark
@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("run", "--select", "publication"), "dbt run does not run the tests; dbt build does"),
        (
            ("build", "--select", "publication"),
            "not run: 4 of 4 seeds and models, 1 of 1 data tests (",
        ),
    ],
)
def test_only_a_whole_build_is_published(tiny: Tiny, command: list[str], why: str) -> None:
    before = tiny.versions()
    outcome = tiny.dbt(*command)
    assert outcome.exit_code == 0
    assert f"Not published: {why}" in outcome.out
    assert tiny.versions() == before
    assert tiny.left() == []
