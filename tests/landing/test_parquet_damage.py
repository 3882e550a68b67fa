"""Damaged Parquet files are refused, or read to the last row; no reader dies of them.

They are looked at in a process of its own, since what dies there would take a build with it.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.landing.loading import Compiled, Loading
from tests.landing.test_fuzz import SEED
from warehouse.landing.files import Column, Contract, Found, RefusedError, Scan, scan

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = Contract("things", (Column("id", required=True), Column("name"), Column("day")))
ROWS = 300
SECONDS = 20  # for one file, on a busy machine
MEGABYTES = 600  # more than before the first file


def whole_files(other_names: Mapping[str, str] = MappingProxyType({})) -> list[bytes]:
    """Files of many encodings, with some columns called otherwise."""
    numbers = range(ROWS)
    table = pa.table(
        {
            "id": pa.array(numbers, pa.int32()),
            "name": [f"name {number % 7}" if number % 3 else None for number in numbers],
            "day": pa.array([number * 86_400_000_000 for number in numbers], pa.timestamp("us")),
            "ratio": [number / 3 for number in numbers],
            "long": ["x" * (number % 50) for number in numbers],
        }
    )
    table = table.rename_columns([other_names.get(name, name) for name in table.column_names])
    delta = {"id": "DELTA_BINARY_PACKED", "name": "DELTA_BYTE_ARRAY", "ratio": "BYTE_STREAM_SPLIT"}
    delta = {other_names.get(name, name): encoding for name, encoding in delta.items()}
    files = []
    for options in (
        {"compression": "snappy"},
        {"compression": "none"},
        {"compression": "zstd", "data_page_version": "2.0"},
        {"compression": "gzip", "use_dictionary": False},
        {"compression": "none", "use_dictionary": False, "column_encoding": delta},
    ):
        sink = pa.BufferOutputStream()
        parquet.write_table(table, sink, row_group_size=100, **options)
        files.append(sink.getvalue().to_pybytes())
    return files


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The same with a few bytes changed, gone or put in, half of them in its metadata."""
    data = bytearray(content)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        place = chance.randrange(footer if chance.random() < 0.5 else 0, len(content) - 20)
        kind = chance.randrange(5)
        if kind == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place] = chance.choice((0, 255, 127, 128, chance.randrange(256)))
        elif kind == 2:
            del data[place : place + chance.randrange(1, 9)]
        elif kind == 3:
            data[place:place] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 5)))
        else:
            data[place : place + 8] = data[place + 8 : place + 16]
        data = data if len(data) >= len(content) - 16 else bytearray(content)
    return bytes(data)


def look_at_files(folder: Path, first: int, last: int) -> None:
    """Scan damaged files, and say of each what became of it. Run in a process of its own."""
    wholes = whole_files()
    file = folder / f"{first}.parquet"
    for number in range(first, last):
        chance = random.Random(SEED * 9_000_011 + number)  # noqa: S311 - no secret
        file.write_bytes(damaged(chance.choice(wholes), chance))
        print("begun", number, flush=True)
        try:
            rows = scan(Found.of(file.name, file, file.stat()), CONTRACT).rows
            print("read" if rows == ROWS else f"read {rows} rows", flush=True)
        except RefusedError:
            print("refused", flush=True)
        if number == first:
            print("used", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
    print("used", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)


def hold_that_no_reader_dies(folder: Path, first: int, count: int) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.landing.test_parquet_damage import *; "
        "look_at_files(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))"
    )
    batch = 500
    outcomes: Counter[str] = Counter()
    for start in range(first, first + count, batch):
        end = min(start + batch, first + count)
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder), str(start), str(end)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS * 20 + (end - start),
            check=False,
        )
        lines = done.stdout.splitlines()
        last = [line for line in lines if line.startswith("begun")][-1:]
        assert done.returncode == 0, (last, done.stderr[-2000:])
        before, after = (int(line.split()[1]) for line in lines if line.startswith("used"))
        assert after - before < MEGABYTES
        outcomes.update(line for line in lines if not line.startswith(("begun", "used")))
    assert set(outcomes) <= {"read", "refused"}, outcomes
    assert sum(outcomes.values()) == count
    assert outcomes["read"] > count / 20, outcomes


def test_no_damaged_parquet_file_stops_a_reader_or_gives_other_rows(tmp_path: Path) -> None:
    hold_that_no_reader_dies(tmp_path, 0, 250)


def test_a_file_that_is_damaged_after_the_first_look_is_refused_and_the_others_load(
    compiled: dict[str, Compiled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is written in place during a build: DuckDB reads it a second time."""
    folder = tmp_path / "products"
    folder.mkdir()
    (folder / "good.csv").write_text("product_id,name,category,price\nP1,Mug,K,1\n")
    file = folder / "damaged.parquet"
    wholes = whole_files({"id": "product_id", "day": "category", "ratio": "price"})
    chance = random.Random(SEED)  # noqa: S311 - no secret

    def scan_and_damage(found: Found, contract: Contract) -> Scan:
        scanned = scan(found, contract)
        if found.name == file.name:
            file.write_bytes(damaged(whole, chance))
        return scanned

    monkeypatch.setattr("warehouse.landing.load.scan", scan_and_damage)
    monkeypatch.setattr(Found, "is_as_found", lambda _: True)  # what it says comes too late here
    loading = Loading(compiled["products"], folder)
    outcomes: Counter[str] = Counter()
    for number in range(150):
        whole = chance.choice(wholes)
        file.write_bytes(whole)
        warnings = loading.load()
        rows = loading.rows("product_id")
        assert ("P1",) in rows
        assert len(rows) in (1, 1 + ROWS), number
        refused = [warning for warning in warnings if "damaged.parquet is refused: it " in warning]
        assert len(refused) == (len(rows) == 1), (number, warnings)
        assert not any(str(tmp_path) in warning or "LINE 1" in warning for warning in warnings)
        outcomes.update(["refused" if refused else "read"])
    loading.close()
    assert min(outcomes["refused"], outcomes["read"]) > 20, outcomes


@pytest.mark.deep
def test_none_of_many_damaged_parquet_files_stops_a_reader_or_gives_other_rows(
    tmp_path: Path,
) -> None:
    hold_that_no_reader_dies(tmp_path, 1000, int(os.environ.get("N", "20000")))
