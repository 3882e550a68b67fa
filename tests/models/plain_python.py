"""Every mart a second time, in plain Python, straight from the sample files.

An audit: nothing here is derived from the project's SQL or YAML. The contracts of the feeds and the
rules of the marts are written again, as slowly and plainly as possible, with exact numbers only:
sums are `Decimal`, ratios are `Fraction`, and each figure is rounded once, at the end.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

Row = dict[str, Any]

UNKNOWN = "Unknown"
SHOP_CURRENCY = "BRL"
REVENUE_PER_CONVERSION = 100
FX_MAX_AGE = timedelta(days=31)
DAY = timedelta(days=1)


# --- Contracts ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One column of a feed and what its values must be."""

    name: str
    kind: str = "text"  # text, integer, number, date or timestamp
    required: bool = False
    decimals: int = 0  # of a number
    at_least: int | None = None
    above: int | None = None
    at_most: Decimal | None = None
    is_id: bool = False
    days: tuple[date, date] | None = None  # the first and the last
    one_of: tuple[str, ...] = ()
    names_in: tuple[str, str] | None = None  # the feed and column it refers to
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contract:
    """What the files of a feed must look like."""

    area: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    date_column: str | None = None


ORDER_DAYS = (date(2000, 1, 1), date(2049, 12, 31))


def _text(name: str) -> Column:
    return Column(name, required=True)


def _id(name: str, *aliases: str, names_in: tuple[str, str] | None = None) -> Column:
    return Column(name, required=True, names_in=names_in, aliases=aliases, is_id=True)


def _count(name: str) -> Column:
    return Column(name, "integer", required=True, at_least=0, at_most=Decimal(99_999_999_999))


def _money(name: str, decimals: int = 2, at_most: str | None = None) -> Column:
    most = None if at_most is None else Decimal(at_most)
    return Column(name, "number", required=True, decimals=decimals, at_least=0, at_most=most)


CATEGORIES = (
    "clothing", "shoes", "accessories", "jewellery", "bags", "design & decoration", "boys", "girls",
    "sport & leisure", "high-tech", "art & culture", "pet accessories",
)  # fmt: skip

CONTRACTS = {
    "ads_spend": Contract(
        "marketing",
        (
            Column("date", "date", required=True),
            _text("platform"),
            _text("account"),
            _text("campaign"),
            _text("country"),
            _text("device"),
            _money("spend", at_most="999999999999.99"),
            _count("clicks"),
            _count("impressions"),
            _count("conversions"),
        ),
        date_column="date",
    ),
    "customers": Contract(
        "shop",
        (
            _id("customer_id"),
            Column("name"),
            Column("email"),
            Column("country"),
            Column("join_date", "date"),
        ),
        key=("customer_id",),
        date_column="join_date",
    ),
    "products": Contract(
        "shop",
        (
            _id("product_id", "id"),
            _text("name"),
            _text("category"),
            _money("price", at_most="9999999999.99"),
            Column("inventory_count", "integer", at_least=0),
        ),
        key=("product_id",),
    ),
    "orders": Contract(
        "shop",
        (
            _id("order_id"),
            _id("customer_id", names_in=("customers", "customer_id")),
            Column("order_date", "timestamp", required=True, days=ORDER_DAYS),
            _money("total_amount", at_most="999999999999.99"),
            Column("status", required=True, one_of=("completed", "pending", "cancelled")),
        ),
        key=("order_id",),
        date_column="order_date",
    ),
    "order_items": Contract(
        "shop",
        (
            _id("order_id", "id", names_in=("orders", "order_id")),
            _id("product_id", names_in=("products", "product_id")),
            Column("quantity", "integer", required=True, above=0, at_most=Decimal(999_999)),
            Column("ordered_at", "timestamp", aliases=("created_date",), days=ORDER_DAYS),
        ),
        date_column="ordered_at",
    ),
    "fx_rates": Contract(
        "shop",
        (
            Column("rate_date", "date", required=True),
            _id("from_currency"),
            _id("to_currency"),
            Column("rate", "number", True, 10, above=0, at_most=Decimal(1_000_000)),
        ),
        key=("rate_date", "from_currency", "to_currency"),
        date_column="rate_date",
    ),
    "sales": Contract(
        "marketplace",
        (
            _id("id_order"),
            _id("id_product"),
            _id("id_buyer"),
            _id("id_seller"),
            _id("id_seller_country", names_in=("countries", "id_country")),
            _id("id_buyer_country", names_in=("countries", "id_country")),
            Column("date_payment", "timestamp", required=True),
            Column("brand"),
            Column("category", one_of=CATEGORIES),
            _money("revenue", decimals=6),
        ),
        date_column="date_payment",
    ),
    "countries": Contract(
        "marketplace",
        (
            _id("id_country"),
            Column("country_name", required=True, aliases=("country",)),
            Column("continent", aliases=("region",)),
        ),
        key=("id_country",),
    ),
    "departments": Contract(
        "hiring",
        (Column("id", "integer", required=True, is_id=True), _text("department")),
        key=("id",),
    ),
    "jobs": Contract(
        "hiring", (Column("id", "integer", required=True, is_id=True), _text("job")), key=("id",)
    ),
    "hired_employees": Contract(
        "hiring",
        (
            Column("id", "integer", required=True, is_id=True),
            Column("name"),
            Column("datetime", "timestamp", required=True),
            Column("department_id", "integer", names_in=("departments", "id")),
            Column("job_id", "integer", names_in=("jobs", "id")),
        ),
        key=("id",),
        date_column="datetime",
    ),
}


