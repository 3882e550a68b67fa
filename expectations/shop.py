"""What is expected of the shop: orders, products, customers, rates, and their numbers."""

from __future__ import annotations

import great_expectations.expectations as gxe

from expectations.suites import WARNING, Suite, at_least, between, day, filled, key, rank, trimmed

CURRENCY = r"^[A-Z]{3}$"
STATUSES = ["cancelled", "completed", "pending"]

DAILY_SALES = Suite(
    area="shop",
    mart="daily_sales",
    columns={
        "date": "DATE",
        "total_sales": "DECIMAL(28,2)",
        "currency": "VARCHAR",
        "order_count": "BIGINT",
        "average_order_value": "DECIMAL(28,2)",
        "units": "BIGINT",
        "total_sales_usd": "DECIMAL(28,2)",
    },
    query="""
        select
            date,
            epoch(cast(date as timestamp)) / 86400 as day_number,
            date - lag(date) over (order by date) as days_since_last,
            currency,
            cast(average_order_value as double) as average_order_value,
            cast(total_sales as double) / nullif(order_count, 0) - average_order_value
                as average_difference,
            cast(total_sales_usd as double) / nullif(cast(total_sales as double), 0) as usd_rate
        from mart
        order by date
    """,
    expectations=[
        *day("date"),
        gxe.ExpectColumnValuesToBeIncreasing(
            column="day_number", strictly=True, notes="One row a day, in order."
        ),
        between("days_since_last", 1, 1, notes="A day without orders is there, with zeros."),
        between("average_order_value", 0, None),
        between("average_difference", -0.0101, 0.0101, notes="Sales / orders, of the same day."),
        between("usd_rate", 0, None),
        gxe.ExpectColumnValuesToMatchRegex(column="currency", regex=CURRENCY),
        gxe.ExpectColumnUniqueValueCountToBeBetween(column="currency", min_value=1, max_value=1),
    ],
)

ORDER_LINES = Suite(
    area="shop",
    mart="order_lines",
    columns={
        "date": "DATE",
        "order_id": "VARCHAR",
        "product_id": "VARCHAR",
        "product_name": "VARCHAR",
        "category": "VARCHAR",
        "quantity": "BIGINT",
        "unit_price": "DECIMAL(18,2)",
        "total_price": "DECIMAL(18,2)",
        "currency": "VARCHAR",
        "total_price_usd": "DECIMAL(28,6)",
        "fx_rate": "DECIMAL(18,10)",
        "fx_rate_date": "DATE",
        "status": "VARCHAR",
    },
    expectations=[
        *filled("date", share=0.9),
        *filled("unit_price", share=0.5),
        *filled("unit_price", share=0.9, severity=WARNING),
        *filled("fx_rate", share=0.9, severity=WARNING),
        *day("date"),
        *trimmed("order_id", "product_id", "product_name", "category"),
        between("quantity", 1, 1_000_000),
        gxe.ExpectColumnMedianToBeBetween(
            column="quantity", min_value=1, max_value=1000, notes="Most lines are of a few units."
        ),
        between("unit_price", 0, None),
        between("fx_rate", 0, None),
        at_least("date", "fx_rate_date", notes="A rate is never younger than the order."),
        gxe.ExpectColumnValuesToBeInSet(column="status", value_set=[*STATUSES, "on_hold"]),
    ],
)

ORDER_LINES_OVERALL = Suite(
    area="shop",
    mart="order_lines",
    part="overall",
    query="""
        select
            max(abs(cast(total_price as double) - quantity * cast(unit_price as double)))
                as price_difference,
            max(abs(cast(total_price_usd as double)
                - cast(total_price as double) * cast(fx_rate as double))) as usd_difference,
            max(cast(fx_rate as double)) / min(cast(fx_rate as double)) as fx_rate_spread,
            cast(count(*) filter (where status = 'cancelled') as double) / count(*)
                as cancelled_share
        from mart
    """,
    expectations=[
        between("price_difference", 0, 1, notes="quantity x unit_price, but for a float's dust."),
        between("usd_difference", 0, 1, notes="total_price x fx_rate, but for a float's dust."),
        between("fx_rate_spread", 1, 20, notes="One currency, so its rates are of one size."),
        between("cancelled_share", 0, 0.5, severity=WARNING),
    ],
)

