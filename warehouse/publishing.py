"""The part of the publication that is Python: whether this run may publish, the catalog, the log.

macros/publish/publication.sql calls it through `adapter.store_relation`, which is how dbt-duckdb
lets a materialization reach a plugin; profiles.yml loads the plugin. On Spark,
warehouse.spark.adapter has the same entry. The SQL half copies the marts into files.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import TargetConfig
from dbt.adapters.factory import get_adapter_by_type
from dbt.version import __version__ as dbt_version
from dbt_common.events.base_types import EventLevel
from dbt_common.events.event_manager_client import get_event_manager
from dbt_common.events.functions import fire_event
from dbt_common.events.types import Note
from dbt_common.exceptions import DbtRuntimeError
from dbt_common.invocation import get_invocation_id

from warehouse.audit import (
    WHOLE_BUILD,
    Command,
    Needed,
    Node,
    Outcome,
    audit,
    enumerated,
    marts_of,
    needed_by,
)
from warehouse.failures import NO_SPACE_TO_PUBLISH
from warehouse.history import HISTORY, NOT_PUBLISHED, PUBLISHED, BuildHistory, EndOfRun
from warehouse.published import (
    FORMAT,
    Draft,
    PublishedError,
    PublishedFolder,
    format_time,
    sha256_of,
    what_readers_see,
)
from warehouse.retries import (
    RECORD,
    Record,
    circumstances,
    definitions,
    read_record,
    state_of_file,
    still_good,
    write_record,
)
from warehouse.sbom import bill_of_materials
from warehouse.settings import Settings, read_settings
from warehouse.typos import unknown_variables

RECORDED = ("build", "run")  # commands of dbt that the history has
FEED_HEALTH = "feed_health"  # the model that counts rejected rows
EXPECTATIONS = "expectation_results"  # the model that writes Data Docs
DATA_DOCS = "data_docs"  # their folder in a snapshot

Columns = Sequence[tuple[str, str]]  # names and DuckDB's types


@dataclass(frozen=True)
class Counted:
    """What there is of a mart, in the database or in a file.

    Attributes:
        rows: their number.
        hashes: the sum of a hash of each row, as text; equal rows give equal sums.
        columns: their names and types.
    """

    rows: int | None
    hashes: str
    columns: Columns


def sum_of_hashes(columns: Columns) -> str:
    """DuckDB's SQL of the sum over rows, as macros/publish/publication.sql has it on DuckDB."""
    names = ", ".join(f'"{name}"' for name, _ in columns)
    return f"'rows ' || coalesce(sum(hash({names})), 0)"


