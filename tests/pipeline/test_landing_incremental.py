"""What a second build does with the landing zone: only what is new, and nothing is lost."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ALONE, Outcome, Project, own_environment

NODES = ("--select", "products", "base_products", "base_products_repeats", "stg_products")
HEADER = "product_id,name,category,price,inventory_count\n"
MUG = "P1,Mug,Kitchen,9.90,3\n"
CUP = "P2,Cup,Kitchen,5,\n"
PAN = "P3,Pan,Kitchen,20,1\n"
NOTHING = "P4,,Kitchen,1,1\n"
NO_SAMPLE = {"WAREHOUSE_SAMPLE_DATA": "0"}
WITH_SAMPLE = {"WAREHOUSE_SAMPLE_DATA": "1"}


def build(project: Project, *arguments: str, exit_code: int = 0, sample: bool = False) -> Outcome:
    """Load and judge products."""
    settings = ALONE | (WITH_SAMPLE if sample else NO_SAMPLE)
    outcome = project.dbt("build", *arguments, *NODES, **settings)
    assert outcome.exit_code == exit_code, outcome.lines
    return outcome


def rows(project: Project) -> list[tuple[object, ...]]:
    """Each row of base_products: file, line, id and name."""
    return project.query(
        "select parse_filename(_file), _line_number, product_id, name from staging.base_products"
        " order by _file, _line_number"
    )


def log(project: Project) -> dict[str, tuple[object, ...]]:
    """Each file: its state, its rows and the run that loaded it."""
    return {
        file: tuple(rest)
        for file, *rest in project.query(
            "select parse_filename(file), state, rows_read, change, is_present, run_id, loaded_at"
            " from landing.products_files"
        )
    }


def rewrite(file: Path, old: str, new: str) -> None:
    """Change a file's content behind its size and time."""
    assert len(old) == len(new)
    before = file.stat()
    file.write_text(file.read_text().replace(old, new))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_other_content_of_the_same_size_and_time_is_loaded_and_then_known(project: Project) -> None:
    landed = project.land("products/a.csv", HEADER + MUG)
    refused = project.land("products/b.csv", "nothing\n")
    copied = project.land("products/c.csv", HEADER + MUG)
    build(project)
    rewrite(landed, "Mug", "???")
    rewrite(refused, "nothing", HEADER[:7])
    rewrite(copied, "Mug", "!!!")
    build(project)
    found, logged = rows(project), log(project)
    assert ("a.csv", 2, "P1", "???") in found
    assert ("c.csv", 2, "P1", "!!!") in found
    build(project)
    assert (rows(project), log(project)) == (found, logged)


def test_a_replaced_file_replaces_its_own_rows_and_a_touched_one_nothing(project: Project) -> None:
    project.land("products/a.csv", HEADER + MUG + NOTHING, age_seconds=300)
    touched = project.land("products/b.csv", HEADER + CUP, age_seconds=200)
    project.land("products/c.csv", HEADER + PAN, age_seconds=100)
    build(project)
    logged = log(project)

    project.land("products/a.csv", HEADER + PAN.replace("P3", "P9"), age_seconds=50)
    os.utime(touched, (1_700_000_000, 1_700_000_000))
    build(project)
    assert rows(project) == [
        ("a.csv", 2, "P9", "Pan"),
        ("b.csv", 2, "P2", "Cup"),
        ("c.csv", 2, "P3", "Pan"),
    ]
    now = log(project)
    assert now["a.csv"][:4] == ("loaded", 1, "replaced", True)
    assert now["a.csv"][4] != logged["a.csv"][4]
    assert (now["b.csv"], now["c.csv"]) == (logged["b.csv"], logged["c.csv"])
    assert project.column(
        "select distinct _modified_ns from staging.base_products where _file like '%b.csv'"
    ) == [1_700_000_000_000_000_000]
    # The two rows that are of no file any more tell incremental marts what is gone.
    assert project.column("select count(*) from landing.products") == [5]

    project.land("products/a.csv", "nothing now\n")
    build(project)
    assert [row[0] for row in rows(project)] == ["b.csv", "c.csv"]
    assert log(project)["a.csv"][:2] == ("refused", 0)


