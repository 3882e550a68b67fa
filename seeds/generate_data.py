"""Make the sample input of the warehouse, and large input for benchmarks.

    python seeds/generate_data.py --seed 42              rewrite the sample: seeds/<area>/<feed>.csv
    python seeds/generate_data.py --seed 42 --out DIR    the same sample in DIR/<area>/<feed>.csv
    python seeds/generate_data.py --scale N --out DIR    N order lines, in DIR/<feed>/<feed>.csv

The sample covers 2024-01-01 to 2025-12-31. The same seed gives the same bytes with every Python
from 3.11 and on every machine: all chance comes from `Dice`, and no result depends on a sum of
fractions. The large sets are the same for one version of DuckDB, whatever the number of threads.

What is wrong with the sample
=============================

Input from the real world is dirty, so this one is too. The files are sound CSV; the dirt is in
the values and is spread over each file. Keys say what a row is there for:

===========================  =====================================================================
rows to be rejected          C9001… P9001… O900001… X1… (countries), 901… (departments, jobs), 9001…
                             (hires), from_currency XXX (fx_rates), or an empty or textual key
references to nothing        C8001… P8001… ZZ and QQ (countries), 801… (departments, jobs)
orders that exist only as    O700001…
lines
===========================  =====================================================================

Rows to be rejected are the table `REJECTED`: it shows the bad cells of every such row. Feeds
without a key (ads_spend, order_items, sales) are searched for these values, such as `-12.50` or
`2024-13-01`. Rows that are fine once they are cleaned are the table `DRESSED`: blanks around a
value, a value in single quotes or in (doubled) double quotes. The rest, by feed:

- ads_spend: about a hundred rows that agree with another in date and all dimensions and differ in
  measures. Both are real. One row has three faults (`REJECTED`). Accents and commas in campaigns
  ("Brand, exact").
- customers: CRLF line ends; a line break inside one name ("Maria⏎Fernanda Souza"); names with
  accents and with commas; optional cells that are empty; keys that repeat (earlier: an e-mail
  address that begins with "old."); customers who never order.
- products: the header `id`, an alias of product_id; names with commas and accents; keys that repeat
  (earlier: a lower price and a stock of 500; the last row has the price that was charged);
  products that never sell.
- orders: keys that repeat (earlier: pending); customers that do not exist; headers without lines;
  headers whose total is not the sum of their lines (15.00 of shipping). One row has three faults.
- order_items: products that do not exist; lines without a header; lines without ordered_at.
- fx_rates: Monday to Friday; two holidays missing; keys that repeat (earlier: fewer digits).
- sales: one blank line in the middle; brands with accents and commas; brand or category missing;
  country ids of no country.
- countries: the headers `country` and `region`, aliases; the id of Namibia is NA; names with
  accents and commas; keys that repeat (earlier: the former name).
- departments: no line end after the last line; keys that repeat (earlier: the former name).
- jobs: a byte order mark; keys that repeat (earlier: the former name).
- hired_employees: CRLF line ends; names, departments and jobs that are empty (valid); departments
  and jobs that do not exist; keys that repeat (earlier: hired as an intern).
"""

import argparse
import csv
import io
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import NoReturn, TypeVar

import duckdb

T = TypeVar("T")
Row = dict[str, str]

FIRST_DAY = date(2024, 1, 1)
DAYS = 731  # to 2025-12-31

# How much happens, in percent of an average day.
MONTH_WEIGHTS = (92, 84, 94, 95, 104, 98, 96, 97, 99, 103, 134, 126)
SHOP_WEEK = (96, 98, 100, 102, 114, 118, 88)
OFFICE_WEEK = (120, 110, 100, 95, 75, 0, 0)

FIRST_NAMES = (
    "Ana", "João", "Maria", "José", "Beatriz", "Antônio", "Camila", "Luís", "Zoë", "Íris",
    "Sofía", "Matías", "Lucía", "Andrés", "Inês", "François", "Chloé", "Jürgen", "Günter",
    "Björn", "Åsa", "Søren", "Paweł", "Zofia", "Emily", "Oliver", "Grace", "Noah", "Mia",
    "Yuki", "Hiroshi", "Aisha", "Kwame", "Priya", "Rahul", "Carla", "Rafael", "Tereza", "Liam",
)  # fmt: skip
LAST_NAMES = (
    "Silva", "Souza", "Araújo", "Gonçalves", "Conceição", "Müller", "Schröder", "García",
    "Núñez", "Fernández", "Pérez", "O'Connor", "Smith", "Brown", "Dubois", "Lefèvre", "Rossi",
    "Bianchi", "Kowalski", "Łuczak", "Nyström", "Jørgensen", "Tanaka", "Sato", "Okafor",
    "Mensah", "Sharma", "Patel", "Almeida", "Carvalho", "Teixeira", "Magalhães", "Costa",
)  # fmt: skip

# What is to be rejected: for each row the cells that are wrong, by the names of the header.
REJECTED: dict[str, tuple[Row, ...]] = {
    "ads_spend": (
        {"date": ""}, {"platform": ""}, {"device": "   "}, {"spend": ""}, {"conversions": ""},
        {"date": "2024-13-01"}, {"date": "2025-02-30"}, {"date": "2024-00-10"},
        {"spend": "-12.50"}, {"clicks": "-4"}, {"impressions": "-1000"},
        {"spend": "abc"}, {"spend": "12,50"}, {"clicks": "many"},
        {"date": "2024-13-01", "spend": "-12.50", "conversions": "two"},
    ),
    "customers": (
        {"customer_id": ""}, {"customer_id": ""}, {"customer_id": "   "},
        {"join_date": "2024-13-01"}, {"join_date": "2025-02-30"}, {"join_date": "yesterday"},
    ),
    "products": (
        {"id": ""}, {"name": ""}, {"category": ""}, {"price": ""},
        {"price": "-5.00"}, {"inventory_count": "-3"},
        {"price": "free"}, {"price": "12,50"}, {"inventory_count": "lots"},
    ),
    "orders": (
        {"order_id": ""}, {"customer_id": ""}, {"order_date": ""}, {"total_amount": ""},
        {"status": ""}, {"order_date": "2024-13-01 10:00:00"},
        {"order_date": "2025-02-30 08:15:00.123"}, {"order_date": "2024-05-01 25:61:00"},
        {"total_amount": "-12.50"}, {"total_amount": "-0.01"},
        {"total_amount": "abc"}, {"total_amount": "12,50"},
        {"status": "shipped"}, {"status": "shipped"}, {"status": "returned"},
        {"order_date": "2025-02-30 08:15:00", "total_amount": "-40.00", "status": "shipped"},
    ),
    "order_items": (
        {"order_id": ""}, {"product_id": ""}, {"quantity": ""}, {"product_id": "  "},
        {"ordered_at": "2024-13-01"}, {"ordered_at": "2025-02-30 12:00:00"},
        {"quantity": "-3"}, {"quantity": "-1"}, {"quantity": "0"}, {"quantity": "0"},
        {"quantity": "two"}, {"quantity": "abc"},
    ),
    "fx_rates": (
        {"rate_date": ""}, {"to_currency": ""}, {"from_currency": ""}, {"rate": ""},
        {"rate_date": "2024-13-01"}, {"rate_date": "2025-02-30"},
        {"rate": "-0.1850000000"}, {"rate": "0"}, {"rate": "abc"}, {"rate": "0,1923"},
    ),
    "sales": (
        {"id_order": ""}, {"id_buyer": ""}, {"id_seller_country": ""}, {"date_payment": ""},
        {"revenue": ""}, {"id_product": "  "},
        {"date_payment": "2024-13-01 10:00:00"}, {"date_payment": "2025-02-30 18:30:00"},
        {"revenue": "-12.50"}, {"revenue": "-0.000001"}, {"revenue": "abc"},
        {"revenue": "12,50"}, {"category": "toys"}, {"category": "toys"},
        {"category": "furniture"}, {"date_payment": "", "category": "toys", "revenue": "abc"},
    ),
    "countries": (
        {"id_country": ""}, {"id_country": "  "}, {"country": ""}, {"country": "   "},
    ),
    "departments": (
        {"id": ""}, {"id": "seven"}, {"department": ""}, {"department": "   "},
    ),
    "jobs": (
        {"id": ""}, {"id": "seven"}, {"id": "n/a"}, {"job": ""}, {"job": "   "},
    ),
    "hired_employees": (
        {"id": ""}, {"id": ""}, {"datetime": ""}, {"datetime": "   "},
        {"datetime": "2024-13-01T10:00:00Z"}, {"datetime": "2025-02-30T09:30:00Z"},
        {"datetime": "soon"}, {"id": "twelve"}, {"department_id": "sales"}, {"job_id": "abc"},
    ),
}  # fmt: skip

