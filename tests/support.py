"""Drive the real project, copied into a temporary folder."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from warehouse.published import PublishedFolder

ROOT = Path(__file__).resolve().parent.parent

# What a fresh clone holds that a build needs.
_PARTS = (
    *("dbt_project.yml", "profiles.yml", "macros", "models", "profiles", "seeds", "tests/data"),
    *("warehouse", "api", "expectations"),
)


# For a build of a few nodes: leave out tests that need others, which are not built.
ALONE = {"DBT_INDIRECT_SELECTION": "cautious", "DBT_EXCLUDE_RESOURCE_TYPES": "unit_test"}


def own_environment() -> dict[str, str]:
    """The variables of this process without settings of dbt, the warehouse, pytest and make."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("DBT_", "WAREHOUSE_", "PYTEST_", "MAKE", "MFLAGS", "ARGS"))
    }


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    exit_code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Everything that was printed, by line, without empty lines."""
        return [line for line in (self.out + self.err).splitlines() if line.strip()]


class Project:
    """A copy of the project in a folder of its own, with its own database.

    Args:
        folder: where the copy goes; made when missing.
        parsed_from: a project whose parsed manifest is taken over, which saves dbt some seconds.
    """

    def __init__(self, folder: Path, parsed_from: Project | None = None) -> None:
        self.folder = folder
        self.database = folder / "build" / "warehouse.duckdb"
        self.published = PublishedFolder(folder / "published")
        for part in _PARTS:
            source, target = ROOT / part, folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target, follow_symlinks=False)
        (folder / "build").mkdir()
        if parsed_from is not None:
            (folder / "target").mkdir()
            shutil.copy2(parsed_from.folder / "target/partial_parse.msgpack", folder / "target")

    def run(self, *command: str, **environment: str) -> Outcome:
        """Run a Python module, such as `run("warehouse", "build")`, in the project's folder."""
        return self._run(command, environment, largest_file=None)

    def run_on_a_full_disk(self, largest_file: int, *command: str) -> Outcome:
        """Run a Python module while no file may outgrow so many bytes."""
        return self._run(command, {}, largest_file)

    def _run(
        self, command: Sequence[str], environment: dict[str, str], largest_file: int | None
    ) -> Outcome:
        def limit_files() -> None:
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=own_environment() | environment,
            preexec_fn=limit_files,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def build(self, *arguments: str, **environment: str) -> Outcome:
        """`make build` without make: build, and print the table or what failed."""
        return self.run("warehouse", "build", *arguments, **environment)

    def dbt(self, *arguments: str, **environment: str) -> Outcome:
        """Run plain dbt, as a person with an active virtual environment does."""
        return self.run("dbt.cli.main", "--no-use-colors", *arguments, **environment)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query on the built database."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def column(self, sql: str) -> list[Any]:
        """The first column of a query."""
        return [row[0] for row in self.query(sql)]

    def records(self, mart: str) -> list[dict[str, Any]]:
        """All rows of a mart, each as column to value."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            cursor = connection.execute(f"select * from marts.{mart}")
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def manifest(self, target: str = "target") -> dict[str, Any]:
        """What dbt parsed, from the folder that it writes into."""
        file = self.folder / target / "manifest.json"
        manifest: dict[str, Any] = json.loads(file.read_text())
        return manifest

    def write_seed(self, path: str, content: str | bytes) -> None:
        """Replace a file below seeds/; text is written as UTF-8, line ends as given."""
        data = content.encode() if isinstance(content, str) else content
        (self.folder / "seeds" / path).write_bytes(data)

    def land(self, path: str, content: str | bytes, age_seconds: float = 0) -> Path:
        """Write a file below landing/; with an age, as if it was written so long ago."""
        file = self.folder / "landing" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        if age_seconds:
            written = time.time() - age_seconds
            os.utime(file, (written, written))
        return file

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace the first occurrence of a text in a file; it must be there."""
        file = self.folder / path
        text = file.read_bytes().decode()
        if old not in text:
            raise AssertionError(f"{path} does not hold {old!r}")
        file.write_bytes(text.replace(old, new, 1).encode())


class SmallProject(Project):
    """The project with the five models of tests/chaos/project in place of its own.

    Args:
        folder: where the copy goes.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for part in ("models", "seeds"):
            shutil.rmtree(folder / part)
        shutil.copytree(ROOT / "tests/chaos/project/models", folder / "models")
        for file in (folder / "tests/data").glob("*.sql"):
            file.unlink()
        self.number_builds(1)

    def number_builds(self, number: int, *, is_good: bool = True) -> None:
        """Say which number the rows of the next builds carry, and whether they pass their tests."""
        (self.folder / "build.csv").write_text(
            f"number,is_good\n{number},{'true' if is_good else 'false'}\n"
        )


def copy_of(built: Project, folder: Path) -> Project:
    """A copy of a built project, with its database and what it published, to break."""
    project = Project(folder, parsed_from=built)
    shutil.copy2(built.database, project.database)
    shutil.copytree(built.published.path, project.published.path)
    return project


def overwrite(file: Path, content: bytes) -> None:
    """Write into a file in place, though what is published is read-only."""
    file.chmod(file.stat().st_mode | 0o200)
    file.write_bytes(content)
