"""A small Spark cluster on this machine: a master, workers and a Thrift server that takes SQL.

Each is a process of its own, as on many machines, and listens on 127.0.0.1 only. Everything they
write is in one folder:

    <name>.pid            which process it is: its number, when it started, and in which
                          start of the machine
    cluster.json          how the cluster was started
    conf/                 what Spark reads
    logs/                 <name>.log, and <name>.log.1 of the start before
    warehouse/            the tables
    metastore/            what is known of the tables
    work/, recovery/      what workers and the master write; emptied when nothing runs
    tmp/                  what does not fit into memory; emptied when nothing runs
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PORT = 10000
SECONDS_TO_START = 120.0
SECONDS_TO_STOP = 20.0  # after SIGTERM, before SIGKILL
JAVA = 17  # the oldest that Spark runs on

MASTER, THRIFT_SERVER = "master", "thrift-server"

_SECONDS_TO_ANSWER = 20.0
_SECONDS_TO_LET_GO = 3.0
_SECONDS_BETWEEN_LOOKS = 0.3

_HOW_TO_GET_JAVA = (
    f"Install Java {JAVA}: apt-get install openjdk-{JAVA}-jre-headless, or set JAVA_HOME to one."
)

# One executor has one core or few: the collector that needs least memory and threads is enough.
_JAVA_OPTIONS = "-XX:+UseSerialGC"

_LOG4J = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss} %p %c{1}: %m%n%ex
logger.deploy.name = org.apache.spark.deploy
logger.deploy.level = info
# Tells of every statement that there is nothing to cancel.
logger.scheduler.name = org.apache.spark.scheduler.DAGScheduler
logger.scheduler.level = error
"""

Tell = Callable[[str], None]


class ClusterError(Exception):
    """The cluster cannot be started or stopped; the message says why and what to do."""


@dataclass(frozen=True)
class Size:
    """How much of the machine the cluster takes.

    Attributes:
        workers: how many workers, each with one executor.
        cores: tasks at a time of each worker.
        worker_memory: memory of each worker's executor, in MB.
        driver_memory: memory of the Thrift server, in MB.
        daemon_memory: memory of the master and of each worker itself, in MB.
    """

    workers: int = 2
    cores: int = 1
    worker_memory: int = 1024
    driver_memory: int = 1024
    daemon_memory: int = 256

    def __str__(self) -> str:
        """The size as a person reads it."""
        workers = f"{self.workers} worker{'s' * (self.workers != 1)}"
        return f"{workers}, each {self.cores} core{'s' * (self.cores != 1)}"


@dataclass(frozen=True)
class Process:
    """One process of this machine, also when its number was given to another one later.

    Attributes:
        pid: its number.
        started: when it started, in the kernel's ticks since the machine did.
        boot: which start of the machine that was.
    """

    pid: int
    started: int
    boot: str


@dataclass(frozen=True)
class Cluster:
    """A cluster: where its files and its ports are.

    Attributes:
        folder: the folder of its files.
        port: the Thrift server's port.
        master_port: the master's port.
        page_port: the port of the master's page, which tells of the workers.
        size: what it takes of the machine.
        started: the parts that this call of `up` started.
    """

    folder: Path
    port: int
    master_port: int
    page_port: int
    size: Size
    started: tuple[str, ...] = ()

    @property
    def workers(self) -> tuple[str, ...]:
        """The workers' names."""
        return tuple(f"worker-{number}" for number in range(1, self.size.workers + 1))

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of all processes, in the order they start."""
        return (MASTER, *self.workers, THRIFT_SERVER)

    @property
    def master(self) -> str:
        """The master's address, as Spark writes it."""
        return f"spark://{HOST}:{self.master_port}"

    def pids(self) -> dict[str, int]:
        """The process of each part that runs, by name."""
        return {name: process.pid for name, process in _running(self.folder).items()}

    def executors(self) -> dict[str, list[int]]:
        """The executors that each running worker started, by the worker's name."""
        return {
            name: [pid for pid in _members(self.folder, process) if pid != process.pid]
            for name, process in _running(self.folder).items()
            if name in self.workers
        }

    def log(self, name: str) -> Path:
        """The log of a part."""
        return self.folder / "logs" / f"{name}.log"