# --- Reading --------------------------------------------------------------------------------------


class InvalidError(Exception):
    """A value that breaks the contract; the text says how."""


@dataclass
class Feed:
    """The rows of a feed's file: typed if accepted, as they came with the reasons if rejected."""

    file: str
    accepted: list[Row] = field(default_factory=list)  # with the line under "_line"
    rejected: list[Row] = field(default_factory=list)  # as the mart rejected_rows


def clean(cell: str | None) -> str | None:
    """Trim, take off one pair of quotes, also around blanks; an empty text is missing."""
    text = (cell or "").strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    return text or None


def to_number(text: str) -> Decimal:
    """Read a number written in digits with a point."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", text, re.ASCII):
        raise InvalidError("is not a number")
    return Decimal(text)


def refuse_thousands(text: str) -> None:
    """Three digits after a dot may be decimals, or hundreds after thousands."""
    if re.fullmatch(r"[+-]?\d*\.\d{3}", text, re.ASCII):
        raise InvalidError(
            f"is ambiguous: it may be {text.replace('.', '')} or {text.rstrip('0').rstrip('.')}; "
            "write it without a dot before three digits"
        )


def to_integer(text: str) -> int:
    """Read a whole number, such as 12 or 12.0."""
    try:
        number = to_number(text)
    except InvalidError:
        raise InvalidError("is not an integer") from None
    if number != int(number):
        raise InvalidError("is not an integer")
    return int(number)


def to_date(text: str) -> date:
    """Read a day, such as 2024-03-14, or its midnight."""
    found = TIMESTAMP.fullmatch(text)
    if not found:
        raise InvalidError("is not a date")
    try:
        moment, fraction = to_moment(text)
    except InvalidError:
        raise InvalidError("is not a date") from None
    zone = (found["zone"] or "").strip(" +-").replace(":", "") in (
        "",
        "Z",
        "UTC",
        "GMT",
        "00",
        "0000",
    )
    if not zone or fraction or moment.time() != time(0):
        raise InvalidError(
            "has a time of day; only midnight, in UTC or without a zone, is read as a date"
        )
    return moment.date()


TIMESTAMP = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)"
    r"([ T](?P<clock>\d\d:\d\d(:\d\d)?)(?P<fraction>\.\d{1,9})?"
    r"(?P<zone> ?(Z|UTC|GMT|(?P<sign>[+-])(?P<hours>\d\d)(:?(?P<minutes>\d\d))?))?)?",
    re.ASCII,
)


def to_moment(text: str) -> tuple[datetime, Fraction]:
    """Read a timestamp: its second in UTC, and the fraction of that second."""
    found = TIMESTAMP.fullmatch(text)
    if not found:
        raise InvalidError("is not a timestamp")
    zone: timezone = UTC
    try:
        if found["sign"]:
            offset = timedelta(hours=int(found["hours"]), minutes=int(found["minutes"] or 0))
            zone = timezone(-offset if found["sign"] == "-" else offset)
        second = datetime.fromisoformat(f"{found['day']}T{found['clock'] or '00:00'}")
    except ValueError:
        raise InvalidError("is not a timestamp") from None
    return second.replace(tzinfo=zone).astimezone(UTC), Fraction(found["fraction"] or 0)


READERS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "integer": to_integer,
    "number": to_number,
    "date": to_date,
    "timestamp": to_moment,
}


MISSING = ("NULL", "null", "NaN", "nan", "\\N", "N/A", "n/a", "#N/A", "<NA>")
MISSING_BUT_FOR_TEXTS = {*(word.lower() for word in MISSING), "na", "nat", "none"}
MANGLED_ID = re.compile(
    r"[+-]?\d+(\.0+|([.,]\d+)?[eE][+]\d+|[.,]\d+[eE]\d+)|=.*|#+"
    r"|#(REF!|NAME\?|VALUE!|DIV/0!|NUM!|NULL!)",
    re.ASCII | re.DOTALL,
)


def is_missing(column: Column, text: str | None) -> bool:
    """Whether a cleaned cell is empty, or says that it is."""
    if text is None or column.kind == "text":
        return text is None or text in MISSING
    return text.lower() in MISSING_BUT_FOR_TEXTS


def read_value(column: Column, text: str | None) -> Any:
    """Read a cleaned value as the contract says, or raise `InvalidError`."""
    if text is None or is_missing(column, text):
        if column.required:
            raise InvalidError(f"{column.name}: is missing")
        return None
    try:
        if column.kind == "integer" or (column.kind == "number" and column.decimals < 3):
            refuse_thousands(text)
        if column.is_id and column.kind == "text" and MANGLED_ID.fullmatch(text):
            raise InvalidError("is not the id but what a spreadsheet made of it")
        value = READERS[column.kind](text)
        if column.kind == "number" and -value.normalize().as_tuple().exponent > column.decimals:
            raise InvalidError(f"has more than {column.decimals} decimals")
        if column.at_least is not None and value < column.at_least:
            raise InvalidError(f"is not >= {column.at_least}")
        if column.above is not None and value <= column.above:
            raise InvalidError(f"is not > {column.above}")
        if column.at_most is not None and value > column.at_most:
            raise InvalidError(f"is not <= {column.at_most}")
        if column.kind in ("date", "timestamp") and not 1900 <= int(text[:4]) <= 2099:
            raise InvalidError("is not within the years 1900 to 2099")
        if column.days and not column.days[0] <= value[0].date() <= column.days[1]:
            raise InvalidError(f"is not within {column.days[0]} to {column.days[1]}")
        if column.kind == "text" and not column.one_of and len(text) > 1000:
            raise InvalidError("is longer than 1000 characters")
        if column.one_of and value not in column.one_of:
            raise InvalidError(f"is not one of {', '.join(column.one_of)}")
    except InvalidError as error:
        raise InvalidError(f'{column.name}: "{text}" {error}') from None
    return value


def read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row of a CSV file, the header too, with the line on which it starts."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        first_line = 1
        for cells in reader:
            if cells:
                yield first_line, cells
            first_line = reader.line_num + 1


def read_feed(name: str, seeds: Path) -> Feed:
    """Read the sample of a feed and keep its contract."""
    contract = CONTRACTS[name]
    feed = Feed(f"seeds/{contract.area}/{name}.csv")
    rows = read_cells(seeds / contract.area / f"{name}.csv")
    titles = [title.strip().lower() for title in next(rows)[1]]
    places = {
        column.name: next(titles.index(n) for n in (column.name, *column.aliases) if n in titles)
        for column in contract.columns
    }

    def reject(line: int, record: Row, reasons: list[str]) -> None:
        feed.rejected.append(
            {
                "feed": name,
                "file": feed.file,
                "line_number": line,
                "reasons": reasons,
                "record": record,
            }
        )

    valid: list[tuple[int, Row, Row]] = []
    for line, cells in rows:
        if len(cells) != len(titles):
            raise AssertionError(f"{feed.file}, line {line}: {len(cells)} cells")
        record = {column: cells[place] or None for column, place in places.items()}
        typed: Row = {"_line": line}
        reasons = []
        for column in contract.columns:
            try:
                typed[column.name] = read_value(column, clean(record[column.name]))
            except InvalidError as error:
                reasons.append(str(error))
        if reasons:
            reject(line, record, reasons)
        else:
            valid.append((line, record, typed))

    # Of the valid rows with one key the last counts.
    last = {tuple(typed[name] for name in contract.key): line for line, _, typed in valid}
    for line, record, typed in valid:
        kept = last[tuple(typed[name] for name in contract.key)]
        if contract.key and line != kept:
            texts = ", ".join(str(clean(record[name])) for name in contract.key)
            reason = f'{", ".join(contract.key)}: "{texts}" repeats; line {kept} is kept'
            reject(line, record, [reason])
        else:
            feed.accepted.append(typed)
    return feed


# --- Small tools ----------------------------------------------------------------------------------


def rounded(value: Fraction | Decimal | int, decimals: int) -> Decimal:
    """Round, half away from zero."""
    exact = Fraction(value)
    units = int(abs(exact) * 10**decimals + Fraction(1, 2))
    digits = tuple(int(digit) for digit in str(units))
    return Decimal((int(exact < 0), digits, -decimals))


def ratio(
    numerator: Decimal | int, denominator: Decimal | int, decimals: int = 2
) -> Decimal | None:
    """Divide and round; nothing can be divided by zero."""
    if denominator == 0:
        return None
    return rounded(Fraction(numerator) / Fraction(denominator), decimals)


def total(values: Iterable[Decimal]) -> Decimal:
    """Add up, exactly."""
    return sum(values, Decimal(0))


def grouped(rows: Iterable[Row], key: Callable[[Row], Hashable]) -> dict[Any, list[Row]]:
    """Put rows with the same key together."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def days_from(days: Iterable[date]) -> list[date]:
    """Return every day from the first to the last."""
    known = set(days)
    if not known:
        return []
    first = min(known)
    return [first + number * DAY for number in range((max(known) - first).days + 1)]


