"""A mart that a person adds in SQL and YAML is served, without a line of Python."""

from __future__ import annotations

import csv
import filecmp
import io
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml

from tests.api.server import Server
from tests.api.support import NO_LIMITS, Api, Number, Row, as_problem, json_rows, parsed
from tests.models.plain_python import Feed, day_of, read_feed, rounded
from tests.support import ROOT, Project

SQL = """\
-- Hires of each department by month.
-- Grain: one row per month and department.
with

hires as (

    select * from {{ ref('stg_hired_employees') }}

),

departments as (

    select * from {{ ref('stg_departments') }}

),

by_month as (

    select
        substr(cast(hires.hire_date as string), 1, 7) as month,
        coalesce(departments.department_id, 0) as department_id,
        coalesce(departments.department, 'Nobody''s') as department,
        count(*) as hires,
        max(hires.hire_date) as last_day
    from hires
    left join departments
        on hires.department_id = departments.department_id
    group by month, departments.department_id, departments.department

)

select
    month,
    cast(department_id as bigint) as department_id,
    department,
    hires,
    cast(100 * hires as decimal(18, 2)) / 30 as per_day_pct,
    cast(hires as double) / 7e6 as per_week,
    cast(hires as smallint) as short,
    last_day,
    hires < 3 as is_small
from by_month
"""

YAML: Row = {
    "version": 2,
    "models": [
        {
            "name": "hires_by_month",
            "description": "Hires of each department by month. Made by a test.",
            "config": {
                "meta": {
                    "grain": ["month", "department_id"],
                    "api": {
                        "scope": "hiring",
                        "route": "metrics/hires-by-month",
                        "filters": {
                            "since": "last_day.gte",
                            "until": "last_day.lt",
                            "departments": "department.in",
                            "not_month": "month.ne",
                        },
                        "order": ["-hires", "month"],
                        "default_limit": 5,
                        "hide": {
                            "is_small": {"equals": True, "unless": "include_small"},
                            "department": {"equals": "Nobody's"},
                        },
                        "example": {"month": "2025-01", "department_id": 1, "hires": 3},
                    },
                }
            },
            "data_tests": ["grain"],
            "columns": [
                {"name": "month", "data_type": "string", "description": "Month."},
                {"name": "department_id", "data_type": "bigint", "description": "Id; 0: none."},
                {"name": "department", "data_type": "string", "description": "Name."},
                {
                    "name": "hires",
                    "data_type": "bigint",
                    "description": "Hires of the month.",
                    "config": {"meta": {"formula": "count of hires | by month"}},
                },
                {"name": "per_day_pct", "data_type": "double", "description": "A long fraction."},
                {"name": "per_week", "data_type": "double", "description": "A small number."},
                {"name": "short", "data_type": "smallint", "description": "A small type."},
                {"name": "last_day", "data_type": "date", "description": "Day of the last one."},
                {"name": "is_small", "data_type": "boolean", "description": "Under 3 hires."},
            ],
        }
    ],
    "unit_tests": [
        {
            "name": "hires_of_one_month_are_counted",
            "model": "hires_by_month",
            "given": [
                {
                    "input": "ref('stg_hired_employees')",
                    "rows": [
                        {"hire_id": 1, "department_id": 1, "hire_date": "2025-01-31"},
                        {"hire_id": 2, "department_id": 1, "hire_date": "2025-01-01"},
                        {"hire_id": 3, "department_id": 9, "hire_date": "2025-01-01"},
                    ],
                },
                {
                    "input": "ref('stg_departments')",
                    "rows": [{"department_id": 1, "department": "A"}],
                },
            ],
            "expect": {
                "rows": [
                    {"month": "2025-01", "department_id": 1, "hires": 2, "last_day": "2025-01-31"},
                    {"month": "2025-01", "department_id": 0, "hires": 1, "last_day": "2025-01-01"},
                ]
            },
        }
    ],
}  # fmt: skip

HIRING = ("hires_by_quarter", "departments_above_mean")
LAST_LINE = (
    "select 'hires_by_month' as mart, count(*) as row_count from {{ ref('hires_by_month') }}\n"
)


