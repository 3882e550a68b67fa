"""The baselines of the benchmarks make the marts of the warehouse, and say it if they do not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from benchmarks import limit, usual_way
from tests.support import ROOT, Project

LINES = 3_000

# One value of each kind, in a mart that both baselines have: (mart, column, another value).
CHANGES = [
    ("ads_performance_daily", "ctr", "ctr + 0.0002"),
    ("order_lines", "total_price_usd", "total_price_usd + 0.02"),
    ("order_lines", "status", "'pending '"),
    ("product_daily_growth", "units", "units + 1"),
    ("customer_lifetime_value", "last_order_date", "last_order_date + 1"),
    ("product_metrics", "revenue_usd", "null"),
    ("departments_above_mean", "is_above_mean", "not is_above_mean"),
]


@dataclass(frozen=True)
class Made:
    """A large set, small, and the marts that the warehouse and both baselines made of it."""

    landing: Path
    warehouse: Path
    limit: Path
    usual_way: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("benchmarks")
    landing = folder / "landing"
    generator = ROOT / "seeds/generate_data.py"
    subprocess.run(
        [sys.executable, str(generator), "--scale", str(LINES), "--out", str(landing)], check=True
    )
    project = Project(folder / "project")
    environment = {"WAREHOUSE_SAMPLE_DATA": "0", "WAREHOUSE_LANDING": str(landing)}
    for command in (("seed",), ("run", "--exclude", "publication", "expectation_results")):
        outcome = project.dbt(*command, **environment)
        assert outcome.exit_code == 0, outcome.out + outcome.err
    baselines = Made(landing, project.database, folder / "limit.duckdb", folder / "usual_way")
    limit.make_marts(landing, baselines.limit)
    usual_way.make_marts(landing, baselines.usual_way)
    return baselines


def query(made: Made, sql: str) -> list[tuple[object, ...]]:
    """The rows of a query on the warehouse."""
    with duckdb.connect(str(made.warehouse), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_baselines_make_every_mart_of_the_areas(made: Made) -> None:
    rows = query(made, "select table_name from duckdb_tables() where schema_name = 'marts'")
    marts = {row[0] for row in rows} - {"feed_health", "rejected_rows", "expectation_results"}
    assert marts == set(limit.MARTS)
    empty = [mart for mart in marts if query(made, f"select count(*) from marts.{mart}") == [(0,)]]
    assert not empty


def test_the_set_has_rejected_rows_and_orders_that_exist_only_as_lines(made: Made) -> None:
    assert query(made, "from marts.rejected_rows where reasons[1] not like '%repeats%'")
    assert query(made, "from marts.order_lines anti join staging.stg_orders using (order_id)")
    assert query(made, "from marts.order_lines where status = 'on_hold'")


def test_the_limit_makes_the_numbers_of_the_warehouse(made: Made) -> None:
    assert limit.differences(made.limit, made.warehouse) == []


def test_the_usual_way_makes_the_numbers_of_the_warehouse(made: Made) -> None:
    assert usual_way.differences(made.usual_way, made.warehouse) == []


@pytest.mark.parametrize(("mart", "column", "value"), CHANGES)
def test_one_changed_value_is_a_difference_for_both(
    made: Made, tmp_path: Path, mart: str, column: str, value: str
) -> None:
    changed = tmp_path / "warehouse.duckdb"
    shutil.copy2(made.warehouse, changed)
    with duckdb.connect(str(changed)) as connection:
        connection.execute(
            f"""
            update marts.{mart} set {column} = {value}
            where rowid = (select min(rowid) from marts.{mart} where {column} is not null)
            """
        )
    for found in (
        limit.differences(made.limit, changed),
        usual_way.differences(made.usual_way, changed),
    ):
        assert found
        assert all(line.startswith(mart) for line in found)


def test_a_missing_row_and_a_missing_mart_are_differences_for_both(
    made: Made, tmp_path: Path
) -> None:
    changed = tmp_path / "warehouse.duckdb"
    shutil.copy2(made.warehouse, changed)
    with duckdb.connect(str(changed)) as connection:
        connection.execute("delete from marts.daily_sales where date = '2024-03-01'")
        connection.execute("drop table marts.order_kpis")
    for found in (
        limit.differences(made.limit, changed),
        usual_way.differences(made.usual_way, changed),
    ):
        assert [line.split(":")[0] for line in found] == ["daily_sales", "order_kpis"]
        assert "1 rows are only in" in found[0]


@pytest.mark.parametrize("module", ["limit", "usual_way"])
def test_each_is_a_command_that_prints_one_line_of_json(
    made: Made, tmp_path: Path, module: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", str(made.landing), str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)
    assert measured.keys() == {"seconds", "peak_mib"}
    assert measured["seconds"] > 0
    assert measured["peak_mib"] > 0
    assert done.stderr == ""


@pytest.mark.parametrize("main", [limit.main, usual_way.main])
def test_what_is_missing_is_said_in_one_line(
    made: Made,
    tmp_path: Path,
    main: Callable[[list[str]], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(made.landing, tmp_path / "landing")
    (tmp_path / "landing/sales/sales.csv").unlink()
    for landing, message in (
        ("nowhere", "nowhere is no folder"),
        ("landing", "landing has no sales/sales.csv"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(tmp_path / landing), str(tmp_path / "out")])
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_the_limit_does_not_write_over_a_database(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        limit.main([str(made.landing), str(made.warehouse)])
    assert ended.value.code == 2
    assert "is there already" in capsys.readouterr().err