# The key that rows to be rejected get, so that they stand in for no good row.
REJECTED_KEYS: dict[str, tuple[str, str]] = {
    "customers": ("customer_id", "C9{:03d}"),
    "products": ("id", "P9{:03d}"),
    "orders": ("order_id", "O9{:05d}"),
    "fx_rates": ("from_currency", "XXX"),
    "countries": ("id_country", "X{}"),
    "departments": ("id", "9{:02d}"),
    "jobs": ("id", "9{:02d}"),
    "hired_employees": ("id", "9{:03d}"),
}

BLANKS, BLANK_BEFORE, BLANK_AFTER = "  {} ", " {}", "{} "
QUOTED, DOUBLE_QUOTED, BLANKS_AND_QUOTES = "'{}'", '"{}"', " '{}' "
DATE_DRESSES = (QUOTED, QUOTED, QUOTED, DOUBLE_QUOTED, DOUBLE_QUOTED, DOUBLE_QUOTED, BLANKS)
KEY_DRESSES = (BLANKS, BLANK_AFTER, QUOTED, DOUBLE_QUOTED)

# What is fine once it is cleaned: for each column the forms that some of its values are given.
DRESSED: dict[str, dict[str, tuple[str, ...]]] = {
    "ads_spend": {
        "date": (*DATE_DRESSES, BLANKS_AND_QUOTES),
        "platform": (BLANKS, BLANK_AFTER),
        "spend": (BLANK_BEFORE, QUOTED, DOUBLE_QUOTED),
        "clicks": (BLANKS,),
    },
    "customers": {"customer_id": KEY_DRESSES, "join_date": DATE_DRESSES, "name": (BLANKS, BLANKS)},
    "products": {"id": KEY_DRESSES, "price": (BLANKS, QUOTED), "name": (BLANKS, DOUBLE_QUOTED)},
    "orders": {
        "order_id": KEY_DRESSES,
        "order_date": DATE_DRESSES,
        "total_amount": (BLANKS, QUOTED),
        "status": (BLANKS, BLANK_BEFORE, DOUBLE_QUOTED),
    },
    "order_items": {
        "order_id": KEY_DRESSES,
        "product_id": (BLANKS, QUOTED),
        "quantity": (BLANKS, DOUBLE_QUOTED),
        "ordered_at": DATE_DRESSES,
    },
    "fx_rates": {"rate_date": DATE_DRESSES, "to_currency": (BLANKS,), "rate": (BLANKS, QUOTED)},
    "sales": {
        "date_payment": DATE_DRESSES,
        "category": (BLANKS, BLANK_AFTER, QUOTED),
        "id_seller_country": (BLANKS, DOUBLE_QUOTED),
        "revenue": (BLANK_BEFORE, DOUBLE_QUOTED),
    },
    "countries": {"id_country": (BLANKS, QUOTED, DOUBLE_QUOTED), "country": (BLANK_AFTER,)},
    "departments": {"id": (BLANKS, DOUBLE_QUOTED), "department": (BLANKS, QUOTED)},
    "jobs": {"id": (BLANKS, QUOTED), "job": (BLANKS, DOUBLE_QUOTED)},
    "hired_employees": {
        "id": KEY_DRESSES,
        "datetime": DATE_DRESSES,
        "name": (BLANKS, BLANKS),
        "department_id": (BLANKS, QUOTED),
    },
}


class Dice:
    """Chance, from `Random.random()` alone: the one method Python promises never to change."""

    def __init__(self, seed: int, topic: str) -> None:
        """Start a series of its own for each topic, so that one feed never disturbs another."""
        self._random = Random(f"{seed}/{topic}").random

    def below(self, count: int) -> int:
        """Return a whole number from 0 to count - 1."""
        return int(self._random() * count)

    def between(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return low + self.below(high - low + 1)

    def about(self, expected: float) -> int:
        """Return one of the two whole numbers around `expected`, which is the mean of many."""
        return int(expected + self._random())

    def fraction(self) -> float:
        """Return a number from 0 to 1, 1 excluded."""
        return self._random()

    def chance(self, percent: int) -> bool:
        """Return true that often."""
        return self.below(100) < percent

    def one_of(self, items: Sequence[T]) -> T:
        """Return one item, each as likely as the others."""
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[int]) -> T:
        """Return one item, as likely as its weight says."""
        limits = list(accumulate(weights))
        return items[bisect_right(limits, self.below(limits[-1]))]

    def pick(self, count: int, among: Sequence[T]) -> list[T]:
        """Return `count` different items, or all if there are fewer, in the order drawn."""
        left = list(among)
        return [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]


