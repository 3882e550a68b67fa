"""From the sample to one's own files: what is left out, what stops, and the way back."""

from __future__ import annotations

from pathlib import Path

from tests.support import ALONE, Project, copy_of

ORDERS = "order_id,customer_id,order_date,total_amount,status\n"
ITEMS = "order_id,product_id,quantity,ordered_at\n"
GOOD = ORDERS + "".join(f"O{n},C1,2024-01-0{n},10,completed\n" for n in range(1, 10))
TEST = "every_feed_with_files_has_rows"


def catalogs(project: Project) -> list[dict[str, object]]:
    """The catalogs of what was published, oldest first."""
    return [
        project.published.catalog(entry.version)
        for entry in project.published.entries()
        if entry.action == "publish"
    ]


def test_ones_own_files_take_the_place_of_the_sample_and_an_empty_feed_stops(
    built: Project, tmp_path: Path
) -> None:
    project = copy_of(built, tmp_path / "project")
    # The first file of any feed; no setting says anything.
    file = project.land("orders/mine.csv", GOOD)
    outcome = project.build()
    assert outcome.exit_code == 0, outcome.lines[-20:]
    assert "the sample is left out from now on, since landing/orders/mine.csv is a file" in (
        outcome.err
    )
    health = {
        feed: (rows, has_sample)
        for feed, rows, has_sample in project.query(
            "select feed, rows_accepted, has_sample from marts.feed_health"
        )
    }
    assert health.pop("fx_rates") == (569, False), "rates of exchange stay"
    assert health.pop("orders") == (9, False)
    assert set(health.values()) == {(0, False)}
    assert [catalog["sample_data"] for catalog in catalogs(project)] == [True, False]
    listed = project.run("flask", "--app", "api", "publications", "list").lines
    assert [("contains the sample" in line, "served" in line) for line in listed[1:]] == [
        (False, True),
        (True, False),
    ]

    # Every row is rejected: nothing is published, and the old numbers stay. The file is archived
    # meanwhile, so the sample stays out though nothing of it is in the landing zone.
    project.land("orders/mine.csv", GOOD.replace("completed", "shipped"))
    outcome = project.build()
    assert outcome.exit_code == 1
    (line,) = [line for line in outcome.lines if line.startswith("failed: ")]
    assert line == (
        "failed: no row of feed orders: landing/orders/mine.csv has no row that is accepted "
        "(status is not one of completed, pending, cancelled: 9 rows)"
    )
    assert any("accept_empty_feeds" in line for line in outcome.lines)
    assert len(catalogs(project)) == 2

    # The way back: mended, and ten times as much.
    project.land("orders/mine.csv", GOOD + GOOD.replace("O", "N").replace(ORDERS, ""))
    outcome = project.build()
    assert outcome.exit_code == 0, outcome.lines[-20:]
    file.unlink()
    assert project.dbt("run", "--select", "base_orders", "base_jobs", **ALONE).exit_code == 0
    assert project.column("select file from landing.jobs_files") == []
    assert project.column("select file from landing.orders_files") == ["landing/orders/mine.csv"]


def test_a_feed_that_has_files_and_no_row_is_told_with_its_files_and_reasons(
    project: Project,
) -> None:
    project.land("orders/sheet.csv", b"PK\x03\x04 a spreadsheet")
    project.land("customers/a.csv", "customer_id,join_date\n,2024-01-01\nC1,soon\nC2,later\n")
    project.land("jobs/a.csv", "id,job\n")
    project.land("products/bad.csv", "nothing\n")
    project.land("products/good.csv", "product_id,name,category,price\nP1,Mug,Kitchen,1\n")
    project.land("fx_rates/bad.csv", "nothing\n")
    outcome = project.dbt("build", "--exclude", "expectation_results", "publication", **ALONE)
    assert outcome.exit_code == 1
    told = [line.partition("feed without rows: ")[2] for line in outcome.lines]
    customers, jobs, orders = sorted(filter(None, told))
    assert customers == (
        "customers: landing/customers/a.csv has no row that is accepted "
        "(join_date is not a date: 2 rows; customer_id is missing: 1 row)"
    )
    assert jobs == "jobs: landing/jobs/a.csv has no row"
    assert orders.startswith("orders: landing/orders/sheet.csv is refused: it ")
    failed = [line for line in outcome.lines if "FAIL" in line]
    assert len(failed) == 1, failed
    assert TEST in failed[0]
    # What a person accepts is a warning.
    accepted = project.dbt(
        *("test", "--select", TEST, "--vars", "{accept_empty_feeds: true}"), **ALONE
    )
    assert accepted.exit_code == 0, accepted.lines
    assert any("WARN 3" in line for line in accepted.lines)
