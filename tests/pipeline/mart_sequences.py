"""Drop, replace, rename and touch files at random, build between, and compare with a full refresh.

    python -m tests.pipeline.mart_sequences FOLDER RESULTS SEED...

runs in a process of its own (see tests/quality/one_process.py). FOLDER is a copy of the project
with its seeds loaded; it becomes the working directory. RESULTS is a file of JSON: for each seed,
the marts that differ, how many builds made only the changed orders of order_lines, and how many
lines wait for a rejected header at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.quality.one_process import Warehouse

NAMES = ("a.csv", "b.csv", "c.csv", "d.csv")
# Two years are far back; most days are near each other, so that orders share them.
DAYS = ("2019-02-28", "2019-03-01", *(f"2024-01-{day:02}" for day in range(1, 10)))
# A full refresh loads every file now.
LEFT_OUT = {"feed_health": "last_loaded_at", "int_feed_files": "loaded_at"}
FIRST_TIME = 1_700_000_000


def orders(dice: Random) -> str:
    """Headers of some of 15 orders; now and then one is rejected or a broken line, or repeats."""
    return _csv(
        "order_id,customer_id,order_date,total_amount,status",
        dice,
        lambda: (
            f"O{dice.randint(1, 15)},C{dice.randint(1, 5)},"
            f"{dice.choice(DAYS)} 1{dice.randint(0, 9)}:00:00,"
            f"{dice.randint(0, 999)}{dice.choice('....,')}{dice.randint(10, 99)}"
            + dice.choice([",completed"] * 5 + [",pending", ",cancelled", ",lost", ""])
        ),
    )


def order_items(dice: Random) -> str:
    """Lines of orders with a header and without, of products that are known or not."""
    return _csv(
        "order_id,product_id,quantity,ordered_at",
        dice,
        lambda: (
            f"O{dice.randint(1, 19)},P{dice.randint(1, 7)},{dice.choice('1234x')},"
            + dice.choice([*DAYS, ""])
        ),
    )


def products(dice: Random) -> str:
    """Some of six products, each time with other prices and sometimes other names."""
    return _csv(
        "product_id,name,category,price,inventory_count",
        dice,
        lambda: (
            f"P{dice.randint(1, 6)},{dice.choice(['Mug', 'Cup', 'Pan'])},"
            f"{dice.choice(['Kitchen', 'Home'])},{dice.randint(1, 40)}.50,{dice.randint(0, 9)}"
        ),
    )


def fx_rates(dice: Random) -> str:
    """Rates of a few days."""
    return _csv(
        "rate_date,from_currency,to_currency,rate",
        dice,
        lambda: f"{dice.choice(DAYS)},BRL,USD,0.{dice.randint(1000, 2999)}",
    )


def customers(dice: Random) -> str:
    """Some of five customers."""
    return _csv(
        "customer_id,name,email,country,join_date",
        dice,
        lambda: f"C{dice.randint(1, 5)},Name {dice.randint(1, 3)},,BR,{dice.choice(DAYS)}",
    )


def ads_spend(dice: Random) -> str:
    """Spend of two campaigns."""
    return _csv(
        "date,platform,account,campaign,country,device,spend,clicks,impressions,conversions",
        dice,
        lambda: (
            f"{dice.choice(DAYS)},Meta,A,K{dice.randint(1, 2)},BR,mobile,"
            f"{dice.randint(1, 99)},9,99,1"
        ),
    )


def sales(dice: Random) -> str:
    """Sales between three countries, one of which nobody knows."""
    return _csv(
        "id_order,id_product,id_buyer,id_seller,id_seller_country,id_buyer_country,date_payment,"
        "brand,category,revenue",
        dice,
        lambda: (
            f"M{dice.randint(1, 9)},L1,B{dice.randint(1, 3)},S1,{dice.choice(['FR', 'DE', 'XX'])},"
            f"{dice.choice(['FR', 'DE', 'IT'])},{dice.choice(DAYS)} 10:00:00,,"
            f"{dice.choice(['shoes', 'boys', 'toys'])},{dice.randint(1, 999)}.25"
        ),
    )


# What a person drops, the feeds of incremental marts most often.
FEEDS: tuple[Callable[[Random], str], ...] = (
    *(orders, orders, orders, order_items, order_items, order_items),
    *(products, fx_rates, customers, ads_spend, sales),
)


def _csv(header: str, dice: Random, row: Callable[[], str]) -> str:
    return "\n".join([header, *(row() for _ in range(dice.randint(1, 12)))]) + "\n"


class Landing:
    """The landing zone, each file with a time of its own.

    Args:
        folder: the landing zone; what is in it goes.
    """

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._clock = FIRST_TIME
        self._written: set[Path] = set()  # since the last build, as those below
        self._renamed: set[Path] = set()

    def was_built(self) -> None:
        """A build has seen all that there is."""
        self._written.clear()
        self._renamed.clear()

    def take(self, dice: Random) -> None:
        """Write, replace, rename or touch one file.

        Nothing happens to a file that would be renamed and replaced between two builds: for them
        its old content is gone, and such rows stay until a full refresh.
        """
        write = dice.choice(FEEDS)
        folder = self._folder / write.__name__
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(file.name for file in folder.iterdir())
        name = dice.choice(NAMES)
        match dice.choice(["write"] * 5 + ["rename", "touch"]):
            case "rename" if there and name not in there:
                old = folder / dice.choice(there)
                if old not in self._written:
                    old.rename(folder / name)
                    self._renamed.add(folder / name)
            case "touch" if there:
                self._stamp(folder / dice.choice(there))
            case _ if folder / name not in self._renamed:
                (folder / name).write_text(write(dice))
                self._stamp(folder / name)
                self._written.add(folder / name)

    def _stamp(self, file: Path) -> None:
        self._clock += 1
        os.utime(file, (self._clock, self._clock))


def build(warehouse: Warehouse, *arguments: str) -> None:
    """Run every model but what only looks at the marts.

    Raises:
        AssertionError: one failed.
    """
    left_out = ["expectation_results", "publication"]
    failed = [
        result.node.name
        for result in warehouse.dbt("run", *arguments, "--exclude", *left_out)
        if result.status != "success"
    ]
    assert not failed, failed
    warehouse.close()


def marts(warehouse: Warehouse) -> dict[str, list[tuple[object, ...]]]:
    """All rows of every mart, and of the tables between."""
    found = {}
    for schema, table in warehouse.query(
        "select schema_name, table_name from duckdb_tables() "
        "where schema_name in ('marts', 'intermediate') "
        "and table_name <> 'expectation_results' order by all"
    ):
        columns = f"* exclude ({LEFT_OUT[table]})" if table in LEFT_OUT else "*"
        found[table] = warehouse.query(f"select {columns} from {schema}.{table} order by all")
    return found


def run(warehouse: Warehouse, seed: int) -> dict[str, object]:
    """One sequence; the marts that a full refresh makes otherwise, and what was incremental."""
    dice = Random(seed)  # noqa: S311 - the same files each time
    landing = Landing(Path("landing"))
    for _ in range(8):
        landing.take(dice)
    build(warehouse, "--full-refresh")
    incremental = 0
    for _ in range(dice.randint(2, 4)):
        landing.was_built()
        for _ in range(dice.randint(1, 3)):
            landing.take(dice)
        before = _told(warehouse)
        build(warehouse)
        incremental += _told(warehouse) not in (before, [])
    found = marts(warehouse)
    build(warehouse, "--full-refresh")
    expected = marts(warehouse)
    assert found.keys() == expected.keys()
    return {
        "differ": [name for name in expected if found[name] != expected[name]],
        "lines": len(expected["order_lines"]),
        "on_hold": sum("on_hold" in row for row in expected["order_lines"]),
        "incremental": incremental,
    }


def _told(warehouse: Warehouse) -> list[tuple[object, ...]]:
    return warehouse.query("select distinct to_version from landing.changed_values")


def main() -> None:
    """Run the sequences that the command line names."""
    folder, results, *seeds = sys.argv[1:]
    os.environ["WAREHOUSE_SAMPLE_DATA"] = "0"
    warehouse = Warehouse(Path(folder))
    found = {seed: run(warehouse, int(seed)) for seed in seeds}
    warehouse.close()
    Path(results).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
