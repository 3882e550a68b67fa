"""The packages that a build runs on, as a software bill of materials (CycloneDX 1.6)."""

from __future__ import annotations

import csv
import hashlib
import platform
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from typing import Any

# What an installer writes beside the package's own files: other in each environment.
_OF_THE_INSTALLER = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json")


def bill_of_materials(installed: Iterable[Distribution] | None = None) -> dict[str, Any]:
    """Name, version and hash of each installed package, by name.

    The hash is the SHA-256 of the package's files as its wheel says they are: of the lines
    `path,hash` of its RECORD, sorted, without scripts, caches and what the installer adds. So two
    environments with the same packages have the same hashes, wherever they are. A package without
    a RECORD has none.

    Args:
        installed: None: the packages of this process.

    Returns:
        A CycloneDX document, ready to be written as JSON.
    """
    found = distributions() if installed is None else installed
    by_name = {_normalised(package.name): package for package in found}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "platform",
                "name": platform.python_implementation(),
                "version": platform.python_version(),
            }
        },
        "components": [_component(name, package) for name, package in sorted(by_name.items())],
    }


def _component(name: str, package: Distribution) -> dict[str, Any]:
    lines = sorted(_files(package))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return {
        "type": "library",
        "name": name,
        "version": package.version,
        "purl": f"pkg:pypi/{name}@{package.version}",
    } | ({"hashes": [{"alg": "SHA-256", "content": digest}]} if lines else {})


def _files(package: Distribution) -> Iterator[str]:
    for path, digest, _size in csv.reader((package.read_text("RECORD") or "").splitlines()):
        name = path.rpartition("/")[2]
        if digest and not path.startswith(("..", "/")) and name not in _OF_THE_INSTALLER:
            yield f"{path},{digest}"


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