def rank(rows: Iterable[Row], column: str, key: Callable[[Row], Any]) -> None:
    """Number rows by a key, from 1, in a column."""
    for place, row in enumerate(sorted(rows, key=key), start=1):
        row[column] = place


def day_of(moment: tuple[datetime, Fraction]) -> date:
    """Return the business day of a moment; the business is in UTC."""
    return moment[0].date()


# --- Marketing ------------------------------------------------------------------------------------


def ads_performance_daily(feeds: Mapping[str, Feed]) -> list[Row]:
    """Spend and results by day and the five dimensions."""
    dimensions = ("date", "platform", "account", "campaign", "country", "device")
    groups = grouped(feeds["ads_spend"].accepted, lambda row: tuple(row[d] for d in dimensions))
    mart = []
    for key, rows in groups.items():
        spend = total(row["spend"] for row in rows)
        impressions = sum(row["impressions"] for row in rows)
        clicks = sum(row["clicks"] for row in rows)
        conversions = sum(row["conversions"] for row in rows)
        revenue = conversions * REVENUE_PER_CONVERSION
        mart.append(
            dict(zip(dimensions, key, strict=True))
            | {
                "spend": rounded(spend, 2),
                "impressions": impressions,
                "clicks": clicks,
                "conversions": conversions,
                "revenue": rounded(revenue, 2),
                "cac": ratio(spend, conversions),
                "roas": ratio(revenue, spend),
                "ctr": ratio(clicks, impressions, 4),
                "cpc": ratio(spend, clicks),
                "cpm": ratio(1000 * spend, impressions),
            }
        )
    return mart


