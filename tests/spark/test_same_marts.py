"""The same input gives the same marts on DuckDB and on Spark, whatever happens to the cluster.

Every mart is compared row by row: each text, each digit of each decimal. Only the time at which a
file was loaded differs.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.api.support import serving
from tests.landing.test_fuzz import make_sheet
from tests.models.plain_python import CONTRACTS
from tests.pipeline.test_landing import ORDERS, fill, parquet
from tests.support import Outcome, Project, own_environment
from warehouse.audit import marts_of
from warehouse.dbt import DBT_ON_SPARK
from warehouse.published import PublishedFolder
from warehouse.spark.cluster import THRIFT_SERVER, Cluster, up

pytest.importorskip("pyhive", reason="requirements-spark.lock is not installed")
pytestmark = pytest.mark.spark

CLOCKS = {"feed_health": ["last_loaded_at"]}  # columns that say when a run was
MARTS_ALONE = (
    *("build", "--exclude-resource-type", "test", "--exclude-resource-type", "unit_test"),
    *("--exclude", "expectation_results", "publication"),
)


class Both:
    """A project that is built on both engines, each with a folder of its own to publish in."""

    def __init__(self, folder: Path, cluster: Cluster, schema: str) -> None:
        self.project = Project(folder)
        self.cluster = cluster
        self.schema = schema
        self.published = {}
        for engine in ("duckdb", "spark"):
            (folder / engine).mkdir()
            self.published[engine] = PublishedFolder(folder / engine / "published")

    def environment(self, engine: str, **more: str) -> dict[str, str]:
        """The variables of a build."""
        return {
            "WAREHOUSE_PUBLISHED": str(self.published[engine].path),
            "WAREHOUSE_SPARK_PORT": str(self.cluster.port),
            "WAREHOUSE_SPARK_SCHEMA": self.schema,
            "DBT_TARGET_PATH": f"target_{engine}",
            "DBT_PROFILES_DIR": "profiles",
            **more,
        }

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command on Spark."""
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=self.project.folder,
            env=own_environment() | self.environment("spark", **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def build(self) -> subprocess.Popen[str]:
        """Start a whole build on Spark."""
        return self.start("-m", "warehouse", "spark-build")

    def run_marts(self, **environment: str) -> subprocess.Popen[str]:
        """Start making every mart on Spark, without tests: the input may be as bad as it likes."""
        return self.start(*DBT_ON_SPARK, *MARTS_ALONE, "--target", "spark", **environment)

    def marts_of_duckdb(self, **environment: str) -> None:
        """Make every mart on DuckDB."""
        outcome = self.project.dbt(*MARTS_ALONE, **self.environment("duckdb", **environment))
        assert outcome.exit_code == 0, outcome.lines[-40:]


def end_of(process: subprocess.Popen[str], seconds: float = 1200) -> Outcome:
    out, err = process.communicate(timeout=seconds)
    return Outcome(process.returncode, out, err)


def files_of(published: PublishedFolder) -> dict[str, str]:
    """The published marts, each as a query."""
    newest = published.newest()
    assert newest is not None
    folder = published.folder(newest.version)
    return {
        mart["name"]: f"from read_parquet('{folder / mart['file']}')"
        for mart in published.catalog(newest.version)["marts"]
    }


def assert_equal(
    found: Mapping[str, str], expected: Mapping[str, str], connection: duckdb.DuckDBPyConnection
) -> dict[str, int]:
    """Compare marts, each given as the end of a query; how many rows each has."""
    assert set(found) == set(expected)
    rows = {}
    for mart, source in expected.items():
        clocks = CLOCKS.get(mart, [])
        columns = [connection.sql(f"select * {query}") for query in (source, found[mart])]
        assert columns[0].columns == columns[1].columns, mart
        assert columns[0].types == columns[1].types, mart
        names = ", ".join(f'"{name}"' for name in columns[0].columns if name not in clocks)
        for one, other in ((source, found[mart]), (found[mart], source)):
            only = connection.sql(
                f"(select {names} {one}) except all (select {names} {other}) limit 3"
            ).fetchall()
            assert only == [], f"{mart}: only {'DuckDB' if one == source else 'Spark'} has {only}"
        ((rows[mart],),) = connection.sql(f"select count(*) {source}").fetchall()
    return rows


def tables_of_spark(both: Both, folder: Path) -> dict[str, str]:
    """The marts as the cluster has them, written as Parquet, each as a query."""
    from pyhive import hive

    found = {}
    cursor = hive.connect("127.0.0.1", both.cluster.port, auth="NOSASL", username="dbt").cursor()
    cursor.execute(f"show tables in {both.schema}_marts")
    for _, mart, _ in cursor.fetchall():
        target = folder / mart
        cursor.execute(
            f"insert overwrite directory 'file:{target}' using parquet "
            f"select * from {both.schema}_marts.{mart}"
        )
        found[mart] = f"from read_parquet('{target}/*.parquet')"
    return found


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Both:
    """The sample, built and published on both engines."""
    both = Both(tmp_path_factory.mktemp("sample") / "project", cluster, "sample")
    outcome = both.project.build(**both.environment("duckdb"))
    assert outcome.exit_code == 0, outcome.lines[-40:]
    outcome = end_of(both.build())
    assert outcome.exit_code == 0, outcome.lines[-40:]
    assert re.search(r"\d+ data tests and \d+ unit tests passed", outcome.out)
    return both


def test_the_sample_is_published_alike(sample: Both, connection: duckdb.DuckDBPyConnection) -> None:
    rows = assert_equal(
        files_of(sample.published["spark"]), files_of(sample.published["duckdb"]), connection
    )
    assert len(rows) == len(marts_of(sample.project.manifest("target_spark")))
    assert min(rows.values()) > 0


def test_the_api_serves_what_a_cluster_published(sample: Both) -> None:
    answers = {}
    for engine, published in sample.published.items():
        with serving(published) as api:
            answers[engine] = {
                mart: api.walk(f"marts/{mart}", {"limit": "1000"})
                for mart in ("order_kpis", "daily_sales", "ads_performance_daily", "rejected_rows")
            }
    assert answers["spark"] == answers["duckdb"]
    assert len(answers["spark"]["order_kpis"]) == 1


def tamed(content: bytes) -> bytes:
    """Let sums stay within the types of the marts, and the calendar within some years."""
    content = re.sub(rb"[0-9]{13,}", b"123456789012", content)
    return re.sub(rb"\b[12][0-9]([0-9])[0-9]-([0-9][0-9])-", rb"202\1-\2-", content)


def dirty_files(project: Project) -> None:
    """Every shape and fault that the landing zone is tested with, and random ones of each feed."""
    fill(project)
    for name in ("a.json", "b.json", "c.parquet", "d.csv"):  # their ratios are out of range
        (project.folder / "landing/ads_spend" / name).unlink()
    ads = {
        "date": "2024-01-01", "platform": "Meta", "account": "a", "campaign": "c", "country": "BR",
        "device": "mobile", "clicks": 9007199254740993, "impressions": 9007199254740993,
        "conversions": 3,
    }  # fmt: skip
    text = json.dumps(ads)[:-1]
    project.land(
        "ads_spend/a.json", f'[{text}, "spend": 1234567890123.78}}, {text}, "spend": 1e2}}]'
    )
    cells = ", ".join(f"'{value}' as {name}" for name, value in ads.items())
    tiny = "select '2024-02-01' as rate_date, 'BRL' as from_currency, 'USD' as to_currency, "
    project.land("fx_rates/tiny.parquet", parquet(f"{tiny} 0.0000001230::decimal(18,10) as rate"))
    doubles = "1234567.5::double, 0.1::double, 12345678.25::double, 1e300::double"
    project.land("ads_spend/c.parquet", parquet(f"select {cells}, unnest([{doubles}]) as spend"))
    chance = random.Random("one set of models")  # noqa: S311 - no secret
    for feed in CONTRACTS:
        for number in range(12):
            sheet, _ = make_sheet(feed, number, 60, chance, wild=number % 2 == 1)
            content = tamed(sheet.content)
            if sheet.name.endswith(".gz"):
                content = gzip.compress(content, mtime=0)
            project.land(f"{feed}/{sheet.name}", content, age_seconds=1000 - number)


def test_a_dirty_landing_zone_gives_equal_marts_though_a_worker_is_killed(
    tmp_path: Path, cluster: Cluster, connection: duckdb.DuckDBPyConnection
) -> None:
    both = Both(tmp_path / "project", cluster, "dirty")
    dirty_files(both.project)
    both.marts_of_duckdb(WAREHOUSE_SAMPLE_DATA="0")
    outcome = end_of(both.run_marts(WAREHOUSE_SAMPLE_DATA="0"))
    assert outcome.exit_code == 0, outcome.lines[-40:]
    connection.execute(f"attach '{both.project.database}' as built (read_only)")
    marts = [
        name
        for (name,) in connection.sql(
            "select table_name from duckdb_tables() where schema_name = 'marts'"
        ).fetchall()
    ]
    expected = {mart: f"from built.marts.{mart}" for mart in marts}
    rows = assert_equal(tables_of_spark(both, tmp_path / "first"), expected, connection)
    assert len(rows) == 16
    assert rows["rejected_rows"] > 2000
    assert rows["order_lines"] > 200
    connection.execute("detach built")

    # Files come, go, are replaced and renamed; the next run reads only these.
    landing = both.project.folder / "landing"
    (landing / "orders/good.csv").write_text(ORDERS.replace("O2,C1", "O9,C2"))
    (landing / "customers/good.csv").rename(landing / "customers/better.csv")
    (landing / "departments/a.csv").unlink()
    for feed in CONTRACTS:
        shutil.copy2(sorted((landing / feed).glob("0*"))[0], landing / feed / "again.csv")
        sheet, _ = make_sheet(feed, 1, 40, random.Random(feed), wild=False)  # noqa: S311
        both.project.land(f"{feed}/later.csv", tamed(sheet.content))
    both.marts_of_duckdb(WAREHOUSE_SAMPLE_DATA="0")
    process = both.run_marts(WAREHOUSE_SAMPLE_DATA="0")
    time.sleep(25)
    assert process.poll() is None
    killed = [cluster.pids()["worker-1"], *cluster.executors()["worker-1"]]
    assert len(killed) == 2
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    outcome = end_of(process)
    up(cluster.folder, print, port=cluster.port)
    assert outcome.exit_code == 0, outcome.lines[-40:]
    connection.execute(f"attach '{both.project.database}' as built (read_only)")
    assert_equal(tables_of_spark(both, tmp_path / "second"), expected, connection)


def test_without_its_thrift_server_a_build_says_so_and_the_next_one_recovers(
    sample: Both, cluster: Cluster, connection: duckdb.DuckDBPyConnection
) -> None:
    published = sample.published["spark"]
    before = published.newest()
    process = sample.build()
    time.sleep(60)
    assert process.poll() is None
    os.kill(cluster.pids()[THRIFT_SERVER], signal.SIGKILL)
    outcome = end_of(process, seconds=300)
    assert outcome.exit_code != 0
    said = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, outcome.lines[-40:]
    assert f"the Spark cluster at 127.0.0.1:{cluster.port} does not answer" in said[0]
    assert published.newest() == before
    assert list(published.path.glob("*.tmp")) == []

    up(cluster.folder, print, port=cluster.port)
    outcome = end_of(sample.build())
    assert outcome.exit_code == 0, outcome.lines[-40:]
    assert published.newest() != before
    found, expected = files_of(published), files_of(sample.published["duckdb"])
    for marts in (found, expected):  # the first snapshot had no other to be compared with
        del marts["expectation_results"]
    assert_equal(found, expected, connection)


def test_what_a_killed_build_left_of_a_table_does_not_stop_the_next_one(
    sample: Both, cluster: Cluster
) -> None:
    from pyhive import hive

    cursor = hive.connect("127.0.0.1", cluster.port, auth="NOSASL", username="dbt").cursor()
    cursor.execute(f"describe table extended {sample.schema}_marts.order_kpis")
    location = next(value for name, value, _ in cursor.fetchall() if name == "Location")
    cursor.execute(f"drop table {sample.schema}_marts.order_kpis")
    left = Path(location.removeprefix("file:")) / "_temporary/0"
    left.mkdir(parents=True)
    command = ("run", "--select", "order_kpis", "--target", "spark")
    outcome = end_of(sample.start(*DBT_ON_SPARK, *command))
    assert outcome.exit_code == 0, outcome.lines[-40:]
    assert not left.exists()
    cursor.execute(f"select count(*) from {sample.schema}_marts.order_kpis")
    assert cursor.fetchall() == [(1,)]


def test_a_number_that_is_out_of_range_fails_on_spark_as_on_duckdb(
    sample: Both,
) -> None:
    for call in (
        "money('value')",
        "safe_divide('value', 'one')",
        "converted('amount', 'cast(1000 as decimal(18, 10))')",
    ):
        query = (
            f"select {{{{ {call} }}}} as result from (select 99999999999999999.5 as value, "
            "1 as one, cast(1234567890123456.78 as decimal(18, 2)) as amount) as numbers"
        )
        for engine in ("duckdb", "spark"):
            outcome = sample.project.dbt(
                "show", "--inline", query, "--target", engine, **sample.environment(engine)
            )
            assert outcome.exit_code != 0, (engine, call, outcome.out)
            assert "out of range" in outcome.out.lower(), (engine, call, outcome.out)


def test_without_a_cluster_a_build_says_what_to_start(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    outcome = project.run("warehouse", "spark-build", WAREHOUSE_SPARK_PORT="1")
    assert outcome.exit_code == 2
    said: Any = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "the Spark cluster at 127.0.0.1:1 does not answer" in said[0]
    assert "make spark-up" in said[0]
