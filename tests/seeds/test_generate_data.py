"""The sample input and the large sets, judged by the files alone: the script is only run."""

import csv
import io
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path

import pytest

Row = dict[str, str]
Feeds = dict[str, list[Row]]

SEEDS = Path(__file__).resolve().parents[2] / "seeds"

HEADERS = {
    "marketing/ads_spend": "date,platform,account,campaign,country,device,spend,clicks,"
    "impressions,conversions",
    "shop/customers": "customer_id,name,email,country,join_date",
    "shop/products": "id,name,category,price,inventory_count",
    "shop/orders": "order_id,customer_id,order_date,total_amount,status",
    "shop/order_items": "order_id,product_id,quantity,ordered_at",
    "shop/fx_rates": "rate_date,from_currency,to_currency,rate",
    "marketplace/sales": "id_order,id_product,id_buyer,id_seller,id_seller_country,"
    "id_buyer_country,date_payment,brand,category,revenue",
    "marketplace/countries": "id_country,country,region",
    "hiring/departments": "id,department",
    "hiring/jobs": "id,job",
    "hiring/hired_employees": "id,name,datetime,department_id,job_id",
}
AREAS = {path.split("/")[1]: path.split("/")[0] for path in HEADERS}
FEEDS = sorted(AREAS)
COLUMNS = {path.split("/")[1]: header.split(",") for path, header in HEADERS.items()}
# In the large sets every header is the canonical one, but for the countries of the sample.
LARGE_COLUMNS = COLUMNS | {"products": ["product_id", *COLUMNS["products"][1:]]}

KEYS = {
    "customers": ["customer_id"],
    "products": ["id"],
    "orders": ["order_id"],
    "fx_rates": ["rate_date", "from_currency", "to_currency"],
    "countries": ["id_country"],
    "departments": ["id"],
    "jobs": ["id"],
    "hired_employees": ["id"],
}
OPTIONAL = {
    "customers": {"name", "email", "country", "join_date"},
    "products": {"inventory_count"},
    "order_items": {"ordered_at"},
    "countries": {"region"},
    "sales": {"brand", "category"},
    "hired_employees": {"name", "department_id", "job_id"},
}
DATES = {
    "ads_spend": "date",
    "customers": "join_date",
    "orders": "order_date",
    "order_items": "ordered_at",
    "fx_rates": "rate_date",
    "sales": "date_payment",
    "hired_employees": "datetime",
}
# Column: is it whole, and must it be greater than zero?
NUMBERS = {
    ("ads_spend", "spend"): (False, False),
    ("ads_spend", "clicks"): (True, False),
    ("ads_spend", "impressions"): (True, False),
    ("ads_spend", "conversions"): (True, False),
    ("products", "price"): (False, False),
    ("products", "inventory_count"): (True, False),
    ("orders", "total_amount"): (False, False),
    ("order_items", "quantity"): (True, True),
    ("fx_rates", "rate"): (False, True),
    ("sales", "revenue"): (False, False),
    ("departments", "id"): (True, False),
    ("jobs", "id"): (True, False),
    ("hired_employees", "id"): (True, False),
    ("hired_employees", "department_id"): (True, False),
    ("hired_employees", "job_id"): (True, False),
}
ACCEPTED = {
    ("orders", "status"): {"completed", "pending", "cancelled"},
    ("sales", "category"): {
        *("clothing", "shoes", "accessories", "jewellery", "bags", "design & decoration", "boys"),
        *("girls", "sport & leisure", "high-tech", "art & culture", "pet accessories"),
    },
}
# The kinds of faults that each feed has to show.
FAULTS = {
    "ads_spend": {"missing", "date", "negative", "text"},
    "customers": {"missing", "date"},
    "products": {"missing", "negative", "text"},
    "orders": {"missing", "date", "negative", "text", "unknown"},
    "order_items": {"missing", "date", "negative", "text"},
    "fx_rates": {"missing", "date", "negative", "text"},
    "sales": {"missing", "date", "negative", "text", "unknown"},
    "countries": {"missing"},
    "departments": {"missing", "text"},
    "jobs": {"missing", "text"},
    "hired_employees": {"missing", "date", "text"},
}
WITH_TEXTS = sorted(set(FEEDS) - {"orders", "order_items", "fx_rates"})
MOMENT = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,9})?Z?)?")