# --- Shop -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """An order of the shop: its header, if it has one, and its lines, as the mart order_lines."""

    customer_id: str | None
    day: date | None
    status: str
    revenue: Decimal
    lines: list[Row]

    @property
    def is_sale(self) -> bool:
        """Only completed orders count, and only on a day."""
        return self.status == "completed" and self.day is not None


class Shop:
    """The shop's orders, put together."""

    def __init__(self, feeds: Mapping[str, Feed]) -> None:
        """Put the orders together and price their lines."""
        self.products = {row["product_id"]: row for row in feeds["products"].accepted}
        self.customers = {row["customer_id"]: row for row in feeds["customers"].accepted}
        self.rates = {
            row["rate_date"]: row["rate"]
            for row in feeds["fx_rates"].accepted
            if (row["from_currency"], row["to_currency"]) == (SHOP_CURRENCY, "USD")
        }
        headers = {row["order_id"]: row for row in feeds["orders"].accepted}
        self.on_hold = {clean(row["record"]["order_id"]) for row in feeds["orders"].rejected}
        self.on_hold -= headers.keys()
        items = grouped(feeds["order_items"].accepted, lambda row: row["order_id"])
        file = feeds["order_items"].file
        self.orders = {
            order_id: self._order(headers.get(order_id), items.get(order_id, []), file)
            for order_id in headers.keys() | items.keys()
        }
        self.sales = {key: order for key, order in self.orders.items() if order.is_sale}

    def _order(self, header: Row | None, items: list[Row], file: str) -> Order:
        if header:
            moment, status = header["order_date"], header["status"]
        else:
            moment = min((i["ordered_at"] for i in items if i["ordered_at"]), default=None)
            held = items[0]["order_id"] in self.on_hold
            status = "on_hold" if held else "completed"
        day = day_of(moment) if moment else None
        lines = [self._line(item, day, status, file) for item in items]
        worth = total(line["total_price"] for line in lines if line["total_price"] is not None)
        return Order(
            customer_id=header["customer_id"] if header else None,
            day=day,
            status=status,
            revenue=header["total_amount"] if header else worth,
            lines=lines,
        )

    def _line(self, item: Row, day: date | None, status: str, file: str) -> Row:
        product = self.products.get(item["product_id"])
        price = product["price"] if product else None
        worth = None if price is None else item["quantity"] * price
        rate_day = self.rate_day(day)
        rate = self.rates[rate_day] if rate_day else None
        return {
            "date": day,
            "order_id": item["order_id"],
            "product_id": item["product_id"],
            "product_name": product["name"] if product else UNKNOWN,
            "category": product["category"] if product else UNKNOWN,
            "quantity": item["quantity"],
            "unit_price": None if price is None else rounded(price, 2),
            "total_price": None if worth is None else rounded(worth, 2),
            "currency": SHOP_CURRENCY,
            "total_price_usd": None if worth is None or rate is None else rounded(worth * rate, 6),
            "fx_rate": None if rate is None else rounded(rate, 10),
            "fx_rate_date": rate_day,
            "status": status,
            "is_known_product": product is not None,
            "is_sale": status == "completed" and day is not None,
            "source_file": file,
            "source_line": item["_line"],
        }

    def rate_day(self, day: date | None) -> date | None:
        """Return the day of the newest rate on or before a day that is not too old."""
        usable = [known for known in self.rates if day and day - FX_MAX_AGE <= known <= day]
        return max(usable, default=None)

    def sold_lines(self) -> list[Row]:
        """Return the lines of all sales."""
        return [line for order in self.sales.values() for line in order.lines]

    def sale_days(self) -> list[date]:
        """Return the calendar from the first sale to the last."""
        return days_from(order.day for order in self.sales.values() if order.day)

    def member(self, line: Row) -> str:
        """Return the product that a line counts for."""
        return str(line["product_id"]) if line["is_known_product"] else UNKNOWN