@dataclass(frozen=True)
class Feed:
    """One file: its rows, by the names of the header, and how they are written."""

    area: str
    name: str
    header: tuple[str, ...]
    rows: list[Row]
    line_end: str = "\n"
    byte_order_mark: bool = False
    blank_line: bool = False  # one, in the middle
    final_line_end: bool = True

    def encode(self) -> bytes:
        """Return the content of the file."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator=self.line_end)
        writer.writerow(self.header)
        for number, row in enumerate(self.rows):
            if self.blank_line and number == len(self.rows) // 2:
                text.write(self.line_end)
            writer.writerow([row[column] for column in self.header])
        content = text.getvalue()
        if not self.final_line_end:
            content = content.removesuffix(self.line_end)
        return content.encode("utf-8-sig" if self.byte_order_mark else "utf-8")


# --- Dirt that all feeds have in common -----------------------------------------------------------


def add_dirt(
    feed: Feed, dice: Dice, repeats: int = 0, earlier: Callable[[Row], Row] | None = None
) -> Feed:
    """Spread the dirt of `REJECTED` and `DRESSED`, and keys that repeat, over a clean feed.

    Args:
        feed: The feed, clean.
        dice: Decides where the dirt goes.
        repeats: How many keys repeat.
        earlier: Makes from a row the one with the same key that comes before it. Rows that it does
            not change do not repeat.
    """
    placed = [(float(place), row) for place, row in enumerate(dress(feed, dice))]
    rejected = list(rejected_rows(feed, dice))
    stretch = len(feed.rows) / len(rejected)  # of the file, for each one of them
    for number, row in enumerate(dice.pick(len(rejected), rejected)):
        placed.append(((number + dice.fraction()) * stretch, row))
    if earlier:
        placed += earlier_rows(feed.rows, dice, repeats, earlier)
    return replace(feed, rows=[row for _, row in sorted(placed, key=itemgetter(0))])


def dress(feed: Feed, dice: Dice) -> list[Row]:
    """Return the rows of a feed, some with a value in one of the forms of `DRESSED`."""
    rows = list(feed.rows)
    for column, forms in DRESSED[feed.name].items():
        filled = [place for place, row in enumerate(feed.rows) if row[column]]
        for place, form in zip(dice.pick(len(forms), filled), forms, strict=True):
            rows[place] = rows[place] | {column: form.format(rows[place][column])}
    return rows


def rejected_rows(feed: Feed, dice: Dice) -> Iterator[Row]:
    """Yield copies of good rows with a key of their own and the faults of `REJECTED`."""
    for number, faults in enumerate(REJECTED[feed.name], start=1):
        row = dict(dice.one_of(feed.rows))
        if feed.name in REJECTED_KEYS:
            column, form = REJECTED_KEYS[feed.name]
            row[column] = form.format(number)
        yield row | faults


def earlier_rows(
    rows: Sequence[Row], dice: Dice, count: int, earlier: Callable[[Row], Row]
) -> list[tuple[float, Row]]:
    """Return rows with keys that repeat, each with its place, at most 30 before the true one."""
    places = [place for place, row in enumerate(rows) if place and earlier(row) != row]
    return [
        (place - (1 - dice.fraction()) * min(place, 30), earlier(rows[place]))
        for place in dice.pick(count, places)
    ]


# --- Time and people ------------------------------------------------------------------------------


def busy_days(dice: Dice, total: int, week: Sequence[int], growth: int = 60) -> Iterator[date]:
    """Yield days of the period in order, about `total` in all, a busy day more often.

    Args:
        dice: Rounds the expected number of each day.
        total: The number of days to yield, about.
        week: The weight of each day of the week, Monday first.
        growth: By how many percent the last day is busier than the first.
    """
    days = [FIRST_DAY + timedelta(days=number) for number in range(DAYS)]
    weights = [
        MONTH_WEIGHTS[day.month - 1] * week[day.weekday()] * (100 * DAYS + growth * number)
        for number, day in enumerate(days)
    ]
    whole = sum(weights)  # of integers: since Python 3.12 sums of floats differ
    for day, weight in zip(days, weights, strict=True):
        for _ in range(dice.about(total * weight / whole)):
            yield day


def moment_of(dice: Dice, day: date, first_hour: int = 0, last_hour: int = 23) -> datetime:
    """Return a second of that day."""
    clock = time(dice.between(first_hour, last_hour), dice.below(60), dice.below(60))
    return datetime.combine(day, clock)


def in_time_order(dice: Dice, days: Iterator[date]) -> list[datetime]:
    """Return a moment for each day, earliest first."""
    return sorted(moment_of(dice, day) for day in days)


def stamp(dice: Dice, moment: datetime) -> str:
    """Write a moment as one of the systems that feed us does: 0 to 9 digits, or ISO-8601."""
    text = moment.isoformat(sep=" ")
    digits = dice.weighted((0, 3, 6, 9, -1), (35, 15, 20, 20, 10))
    if digits < 0:
        return moment.isoformat() + "Z"
    return f"{text}.{dice.below(10**digits):0{digits}d}" if digits else text


def full_name(dice: Dice) -> str:
    """Return the name of a person."""
    return f"{dice.one_of(FIRST_NAMES)} {dice.one_of(LAST_NAMES)}"


def money(cents: int) -> str:
    """Write an amount with two decimals."""
    return f"{cents // 100}.{cents % 100:02d}"


def empty_some(rows: list[Row], dice: Dice, columns: dict[str, int]) -> None:
    """Empty that many cells of each of the columns."""
    for column, count in columns.items():
        for row in dice.pick(count, rows):
            row[column] = ""


# --- Marketing ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Campaign:
    """An advertising campaign and how well it does."""

    platform: str
    account: str
    name: str
    weight: int
    cpc: int  # cents a click
    ctr: int  # clicks in 10,000 impressions
    conversion_rate: int  # conversions in 10,000 clicks


CAMPAIGNS = (
    Campaign("Google", "acme-br", "Brand, exact", 6, 46, 620, 190),
    Campaign("Google", "acme-br", "Generic search", 8, 110, 350, 340),
    Campaign("Google", "acme-latam", "Shopping de verão", 5, 70, 120, 235),
    Campaign("Meta", "acme-br", "Prospecting", 9, 62, 110, 185),
    Campaign("Meta", "acme-br", "Retargeting", 6, 82, 160, 330),
    Campaign("Meta", "acme-latam", "Liquidação de Natal", 4, 70, 130, 215),
    Campaign("TikTok", "acme-social", "Criadores de São Paulo", 4, 38, 90, 105),
    Campaign("TikTok", "acme-social", "Año nuevo, vídeo", 3, 42, 95, 110),
    Campaign("LinkedIn", "acme-b2b", "Señora Müller & Zoë", 2, 260, 60, 680),
)
AD_COUNTRIES = {"BR": 50, "MX": 18, "AR": 10, "CO": 8, "PT": 8, "US": 6}
DEVICES = {"mobile": 62, "desktop": 30, "tablet": 8}
DEVICE_CONVERSION = {"mobile": 97, "desktop": 110, "tablet": 88}  # percent of the campaign's


def ad_measures(dice: Dice, campaign: Campaign, device: str) -> Row:
    """Return what a campaign cost and brought on one day in one place."""
    budget = dice.weighted((dice.between(500, 4_000), dice.between(6_000, 40_000)), (15, 85))
    clicks = max(1, budget * 100 // (campaign.cpc * dice.between(85, 115)))
    conversions = clicks * campaign.conversion_rate * DEVICE_CONVERSION[device] / 1_000_000
    return {
        "spend": money(budget),
        "clicks": str(clicks),
        "impressions": str(clicks * dice.between(8_500, 11_500) // campaign.ctr),
        "conversions": str(dice.about(conversions * dice.between(70, 130) / 100)),
    }


def ads_spend_feed(seed: int) -> Feed:
    """Make about four rows of advertising a day; some days the busiest ones come twice."""
    dice = Dice(seed, "ads_spend")
    rows: list[Row] = []
    for day in busy_days(dice, 2_900, week=(104, 104, 102, 100, 98, 96, 96), growth=40):
        campaign = dice.weighted(CAMPAIGNS, [each.weight for each in CAMPAIGNS])
        country = dice.weighted(list(AD_COUNTRIES), list(AD_COUNTRIES.values()))
        device = dice.weighted(list(DEVICES), list(DEVICES.values()))
        row = {
            "date": day.isoformat(),
            "platform": campaign.platform,
            "account": campaign.account,
            "campaign": campaign.name,
            "country": country,
            "device": device,
        }
        rows.append(row | ad_measures(dice, campaign, device))
    return add_dirt(Feed("marketing", "ads_spend", tuple(rows[0]), rows), dice)


# --- Shop -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """A product of the shop; popularity 0 never sells."""

    product_id: str
    name: str
    category: str
    cents: int
    popularity: int


@dataclass(frozen=True)
class Customer:
    """A customer of the shop; loyalty 0 never orders."""

    customer_id: str
    name: str
    country: str
    joined: date
    loyalty: int


@dataclass(frozen=True)
class Order:
    """An order: its header, and its lines as products with quantities."""

    order_id: str
    customer_id: str
    moment: datetime
    status: str
    lines: tuple[tuple[Product, int], ...]
    extra_cents: int = 0  # in the header's total and in no line
    has_header: bool = True
    has_lines: bool = True

    @property
    def cents(self) -> int:
        """The total that the header states."""
        return self.extra_cents + sum(product.cents * count for product, count in self.lines)


# Category: lowest price, highest price (BRL), names.
CATALOGUE: dict[str, tuple[int, int, str]] = {
    "Kitchen": (19, 320, "Café press|Mug, blue|Mug, white|Chef's knife|Wok, 30 cm|Crêpe pan"
                         "|Cutting board|Salad bowl|Teapot|Fondue set"),
    "Home": (29, 690, "Table lamp|Wool blanket|Candle, fig|Wall clock|Cushion|Bath towel"
                      "|Laundry basket|Curtain, linen|Door mat|Vase São Bento"),
    "Garden": (15, 450, "Watering can|Pruning shears|Hammock Ceará|Flower pot|Garden hose, 20 m"
                        "|Bird feeder|Rake|Herb seeds|Solar light|Wheelbarrow"),
    "Books": (24, 140, "Dom Casmurro|Grande sertão|A hora da estrela|Cien años de soledad"
                       "|Ficciones|Les misérables|Der Zauberberg|Vidas secas|Capitães da areia"
                       "|The Waves"),
    "Electronics": (59, 1990, "Headphones|Wireless mouse|Keyboard, compact|USB-C hub|Power bank"
                              "|Webcam|Bluetooth speaker|Smart plug|E-reader|Router"),
    "Beauty": (12, 190, "Hand cream|Açaí shampoo|Soap, lavender|Lip balm|Sun cream"
                        "|Hair brush|Face mask|Eau de toilette|Nail kit|Bath salts"),
    "Sports": (35, 890, "Yoga mat|Football|Jump rope|Dumbbells, 2 of 5 kg|Water bottle"
                        "|Running belt|Tennis balls|Swimming goggles|Bike light|Tent, 2 persons"),
    "Office": (5, 260, "Notebook, lined|Fountain pen|Desk organiser|Sticky notes|Stapler"
                       "|Calendar 2025|Whiteboard|Paper, 500 sheets|Scissors|Archive box"),
}  # fmt: skip
NEVER_SOLD = 7
CUSTOMER_COUNTRIES = {
    "Brazil": 70, "Portugal": 8, "Argentina": 6, "Mexico": 5, "Colombia": 4,
    "United States": 4, "Germany": 3, "Côte d'Ivoire": 1,
}  # fmt: skip


def make_products(dice: Dice) -> list[Product]:
    """Make the catalogue: a few products are sold a lot, most a little, some never."""
    named = [(name, kind) for kind, (_, _, names) in CATALOGUE.items() for name in names.split("|")]
    ranks = dice.pick(len(named), range(len(named)))
    products = []
    for number, ((name, category), rank) in enumerate(zip(named, ranks, strict=True), start=1):
        low, high, _ = CATALOGUE[category]
        reais = min(dice.between(low, high), dice.between(low, high))
        popularity = 240 // (rank + 3) if rank < len(named) - NEVER_SOLD else 0
        products.append(Product(f"P{number:04d}", name, category, reais * 100 + 90, popularity))
    return products


def make_customers(dice: Dice) -> list[Customer]:
    """Make the customers in the order in which they joined, from two years before the period."""
    first, days = FIRST_DAY - timedelta(days=730), 730 + 690
    joined = sorted(first + timedelta(days=dice.below(days)) for _ in range(400))
    return [
        Customer(
            customer_id=f"C{number:04d}",
            name=full_name(dice),
            country=dice.weighted(list(CUSTOMER_COUNTRIES), list(CUSTOMER_COUNTRIES.values())),
            joined=day,
            loyalty=dice.weighted((0, 1, 2, 4, 9, 20), (15, 30, 25, 18, 9, 3)),
        )
        for number, day in enumerate(joined, start=1)
    ]


def basket(dice: Dice, products: Sequence[Product]) -> tuple[tuple[Product, int], ...]:
    """Fill the basket of one order, with no product twice."""
    weights = [product.popularity for product in products]
    wanted = dice.weighted((1, 2, 3, 4), (42, 32, 17, 9))
    chosen: dict[str, tuple[Product, int]] = {}
    while len(chosen) < wanted:
        product = dice.weighted(products, weights)
        count = dice.weighted((1, 2, 3, 4, 6, 10), (62, 20, 9, 5, 3, 1))
        chosen.setdefault(product.product_id, (product, count))
    return tuple(chosen.values())


def make_orders(
    dice: Dice, customers: Sequence[Customer], products: Sequence[Product]
) -> list[Order]:
    """Make the orders of the period; a few have only lines, only a header or a wrong total."""
    joined = [customer.joined for customer in customers]
    orders: list[Order] = []
    for moment in in_time_order(dice, busy_days(dice, 2_400, SHOP_WEEK)):
        known = customers[: bisect_right(joined, moment.date())]
        customer = dice.weighted(known, [each.loyalty for each in known])
        status = dice.weighted(("completed", "pending", "cancelled"), (85, 8, 7))
        number = f"O{len(orders) + 1:06d}"
        lines = basket(dice, products)
        orders.append(Order(number, customer.customer_id, moment, status, lines))
    return with_odd_orders(dice, orders)


def with_odd_orders(dice: Dice, orders: Sequence[Order]) -> list[Order]:
    """Make some orders inconsistent, each in one way, as the module's documentation says."""
    odd = list(orders)
    places = iter(dice.pick(15 + 10 + 10 + 6, range(len(odd))))
    for _ in range(15):
        place = next(places)
        odd[place] = replace(odd[place], has_lines=False)
    for number in range(1, 11):
        place = next(places)
        odd[place] = replace(odd[place], order_id=f"O7{number:05d}", has_header=False)
    for _ in range(10):
        place = next(places)
        odd[place] = replace(odd[place], extra_cents=1_500)
    for number in range(1, 7):
        place = next(places)
        odd[place] = replace(odd[place], customer_id=f"C8{number:03d}")
    return odd


