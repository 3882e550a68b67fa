"""Run dbt again and again in one process: it and Great Expectations take seconds to start.

The modules of this folder that do so are programs of their own, since dbt leaves its connections,
its flags and its log behind in the process that it ran in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Warehouse:
    """A copy of the project that dbt runs in; it becomes the working directory.

    Args:
        folder: the copy.
    """

    def __init__(self, folder: Path) -> None:
        from dbt.cli.main import dbtRunner

        os.chdir(folder)
        os.environ["DBT_PROFILES_DIR"] = "profiles"
        self.database = folder / "build/warehouse.duckdb"
        self._runner = dbtRunner()

    def dbt(self, *arguments: str) -> list[Any]:
        """Run dbt; what it says of each node.

        Raises:
            BaseException: what dbt raised, when it did not come to its end.
        """
        done = self._runner.invoke(["--quiet", "--log-level", "none", *arguments])
        if done.exception is not None:
            raise done.exception
        results: Any = done.result
        return list(results)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query on what was built."""
        import duckdb

        self.close()
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def close(self) -> None:
        """Let go of the database file, which dbt holds on to after each run."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