def up(
    folder: Path,
    tell: Tell,
    *,
    port: int = PORT,
    size: Size | None = None,
    seconds: float = SECONDS_TO_START,
) -> Cluster:
    """Start the cluster, or the parts of it that do not run, and wait until it answers.

    Args:
        folder: where everything is that the cluster writes; made when missing.
        tell: is given each line to show.
        port: the Thrift server's port.
        size: what to take of the machine; a small one by default.
        seconds: how long to wait for it.

    Returns:
        The running cluster.

    Raises:
        ClusterError: it cannot start, or does not answer. What this call started is stopped then.
    """
    folder = folder.resolve()
    home = _find_spark()
    check_java()
    with _locked(folder):
        running = _running(folder)
        cluster = _choose(folder, running, port, size or Size())
        missing = [name for name in cluster.parts if name not in running]
        if THRIFT_SERVER in missing:
            check_port(port)
        _stop(folder, [name for name in _known(folder) if name not in running])  # executors left
        if missing:
            _write_configuration(cluster, anew=not running)
            tell(f"Starting Spark in {_shown(folder)}: {', '.join(missing)}")
        deadline = time.monotonic() + seconds
        began: list[str] = []
        since = time.monotonic()
        try:
            for name in missing:
                _start(cluster, name, home, began)
                if name == MASTER:
                    _wait(cluster, deadline, _ask_master)
            _wait(cluster, deadline, _ask_all)
        except BaseException:
            with _uninterrupted():
                _stop(folder, began[::-1])
            raise
    how = f"answers after {time.monotonic() - since:.0f} s" if began else "runs already and answers"
    tell(f"Spark {how} at {HOST}:{port}: {cluster.size}")
    return replace(cluster, started=tuple(began))


def find(folder: Path) -> Cluster | None:
    """The cluster of a folder; None when no part of it runs."""
    folder = folder.resolve()
    return _read(folder) if _running(folder) else None


