"""The plugin of dbt-duckdb that loads feeds: profiles.yml names it, macros/ingest/feed.sql calls.

It turns a call of dbt's into a request to `warehouse.landing`, which does the work.
"""

from __future__ import annotations

import atexit
import gc
import threading
import time
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import TargetConfig
from dbt_common.events.base_types import EventLevel
from dbt_common.events.functions import fire_event
from dbt_common.events.types import Note
from dbt_common.exceptions import DbtRuntimeError

from warehouse.landing.files import Column, Contract, strays
from warehouse.landing.in_duckdb import load_feed, look_into_logs, prepare
from warehouse.landing.load import LoadError, Request, Words
from warehouse.landing.sample import SAMPLE
from warehouse.settings import Settings, SettingsError, check_database, read_settings

_MODEL_TABLES = {
    "model_inputs": ("model", "input", "version"),
    "changed_values": ("model", "from_version", "to_version", "changed_key"),
}


class Strays:
    """Says once a run what lies in the landing zone where no feed would look."""

    def __init__(self) -> None:
        """Nothing was looked at yet."""
        self._looked_in_run = ""
        self._lock = threading.Lock()

    def say(self, settings: Settings, run: str, feeds: Collection[str]) -> None:
        """Warn of each, unless this was done in this run."""
        with self._lock:
            if self._looked_in_run == run:
                return
            self._looked_in_run = run
        for name in strays(settings.landing, feeds):
            warn(
                f"landing/{name} is not read: files go into a folder named after their feed "
                f"({', '.join(feeds)})"
            )


STRAYS = Strays()


class Plugin(BasePlugin):
    """Loads the files of a feed when its base model is built."""

    def initialize(
        self,
        plugin_config: dict[str, Any],  # noqa: ARG002 - profiles.yml has no settings for it
    ) -> None:
        """Find the database from the root of the project, wherever dbt was started.

        And spare the manifest, which dbt has read by now and keeps, the collections of garbage:
        they look through all of its several 100,000 objects, a twentieth of a build of the sample.

        Raises:
            DbtRuntimeError: a setting has a value that it cannot have.
        """
        try:
            self._settings = read_settings()
            if self.creds is not None and self.creds.path != ":memory:":
                check_database(self.creds.path)
                self.creds.path = str(self._settings.root / self.creds.path)
        except SettingsError as error:
            raise DbtRuntimeError(str(error)) from error
        gc.freeze()
        atexit.register(gc.unfreeze)  # or DuckDB complains of what it did not free

    def update_connection_config(
        self,
        creds: DuckDBCredentials,  # noqa: ARG002 - dbt's signature
        config: dict[str, Any],
    ) -> None:
        """Say how much of the machine DuckDB may take, as the database opens.

        Not by `settings` of the profile, which are set for each cursor: DuckDB refuses to be told
        of its temporary folder again, even of the same one, once it has spilled to it.
        """
        config |= self._settings.of_duckdb

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Make what loads need, and where models note what they were made from (macros/build/)."""
        prepare(conn)
        for table, columns in _MODEL_TABLES.items():
            listed = ", ".join(f"{column} varchar" for column in columns)
            conn.execute(f'create table if not exists "landing".{table} ({listed})')

    def store(self, target_config: TargetConfig) -> None:
        """Load what is new of one feed.

        Raises:
            DbtRuntimeError: it cannot be done; one line that says why and what to do.
        """
        request = read_request(target_config.config)
        try:
            settings = read_settings()
            STRAYS.say(settings, request.run, target_config.config["feeds"])
            # A connection of its own, since dbt's is in a transaction whose end is dbt's to say.
            connection = DuckDBConnectionManager.env().conn.cursor()  # type: ignore[attr-defined]
            started = time.perf_counter()
            try:
                load_feed(
                    connection,
                    request,
                    settings.landing / request.feed,
                    has_sample=SAMPLE.has_sample(
                        settings, target_config.config, partial(look_into_logs, connection), warn
                    ),
                    words=Words(warn=warn, tell=tell),
                )
            finally:
                connection.close()
            seconds = time.perf_counter() - started
            fire_event(Note(msg=f"{request.feed}: loaded in {seconds:.3f} s"), EventLevel.DEBUG)
        except (LoadError, SettingsError, duckdb.Error) as error:
            raise DbtRuntimeError(str(error)) from error
        except OSError as error:
            place = f"landing/{request.feed}"
            raise DbtRuntimeError(
                f"{place} cannot be read: {error.strerror or error}. Let the user that builds read "
                "this folder, then build again."
            ) from error


def read_request(call: Mapping[str, Any]) -> Request:
    """The request that a call of the macro makes."""
    contract = call["contract"]
    return Request(
        contract=read_contract(contract),
        has_key=bool(contract["key"]),
        sql=call["sql"],
        source=call["source"],
        seed_file=call["seed_file"],
        is_reference=contract["reference"],
        table=call["table"],
        log=call["log"],
        database=call["database"],
        types=dict(call["types"]),
        day=call["day"],
        is_full_refresh=call["is_full_refresh"],
        run=call["invocation_id"],
        started_at=call["started_at"],
    )


def read_contract(contract: Mapping[str, Any]) -> Contract:
    """What files of a feed may look like, of the contract that a macro hands over."""
    return Contract(
        contract["feed"],
        tuple(
            Column(column["name"], tuple(column["aliases"]), column["required"], column["pattern"])
            for column in contract["columns"]
        ),
        contract["headerless"],
    )


def warn(text: str) -> None:
    """Say a warning as dbt does."""
    fire_event(Note(msg=text), level=EventLevel.WARN)


def tell(text: str) -> None:
    """Say how far a load is."""
    fire_event(Note(msg=text))
