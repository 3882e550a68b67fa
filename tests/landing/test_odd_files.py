"""One odd file is its own matter: it is refused or put off by name, and its neighbours load."""

from __future__ import annotations

import faulthandler
import gzip
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.landing.loading import Compiled, Loading
from warehouse.landing import files, load
from warehouse.landing.files import UNPACKED_FREELY, RefusedError, open_file, strays
from warehouse.landing.in_duckdb import _DuckDBLoad

HEADER = "product_id,name,category,price,inventory_count\n"
QUOTE = "correct horse battery staple"  # of a file that is none of ours


def csv(product: str) -> bytes:
    return f"{HEADER}{product},Mug,Kitchen,1.00,1\n".encode()


def csv_with_a_broken_line(product: str) -> bytes:
    return csv(product) + b"broken\n"


def json_lines(product: str) -> bytes:
    row = {"product_id": product, "name": "Mug", "category": "Kitchen", "price": 1}
    return json.dumps(row).encode() + b"\n"


def parquet(product: str, folder: Path) -> bytes:
    file = folder / f".{product}"
    duckdb.sql(
        f"copy (select '{product}' as product_id, 'Mug' as name, 'Kitchen' as category, "
        f"cast(1 as decimal(18,2)) as price) to '{file}' (format parquet)"
    )
    content = file.read_bytes()
    file.unlink()
    return content


@dataclass
class Zone:
    """A landing zone of products: the odd file, and files beside it."""

    folder: Path
    loading: Loading

    def write(self, name: str, content: bytes) -> Path:
        file = self.folder / name
        file.write_bytes(content)
        return file

    def products(self) -> set[str]:
        return {row[0] for row in self.loading.rows("product_id") if row[0] is not None}


@pytest.fixture
def zone(compiled: dict[str, Compiled], tmp_path: Path) -> Any:
    folder = tmp_path / "landing/products"
    folder.mkdir(parents=True)
    loading = Loading(compiled["products"], folder)
    yield Zone(folder, loading)
    loading.close()


# --- While a build reads it ----------------------------------------------------------------------


def content(kind: str, product: str, zone: Zone) -> bytes:
    if kind == "parquet":
        return parquet(product, zone.folder)
    if kind == "csv.gz":
        return gzip.compress(csv(product))
    return {"csv": csv, "broken.csv": csv_with_a_broken_line, "jsonl": json_lines}[kind](product)


def replace(file: Path, new: bytes) -> None:
    (file.parent / ".new").write_bytes(new)
    (file.parent / ".new").rename(file)


def append(file: Path, new: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(new)


def overwrite(file: Path, new: bytes) -> None:
    """In place, of the same length and time."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.write(new[: before.st_size])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def delete(file: Path, _new: bytes) -> None:
    file.unlink()


def put_a_pipe_there(file: Path, _new: bytes) -> None:
    file.unlink()
    os.mkfifo(file)


# What of the loader is about to happen: nothing of the file was looked at, it was looked at, the
# engine opens it, it was read and does not count yet.
MOMENTS = {"found": "_look", "looked at": "_make_room", "opened": "_insert", "read": "_stored"}
CHANGES = [replace, append, overwrite, delete, put_a_pipe_there]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["csv.gz", "broken.csv", "parquet"])
def test_a_file_that_changes_while_it_is_read_is_put_off_and_its_neighbours_load(
    zone: Zone,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    change: Callable[[Path, bytes], None],
    moment: str,
) -> None:
    file = zone.write(f"odd.{kind}", content(kind, "P1", zone))
    zone.write("a.csv", csv("A"))
    zone.write("z.csv", csv_with_a_broken_line("Z"))
    new = content(kind, "P2", zone)
    original = getattr(_DuckDBLoad, MOMENTS[moment])
    done: list[str] = []

    def changing(self: _DuckDBLoad, *arguments: Any, **options: Any) -> Any:
        if not done and (moment != "opened" or file.name in arguments[0]):
            done.append(moment)
            change(file, new)
        return original(self, *arguments, **options)

    monkeypatch.setattr(_DuckDBLoad, MOMENTS[moment], changing)
    faulthandler.dump_traceback_later(120, exit=True)  # for who waits at a pipe, and hears nothing
    warnings = zone.loading.load()
    faulthandler.cancel_dump_traceback_later()
    assert done
    assert zone.products() == {"A", "Z"}
    assert any("products/odd." in text and "changed while it was read" in text for text in warnings)
    zone.loading.load()  # as if nothing had happened
    found = zone.products()
    zone.loading.load(is_full_refresh=True)
    assert zone.products() == found
    assert {"A", "Z"} <= found
    if change is replace:
        assert found == {"A", "Z", "P2"}


@pytest.mark.parametrize("moment", ["looked at", "read"])
def test_a_loaded_file_that_changes_again_while_its_new_content_is_read_keeps_its_rows(
    zone: Zone, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    file = zone.write("odd.csv", csv("P1"))
    zone.loading.load()
    replace(file, csv("P2"))
    zone.write("a.csv", csv("A"))
    original = getattr(_DuckDBLoad, MOMENTS[moment])

    def changing(self: _DuckDBLoad, *arguments: Any) -> Any:
        replace(file, csv("P3"))
        return original(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(_DuckDBLoad, MOMENTS[moment], changing)
        (warning,) = zone.loading.load()
    assert warning.startswith("landing/products/odd.csv cannot be read: it changed while")
    assert "its rows of before stay, and the next build tries again" in warning
    assert zone.products() == {"A", "P1"}
    assert zone.loading.load() == []
    assert zone.products() == {"A", "P3"}


def test_a_file_that_may_not_be_read_is_told_and_read_as_soon_as_it_may(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests may run as root, whom no mode of a file keeps out."""
    zone.write("known.csv", csv("P1"))
    zone.loading.load()
    zone.write("known.csv", csv("P2"))
    zone.write("new.csv", csv("P3"))
    zone.write("a.csv", csv("A"))
    original = os.open

    def refusing(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path).endswith(("known.csv", "new.csv")):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refusing)
        warnings = zone.loading.load()
    assert warnings == [
        "landing/products/new.csv is refused: it cannot be read: Permission denied",
        "landing/products/known.csv cannot be read: Permission denied; its rows of before stay, "
        "and the next build tries again",
    ]
    assert zone.products() == {"A", "P1"}
    assert zone.loading.load() == []
    assert zone.products() == {"A", "P2", "P3"}