class Publishing(ABC):
    """Publishes the marts at the end of a whole, green build, whatever engine built them."""

    ADAPTER: str  # dbt's name of it

    def __init__(self) -> None:
        """Nothing was followed yet."""
        self._lock = threading.Lock()
        self._invocation = ""
        self._outcomes: dict[str, Outcome] = {}
        self._started = time.monotonic()  # a clock that nobody sets back
        self._rows_rejected: int | None = None
        self._manifest: dict[str, Any] = {}
        self._draft: Draft | None = None
        self._engine: Mapping[str, str] = {}
        self._seen: tuple[Path, Mapping[str, Any]] | None = None  # folder and catalog of readers
        self._publication = ""
        self._skipped = ""  # why this run cannot publish, though nothing failed
        self._database: str | None = None  # the state of its file when this run began
        self._published: tuple[str, int] | None = None  # version and rows
        self._has_sample: bool | None = None  # None: nothing says so

    @abstractmethod
    def adapter_and_database(self) -> tuple[str, str]:
        """What makes the files: names and versions of dbt's adapter and of the engine."""

    @abstractmethod
    def count_rejected(self, feed_health: str) -> int | None:
        """Rows that no mart counts, from the relation that was just built; None when it cannot."""

    def state_of_database(self, *, at_end: bool) -> str | None:  # noqa: ARG002 - for engines
        """A text that is another one once the database was written; None when nobody can tell.

        Args:
            at_end: asked at the end of a run, and not before the database opens.
        """
        return None

    def sum_of_rows(self, columns: Columns) -> str:
        """DuckDB's SQL of the sum over a file's rows, to compare with what the SQL half found."""
        return sum_of_hashes(columns)

    def steps(self) -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
        """What the SQL half may call, by the step's name."""
        return {
            "begin": self.begin,
            "keep": self._keep,
            "write_catalog": self._write_catalog,
            "look_at_feeds": self._look_at_feeds,
            "publish": self._publish,
        }

    def follow_run(self) -> None:
        """Follow what becomes of each node; called for each connection that opens.

        One process may have several runs, and each starts without followers. Called before the
        database opens, too.
        """
        with self._lock:
            callbacks = get_event_manager().callbacks
            if self._on_event not in callbacks:
                callbacks.append(self._on_event)
            self._follow(str(get_invocation_id()))

    def _on_event(self, event: Any) -> None:
        """Note what became of a node; dbt says so before it starts what depends on the node."""
        if event.info.name == "EndRunResult":
            self._end_run(event.info.invocation_id)
        if event.info.name != "NodeFinished":
            return
        self._follow(event.info.invocation_id)
        result, unique_id = event.data.run_result, event.data.node_info.unique_id
        self._outcomes[unique_id] = Outcome(result.status, result.num_failures)
        if unique_id.endswith(f".{FEED_HEALTH}") and result.status == "success":
            relation = event.data.node_info.node_relation.relation_name
            self._rows_rejected = self.count_rejected(relation)
        if unique_id == self._publication:
            self.give_up()

    def _follow(self, invocation_id: str) -> None:
        """Forget what another run did, when this is the first word of a new one."""
        if invocation_id == self._invocation:
            return
        self._refuse_unknown_variables()
        self.give_up()
        self._invocation, self._outcomes, self._published = invocation_id, {}, None
        self._started, self._rows_rejected = time.monotonic(), None
        self._skipped, self._database = "", self.state_of_database(at_end=False)
        which = _flags().WHICH
        if which in RECORDED:
            now = datetime.now(UTC)
            self._record(lambda history: history.start(invocation_id, which, now))

    def _refuse_unknown_variables(self) -> None:
        """Stop before anything is built when a variable is mistyped: its default would count.

        Raises:
            DbtRuntimeError: one line, with the nearest name.
        """
        config = self._adapter().config
        given = [*config.cli_vars, *config.cli_vars.get(config.project_name, {})]
        if not given:
            return
        declared = _names_of_vars(config.project_name)
        wrong = unknown_variables(given, declared, self._read_manifest(), config.project_name)
        if wrong:
            raise DbtRuntimeError(wrong)

    def _end_run(self, invocation_id: str) -> None:
        """Write into the history what came of the run; say so when nothing was published.

        Not a hook of dbt's: `dbt seed --show` breaks in any project that has one at the end.
        """
        self._follow(invocation_id)
        if _flags().WHICH not in RECORDED:
            return
        why = None if self._published else self._why_not_published()
        if why is not None:
            readers = what_readers_see(read_settings().published)
            fire_event(Note(msg=f"Not published: {why}; {readers}"))
        version, rows = self._published or (None, None)
        statuses = [
            outcome.status
            for unique_id, outcome in self._outcomes.items()
            if unique_id.startswith(("test.", "unit_test."))
        ]
        self._leave_record()
        now = datetime.now(UTC)
        end = EndOfRun(
            outcome=PUBLISHED if self._published else NOT_PUBLISHED,
            version=version,
            reason=why,
            seconds=round(time.monotonic() - self._started, 3),
            rows=rows,
            tests_passed=statuses.count("pass"),
            tests_warned=statuses.count("warn"),
            tests_failed=statuses.count("fail") + statuses.count("error"),
            rows_rejected=self._rows_rejected,
            contains_sample=self._has_sample if self._published else None,
        )
        self._record(lambda history: history.end(invocation_id, end, now))

    def _why_not_published(self) -> str:
        return self._why_failed() or self._skipped or f"publication was not selected; {WHOLE_BUILD}"

    def _why_failed(self) -> str | None:
        failed = [
            unique_id.split(".")[-1 if unique_id.startswith("unit_test.") else 2]
            for unique_id, outcome in self._outcomes.items()
            if outcome.status in ("error", "fail", "partial success")
        ]
        return f"{enumerated(failed)} failed" if failed else None

    def _leave_record(self) -> None:
        """Leave what a `dbt retry` of this run may lean on, if it is a build that failed."""
        target = Path(self._adapter().config.project_target_path)
        with suppress(OSError):
            failed = self._why_failed() is not None and _flags().WHICH == "build"
            state = self.state_of_database(at_end=True) if failed else None
            if state is None:
                (target / RECORD).unlink(missing_ok=True)
                return
            manifest = self._read_manifest()
            defined = definitions(manifest)
            outcomes = self._still_good(manifest)[0] | self._outcomes
            known = {name: outcome for name, outcome in outcomes.items() if name in defined}
            write_record(target, Record(self._circumstances(), state, known, defined))

    def _still_good(self, manifest: Node) -> tuple[dict[str, Outcome], str]:
        """What a retry need not do again, and why there is no such thing."""
        if not _is_retry():
            return {}, ""
        record = read_record(Path(self._adapter().config.project_target_path))
        if record is None or self._database is None:
            return {}, "the build that is retried left no record"
        if record.database != self._database:
            return {}, "the database was written since the build that is retried"
        if record.circumstances != self._circumstances():
            return {}, "variables, settings or code are not those of the build that is retried"
        return still_good(record, manifest, definitions(manifest), self._outcomes), ""

    def _circumstances(self) -> str:
        """A hash of what every node of this run depends on."""
        config, settings = self._adapter().config, read_settings()
        return circumstances(
            {
                "vars": config.vars.to_dict(),
                "own vars": config.cli_vars,
                "target": [config.profile_name, config.target_name, settings.sample_data],
                "landing": settings.shown(settings.landing),
                "versions": [dbt_version, *self.adapter_and_database()],
            },
            [settings.root / name for name in ("warehouse", "expectations")],
        )

    def _adapter(self) -> Any:
        """The adapter of dbt, which knows the project and its manifest."""
        return get_adapter_by_type(self.ADAPTER)  # type: ignore[no-untyped-call]

    def _read_manifest(self) -> dict[str, Any]:
        """The manifest of this run, as dbt has it in memory: the file may be another command's."""
        resolver: Any = self._adapter().get_macro_resolver()
        manifest: dict[str, Any] = resolver.writable_manifest().to_dict(omit_none=False)
        return manifest

    def _record(self, write: Callable[[BuildHistory], None]) -> None:
        """Write into the history; a build does not fail because of it."""
        settings = read_settings()
        try:
            write(BuildHistory(settings.published))
        except OSError as error:
            place = settings.shown(settings.published / HISTORY)
            fire_event(
                Note(msg=f"{place} cannot be written: {error.strerror or error}"),
                level=EventLevel.WARN,
            )

    def give_up(self) -> None:
        """Remove a snapshot that did not come to be published, and let others write."""
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.discard()

    def do(self, call: dict[str, Any]) -> None:
        """Do one step of the publication, and put what comes of it into the call.

        Raises:
            DbtRuntimeError: it cannot be done; one line that says why and what to do.
        """
        try:
            call["answer"] = self.steps()[call["step"]](call)
        except PublishedError as error:
            raise DbtRuntimeError(f"not published: {error}.") from error
        except OSError as error:
            raise DbtRuntimeError(_explain(error, read_settings())) from error

    def begin(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Audit the run and begin a snapshot.

        Returns:
            What is to be copied, and where to; or `skipped`, why there is nothing to publish.

        Raises:
            PublishedError: the audit found a fault.
        """
        self._follow(call["invocation_id"])
        self._publication = call["publication"]
        self._manifest = self._read_manifest()
        good, why_none = self._still_good(self._manifest)
        outcomes = good | self._outcomes
        verdict = audit(self._manifest, self._publication, _command(), outcomes)
        if verdict.faults:
            raise PublishedError("; ".join(verdict.faults))
        if verdict.skipped:
            self._skipped = "; ".join(filter(None, [why_none, verdict.skipped]))
            return {"skipped": self._skipped}
        self._outcomes = outcomes
        published = PublishedFolder(read_settings().published)
        self._draft = published.begin(self._invocation)
        self._seen = _what_is_seen(published)
        self._has_sample = None
        adapter, database = self.adapter_and_database()
        self._engine = {"dbt": dbt_version, "adapter": adapter, "database": database}
        health = [mart for mart in marts_of(self._manifest) if mart["name"] == FEED_HEALTH]
        return {
            "vars": _names_of_vars(self._manifest["metadata"]["project_name"]),
            "feed_health": health[0]["relation_name"] if health else None,
            "marts": [
                {
                    "name": mart["name"],
                    "relation": mart["relation_name"],
                    "columns": list(mart["columns"]),
                    "grain": mart["config"]["meta"]["grain"],
                    "totals": mart["config"]["meta"].get("totals"),
                    "file": str(self._draft.path / _file_of(mart)),
                }
                for mart in marts_of(self._manifest)
            ],
        }

    def _look_at_feeds(self, call: Mapping[str, Any]) -> None:
        """Note whether the marts have the sample, which must not be beside files of one's own.

        That can be where a build was broken off, and only the rest of it was built again.
        """
        self._has_sample = any(has_sample for _feed, _files, has_sample in call["feeds"])
        own = feeds_of_ones_own(self._manifest, call["feeds"])
        if self._has_sample and own and not read_settings().sample_data:
            raise PublishedError(
                f"the sample is in some feeds, and files of yours are in {enumerated(own)}. Build "
                "everything in one run, or set WAREHOUSE_SAMPLE_DATA=1 to keep both"
            )

    def _keep(self, call: Mapping[str, Any]) -> bool:
        """Take a mart's file over from the snapshot that readers see, if its rows are the same.

        The file is copied, so that nothing that happens to one happens to the other, and read
        back like a new one.

        Returns:
            Whether the mart has its file now.
        """
        if self._seen is None:
            return False
        folder, catalog = self._seen
        draft, name = self.begun(), call["mart"]
        (mart,) = (mart for mart in marts_of(self._manifest) if mart["name"] == name)
        entry = next((entry for entry in catalog["marts"] if entry["name"] == name), None)
        same = entry is not None and (
            catalog["engine"] == self._engine
            and entry["rows"] == call["rows"]
            and entry.get("row_hash") == call["hashes"]
            and entry["grain"] == mart["config"]["meta"]["grain"]
            and [[column["name"], column["type"]] for column in entry["columns"]] == call["columns"]
        )
        if entry is None or not same:
            return False
        copy = draft.path / _file_of(mart)
        try:
            shutil.copyfile(folder / entry["file"], copy)
            if sha256_of(copy) == entry["sha256"]:
                return True
        except OSError:  # it is gone, or cannot be read: the mart's file is written anew
            pass
        copy.unlink(missing_ok=True)
        return False

    def _write_catalog(self, call: Mapping[str, Any]) -> None:
        """Read the files back, and write the catalog of what they are."""
        draft = self.begun()
        needed = needed_by(self._manifest, self._publication)
        settings = read_settings()
        # The temporary folder is in use: the database that was built is open in this process.
        apart = settings.of_duckdb | {"temp_directory": ""}
        with duckdb.connect(":memory:", config=apart) as connection:
            marts = [
                describe_mart(
                    mart, draft.path, _counted(call, mart["name"]), connection, self.sum_of_rows
                )
                | {"totals": call["totals"].get(mart["name"])}
                for mart in marts_of(self._manifest)
            ]
        draft.write_catalog(
            {
                "format": FORMAT,
                "version": draft.version,
                "published_at": format_time(draft.at),
                "invocation_id": self._invocation,
                "engine": self._engine,
                "sbom": bill_of_materials(),
                "git_commit": git_commit(settings.root),
                "vars": call["vars"],
                "sample_data": self._has_sample,
                "feeds": freshness_of_feeds(self._manifest),
                "tests": count_tests(self._manifest, needed, self._outcomes),
                "rows": sum(mart["rows"] for mart in marts),
                "data_docs": self._take_data_docs(draft, settings),
                "marts": marts,
            }
        )

    def _take_data_docs(self, draft: Draft, settings: Settings) -> str | None:
        """Copy the pages about this run's expectations; their first page, None without any."""
        if not any(name.endswith(f".{EXPECTATIONS}") for name in self._outcomes):
            return None
        shutil.copytree(settings.data_docs, draft.path / DATA_DOCS)
        return f"{DATA_DOCS}/index.html"

    def _publish(self, call: Mapping[str, Any]) -> str:
        """Append to the log: from here on, readers see the snapshot."""
        draft = self.begun()
        draft.publish()
        self._draft = None
        settings = read_settings()
        rows = sum(call["rows"].values())
        self._published = draft.version, rows
        return (
            f"Published {draft.version}: {len(call['rows'])} marts, {rows:,} rows, "
            f"in {settings.shown(settings.published)}/"
            f"{'; contains the sample' if self._has_sample else ''}"
        )

    def begun(self) -> Draft:
        """The snapshot that is being written.

        Raises:
            PublishedError: there is none.
        """
        if self._draft is None:
            raise PublishedError("the publication was given up before its end; build again")
        return self._draft


class DuckDBPublishing(Publishing):
    """Publishes what DuckDB built."""

    ADAPTER = "duckdb"

    def adapter_and_database(self) -> tuple[str, str]:
        """The versions of this process: DuckDB runs within it."""
        from dbt.adapters.duckdb.__version__ import version

        return f"duckdb {version}", f"DuckDB {duckdb.__version__}"

    def state_of_database(self, *, at_end: bool) -> str | None:
        """That of its file."""
        if at_end:  # dbt would hold on to it, before all of it is written
            DuckDBConnectionManager.env().close()  # type: ignore[no-untyped-call]
        return state_of_file(read_settings().root / self._adapter().config.credentials.path)

    def count_rejected(self, feed_health: str) -> int | None:
        """Rows that no mart counts, asked on a connection beside those of the nodes."""
        connection = DuckDBConnectionManager.env().conn.cursor()  # type: ignore[attr-defined]
        try:
            ((rows,),) = connection.execute(
                f"select cast(coalesce(sum(rows_rejected), 0) as bigint) from {feed_health}"
            ).fetchall()
        except duckdb.Error:  # a feed_health of another project
            return None
        finally:
            connection.close()
        return int(rows)


class Plugin(BasePlugin):
    """Lets a build on DuckDB publish."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:  # noqa: ARG002 - dbt's signature
        """Follow the run from its first connection on."""
        self._publishing = DuckDBPublishing()
        self._publishing.follow_run()

    def update_connection_config(
        self,
        creds: DuckDBCredentials,  # noqa: ARG002 - dbt's signature
        config: dict[str, Any],  # noqa: ARG002 - dbt's signature
    ) -> None:
        """Look at the database before it opens."""
        self._publishing.follow_run()

    def configure_cursor(self, cursor: object) -> None:  # noqa: ARG002 - dbt's signature
        """Follow the next run too."""
        self._publishing.follow_run()

    def store(self, target_config: TargetConfig) -> None:
        """Do one step of the publication."""
        self._publishing.do(target_config.config)


def _flags() -> Any:
    """The flags of this run; dbt makes them long after this module was imported."""
    from dbt.flags import get_flags

    return get_flags()  # type: ignore[no-untyped-call]


def _command() -> Command:
    flags = _flags()
    leaves_out = [f"--{name}" for name in ("empty", "sample") if getattr(flags, name.upper(), None)]
    return Command(flags.WHICH, leaves_out[0] if leaves_out else None)


def _is_retry() -> bool:
    """Whether this run is a `dbt retry`, which tells nobody: its flags are those of the build."""
    retry = sys.modules.get("dbt.task.retry")
    if retry is None:
        return False
    run = retry.RetryTask.run.__code__
    for frame in sys._current_frames().values():
        here: FrameType | None = frame
        while here is not None:
            if here.f_code is run:
                return True
            here = here.f_back
    return False


def _names_of_vars(project: str) -> list[str]:
    """The variables that dbt_project.yml declares, in its order."""
    import yaml

    declared = (
        yaml.safe_load((read_settings().root / "dbt_project.yml").read_text()).get("vars") or {}
    )
    own = declared.get(project)
    names = [name for name, value in declared.items() if not isinstance(value, dict)]
    return names + [name for name in own or {} if name not in names]


def _counted(call: Mapping[str, Any], name: str) -> Counted:
    """What the SQL half found in a mart."""
    columns = tuple((column, type_) for column, type_ in call["columns"][name])
    return Counted(call["rows"].get(name), call["hashes"][name], columns)


def _file_of(mart: Node) -> str:
    return f"{mart['name']}.parquet"


def describe_mart(
    mart: Node,
    folder: Path,
    counted: Counted,
    connection: duckdb.DuckDBPyConnection,
    sum_of_rows: Callable[[Columns], str] = sum_of_hashes,
) -> dict[str, Any]:
    """A mart's entry in the catalog, after reading its file back.

    Args:
        mart: its node in the manifest.
        folder: where its file is.
        counted: what the database holds of it.
        connection: reads the file; of another database than the one that wrote it.
        sum_of_rows: DuckDB's SQL of the sum that `counted` has of the rows.

    Raises:
        PublishedError: the file does not hold just these rows and columns.
        OSError: the file cannot be read.
    """
    name, meta = mart["name"], mart["config"]["meta"]
    file = folder / _file_of(mart)
    found = read_back(file, connection, sum_of_rows)
    if found.rows != counted.rows:
        counts = "has no line for" if counted.rows is None else f"counts {counted.rows} in"
        raise PublishedError(
            f"{file.name} holds {found.rows} rows, publication.sql {counts} mart {name}"
        )
    if found.columns != counted.columns:
        types = dict(found.columns)
        changed = [
            f"{column} is {type_} in the mart, {types.get(column)} in the file"
            for column, type_ in counted.columns
            if types.get(column) != type_
        ]
        raise PublishedError(f"{file.name} has other types: {', '.join(changed)}. Cast them")
    if found.hashes != counted.hashes:
        raise PublishedError(f"{file.name} holds other values than the mart. Build again")
    return {
        "name": name,
        "description": " ".join(mart["description"].split()),
        "area": mart["fqn"][-2],
        "grain": meta["grain"],
        "file": file.name,
        "rows": found.rows,
        "bytes": file.stat().st_size,
        "sha256": sha256_of(file),
        "row_hash": found.hashes,
        "contract": {
            "enforced": mart["contract"]["enforced"],
            "checksum": mart["contract"]["checksum"],
        },
        "columns": [
            {
                "name": column,
                "type": type_,
                "declared_type": mart["columns"][column]["data_type"],
                "description": " ".join(mart["columns"][column]["description"].split()),
                "formula": mart["columns"][column]["config"]["meta"].get("formula"),
            }
            for column, type_ in found.columns
        ],
        "api": meta.get("api"),
    }


def read_back(
    file: Path,
    connection: duckdb.DuckDBPyConnection,
    sum_of_rows: Callable[[Columns], str] = sum_of_hashes,
) -> Counted:
    """What a Parquet file holds, all of it read.

    Raises:
        PublishedError: it cannot be read.
    """
    try:
        mart = connection.read_parquet(str(file))
        columns = tuple(
            (name, str(type_)) for name, type_ in zip(mart.columns, mart.types, strict=True)
        )
        ((rows, found),) = mart.aggregate(f"count(*), {sum_of_rows(columns)}").fetchall()
    except duckdb.Error as error:
        raise PublishedError(
            f"{file.name} cannot be read back: {' '.join(str(error).split())}"
        ) from error
    return Counted(rows, found, columns)


def count_tests(manifest: Node, needed: Needed, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """How many of the audited tests passed and warned, and which ones warned."""
    warned = [name for name in needed.data_tests if outcomes[name].status == "warn"]
    return {
        "data_tests": {"passed": len(needed.data_tests) - len(warned), "warned": len(warned)},
        "unit_tests": {"passed": len(needed.unit_tests)},
        "warnings": [
            {"test": manifest["nodes"][name]["name"], "failures": outcomes[name].failures}
            for name in warned
        ],
    }


def freshness_of_feeds(manifest: Node) -> list[dict[str, Any]]:
    """How old the newest file of each feed may be, as its contract says."""
    return [
        {
            "feed": source["name"],
            "area": source["fqn"][-3],
            "warn_after": _age_limit(source, "warn_after"),
            "error_after": _age_limit(source, "error_after"),
        }
        for source in manifest["sources"].values()
        if source["source_name"] == "landing"
    ]


def feeds_of_ones_own(manifest: Node, feeds: Sequence[tuple[str, int, bool]]) -> list[str]:
    """The feeds that have files beside their seed; a reference seed's feed is none of them.

    Args:
        manifest: its sources are the contracts.
        feeds: each with its files, and whether the sample is one.
    """
    references = {
        source["name"]
        for source in manifest["sources"].values()
        if (source["config"]["meta"].get("feed") or {}).get("reference")
    }
    return [
        feed for feed, files, has_sample in feeds if files > has_sample and feed not in references
    ]


def _age_limit(source: Node, name: str) -> dict[str, Any] | None:
    """A count and a period of a source's freshness; None where its contract says none."""
    limit = (source["freshness"] or {}).get(name)
    if not limit or not limit.get("count"):
        return None
    return {"count": limit["count"], "period": limit["period"]}


def git_commit(root: Path) -> str | None:
    """The commit that is checked out; None without git or outside of a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(
        [git, "rev-parse", "--verify", "HEAD"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _what_is_seen(published: PublishedFolder) -> tuple[Path, Mapping[str, Any]] | None:
    """The folder and the catalog of the snapshot that readers see; None without a sound one."""
    try:
        newest = published.newest()
        return (
            (published.folder(newest.version), published.catalog(newest.version))
            if newest is not None
            else None
        )
    except (PublishedError, OSError):
        return None


def _explain(error: OSError, settings: Settings) -> str:
    """A line for a published folder that cannot be written."""
    place = settings.shown(settings.published)
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return f"not published: {NO_SPACE_TO_PUBLISH.format(published=place)}"
    return (
        f"not published: {place} cannot be written: {error.strerror or error}. "
        "Set WAREHOUSE_PUBLISHED to a folder you may write."
    )
