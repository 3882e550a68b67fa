"""Settings of the command line, read from environment variables in this one place."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What DuckDB would take for one of our schemas, or for its own: it names a database after its file.
NOT_A_DATABASE = (
    *("intermediate", "landing", "main", "marts", "publication", "seeds", "staging"),
    *("information_schema", "memory", "pg_catalog", "system", "temp"),
)


@dataclass(frozen=True)
class Settings:
    """Where things are. Relative paths of the environment are relative to the project's root.

    Attributes:
        root: the project's folder.
        database: the DuckDB file that dbt writes (`WAREHOUSE_DB`).
        profiles: the folder of profiles.yml (`DBT_PROFILES_DIR`).
        target: the folder of dbt's artifacts (`DBT_TARGET_PATH`).
        published: the folder of the published snapshots (`WAREHOUSE_PUBLISHED`).
        data_docs: the folder of the pages about the last run's expectations
            (`WAREHOUSE_DATA_DOCS`).
        landing: the folder where people drop files, one folder in it per feed
            (`WAREHOUSE_LANDING`).
        sample_data: whether the sample seeds are read too (`WAREHOUSE_SAMPLE_DATA`, 1 or 0); None,
            where it is not set: until there is a file of one's own. Reference seeds always are.
        threads: threads of DuckDB in a build (`WAREHOUSE_THREADS`); None for all processors.
        memory_limit: memory of DuckDB in a build, as it writes it (`WAREHOUSE_MEMORY_LIMIT`); half
            of the machine's by default.
        temporary: the folder for what does not fit into it (`WAREHOUSE_TEMP`).
        spark_host: host of the Thrift server of the cluster (`WAREHOUSE_SPARK_HOST`).
        spark_port: port of the Thrift server (`WAREHOUSE_SPARK_PORT`).
        spark_exchange: the folder through which a build on Spark hands files to the cluster and
            takes them from it; both see it under this path (`WAREHOUSE_SPARK_EXCHANGE`).
    """

    root: Path
    database: Path
    profiles: Path
    target: Path
    published: Path
    data_docs: Path
    landing: Path
    sample_data: bool | None
    threads: int | None
    memory_limit: str
    temporary: Path
    spark_host: str
    spark_port: int
    spark_exchange: Path

    @property
    def memory_bytes(self) -> str:
        """The memory limit as every version of DuckDB reads it: a share in bytes."""
        if not self.memory_limit.endswith("%"):
            return self.memory_limit
        return f"{int(memory_of_machine() * float(self.memory_limit[:-1]) / 100)}B"

    @property
    def of_duckdb(self) -> dict[str, str | bool | int | float | list[str]]:
        """How much of the machine DuckDB may take, as `duckdb.connect` reads it."""
        found: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.memory_bytes,
            "temp_directory": str(self.temporary),
        }
        if self.threads is not None:
            found["threads"] = self.threads
        return found

    @property
    def spark(self) -> str:
        """Where the Thrift server is, as host:port."""
        return f"{self.spark_host}:{self.spark_port}"

    def shown(self, path: Path) -> str:
        """A path as people type it: from the root where it is inside."""
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)


class SettingsError(Exception):
    """A setting that cannot be used; the message says which, and what it may be."""


def read_settings(environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> Settings:
    """Read the settings; a variable that is missing or empty has its default.

    Raises:
        SettingsError: a variable has a value that it cannot have.
    """

    def path(name: str, default: str) -> Path:
        return root / (environment.get(name) or default)

    check_database(environment.get("WAREHOUSE_DB") or "build/warehouse.duckdb")
    threads = _read(environment, "WAREHOUSE_THREADS", "", r"[1-9]\d{0,2}|", "such as 2")
    return Settings(
        root=root,
        database=path("WAREHOUSE_DB", "build/warehouse.duckdb"),
        profiles=path("DBT_PROFILES_DIR", "profiles"),
        target=path("DBT_TARGET_PATH", "target"),
        published=path("WAREHOUSE_PUBLISHED", "published"),
        data_docs=path("WAREHOUSE_DATA_DOCS", "build/data_docs"),
        landing=path("WAREHOUSE_LANDING", "landing"),
        sample_data=_read_flag(environment, "WAREHOUSE_SAMPLE_DATA"),
        threads=int(threads) if threads else None,
        memory_limit=_read(
            environment,
            "WAREHOUSE_MEMORY_LIMIT",
            "50%",
            r"\d+(\.\d+)? ?([KMGT]i?B|%)",
            "such as 4GiB or 50%",
        ),
        temporary=path("WAREHOUSE_TEMP", "build/tmp"),
        spark_host=environment.get("WAREHOUSE_SPARK_HOST") or "127.0.0.1",
        spark_port=int(
            _read(environment, "WAREHOUSE_SPARK_PORT", "10000", r"[1-9]\d{0,4}", "such as 10000")
        ),
        spark_exchange=path("WAREHOUSE_SPARK_EXCHANGE", "build/spark/exchange"),
    )


def check_database(path: str) -> None:
    """Refuse a database file whose name dbt and DuckDB read differently, or take for a schema.

    Args:
        path: as it was set, perhaps relative.

    Raises:
        SettingsError: with what it may be.
    """
    name = Path(path).name.lstrip(".").split(".")[0]
    if not (path.isprintable() and name) or re.search("[#?;]", path) or re.search("[\"']", name):
        raise SettingsError(
            f"WAREHOUSE_DB is {path!r}; it must be a file without # ? ; in its path, and without "
            "quotes in its name, such as build/warehouse.duckdb"
        )
    if name.lower() in NOT_A_DATABASE:
        raise SettingsError(
            f"WAREHOUSE_DB is {path!r}; it must be a file of another name, such as "
            f"warehouse.duckdb, since DuckDB names the database after it: {name} is a schema"
        )


def memory_of_machine(
    limits: Sequence[Path] = (
        Path("/sys/fs/cgroup/memory.max"),
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ),
) -> int:
    """How many bytes of memory there are, for a container those that it may take.

    Args:
        limits: files of the container's limit; one that is missing or says no number is none.
    """
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in limits:
        with suppress(OSError, ValueError):
            found.append(int(file.read_text()))
    return min(found)


def _read_flag(environment: Mapping[str, str], name: str) -> bool | None:
    return {"1": True, "0": False, "": None}[_read(environment, name, "", "[01]?", "1 or 0")]


def _read(
    environment: Mapping[str, str], name: str, default: str, pattern: str, may_be: str
) -> str:
    text = environment.get(name) or default
    if not re.fullmatch(pattern, text, re.ASCII | re.IGNORECASE):
        raise SettingsError(f"{name} is {text!r}; it must be {may_be}")
    return text