def cut_down(project: Project) -> None:
    """Leave the models of hiring only, so that the build takes seconds."""
    for layer in ("marts", "intermediate", "staging"):
        for area in ("marketing", "shop", "marketplace", "quality"):
            for file in (project.folder / "models" / layer / area).glob("*"):
                if file.suffix != ".md":  # texts that others refer to
                    file.unlink()
    shutil.rmtree(project.folder / "models/quality")
    for area in ("marketing", "shop", "marketplace"):
        shutil.rmtree(project.folder / "seeds" / area)
    for test in (project.folder / "tests/data").glob("*.sql"):
        test.unlink()
    file = project.folder / "models/publication/publication.sql"
    head = [line for line in file.read_text().splitlines() if line.startswith("--")]
    reads = [
        f"select '{mart}' as mart, count(*) as row_count from {{{{ ref('{mart}') }}}}"
        for mart in HIRING
    ]
    file.write_text("\n".join([*head, "\nunion all\n".join(reads)]) + "\n")


def python_of(folder: Path) -> dict[str, bytes]:
    """Every Python file of the API and the publication."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for part in ("api", "warehouse")
        for file in sorted((folder / part).rglob("*.py"))
    }


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, built: Project) -> Project:
    """A project with one mart more, built and published."""
    folder = tmp_path_factory.mktemp("extended") / "project"
    project = Project(folder, parsed_from=built)
    cut_down(project)
    marts = folder / "models/marts/hiring"
    (marts / "hires_by_month.sql").write_text(SQL)
    (marts / "_hires_by_month__models.yml").write_text(yaml.safe_dump(YAML, sort_keys=False))
    publication = folder / "models/publication/publication.sql"
    publication.write_text(publication.read_text() + "union all\n" + LAST_LINE)
    outcome = project.dbt("build")
    assert outcome.exit_code == 0, outcome.out[-3000:]
    assert "3 marts" in outcome.out
    assert python_of(folder) == python_of(ROOT)
    assert filecmp.cmp(folder / "dbt_project.yml", ROOT / "dbt_project.yml", shallow=False)
    return project


@pytest.fixture(scope="module")
def new_api(extended: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("new_api")
    with Server(folder, WAREHOUSE_PUBLISHED=str(extended.published.path), **NO_LIMITS) as server:
        yield Api(server)


@pytest.fixture(scope="module")
def expected(extended: Project) -> list[Row]:
    """The rows of the mart, from the files, in the order of the route."""
    seeds = extended.folder / "seeds"
    departments: Feed = read_feed("departments", seeds)
    names = {row["id"]: row["department"] for row in departments.accepted}
    count: Counter[tuple[str, int]] = Counter()
    last: dict[tuple[str, int], date] = {}
    for row in read_feed("hired_employees", seeds).accepted:
        day = day_of(row["datetime"])
        known = row["department_id"] if row["department_id"] in names else 0
        key = f"{day:%Y-%m}", known
        count[key] += 1
        last[key] = max(day, last.get(key, day))
    rows = [
        {
            "month": month,
            "department_id": number,
            "department": names.get(number, "Nobody's"),
            "hires": hires,
            "per_day_pct": float(rounded(Decimal(100 * hires), 2)) / 30,
            "per_week": hires / 7e6,
            "short": hires,
            "last_day": last[month, number],
            "is_small": hires < 3,
        }
        for (month, number), hires in count.items()
    ]
    return sorted(rows, key=lambda row: (-row["hires"], row["month"], row["department_id"]))


def shown(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not row["is_small"] and row["department"] != "Nobody's"]


def typed(rows: list[Row]) -> list[Row]:
    """Rows of an answer, with doubles as floats."""
    return [
        {name: float(v.text) if isinstance(v, Number) else v for name, v in row.items()}
        for row in rows
    ]


def test_the_new_route_shows_its_rows_in_its_order(new_api: Api, expected: list[Row]) -> None:
    everything = shown(expected)
    assert 20 < len(everything) < len(expected)
    page = new_api.page("metrics/hires-by-month")
    assert typed(page["data"]) == json_rows(everything[:5])
    assert page["meta"]["next"]
    assert typed(new_api.walk("metrics/hires-by-month", {"limit": "7"})) == json_rows(everything)
    flagged = new_api.walk("metrics/hires-by-month", {"include_small": "true", "limit": "1000"})
    assert typed(flagged) == json_rows([row for row in expected if row["department_id"]])


def test_the_new_route_filters_as_declared(new_api: Api, expected: list[Row]) -> None:
    names = sorted({row["department"] for row in expected if "," in row["department"]})[:2]
    query = {
        "since": "2025-03-01",
        "until": "2025-09-30",
        "departments": ",".join(f'"{name}"' for name in names),
        "not_month": "2025-06",
        "limit": "1000",
    }
    wanted = [
        row
        for row in shown(expected)
        if date(2025, 3, 1) <= row["last_day"] < date(2025, 9, 30)
        and row["department"] in names
        and row["month"] != "2025-06"
    ]
    assert len(wanted) > 3
    assert typed(new_api.rows("metrics/hires-by-month", query)) == json_rows(wanted)
    problem = as_problem(
        new_api.get("metrics/hires-by-month", {"month": "2025-01"}), 400, "unknown-parameter"
    )
    assert problem["known"][:5] == ["since", "until", "departments", "not_month", "include_small"]
    as_problem(new_api.get("metrics/hires-by-month", {"since": "soon"}), 400, "bad-parameter")


@pytest.mark.parametrize(
    "order", ["per_week", "-per_day_pct,month", "is_small,-last_day", "-short"]
)
def test_the_new_mart_walks_in_any_order(order: str, new_api: Api, expected: list[Row]) -> None:
    rows = sorted(expected, key=lambda row: (row["month"], row["department_id"]))
    for term in reversed(order.split(",")):
        name = term.removeprefix("-")
        rows.sort(key=lambda row, n=name: row[n], reverse=term.startswith("-"))  # type: ignore[misc]
    query = {"order": order, "limit": "23"}
    assert typed(new_api.walk("marts/hires_by_month", query)) == json_rows(rows)


def test_the_new_mart_comes_in_all_formats(new_api: Api, expected: list[Row]) -> None:
    rows = shown(expected)[:5]
    text = new_api.get("metrics/hires-by-month.csv").body.decode()
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["month"] for row in found] == [row["month"] for row in rows]
    assert [float(row["per_week"]) for row in found] == [row["per_week"] for row in rows]
    assert [int(row["short"]) for row in found] == [row["short"] for row in rows]
    body = new_api.get("metrics/hires-by-month.parquet").body
    table: Any = pyarrow.parquet.read_table(io.BytesIO(body))
    assert table.to_pylist() == rows


def test_the_new_mart_needs_the_scope_it_declares(new_api: Api) -> None:
    for path in ("metrics/hires-by-month", "marts/hires_by_month"):
        as_problem(new_api.get(path, scopes=("shop",)), 403, "missing-scope")
        assert new_api.get(path, scopes=("hiring",)).status == 200
    assert new_api.rows("marts", scopes=("shop",)) == []


def test_the_new_mart_is_described(new_api: Api, expected: list[Row]) -> None:
    listed = {row["mart"]: row for row in new_api.rows("marts")}
    assert listed.keys() == {*HIRING, "hires_by_month"}
    row = listed["hires_by_month"]
    assert row["rows"] == len(expected)
    assert row["route"] == "/api/v1/metrics/hires-by-month"
    assert [column["type"] for column in row["columns"]] == [
        *("VARCHAR", "BIGINT", "VARCHAR", "BIGINT", "DOUBLE", "DOUBLE", "SMALLINT"),
        *("DATE", "BOOLEAN"),
    ]
    document = parsed(new_api.get("/api/v1/openapi.json", scopes=()).body)
    operation = document["paths"]["/api/v1/metrics/hires-by-month"]["get"]
    names = [parameter["name"] for parameter in operation["parameters"]]
    assert names[:5] == ["since", "until", "departments", "not_month", "include_small"]
    assert "count of hires \\| by month" in operation["description"]
    assert "/api/v1/marts/hires_by_month" in document["paths"]
    # What is computed from marts that are not there is not there either.
    assert "/api/v1/metrics" not in document["paths"]
    as_problem(new_api.get("feedback"), 404, "unknown-resource")
    assert b"hires_by_month" in new_api.get("/", scopes=()).body
