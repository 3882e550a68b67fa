"""A local Spark session in a process of its own, which says what it thinks of SQL.

A process of its own, since Great Expectations and PySpark do not go together in one
(expectations/__init__.py), and so that no JVM is left behind.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from tests.support import ROOT, own_environment
from warehouse.spark.cluster import ClusterError, check_java

SECONDS_TO_END = 30

# Analysis alone is asked for: a JVM that starts quickly is worth more than one that runs fast.
_JAVA_OPTIONS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"


class SessionError(Exception):
    """There is no session; the message says why, in one line."""


class RefusedError(Exception):
    """Spark refuses a statement; the message is the first line of what it says."""


class SparkSession:
    """A session with tables of its own, in memory and in a folder.

    Args:
        folder: for tables and what Java writes; made when missing.
        settings: of Spark.

    Raises:
        SessionError: Java or PySpark is missing, or the session does not start.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        try:
            check_java()
        except ClusterError as error:
            raise SessionError(str(error)) from None
        folder.mkdir(parents=True, exist_ok=True)
        self._said = folder / "stderr.log"
        others = {"SPARK_HOME", "SPARK_CONF_DIR", "PYSPARK_SUBMIT_ARGS", "SPARK_REMOTE"}
        environment = {k: v for k, v in own_environment().items() if k not in others} | {
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYTHONPATH": str(ROOT),
        }
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.spark.session", json.dumps(dict(settings))],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
        try:
            self.columns("select 1 as one")
        except BaseException:
            self.close()
            raise

    def columns(self, sql: str) -> dict[str, str]:
        """Names and types of what a statement gives; DDL is run, a query only analysed.

        Raises:
            RefusedError: it cannot be analysed or done.
            SessionError: the session is no more.
        """
        answer = self._ask(sql)
        if "refused" in answer:
            raise RefusedError(answer["refused"])
        return dict(answer["columns"])

    def close(self) -> None:
        """End the session, and its JVM."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_END)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # a group of its own, with the JVM
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, sql: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(sql) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(SECONDS_TO_END)  # its last words come last
            last = (self._said.read_text().splitlines() or ["it says nothing"])[-1]
            raise SessionError(f"the Spark session ended: {last}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def first_line(text: str) -> str:
    """The first line of a message that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


# ---------------------------------------------------------------- in the process of the session


def answer_all(settings: Mapping[str, str], asked: IO[str], answers: IO[str]) -> None:
    """Answer statements, one a line as JSON, until there are no more."""
    try:
        refusal = import_module("pyspark.errors").PySparkException
        builder = import_module("pyspark.sql").SparkSession.builder.master("local[1]")
    except ImportError as error:
        sys.exit(f"PySpark is not installed ({error}): pip install -r requirements-spark.lock")
    folder = Path.cwd()
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": f"{_JAVA_OPTIONS} -Duser.timezone=UTC",
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "tables"),
        "spark.sql.catalogImplementation": "in-memory",
        **settings,
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    for line in asked:
        answer: dict[str, Any]
        try:
            schema = spark.sql(json.loads(line)).schema
            answer = {"columns": [[one.name, _type(one.dataType)] for one in schema]}
        except refusal as error:
            answer = {"refused": first_line(str(error))}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    spark.stop()


def _type(type_: Any) -> str:
    # Spark calls it `timestamp`, which in SQL is what spark.sql.timestampType says.
    return re.sub(r"\btimestamp\b(?!:)", "timestamp_ltz", type_.simpleString())


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what Java prints is no answer
        answer_all(json.loads(sys.argv[1]), sys.stdin, answers)