# --- Helpers --------------------------------------------------------------------------------------


def run(*arguments: str | Path, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SEEDS / "generate_data.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )


def written(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.csv")
    }


def records(content: bytes) -> list[list[str]]:
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    return list(csv.reader(text, strict=True))


def rows(content: bytes) -> list[Row]:
    header, *body = [record for record in records(content) if record]
    return [dict(zip(header, record, strict=True)) for record in body]


def cleaned(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def clean(feeds: Feeds) -> Feeds:
    return {
        name: [{column: cleaned(value) for column, value in row.items()} for row in feed]
        for name, feed in feeds.items()
    }


def fault(feed: str, column: str, value: str) -> str | None:
    """Say what is wrong with a cleaned value, if anything is."""
    if not value:
        return None if column in OPTIONAL.get(feed, set()) else "missing"
    if DATES.get(feed) == column:
        try:
            datetime.fromisoformat(value[:19])
        except ValueError:
            return "date"
        return None if MOMENT.fullmatch(value) else "date"
    if (feed, column) in NUMBERS:
        whole, above_zero = NUMBERS[feed, column]
        try:
            number = Decimal(value)
        except InvalidOperation:
            return "text"
        if number < 0 or (above_zero and number == 0):
            return "negative"
        return "text" if whole and number % 1 else None
    accepted = ACCEPTED.get((feed, column))
    return "unknown" if accepted and value not in accepted else None


def faults(feed: str, row: Row) -> list[str]:
    return [kind for column, value in row.items() if (kind := fault(feed, column, value))]


def without_faults(feeds: Feeds) -> Feeds:
    return {name: [row for row in feed if not faults(name, row)] for name, feed in feeds.items()}


def key_of(feed: str, row: Row) -> tuple[str, ...]:
    return tuple(row[column] for column in KEYS[feed])


def last_of_each_key(feeds: Feeds) -> Feeds:
    return {
        name: list({key_of(name, row): row for row in feed}.values()) if name in KEYS else feed
        for name, feed in feeds.items()
    }


def sums_of_lines(lines: Iterable[Row], products: Iterable[Row], key: str) -> dict[str, Decimal]:
    prices = {product[key]: Decimal(product["price"]) for product in products}
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for line in lines:
        sums[line["order_id"]] += int(line["quantity"]) * prices[line["product_id"]]
    return sums


def day_of(moment: str) -> date:
    return date.fromisoformat(moment[:10])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample")
    assert run("--seed", "42", "--out", out).returncode == 0
    return out


@pytest.fixture(scope="session")
def files(folder: Path) -> dict[str, bytes]:
    """The content of the eleven files, by feed."""
    return {name: (folder / area / f"{name}.csv").read_bytes() for name, area in AREAS.items()}


@pytest.fixture(scope="session")
def raw(files: dict[str, bytes]) -> Feeds:
    """All rows as they are written."""
    return {name: rows(content) for name, content in files.items()}


@pytest.fixture(scope="session")
def valid(raw: Feeds) -> Feeds:
    """The rows without a fault, cleaned; keys still repeat."""
    return without_faults(clean(raw))


@pytest.fixture(scope="session")
def final(valid: Feeds) -> Feeds:
    """What is left when the last row of each key has won."""
    return last_of_each_key(valid)


# --- The files ------------------------------------------------------------------------------------


def test_the_same_seed_writes_the_same_bytes_again(folder: Path, tmp_path: Path) -> None:
    assert run("--seed", "42", "--out", tmp_path, hash_seed="123").returncode == 0
    assert written(tmp_path) == written(folder)


def test_the_committed_files_are_those_of_the_seed_42(folder: Path) -> None:
    committed = {name: (SEEDS / name).read_bytes() for name in written(folder)}
    assert committed == written(folder)


def test_42_is_the_seed_when_none_is_named(folder: Path, tmp_path: Path) -> None:
    assert run("--out", tmp_path).returncode == 0
    assert written(tmp_path) == written(folder)


def test_another_seed_writes_other_bytes_below_the_same_headers(
    folder: Path, tmp_path: Path
) -> None:
    assert run("--seed", "7", "--out", tmp_path).returncode == 0
    here, there = written(folder), written(tmp_path)
    assert set(here) == set(there) == {f"{path}.csv" for path in HEADERS}
    for name, content in here.items():
        assert content != there[name], name
        assert content.splitlines()[0] == there[name].splitlines()[0], name


def test_every_file_and_its_rows_are_printed(tmp_path: Path) -> None:
    result = run("--out", tmp_path)
    printed = dict(line.split(": ") for line in result.stdout.splitlines())
    assert printed == {
        str(tmp_path / name): f"{len(rows(content))} rows"
        for name, content in written(tmp_path).items()
    }


@pytest.mark.parametrize("path", HEADERS)
def test_the_files_are_sound_csv_below_the_right_header(path: str, files: dict[str, bytes]) -> None:
    header, *body = records(files[path.split("/")[1]])
    assert ",".join(header) == HEADERS[path]
    assert {len(record) for record in body if record} == {len(header)}


@pytest.mark.parametrize("feed", FEEDS)
def test_no_feed_has_5000_rows(feed: str, raw: Feeds) -> None:
    assert 10 < len(raw[feed]) < 5_000


def test_two_files_have_crlf_line_ends_and_no_file_is_mixed(files: dict[str, bytes]) -> None:
    crlf = {"customers", "hired_employees"}
    for name, content in files.items():
        without_pairs = content.replace(b"\r\n", b"")
        assert b"\r" not in without_pairs, name
        assert (b"\r\n" in content) == (name in crlf), name
        assert (b"\n" not in without_pairs) == (name in crlf), name


def test_one_file_begins_with_a_byte_order_mark(files: dict[str, bytes]) -> None:
    assert [name for name in FEEDS if files[name].startswith(b"\xef\xbb\xbf")] == ["jobs"]


def test_one_file_has_one_blank_line_in_the_middle(files: dict[str, bytes]) -> None:
    blank = {
        name: [place for place, record in enumerate(records(content)) if not record]
        for name, content in files.items()
    }
    (place,) = blank.pop("sales")
    assert 1_000 < place < 2_000
    assert not any(blank.values())


def test_one_file_ends_without_a_line_end(files: dict[str, bytes]) -> None:
    assert [name for name in FEEDS if not files[name].endswith(b"\n")] == ["departments"]


# --- The dirt -------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed", FEEDS)
def test_every_feed_has_rows_to_reject_of_each_kind(feed: str, raw: Feeds) -> None:
    kinds = Counter(kind for row in clean(raw)[feed] for kind in faults(feed, row))
    assert set(kinds) == FAULTS[feed]
    assert min(kinds.values()) >= (1 if feed == "departments" else 2)


@pytest.mark.parametrize("feed", FEEDS)
def test_most_rows_are_good_and_the_bad_ones_are_spread(feed: str, raw: Feeds) -> None:
    all_rows = clean(raw)[feed]
    bad = [place for place, row in enumerate(all_rows) if faults(feed, row)]
    assert 4 <= len(bad) <= 20
    assert bad[0] < len(all_rows) / 2 < bad[-1]
    assert bad != list(range(bad[0], bad[0] + len(bad)))


@pytest.mark.parametrize("feed", ["ads_spend", "orders", "sales"])
def test_a_row_may_have_three_faults_at_once(feed: str, raw: Feeds) -> None:
    assert sum(len(faults(feed, row)) >= 3 for row in clean(raw)[feed]) >= 1


def test_impossible_dates_and_unknown_values_are_the_documented_ones(raw: Feeds) -> None:
    for feed, column in DATES.items():
        days = {cleaned(row[column])[:10] for row in raw[feed]}
        assert {"2024-13-01", "2025-02-30"} <= days, feed
    assert "shipped" in {row["status"] for row in raw["orders"]}
    assert "toys" in {row["category"] for row in raw["sales"]}
    assert {"-3", "0"} <= {row["quantity"] for row in raw["order_items"]}
    assert "-12.50" in {row["spend"] for row in raw["ads_spend"]}


@pytest.mark.parametrize("feed", FEEDS)
def test_every_feed_has_good_values_with_blanks_and_with_quotes_around(
    feed: str, raw: Feeds
) -> None:
    good = [
        value
        for row, tidy in zip(raw[feed], clean(raw)[feed], strict=True)
        if not faults(feed, tidy)
        for value in row.values()
    ]
    assert any(value.strip() != value for value in good)
    assert any(re.fullmatch(r"'[^']+'", value) for value in good)
    assert any(re.fullmatch(r'"[^"]+"', value) for value in good)


@pytest.mark.parametrize("feed", DATES)
def test_dates_come_in_single_and_in_doubled_double_quotes(
    feed: str, raw: Feeds, files: dict[str, bytes]
) -> None:
    values = [row[DATES[feed]] for row in raw[feed]]
    assert sum(bool(re.fullmatch(r"'\d{4}-[^']+'", value)) for value in values) >= 3
    assert sum(bool(re.fullmatch(r'"\d{4}-[^"]+"', value)) for value in values) >= 3
    assert len(re.findall(rb'"""\d{4}-[^"]+"""', files[feed])) >= 3


@pytest.mark.parametrize("feed", WITH_TEXTS)
def test_texts_have_accents(feed: str, valid: Feeds) -> None:
    assert any(not value.isascii() for row in valid[feed] for value in row.values())


@pytest.mark.parametrize("feed", sorted(set(WITH_TEXTS) - {"hired_employees"}))
def test_texts_have_commas_inside_quotes(feed: str, valid: Feeds, files: dict[str, bytes]) -> None:
    assert any("," in value for row in valid[feed] for value in row.values())
    assert re.search(rb'"[^"\n]+,[^"\n]+"', files[feed])


def test_the_name_of_one_customer_has_a_line_break(raw: Feeds) -> None:
    broken = [(name, row) for name in FEEDS for row in raw[name] if "\n" in "".join(row.values())]
    assert [(name, "\n" in row["name"]) for name, row in broken] == [("customers", True)]


@pytest.mark.parametrize("feed", KEYS)
def test_some_keys_repeat_in_rows_that_differ(feed: str, valid: Feeds) -> None:
    by_key: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in valid[feed]:
        by_key[key_of(feed, row)].append(row)
    repeated = [group for group in by_key.values() if len(group) > 1]
    assert 2 <= len(repeated) <= 8
    assert all(first != last for first, last in repeated)


@pytest.mark.parametrize("feed", KEYS)
def test_no_row_to_reject_has_the_key_of_a_good_one(feed: str, raw: Feeds) -> None:
    tidy = clean(raw)[feed]
    good = {key_of(feed, row) for row in tidy if not faults(feed, row)}
    assert not good & {key_of(feed, row) for row in tidy if faults(feed, row)}


def test_some_references_point_nowhere(final: Feeds) -> None:
    def ids(feed: str) -> set[str]:
        return {row[KEYS[feed][0]] for row in final[feed]}

    def unknown(feed: str, column: str, target: str) -> int:
        return sum(bool(row[column]) and row[column] not in ids(target) for row in final[feed])

    assert 3 <= unknown("orders", "customer_id", "customers") <= 10
    assert 3 <= unknown("order_items", "product_id", "products") <= 10
    assert 2 <= unknown("sales", "id_seller_country", "countries") <= 10
    assert 2 <= unknown("sales", "id_buyer_country", "countries") <= 10
    assert 3 <= unknown("hired_employees", "department_id", "departments") <= 10
    assert 3 <= unknown("hired_employees", "job_id", "jobs") <= 10
    used = {
        row[column]
        for row in final["sales"]
        for column in ("id_seller_country", "id_buyer_country")
    }
    assert "ZZ" in used


def test_some_hires_have_no_name_department_or_job(final: Feeds) -> None:
    for column in ("name", "department_id", "job_id"):
        assert 3 <= sum(not row[column] for row in final["hired_employees"]) <= 12, column


def test_optional_cells_of_customers_products_lines_and_sales_are_sometimes_empty(
    final: Feeds,
) -> None:
    for feed in ("customers", "products", "order_items", "sales"):
        for column in OPTIONAL[feed]:
            empty = sum(not row[column] for row in final[feed])
            assert 1 <= empty < len(final[feed]) / 5, (feed, column)


def test_some_ads_rows_share_all_dimensions_and_differ_in_measures(final: Feeds) -> None:
    by_dimensions: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in final["ads_spend"]:
        by_dimensions[tuple(row.values())[:6]].append(row)
    shared = [group for group in by_dimensions.values() if len(group) > 1]
    assert len(shared) >= 3
    assert all(group[0] != group[1] for group in shared)


# --- The feeds are consistent ---------------------------------------------------------------------


@pytest.mark.parametrize("feed", sorted(set(DATES) - {"customers"}))
def test_the_calendar_has_two_years(feed: str, final: Feeds) -> None:
    days = [day_of(row[DATES[feed]]) for row in final[feed] if row[DATES[feed]]]
    assert date(2024, 1, 1) <= min(days) <= date(2024, 1, 7)
    assert date(2025, 12, 25) <= max(days) <= date(2025, 12, 31)
    assert len({(day.year, day.month) for day in days}) == 24


def test_headers_state_the_sum_of_their_lines_but_for_a_few(final: Feeds) -> None:
    products = {row["id"] for row in final["products"]}
    lines = [row for row in final["order_items"] if row["product_id"] in products]
    dirty = {row["order_id"] for row in final["order_items"]} - {row["order_id"] for row in lines}
    dirty |= {row["order_id"] for row in final["order_items"] if row["product_id"] not in products}
    sums = sums_of_lines(lines, final["products"], "id")
    headers = {row["order_id"]: Decimal(row["total_amount"]) for row in final["orders"]}

    wrong = [number for number in headers.keys() & sums if headers[number] != sums[number]]
    assert 5 <= len(set(wrong) - dirty) <= 15
    assert 10 <= len(headers.keys() - sums.keys() - dirty) <= 20
    assert 5 <= len(sums.keys() - headers.keys()) <= 15


def test_lines_are_of_the_day_of_their_order(final: Feeds) -> None:
    days = {row["order_id"]: day_of(row["order_date"]) for row in final["orders"]}
    for line in final["order_items"]:
        moment = line["ordered_at"]
        if line["order_id"] in days:
            assert not moment or day_of(moment) == days[line["order_id"]]
        else:
            assert moment, "an order without a header is dated by its lines"


def test_moments_are_written_in_several_ways(final: Feeds) -> None:
    moments = [row["order_date"] for row in final["orders"]]
    digits = {len(moment.partition(".")[2]) for moment in moments}
    assert {0, 3, 6, 9} <= digits
    assert any(re.fullmatch(r".+T.+Z", moment) for moment in moments)
    lengths = {len(row["ordered_at"]) for row in final["order_items"]}
    assert {10, 19} <= lengths
    assert all(row["datetime"][10::9] == "TZ" for row in final["hired_employees"])


def test_most_orders_are_completed(final: Feeds) -> None:
    statuses = Counter(row["status"] for row in final["orders"])
    assert set(statuses) == {"completed", "pending", "cancelled"}
    assert 0.80 < statuses["completed"] / statuses.total() < 0.90


def test_some_products_never_sell_and_some_customers_never_order(final: Feeds) -> None:
    sold = {row["product_id"] for row in final["order_items"]}
    ordering = {row["customer_id"] for row in final["orders"]}
    assert 3 <= sum(row["id"] not in sold for row in final["products"]) <= 15
    assert 20 <= sum(row["customer_id"] not in ordering for row in final["customers"]) <= 200


def test_no_customer_orders_before_joining(final: Feeds) -> None:
    joined = {row["customer_id"]: row["join_date"] for row in final["customers"]}
    assert all(
        joined.get(row["customer_id"], "") <= row["order_date"][:10] for row in final["orders"]
    )


def test_sales_orders_have_several_rows_of_one_buyer(final: Feeds) -> None:
    buyers: dict[str, list[str]] = defaultdict(list)
    for row in final["sales"]:
        buyers[row["id_order"]].append(row["id_buyer"])
    assert sum(len(group) > 1 for group in buyers.values()) > 500
    assert all(len(set(group)) == 1 for group in buyers.values())


def test_several_months_have_buyers_who_return_in_the_second_week(final: Feeds) -> None:
    weeks: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row in final["sales"]:
        day = day_of(row["date_payment"])
        weeks[f"{day:%Y-%m}", row["id_buyer"]].add((day.day - 1) // 7)
    assert len({month for (month, _), seen in weeks.items() if {0, 1} <= seen}) >= 12


def test_revenue_has_up_to_six_decimals(final: Feeds) -> None:
    digits = {len(row["revenue"].partition(".")[2]) for row in final["sales"]}
    assert digits == {2, 6}


def test_rates_are_plausible_and_without_long_gaps(final: Feeds) -> None:
    rates = {
        day_of(row["rate_date"]): Decimal(row["rate"])
        for row in final["fx_rates"]
        if (row["from_currency"], row["to_currency"]) == ("BRL", "USD")
    }
    days = sorted(rates)
    assert 510 <= len(days) <= 524
    assert all(day.weekday() < 5 for day in days)
    assert max((later - day).days for day, later in pairwise(days)) <= 5
    assert Decimal("0.165") < min(rates.values()) <= max(rates.values()) < Decimal("0.215")
    assert any(len(str(rate)) == len("0.0123456789") for rate in rates.values())


def test_cost_and_return_of_ads_are_plausible_in_every_month(final: Feeds) -> None:
    spend: dict[str, Decimal] = defaultdict(Decimal)
    conversions: Counter[str] = Counter()
    for row in final["ads_spend"]:
        spend[row["date"][:7]] += Decimal(row["spend"])
        conversions[row["date"][:7]] += int(row["conversions"])
    for month, amount in spend.items():
        assert 25 <= amount / conversions[month] <= 40, month
        assert Decimal("2.5") <= 100 * conversions[month] / amount <= 4, month
    assert sum(row["conversions"] == "0" for row in final["ads_spend"]) > 20


def test_business_grows(final: Feeds) -> None:
    for feed in ("ads_spend", "orders", "sales"):
        years = Counter(row[DATES[feed]][:4] for row in final[feed])
        assert years["2025"] > 1.1 * years["2024"], feed


# --- Large sets -----------------------------------------------------------------------------------


def large(folder: Path) -> Feeds:
    return {name: rows((folder / name / f"{name}.csv").read_bytes()) for name in FEEDS}


def test_a_large_set_has_all_feeds_in_the_right_sizes(tmp_path: Path) -> None:
    assert run("--scale", "3000", "--out", tmp_path).returncode == 0
    assert set(written(tmp_path)) == {f"{name}/{name}.csv" for name in FEEDS}
    feeds = large(tmp_path)
    countries = len({row["id_country"] for row in feeds["countries"]})
    assert {name: len(feed) for name, feed in feeds.items()} == {
        "order_items": 3000,
        "orders": 1000,
        "customers": 100,
        "products": 30,
        "sales": 1500,
        "ads_spend": 600,
        "hired_employees": 30,
        "departments": 20,
        "jobs": 180,
        "countries": countries,
        "fx_rates": 731,
    }
    assert {name: list(feed[0]) for name, feed in feeds.items()} == LARGE_COLUMNS


def test_a_large_set_has_the_countries_of_the_sample(tmp_path: Path, final: Feeds) -> None:
    assert run("--scale", "100", "--out", tmp_path).returncode == 0
    countries = {row["id_country"]: row for row in large(tmp_path)["countries"]}
    assert countries == {row["id_country"]: row for row in final["countries"]}


def test_a_large_set_is_the_same_again_whatever_the_number_of_threads(tmp_path: Path) -> None:
    for folder, threads in (("one", "1"), ("three", "3")):
        out = tmp_path / folder
        result = run("--scale", "300000", "--threads", threads, "--out", out)
        assert result.returncode == 0
    assert written(tmp_path / "one") == written(tmp_path / "three")


def test_another_seed_makes_another_large_set(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        assert run("--scale", "300", "--seed", seed, "--out", tmp_path / seed).returncode == 0
    one, two = written(tmp_path / "1"), written(tmp_path / "2")
    same = {name for name in one if one[name] == two[name]}
    assert same == {f"{name}/{name}.csv" for name in ("countries", "departments", "jobs")}


def test_a_large_set_is_consistent_and_a_little_dirty(tmp_path: Path) -> None:
    assert run("--scale", "150000", "--out", tmp_path).returncode == 0
    everything = large(tmp_path)
    good = without_faults(everything)

    for name in ("order_items", "orders", "sales", "ads_spend"):
        share = 1 - len(good[name]) / len(everything[name])
        assert 0.0003 < share < 0.003, name
    for name in ("customers", "hired_employees"):
        assert 0 < len(everything[name]) - len(good[name]) < len(everything[name]) / 200, name
    customers = {row["customer_id"] for row in good["customers"]}
    assert {row["customer_id"] for row in everything["orders"]} <= customers
    countries = {row["id_country"] for row in good["countries"]}
    assert {row["id_seller_country"] for row in everything["sales"]} <= countries
    assert {row["department_id"] for row in everything["hired_employees"]} <= {
        row["id"] for row in everything["departments"]
    }

    sums = sums_of_lines(good["order_items"], good["products"], "product_id")
    assert sums.keys() == {row["order_id"] for row in everything["orders"]}
    days = {row["order_id"]: day_of(row["order_date"]) for row in good["orders"]}
    for row in good["orders"]:
        assert Decimal(row["total_amount"]) == sums[row["order_id"]]
    for line in good["order_items"]:
        assert line["order_id"] not in days or day_of(line["ordered_at"]) == days[line["order_id"]]
    assert (min(days.values()), max(days.values())) == (date(2024, 1, 1), date(2025, 12, 31))


@pytest.mark.parametrize("lines", [1, 2, 7, 8, 11, 100])
def test_the_smallest_large_sets_are_consistent_too(lines: int, tmp_path: Path) -> None:
    assert run("--scale", str(lines), "--out", tmp_path).returncode == 0
    feeds = without_faults(large(tmp_path))
    sums = sums_of_lines(feeds["order_items"], feeds["products"], "product_id")
    assert sums == {row["order_id"]: Decimal(row["total_amount"]) for row in feeds["orders"]}


# --- Bad arguments --------------------------------------------------------------------------------


def nowhere(folder: Path) -> Path:
    """Return a folder that nobody can make, not even the superuser: its parent is a file."""
    (folder / "file").write_text("")
    return folder / "file" / "folder"


BAD: dict[str, tuple[Callable[[Path], list[str | Path]], str]] = {
    "scale zero": (lambda out: ["--scale", "0", "--out", out], "'0' is no whole number"),
    "scale negative": (lambda out: ["--scale", "-5", "--out", out], "'-5' is no whole number"),
    "scale text": (lambda out: ["--scale", "many", "--out", out], "'many' is no whole number"),
    "scale too large": (lambda out: ["--scale", "9" * 30, "--out", out], "no whole number from 1"),
    "scale without out": (lambda _: ["--scale", "100"], "--scale needs --out"),
    "threads without scale": (lambda out: ["--threads", "2", "--out", out], "needs --scale"),
    "seed text": (lambda out: ["--seed", "x", "--out", out], "--seed"),
    "unknown option": (lambda _: ["--sede", "42"], "--sede"),
    "out below a file": (lambda out: ["--out", nowhere(out)], "cannot write"),
    "out of a large set below a file": (
        lambda out: ["--scale", "10", "--out", nowhere(out)],
        "cannot write",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_told_in_one_line(case: str, tmp_path: Path) -> None:
    arguments, message = BAD[case]
    result = run(*arguments(tmp_path))
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("generate_data.py: error: ")
    assert result.stdout == ""


def test_a_file_that_cannot_be_replaced_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "jobs" / "jobs.csv").mkdir(parents=True)
    result = run("--scale", "10", "--out", tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("generate_data.py: error: cannot write")
    assert result.stderr.count("\n") == 1
