"""What cells mean: which texts are values, which are missing, and which say neither for certain."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.landing.loading import Compiled, Loading

Row = Mapping[str, str | None]

SOUND: dict[str, dict[str, str]] = {
    "ads_spend": {
        **{"date": "2026-09-01", "platform": "Meta", "account": "a", "campaign": "c"},
        **{"country": "BR", "device": "mobile"},
        **{"spend": "1.50", "clicks": "1", "impressions": "2", "conversions": "0"},
    },
    "orders": {
        **{"order_id": "O1", "customer_id": "C1", "order_date": "2026-04-12 08:10:00"},
        **{"total_amount": "5", "status": "completed"},
    },
    "products": {
        **{"product_id": "P1", "name": "Mug", "category": "Kitchen", "price": "9.90"},
        **{"inventory_count": "3"},
    },
    "customers": {
        **{"customer_id": "C1", "name": "Ana", "email": "a@b.c", "country": "NA"},
        **{"join_date": "2026-09-01"},
    },
    "sales": {
        **{"id_order": "1", "id_product": "2", "id_buyer": "3", "id_seller": "4"},
        **{"id_seller_country": "BR", "id_buyer_country": "AR", "brand": "x", "category": "shoes"},
        **{"date_payment": "2026-04-12 08:10:00", "revenue": "1.250"},
    },
    "hired_employees": {
        **{"id": "1", "name": "Ana", "datetime": "2026-04-12T08:10:00Z"},
        **{"department_id": "1", "job_id": "2"},
    },
}


class Values:
    """Loads cells of a feed.

    Args:
        feed: as compiled.
        folder: for its file.
    """

    def __init__(self, feed: Compiled, folder: Path) -> None:
        self._feed, self._folder = feed, folder / feed.contract.feed
        self._folder.mkdir()

    def read(self, column: str, cells: Sequence[Any], kind: str = "csv") -> list[Any]:
        """What a column's cells are in rows that are sound otherwise: a value, or the reason.

        Args:
            column: of the feed.
            cells: of a column each; texts, and for Parquet an array.
            kind: of the file.
        """
        sound = SOUND[self._feed.contract.feed]
        rows = [sound | {column: cell} for cell in cells]
        path = self._folder / f"a.{kind}"
        if kind == "csv":
            lines = [
                ",".join(sound),
                *(",".join(self._field(cell) for cell in row.values()) for row in rows),
            ]
            path.write_text("\n".join(lines) + "\n")
        elif kind == "jsonl":
            path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
        else:
            columns = {name: pa.array([text] * len(cells)) for name, text in sound.items()}
            parquet.write_table(pa.table(columns | {column: cells}), path)
        loading = Loading(self._feed, self._folder)
        try:
            loading.load()
            return [
                reasons[0].removeprefix(f"{column}: ") if reasons else value
                for value, reasons in loading.rows(f'"{column}", _reasons')
            ]
        finally:
            loading.close()

    @staticmethod
    def _field(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if re.search('[,"]', text) else text


Reader = Callable[[str], Values]


@pytest.fixture
def values(compiled: dict[str, Compiled], tmp_path: Path) -> Reader:
    """Gives the reader of a feed's values."""
    numbers = itertools.count()

    def of(feed: str) -> Values:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return Values(compiled[feed], folder)

    return of


# ---------------------------------------------------------------------------- dots of thousands

THREE_DIGITS = (
    "2.500",
    "120.000",
    "1.000",
    "1.234",
    "-2.500",
    "+2.500",
    "0.500",
    ".500",
    "1234.500",
)
AMBIGUOUS = re.compile(
    r'"(?P<text>.*)" is ambiguous: it may be (?P<thousands>.*) or (?P<decimals>.*); '
    "write it without a dot before three digits"
)


@pytest.mark.parametrize(
    ("feed", "column"),
    [
        *(("ads_spend", column) for column in ("spend", "clicks", "impressions", "conversions")),
        *(("orders", "total_amount"), ("products", "price"), ("products", "inventory_count")),
        ("hired_employees", "department_id"),
    ],
)
def test_a_dot_before_exactly_three_digits_is_ambiguous(
    values: Reader, feed: str, column: str
) -> None:
    texts = [text for text in THREE_DIGITS if text[0] != "." or column in ("spend", "price")]
    for text, found in zip(texts, values(feed).read(column, texts), strict=True):
        said = AMBIGUOUS.fullmatch(str(found))
        assert said, (text, found)
        assert said["text"] == text
        assert said["thousands"] == text.replace(".", "")
        assert Decimal(said["decimals"]) == Decimal(text)


def test_other_numbers_of_decimals_say_what_they_mean(values: Reader) -> None:
    sound: dict[str, dict[str, Any]] = {
        "clicks": {"12.0": 12, "8.": 8, "8.00": 8, "2.0000": 2, "1000": 1000, "0.0": 0},
        "spend": {
            **{"10.50": "10.50", "12.500000": "12.50", "2.0000": "2.00", "12.0": "12.00"},
            **{"2500": "2500.00", ".5": "0.50", "1234.5": "1234.50", "7.2500": "7.25"},
        },
    }
    for column, texts in sound.items():
        found = values("ads_spend").read(column, list(texts))
        assert found == [
            type(value)(text) for value, text in zip(found, texts.values(), strict=True)
        ]
    assert values("sales").read("revenue", ["2.500", "1.234"]) == [Decimal("2.5"), Decimal("1.234")]


