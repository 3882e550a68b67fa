"""Seeds load as text through DuckDB's CSV reader, in every shape people save."""

from __future__ import annotations

import json
import re

import pytest

from tests.support import ALONE, Project

ROWS = "product_id,name,category,price,inventory_count\nP1,Mug,Kitchen,9.90,3\nP2,Cup,Kitchen,5,\n"


def seed(project: Project, content: str | bytes) -> None:
    """Make this the products file, and load and judge it."""
    project.write_seed("shop/products.csv", content)
    outcome = project.dbt("build", "--select", "products", "base_products", **ALONE)
    assert outcome.exit_code == 0, outcome.lines


def products(project: Project) -> list[tuple[object, ...]]:
    return project.query(
        "select product_id, name, cast(price as varchar), inventory_count, _line_number"
        " from staging.base_products order by _line_number"
    )


MUG_AND_CUP = [("P1", "Mug", "9.90", 3, 2), ("P2", "Cup", "5.00", None, 3)]


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        ROWS.replace("\n", "\r\n"),
        ROWS.rstrip("\n"),
        "\ufeff" + ROWS,
        ROWS.replace(",", ";"),
        ROWS.replace(",", "\t"),
        ROWS.replace("product_id", "ID"),
        ROWS.replace("product_id", ' "Product_Id" ').replace("name", " NAME"),
        ROWS.replace("Mug", "'Mug'").replace("9.90", ' " 9.90 "'.replace('"', "'")),
        ROWS.replace("Mug", '"Mug"'),
    ],
    ids=[
        *("plain", "crlf", "no final newline", "bom", "semicolon", "tab"),
        *("alias", "case and blanks in the header", "quoted by hand", "quoted"),
    ],
)
def test_every_shape_of_a_csv_gives_the_same_rows(project: Project, content: str) -> None:
    seed(project, content)
    assert products(project) == MUG_AND_CUP


def test_columns_may_come_in_any_order_and_unknown_ones_are_reported(project: Project) -> None:
    project.write_seed(
        "shop/products.csv",
        "note,inventory_count,price,category,name,id\nfragile,3,9.90,Kitchen,Mug,P1\n",
    )
    outcome = project.build("--select", "products", "base_products", **ALONE)
    assert outcome.exit_code == 0, outcome.lines
    assert any(
        line.startswith("warning: seeds/shop/products.csv: ignored column note")
        for line in outcome.lines
    )
    assert products(project) == [("P1", "Mug", "9.90", 3, 2)]
    assert project.column("select note from seeds.products") == ["fragile"]


def test_blank_lines_and_line_breaks_in_fields_do_not_shift_line_numbers(project: Project) -> None:
    seed(
        project,
        "product_id,name,category,price,inventory_count\n"
        "P1,Mug,Kitchen,9.90,3\n"
        "\n"
        'P2,"Cup\nand ""saucer""",Kitchen,5,\n'
        "P3,Pan,Kitchen,-1,\n",
    )
    assert project.query(
        "select product_id, _line_number, _reasons from staging.base_products order by all"
    ) == [("P1", 2, None), ("P2", 4, None), ("P3", 6, ['price: "-1" is not >= 0'])]


def test_a_headerless_file_is_accepted_for_the_feeds_that_say_so(project: Project) -> None:
    project.write_seed("hiring/jobs.csv", "1;Recruiter, senior\nx;Nobody\n2;Analyst\n")
    outcome = project.dbt("build", "--select", "jobs", "base_jobs", **ALONE)
    assert outcome.exit_code == 0, outcome.lines
    assert project.query(
        "select id, job, _line_number, _reasons from staging.base_jobs order by _line_number"
    ) == [
        (1, "Recruiter, senior", 1, None),
        (None, "Nobody", 2, ['id: "x" is not an integer']),
        (2, "Analyst", 3, None),
    ]


def test_a_header_in_other_words_is_no_row_of_a_seed_without_header(project: Project) -> None:
    project.write_seed(
        "hiring/hired_employees.csv",
        "IdEmpleado,NombreCompleto,FechaContratacion,IdCargo,IdDepto\n"
        "9001,Ana,2026-01-12T09:00:00Z,2,1\n",
    )
    outcome = project.dbt("seed", "--select", "hired_employees")
    assert outcome.exit_code != 0
    assert "missing column id, datetime; the header says idempleado" in outcome.out


def test_the_name_of_a_column_of_a_seed_beats_its_alias(project: Project) -> None:
    project.write_seed("shop/order_items.csv", "id,order_id,product_id,quantity\nL1,O1,P1,2\n")
    outcome = project.dbt("build", "--select", "order_items", "base_order_items", **ALONE)
    assert outcome.exit_code == 0, outcome.lines
    assert project.query("select order_id, product_id, quantity from staging.base_order_items") == [
        ("O1", "P1", 2)
    ]


def test_all_columns_of_a_seed_are_text(built: Project) -> None:
    types = set(
        built.column(
            "select data_type from duckdb_columns()"
            " where schema_name = 'seeds' and column_name <> '_line_number'"
        )
    )
    assert types == {"VARCHAR"}


def test_seeding_again_replaces_the_rows(project: Project) -> None:
    seed(project, ROWS)
    seed(project, ROWS + "P3,Pan,Kitchen,20,1\n")
    assert len(products(project)) == 3
    outcome = project.dbt("seed", "--full-refresh", "--select", "products")
    assert outcome.exit_code == 0, outcome.lines
    assert project.column("select count(*) from seeds.products") == [3]
    assert project.column("select table_name from duckdb_tables() where schema_name = 'seeds'") == [
        "products"
    ]


def test_seed_show_prints_the_first_rows(project: Project) -> None:
    project.write_seed("shop/products.csv", ROWS)
    outcome = project.dbt("seed", "--select", "products", "--show")
    assert outcome.exit_code == 0, outcome.lines
    assert re.search(r"P1\W+Mug\W+Kitchen\W+9.90", outcome.out)
    assert "_line_number" not in outcome.out
    assert re.search(r"OK loaded seed file seeds.products .*\[INSERT 2 in", outcome.out)


def test_a_test_on_a_seed_runs(project: Project) -> None:
    project.edit(
        "seeds/_seeds.yml",
        "  - name: products\n",
        "  - name: products\n    columns:\n      - name: product_id\n"
        "        data_tests: [unique]\n",
    )
    project.write_seed("shop/products.csv", ROWS + "P1,Mug again,Kitchen,1,1\n")
    outcome = project.dbt("build", "--select", "products", **ALONE)
    assert outcome.exit_code == 1
    assert "FAIL 1 unique_products_product_id" in outcome.out


def test_a_column_type_on_a_seed_is_refused_since_it_would_have_no_effect(
    project: Project,
) -> None:
    project.edit(
        "seeds/_seeds.yml",
        "  - name: products\n",
        "  - name: products\n    config: {column_types: {price: integer}}\n",
    )
    outcome = project.build("--select", "products", **ALONE)
    assert outcome.exit_code == 1
    assert outcome.lines[-2].startswith("error: seeds/shop/products.csv: column_types")


def test_the_lineage_of_a_seed_is_kept(built: Project) -> None:
    results = json.loads((built.folder / "target/run_results.json").read_text())["results"]
    statuses = {
        result["unique_id"]: result["status"]
        for result in results
        if result["unique_id"].startswith("seed.")
    }
    assert len(statuses) == 11
    assert set(statuses.values()) == {"success"}
