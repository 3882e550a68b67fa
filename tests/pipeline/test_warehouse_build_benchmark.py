"""What the benchmark of a whole build makes of the figures; nothing is measured here."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import duckdb
import pytest

from benchmarks import warehouse_build as bench
from tests.support import ROOT

NODES = {
    "seed.kpi_warehouse.orders": 1.0,
    "model.kpi_warehouse.base_orders": 2.0,
    "model.kpi_warehouse.base_orders_repeats": 4.0,
    "model.kpi_warehouse.order_lines": 8.0,
    "model.kpi_warehouse.expectation_results": 16.0,
    "model.kpi_warehouse.publication": 32.0,
    "test.kpi_warehouse.not_null_base_orders_order_id.0a1b2c": 64.0,
    "unit_test.kpi_warehouse.base_orders.a_rule": 128.0,
    "exposure.kpi_warehouse.api_metrics": 256.0,
}


def run_of(seconds: float, whole: float) -> bench.Run:
    return bench.Run(whole, 500, {"models": seconds}, {"model.kpi_warehouse.order_lines": seconds})


@pytest.fixture
def steps() -> list[bench.Step]:
    """A small size, at which the usual way ran, and a large one of three rounds."""
    small = bench.Step(1_000)
    small.runs[bench.FIRST] = [run_of(2, 20)]
    small.runs[bench.LIMIT] = [run_of(1, 1.5)]
    small.runs[bench.USUAL] = [run_of(8, 9)]
    large = bench.Step(10_000)
    for kind, seconds, whole in (
        (bench.FIRST, [14, 30, 12], 100),
        (bench.LIMIT, [10, 15, 10], 11),
        (bench.NOTHING_NEW, [1, 1, 1], 30),
        (bench.MORE, [2, 2, 2], 36),
    ):
        large.runs[kind] = [run_of(took, whole) for took in seconds]
    return [small, large]


def test_every_node_is_in_one_group() -> None:
    assert bench.grouped(NODES) == {
        "load": 2,
        "models": 1 + 4 + 8,
        "expectations": 16,
        "publication": 32,
        "data tests": 64,
        "unit tests": 128,
    }


def test_the_sums_of_a_run_add_the_groups_that_see_the_data() -> None:
    run = bench.Run(300, 500, bench.grouped(NODES))
    assert (run.models, run.tested, run.published) == (15, 79, 127)
    assert run.rest == 300 - 127 - 128


def test_a_ratio_is_the_median_of_the_rounds_and_not_a_ratio_of_medians(
    steps: list[bench.Step],
) -> None:
    assert steps[-1].ratio(bench.FIRST, bench.models_of, bench.LIMIT) == 1.4


def test_targets_say_yes_and_no(steps: list[bench.Step]) -> None:
    found = {target.what: target for target in bench.targets_of(steps)}
    assert {what: target.is_met for what, target in found.items()} == {
        "models, of the limit": True,
        "models and data tests, of the limit": True,
        "models at 1,000 lines, times as fast per line as the usual way at 1,000": True,
        "models at 10,000 lines, times as fast per line as the usual way at 1,000": True,
        "nothing new, whole, of the first build": True,
        "one more file of 1 %, whole, of the first build": False,
        "one more file of 1 %, models, of the first build": False,
        "peak of any build": True,
        "models per line at 10,000 lines, of those at 1,000": True,
    }
    assert found["one more file of 1 %, whole, of the first build"].found == "36.0%"


def test_the_report_has_a_row_for_each_kind_of_run(steps: list[bench.Step]) -> None:
    report = bench.report(steps, bench.Settings(2, "3GiB"))
    assert "10,000 order lines, 2 threads, memory limit 3GiB, median of 3 rounds" in report
    for start in (
        "| limit | 11.00 | 11.0% | 10.00 | 1.00 |",
        "| first build | 100.00 | 100.0% | 14.00 | 1.40 |",
        "| nothing new | 30.00 | 30.0% |",
        "| one more file of 1 % | 36.00 | 36.0% |",
        "| usual way, 1,000 lines | 9.00 | 45.0% | 8.00 | 8.00 |",
        "| order_lines | models | 14.00 | 100.0% |",
    ):
        assert f"\n{start}" in report
    tables = [part for part in report.split("\n\n") if part.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_same_figures_give_the_same_chart(steps: list[bench.Step], tmp_path: Path) -> None:
    charts = [tmp_path / "new folder/chart.svg", tmp_path / "again.svg"]
    for chart in charts:
        bench.draw_chart(steps, chart)
    first, second = (chart.read_bytes() for chart in charts)
    assert first == second
    assert first.startswith(b"<?xml")


def test_more_lines_are_one_percent_of_new_orders_in_the_week_after_the_last_day(
    tmp_path: Path,
) -> None:
    file = tmp_path / "more.csv"
    bench.make_more_lines(30_000, file)
    row = duckdb.execute(
        f"""
        select
            count(*), count(distinct ordered_at), min(ordered_at)::varchar,
            max(ordered_at)::varchar, min(order_id) > 'O799999999', min(quantity) > 0
        from '{file}'
        """
    ).fetchone()
    assert row == (300, 7, "2026-01-01", "2026-01-07", True, True)


def test_a_process_that_fails_is_an_error_with_the_end_of_what_it_printed(tmp_path: Path) -> None:
    code = "for i in range(30): print('line', i)\nraise SystemExit(3)"
    (tmp_path / "failing.py").write_text(code)
    with pytest.raises(bench.BenchmarkError) as raised:
        bench.run_child("the first build", "failing", [], tmp_path, {})
    lines = str(raised.value).splitlines()
    assert lines[0] == "the first build failed with exit code 3"
    assert lines[1:] == [f"line {number}" for number in range(10, 30)]


def test_what_is_spilled_is_seen_though_it_is_removed_in_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "made later"
    with bench.largest_size(folder) as found:
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).write_bytes(bytes(1_000))
        ends = time.monotonic() + 10
        while not found[0] and time.monotonic() < ends:
            time.sleep(0.05)
        shutil.rmtree(folder)
    assert found == [2_000]


def test_an_error_ends_the_command_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> list[bench.Step]:
        raise bench.BenchmarkError("limit and the warehouse differ in 1 places")

    monkeypatch.setattr(bench, "measure", fail)
    assert bench.main([]) == 1
    assert capsys.readouterr().err == "error: limit and the warehouse differ in 1 places\n"


@pytest.mark.parametrize("option", ["--lines", "--rounds", "--steps"])
def test_a_number_that_is_none_is_said_in_one_line(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main([option, "0"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_process_that_starts_the_others_does_not_load_pandas_or_matplotlib(
    tmp_path: Path,
) -> None:
    (tmp_path / "printing.py").write_text(
        "import sys, benchmarks.warehouse_build\n"
        "print(sorted({'pandas', 'matplotlib', 'numpy'} & sys.modules.keys()))"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    whole, peak, text = bench.run_child("printing", "printing", [], tmp_path, environment)
    assert text == "[]\n"
    assert whole > 0
    assert peak > 5