def email_of(dice: Dice, number: int) -> str:
    """Return an e-mail address, of a domain that is kept for examples."""
    return f"customer{number}@{dice.one_of(('example.com', 'example.org', 'mail.example'))}"


def customers_feed(seed: int, customers: Sequence[Customer]) -> Feed:
    """Write the customers."""
    dice = Dice(seed, "customers feed")
    rows = [
        {
            "customer_id": customer.customer_id,
            "name": customer.name,
            "email": email_of(dice, number),
            "country": customer.country,
            "join_date": customer.joined.isoformat(),
        }
        for number, customer in enumerate(customers, start=1)
    ]
    for row in dice.pick(5, rows):
        row["name"] = ", ".join(reversed(row["name"].split(" ", 1)))
    empty_some(rows, dice, {"name": 3, "email": 6, "country": 4, "join_date": 4})
    dice.one_of([row for row in rows if row["name"]])["name"] = "Maria\r\nFernanda Souza"
    return add_dirt(
        Feed("shop", "customers", tuple(rows[0]), rows, line_end="\r\n"),
        dice,
        repeats=6,
        earlier=lambda row: row | {"email": row["email"] and "old." + row["email"]},
    )


def products_feed(seed: int, products: Sequence[Product]) -> Feed:
    """Write the products, with `id` for product_id."""
    dice = Dice(seed, "products feed")
    rows = [
        {
            "id": product.product_id,
            "name": product.name,
            "category": product.category,
            "price": money(product.cents),
            "inventory_count": str(dice.weighted((0, dice.between(1, 400)), (5, 95))),
        }
        for product in products
    ]
    empty_some(rows, dice, {"inventory_count": 2})

    def before(row: Row) -> Row:
        price = Decimal(row["price"]) - Decimal("3.00")
        return row | {"price": str(price), "inventory_count": "500"}

    return add_dirt(Feed("shop", "products", tuple(rows[0]), rows), dice, 4, before)