def test_no_number_is_read_as_a_thousandth_of_what_it_may_mean(values: Reader) -> None:
    """A property of all texts of digits and a dot."""
    chance = random.Random(17)  # noqa: S311 - no secret
    texts = [
        f"{chance.choice(['', '-', '+'])}{chance.randrange(10 ** chance.randrange(1, 7))}"
        f".{''.join(chance.choices('0005', k=chance.randrange(8)))}"
        for _ in range(2_000)
    ]
    for column in ("price", "inventory_count"):
        decimals = 2 if column == "price" else 0
        for text, found in zip(texts, values("products").read(column, texts), strict=True):
            fraction = text.partition(".")[2]
            is_sound = (
                len(fraction) != 3
                and len(fraction.rstrip("0")) <= decimals
                and (Decimal(text) >= 0)
            )
            assert is_sound == (not isinstance(found, str)), (text, found)
            assert not is_sound or found == Decimal(text), (text, found)


def test_a_number_of_a_typed_file_is_never_ambiguous(values: Reader) -> None:
    amounts = pa.array([Decimal("2.500"), Decimal("120.000")], pa.decimal128(10, 3))
    assert values("products").read("price", amounts, "parquet") == [Decimal("2.5"), Decimal(120)]
    assert values("products").read("inventory_count", amounts[1:], "parquet") == [120]

    class Written(float):
        def __repr__(self) -> str:
            return "2.500"

    assert values("products").read("price", [Written(2.5)], "jsonl") == [Decimal("2.5")]
    (text,) = values("products").read("price", ["2.500"], "jsonl")
    assert AMBIGUOUS.fullmatch(text)


# ---------------------------------------------------------------------------- missing

IN_TEXTS = ("NULL", "null", "NaN", "nan", "\\N", "N/A", "n/a", "#N/A", "<NA>")
ELSEWHERE = (*IN_TEXTS, "Null", "NAN", "\\n", "#n/a", "NA", "None", "NaT", "na")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_usual_words_for_missing_are_missing(values: Reader, kind: str) -> None:
    def read(feed: str, column: str, words: Sequence[str]) -> list[Any]:
        cells = pa.array(words) if kind == "parquet" else words
        return list(values(feed).read(column, cells, kind))

    nothing = [None] * len(ELSEWHERE)
    assert read("products", "inventory_count", ELSEWHERE) == nothing
    assert read("customers", "join_date", ELSEWHERE) == nothing
    assert read("hired_employees", "department_id", ELSEWHERE) == nothing
    assert read("customers", "email", IN_TEXTS) == nothing[: len(IN_TEXTS)]
    assert read("sales", "category", IN_TEXTS) == nothing[: len(IN_TEXTS)]
    for feed, column in (("ads_spend", "campaign"), ("orders", "customer_id"), ("sales", "brand")):
        missing = "is missing" if column != "brand" else None
        assert read(feed, column, IN_TEXTS) == [missing] * len(IN_TEXTS), column
    assert set(read("ads_spend", "spend", ELSEWHERE)) == {"is missing"}
    assert set(read("orders", "order_date", ELSEWHERE)) == {"is missing"}


def test_words_that_are_names_stay_texts(values: Reader) -> None:
    names = ["Null", "Nan", "NA", "None", "-", "null and void", "NULL campaign"]
    assert values("ads_spend").read("campaign", names) == names


def test_not_a_number_of_a_typed_file_is_missing(values: Reader) -> None:
    floats = pa.array([float("nan"), None, 3.0])
    assert values("products").read("inventory_count", floats, "parquet") == [None, None, 3]
    assert values("products").read("inventory_count", [float("nan"), None], "jsonl") == [None, None]


# ---------------------------------------------------------------------------- ids

MANGLED = (
    *("123457000001.0", "1.00", "1.23457E+11", "1.23457e+11", "1E+11", "1,23457E+11"),
    *("1.23457E11", '="00123"', "=A1", "#REF!", "#NAME?", "#VALUE!", "########", "-1.0"),
)
IDS = (
    "00123",
    "O1",
    "1E5",
    "1E-5",
    "2E",
    "1.5",
    "10.0.1",
    "a.0",
    "12-3",
    "1.0a",
    "V1.0",
    "E+5",
    "#1",
    "é",
)


@pytest.mark.parametrize(
    ("feed", "column"),
    [
        *(("orders", "order_id"), ("orders", "customer_id"), ("products", "product_id")),
        *(("sales", "id_order"), ("sales", "id_seller_country")),
    ],
)
def test_what_a_spreadsheet_made_of_an_id_is_no_id(values: Reader, feed: str, column: str) -> None:
    for text, found in zip(MANGLED, values(feed).read(column, MANGLED), strict=True):
        assert found == (
            f'"{text}" is not the id but what a spreadsheet made of it; format the column as text '
            "there, then export it again"
        )
    assert values(feed).read(column, IDS) == list(IDS)