def test_a_fault_that_nobody_thought_of_is_a_line_that_names_the_file(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone.write("odd.csv", csv("P1"))
    zone.write("a.csv", csv("A"))
    original = files.scan

    def failing(found: Any, contract: Any) -> Any:
        if found.name == "odd.csv":
            raise ZeroDivisionError("a\nnew one")
        return original(found, contract)

    with monkeypatch.context() as patched:
        patched.setattr(load, "scan", failing)
        warnings = zone.loading.load()
    assert warnings == [
        "landing/products/odd.csv is refused: it cannot be read: ZeroDivisionError: a new one"
    ]
    assert zone.products() == {"A"}
    zone.loading.load()
    assert zone.products() == {"A", "P1"}


# --- What is no file -----------------------------------------------------------------------------


def link_in_a_circle(file: Path) -> None:
    file.symlink_to(file.name)


def link_to_nowhere(file: Path) -> None:
    file.symlink_to("nothing.csv")


def link_out(file: Path) -> None:
    outside = file.parent.parent.parent / "secret.txt"
    outside.write_text(f"{QUOTE}\n")
    file.symlink_to(outside)


def link_out_through_a_folder(file: Path) -> None:
    outside = file.parent.parent.parent / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_bytes(csv(QUOTE))
    (file.parent / "inner").symlink_to(outside)
    file.symlink_to("inner/secret.csv")


def link_to_a_device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def pipe(file: Path) -> None:
    os.mkfifo(file)


def bind(file: Path) -> None:
    place = os.open(file.parent, os.O_RDONLY)  # a socket's path may not be long
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{place}/{file.name}")
    finally:
        os.close(place)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (link_in_a_circle, "is a symbolic link that leads nowhere"),
        (link_to_nowhere, "is a symbolic link that leads nowhere"),
        (link_out, "is reached by a symbolic link that leaves the landing zone; copy it there"),
        (link_out_through_a_folder, "is reached by a symbolic link that leaves the landing zone"),
        (link_to_a_device, "is reached by a symbolic link that leaves the landing zone"),
        (pipe, "is no file but a pipe, a socket or a device; write a file"),
        (bind, "is no file but a pipe, a socket or a device; write a file"),
    ],
)
def test_what_is_no_file_of_the_landing_zone_is_refused_by_name(
    zone: Zone, make: Callable[[Path], None], reason: str
) -> None:
    make(zone.folder / "odd.csv")
    zone.write("a.csv", csv("A"))
    (warning,) = zone.loading.load()
    assert warning.startswith(f"landing/products/odd.csv is refused: it {reason}")
    assert zone.products() == {"A"}
    kept = (
        zone.loading.query("from landing.products"),
        zone.loading.query("from landing.products_files"),
    )
    assert QUOTE not in repr((warning, kept))
    (zone.folder / "odd.csv").unlink()
    zone.write("odd.csv", csv("P1"))
    assert zone.loading.load() == []
    assert zone.products() == {"A", "P1"}