PRODUCT_METRICS = Suite(
    area="shop",
    mart="product_metrics",
    columns={
        "product_id": "VARCHAR",
        "name": "VARCHAR",
        "category": "VARCHAR",
        "price": "DECIMAL(18,2)",
        "currency": "VARCHAR",
        "units_sold": "BIGINT",
        "order_count": "BIGINT",
        "revenue": "DECIMAL(28,2)",
        "revenue_usd": "DECIMAL(28,2)",
        "first_sale_date": "DATE",
        "last_sale_date": "DATE",
        "inventory_count": "BIGINT",
        "inventory_value": "DECIMAL(28,2)",
        "units_rank": "BIGINT",
    },
    query="""
        select
            *,
            cast(revenue as double) - units_sold * cast(price as double) as revenue_difference,
            cast(revenue_usd as double) / nullif(cast(revenue as double), 0) as usd_rate
        from mart
    """,
    expectations=[
        *filled("price", share=0.5),
        gxe.ExpectColumnValuesToBeUnique(column="product_id"),
        *trimmed("product_id", "name", "category"),
        between("price", 0, None),
        at_least("units_sold", "order_count", notes="Each order has at least one unit."),
        at_least("last_sale_date", "first_sale_date"),
        between("revenue_difference", -1, 1, notes="units_sold x price, but for a float's dust."),
        between("usd_rate", 0, None),
        *rank("units_rank"),
    ],
)

PRODUCT_DAILY_GROWTH = Suite(
    area="shop",
    mart="product_daily_growth",
    columns={
        "date": "DATE",
        "product_id": "VARCHAR",
        "name": "VARCHAR",
        "units": "BIGINT",
        "units_previous_day": "BIGINT",
        "growth": "BIGINT",
    },
    query="""
        select
            date,
            count(*) as products,
            date - lag(date) over (order by date) as days_since_last,
            sum(units_previous_day) - lag(sum(units)) over (order by date)
                as units_carried_wrongly,
            sum(growth) - (sum(units) - sum(units_previous_day)) as growth_difference
        from mart
        group by date
        order by date
    """,
    expectations=[
        *day("date"),
        between("days_since_last", 1, 1, notes="Zero-filled: no day is left out."),
        gxe.ExpectColumnUniqueValueCountToBeBetween(
            column="products", min_value=1, max_value=1, notes="Every day has every product."
        ),
        between("units_carried_wrongly", 0, 0, notes="A day's units are the next day's base."),
        between("growth_difference", 0, 0, notes="units - units_previous_day."),
    ],
)

CATEGORY_METRICS = Suite(
    area="shop",
    mart="category_metrics",
    columns={
        "category": "VARCHAR",
        "units_sold": "BIGINT",
        "order_count": "BIGINT",
        "revenue": "DECIMAL(28,2)",
        "revenue_usd": "DECIMAL(28,2)",
        "units_rank": "BIGINT",
    },
    query="""
        select
            *,
            cast(revenue as double) / nullif(units_sold, 0) as unit_price,
            cast(revenue_usd as double) / nullif(cast(revenue as double), 0) as usd_rate
        from mart
    """,
    expectations=[
        *trimmed("category"),
        gxe.ExpectColumnValuesToBeUnique(column="category"),
        at_least("units_sold", "order_count", notes="Each order has at least one unit."),
        between("unit_price", 0, None),
        between("usd_rate", 0, None),
        *rank("units_rank"),
    ],
)