def test_the_same_content_counts_once_whatever_it_is_called(project: Project) -> None:
    sample = (project.folder / "seeds/shop/products.csv").read_bytes()
    project.land("products/a.csv", HEADER + MUG, age_seconds=100)
    project.land("products/0-copy.csv", HEADER + MUG)
    project.land("products/packed.csv.gz", gzip.compress((HEADER + MUG).encode()))
    project.land("products/sample.csv", sample)
    outcome = build(project, sample=True)
    assert {file: state for file, (state, *_) in log(project).items()} == {
        "products.csv": "loaded",
        "a.csv": "loaded",
        "0-copy.csv": "duplicate",
        "packed.csv.gz": "duplicate",
        "sample.csv": "duplicate",
    }
    said = "\n".join(outcome.lines)
    for name, first in (
        ("0-copy.csv", "landing/products/a.csv"),
        ("packed.csv.gz", "landing/products/a.csv"),
        ("sample.csv", "seeds/shop/products.csv"),
    ):
        assert f"landing/products/{name} is refused: it has the same content as {first}" in said
    assert project.column("select count(*) from staging.base_products where product_id = 'P1'") == [
        1
    ]
    assert (
        "feed products mixes the sample (seeds/shop/products.csv) with 1 file of landing/products; "
        "WAREHOUSE_SAMPLE_DATA=0 leaves the sample out" in said
    )

    # Without the sample its copy counts.
    outcome = build(project)
    assert log(project)["sample.csv"][0] == "loaded"
    assert "products.csv" not in log(project)
    assert "mixes" not in "\n".join(outcome.lines)
    assert {row[0] for row in rows(project)} == {"a.csv", "sample.csv"}


def test_a_file_that_vanished_keeps_its_rows_until_a_full_refresh(project: Project) -> None:
    gone = project.land("products/a.csv", HEADER + MUG)
    project.land("products/b.csv", HEADER + CUP)
    build(project)
    gone.unlink()
    build(project)
    assert rows(project) == [("a.csv", 2, "P1", "Mug"), ("b.csv", 2, "P2", "Cup")]
    assert log(project)["a.csv"][:4] == ("loaded", 1, "new", False)
    build(project, "--full-refresh")
    assert rows(project) == [("b.csv", 2, "P2", "Cup")]


def test_a_renamed_file_keeps_its_rows_under_its_new_name(project: Project) -> None:
    old = project.land("products/a.csv", HEADER + MUG)
    build(project)
    old.rename(old.with_name("renamed.csv"))
    build(project)
    assert rows(project) == [("renamed.csv", 2, "P1", "Mug")]
    assert {name: entry[0] for name, entry in log(project).items()} == {"renamed.csv": "loaded"}


def test_a_contract_that_changed_reads_the_files_again_and_misses_those_that_vanished(
    project: Project,
) -> None:
    free = "P5,Gift,Kitchen,0,1\n"
    project.land("products/a.csv", HEADER + MUG + free)
    gone = project.land("products/b.csv", HEADER + CUP)
    build(project)
    project.edit(
        "models/staging/shop/_shop__sources.yml",
        "aliases: [id]\n",
        "aliases: [id, sku]\n",
    )
    build(project)
    assert len(rows(project)) == 3
    gone.unlink()
    build(project)
    assert len(rows(project)) == 3

    contract = "models/staging/shop/_shop__sources.yml"
    place = (project.folder / contract).read_text().index("name: price")
    text = (project.folder / contract).read_text()
    changed = text[:place] + text[place:].replace("minimum: 0", "exclusive_minimum: 0", 1)
    (project.folder / contract).write_text(changed)
    outcome = build(project, exit_code=1)
    said = " ".join(" ".join(outcome.lines).split())
    assert (
        "the contract or the macros of feed products changed, so its files must be read again, and "
        "landing/products/b.csv is gone. Put them back, or go on without their rows: "
        "dbt build --full-refresh" in said
    )
    assert len(rows(project)) == 3, "nothing is lost by the error"

    project.land("products/b.csv", HEADER + CUP)
    build(project)
    assert project.query(
        "select parse_filename(_file), product_id, _reasons from staging.base_products order by all"
    ) == [
        ("a.csv", "P1", None),
        ("a.csv", "P5", ['price: "0" is not > 0']),
        ("b.csv", "P2", None),
    ]


def test_the_newest_file_wins_a_repeated_key_and_gives_it_back_when_it_goes(
    project: Project,
) -> None:
    project.land("products/a.csv", HEADER + MUG + CUP, age_seconds=100)
    project.land("products/b.csv", HEADER + "P1,New mug,Kitchen,11,1\nP1,Newest,Kitchen,12,1\n")

    def winners() -> list[tuple[object, ...]]:
        return project.query(
            "select product_id, name, parse_filename(source_file) from staging.stg_products"
            " order by all"
        )

    build(project)
    assert winners() == [("P1", "Newest", "b.csv"), ("P2", "Cup", "a.csv")]
    assert project.query(
        "select parse_filename(_file), _line_number, _reasons"
        " from staging.base_products_repeats order by all"
    ) == [
        ("a.csv", 2, ['product_id: "P1" repeats; line 3 of landing/products/b.csv is kept']),
        ("b.csv", 2, ['product_id: "P1" repeats; line 3 is kept']),
    ]
    project.land("products/b.csv", HEADER + PAN)
    build(project)
    assert winners() == [("P1", "Mug", "a.csv"), ("P2", "Cup", "a.csv"), ("P3", "Pan", "b.csv")]
    assert project.query("select * from staging.base_products_repeats") == []