def test_a_folder_of_a_feed_that_is_a_link_out_of_the_landing_zone_is_not_read(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/odd.csv").write_bytes(csv(QUOTE))
    (tmp_path / "landing/products").symlink_to(tmp_path / "elsewhere")
    loading = Loading(compiled["products"], tmp_path / "landing/products")
    (warning,) = loading.load()
    found = loading.rows("product_id")
    loading.close()
    assert "odd.csv is refused: it is reached by a symbolic link that leaves the landing" in warning
    assert found == []


def test_a_link_within_the_landing_zone_and_a_linked_landing_zone_are_read(
    compiled: dict[str, Compiled], tmp_path: Path
) -> None:
    (tmp_path / "disk/products/archive").mkdir(parents=True)
    (tmp_path / "landing").symlink_to("disk")
    (tmp_path / "disk/products/archive/a.csv").write_bytes(csv("A"))
    (tmp_path / "disk/products/a.csv").symlink_to("archive/a.csv")
    loading = Loading(compiled["products"], tmp_path / "landing/products")
    assert loading.load() == []
    found = loading.rows("product_id, _file")
    loading.close()
    assert found == [("A", "landing/products/a.csv")]


def test_a_folder_within_a_folder_of_a_feed_is_told(tmp_path: Path) -> None:
    for folder in ("orders/2026", "orders/empty", "orders/.hidden", "other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "orders/2026/a.csv").touch()
    (tmp_path / "orders/.hidden/a.csv").touch()
    (tmp_path / "orders/b.csv").touch()
    (tmp_path / "other/a.csv").touch()
    assert strays(tmp_path, ["orders"]) == ["orders/2026", "other"]


# --- What is in it -------------------------------------------------------------------------------


def test_a_column_of_parquet_whose_name_is_not_utf8_refuses_its_file(zone: Zone) -> None:
    odd = parquet("P1", zone.folder)
    assert odd.count(b"category") > 0
    zone.write("odd.parquet", odd.replace(b"category", b"categor\xff"))
    zone.write("a.parquet", parquet("A", zone.folder))
    (warning,) = (text for text in zone.loading.load() if "odd.parquet" in text)
    assert warning.startswith("landing/products/odd.parquet is refused: it ")
    assert "\n" not in warning
    assert zone.products() == {"A"}


@pytest.mark.parametrize(
    ("name", "start", "reason"),
    [
        ("odd.parquet", b"PARE", "is an encrypted Parquet file; export it without a password"),
        ("odd.csv", b"\xd0\xcf\x11\xe0", "is an old Excel file, or one with a password"),
        ("odd.csv", b"PK\x03\x04", "is a spreadsheet or a zip archive"),
    ],
)
def test_a_file_with_a_password_is_refused(
    zone: Zone, name: str, start: bytes, reason: str
) -> None:
    zone.write(name, start + bytes(100))
    zone.write("a.csv", csv("A"))
    (warning,) = zone.loading.load()
    assert warning.startswith(f"landing/products/{name} is refused: it {reason}")
    assert zone.products() == {"A"}


@pytest.mark.parametrize("name", ["odd.csv.gz", "odd.jsonl.gz"])
@pytest.mark.parametrize("start", [b"", HEADER.encode(), b'{"a": 1}\n'])
def test_a_small_file_that_unpacks_to_very_much_is_refused_before_that(
    zone: Zone, name: str, start: bytes
) -> None:
    bomb = gzip.compress(start + b"\n" * 200_000_000, compresslevel=6)
    assert len(bomb) < 250_000
    zone.write(name, bomb)
    zone.write("a.csv", csv("A"))
    began = time.process_time()
    (warning,) = zone.loading.load()
    seconds = time.process_time() - began
    assert warning.startswith(f"landing/products/{name} is refused: it ")
    assert zone.products() == {"A"}
    assert seconds < 20  # it took more than a minute


def test_a_table_may_be_packed_well(zone: Zone) -> None:
    rows = "".join(f"P{number},Mug,Kitchen,1.00,1\n" for number in range(20_000))
    zone.write("odd.csv.gz", gzip.compress((HEADER + rows).encode()))
    assert zone.loading.load() == []
    assert len(zone.products()) == 20_000


def test_small_content_may_be_packed_as_well_as_it_gets(tmp_path: Path) -> None:
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(bytes(UNPACKED_FREELY)))
    with open_file(file, is_compressed=True) as opened:
        assert len(opened.read()) == UNPACKED_FREELY
    file.write_bytes(gzip.compress(bytes(UNPACKED_FREELY + 1)))
    with open_file(file, is_compressed=True) as opened, pytest.raises(RefusedError):
        opened.read()
