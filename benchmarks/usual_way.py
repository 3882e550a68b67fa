"""The usual way: the same marts in pandas, as a competent analyst writes them.

Whole files are read, cells that are not what they should be become missing and their rows are
dropped, frames are merged and grouped, money is a float and is rounded last. No row is looked at by
itself. It reads the large sets of `seeds/generate_data.py`, like `limit.py`. The seconds are those
from the first file to the last Parquet file, without the start of Python and its imports.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from benchmarks.limit import (
    LEFT_OUT,
    MARTS,
    Parser,
    UnusableError,
    check_landing,
    columns_of,
    say_what_it_took,
    surplus,
)

CURRENCY = "BRL"
REVENUE_PER_CONVERSION = 100
FX_MAX_AGE = pd.Timedelta(days=31)
UNKNOWN = "Unknown"

STATUSES = ["completed", "pending", "cancelled"]
SALE_CATEGORIES = [
    *("clothing", "shoes", "accessories", "jewellery", "bags", "design & decoration", "boys"),
    *("girls", "sport & leisure", "high-tech", "art & culture", "pet accessories"),
]

# Units of the last decimal by which a float may be off: it may round a half the other way.
TOLERANCE = 1.1


# --- Reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Landing:
    """The folder of a large set."""

    folder: Path

    def read(
        self,
        feed: str,
        *,
        texts: Sequence[str] = (),
        numbers: Sequence[str] = (),
        times: Sequence[str] = (),
        optional: Sequence[str] = (),
        marked: bool = False,
    ) -> pd.DataFrame:
        """Read a file, cast its columns, and drop rows in which a cell is none.

        Args:
            feed: The name of the feed.
            texts: Columns that stay text.
            numbers: Columns of numbers.
            times: Columns of dates or times; a time zone is taken off, as UTC.
            optional: Columns that may be empty, but not wrong.
            marked: Keep those rows too, and say in the column `is_good` which ones are not.
        """
        # Only an empty cell is missing: NA is the id of Namibia.
        frame = pd.read_csv(
            self.folder / feed / f"{feed}.csv",
            dtype=str,
            usecols=[*texts, *numbers, *times],
            keep_default_na=False,
            na_values=[""],
        )
        required = [name for name in frame.columns if name not in optional]
        good = frame[required].notna().all(axis=1)
        for column in (*numbers, *times):
            given = frame[column].notna()
            if column in numbers:
                frame[column] = pd.to_numeric(frame[column], errors="coerce")
            else:
                # Days and times may stand in one column.
                cast = pd.to_datetime(frame[column], errors="coerce", format="ISO8601", utc=True)
                frame[column] = cast.dt.tz_localize(None)
            good &= frame[column].notna() | ~given
        if marked:
            return frame.assign(is_good=good)
        return frame[good].reset_index(drop=True)


def whole(values: pd.Series) -> pd.Series:
    """Whole numbers; missing ones stay missing."""
    return values.astype("Int64")


def divided(part: pd.Series, by: pd.Series, decimals: int = 2) -> pd.Series:
    """A ratio, rounded; missing where the denominator is zero."""
    return (part / by.where(by != 0)).astype("float64").round(decimals)


def ranked(frame: pd.DataFrame, by: Sequence[str], ascending: Sequence[bool]) -> pd.Series:
    """The place of each row, from 1, in an order that leaves no ties; "Unknown" has none."""
    known = frame[frame["is_known"]] if "is_known" in frame else frame
    order = known.sort_values(list(by), ascending=list(ascending)).index
    places = pd.Series(np.arange(1, len(order) + 1), index=order)
    return whole(places.reindex(frame.index))


# --- Marketing ------------------------------------------------------------------------------------


def marketing(landing: Landing) -> dict[str, pd.DataFrame]:
    """The mart of ad spend."""
    dimensions = ["platform", "account", "campaign", "country", "device"]
    measures = ["spend", "clicks", "impressions", "conversions"]
    ads = landing.read("ads_spend", texts=dimensions, numbers=measures, times=["date"])
    ads = ads[(ads[measures] >= 0).all(axis=1)]
    daily = ads.groupby(["date", *dimensions], as_index=False)[measures].sum()
    for column in ("clicks", "impressions", "conversions"):
        daily[column] = whole(daily[column])
    daily["spend"] = daily["spend"].round(2)
    daily["revenue"] = (daily["conversions"] * REVENUE_PER_CONVERSION).astype("float64")
    daily["cac"] = divided(daily["spend"], daily["conversions"])
    daily["roas"] = divided(daily["revenue"], daily["spend"])
    daily["ctr"] = divided(daily["clicks"], daily["impressions"], 4)
    daily["cpc"] = divided(daily["spend"], daily["clicks"])
    daily["cpm"] = divided(daily["spend"] * 1000, daily["impressions"])
    return {"ads_performance_daily": daily}


# --- Shop -----------------------------------------------------------------------------------------


def read_products(landing: Landing) -> pd.DataFrame:
    """The catalogue."""
    products = landing.read(
        "products",
        texts=["product_id", "name", "category"],
        numbers=["price", "inventory_count"],
        optional=["inventory_count"],
    )
    in_stock = products["inventory_count"].isna() | (products["inventory_count"] >= 0)
    return products[(products["price"] >= 0) & in_stock]


def read_orders(landing: Landing) -> tuple[pd.DataFrame, pd.Series]:
    """Headers of orders, and the ids of those that are not good."""
    orders = landing.read(
        "orders",
        texts=["order_id", "customer_id", "status"],
        numbers=["total_amount"],
        times=["order_date"],
        marked=True,
    )
    good = orders.pop("is_good") & (orders["total_amount"] >= 0) & orders["status"].isin(STATUSES)
    rejected = orders["order_id"][~good]
    orders = orders[good].reset_index(drop=True)
    orders = orders.rename(columns={"order_date": "date", "total_amount": "revenue"})
    return orders.assign(date=orders["date"].dt.normalize()), rejected


def read_lines(landing: Landing, products: pd.DataFrame) -> pd.DataFrame:
    """Order lines with their products and their prices."""
    lines = landing.read(
        "order_items",
        texts=["order_id", "product_id"],
        numbers=["quantity"],
        times=["ordered_at"],
        optional=["ordered_at"],
    )
    lines = lines[lines["quantity"] > 0]
    lines["line_date"] = lines.pop("ordered_at").dt.normalize()
    lines["quantity"] = whole(lines["quantity"])
    catalogue = products[["product_id", "name", "category", "price"]]
    lines = lines.merge(catalogue, on="product_id", how="left", indicator=True)
    lines["is_known_product"] = lines.pop("_merge") == "both"
    lines[["name", "category"]] = lines[["name", "category"]].fillna(UNKNOWN)
    lines["total_price"] = (lines["quantity"] * lines["price"]).astype("float64").round(2)
    return lines.rename(columns={"name": "product_name", "price": "unit_price"})


def read_usd_rates(landing: Landing, dates: pd.Series) -> pd.DataFrame:
    """The newest rate of each of the dates, if it is not too old."""
    rates = landing.read(
        "fx_rates",
        texts=["from_currency", "to_currency"],
        numbers=["rate"],
        times=["rate_date"],
    )
    ours = (rates["from_currency"] == CURRENCY) & (rates["to_currency"] == "USD")
    rates = rates[ours & (rates["rate"] > 0)].sort_values("rate_date")
    days = pd.DataFrame({"date": dates.dropna().drop_duplicates().sort_values()})
    days = pd.merge_asof(
        days,
        rates[["rate_date", "rate"]],
        left_on="date",
        right_on="rate_date",
        tolerance=FX_MAX_AGE,
    )
    return days.rename(columns={"rate": "fx_rate", "rate_date": "fx_rate_date"})


def orders_of_lines(lines: pd.DataFrame, orders: pd.DataFrame, rejected: pd.Series) -> pd.DataFrame:
    """Orders that exist only as lines: completed, of the day of the first, worth the sum.

    Those whose header was rejected are on hold.
    """
    alone = lines[~lines["order_id"].isin(orders["order_id"])]
    found = alone.groupby("order_id", as_index=False).agg(
        date=("line_date", "min"), revenue=("total_price", "sum"), priced=("total_price", "count")
    )
    found["revenue"] = found["revenue"].where(found.pop("priced") > 0).round(2)
    on_hold = found["order_id"].isin(rejected)
    return found.assign(status=np.where(on_hold, "on_hold", "completed"))


def order_lines_of(lines: pd.DataFrame, orders: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """The mart of order lines; as in the limit, without the line of the file."""
    lines = lines.merge(orders[["order_id", "date", "status", "is_sale"]], on="order_id")
    lines = lines.merge(rates, on="date", how="left")
    lines["currency"] = CURRENCY
    lines["total_price_usd"] = (lines["total_price"] * lines["fx_rate"]).round(6)
    return lines.drop(columns="line_date")


def daily_sales_of(
    sales: pd.DataFrame, sold: pd.DataFrame, rates: pd.DataFrame, days: pd.DatetimeIndex
) -> pd.DataFrame:
    """The mart of sales by day."""
    by_day = sales.groupby("date").agg(
        total_sales=("revenue", "sum"), order_count=("order_id", "size")
    )
    by_day = by_day.reindex(days, fill_value=0)
    by_day["units"] = whole(sold.groupby("date")["quantity"].sum().reindex(days, fill_value=0))
    by_day = by_day.rename_axis("date").reset_index().merge(rates, on="date", how="left")
    by_day["total_sales"] = by_day["total_sales"].round(2)
    by_day["currency"] = CURRENCY
    by_day["average_order_value"] = divided(by_day["total_sales"], by_day["order_count"])
    usd = (by_day["total_sales"] * by_day["fx_rate"]).round(2)
    by_day["total_sales_usd"] = usd.where(by_day["total_sales"] != 0, 0.0)
    return by_day.drop(columns=["fx_rate", "fx_rate_date"])


def customer_lifetime_value_of(landing: Landing, sales: pd.DataFrame) -> pd.DataFrame:
    """The mart of customers."""
    customers = landing.read(
        "customers",
        texts=["customer_id", "name", "country"],
        times=["join_date"],
        optional=["name", "country", "join_date"],
    )
    known = sales["customer_id"].isin(customers["customer_id"])
    spending = (
        sales.assign(customer_id=sales["customer_id"].where(known, UNKNOWN))
        .groupby("customer_id", as_index=False)
        .agg(
            total_spent=("revenue", "sum"),
            order_count=("order_id", "size"),
            first_order_date=("date", "min"),
            last_order_date=("date", "max"),
        )
    )
    members = customers.assign(is_known=True)
    if not known.all():
        stranger = {"customer_id": UNKNOWN, "name": UNKNOWN, "country": UNKNOWN, "is_known": False}
        members = pd.concat([members, pd.DataFrame([stranger])], ignore_index=True)
    members = members.merge(spending, on="customer_id", how="left")
    members["total_spent"] = members["total_spent"].fillna(0).round(2)
    members["order_count"] = whole(members["order_count"].fillna(0))
    members["currency"] = CURRENCY
    members["average_order_value"] = divided(members["total_spent"], members["order_count"])
    members["spend_rank"] = ranked(
        members, ["total_spent", "name", "customer_id"], [False, True, True]
    )
    return members.drop(columns="is_known")


def sold_by(sold: pd.DataFrame, column: str) -> pd.DataFrame:
    """What was sold, by product or by category."""
    sold = sold.assign(without_rate=sold["total_price"].notna() & sold["total_price_usd"].isna())
    totals = sold.groupby(column, as_index=False).agg(
        units_sold=("quantity", "sum"),
        order_count=("order_id", "nunique"),
        revenue=("total_price", "sum"),
        revenue_usd=("total_price_usd", "sum"),
        priced=("total_price", "count"),
        priced_usd=("total_price_usd", "count"),
        lines_without_rate=("without_rate", "sum"),
        first_sale_date=("date", "min"),
        last_sale_date=("date", "max"),
    )
    # A sum of nothing but missing amounts is missing.
    totals["revenue"] = totals["revenue"].where(totals.pop("priced") > 0)
    totals["revenue_usd"] = totals["revenue_usd"].where(totals.pop("priced_usd") > 0)
    return totals


def with_sales(members: pd.DataFrame, totals: pd.DataFrame, on: str) -> pd.DataFrame:
    """Products or categories with what they sold; those that sold nothing have zeros."""
    frame = members.merge(totals, on=on, how="left")
    unsold = frame["units_sold"].isna()
    for column in ("units_sold", "order_count", "lines_without_rate"):
        frame[column] = whole(frame[column].fillna(0))
    for column in ("revenue", "revenue_usd"):
        frame[column] = frame[column].mask(unsold, 0.0).round(2)
    frame["currency"] = CURRENCY
    return frame


def product_metrics_of(products: pd.DataFrame, totals: pd.DataFrame) -> pd.DataFrame:
    """The mart of products, still with `is_known`."""
    members = products.assign(is_known=True)
    if (totals["product_id"] == UNKNOWN).any():
        other = {"product_id": UNKNOWN, "name": UNKNOWN, "category": UNKNOWN, "is_known": False}
        members = pd.concat([members, pd.DataFrame([other])], ignore_index=True)
    frame = with_sales(members, totals, "product_id")
    frame["inventory_count"] = whole(frame["inventory_count"])
    frame["inventory_value"] = (
        (frame["price"] * frame["inventory_count"]).astype("float64").round(2)
    )
    frame["units_rank"] = ranked(frame, ["units_sold", "name", "product_id"], [False, True, True])
    return frame


def category_metrics_of(product_metrics: pd.DataFrame, totals: pd.DataFrame) -> pd.DataFrame:
    """The mart of categories."""
    members = product_metrics.groupby("category", as_index=False)["is_known"].max()
    frame = with_sales(members, totals, "category")
    frame["units_rank"] = ranked(frame, ["units_sold", "category"], [False, True])
    return frame.drop(columns=["is_known", "first_sale_date", "last_sale_date"])


def product_daily_growth_of(
    sold: pd.DataFrame, product_metrics: pd.DataFrame, days: pd.DatetimeIndex
) -> pd.DataFrame:
    """The mart of units by product and day, from a grid of all of both."""
    grid = pd.MultiIndex.from_product(
        [product_metrics["product_id"], days], names=["product_id", "date"]
    )
    units = sold.groupby(["member_id", "date"])["quantity"].sum()
    growth = units.reindex(grid, fill_value=0).rename("units").reset_index()
    growth["units"] = whole(growth["units"])
    growth["units_previous_day"] = growth.groupby("product_id")["units"].shift()
    growth["growth"] = growth["units"] - growth["units_previous_day"]
    return growth.merge(product_metrics[["product_id", "name"]], on="product_id")


def order_kpis_of(marts: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The mart of one row, from the others."""
    daily = marts["daily_sales"]
    busiest = daily.sort_values(["order_count", "date"], ascending=[False, True]).iloc[0]
    products = marts["product_metrics"]
    top = products[products["units_rank"].eq(1).fillna(value=False)].iloc[0]
    categories = marts["category_metrics"].sort_values("units_rank")
    leading = categories[categories["units_rank"].le(3).fillna(value=False)]
    growth = marts["product_daily_growth"]
    most = growth[growth["product_id"] != UNKNOWN]
    most = most[most["growth"] == most["growth"].max()]
    fastest = most.sort_values(["date", "name", "product_id"]).iloc[0]
    kpis = {
        "busiest_date": busiest["date"],
        "busiest_date_orders": busiest["order_count"],
        "top_product_id": top["product_id"],
        "top_product": top["name"],
        "top_product_units": top["units_sold"],
        "top_product_sales": top["revenue"],
        "top_product_sales_usd": top["revenue_usd"],
        "top_categories": " > ".join(leading["category"]),
        "average_ticket": round(daily["total_sales"].sum() / daily["order_count"].sum(), 2),
        "currency": CURRENCY,
        "fastest_growing_product": fastest["name"],
        "fastest_growing_date": fastest["date"],
        "fastest_growing_units": fastest["growth"],
    }
    return pd.DataFrame([kpis])


