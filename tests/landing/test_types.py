"""What becomes of a file depends on the file and its contract alone: on no file beside it.

Each type of a contract meets each type that a Parquet file may keep it as, and CSV and JSON. The
same files are loaded one by one, all together, and in groups and an order of chance. Each gives the
same rows, and no accepted value has another digit than the file.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.landing.loading import Compiled, Loading
from tests.landing.test_fuzz import SEED, make_sheet

# Feeds that have columns of each type that a contract may have, together.
FEEDS = (
    "ads_spend",
    "order_items",
    pytest.param("sales", marks=pytest.mark.deep),
    pytest.param("fx_rates", marks=pytest.mark.deep),
)

DECIMALS = {
    **{f"decimal{p}_{s}": (p, s) for p, s in ((4, 2), (9, 0), (10, 2), (18, 6), (18, 10), (38, 2))},
    "decimal10_3": (10, 3),
}
MICRO = dt.datetime(2024, 2, 3, 22, 45, 1, 123456)
SECOND = dt.datetime(2024, 2, 3, 22, 45)
MIDNIGHT = dt.datetime(2024, 2, 3)
OLD = dt.datetime(1850, 12, 31, 23, 59, 59)


def arrays() -> dict[str, tuple[pa.Array, list[str | None]]]:
    """Columns of a Parquet file, each with the text of its values."""
    found: dict[str, tuple[pa.Array, list[str | None]]] = {}

    def add(
        name: str, values: Sequence[Any], type_: pa.DataType, texts: Sequence[str | None]
    ) -> None:
        found[name] = pa.array(values, type_), list(texts)

    for bits in (8, 16, 32, 64):
        high = 2 ** (bits - 1) - 1
        for name, ends in (("int", (high, -high - 1)), ("uint", (2 * high + 1, 0))):
            values = [10, 20, 0, *ends, None]
            texts = [None if value is None else str(value) for value in values]
            add(f"{name}{bits}", values, getattr(pa, f"{name}{bits}")(), texts)
    doubles = [10.75, 20.0, 0.1 + 0.2, 1e15, 1e22, 1e-7, -0.0, None]
    texts = ["10.75", "20.0", "0.30000000000000004", "1000000000000000.0", "1e+22", "1e-07", "-0.0"]
    add("float64", doubles, pa.float64(), [*texts, None])
    add("float32", [10.75, 0.1, 16777216.0], pa.float32(), ["10.75", "0.1", "16777216.0"])
    for name, (precision, scale) in DECIMALS.items():
        digits = ["1", "0", "-1", "9" * precision, "2500", "1234"]
        values = [Decimal(f"{one}e-{scale}") for one in digits if len(one) <= precision]
        with_all = [f"{value:.{scale}f}" for value in values]
        if name == "decimal10_3":  # 2.500 in a text may be meant as 2500; here it is not
            with_all = [text.rstrip("0").rstrip(".") for text in with_all]
        add(name, values, pa.decimal128(precision, scale), with_all)
    add(
        "date32",
        [MIDNIGHT.date(), OLD.date(), None],
        pa.date32(),
        ["2024-02-03", "1850-12-31", None],
    )
    add("date64", [MIDNIGHT.date(), OLD.date()], pa.date64(), ["2024-02-03", "1850-12-31"])
    for unit, last in (("s", SECOND), ("ms", SECOND), ("us", MICRO), ("ns", MICRO)):
        times = [MIDNIGHT, SECOND, OLD, last]
        texts = [str(time) for time in times]
        add(f"timestamp_{unit}", times, pa.timestamp(unit), texts)
        add(f"timestamp_{unit}_utc", times, pa.timestamp(unit, "UTC"), texts)
        add(f"timestamp_{unit}_far", times, pa.timestamp(unit, "Asia/Tokyo"), texts)
    nanosecond = pa.array([1], pa.timestamp("ns"))
    found["timestamp_ns_last_digit"] = nanosecond, ["1970-01-01 00:00:00.000000001"]
    add("time_ms", [dt.time(22, 45)], pa.time32("ms"), ["22:45:00"])
    add("time_us", [dt.time(22, 45, 0, 1)], pa.time64("us"), ["22:45:00.000001"])
    add("bool", [True, False, None], pa.bool_(), ["true", "false", None])
    texts = ["00123", "9.99", "2024-02-03", "2024-02-03 22:45:00", "12", "0.191234", "Łąka"]
    add("string", texts, pa.string(), texts)
    add("large_string", texts, pa.large_string(), texts)
    found["dictionary"] = pa.array(texts).dictionary_encode(), list(texts)
    add("null", [None], pa.null(), [None])
    return found


ARRAYS = arrays()


def parquet_of(feed: Compiled, array: pa.Array, **options: Any) -> bytes:
    """A Parquet file of which every column has these values."""
    sink = pa.BufferOutputStream()
    table = pa.table(dict.fromkeys(feed.contract.names, array))
    parquet.write_table(table, sink, **options)
    return bytes(sink.getvalue().to_pybytes())


def files_of(feed: Compiled) -> dict[str, bytes]:
    """A file of each kind and type."""
    files = {f"{name}.parquet": parquet_of(feed, array) for name, (array, _) in ARRAYS.items()}
    files["int96.parquet"] = parquet_of(
        feed, ARRAYS["timestamp_us"][0], use_deprecated_int96_timestamps=True, compression="none"
    )
    names = feed.contract.names
    for name in ("int64", "float64", "string"):
        texts = [text for text in ARRAYS[name][1] if text is not None]
        table = "\n".join([",".join(names), *(",".join([text] * len(names)) for text in texts)])
        files[f"{name}.csv"] = table.encode() + b"\n"
        files[f"{name}.csv.gz"] = gzip.compress(table.encode(), mtime=0)
        # As numbers where they are.
        cells = texts if name != "string" else [json.dumps(text) for text in texts]
        objects = [
            f"{{{', '.join(f'{json.dumps(key)}: {cell}' for key in names)}}}" for cell in cells
        ]
        files[f"{name}.jsonl"] = "\n".join(objects).encode()
        files[f"{name}.json.gz"] = gzip.compress(f"[{', '.join(objects)}]".encode(), mtime=0)
    return files


Outcome = dict[str, list[tuple[Any, ...]]]


def outcome(loading: Loading) -> Outcome:
    """The rows of each file, and of a refused one the reason."""
    found: Outcome = {}
    for row in loading.rows("_file, * exclude (_file, _loaded_at, _modified_ns)"):
        found.setdefault(str(row[0]).rpartition("/")[2], []).append(row[1:])
    log = loading.feed.request.log
    for file, state, reason in loading.query(f"select file, state, reason from {log}"):
        found.setdefault(str(file).rpartition("/")[2], []).append((state, reason))
    return found


def hold_that_each_file_is_read_alike(
    feed: Compiled, files: dict[str, bytes], place: Path, chance: random.Random, *, orders: int
) -> Outcome:
    """Load files one by one, together, and in groups of chance; what became of each of them."""

    def load(name: str, groups: Sequence[Sequence[str]]) -> Outcome:
        folder = place / name / feed.contract.feed
        folder.mkdir(parents=True)
        loading = Loading(feed, folder)
        try:
            for group in groups:
                for file in group:
                    (folder / file).write_bytes(files[file])
                loading.load()
            found = outcome(loading)
            if name == "together":
                loading.load(is_full_refresh=True)
                assert outcome(loading) == found
        finally:
            loading.close()
        return found

    names = sorted(files)
    alone = load("one by one", [[name] for name in names])
    assert load("together", [names]) == alone
    for order in range(orders):
        mixed = chance.sample(names, len(names))
        cuts = sorted(chance.sample(range(len(names)), min(4, len(names))))
        groups = [mixed[a:b] for a, b in zip([0, *cuts], [*cuts, len(names)], strict=True)]
        assert load(f"order {order}", groups) == alone
    return alone


def is_the_same(text: str, value: Any) -> bool:
    """Whether a value is what a text says, to the last digit."""
    if isinstance(value, str):
        return value == text
    if isinstance(value, int | Decimal):
        return Decimal(text) == value
    if isinstance(value, dt.datetime):
        return dt.datetime.fromisoformat(text[:26]) == value
    return text.removesuffix(" 00:00:00") == str(value)  # midnight is that day


@pytest.mark.parametrize("name", FEEDS)
def test_a_file_of_any_type_gives_the_same_rows_alone_and_beside_any_other(
    compiled: dict[str, Compiled], tmp_path: Path, name: str
) -> None:
    feed = compiled[name]
    chance = random.Random(f"{SEED} {name}")  # noqa: S311 - no secret
    found = hold_that_each_file_is_read_alike(feed, files_of(feed), tmp_path, chance, orders=1)
    assert all(rows[-1][0] == "loaded" for rows in found.values()), found
    counts = dict.fromkeys(feed.contract.names, 0)
    for kind, (_, texts) in ARRAYS.items():
        rows = found[f"{kind}.parquet"][:-1]
        assert len(rows) == len(texts)
        for text, row in zip(texts, rows, strict=True):
            for column, value in zip(counts, row, strict=False):
                if value is not None:
                    assert text is not None
                    assert is_the_same(text, value), (kind, column, text, value)
                    counts[column] += 1
    assert min(counts.values()) >= 3, counts


@pytest.mark.parametrize(
    "array",
    [
        pa.array([Decimal("9007199254740993.00")], pa.decimal256(40, 2)),
        pa.array([Decimal("9007199254740993.00")], pa.decimal256(76, 2)),
        pa.array([0.1], pa.float16()),
    ],
    ids=lambda array: str(array.type),
)
def test_numbers_that_would_lose_digits_are_refused_with_the_reason(
    compiled: dict[str, Compiled], tmp_path: Path, array: pa.Array
) -> None:
    folder = tmp_path / "ads_spend"
    folder.mkdir()
    (folder / "a.parquet").write_bytes(parquet_of(compiled["ads_spend"], array))
    loading = Loading(compiled["ads_spend"], folder)
    (warning,) = loading.load()
    loading.close()
    assert "a.parquet is refused: it has numbers in column date that would lose digits" in warning


@pytest.mark.parametrize("nanosecond", [0, 1])
def test_int96_times_are_read_to_the_last_digit_or_refused(
    compiled: dict[str, Compiled], tmp_path: Path, nanosecond: int
) -> None:
    folder = tmp_path / "ads_spend"
    folder.mkdir()
    far = [dt.datetime(9999, 12, 31, 23, 59), dt.datetime(1, 1, 1), None]
    near = pa.array([1_700_000_000_123_456_000 + nanosecond], pa.timestamp("ns"))
    for name, array in (("far", pa.array(far, pa.timestamp("us"))), ("near", near)):
        content = parquet_of(compiled["ads_spend"], array, use_deprecated_int96_timestamps=True)
        (folder / f"{name}.parquet").write_bytes(content)
    loading = Loading(compiled["ads_spend"], folder)
    warnings = loading.load()
    found = loading.rows("platform")
    loading.close()
    assert any("near.parquet is refused: it has nanoseconds" in text for text in warnings) is bool(
        nanosecond
    )
    texts = [(str(time),) for time in far[:2]]
    last = [] if nanosecond else [("2023-11-14 22:13:20.123456",)]
    assert [row for row in found if row != (None,)] == [("9999-12-31 23:59:00",), texts[1], *last]


@pytest.mark.parametrize("title", ["file_index", "File_Index", "filename", "file_row_number"])
def test_a_column_that_is_called_as_one_of_the_engines_moves_no_row(
    compiled: dict[str, Compiled], tmp_path: Path, title: str
) -> None:
    folder = tmp_path / "products"
    folder.mkdir()
    for number in range(3):
        cells = {
            "id": f"P{number}",
            "name": "Mug",
            "category": "K",
            "price": "1",
            title: 2 - number,
        }
        table = pa.table({name: [cell] for name, cell in cells.items()})
        parquet.write_table(table, folder / f"{number}.parquet")
    loading = Loading(compiled["products"], folder)
    loading.load()
    found = loading.rows("product_id, parse_filename(_file), _line_number")
    loading.close()
    assert found == [(f"P{number}", f"{number}.parquet", 1) for number in range(3)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_folder_that_is_called_as_a_column_gives_no_values(
    compiled: dict[str, Compiled], tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "country=XX" / "customers"
    folder.mkdir(parents=True)
    for number in range(2):
        cells = {"customer_id": f"C{number}", "name": "Ana", "email": "a@b", "country": "BR"}
        cells["join_date"] = "2024-01-01"
        if kind == "csv":
            text = f"{','.join(cells)}\n{','.join(cells.values())}\n"
            (folder / f"{number}.csv").write_text(text)
        else:
            table = pa.table({name: [cell] for name, cell in cells.items()})
            parquet.write_table(table, folder / f"{number}.parquet")
    loading = Loading(compiled["customers"], folder)
    loading.load()
    found = loading.rows("country, _reasons")
    loading.close()
    assert found == [("BR", None), ("BR", None)]


# --- Files of chance ------------------------------------------------------------------------------


def files_of_chance(feed: Compiled, chance: random.Random) -> dict[str, bytes]:
    """Whole and damaged files, a few of each kind, of which many have a layout in common."""
    files: dict[str, bytes] = {}
    for number in range(chance.randrange(2, 8)):
        size = chance.choice((1, 2, 5, 20))
        wild = chance.random() < 0.3
        sheet, _ = make_sheet(feed.contract.feed, chance.randrange(40), size, chance, wild=wild)
        content = sheet.content
        is_packed = sheet.name.endswith(".gz")
        files[f"{number}-{sheet.name}"] = gzip.compress(content) if is_packed else content
    for number in range(chance.randrange(2, 8)):
        kind = chance.choice(list(ARRAYS))
        array = ARRAYS[kind][0].take(pa.array([0] * chance.randrange(1, 4)))
        content = parquet_of(feed, array, compression=chance.choice(("none", "zstd")))
        if chance.random() < 0.2:
            place = chance.randrange(len(content))
            content = content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]
        files[f"{number}-{kind}.parquet"] = content
    return files


def compare_files_of_chance(compiled: dict[str, Compiled], place: Path, rounds: range) -> None:
    for number in rounds:
        chance = random.Random(SEED * 1_000_003 + number)  # noqa: S311
        feed = compiled[chance.choice(sorted(compiled))]
        files = files_of_chance(feed, chance)
        hold_that_each_file_is_read_alike(feed, files, place / str(number), chance, orders=1)


def test_files_of_chance_give_the_same_rows_alone_and_together(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    compare_files_of_chance(compiled, tmp_path, range(3))


@pytest.mark.deep
def test_many_files_of_chance_give_the_same_rows_alone_and_together(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    compare_files_of_chance(compiled, tmp_path, range(1000, 1000 + int(os.environ.get("N", "400"))))