def order_lines(shop: Shop) -> list[Row]:
    """Every accepted line, of orders in every status."""
    return [line for order in shop.orders.values() for line in order.lines]


def daily_sales(shop: Shop) -> list[Row]:
    """Sales by calendar day."""
    mart = []
    for day in shop.sale_days():
        orders = [order for order in shop.sales.values() if order.day == day]
        sales = total(order.revenue for order in orders)
        rate_day = shop.rate_day(day)
        usd: Decimal | None = None
        if not orders:
            usd = rounded(0, 2)
        elif rate_day:
            usd = rounded(sales * shop.rates[rate_day], 2)
        mart.append(
            {
                "date": day,
                "total_sales": rounded(sales, 2),
                "currency": SHOP_CURRENCY,
                "order_count": len(orders),
                "average_order_value": ratio(sales, len(orders)),
                "units": sum(line["quantity"] for order in orders for line in order.lines),
                "total_sales_usd": usd,
            }
        )
    return mart


def sold(lines: Sequence[Row], has_price: bool) -> Row:
    """Return what product_metrics and category_metrics have in common."""
    priced = [line for line in lines if line["total_price"] is not None]
    dollars = [line["total_price_usd"] for line in priced if line["total_price_usd"] is not None]
    # What sold nothing is worth nothing in any currency; what sold without a rate, nobody knows.
    has_dollars = has_price and (not priced or bool(dollars))
    return {
        "currency": SHOP_CURRENCY,
        "units_sold": sum(line["quantity"] for line in lines),
        "order_count": len({line["order_id"] for line in lines}),
        "revenue": rounded(total(li["total_price"] for li in priced), 2) if has_price else None,
        "revenue_usd": rounded(total(dollars), 2) if has_dollars else None,
        "lines_without_rate": sum(line["fx_rate"] is None for line in priced),
        "units_rank": None,
    }