def shop(landing: Landing) -> dict[str, pd.DataFrame]:
    """The marts of the shop."""
    products = read_products(landing)
    headers, rejected = read_orders(landing)
    lines = read_lines(landing, products)
    orders = pd.concat([headers, orders_of_lines(lines, headers, rejected)], ignore_index=True)
    orders["is_sale"] = (orders["status"] == "completed") & orders["date"].notna()
    rates = read_usd_rates(landing, orders["date"])
    marts = {"order_lines": order_lines_of(lines, orders, rates)}

    sold = marts["order_lines"][marts["order_lines"]["is_sale"]]
    sold = sold.assign(member_id=sold["product_id"].where(sold["is_known_product"], UNKNOWN))
    sales = orders[orders["is_sale"]]
    days = pd.date_range(sales["date"].min(), sales["date"].max())
    marts["daily_sales"] = daily_sales_of(sales, sold, rates, days)
    marts["customer_lifetime_value"] = customer_lifetime_value_of(landing, sales)

    totals = sold_by(sold, "member_id").rename(columns={"member_id": "product_id"})
    members = product_metrics_of(products, totals)
    marts["product_metrics"] = members.drop(columns="is_known")
    marts["category_metrics"] = category_metrics_of(members, sold_by(sold, "category"))
    marts["product_daily_growth"] = product_daily_growth_of(sold, members, days)
    marts["order_kpis"] = order_kpis_of(marts)
    return marts