def test_an_unquoted_formula_is_no_id_either(compiled: dict[str, Compiled], tmp_path: Path) -> None:
    folder = tmp_path / "products"
    folder.mkdir()
    lines = ["product_id,name,category,price", '="00123",Mug,Kitchen,1', "00124,Cup,Kitchen,2"]
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    loading = Loading(compiled["products"], folder)
    loading.load()
    rows = loading.rows("product_id, _reasons is null")
    loading.close()
    assert rows == [(None, False), ("00124", True)]


def test_an_integer_id_in_exponents_says_what_happened_to_it(values: Reader) -> None:
    found = values("hired_employees").read("id", ["1.23457E+11", "9001.0", "x"])
    assert "what a spreadsheet made of it" in found[0]
    assert found[1:] == [9001, '"x" is not an integer']


def test_names_may_look_like_anything(values: Reader) -> None:
    names = ["1.5", "1.0", "=SUM", "1.23457E+11", "2.500"]
    assert values("ads_spend").read("campaign", names) == names


# ---------------------------------------------------------------------------- days and times


def test_midnight_is_its_day(values: Reader) -> None:
    day = dt.date(2026, 9, 1)
    texts = [
        *("2026-09-01", "2026-09-01 00:00:00", "2026-09-01T00:00", "2026-09-01T00:00:00Z"),
        *("2026-09-01 00:00:00.000000", "2026-09-01 00:00:00 UTC", "2026-09-01T00:00:00+00:00"),
    ]
    for feed, column in (("ads_spend", "date"), ("customers", "join_date")):
        assert values(feed).read(column, texts) == [day] * len(texts)
    for type_ in (
        pa.timestamp("s"),
        pa.timestamp("us"),
        pa.timestamp("ns"),
        pa.timestamp("us", "UTC"),
    ):
        times = pa.array([dt.datetime(2026, 9, 1)], type_)
        assert values("ads_spend").read("date", times, "parquet") == [day]


def test_another_time_of_day_is_no_date(values: Reader) -> None:
    texts = [
        *("2026-09-01 00:00:01", "2026-09-01T22:45:00Z", "2026-09-01 00:00:00.000001"),
        *("2026-09-01 12:00", "2026-09-01 00:00:00+02:00"),
    ]
    for text, found in zip(texts, values("ads_spend").read("date", texts), strict=True):
        assert found.startswith(f'"{text}" has a time of day'), found
    assert values("ads_spend").read("date", ["2026-09-31 00:00:00", "2026-09-01 25:00"]) == [
        '"2026-09-31 00:00:00" is not a date',
        '"2026-09-01 25:00" is not a date',
    ]


def test_a_blank_before_the_zone_is_no_doubt(values: Reader) -> None:
    at = dt.datetime(2026, 4, 12, 8, 10)
    west = dt.datetime(2026, 4, 12, 12, 10)
    texts = {
        **{"2026-04-12 08:10:00 UTC": at, "2026-04-12 08:10:00UTC": at, "2026-04-12 08:10 GMT": at},
        **{"2026-04-12T08:10:00 Z": at, "2026-04-12 08:10:00 +00:00": at},
        **{"2026-04-12 08:10:00 -0400": west, "2026-04-12 08:10:00 -04:00": west},
        **{"2026-04-12 08:10:00.000 -04": west, "2026-04-12T08:10-0400": west},
    }
    assert values("orders").read("order_date", list(texts)) == list(texts.values())
    bad = ["2026-04-12 08:10:00 BRT", "2026-04-12 08:10:00  UTC", "2026-04-12 UTC"]
    assert values("orders").read("order_date", bad) == [f'"{x}" is not a timestamp' for x in bad]


def test_a_year_that_no_calendar_here_has_is_named(values: Reader) -> None:
    assert values("ads_spend").read("date", ["1899-12-31", "2100-01-01", "1900-01-01"]) == [
        '"1899-12-31" is not within the years 1900 to 2099',
        '"2100-01-01" is not within the years 1900 to 2099',
        dt.date(1900, 1, 1),
    ]
    found = values("orders").read("order_date", ["2300-01-01", "1999-12-31", "2049-12-31 23:59:59"])
    assert found == [
        '"2300-01-01" is not within the years 1900 to 2099',
        '"1999-12-31" is not >= 2000-01-01',
        dt.datetime(2049, 12, 31, 23, 59, 59),
    ]


def test_the_id_of_the_unknown_member_is_reserved(values: Reader) -> None:
    for feed, column in (("customers", "customer_id"), ("products", "product_id")):
        (found,) = values(feed).read(column, ["Unknown"])
        assert found == '"Unknown" is reserved for what no row of the feed has'
    assert values("orders").read("customer_id", ["Unknown"]) == ["Unknown"]


def test_a_text_that_would_stand_in_each_day_of_a_calendar_has_a_limit(values: Reader) -> None:
    texts = ["\u00ff" * 1000, "\u00ff" * 1001]
    kept, said = values("products").read("name", texts)
    assert kept == texts[0]
    assert said.endswith('..." is longer than 1000 characters')