def down(folder: Path, tell: Tell) -> tuple[str, ...]:
    """Stop the cluster; its tables stay.

    Args:
        folder: the folder that `up` was given.
        tell: is given each line to show.

    Returns:
        The names of the parts that were stopped; none when nothing ran.

    Raises:
        ClusterError: another command is at work on the cluster.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        tell("Spark does not run.")
        return ()
    with _locked(folder):
        stopped = [name for name in _known(folder) if name in _running(folder)]
        _stop(folder, _known(folder))
    tell(f"Stopped {', '.join(stopped)}" if stopped else "Spark does not run.")
    return tuple(stopped)


# ---------------------------------------------------------------- what Spark needs


def check_java(environment: Mapping[str, str] = os.environ) -> int:
    """The version of the Java that Spark will run on.

    Raises:
        ClusterError: there is none, or it is too old.
    """
    home = environment.get("JAVA_HOME")
    found = shutil.which(
        f"{home}/bin/java" if home else "java", path=environment.get("PATH", os.defpath)
    )
    if found is None:
        where = f"JAVA_HOME, which is {home}" if home else "PATH"
        raise ClusterError(f"Spark needs Java, and there is none in {where}. {_HOW_TO_GET_JAVA}")
    try:
        done = subprocess.run(
            [found, "-version"], capture_output=True, text=True, errors="replace", check=False
        )
        version = java_version(done.stdout + done.stderr)
    except OSError:
        version = None
    if version is None:
        raise ClusterError(f"{found} does not say which Java it is. {_HOW_TO_GET_JAVA}")
    if version < JAVA:
        raise ClusterError(
            f"Spark needs Java {JAVA} or newer, and {found} is Java {version}. {_HOW_TO_GET_JAVA}"
        )
    return version


def java_version(said: str) -> int | None:
    """The version in the output of `java -version`: 8 of "1.8.0_412", 17 of "17.0.15"."""
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match[1]) if match else None


def _find_spark() -> Path:
    """The folder of Spark, which the Python package holds."""
    if not Path("/proc/self/stat").exists():
        raise ClusterError("the local Spark cluster runs on Linux only: there is no /proc here.")
    home = _place("pyspark")
    _place("pyhive")
    return home


def _place(package: str) -> Path:
    # Not by importlib.util.find_spec, which believes what expectations/ says of PySpark.
    spec = PathFinder.find_spec(package)
    if spec is None or spec.origin is None:
        raise ClusterError(
            f"{package} is not installed. "
            "Install it: .venv/bin/python -m pip install --requirement requirements-spark.lock"
        )
    return Path(spec.origin).parent


def check_port(port: int, seconds: float = _SECONDS_TO_LET_GO) -> None:
    """Check that the Thrift server can have a port.

    Args:
        port: the port.
        seconds: how long to wait for it; one that was killed lets go of it after a moment.

    Raises:
        ClusterError: it cannot.
    """
    deadline = time.monotonic() + seconds
    while (reason := _why_not(port)) is not None:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"port {port} cannot be used: {reason}. "
                f"Choose another: WAREHOUSE_SPARK_PORT={PORT + 1} make spark-up"
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _why_not(port: int) -> str | None:
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except (OSError, OverflowError) as error:
            return getattr(error, "strerror", None) or str(error)
    return None


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


# ---------------------------------------------------------------- how it is started


def _read(folder: Path) -> Cluster:
    """The cluster as it was started."""
    file = folder / "cluster.json"
    try:
        fields = json.loads(file.read_text())
        return Cluster(folder, size=Size(**fields.pop("size")), **fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClusterError(
            f"{_shown(file)} cannot be read. Stop what runs: make spark-down"
        ) from error


def _choose(folder: Path, running: Mapping[str, Process], port: int, size: Size) -> Cluster:
    """The cluster to start; what runs already must be the same."""
    if not running:
        return Cluster(folder, port, _free_port(), _free_port(), size)
    cluster = _read(folder)
    if (cluster.port, cluster.size) != (port, size):
        memory = f"{cluster.size.worker_memory} MB for each worker"
        raise ClusterError(
            f"Spark runs already: port {cluster.port}, {cluster.size}, {memory}, "
            f"{cluster.size.driver_memory} MB for the Thrift server. Stop it first: make spark-down"
        )
    return cluster


def _write_configuration(cluster: Cluster, *, anew: bool) -> None:
    folder = cluster.folder
    if anew:
        for name in ("work", "recovery", "tmp"):
            shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("conf", "logs", "warehouse", "metastore", "work", "recovery", "tmp/hive-local"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "conf/log4j2.properties").write_text(_LOG4J)
    lines = [f"{name} {value}" for name, value in _properties(cluster).items()]
    _properties_file(folder).write_text("\n".join(lines) + "\n")
    fields = {key: getattr(cluster, key) for key in ("port", "master_port", "page_port")}
    (folder / "cluster.json").write_text(json.dumps(fields | {"size": asdict(cluster.size)}))


def _properties(cluster: Cluster) -> dict[str, str | int]:
    folder, size = cluster.folder, cluster.size
    temporary = folder / "tmp"
    java_options = f'{_JAVA_OPTIONS} -Djava.io.tmpdir="{temporary}"'
    return {
        "spark.master": cluster.master,
        "spark.driver.memory": f"{size.driver_memory}m",
        "spark.driver.host": HOST,
        "spark.driver.bindAddress": HOST,
        "spark.driver.extraJavaOptions": (
            f'{java_options} -Dderby.system.home="{folder / "metastore"}"'
            f' -Dderby.stream.error.file="{folder / "logs" / "derby.log"}"'
        ),
        "spark.executor.memory": f"{size.worker_memory}m",
        "spark.executor.cores": size.cores,
        "spark.executor.extraJavaOptions": java_options,
        "spark.local.dir": str(temporary),
        # The Thrift server answers once every executor is there, or after half a minute.
        "spark.cores.max": size.workers * size.cores,
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        # A worker that does not answer any more is given up after so many seconds.
        "spark.worker.timeout": 15,
        # A master that starts again knows the workers and the Thrift server.
        "spark.deploy.recoveryMode": "FILESYSTEM",
        "spark.deploy.recoveryDirectory": str(folder / "recovery"),
        "spark.port.maxRetries": 0,
        "spark.master.rest.enabled": "false",
        "spark.ui.enabled": "false",  # the Thrift server's page would listen on every address
        "spark.ui.showConsoleProgress": "false",
        # What the warehouse expects of a session.
        "spark.sql.shuffle.partitions": size.workers * size.cores,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.timestampType": "TIMESTAMP_NTZ",
        "spark.sql.ansi.enabled": "false",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.sources.default": "parquet",
        "spark.sql.legacy.createHiveTableByDefault": "false",
        # Where tables are, and what is known of them.
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": (
            f"jdbc:derby:;databaseName={folder / 'metastore' / 'db'};create=true"
        ),
        "spark.hadoop.hive.exec.scratchdir": str(temporary / "hive"),
        "spark.hadoop.hive.exec.local.scratchdir": str(temporary / "hive-local"),
        # A folder for each session: two that open at once fail over one folder.
        "spark.hadoop.hive.downloaded.resources.dir": f"{temporary}/${{hive.session.id}}_resources",
        "spark.hadoop.hive.server2.logging.operation.enabled": "false",
    }


def _properties_file(folder: Path) -> Path:
    return folder / "conf" / "spark-defaults.conf"


def _command(cluster: Cluster, name: str, home: Path) -> list[str]:
    properties = ("--properties-file", str(_properties_file(cluster.folder)))
    if name == THRIFT_SERVER:
        return [
            *(str(home / "bin/spark-submit"), *properties, "--name", "warehouse"),
            *("--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"),
            "spark-internal",
            *("--hiveconf", f"hive.server2.thrift.bind.host={HOST}"),
            *("--hiveconf", f"hive.server2.thrift.port={cluster.port}"),
            *("--hiveconf", "hive.server2.authentication=NOSASL"),
        ]
    if name == MASTER:
        return [
            *(str(home / "bin/spark-class"), "org.apache.spark.deploy.master.Master", *properties),
            *("--host", HOST, "--port", str(cluster.master_port)),
            *("--webui-port", str(cluster.page_port)),
        ]
    return [
        *(str(home / "bin/spark-class"), "org.apache.spark.deploy.worker.Worker", *properties),
        *("--host", HOST, "--port", "0", "--webui-port", "0"),
        *("--cores", str(cluster.size.cores), "--memory", f"{cluster.size.worker_memory}M"),
        *("--work-dir", str(cluster.folder / "work" / name)),
        cluster.master,
    ]


def _environment(cluster: Cluster, name: str, home: Path) -> dict[str, str]:
    """The variables of this process, without those that set up some other Spark."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SPARK_", "PYSPARK_", "HADOOP_", "HIVE_", "YARN_"))
    }
    environment |= {
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(cluster.folder / "conf"),
        "SPARK_LOCAL_IP": HOST,
        "SPARK_LOCAL_DIRS": str(cluster.folder / "tmp"),
    }
    if name != THRIFT_SERVER:  # which would take these for its own
        environment |= {
            "SPARK_DAEMON_MEMORY": f"{cluster.size.daemon_memory}m",
            "SPARK_DAEMON_JAVA_OPTS": f"{_JAVA_OPTIONS} -XX:TieredStopAtLevel=1",
        }
    return environment