# --- Marketplace ----------------------------------------------------------------------------------


def read_sales(landing: Landing) -> pd.DataFrame:
    """Sales with the countries of both sides."""
    texts = ["id_order", "id_product", "id_buyer", "id_seller"]
    sales = landing.read(
        "sales",
        texts=[*texts, "id_seller_country", "id_buyer_country", "category"],
        numbers=["revenue"],
        times=["date_payment"],
        optional=["category"],
    )
    in_category = sales["category"].isin(SALE_CATEGORIES) | sales["category"].isna()
    sales = sales[in_category & (sales["revenue"] >= 0)]
    sales["category"] = sales["category"].fillna(UNKNOWN)
    sales["date"] = sales.pop("date_payment").dt.normalize()
    countries = landing.read(
        "countries", texts=["id_country", "country", "region"], optional=["region"]
    )
    for side in ("seller", "buyer"):
        names = {
            "id_country": f"id_{side}_country",
            "country": f"{side}_country",
            "region": f"{side}_continent",
        }
        sales = sales.merge(countries.rename(columns=names), on=f"id_{side}_country", how="left")
        unknown = sales[f"{side}_country"].isna()
        for column in names.values():
            sales[column] = sales[column].mask(unknown, UNKNOWN)
    return sales


def country_contribution_of(sales: pd.DataFrame) -> pd.DataFrame:
    """The mart of seller countries."""
    keys = ["id_seller_country", "seller_country", "seller_continent"]
    frame = sales.groupby(keys, as_index=False, dropna=False).agg(
        revenue=("revenue", "sum"), items=("revenue", "size")
    )
    for column in ("revenue", "items"):
        frame[f"{column}_pct"] = (100 * frame[column] / frame[column].sum()).round(2)
    frame["revenue"] = frame["revenue"].round(2)
    names = dict(zip(keys, ("id_country", "country", "continent"), strict=True))
    return frame.rename(columns=names)