def product_metrics(shop: Shop) -> list[Row]:
    """Sales and stock of each product."""
    lines = grouped(shop.sold_lines(), shop.member)
    mart = []
    for product_id in shop.products.keys() | lines.keys():
        product = shop.products.get(product_id, {})
        days = [line["date"] for line in lines.get(product_id, [])]
        price, stock = product.get("price"), product.get("inventory_count")
        mart.append(
            {
                "product_id": product_id,
                "name": product.get("name", UNKNOWN),
                "category": product.get("category", UNKNOWN),
                "price": None if price is None else rounded(price, 2),
                "first_sale_date": min(days, default=None),
                "last_sale_date": max(days, default=None),
                "inventory_count": stock,
                "inventory_value": None if stock is None else rounded(price * stock, 2),
            }
            | sold(lines.get(product_id, []), has_price=bool(product))
        )
    known = [row for row in mart if row["product_id"] != UNKNOWN]
    rank(known, "units_rank", lambda row: (-row["units_sold"], row["name"], row["product_id"]))
    return mart


def category_metrics(shop: Shop) -> list[Row]:
    """Sales of each category."""
    lines = grouped(shop.sold_lines(), lambda line: line["category"])
    known = {product["category"] for product in shop.products.values()}
    mart = [
        {"category": category} | sold(lines.get(category, []), has_price=category in known)
        for category in known | lines.keys()
    ]
    ranked = [row for row in mart if row["category"] in known]
    rank(ranked, "units_rank", lambda row: (-row["units_sold"], row["category"]))
    return mart


def product_daily_growth(shop: Shop) -> list[Row]:
    """Units of each product on every day, and the change from the day before."""
    names = {product_id: product["name"] for product_id, product in shop.products.items()}
    units: dict[tuple[str, date], int] = defaultdict(int)
    for line in shop.sold_lines():
        units[shop.member(line), line["date"]] += line["quantity"]
        names.setdefault(shop.member(line), UNKNOWN)
    mart = []
    for product_id, name in names.items():
        before: int | None = None
        for day in shop.sale_days():
            today = units.get((product_id, day), 0)
            mart.append(
                {
                    "date": day,
                    "product_id": product_id,
                    "name": name,
                    "units": today,
                    "units_previous_day": before,
                    "growth": None if before is None else today - before,
                }
            )
            before = today
    return mart


def customer_lifetime_value(shop: Shop) -> list[Row]:
    """What each customer spent."""
    orders: dict[str, list[Order]] = defaultdict(list)
    for order in shop.sales.values():
        is_known = order.customer_id in shop.customers
        orders[str(order.customer_id) if is_known else UNKNOWN].append(order)
    nobody = {"name": UNKNOWN, "country": UNKNOWN}
    mart: list[Row] = []
    for customer_id in shop.customers.keys() | orders.keys():
        customer = shop.customers.get(customer_id, nobody)
        theirs = orders.get(customer_id, [])
        spent = total(order.revenue for order in theirs)
        days = [order.day for order in theirs if order.day]
        mart.append(
            {
                "customer_id": customer_id,
                "name": customer["name"],
                "country": customer["country"],
                "join_date": customer.get("join_date"),
                "total_spent": rounded(spent, 2),
                "currency": SHOP_CURRENCY,
                "order_count": len(theirs),
                "average_order_value": ratio(spent, len(theirs)),
                "first_order_date": min(days, default=None),
                "last_order_date": max(days, default=None),
                "spend_rank": None,
            }
        )

    def place(row: Row) -> tuple[Any, ...]:
        # Customers without a name come after those with one.
        return -row["total_spent"], row["name"] is None, row["name"] or "", row["customer_id"]

    rank([row for row in mart if row["customer_id"] != UNKNOWN], "spend_rank", place)
    return mart


def order_kpis(shop: Shop) -> list[Row]:
    """The headline numbers."""
    sales = shop.sales.values()
    per_day = {
        day: sum(order.day == day for order in sales) for day in {order.day for order in sales}
    }
    busiest = min(per_day, key=lambda day: (-per_day[day], day or date.max))
    products = [row for row in product_metrics(shop) if row["units_rank"] is not None]
    top = min(products, key=lambda row: row["units_rank"])
    categories = [row for row in category_metrics(shop) if row["units_rank"] is not None]
    categories.sort(key=lambda row: row["units_rank"])
    growth = [
        row
        for row in product_daily_growth(shop)
        if row["growth"] is not None and row["product_id"] != UNKNOWN
    ]
    fastest = min(growth, key=lambda r: (-r["growth"], r["date"], r["name"], r["product_id"]))
    return [
        {
            "busiest_date": busiest,
            "busiest_date_orders": per_day[busiest],
            "top_product_id": top["product_id"],
            "top_product": top["name"],
            "top_product_units": top["units_sold"],
            "top_product_sales": top["revenue"],
            "top_product_sales_usd": top["revenue_usd"],
            "top_categories": " > ".join(row["category"] for row in categories[:3]),
            "average_ticket": ratio(total(order.revenue for order in sales), len(sales)),
            "currency": SHOP_CURRENCY,
            "fastest_growing_product": fastest["name"],
            "fastest_growing_date": fastest["date"],
            "fastest_growing_units": fastest["growth"],
        }
    ]


