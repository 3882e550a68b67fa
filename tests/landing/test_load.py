"""What the loader keeps right in the database, beyond what small files show."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.landing.loading import Compiled, Loading
from warehouse.landing.files import FEW_BLOCKS, Contract, Found, Scan, find_files, scan

HEADER = "order_id,product_id,quantity,ordered_at\n"
PRODUCTS_HEADER = "product_id,name,category,price,inventory_count\n"


def test_a_row_keeps_its_line_when_other_rows_go_and_the_database_is_packed(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    """Large enough that the engine reads and stores the file in several pieces."""
    folder = tmp_path / "order_items"
    folder.mkdir()
    loading = Loading(compiled["order_items"], folder, tmp_path / "warehouse.duckdb")
    many = 400_000
    (folder / "old.csv").write_text(HEADER + "O1,P1,1,\nO2,P1,1,\n")
    (folder / "small.csv").write_text(HEADER + "O3,P1,1,\n")
    loading.load()
    loading.connection.execute("checkpoint warehouse")
    rows = "".join(f"O{number},{'P' * 40},{number % 1000},\n" for number in range(many))
    (folder / "old.csv").write_text(HEADER + rows)
    loading.load()
    loading.connection.execute("checkpoint warehouse")
    wrong = loading.query(
        "select count(*) from staging.base_order_items"
        " where _file like '%old.csv' and _line_number <> cast(order_id[2:] as integer) + 2"
    )
    lines = loading.query(
        "select count(*), count(distinct _line_number) from staging.base_order_items"
        " where _file like '%old.csv'"
    )
    loading.close()
    assert lines == [(many, many)]
    assert wrong == [(0,)]


def test_many_small_files_are_loaded_together_and_each_row_knows_its_own(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    chance = random.Random(1)  # noqa: S311 - no secret
    folder = tmp_path / "order_items"
    folder.mkdir()
    expected: list[tuple[str, int, str | None, int | None]] = []
    for number in range(300):
        name, rows = f"{number:04}.csv", chance.randrange(1, 4)
        lines = [f"O{number},P1,{line + 1}," for line in range(rows)]
        expected += [(name, line + 2, f"O{number}", line + 1) for line in range(rows)]
        if number % 100 == 50:  # the whole group cannot be read in one go then
            lines.append("O1")
            expected.append((name, rows + 2, None, None))
        (folder / name).write_text("\n".join([HEADER.strip(), *lines]) + "\n")
    loading = Loading(compiled["order_items"], folder)
    loading.load()
    found = loading.rows("parse_filename(_file), _line_number, order_id, quantity")
    loading.close()
    assert found == expected


@pytest.mark.parametrize("name", ["a[1].csv", "a*.csv", "a?.csv", "{a,b}.csv", "back\\slash.csv"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_name_means_that_file_alone(
    compiled: dict[str, Compiled], tmp_path: Path, name: str, kind: str
) -> None:
    folder = tmp_path / "products"
    folder.mkdir()
    loading = Loading(compiled["products"], folder)
    for number, file in enumerate((name, "a1.csv")):
        path = folder / file.replace("csv", kind)
        if kind == "csv":
            path.write_text(PRODUCTS_HEADER + f"P{number},Mug,Kitchen,1,1\n")
            continue
        loading.connection.execute(
            f"copy (select 'P{number}' as id, 'Mug' as name, 'K' as category, 1 as price) "
            f"to '{folder}/plain.parquet' (format parquet)"
        )
        (folder / "plain.parquet").rename(path)
    loading.load()
    found = loading.rows("product_id, parse_path(_file, 'forward_slash')[-1]")
    loading.close()
    assert sorted(found) == [("P0", name.replace("csv", kind)), ("P1", f"a1.{kind}")]


def test_a_name_that_is_no_utf8_is_loaded_or_refused_but_no_crash(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    folder = tmp_path / "products"
    folder.mkdir()
    content = (PRODUCTS_HEADER + "P1,Mug,Kitchen,1,1\n").encode()
    path = os.path.join(os.fsencode(folder), b"caf\xe9.csv")  # noqa: PTH118 - bytes
    with open(path, "wb") as file:  # noqa: PTH123 - bytes
        file.write(content)
    (folder / "good.csv").write_text(PRODUCTS_HEADER + "P2,Cup,Kitchen,1,1\n")
    loading = Loading(compiled["products"], folder)
    loading.load()
    assert ("P2",) in loading.rows("product_id")
    loading.close()


@pytest.mark.parametrize("more", ["", "P3,x\n"], ids=["fast", "with care"])
def test_a_line_that_is_not_utf8_is_broken_also_where_its_column_is_not_read(
    compiled: dict[str, Compiled], tmp_path: Path, more: str
) -> None:
    folder = tmp_path / "products"
    folder.mkdir()
    (folder / "a.csv").write_bytes(
        b"id,name,category,price,note\nP1,Mug,K,1,caf\xe9\nP2,Cup,K,1,x\n" + more.encode()
    )
    loading = Loading(compiled["products"], folder)
    loading.load()
    found = loading.rows("_line_number, _reasons")
    loading.close()
    assert found[:2] == [(2, ["the line is not UTF-8"]), (3, None)]


def test_every_letter_at_an_end_and_alone_is_read_as_the_contract_says(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    """The short cuts for plain text and for one digit go by single letters."""
    folder = tmp_path / "order_items"
    folder.mkdir()
    letters = [chr(code) for code in (*range(1, 256), 0x3000, 0x6F22)]
    letters = [letter for letter in letters if letter not in '\r\n,"']
    ends = [text for letter in letters for text in (f"{letter}O", f"O{letter}")]
    (folder / "ends.csv").write_text(HEADER + "".join(f"{text},P,1,\n" for text in ends))
    (folder / "alone.csv").write_text(HEADER + "".join(f"O,P,{one},\n" for one in letters))
    loading = Loading(compiled["order_items"], folder)
    loading.load()
    found = loading.rows("order_id, quantity")
    (fast,) = loading.query(
        f"select count(*) from {loading.feed.request.table} where _line is null"
    )
    loading.close()
    assert fast == (len(ends) + len(letters),)  # DuckDB's own reader took them
    assert found == [
        *(("O", int(one) if one in "0123456789" else None) for one in letters),
        # An id that begins like a formula is none.
        *((None if text == "=O" else text.strip(" \t\u00a0"), 1) for text in ends),
    ]


def test_clean_cells_of_a_large_file_are_taken_as_they_are(
    compiled: dict[str, Compiled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only by the statement that reads them: files beside it are cleaned."""
    monkeypatch.setattr("warehouse.landing.files.FEW_BLOCKS", 0)
    folder = tmp_path / "order_items"
    folder.mkdir()
    # Others share a byte with the no-break space, and count as not clean.
    codes = (*range(0x21, 0x7F), *range(0xC0, 0xE0), *range(0xE1, 256), 0x3000, 0x6F22)
    letters = [chr(code) for code in codes if chr(code) not in ",'\""]
    clean = [text for letter in letters for text in (f"{letter}O", f"O{letter}", letter)]
    (folder / "a.csv").write_text(HEADER + "".join(f"{text},P 1,1,\n" for text in clean))
    loading = Loading(compiled["order_items"], folder)
    loading.load()
    assert loading.query("select getvariable('cells_are_clean')") == [(True,)]
    no_ids = ("=O", "=", "#")  # of a spreadsheet
    assert loading.rows("order_id, product_id, quantity") == [
        (None if text in no_ids else text, "P 1", 1) for text in clean
    ]

    (folder / "b.csv").write_text(HEADER + ' O1 ,"P1",1,\n')  # read fast
    (folder / "c.csv").write_text(HEADER + " O2 ,'P2',1,\nO3\n")  # with care
    loading.load()
    assert loading.query("select getvariable('cells_are_clean')") == [(False,)]
    found = loading.rows("order_id, product_id, quantity")[len(clean) :]
    loading.close()
    assert found == [("O1", "P1", 1), ("O2", "P2", 1), (None, None, None)]