def country_relationships_of(sales: pd.DataFrame) -> pd.DataFrame:
    """The mart of pairs of countries."""
    seller, buyer = sales["id_seller_country"], sales["id_buyer_country"]
    trade = sales[(seller != buyer) & (seller != UNKNOWN) & (buyer != UNKNOWN)]
    first = (trade["seller_country"] < trade["buyer_country"]) | (
        (trade["seller_country"] == trade["buyer_country"])
        & (trade["id_seller_country"] < trade["id_buyer_country"])
    )
    pairs = pd.DataFrame(
        {
            "id_country_a": trade["id_seller_country"].where(first, trade["id_buyer_country"]),
            "country_a": trade["seller_country"].where(first, trade["buyer_country"]),
            "id_country_b": trade["id_buyer_country"].where(first, trade["id_seller_country"]),
            "country_b": trade["buyer_country"].where(first, trade["seller_country"]),
            "revenue": trade["revenue"],
        }
    )
    keys = ["id_country_a", "country_a", "id_country_b", "country_b"]
    frame = pairs.groupby(keys, as_index=False).agg(
        combined_revenue=("revenue", "sum"), sales_count=("revenue", "size")
    )
    frame["revenue_rank"] = ranked(
        frame,
        ["combined_revenue", "country_a", "country_b", "id_country_a", "id_country_b"],
        [False, True, True, True, True],
    )
    frame["combined_revenue"] = frame["combined_revenue"].round(2)
    return frame


