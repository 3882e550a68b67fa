"""What is expected of the marketplace: sales by category and country, and who buys again."""

from __future__ import annotations

import great_expectations.expectations as gxe

from expectations.suites import WARNING, Suite, between, day, filled, key, trimmed

SALES_BY_CATEGORY_DAILY = Suite(
    area="marketplace",
    mart="sales_by_category_daily",
    columns={
        "date": "DATE",
        "category": "VARCHAR",
        "sales_count": "BIGINT",
        "revenue": "DECIMAL(28,6)",
    },
    expectations=[
        *day("date"),
        *trimmed("category"),
        gxe.ExpectColumnUniqueValueCountToBeBetween(column="category", min_value=1, max_value=13),
        between("sales_count", 1, None, notes="A day without sales has no row."),
        between("revenue", 0, None),
    ],
)

COUNTRY_CONTRIBUTION = Suite(
    area="marketplace",
    mart="country_contribution",
    columns={
        "id_country": "VARCHAR",
        "country": "VARCHAR",
        "continent": "VARCHAR",
        "revenue": "DECIMAL(28,2)",
        "items": "BIGINT",
        "revenue_pct": "DECIMAL(28,2)",
        "items_pct": "DECIMAL(28,2)",
    },
    expectations=[
        gxe.ExpectColumnValuesToBeUnique(column="id_country"),
        *trimmed("id_country", "country", "continent"),
        between("revenue_pct", 0, 100),
        between("items_pct", 0, 100),
        between("items", 1, None, notes="Countries without sales have no row."),
    ],
)

COUNTRY_OVERALL = Suite(
    area="marketplace",
    mart="country_contribution",
    part="overall",
    query="""
        select
            cast(sum(revenue_pct) as double) as revenue_pct_total,
            cast(sum(items_pct) as double) as items_pct_total,
            max(abs(items_pct - 100.0 * items / nullif(all_items, 0))) as items_pct_difference,
            max(abs(revenue_pct - 100 * cast(revenue as double) / nullif(all_revenue, 0)))
                as revenue_pct_difference,
            cast(sum(items) filter (where id_country = 'Unknown') as double) / max(all_items)
                as unknown_share
        from (
            select
                *,
                sum(items) over () as all_items,
                cast(sum(revenue) over () as double) as all_revenue
            from mart
        )
    """,
    expectations=[
        # Each share is rounded to two decimals, and there are some 250 countries.
        between("revenue_pct_total", 98.7, 101.3, notes="All countries together are 100 %."),
        between("items_pct_total", 98.7, 101.3, notes="All countries together are 100 %."),
        between("revenue_pct_difference", 0, 0.02, notes="100 x revenue / revenue of all."),
        between("items_pct_difference", 0, 0.02, notes="100 x items / items of all."),
        between("unknown_share", 0, 0.2, severity=WARNING),
    ],
)

COUNTRY_RELATIONSHIPS = Suite(
    area="marketplace",
    mart="country_relationships",
    columns={
        "country_a": "VARCHAR",
        "country_b": "VARCHAR",
        "combined_revenue": "DECIMAL(28,2)",
        "sales_count": "BIGINT",
        "revenue_rank": "BIGINT",
    },
    query="""
        select
            *,
            case when country_a <= country_b then 1 else 0 end as is_ordered,
            combined_revenue - lag(combined_revenue) over (order by revenue_rank) as rise
        from mart
        order by revenue_rank
    """,
    expectations=[
        *trimmed("country_a", "country_b"),
        between("is_ordered", 1, 1, notes="country_a stands before country_b."),
        between("combined_revenue", 0, None),
        between("sales_count", 1, None, notes="Pairs without sales have no row."),
        gxe.ExpectColumnValuesToBeIncreasing(column="revenue_rank", strictly=True),
        gxe.ExpectColumnMinToBeBetween(column="revenue_rank", min_value=1, max_value=1),
        between("rise", None, 0, notes="A later rank has no more revenue."),
    ],
)

REPEAT_BUYER_REVENUE = Suite(
    area="marketplace",
    mart="repeat_buyer_revenue",
    columns={
        "month": "VARCHAR",
        "repeat_buyers": "BIGINT",
        "week1_revenue": "DECIMAL(28,2)",
        "week2_revenue": "DECIMAL(28,2)",
        "change_pct": "DECIMAL(28,2)",
    },
    query="""
        select
            month,
            repeat_buyers,
            change_pct,
            date_diff('month', lag(first_day) over (order by first_day), first_day)
                as months_since_last
        from (select *, cast(month || '-01' as date) as first_day from mart)
        order by first_day
    """,
    expectations=[
        gxe.ExpectColumnValuesToMatchRegex(
            column="month", regex=r"^[0-9]{4}-(?:0[1-9]|1[0-2])$", notes="Such as 2021-01."
        ),
        between("months_since_last", 1, 1, notes="No month between two others is left out."),
        between("repeat_buyers", 0, None),
        between("change_pct", -100, None, notes="Revenue cannot fall by more than all of it."),
    ],
)

SALES = Suite(
    area="marketplace",
    mart="stg_sales",
    expectations=[
        *filled("brand", share=0.3, severity=WARNING),
        *trimmed("id_order", "id_product", "id_seller_country", "id_buyer_country", "brand"),
        *day("payment_date"),
        between("revenue", 0, None),
    ],
)

COUNTRIES = Suite(
    area="marketplace",
    mart="stg_countries",
    expectations=[
        *key("id_country"),
        *trimmed("id_country", "country", "continent"),
        gxe.ExpectColumnUniqueValueCountToBeBetween(
            column="continent", min_value=1, max_value=30, severity=WARNING
        ),
        gxe.ExpectTableRowCountToBeBetween(max_value=400, severity=WARNING),
    ],
)

SUITES = (
    *(SALES_BY_CATEGORY_DAILY, COUNTRY_CONTRIBUTION, COUNTRY_OVERALL, COUNTRY_RELATIONSHIPS),
    *(REPEAT_BUYER_REVENUE, SALES, COUNTRIES),
)