def orders_feed(seed: int, orders: Sequence[Order]) -> Feed:
    """Write the headers of the orders."""
    dice = Dice(seed, "orders feed")
    rows = [
        {
            "order_id": order.order_id,
            "customer_id": order.customer_id,
            "order_date": stamp(dice, order.moment),
            "total_amount": money(order.cents),
            "status": order.status,
        }
        for order in orders
        if order.has_header
    ]
    feed = Feed("shop", "orders", tuple(rows[0]), rows)
    return add_dirt(feed, dice, repeats=8, earlier=lambda row: row | {"status": "pending"})


def order_items_feed(seed: int, orders: Sequence[Order]) -> Feed:
    """Write the lines of the orders."""
    dice = Dice(seed, "order_items feed")
    rows, with_header = [], []
    for order in orders:
        for product, count in order.lines if order.has_lines else ():
            whole_day, second = order.moment.date().isoformat(), order.moment.isoformat(sep=" ")
            row = {
                "order_id": order.order_id,
                "product_id": product.product_id,
                "quantity": str(count),
                "ordered_at": dice.weighted((whole_day, second, f"{second}.000"), (45, 45, 10)),
            }
            rows.append(row)
            if order.has_header:
                with_header.append(row)
    empty_some(with_header, dice, {"ordered_at": 8})
    for number, row in enumerate(dice.pick(6, with_header), start=1):
        row["product_id"] = f"P8{number:03d}"
    return add_dirt(Feed("shop", "order_items", tuple(rows[0]), rows), dice)


HOLIDAYS = (date(2024, 12, 25), date(2025, 1, 1))


def fx_rates_feed(seed: int) -> Feed:
    """Write the rate of BRL in USD of every working day, and two other pairs once a month."""
    dice = Dice(seed, "fx_rates")
    rows = []

    def quote(day: date, pair: str, units: int, digits: int = 10) -> None:
        rate = f"{units // 10**10}.{units % 10**10:010d}"[: 2 + digits]
        source, target = pair.split("/")
        rows.append(
            {"rate_date": day.isoformat(), "from_currency": source, "to_currency": target}
            | {"rate": rate}
        )

    brl = 2_050_000_000  # in units of 10^-10
    for day in (FIRST_DAY + timedelta(days=number) for number in range(DAYS)):
        if day.day == 1:
            quote(day, "EUR/USD", dice.between(10_300_000_000, 11_800_000_000), digits=5)
            quote(day, "EUR/BRL", dice.between(53_000_000_000, 64_000_000_000), digits=5)
        if day.weekday() < 5 and day not in HOLIDAYS:
            brl += dice.between(-14_000_000, 14_000_000) + (1_880_000_000 - brl) // 100
            brl = min(max(brl, 1_700_000_000), 2_100_000_000)
            quote(day, "BRL/USD", brl, digits=dice.weighted((4, 6, 10), (10, 20, 70)))
    return add_dirt(
        Feed("shop", "fx_rates", tuple(rows[0]), rows),
        dice,
        repeats=6,
        earlier=lambda row: row | {"rate": row["rate"][:5]},
    )


# --- Marketplace ----------------------------------------------------------------------------------


# The busiest countries of the marketplace come first.
COUNTRIES = (
    ("FR", "France", "Europe"), ("DE", "Germany", "Europe"), ("IT", "Italy", "Europe"),
    ("ES", "Spain", "Europe"), ("BR", "Brazil", "South America"),
    ("US", "United States", "North America"), ("GB", "United Kingdom", "Europe"),
    ("PT", "Portugal", "Europe"), ("NL", "Netherlands", "Europe"), ("JP", "Japan", "Asia"),
    ("MX", "Mexico", "North America"), ("TR", "Türkiye", "Asia"), ("AU", "Australia", "Oceania"),
    ("NA", "Namibia", "Africa"), ("KR", "Korea, Republic of", "Asia"), ("CZ", "Czechia", "Europe"),
    ("AR", "Argentina", "South America"), ("CL", "Chile", "South America"),
    ("CO", "Colombia", "South America"), ("PE", "Peru", "South America"),
    ("UY", "Uruguay", "South America"), ("CA", "Canada", "North America"),
    ("CR", "Costa Rica", "North America"), ("CW", "Curaçao", "North America"),
    ("IE", "Ireland", "Europe"), ("BE", "Belgium", "Europe"), ("AT", "Austria", "Europe"),
    ("CH", "Switzerland", "Europe"), ("PL", "Poland", "Europe"), ("SE", "Sweden", "Europe"),
    ("DK", "Denmark", "Europe"), ("FI", "Finland", "Europe"), ("GR", "Greece", "Europe"),
    ("MK", "North Macedonia", "Europe"), ("IN", "India", "Asia"), ("SG", "Singapore", "Asia"),
    ("NZ", "New Zealand", "Oceania"), ("ZA", "South Africa", "Africa"),
    ("MA", "Morocco", "Africa"), ("CI", "Côte d'Ivoire", "Africa"),
    ("CD", "Congo, Democratic Republic of the", "Africa"), ("RE", "Réunion", "Africa"),
    ("SZ", "Eswatini", "Africa"),
)  # fmt: skip
FORMER_COUNTRIES = {
    "Türkiye": "Turkey", "Czechia": "Czech Republic",
    "North Macedonia": "Macedonia", "Eswatini": "Swaziland",
}  # fmt: skip
SALE_CATEGORIES = {
    "clothing": 26, "shoes": 16, "accessories": 11, "bags": 10, "jewellery": 8,
    "design & decoration": 7, "girls": 5, "boys": 4, "sport & leisure": 5, "high-tech": 4,
    "art & culture": 2, "pet accessories": 1, "": 3,
}  # fmt: skip
BRANDS = (
    "Atelier Zoë", "Müller, Söhne & Co.", "Señora", "São Paulo Surf", "Nord", "Lumière",
    "Maison 12", "Blue Heron", "Kōyō", "Łąka", "Plain, Simple", "Vela", "Trattoria",
    "Ørsted & Daughters", "",
)  # fmt: skip