@pytest.mark.parametrize(
    "name", ["a[1].csv", "a*.csv", "a?.csv", 'it\'s 100% {odd}, "new".csv', "ä (1).csv"]
)
def test_a_name_with_odd_letters_means_that_file_alone(project: Project, name: str) -> None:
    project.land(f"products/{name}", HEADER + MUG)
    project.land("products/a1.csv", HEADER + CUP)
    build(project)
    assert sorted(rows(project)) == sorted([("a1.csv", 2, "P2", "Cup"), (name, 2, "P1", "Mug")])


# --- Without the sample ---------------------------------------------------------------------------


def test_without_sample_and_files_all_is_empty_and_green_and_one_feed_alone_works(
    project: Project,
) -> None:
    outcome = project.build(**NO_SAMPLE)
    assert outcome.exit_code == 0, outcome.lines
    health = dict(project.query("select feed, rows_read from marts.feed_health"))
    assert health.pop("fx_rates") > 0, "a reference seed is always read"
    assert len(health) == 10
    assert set(health.values()) == {0}

    project.land(
        "ads_spend/a.csv",
        "date,platform,account,campaign,country,device,spend,clicks,impressions,conversions\n"
        "2024-01-01,Meta,a,c,BR,mobile,10.50,3,100,2\n",
    )
    outcome = project.build(**NO_SAMPLE)
    assert outcome.exit_code == 0, outcome.lines
    ((spend, conversions),) = project.query(
        "select cast(sum(spend) as varchar), sum(conversions) from marts.ads_performance_daily"
    )
    assert (spend, int(conversions)) == ("10.50", 2)


def test_the_reference_seed_is_read_without_the_sample_and_is_no_mix(project: Project) -> None:
    project.land(
        "fx_rates/a.csv", "rate_date,from_currency,to_currency,rate\n2030-01-01,EUR,USD,1\n"
    )
    outcome = project.dbt(
        "build", "--select", "fx_rates", "base_fx_rates", **ALONE, WAREHOUSE_SAMPLE_DATA="0"
    )
    assert outcome.exit_code == 0, outcome.lines
    assert project.column("select distinct _file from staging.base_fx_rates order by 1") == [
        "landing/fx_rates/a.csv",
        "seeds/shop/fx_rates.csv",
    ]
    assert not any("mixes" in line for line in outcome.lines)


def test_a_sample_setting_that_is_neither_is_one_line(project: Project) -> None:
    outcome = project.build(WAREHOUSE_SAMPLE_DATA="no")
    assert outcome.exit_code != 0
    assert [line for line in outcome.lines if "WAREHOUSE_SAMPLE_DATA" in line] == [
        line for line in outcome.lines if line.startswith("error:")
    ]
    assert "WAREHOUSE_SAMPLE_DATA is 'no'; it must be 1 or 0" in "\n".join(outcome.lines)
    assert "Traceback" not in outcome.out + outcome.err


# --- A killed build -------------------------------------------------------------------------------


def test_a_build_that_is_killed_while_it_loads_loses_nothing(project: Project) -> None:
    nodes = ("--select", "order_items", "base_order_items")
    header = "order_id,product_id,quantity,ordered_at\n"
    project.land("order_items/small.csv", header + "O1,P1,1,\n", age_seconds=100)
    project.land("order_items/old.csv", header + "O2,P1,1,\nO3,P1,1,\n", age_seconds=100)
    outcome = project.dbt("build", *nodes, **ALONE, **NO_SAMPLE)
    assert outcome.exit_code == 0, outcome.lines
    before = project.query("select * from staging.base_order_items order by _file, _line_number")
    assert len(before) == 3

    many = 3_000_000
    lines = "O{0},P1,3,2024-01-01 10:00:00\nO{0},P2,0,2024-01-02 10:00:00\nO{0},P3,3,\n"
    project.land(
        "order_items/old.csv",
        header + "".join(lines.format(number) for number in range(100)) * (many // 300),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "build", *nodes],
        cwd=project.folder,
        env=own_environment() | ALONE | NO_SAMPLE | {"DBT_PROFILES_DIR": "profiles"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "START" in line and "base_order_items" in line:
                break
        time.sleep(1.0)
        assert process.poll() is None, "the build ended before it was killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()

    assert project.column("select rows_read from landing.order_items_files order by file") == [2, 1]
    assert (
        project.query("select * from staging.base_order_items order by _file, _line_number")
        == before
    )
    outcome = project.dbt("build", *nodes, **ALONE, **NO_SAMPLE)
    assert outcome.exit_code == 0, outcome.lines
    assert project.query(
        "select parse_filename(_file), count(*), count(_reasons), min(_line_number),"
        " max(_line_number) from staging.base_order_items group by all order by all"
    ) == [("old.csv", many, many // 3, 2, many + 1), ("small.csv", 1, 0, 2, 2)]
    assert project.column("select count(*) from staging.base_order_items") == [many + 1]