# --- Marketplace ----------------------------------------------------------------------------------


def sales_by_category_daily(feeds: Mapping[str, Feed]) -> list[Row]:
    """Sales by day and category."""
    groups = grouped(
        feeds["sales"].accepted,
        lambda row: (day_of(row["date_payment"]), row["category"] or UNKNOWN),
    )
    return [
        {
            "date": day,
            "category": category,
            "sales_count": len(rows),
            "revenue": rounded(total(row["revenue"] for row in rows), 6),
        }
        for (day, category), rows in groups.items()
    ]


def country_contribution(feeds: Mapping[str, Feed]) -> list[Row]:
    """Shares of the sellers' countries in all sales."""
    sales = feeds["sales"].accepted
    countries = {row["id_country"]: row for row in feeds["countries"].accepted}
    nobody = {"country_name": UNKNOWN, "continent": UNKNOWN}
    groups = grouped(
        sales,
        lambda row: row["id_seller_country"] if row["id_seller_country"] in countries else UNKNOWN,
    )
    everything = total(row["revenue"] for row in sales)
    mart = []
    for id_country, rows in groups.items():
        country = countries.get(id_country, nobody)
        revenue = total(row["revenue"] for row in rows)
        mart.append(
            {
                "id_country": id_country,
                "country": country["country_name"],
                "continent": country["continent"],
                "revenue": rounded(revenue, 2),
                "items": len(rows),
                "revenue_pct": ratio(100 * revenue, everything),
                "items_pct": ratio(100 * len(rows), len(sales)),
            }
        )
    return mart


def country_relationships(feeds: Mapping[str, Feed]) -> list[Row]:
    """Trade between two countries, both directions together."""
    names = {row["id_country"]: row["country_name"] for row in feeds["countries"].accepted}
    pairs: dict[tuple[str, str], list[Decimal]] = defaultdict(list)
    for row in feeds["sales"].accepted:
        seller, buyer = row["id_seller_country"], row["id_buyer_country"]
        if seller != buyer and seller in names and buyer in names:
            a, b = sorted((seller, buyer), key=lambda country: (names[country], country))
            pairs[a, b].append(row["revenue"])
    mart = [
        {
            "id_country_a": a,
            "country_a": names[a],
            "id_country_b": b,
            "country_b": names[b],
            "combined_revenue": rounded(total(revenues), 2),
            "sales_count": len(revenues),
        }
        for (a, b), revenues in pairs.items()
    ]
    rank(
        mart,
        "revenue_rank",
        lambda row: (
            -total(pairs[row["id_country_a"], row["id_country_b"]]),
            row["country_a"],
            row["country_b"],
        ),
    )
    return mart


def repeat_buyer_revenue(feeds: Mapping[str, Feed]) -> list[Row]:
    """Buyers of the first week of a month who bought again in the second."""
    sales = feeds["sales"].accepted
    mart = []
    calendar = days_from(day_of(row["date_payment"]) for row in sales)
    for month in sorted({(day.year, day.month) for day in calendar}):
        weeks: list[dict[str, Decimal]] = []
        for first, last in ((1, 7), (8, 14)):
            spent: dict[str, Decimal] = defaultdict(Decimal)
            for row in sales:
                day = day_of(row["date_payment"])
                if (day.year, day.month) == month and first <= day.day <= last:
                    spent[row["id_buyer"]] += row["revenue"]
            weeks.append(spent)
        repeat_buyers = weeks[0].keys() & weeks[1].keys()
        week1, week2 = (total(spent[buyer] for buyer in repeat_buyers) for spent in weeks)
        mart.append(
            {
                "month": f"{month[0]:04d}-{month[1]:02d}",
                "repeat_buyers": len(repeat_buyers),
                "week1_revenue": rounded(week1, 2),
                "week2_revenue": rounded(week2, 2),
                "change_pct": ratio(100 * (week2 - week1), week1),
            }
        )
    return mart


# --- Hiring ---------------------------------------------------------------------------------------