@dataclass(frozen=True)
class Party:
    """A buyer or a seller of the marketplace."""

    party_id: str
    id_country: str
    weight: int


def make_parties(dice: Dice, letter: str, count: int) -> list[Party]:
    """Make buyers or sellers, a few of them busy, most from a few countries."""
    home = [country[0] for country in COUNTRIES]
    weights = [60 // (rank + 1) + 1 for rank in range(len(home))]
    return [
        Party(f"{letter}{number:04d}", dice.weighted(home, weights), 300 // number + 2)
        for number in range(1, count + 1)
    ]


def make_listings(dice: Dice, count: int) -> list[tuple[Row, int]]:
    """Make the products that are for sale, each with a price in cents."""
    categories, weights = list(SALE_CATEGORIES), list(SALE_CATEGORIES.values())
    return [
        (
            {
                "id_product": f"L{number:05d}",
                "brand": dice.one_of(BRANDS),
                "category": dice.weighted(categories, weights),
            },
            min(dice.between(500, 40_000), dice.between(500, 40_000)),
        )
        for number in range(1, count + 1)
    ]


def revenue_of(dice: Dice, cents: int) -> str:
    """Write an amount with two decimals, or with six where it comes from another currency."""
    if dice.chance(70):
        return money(cents)
    millionths = cents * 10_000 + dice.below(10_000)
    return f"{millionths // 10**6}.{millionths % 10**6:06d}"


def sales_feed(seed: int) -> Feed:
    """Write the sales: orders of one to four rows, of one buyer and any sellers."""
    dice = Dice(seed, "sales")
    buyers, sellers = make_parties(dice, "B", 250), make_parties(dice, "S", 60)
    listings = make_listings(dice, 420)
    rows: list[Row] = []
    for number, moment in enumerate(in_time_order(dice, busy_days(dice, 1_730, SHOP_WEEK)), 1):
        buyer = dice.weighted(buyers, [party.weight for party in buyers])
        paid = stamp(dice, moment)
        for _ in range(dice.weighted((1, 2, 3, 4), (55, 25, 13, 7))):
            listing, cents = dice.one_of(listings)
            seller = dice.weighted(sellers, [party.weight for party in sellers])
            row = {
                "id_order": f"M{number:06d}",
                "id_product": listing["id_product"],
                "id_buyer": buyer.party_id,
                "id_seller": seller.party_id,
                "id_seller_country": seller.id_country,
                "id_buyer_country": buyer.id_country,
                "date_payment": paid,
                "brand": listing["brand"],
                "category": listing["category"],
                "revenue": revenue_of(dice, cents),
            }
            rows.append(row)
    for place, row in enumerate(dice.pick(7, rows)):
        column = ("id_seller_country", "id_buyer_country")[place % 2]
        row[column] = ("ZZ", "ZZ", "QQ")[place % 3]
    return add_dirt(Feed("marketplace", "sales", tuple(rows[0]), rows, blank_line=True), dice)


def clean_countries_feed() -> Feed:
    """Write the countries, with `country` and `region` for country_name and continent."""
    header = ("id_country", "country", "region")
    rows = [dict(zip(header, country, strict=True)) for country in COUNTRIES]
    return Feed("marketplace", "countries", header, rows)


def countries_feed(seed: int) -> Feed:
    """Write the countries as they come."""

    def before(row: Row) -> Row:
        return row | {"country": FORMER_COUNTRIES.get(row["country"], row["country"])}

    return add_dirt(clean_countries_feed(), Dice(seed, "countries"), 3, before)


# --- Hiring ---------------------------------------------------------------------------------------


DEPARTMENTS = {
    "Engineering": 20, "Sales, Europe": 12, "Sales, Americas": 11, "Marketing": 7,
    "Customer Care": 14, "Logistics": 10, "People": 5, "Finance": 5, "Legal": 3,
    "Comunicação": 3, "Research & Development": 8, "Direção São Paulo": 2,
}  # fmt: skip
FORMER_DEPARTMENTS = {"People": "Personnel", "Logistics": "Warehouse", "Marketing": "Advertising"}
JOBS = (
    "Software Engineer", "Data Engineer", "Data Analyst", "Analytics Engineer", "Data Scientist",
    "Product Manager", "Product Designer", "QA Engineer", "Site Reliability Engineer",
    "Engineering Manager", "Account Executive", "Account Manager", "Sales Representative",
    "Sales Manager", "Attaché commercial", "Marketing Specialist", "Content Writer",
    "Community Manager", "Campaign Manager", "Support Agent", "Support Lead", "Warehouse Worker",
    "Driver", "Fleet Coordinator", "Buyer, indirect goods", "Recruiter", "People Partner",
    "Payroll Clerk", "Accountant", "Controller", "Treasury Analyst", "Counsel", "Paralegal",
    "Jornalista", "Relações Públicas", "Lab Technician", "Researcher", "Principal, research",
    "Executive Assistant", "Intern",
)  # fmt: skip
FORMER_JOBS = {"Data Analyst": "Statistician", "People Partner": "HR Partner", "Counsel": "Lawyer"}
INTERN = str(len(JOBS))


def departments_feed(seed: int) -> Feed:
    """Write the departments."""

    def before(row: Row) -> Row:
        return row | {"department": FORMER_DEPARTMENTS.get(row["department"], row["department"])}

    rows = [{"id": str(number), "department": name} for number, name in enumerate(DEPARTMENTS, 1)]
    feed = Feed("hiring", "departments", ("id", "department"), rows, final_line_end=False)
    return add_dirt(feed, Dice(seed, "departments"), 2, before)


def jobs_feed(seed: int) -> Feed:
    """Write the jobs."""

    def before(row: Row) -> Row:
        return row | {"job": FORMER_JOBS.get(row["job"], row["job"])}

    rows = [{"id": str(number), "job": name} for number, name in enumerate(JOBS, 1)]
    feed = Feed("hiring", "jobs", ("id", "job"), rows, byte_order_mark=True)
    return add_dirt(feed, Dice(seed, "jobs"), 2, before)


def hired_employees_feed(seed: int) -> Feed:
    """Write who was hired, on working days; each department has a handful of jobs."""
    dice = Dice(seed, "hired_employees")
    staff = [dice.pick(8, range(1, len(JOBS) + 1)) for _ in DEPARTMENTS]
    numbers, weights = range(1, len(DEPARTMENTS) + 1), list(DEPARTMENTS.values())
    rows: list[Row] = []
    for day in busy_days(dice, 1_900, OFFICE_WEEK, growth=25):
        department = dice.weighted(numbers, weights)
        row = {
            "id": str(len(rows) + 1),
            "name": full_name(dice),
            "datetime": moment_of(dice, day, first_hour=8, last_hour=18).isoformat() + "Z",
            "department_id": str(department),
            "job_id": str(dice.one_of(staff[department - 1])),
        }
        rows.append(row)
    empty_some(rows, dice, {"name": 9, "department_id": 8, "job_id": 8})
    for column in ("department_id", "job_id"):
        known = [row for row in rows if row[column]]
        for number, row in enumerate(dice.pick(5, known), start=1):
            row[column] = str(800 + number)
    return add_dirt(
        Feed("hiring", "hired_employees", tuple(rows[0]), rows, line_end="\r\n"),
        dice,
        repeats=8,
        earlier=lambda row: row | {"job_id": INTERN},
    )


# --- The sample -----------------------------------------------------------------------------------


def sample_feeds(seed: int) -> list[Feed]:
    """Make the eleven feeds of the sample."""
    products = make_products(Dice(seed, "products"))
    customers = make_customers(Dice(seed, "customers"))
    orders = make_orders(Dice(seed, "orders"), customers, products)
    return [
        ads_spend_feed(seed),
        customers_feed(seed, customers),
        products_feed(seed, products),
        orders_feed(seed, orders),
        order_items_feed(seed, orders),
        fx_rates_feed(seed),
        sales_feed(seed),
        countries_feed(seed),
        departments_feed(seed),
        jobs_feed(seed),
        hired_employees_feed(seed),
    ]


def write_feed(feed: Feed, folder: Path) -> tuple[Path, int]:
    """Write a feed into a folder; return the path and the number of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{feed.name}.csv"
    path.write_bytes(feed.encode())
    return path, len(feed.rows)


def write_sample(seed: int, out: Path) -> Iterator[tuple[Path, int]]:
    """Write the sample; yield the path and the number of rows of each file."""
    for feed in sample_feeds(seed):
        yield write_feed(feed, out / feed.area)


# --- Large sets -----------------------------------------------------------------------------------


MOST_LINES = 1_000_000_000  # ids have digits for no more

# Every value is a function of the number of its row, so rows can be made in any order, orders know
# their lines without a join, and nothing is kept in memory. Six lines are two orders.
MACROS = """
CREATE MACRO draw(i, topic, n) AS (hash(i, topic, '{seed}') % n)::BIGINT;
CREATE MACRO day_of(i, total) AS DATE '{first_day}' + (i * {days} // total)::INTEGER;
CREATE MACRO moment_of(i, total, topic)
    AS day_of(i, total)::TIMESTAMP + to_seconds(draw(i, topic, 86400));
CREATE MACRO text_id(letter, i, width) AS letter || lpad(i::VARCHAR, width, '0');
CREATE MACRO amount(cents) AS (cents::DECIMAL(18, 0) * 0.01::DECIMAL(3, 2))::DECIMAL(18, 2);
CREATE MACRO country(i, topic) AS {countries}[1 + draw(i, topic, {country_count})];

CREATE MACRO split_of(block) AS 1 + draw(block, 'split', 5);
CREATE MACRO order_of(line)
    AS least(2 * (line // 6) + (line % 6 >= split_of(line // 6))::BIGINT, {orders} - 1);
CREATE MACRO first_line(nr)
    AS 6 * (nr // 2) + CASE WHEN nr % 2 = 0 THEN 0 ELSE split_of(nr // 2) END;
CREATE MACRO end_line(nr)
    AS CASE WHEN nr = {orders} - 1 THEN {order_items} ELSE first_line(nr + 1) END;
CREATE MACRO product_of(line)
    AS least(draw(line, 'product', {products}), draw(line, 'other product', {products}));
CREATE MACRO product_cents(product) AS 990 + 10 * draw(product, 'price', 9000);
CREATE MACRO quantity_of(line) AS 1 + least(draw(line, 'quantity', 6), draw(line, 'less', 6));
-- 0, 1 and 2 are dirty lines; the first line of an order never is
CREATE MACRO line_dirt(line)
    AS CASE WHEN line % 6 IN (0, split_of(line // 6)) THEN 9 ELSE draw(line, 'line dirt', 2000) END;
CREATE MACRO line_cents(line) AS CASE
    WHEN line_dirt(line) < 3 THEN 0 ELSE quantity_of(line) * product_cents(product_of(line)) END;
-- one customer in ten never orders; only among these are dirty ones
CREATE MACRO customer_of(nr) AS draw(nr, 'customer', {customers});
CREATE MACRO buying(customer) AS customer - (customer % 10 = 9)::BIGINT;
"""

# Where `dirt` is 0, 1 or 2 the row is to be rejected: that is about one row in a thousand.
QUERIES = {
    "ads_spend": """
        SELECT
            CASE dirt WHEN 0 THEN '2024-13-01' ELSE day_of(i, {ads_spend})::VARCHAR END AS date,
            ['Google', 'Meta', 'TikTok', 'LinkedIn'][1 + campaign % 4] AS platform,
            'account ' || (campaign % 8) AS account,
            'campaign ' || campaign AS campaign,
            ['BR', 'MX', 'AR', 'PT', 'US'][1 + draw(i, 'country', 5)] AS country,
            ['mobile', 'desktop', 'tablet'][1 + draw(i, 'device', 3)] AS device,
            CASE dirt WHEN 1 THEN '-12.50' ELSE amount(cents)::VARCHAR END AS spend,
            CASE dirt WHEN 2 THEN 'many' ELSE (1 + cents // 80)::VARCHAR END AS clicks,
            (1 + cents // 80) * (60 + draw(i, 'impressions', 60)) AS impressions,
            cents * (70 + draw(i, 'conversions', 60)) // 320000 AS conversions
        FROM (
            SELECT
                i,
                draw(i, 'campaign', 40) AS campaign,
                500 + draw(i, 'spend', 40000) AS cents,
                draw(i, 'dirt', 3000) AS dirt
            FROM range({ads_spend}) AS numbers (i)
        )
    """,
    "customers": """
        SELECT
            text_id('C', i, 8) AS customer_id,
            'Customer ' || i AS name,
            'customer' || i || '@example.com' AS email,
            country(i, 'home') AS country,
            CASE
                WHEN i % 10 = 9 AND draw(i, 'dirt', 100) = 0 THEN '2023-02-30'
                ELSE (DATE '2022-01-01' + draw(i, 'joined', 730)::INTEGER)::VARCHAR
            END AS join_date
        FROM range({customers}) AS numbers (i)
    """,
    "products": """
        SELECT
            text_id('P', i, 5) AS product_id,
            'Product ' || i AS name,
            'Category ' || (i % 25) AS category,
            amount(product_cents(i)) AS price,
            draw(i, 'inventory', 500) AS inventory_count
        FROM range({products}) AS numbers (i)
    """,
    "orders": """
        SELECT
            text_id('O', i, 9) AS order_id,
            text_id('C', buying(customer_of(i)), 8) AS customer_id,
            CASE dirt
                WHEN 0 THEN '2024-13-01 10:00:00'
                ELSE moment_of(i, {orders}, 'ordered')::VARCHAR
            END AS order_date,
            CASE dirt WHEN 1 THEN 'abc' ELSE amount(cents)::VARCHAR END AS total_amount,
            CASE
                WHEN dirt = 2 THEN 'shipped'
                ELSE if(status < 85, 'completed', if(status < 93, 'pending', 'cancelled'))
            END AS status
        FROM (
            SELECT
                i,
                draw(i, 'status', 100) AS status,
                draw(i, 'order dirt', 3000) AS dirt,
                list_sum(
                    list_transform(
                        range(first_line(i), end_line(i)), lambda line: line_cents(line)
                    )
                ) AS cents
            FROM range({orders}) AS numbers (i)
        )
    """,
    "order_items": """
        SELECT
            text_id('O', nr, 9) AS order_id,
            CASE dirt WHEN 0 THEN NULL ELSE text_id('P', product_of(line), 5) END AS product_id,
            CASE dirt
                WHEN 1 THEN '-3' WHEN 2 THEN 'two' ELSE quantity_of(line)::VARCHAR
            END AS quantity,
            CASE line % 2
                WHEN 0 THEN day_of(nr, {orders})::VARCHAR
                ELSE moment_of(nr, {orders}, 'ordered')::VARCHAR
            END AS ordered_at
        FROM (
            SELECT
                line,
                order_of(line) AS nr,
                line_dirt(line) AS dirt
            FROM range({order_items}) AS numbers (line)
        )
    """,
    "fx_rates": """
        SELECT
            day_of(i, {fx_rates}) AS rate_date,
            'BRL' AS from_currency,
            'USD' AS to_currency,
            (1700000000 + draw(i, 'rate', 400000000))::DECIMAL(18, 0)
            * 0.0000000001::DECIMAL(18, 10) AS rate
        FROM range({fx_rates}) AS numbers (i)
    """,
    "sales": """
        SELECT
            text_id('M', i // 2, 9) AS id_order,
            text_id('L', product, 6) AS id_product,
            text_id('B', buyer, 8) AS id_buyer,
            text_id('S', seller, 5) AS id_seller,
            country(seller, 'seller') AS id_seller_country,
            country(buyer, 'buyer') AS id_buyer_country,
            CASE dirt
                WHEN 0 THEN '2024-13-01 10:00:00'
                ELSE moment_of(i // 2, ({sales} + 1) // 2, 'paid')::VARCHAR
            END AS date_payment,
            'brand ' || (product % 500) AS brand,
            CASE dirt
                WHEN 1 THEN 'toys'
                ELSE {categories}[1 + draw(product, 'category', {category_count})]
            END AS category,
            CASE dirt
                WHEN 2 THEN '-1'
                ELSE amount(500 + draw(i, 'revenue', 40000))::VARCHAR || draw(i, 'tail', 10000)
            END AS revenue
        FROM (
            SELECT
                i,
                draw(i, 'product', 20000) AS product,
                draw(i // 2, 'buyer', {sales} // 20 + 10) AS buyer,
                draw(i, 'seller', 1000) AS seller,
                draw(i, 'sale dirt', 3000) AS dirt
            FROM range({sales}) AS numbers (i)
        )
    """,
    "departments": """
        SELECT i + 1 AS id, 'Department ' || (i + 1) AS department
        FROM range({departments}) AS numbers (i)
    """,
    "jobs": """
        SELECT i + 1 AS id, 'Job ' || (i + 1) AS job
        FROM range({jobs}) AS numbers (i)
    """,
    "hired_employees": """
        SELECT
            i + 1 AS id,
            'Employee ' || (i + 1) AS name,
            CASE draw(i, 'hire dirt', 1000)
                WHEN 0 THEN 'soon'
                ELSE strftime(moment_of(i, {hired_employees}, 'hired'), '%Y-%m-%dT%H:%M:%SZ')
            END AS datetime,
            1 + draw(i, 'department', {departments}) AS department_id,
            1 + draw(i, 'job', {jobs}) AS job_id
        FROM range({hired_employees}) AS numbers (i)
    """,
}


def scaled_sizes(lines: int) -> dict[str, int]:
    """Return the number of rows of each feed that is made by SQL, from the number of lines."""
    return {
        "ads_spend": max(1, lines // 5),
        "customers": max(1, lines // 30),
        "products": max(10, min(5_000, lines // 100)),
        "orders": max(1, lines // 3),
        "order_items": lines,
        "fx_rates": DAYS,
        "sales": max(1, lines // 2),
        "departments": 20,
        "jobs": 180,
        "hired_employees": max(1, lines // 100),
    }


def write_scaled(
    lines: int, seed: int, out: Path, threads: int | None = None
) -> Iterator[tuple[Path, int]]:
    """Write a large set; yield the path and the number of rows of each file.

    Args:
        lines: The number of order lines.
        seed: The seed.
        out: The folder, of one folder for each feed.
        threads: How many threads DuckDB uses; all processors by default.
    """
    countries = clean_countries_feed()
    categories = [category for category in SALE_CATEGORIES if category]
    values: dict[str, object] = {
        **scaled_sizes(lines),
        "seed": seed,
        "first_day": FIRST_DAY,
        "days": DAYS,
        "countries": [row["id_country"] for row in countries.rows],
        "country_count": len(countries.rows),
        "categories": categories,
        "category_count": len(categories),
    }
    with duckdb.connect(config={"threads": threads} if threads else {}) as connection:
        connection.execute(MACROS.format(**values))
        for name, query in QUERIES.items():
            folder = out / name
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}.csv"
            target = str(path).replace("'", "''")
            copy = f"COPY ({query.format(**values)}) TO '{target}' (FORMAT csv, HEADER)"
            yield path, connection.execute(copy).fetchall()[0][0]
    yield write_feed(countries, out / countries.name)


# --- The command ----------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser of arguments that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def whole_number(limit: int) -> Callable[[str], int]:
    """Return a function that reads a whole number from 1 to `limit`."""

    def read(text: str) -> int:
        number = int(text) if text.isdecimal() else 0
        if not 1 <= number <= limit:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {limit}")
        return number

    return read


def parse_arguments(parser: Parser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser.add_argument("--seed", type=int, default=42, help="another seed, other data (42)")
    parser.add_argument("--out", type=Path, help="folder to write to (the sample: this script's)")
    parser.add_argument(
        "--scale",
        type=whole_number(MOST_LINES),
        metavar="N",
        help="write a large set with N order lines; needs --out",
    )
    parser.add_argument(
        "--threads",
        type=whole_number(1024),
        metavar="N",
        help="threads that make a large set (one for each processor)",
    )
    options = parser.parse_args(arguments)
    if options.scale and not options.out:
        parser.error("--scale needs --out: large sets do not belong among the seeds")
    if options.threads and not options.scale:
        parser.error("--threads needs --scale")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files that the command line asks for, and print each with its number of rows."""
    parser = Parser(prog="generate_data.py", description="Make input for the warehouse.")
    options = parse_arguments(parser, arguments)
    out = options.out or Path(__file__).resolve().parent
    try:
        if options.scale:
            written = write_scaled(options.scale, options.seed, out, options.threads)
        else:
            written = write_sample(options.seed, out)
        for path, rows in written:
            shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
            print(f"{shown}: {rows} rows", flush=True)
    except (OSError, duckdb.IOException) as error:
        parser.error(f"cannot write: {str(error).splitlines()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