def repeat_buyer_revenue_of(sales: pd.DataFrame) -> pd.DataFrame:
    """The mart of repeat buyers by month."""
    months = sales["date"].dt.to_period("M")
    day = sales["date"].dt.day
    early = pd.DataFrame(
        {
            "month": months,
            "id_buyer": sales["id_buyer"],
            "week1_revenue": sales["revenue"].where(day <= 7),
            "week2_revenue": sales["revenue"].where(day > 7),
        }
    )[day <= 14]
    weeks = ["week1_revenue", "week2_revenue"]
    buyers = early.groupby(["month", "id_buyer"])[weeks].sum(min_count=1).dropna()
    by_month = buyers.groupby("month")[weeks].sum()
    by_month["repeat_buyers"] = buyers.groupby("month").size()
    calendar = pd.period_range(months.min(), months.max(), name="month")
    by_month = by_month.reindex(calendar, fill_value=0)
    by_month["change_pct"] = divided(
        100 * (by_month["week2_revenue"] - by_month["week1_revenue"]), by_month["week1_revenue"]
    )
    by_month[weeks] = by_month[weeks].round(2)
    return by_month.reset_index().assign(month=calendar.astype(str))


def marketplace(landing: Landing) -> dict[str, pd.DataFrame]:
    """The marts of the marketplace."""
    sales = read_sales(landing)
    by_category = sales.groupby(["date", "category"], as_index=False).agg(
        sales_count=("revenue", "size"), revenue=("revenue", "sum")
    )
    return {
        "sales_by_category_daily": by_category.round({"revenue": 6}),
        "country_contribution": country_contribution_of(sales),
        "country_relationships": country_relationships_of(sales),
        "repeat_buyer_revenue": repeat_buyer_revenue_of(sales),
    }


