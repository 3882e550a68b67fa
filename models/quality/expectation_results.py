# What came of each expectation of Great Expectations about the marts and the accepted rows.
# Grain: one row per suite and place in it.
# It reads every mart, and the publication reads it, so what is not as expected is never published:
# the test expectations_hold fails. The suites are in expectations/, docs/quality.md explains them.
from expectations.drift import Limits
from expectations.running import run


def model(dbt, session):  # noqa: ARG001 - dbt's signature
    """Evaluate the expectations; dbt finds what they read by these words."""
    dbt.config(materialized="table")
    return run(
        {
            "ads_performance_daily": dbt.ref("ads_performance_daily"),
            "category_metrics": dbt.ref("category_metrics"),
            "country_contribution": dbt.ref("country_contribution"),
            "country_relationships": dbt.ref("country_relationships"),
            "customer_lifetime_value": dbt.ref("customer_lifetime_value"),
            "daily_sales": dbt.ref("daily_sales"),
            "departments_above_mean": dbt.ref("departments_above_mean"),
            "feed_health": dbt.ref("feed_health"),
            "hires_by_quarter": dbt.ref("hires_by_quarter"),
            "order_kpis": dbt.ref("order_kpis"),
            "order_lines": dbt.ref("order_lines"),
            "product_daily_growth": dbt.ref("product_daily_growth"),
            "product_metrics": dbt.ref("product_metrics"),
            "rejected_rows": dbt.ref("rejected_rows"),
            "repeat_buyer_revenue": dbt.ref("repeat_buyer_revenue"),
            "sales_by_category_daily": dbt.ref("sales_by_category_daily"),
            "stg_ads_spend": dbt.ref("stg_ads_spend"),
            "stg_countries": dbt.ref("stg_countries"),
            "stg_customers": dbt.ref("stg_customers"),
            "stg_departments": dbt.ref("stg_departments"),
            "stg_fx_rates": dbt.ref("stg_fx_rates"),
            "stg_hired_employees": dbt.ref("stg_hired_employees"),
            "stg_jobs": dbt.ref("stg_jobs"),
            "stg_order_items": dbt.ref("stg_order_items"),
            "stg_orders": dbt.ref("stg_orders"),
            "stg_products": dbt.ref("stg_products"),
            "stg_sales": dbt.ref("stg_sales"),
        },
        limits=Limits(
            rows_lost_pct=dbt.config.meta_get("max_rows_lost_pct"),
            total_factor=dbt.config.meta_get("max_total_factor"),
            is_accepted=dbt.config.meta_get("accept_drift"),
        ),
        sample_rows=dbt.config.meta_get("expectation_sample_rows"),
    )
