"""Whether the sample counts: decided once a run, by the setting or by the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from warehouse.landing.in_duckdb import look_into_logs
from warehouse.landing.sample import SampleChoice, own_file
from warehouse.settings import Settings, read_settings

SAMPLES = [{"feed": feed, "log": f'"landing"."{feed}_files"'} for feed in ("orders", "jobs")]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a project without files, which leave the sample to them."""
    return read_settings({}, tmp_path)


def land(settings: Settings, path: str) -> None:
    """Write a file below landing/."""
    file = settings.landing / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")


class Database:
    """Logs of files, and what was said.

    Args:
        files: the file and the state of each entry of the log of orders.
    """

    def __init__(self, *files: tuple[str, str]) -> None:
        self.warnings: list[str] = []
        self._connection = duckdb.connect()
        self._connection.execute("create schema landing")
        self._connection.execute("create table landing.orders_files (file text, state text)")
        for row in files:
            self._connection.execute("insert into landing.orders_files values (?, ?)", row)

    def decides(self, choice: SampleChoice, settings: Settings, run: str = "run") -> bool:
        """Whether the sample counts."""
        call = {"invocation_id": run, "samples": SAMPLES}
        return choice.has_sample(
            settings,
            call,
            lambda logs: look_into_logs(self._connection, logs),
            self.warnings.append,
        )


OWN, SAMPLE = ("landing/orders/may.csv", "loaded"), ("seeds/shop/orders.csv", "loaded")


@pytest.mark.parametrize("setting", [None, True, False])
@pytest.mark.parametrize("landed", [(), ("orders/a.csv",), ("jobs/refused.xlsx",)])
@pytest.mark.parametrize("logged", [(), (SAMPLE,), (OWN,), (OWN, SAMPLE)])
def test_the_sample_counts_until_there_is_a_file_of_ones_own(
    setting: bool | None,
    landed: tuple[str, ...],
    logged: tuple[tuple[str, str], ...],
    settings: Settings,
) -> None:
    for path in landed:
        land(settings, path)
    has_own = bool(landed) or OWN in logged
    expected = not has_own if setting is None else setting
    database = Database(*logged)
    assert database.decides(SampleChoice(), replace(settings, sample_data=setting)) == expected
    # It is said when it changes, and then alone.
    assert len(database.warnings) == (setting is None and has_own and SAMPLE in logged)


def test_what_is_no_file_of_a_sample_feed_does_not_count(settings: Settings) -> None:
    for path in ("fx_rates/rates.csv", "orders/.hidden", "orders/half.csv.part", "orders.csv"):
        land(settings, path)
    (settings.landing / "jobs/folder").mkdir(parents=True)
    assert own_file(settings.landing, ["orders", "jobs"]) is None
    assert Database(("landing/orders/a.csv", "refused")).decides(SampleChoice(), settings)


def test_a_file_that_arrives_during_a_run_does_not_split_it(settings: Settings) -> None:
    choice, database = SampleChoice(), Database()
    assert database.decides(choice, settings)
    land(settings, "orders/late.csv")
    assert database.decides(choice, settings)
    assert not database.decides(choice, settings, run="the next one")


def test_a_log_that_this_run_forgets_is_not_asked(settings: Settings) -> None:
    call = {"invocation_id": "run", "samples": [{"feed": "orders", "log": None}]}
    asked: list[object] = []

    def logs(names: object) -> tuple[bool, bool]:
        asked.append(names)
        return False, False

    assert SampleChoice().has_sample(settings, call, logs, print)
    assert asked == [[]]
