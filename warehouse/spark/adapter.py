"""What dbt-spark lacks for this project: steps in Python within a build.

On DuckDB the adapter's plugins do them. dbt-spark has no plugins, so `extend` gives its adapter the
same method, in the process of a build only, and runs Python models in that process too.
"""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from dbt.adapters.contracts.connection import Connection
from dbt.adapters.factory import get_adapter_by_type
from dbt.adapters.spark.connections import SparkConnectionManager
from dbt.adapters.spark.impl import SparkAdapter
from dbt_common.exceptions import DbtDatabaseError, DbtRuntimeError

from warehouse.settings import read_settings

# Until it is asked again whether a statement has ended. The profile takes whole seconds; a build
# has a thousand statements.
SECONDS_BETWEEN_POLLS = 0.05

# What the cluster says of the folder that a `create table` left behind when it was killed.
_LEFT_BEHIND = re.compile(
    r"LOCATION_ALREADY_EXISTS\] Cannot name the managed table as .*? location 'file:(/[^']+)'"
)

IN_THIS_PROCESS = "in_this_process"  # the submission method of Python models


def extend() -> None:
    """Let macros call `adapter.store_relation` on Spark as they do on DuckDB; once a process."""
    if "store_relation" in SparkAdapter._available_:
        return
    # These use this module.
    from warehouse.spark import feeds
    from warehouse.spark.publishing import SparkPublishing
    from warehouse.spark.python_models import PythonModel

    publication = SparkPublishing()
    steps: Mapping[str, Callable[[SparkAdapter, Any], None]] = {
        "loading": feeds.load,
        "seeding": feeds.seed,
        "publishing": lambda _, call: publication.do(call),
    }

    def store_relation(
        self: SparkAdapter,
        plugin_name: str,
        relation: Any,  # noqa: ARG001 - dbt-duckdb's signature
        column_list: Any,  # noqa: ARG001
        path: str,  # noqa: ARG001
        format: str,  # noqa: A002, ARG001
        config: dict[str, Any],
    ) -> None:
        steps[plugin_name](self, config)

    extended: Any = SparkAdapter
    extended.store_relation = store_relation
    extended._available_ |= {"store_relation"}
    extended.default_python_submission_method = IN_THIS_PROCESS
    extended.python_submission_helpers = {IN_THIS_PROCESS: PythonModel}
    _follow_connections(publication.follow_run)


def _follow_connections(call: Callable[[], None]) -> None:
    """Call this before each connection opens, the first of a run too; ask often what became."""
    manager: Any = SparkConnectionManager
    open_ = manager.open.__func__

    def open_and_follow(cls: type[SparkConnectionManager], connection: Connection) -> Connection:
        call()
        opened: Connection = open_(cls, connection)
        opened.handle.poll_interval = SECONDS_BETWEEN_POLLS
        opened.handle.execute = _tidying(opened.handle)
        return opened

    manager.open = classmethod(open_and_follow)


def _tidying(handle: Any) -> Callable[..., None]:
    """`execute` of a connection; a table may take the place of what a dead build left of it.

    Spark makes no table where a folder is, and no table is there, or it would say so.
    """
    execute_ = handle.execute

    def execute_anyway(sql: str, bindings: list[Any] | None = None) -> None:
        try:
            execute_(sql, bindings)
        except DbtDatabaseError as error:
            found = _LEFT_BEHIND.search(" ".join(str(error).split()))
            folder = Path(unquote(found[1])) if found else None
            if folder is None or not folder.is_dir():
                raise
            shutil.rmtree(folder)
            handle.cursor()
            execute_(sql, bindings)

    return execute_anyway


# ---------------------------------------------------------------------------- for the steps


def adapter() -> SparkAdapter:
    """The adapter of this process."""
    found: SparkAdapter = get_adapter_by_type(  # type: ignore[no-untyped-call]
        SparkConnectionManager.TYPE
    )
    return found


def execute(sql: str) -> None:
    """Run a statement on the connection of the node that is being built.

    Raises:
        DbtRuntimeError: the cluster refuses it; `cause` makes a line of that.
    """
    adapter().execute(sql)


def query(sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query, numbers as decimals.

    Raises:
        DbtRuntimeError: as for `execute`.
    """
    _, table = adapter().execute(sql, fetch=True)
    return [tuple(row) for row in table.rows]


def cause(error: DbtRuntimeError) -> str:
    """What the cluster says is wrong, in one line: without the classes of Java and their traces."""
    lines = [line.strip() for line in str(error.msg).splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by: ")] or lines[:1]
    text = re.sub(r"^.*(?:\w+\.)+\w*(?:Exception|Error): ", "", causes[-1]) if causes else ""
    return text.removesuffix(".")


def exchange_folder(purpose: str) -> tempfile.TemporaryDirectory[str]:
    """A new folder that the cluster sees too, which goes away with what is in it.

    It may be written by those who may write the folder of all exchanges: the cluster's user is
    perhaps another one.

    Raises:
        DbtRuntimeError: it cannot be made.
    """
    settings = read_settings()
    exchange = settings.spark_exchange
    try:
        exchange.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(
            prefix=f"{purpose}-", dir=exchange, ignore_cleanup_errors=True
        )
        Path(folder.name).chmod(stat.S_IMODE(exchange.stat().st_mode))
    except OSError as error:
        raise DbtRuntimeError(
            f"{settings.shown(exchange)} cannot be written: {error.strerror or error}. "
            "Set WAREHOUSE_SPARK_EXCHANGE to a folder that this machine and the cluster share"
        ) from error
    return folder


def export(query: str, folder: Path, options: Mapping[str, str]) -> list[Path]:
    """Let the cluster write the rows of a query as Parquet.

    Args:
        query: the query.
        folder: where to; it must not exist yet, below an exchange folder.
        options: of Spark's writer.

    Returns:
        The files, at least one, in the order of the rows; all can be read.

    Raises:
        DbtRuntimeError: they cannot be written, or not be read here; one line.
    """
    listed = ", ".join(f"'{name}' = '{value}'" for name, value in options.items())
    try:
        execute(
            f"insert overwrite directory {text_literal(f'file:{folder}')} "
            f"using parquet options ({listed}) {query}"
        )
    except DbtRuntimeError as error:
        raise DbtRuntimeError(
            f"the cluster cannot write {folder.parent}: {cause(error)}"
        ) from error
    try:
        files = sorted(folder.glob("part-*.parquet"))
        for file in files:
            file.open("rb").close()
    except OSError as error:
        raise DbtRuntimeError(
            f"{error.filename}, which the cluster wrote, cannot be read: {error.strerror}. "
            "Give its user and this one a group in common"
        ) from error
    if not files:
        raise DbtRuntimeError(
            f"the cluster wrote files, and none is in {folder.parent}. "
            "Set WAREHOUSE_SPARK_EXCHANGE to a folder that this machine and the cluster share"
        )
    return files


def text_literal(text: str) -> str:
    """A text as Spark's SQL reads it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