def hires_by_quarter(feeds: Mapping[str, Feed]) -> list[Row]:
    """Hires by year, department and job."""
    departments = {row["id"]: row["department"] for row in feeds["departments"].accepted}
    jobs = {row["id"]: row["job"] for row in feeds["jobs"].accepted}
    groups = grouped(
        feeds["hired_employees"].accepted,
        lambda row: (
            day_of(row["datetime"]).year,
            row["department_id"] if row["department_id"] in departments else None,
            row["job_id"] if row["job_id"] in jobs else None,
        ),
    )
    mart = []
    for (year, department_id, job_id), rows in groups.items():
        quarters = [0, 0, 0, 0]
        for row in rows:
            quarters[(day_of(row["datetime"]).month - 1) // 3] += 1
        mart.append(
            {
                "year": year,
                "department_id": department_id,
                "department": departments.get(department_id, UNKNOWN),
                "job_id": job_id,
                "job": jobs.get(job_id, UNKNOWN),
                "q1": quarters[0],
                "q2": quarters[1],
                "q3": quarters[2],
                "q4": quarters[3],
                "total": len(rows),
                "is_unknown": department_id is None or job_id is None,
            }
        )
    return mart


def departments_above_mean(feeds: Mapping[str, Feed]) -> list[Row]:
    """Hires of each department against the mean of its year."""
    departments = {row["id"]: row["department"] for row in feeds["departments"].accepted}
    hires = [
        row for row in feeds["hired_employees"].accepted if row["department_id"] in departments
    ]
    mart = []
    for year, rows in grouped(hires, lambda row: day_of(row["datetime"]).year).items():
        by_department = grouped(rows, lambda row: row["department_id"])
        mean = Fraction(len(rows), len(by_department))
        for department_id, theirs in by_department.items():
            mart.append(
                {
                    "year": year,
                    "id": department_id,
                    "department": departments[department_id],
                    "hired": len(theirs),
                    "mean_hired": rounded(mean, 2),
                    "is_above_mean": len(theirs) > mean,
                }
            )
    return mart


# --- Quality --------------------------------------------------------------------------------------


def feed_health(feeds: Mapping[str, Feed]) -> list[Row]:
    """The state of each feed, but for the time it was loaded."""
    on_hold = sum(line["status"] == "on_hold" for line in order_lines(Shop(feeds)))
    mart = []
    for name, contract in CONTRACTS.items():
        feed = feeds[name]
        unknown = 0
        for column in contract.columns:
            if column.names_in:
                other, other_column = column.names_in
                members = {row[other_column] for row in feeds[other].accepted}
                values = [row[column.name] for row in feed.accepted]
                unknown += sum(value is not None and value not in members for value in values)
        days = []
        if contract.date_column:
            dates = [row[contract.date_column] for row in feed.accepted]
            days = [day if isinstance(day, date) else day_of(day) for day in dates if day]
        mart.append(
            {
                "feed": name,
                "files": 1,
                "rows_read": len(feed.accepted) + len(feed.rejected),
                "rows_accepted": len(feed.accepted),
                "rows_rejected": len(feed.rejected),
                "unknown_references": unknown,
                "rows_on_hold": on_hold if name == "order_items" else 0,
                "has_sample": name != "fx_rates",
                "first_date": min(days, default=None),
                "last_date": max(days, default=None),
            }
        )
    return mart


def rejected_rows(feeds: Mapping[str, Feed]) -> list[Row]:
    """Every row that no mart counts."""
    return [
        row | {"area": CONTRACTS[name].area}
        for name, feed in feeds.items()
        for row in feed.rejected
    ]


# --- All of it ------------------------------------------------------------------------------------


def recompute(seeds: Path) -> dict[str, list[Row]]:
    """Compute every mart from the sample files.

    Args:
        seeds: the folder with <area>/<feed>.csv.

    Returns:
        The rows of each mart, in any order.
    """
    feeds = {name: read_feed(name, seeds) for name in CONTRACTS}
    shop = Shop(feeds)
    of_feeds = (
        ads_performance_daily,
        sales_by_category_daily,
        country_contribution,
        country_relationships,
        repeat_buyer_revenue,
        hires_by_quarter,
        departments_above_mean,
        feed_health,
        rejected_rows,
    )
    of_shop = (
        order_lines,
        daily_sales,
        product_metrics,
        product_daily_growth,
        category_metrics,
        customer_lifetime_value,
        order_kpis,
    )
    return {mart.__name__: mart(feeds) for mart in of_feeds} | {
        mart.__name__: mart(shop) for mart in of_shop
    }