def test_gaps_in_the_numbers_of_rows_are_closed_before_more_is_loaded(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    folder = tmp_path / "order_items"
    folder.mkdir()
    (folder / "a.csv").write_text(HEADER + "O1,P1,1,\nO2,P1,1,\n")
    loading = Loading(compiled["order_items"], folder)
    loading.load()
    table = loading.feed.request.table
    loading.query(f"insert into {table} select * replace (99 as _file_id) from {table}")
    loading.query(f"delete from {table} where rowid = 2")
    (folder / "b.csv").write_text(HEADER + "O3,P1,1,\n")
    loading.load()
    numbers = loading.query(f"select rowid, order_id from {table} order by rowid")
    found = loading.rows("order_id, _line_number")
    loading.close()
    assert numbers == [(0, "O1"), (1, "O2"), (2, "O3")]
    assert found == [("O1", 2), ("O2", 3), ("O3", 2)]


def test_times_of_clean_cells_are_read_as_those_of_others(
    compiled: dict[str, Compiled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a format where they have its length; that must leave no choice."""
    chance = random.Random(11)  # noqa: S311
    cells = []
    for _ in range(30_000):
        day = (
            f"{chance.randrange(1990, 2060):04}-{chance.randrange(14):02}-{chance.randrange(33):02}"
        )
        time = ":".join(f"{chance.randrange(limit):02}" for limit in (26, 62, 62))
        cell = list(day + chance.choice(" T") + time + chance.choice(["", "", "Z", "+02", ".5"]))
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            place = chance.randrange(len(cell))
            letter = chance.choice(["", *"0123456789-: TZ+./"])
            cell[place : place + chance.randrange(2)] = letter
        text = "".join(cell)
        if text == " ".join(text.split()):
            cells.append(text)
    assert sum(len(cell) == 19 for cell in cells) > 5_000
    found = []
    for few_blocks in (0, FEW_BLOCKS):
        monkeypatch.setattr("warehouse.landing.files.FEW_BLOCKS", few_blocks)
        folder = tmp_path / str(few_blocks) / "order_items"
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text(HEADER + "".join(f"O,P,1,{cell}\n" for cell in cells))
        loading = Loading(compiled["order_items"], folder)
        loading.load()
        assert loading.query("select getvariable('cells_are_clean')") == [(few_blocks == 0,)]
        found.append(loading.rows("ordered_at, _reasons"))
        loading.close()
    assert sum(reasons is None for _, reasons in found[0]) > 3_000
    assert found[0] == found[1]


def statuses(loading: Loading) -> list[tuple[str, str, str | None]]:
    """The files of the log, by name, each with what became of it and its identity."""
    log = loading.feed.request.log
    name = "parse_filename(file, false, 'forward_slash')"
    return [
        (str(file), str(state), identity)
        for file, state, identity in loading.query(
            f"select {name}, state, identity from {log} order by file"
        )
    ]


@pytest.mark.parametrize("how", ["in its place", "renamed over it"])
def test_other_content_of_the_same_size_and_time_is_loaded(
    compiled: dict[str, Compiled], tmp_path: Path, how: str
) -> None:
    """As after `rsync -t`, `cp -p` or `touch -r`."""
    folder = tmp_path / "products"
    folder.mkdir()
    file = folder / "a.csv"
    file.write_text(PRODUCTS_HEADER + "P1,Mug,Kitchen,1,1\n")
    before = file.stat()
    loading = Loading(compiled["products"], folder)
    loading.load()
    target = file if how == "in its place" else folder / ".new"
    target.write_text(PRODUCTS_HEADER + "P1,Mug,Kitchen,2,1\n")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    target.rename(file)
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    loading.load()
    found = loading.rows("cast(price as varchar)")
    loading.close()
    assert found == [("2.00",)]


def test_no_file_is_opened_within_one_step_of_the_clock_after_it_was_found(
    compiled: dict[str, Compiled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes within one step leave one status, so the second must be before the reading."""
    folder = tmp_path / "products"
    folder.mkdir()
    for name in ("a.csv", "b.jsonl"):
        (folder / name).write_text(PRODUCTS_HEADER)
    found_at: list[float] = []
    waited: list[float] = []

    def find_and_note(folder: Path) -> list[Found]:
        found = find_files(folder)
        found_at.append(time.monotonic())
        return found

    def note_and_scan(found: Found, contract: Contract) -> Scan:
        waited.append(time.monotonic() - found_at[-1])
        return scan(found, contract)

    monkeypatch.setattr("warehouse.landing.load.find_files", find_and_note)
    monkeypatch.setattr("warehouse.landing.load.scan", note_and_scan)
    monkeypatch.setattr("warehouse.landing.files.TICK", 0.5)
    loading = Loading(compiled["products"], folder)
    loading.load()
    assert len(waited) == 2
    assert min(waited) >= 0.5
    loading.load()  # what is known is not opened, and nothing waits
    loading.close()
    assert len(waited) == 2


def test_where_times_are_whole_seconds_a_change_shows_after_two(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x")
    real = path.stat()
    for changed_ns, tick in ((1_700_000_000_000_000_000, 2), (1_700_000_000_123_000_000, 0.02)):
        status = SimpleNamespace(
            st_ctime_ns=changed_ns,
            st_mtime_ns=changed_ns,
            st_ino=real.st_ino,
            st_dev=real.st_dev,
            st_size=real.st_size,
        )
        assert Found.of("a.csv", path, cast("os.stat_result", status)).tick == tick


@pytest.mark.parametrize("change", ["copied back", "another mode", "a log without identities"])
def test_the_same_content_is_looked_at_again_and_not_loaded_again(
    compiled: dict[str, Compiled], tmp_path: Path, change: str
) -> None:
    folder = tmp_path / "products"
    folder.mkdir()
    (folder / "a.csv").write_text(PRODUCTS_HEADER + "P1,Mug,Kitchen,1,1\n")
    (folder / "wrong.csv").write_text("nothing,of,this\n")
    loading = Loading(compiled["products"], folder)
    loading.load(run="first")
    rows, first = loading.rows("*"), statuses(loading)
    if change == "copied back":
        folder.rename(tmp_path / "away")
        shutil.copytree(tmp_path / "away", folder)
    elif change == "another mode":
        (folder / "a.csv").chmod(0o600)
        (folder / "wrong.csv").chmod(0o600)
    else:  # as a release before had it
        loading.query(f"alter table {loading.feed.request.log} drop column identity")
    loading.load(run="second")
    found, second = loading.rows("*"), statuses(loading)
    loading.load(run="third")
    third = statuses(loading)
    loading.close()
    assert found == rows
    assert [status[:2] for status in second] == [("a.csv", "loaded"), ("wrong.csv", "refused")]
    assert (second != first) is (change != "a log without identities")
    assert third == second  # now it is known, and not opened again


def test_names_that_are_not_utf8_stay_apart_from_each_other_and_from_those_that_look_alike(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    folder = tmp_path / "products"
    folder.mkdir()
    names = [b"caf\xe9", b"caf\xe8", "caf\ufffd".encode(), b"caf\\xe9", b"caf\\\\xe9", b"caf\\e9"]
    names += [b"c\\af\xe9", b"c\\\\af\xe9", b"c\\\\af\\xe9", b"plain"]
    for number, name in enumerate(names):
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name + b".csv"))
        path.write_text(PRODUCTS_HEADER + f"P{number},Mug,Kitchen,1,1\n")
    loading = Loading(compiled["products"], folder)
    warnings = loading.load()
    found = {name for name, _state, _identity in statuses(loading)}
    refused = loading.query(
        f"select count(*) from {loading.feed.request.log} where state <> 'loaded'"
    )
    rows = loading.rows("_file")
    loading.load()
    assert loading.rows("_file") == rows
    loading.close()
    assert len(found) == len(names)
    assert {"caf\\xe9.csv", "caf\\xe8.csv", "caf\ufffd.csv", "caf\\e9.csv"} <= found
    assert refused == [(4,)]  # those whose bytes are no UTF-8
    assert len(rows) == len(names) - 4
    assert (
        "landing/products/caf\\xe9.csv is refused: it has a name that is not UTF-8; rename it"
        in (warnings)
    )
