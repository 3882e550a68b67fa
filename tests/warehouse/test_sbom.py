"""The bill of materials of a build: packages made by hand, and those of this process."""

from __future__ import annotations

import re
from importlib.metadata import PathDistribution, distributions
from pathlib import Path

import duckdb

from warehouse.sbom import bill_of_materials


def package(folder: Path, *record: str, name: str = "Some.Package") -> PathDistribution:
    """A package as pip leaves it, with these lines in its RECORD."""
    place = folder / "some_package-1.2.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (place / "RECORD").write_text("".join(f"{line}\n" for line in record))
    return PathDistribution(place)


def hash_of(folder: Path, *record: str) -> str:
    (component,) = bill_of_materials([package(folder, *record)])["components"]
    return str(component["hashes"][0]["content"])


FILES = ("some/a.py,sha256=AAAA,3", "some/b.py,sha256=BBBB,5")


def test_the_hash_changes_with_a_file_and_with_nothing_else(tmp_path: Path) -> None:
    plain = hash_of(tmp_path / "plain", *FILES)
    added_by_installers = (
        "../../../bin/some,sha256=CCCC,9",
        "some/__pycache__/a.cpython-311.pyc,,",
        "some_package-1.2.dist-info/INSTALLER,sha256=DDDD,4",
        "some_package-1.2.dist-info/direct_url.json,sha256=EEEE,4",
        "some_package-1.2.dist-info/RECORD,,",
    )
    assert hash_of(tmp_path / "installed", *reversed(FILES), *added_by_installers) == plain
    assert hash_of(tmp_path / "changed", FILES[0], "some/b.py,sha256=XXXX,5") != plain


def test_a_package_has_its_name_as_the_package_index_writes_it(tmp_path: Path) -> None:
    (component,) = bill_of_materials([package(tmp_path, *FILES)])["components"]
    assert component["name"] == "some-package"
    assert component["purl"] == "pkg:pypi/some-package@1.2"


def test_a_package_without_a_record_has_no_hash(tmp_path: Path) -> None:
    (component,) = bill_of_materials([package(tmp_path)])["components"]
    assert "hashes" not in component


def test_every_package_of_this_process_is_there_with_a_hash() -> None:
    components = bill_of_materials()["components"]
    assert all(re.fullmatch("[0-9a-f]{64}", part["hashes"][0]["content"]) for part in components)
    versions = {part["name"]: part["version"] for part in components}
    assert versions["duckdb"] == duckdb.__version__
    assert len(versions) == len({found.name.lower() for found in distributions()})