# --- Hiring ---------------------------------------------------------------------------------------


def read_hires(landing: Landing) -> pd.DataFrame:
    """Hires with the names of their department and job."""
    hires = landing.read(
        "hired_employees",
        numbers=["id", "department_id", "job_id"],
        times=["datetime"],
        optional=["department_id", "job_id"],
    )
    for feed, name in (("departments", "department"), ("jobs", "job")):
        members = landing.read(feed, texts=[name], numbers=["id"])
        members = members.rename(columns={"id": f"{name}_id"})
        hires = hires.merge(members, on=f"{name}_id", how="left")
        hires[f"{name}_id"] = whole(hires[f"{name}_id"].where(hires[name].notna()))
        hires[name] = hires[name].fillna(UNKNOWN)
    hires["year"] = hires["datetime"].dt.year
    hires["quarter"] = hires["datetime"].dt.quarter
    return hires


def hiring(landing: Landing) -> dict[str, pd.DataFrame]:
    """The marts of hires."""
    hires = read_hires(landing)
    keys = ["year", "department_id", "department", "job_id", "job"]
    quarters = {f"q{number}": hires["quarter"] == number for number in range(1, 5)}
    by_quarter = (
        hires.assign(**quarters, total=1)
        .groupby(keys, as_index=False, dropna=False)[[*quarters, "total"]]
        .sum()
    )
    by_quarter["is_unknown"] = by_quarter["department_id"].isna() | by_quarter["job_id"].isna()

    known = hires[hires["department_id"].notna()]
    above = known.groupby(["year", "department_id", "department"], as_index=False).agg(
        hired=("year", "size")
    )
    mean = above.groupby("year")["hired"].transform("mean")
    above["is_above_mean"] = above["hired"] > mean
    above["mean_hired"] = mean.round(2)
    return {
        "hires_by_quarter": by_quarter,
        "departments_above_mean": above.rename(columns={"department_id": "id"}),
    }


# --- The whole, and the comparison ----------------------------------------------------------------

AREAS: tuple[Callable[[Landing], dict[str, pd.DataFrame]], ...]
AREAS = (marketing, shop, marketplace, hiring)


def make_marts(landing: Path, out: Path) -> float:
    """Write the marts, each as `<mart>.parquet`.

    Args:
        landing: The folder of a large set.
        out: The folder to write to; made when missing.

    Returns:
        The seconds it took.

    Raises:
        UnusableError: An input is missing, or the folder cannot be.
    """
    check_landing(landing)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableError(f"{out} cannot be made: {error.strerror}") from error
    started = time.perf_counter()
    for area in AREAS:
        for mart, frame in area(Landing(landing)).items():
            frame.to_parquet(out / f"{mart}.parquet", index=False)
    return time.perf_counter() - started


def differences(folder: Path, warehouse_database: Path) -> list[str]:
    """Compare the Parquet files with the marts of the warehouse.

    Texts, dates, whole numbers and flags must be the same. Amounts and ratios, which are floats
    here, may be off by 1.1 units of their last decimal, 0.011 for money.

    Args:
        folder: The folder that `make_marts` wrote.
        warehouse_database: The database that dbt made from the same files.

    Returns:
        A line for each difference; none when the marts agree.
    """
    found: list[str] = []
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        connection.execute(f"attach '{warehouse_database}' as warehouse (read_only)")
        for mart in MARTS:
            file = folder / f"{mart}.parquet"
            if file.is_file():
                found += mart_differences(connection, mart, file)
            else:
                found.append(f"{mart}: {file} is missing")
    return found


