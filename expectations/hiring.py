"""What is expected of hiring: hires by quarter, and departments above the mean."""

from __future__ import annotations

import great_expectations.expectations as gxe

from expectations.suites import WARNING, Suite, between, day, filled, key, trimmed

EARLIEST_YEAR, LATEST_YEAR = 1950, 2100

HIRES_BY_QUARTER = Suite(
    area="hiring",
    mart="hires_by_quarter",
    columns={
        "year": "BIGINT",
        "department_id": "BIGINT",
        "department": "VARCHAR",
        "job_id": "BIGINT",
        "job": "VARCHAR",
        "q1": "BIGINT",
        "q2": "BIGINT",
        "q3": "BIGINT",
        "q4": "BIGINT",
        "total": "BIGINT",
        "is_unknown": "BOOLEAN",
    },
    query="""
        select
            *,
            q1 + q2 + q3 + q4 - total as quarters_difference
        from mart
    """,
    expectations=[
        between("year", EARLIEST_YEAR, LATEST_YEAR),
        *trimmed("department", "job"),
        between("total", 1, 1_000_000, notes="Without hires there is no row."),
        between("quarters_difference", 0, 0, notes="The quarters are the year."),
    ],
)

HIRES_OVERALL = Suite(
    area="hiring",
    mart="hires_by_quarter",
    part="overall",
    query="""
        select
            cast(sum(total) filter (where is_unknown) as double) / sum(total) as unknown_share,
            cast(greatest(sum(q1), sum(q2), sum(q3), sum(q4)) as double) / sum(total)
                as largest_quarter_share
        from mart
        having sum(total) >= 100
    """,
    expectations=[
        between("unknown_share", 0, 0.3, severity=WARNING),
        between(
            "largest_quarter_share",
            0.25,
            0.95,
            severity=WARNING,
            notes="All hires in one quarter: a month and a day that changed places, or one file.",
        ),
    ],
)

DEPARTMENTS_ABOVE_MEAN = Suite(
    area="hiring",
    mart="departments_above_mean",
    columns={
        "year": "BIGINT",
        "id": "BIGINT",
        "department": "VARCHAR",
        "hired": "BIGINT",
        "mean_hired": "DECIMAL(28,2)",
        "is_above_mean": "BOOLEAN",
    },
    query="""
        select
            *,
            cast(mean_hired as double) - avg(hired) over (partition by year) as mean_difference,
            case
                when is_above_mean then hired - avg(hired) over (partition by year)
                else avg(hired) over (partition by year) - hired
            end as distance
        from mart
    """,
    expectations=[
        between("year", EARLIEST_YEAR, LATEST_YEAR),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["year", "id"]),
        *trimmed("department"),
        between("hired", 1, 1_000_000),
        between("mean_difference", -0.0051, 0.0051, notes="The mean of the year's rows."),
        between("distance", 0, None, notes="is_above_mean says on which side of the mean."),
    ],
)

DEPARTMENTS = Suite(
    area="hiring",
    mart="stg_departments",
    expectations=[
        *key("department_id"),
        *trimmed("department"),
        between("department_id", 0, None),
    ],
)

JOBS = Suite(
    area="hiring",
    mart="stg_jobs",
    expectations=[
        *key("job_id"),
        *trimmed("job"),
        between("job_id", 0, None),
    ],
)

HIRED_EMPLOYEES = Suite(
    area="hiring",
    mart="stg_hired_employees",
    expectations=[
        *key("hire_id"),
        *filled("department_id", "job_id", share=0.7, severity=WARNING),
        *day("hire_date"),
    ],
)

SUITES = (
    *(HIRES_BY_QUARTER, HIRES_OVERALL, DEPARTMENTS_ABOVE_MEAN),
    *(DEPARTMENTS, JOBS, HIRED_EMPLOYEES),
)
