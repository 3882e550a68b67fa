"""What is expected of advertising: spend, clicks, conversions, and the ratios made of them."""

from __future__ import annotations

import great_expectations.expectations as gxe

from expectations.suites import WARNING, Suite, at_least, between, day, trimmed

_DIMENSIONS = ("platform", "account", "campaign", "country", "device")

ADS_PERFORMANCE_DAILY = Suite(
    area="marketing",
    mart="ads_performance_daily",
    columns={
        "date": "DATE",
        **dict.fromkeys(_DIMENSIONS, "VARCHAR"),
        "spend": "DECIMAL(28,2)",
        "impressions": "BIGINT",
        "clicks": "BIGINT",
        "conversions": "BIGINT",
        "revenue": "DECIMAL(28,2)",
        "cac": "DECIMAL(28,2)",
        "roas": "DECIMAL(28,2)",
        "ctr": "DECIMAL(28,4)",
        "cpc": "DECIMAL(28,2)",
        "cpm": "DECIMAL(28,2)",
    },
    expectations=[
        *day("date"),
        *trimmed(*_DIMENSIONS),
        between("ctr", 0, 1, share=0.95, notes="Clicks / impressions is a share."),
        between("roas", 0, 1000, share=0.95, notes="One unit of money brings back so many."),
        at_least("clicks", "conversions", share=0.8, notes="Few convert without a click."),
        gxe.ExpectColumnUniqueValueCountToBeBetween(
            column="platform",
            min_value=1,
            max_value=50,
            notes="There are only so many platforms: more are names of something else.",
        ),
        gxe.ExpectColumnUniqueValueCountToBeBetween(column="country", min_value=1, max_value=260),
        gxe.ExpectColumnUniqueValueCountToBeBetween(
            column="device", min_value=1, max_value=20, severity=WARNING
        ),
    ],
)

ADS_OVERALL = Suite(
    area="marketing",
    mart="ads_performance_daily",
    part="overall",
    # The ratios of all days together, and how far the stored ones of each row are from their parts.
    query="""
        select
            cast(sum(spend) as double) / nullif(sum(conversions), 0) as cac,
            cast(sum(revenue) as double) / nullif(cast(sum(spend) as double), 0) as roas,
            cast(sum(clicks) as double) / nullif(sum(impressions), 0) as ctr,
            cast(sum(conversions) as double) / nullif(sum(clicks), 0) as conversion_rate,
            max(abs(cac - cast(spend as double) / nullif(conversions, 0))) as cac_difference,
            max(abs(roas - cast(revenue as double) / nullif(cast(spend as double), 0)))
                as roas_difference,
            max(abs(ctr - cast(clicks as double) / nullif(impressions, 0))) as ctr_difference,
            max(abs(cpc - cast(spend as double) / nullif(clicks, 0))) as cpc_difference,
            max(abs(cpm - 1000 * cast(spend as double) / nullif(impressions, 0)))
                as cpm_difference
        from mart
    """,
    expectations=[
        between("cac", 0.01, 100_000, notes="Customer acquisition cost: spend / conversions."),
        between("roas", 0.001, 1000, notes="Return on ad spend: revenue / spend, a factor."),
        between("roas", 0.1, 50, severity=WARNING, notes="Beyond this, few campaigns go on."),
        between("ctr", 0, 1, notes="Clicks / impressions is a share."),
        between("ctr", 0.0001, 0.5, severity=WARNING),
        between("conversion_rate", 0, 1, notes="Conversions / clicks is a share."),
        *(
            between(f"{ratio}_difference", 0, 0.0101, notes=f"{ratio} is made of its own row.")
            for ratio in ("cac", "roas", "cpc", "cpm")
        ),
        between("ctr_difference", 0, 0.000101, notes="ctr is made of its own row."),
    ],
)

ADS_SPEND = Suite(
    area="marketing",
    mart="stg_ads_spend",
    expectations=[
        *day("date"),
        between("spend", 0, None),
        between("impressions", 0, None),
        at_least("impressions", "clicks", share=0.95),
    ],
)

SUITES = (ADS_PERFORMANCE_DAILY, ADS_OVERALL, ADS_SPEND)