CUSTOMER_LIFETIME_VALUE = Suite(
    area="shop",
    mart="customer_lifetime_value",
    show_values=False,
    columns={
        "customer_id": "VARCHAR",
        "name": "VARCHAR",
        "country": "VARCHAR",
        "join_date": "DATE",
        "total_spent": "DECIMAL(28,2)",
        "currency": "VARCHAR",
        "order_count": "BIGINT",
        "average_order_value": "DECIMAL(28,2)",
        "first_order_date": "DATE",
        "last_order_date": "DATE",
        "spend_rank": "BIGINT",
    },
    expectations=[
        *filled("name", "country", share=0.5, severity=WARNING),
        gxe.ExpectColumnValuesToBeUnique(column="customer_id"),
        *trimmed("customer_id", "name", "country"),
        between("total_spent", 0, None),
        between("average_order_value", 0, None),
        at_least("total_spent", "average_order_value", notes="A sum is no less than its mean."),
        at_least("last_order_date", "first_order_date"),
        gxe.ExpectColumnValuesToBeUnique(column="spend_rank"),
    ],
)

ORDER_KPIS = Suite(
    area="shop",
    mart="order_kpis",
    columns={
        "busiest_date": "DATE",
        "busiest_date_orders": "BIGINT",
        "top_product_id": "VARCHAR",
        "top_product": "VARCHAR",
        "top_product_units": "BIGINT",
        "top_product_sales": "DECIMAL(28,2)",
        "top_product_sales_usd": "DECIMAL(28,2)",
        "top_categories": "VARCHAR",
        "average_ticket": "DECIMAL(28,2)",
        "fastest_growing_product": "VARCHAR",
        "fastest_growing_date": "DATE",
        "fastest_growing_units": "BIGINT",
    },
    query="""
        select
            *,
            cast(top_product_sales_usd as double) / nullif(cast(top_product_sales as double), 0)
                as usd_rate
        from mart
    """,
    expectations=[
        gxe.ExpectTableRowCountToEqual(value=1),
        between("average_ticket", 0.01, None, notes="Sales / distinct orders."),
        between("busiest_date_orders", 1, None),
        between("top_product_units", 1, None),
        between("fastest_growing_units", 1, None),
        at_least("top_product_units", "fastest_growing_units"),
        gxe.ExpectColumnValuesToMatchRegex(
            column="top_categories",
            regex=r"^\S.*(?: > \S.*){0,2}$",
            notes="Up to three names, most units first.",
        ),
        between("usd_rate", 0, None),
        *day("busiest_date"),
        *day("fastest_growing_date"),
    ],
)

CUSTOMERS = Suite(
    area="shop",
    mart="stg_customers",
    show_values=False,
    expectations=[
        *key("customer_id"),
        *trimmed("customer_id", "name", "country"),
        *filled("name", share=0.5, severity=WARNING),
        *day("join_date"),
    ],
)

PRODUCTS = Suite(
    area="shop",
    mart="stg_products",
    expectations=[
        *key("product_id"),
        *trimmed("product_id", "name", "category"),
        between("price", 0, None),
        between("inventory_count", 0, None),
    ],
)

ORDERS = Suite(
    area="shop",
    mart="stg_orders",
    expectations=[
        *key("order_id"),
        *trimmed("order_id", "customer_id"),
        *day("order_date"),
        between("total_amount", 0, None),
        gxe.ExpectColumnValuesToBeInSet(column="status", value_set=STATUSES),
    ],
)

ORDER_ITEMS = Suite(
    area="shop",
    mart="stg_order_items",
    expectations=[
        *trimmed("order_id", "product_id"),
        *day("line_date"),
        between("quantity", 1, 1_000_000),
    ],
)

FX_RATES = Suite(
    area="shop",
    mart="stg_fx_rates",
    expectations=[
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["rate_date", "from_currency", "to_currency"]
        ),
        gxe.ExpectColumnValuesToMatchRegex(
            column="from_currency", regex=CURRENCY, severity=WARNING
        ),
        gxe.ExpectColumnValuesToMatchRegex(column="to_currency", regex=CURRENCY, severity=WARNING),
        *day("rate_date"),
        between("rate", 0, None),
    ],
)

SUITES = (
    *(DAILY_SALES, ORDER_LINES, ORDER_LINES_OVERALL, PRODUCT_METRICS, PRODUCT_DAILY_GROWTH),
    *(CATEGORY_METRICS, CUSTOMER_LIFETIME_VALUE, ORDER_KPIS),
    *(CUSTOMERS, PRODUCTS, ORDERS, ORDER_ITEMS, FX_RATES),
)