class _Detached(subprocess.Popen[bytes]):
    """A process that is to outlive this one: nothing warns when it does."""

    def __del__(self) -> None:
        """Forget the process."""


def _start(cluster: Cluster, name: str, home: Path, began: list[str]) -> None:
    """Start a part, in a session of its own, and write down which process it is."""
    folder = cluster.folder
    log = cluster.log(name)
    with suppress(FileNotFoundError):
        log.replace(log.with_suffix(".log.1"))
    with log.open("wb") as output, _uninterrupted():
        process = _Detached(
            _command(cluster, name, home),
            cwd=folder / "tmp",
            env=_environment(cluster, name, home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        began.append(name)
        state = _state(process.pid)
        ticks = state.started if state else 0
        _pid_file(folder, name).write_text(f"{process.pid} {ticks} {_boot()}\n")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl+C and SIGTERM back: no process starts without being written down."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    former = {
        number: signal.signal(number, lambda number, _frame: held.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    for received in held:
        signal.raise_signal(received)


# ---------------------------------------------------------------- whether it is well


def _wait(
    cluster: Cluster, deadline: float, ask: Callable[[Cluster], tuple[str, str] | None]
) -> None:
    """Wait until nothing is amiss any more.

    Args:
        cluster: the cluster.
        deadline: how long, in the time of `time.monotonic`.
        ask: says which part is not well and why, or None.

    Raises:
        ClusterError: a part ended, or the time is over.
    """
    while (amiss := ask(cluster)) is not None:
        name, reason = amiss
        running = _running(cluster.folder)
        ended = [part for part in cluster.parts if _pid_file(cluster.folder, part).exists()]
        ended = [part for part in ended if part not in running]
        if ended:
            name, reason = ended[0], "ended"
        if ended or time.monotonic() > deadline:
            log = cluster.log(name)
            said = last_error(log).rstrip(".")
            raise ClusterError(
                f"Spark's {name} {reason}{f': {said}' if said else ''}. See {_shown(log)}"
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _ask_all(cluster: Cluster) -> tuple[str, str] | None:
    return _ask_master(cluster) or _ask_workers(cluster) or _ask_thrift_server(cluster)


def _ask_master(cluster: Cluster) -> tuple[str, str] | None:
    if _master_says(cluster).get("status") != "ALIVE":
        return MASTER, "does not answer"
    return None


def _ask_workers(cluster: Cluster) -> tuple[str, str] | None:
    """Whether the master knows as many workers as there are, which can be reached."""
    workers = _master_says(cluster).get("workers", [])
    found = sum(
        worker["state"] == "ALIVE" and _is_reached(worker["host"], worker["port"])
        for worker in workers
    )
    if found < cluster.size.workers:
        return cluster.workers[-1], f"is not known to the master, which has {found} workers"
    return None


def _ask_thrift_server(cluster: Cluster) -> tuple[str, str] | None:
    if not _is_reached(HOST, cluster.port) or not answers(cluster.port):
        return THRIFT_SERVER, "does not answer"
    return None


def _master_says(cluster: Cluster) -> dict[str, Any]:
    """What the master's page says of the cluster; nothing when it does not answer."""
    page = http.client.HTTPConnection(HOST, cluster.page_port, timeout=_SECONDS_TO_ANSWER)
    try:
        page.request("GET", "/json/")
        said = json.loads(page.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        page.close()
    return said if isinstance(said, dict) else {}


def answers(port: int, seconds: float = _SECONDS_TO_ANSWER) -> bool:
    """Whether the Thrift server at a port of this machine answers a query."""
    from pyhive import exc, hive
    from thrift.Thrift import TException
    from thrift.transport.TSocket import TSocket
    from thrift.transport.TTransport import TBufferedTransport

    wire = TSocket(HOST, port)
    wire.setTimeout(seconds * 1000)
    try:
        with closing(hive.connect(thrift_transport=TBufferedTransport(wire))) as connection:
            cursor = connection.cursor()
            cursor.execute("select 1")
            return bool(cursor.fetchall() == [(1,)])
    except (TException, exc.Error, OSError, EOFError):
        return False
    finally:
        wire.close()


def last_error(log: Path) -> str:
    """The last line of a log that tells of an error, else its last line; "" of an empty one."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not re.match(r"at |\.\.\. \d+ more", line)]
    errors = [line for line in lines if re.search(r"ERROR|Error|Exception|error:", line)]
    return (errors or lines or [""])[-1][:300]


def _is_reached(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_SECONDS_TO_ANSWER).close()
    except OSError:
        return False
    return True


# ---------------------------------------------------------------- which processes are ours


@dataclass(frozen=True)
class _State:
    """What the kernel says of a process."""

    ended: bool
    session: int
    started: int


def _state(pid: int) -> _State | None:
    """What the kernel says of a process; None when there is none of this number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # after the name, which may hold anything
    return _State(fields[0] in "ZX", int(fields[3]), int(fields[19]))


def _boot() -> str:
    """The name the kernel gave to this start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pid_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.pid"


def _read_pid(folder: Path, name: str) -> Process | None:
    """The process that was written down; None when the file is missing or broken."""
    try:
        pid, started, boot = _pid_file(folder, name).read_text().split()
        return Process(int(pid), int(started), boot)
    except (OSError, ValueError):
        return None


def _is(process: Process, state: _State | None) -> bool:
    """Whether what the kernel says is of this process, and not of one that has its number now."""
    return state is not None and (state.started, _boot()) == (process.started, process.boot)


def _is_running(process: Process) -> bool:
    state = _state(process.pid)
    return state is not None and _is(process, state) and not state.ended


def _known(folder: Path) -> list[str]:
    """The parts that were written down, in the order they stop."""

    def order(name: str) -> tuple[bool, bool, str]:
        return name != THRIFT_SERVER, name == MASTER, name

    return sorted((file.stem for file in folder.glob("*.pid")), key=order)


def _running(folder: Path) -> dict[str, Process]:
    """The parts that run, by name."""
    found = {name: _read_pid(folder, name) for name in _known(folder)}
    return {
        name: process
        for name, process in found.items()
        if process is not None and _is_running(process)
    }


def _members(folder: Path, process: Process) -> list[int]:
    """The process and what it started, as far as they run: a worker and its executors.

    They are of one session, which has the number of the process. The kernel gives no other process
    that number as long as one of them runs.
    """
    leader = _state(process.pid)
    if leader is not None and not _is(process, leader):
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            state = _state(int(entry.name))
            if state and not state.ended and state.session == process.pid:
                found.append(int(entry.name))
    # Without the process, the number may have been another's since, which left some behind too.
    return sorted(pid for pid in found if leader is not None or _names(pid, folder))


def _names(pid: int, folder: Path) -> bool:
    """Whether a process was started with the cluster's configuration."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return os.fsencode(folder / "conf") + b"/" in command


# ---------------------------------------------------------------- how it stops


def _stop(folder: Path, names: Sequence[str]) -> None:
    """Stop these parts, one kind after the other, and forget them; nothing else is touched."""
    for group in _groups(names):
        processes = [process for name in group if (process := _read_pid(folder, name))]
        _end(folder, processes)
        for name in group:
            _pid_file(folder, name).unlink(missing_ok=True)


def _groups(names: Sequence[str]) -> list[list[str]]:
    """The parts by kind, in the order given: workers stop together."""
    groups: list[list[str]] = []
    for name in names:
        if groups and name.startswith("worker-") and groups[-1][0].startswith("worker-"):
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _end(folder: Path, processes: Sequence[Process]) -> None:
    """End the processes and what they started: ask first, and after a while make them."""
    deadline = time.monotonic() + SECONDS_TO_STOP
    for process in processes:
        is_there = _is_running(process)  # a worker ends its executors
        for pid in [process.pid] if is_there else _members(folder, process):
            _send(pid, signal.SIGTERM)
    while members := [pid for process in processes for pid in _members(folder, process)]:
        if time.monotonic() > deadline:
            for pid in members:
                _send(pid, signal.SIGKILL)
        time.sleep(0.1)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other commands off the cluster meanwhile."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise ClusterError(f"{_shown(folder)} cannot be written: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError(
                f"another command starts or stops Spark in {_shown(folder)}. Wait for it to end."
            ) from None
        yield


def _shown(path: Path) -> str:
    """A path as people type it: from the current folder where it is inside."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