def kind_of(data_type: str) -> str:
    """What a type of DuckDB holds."""
    name = data_type.split("(")[0]
    kinds = {"DATE": "date", "VARCHAR": "text", "BOOLEAN": "flag"}
    kinds |= dict.fromkeys(("DECIMAL", "DOUBLE", "FLOAT"), "number")
    kinds |= dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), "whole number")
    return kinds.get(name, "date" if name.startswith("TIMESTAMP") else name)


def mart_differences(connection: duckdb.DuckDBPyConnection, mart: str, file: Path) -> list[str]:
    """Compare one Parquet file with its mart in the attached database `warehouse`."""
    ours, theirs = f"read_parquet('{file}')", f"warehouse.marts.{mart}"
    our_types = columns_of(connection, ours)
    try:
        their_types = columns_of(connection, theirs)
    except duckdb.CatalogException as error:
        return [f"{mart}: {str(error).splitlines()[0]}"]
    for column in LEFT_OUT.get(mart, ()):
        their_types.pop(column, None)
    our_kinds = {column: kind_of(data_type) for column, data_type in our_types.items()}
    their_kinds = {column: kind_of(data_type) for column, data_type in their_types.items()}
    found = [
        f"{mart}.{column}: {our_kinds.get(column, 'missing')} in the usual way, "
        f"{their_kinds.get(column, 'missing')} in the warehouse"
        for column in sorted(our_kinds.keys() | their_kinds.keys())
        if our_kinds.get(column) != their_kinds.get(column)
    ]
    if found:
        return found

    exact = [column for column, kind in their_kinds.items() if kind != "number"]
    # A frame has no dates, only times.
    cells = ", ".join(
        f'cast("{column}" as timestamp) as "{column}"'
        if their_kinds[column] == "date"
        else f'"{column}"'
        for column in exact
    )
    for where, query, other in (("usual way", ours, theirs), ("warehouse", theirs, ours)):
        count, example = surplus(
            connection,
            f"select {cells} from {query}",
            f"select {cells} from {other}",
        )
        if count:
            found.append(f"{mart}: {count:,} rows are only in the {where}, such as {example}")
    numbers = {
        column: their_types[column] for column, kind in their_kinds.items() if kind == "number"
    }
    if found or not numbers:
        return found
    return number_differences(connection, mart, ours, numbers)


def number_differences(
    connection: duckdb.DuckDBPyConnection, mart: str, ours: str, numbers: dict[str, str]
) -> list[str]:
    """Compare amounts and ratios, row by row, both sorted by the grain, in which they agree."""
    grain = ", ".join(MARTS[mart])
    order = f"order by {grain}" if grain else ""
    connection.execute(
        f"""
        create or replace temp view pairs as
        select ours, theirs
        from (select ours, row_number() over ({order}) as place from {ours} as ours)
        inner join (
            select theirs, row_number() over ({order}) as place
            from warehouse.marts.{mart} as theirs
        ) using (place)
        """
    )
    found = []
    for column, data_type in numbers.items():
        scale = int(data_type.rstrip(")").split(",")[1])
        value, expected = f'ours."{column}"', f'theirs."{column}"'
        row = connection.execute(
            f"""
            select count(*) over (), {value}, {expected}, theirs
            from pairs
            where
                ({value} is null) <> ({expected} is null)
                or isnan({value})
                or abs({value} - cast({expected} as double)) > {TOLERANCE * 10**-scale}
            limit 1
            """
        ).fetchone()
        if row:
            key = tuple(row[3][name] for name in MARTS[mart])
            found.append(
                f"{mart}.{column}: {row[0]:,} values are off, "
                f"such as {row[1]} for {row[2]} at {key}"
            )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the marts and print one line of JSON; 2 when an input cannot be used."""
    parser = Parser(prog="python -m benchmarks.usual_way", description=__doc__)
    parser.add_argument("landing", type=Path, help="folder of a large set")
    parser.add_argument("out", type=Path, help="folder of the Parquet files")
    options = parser.parse_args(arguments)
    return say_what_it_took(parser, lambda: make_marts(options.landing, options.out))


if __name__ == "__main__":
    sys.exit(main())
