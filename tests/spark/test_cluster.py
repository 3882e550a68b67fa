"""The local Spark cluster: how it starts, what is told when it cannot, and what it leaves alone."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.api.server import free_port
from tests.support import ROOT
from warehouse.spark import cluster as spark
from warehouse.spark.cluster import MASTER, THRIFT_SERVER, Cluster, ClusterError, Size

SLEEP = "import time; time.sleep(60)"
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); " + SLEEP


def started(pid: int) -> int:
    """When a process started, in the kernel's ticks."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def runs(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    """Wait until a condition holds; it must."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.1)


class Parts:
    """Processes that look like parts of a cluster in a folder, without Java."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        folder.mkdir()

    def start(self, name: str, *, code: str = SLEEP, ticks: int = 0) -> int:
        """Start a process and write it down as the part, as started so many ticks later."""
        process = subprocess.Popen(
            [sys.executable, "-c", code, f"{self.folder}/conf/spark.conf"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        if code != SLEEP:
            assert process.stdout is not None
            process.stdout.readline()  # it is set up
        self.write(name, process.pid, started(process.pid) + ticks)
        return process.pid

    def write(self, name: str, pid: int, ticks: int, boot: str = BOOT) -> None:
        (self.folder / f"{name}.pid").write_text(f"{pid} {ticks} {boot}\n")

    def files(self) -> list[str]:
        return sorted(file.name for file in self.folder.glob("*.pid"))


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    found = Parts(tmp_path / "spark")
    yield found
    for process in found.processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


# ---------------------------------------------------------------- what is needed


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('java version "1.8.0_412"', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "21" 2023-09-19', 21),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ("The operation couldn't be completed.", None),
    ],
)
def test_the_version_of_java_is_read(said: str, version: int | None) -> None:
    assert spark.java_version(said) == version


def write_java(folder: Path, script: str) -> Path:
    """A program named java, which says what a script says."""
    java = folder / "bin" / "java"
    java.parent.mkdir(exist_ok=True)
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    return java


def test_java_is_that_of_java_home_before_the_path(tmp_path: Path) -> None:
    write_java(tmp_path, "echo 'openjdk version \"21.0.1\"' >&2")
    assert spark.check_java({"JAVA_HOME": str(tmp_path), "PATH": os.environ["PATH"]}) == 21
    assert spark.check_java({"JAVA_HOME": "", "PATH": str(tmp_path / "bin")}) == 21


def test_without_java_it_is_said_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as error:
        spark.check_java({"PATH": str(tmp_path)})
    assert str(error.value) == (
        "Spark needs Java, and there is none in PATH. "
        "Install Java 17: apt-get install openjdk-17-jre-headless, or set JAVA_HOME to one."
    )


def test_a_java_home_without_java_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=f"there is none in JAVA_HOME, which is {tmp_path}"):
        spark.check_java({"JAVA_HOME": str(tmp_path), "PATH": os.environ["PATH"]})


def test_an_old_java_is_named(tmp_path: Path) -> None:
    java = write_java(tmp_path, "echo 'java version \"1.8.0_412\"' >&2")
    with pytest.raises(ClusterError) as error:
        spark.check_java({"PATH": str(java.parent)})
    assert str(error.value).startswith(
        f"Spark needs Java 17 or newer, and {java} is Java 8. Install Java 17: apt-get install "
    )


def test_a_program_that_is_no_java_is_named(tmp_path: Path) -> None:
    java = write_java(tmp_path, "exit 1")
    with pytest.raises(ClusterError, match=f"{java} does not say which Java it is"):
        spark.check_java({"PATH": str(java.parent)})
    java.write_bytes(b"\x7fELF no program")
    with pytest.raises(ClusterError, match=f"{java} does not say which Java it is"):
        spark.check_java({"PATH": str(java.parent)})


def test_without_pyspark_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = SimpleNamespace(find_spec=lambda _name: None)
    monkeypatch.setattr("warehouse.spark.cluster.PathFinder", nothing)
    with pytest.raises(ClusterError) as error:
        spark.up(tmp_path / "spark", print)
    assert str(error.value) == (
        "pyspark is not installed. "
        "Install it: .venv/bin/python -m pip install --requirement requirements-spark.lock"
    )
    assert not (tmp_path / "spark").exists()


def test_a_port_in_use_is_told_with_another_to_choose() -> None:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.listen()
        with pytest.raises(ClusterError) as error:
            spark.check_port(port, seconds=0)
    assert str(error.value) == (
        f"port {port} cannot be used: Address already in use. "
        "Choose another: WAREHOUSE_SPARK_PORT=10001 make spark-up"
    )
    spark.check_port(port)  # it is free now


def test_a_port_that_cannot_be_is_told() -> None:
    with pytest.raises(ClusterError, match="port 99999 cannot be used: "):
        spark.check_port(99_999, seconds=0)


# ---------------------------------------------------------------- which processes are ours


def test_a_process_that_was_written_down_runs_until_it_ends(parts: Parts) -> None:
    pid = parts.start("worker-1")
    cluster = Cluster(parts.folder, 1, 2, 3, Size())
    assert cluster.pids() == {"worker-1": pid}
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not runs(pid))  # nobody waits for it: it stays in the table
    assert cluster.pids() == {}


@pytest.mark.parametrize("text", ["", "12", "x y z", "1 2 3 4"])
def test_a_broken_pid_file_names_nothing(parts: Parts, text: str) -> None:
    (parts.folder / "master.pid").write_text(text)
    assert Cluster(parts.folder, 1, 2, 3, Size()).pids() == {}
    assert spark.down(parts.folder, print) == ()
    assert parts.files() == []


def test_a_pid_that_another_program_has_by_now_is_left_alone(parts: Parts) -> None:
    later = parts.start("worker-1", ticks=-1)
    rebooted = parts.start("worker-2")
    parts.write("worker-2", rebooted, started(rebooted), boot="another")
    told: list[str] = []
    assert spark.find(parts.folder) is None
    assert spark.down(parts.folder, told.append) == ()
    assert told == ["Spark does not run."]
    assert runs(later)
    assert runs(rebooted)
    assert parts.files() == []


def test_down_stops_the_thrift_server_then_the_workers_then_the_master(parts: Parts) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    folder = pathlib.Path(sys.argv[1]).parents[1]\n"
        "    with (folder / 'ended').open('a') as file: file.write(NAME)\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print(flush=True); time.sleep(60)\n"
    )
    names = [MASTER, "worker-1", THRIFT_SERVER]
    pids = [parts.start(name, code=code.replace("NAME", f"'{name} '")) for name in names]
    told: list[str] = []
    assert spark.down(parts.folder, told.append) == (THRIFT_SERVER, "worker-1", MASTER)
    assert told == ["Stopped thrift-server, worker-1, master"]
    assert (parts.folder / "ended").read_text().split() == [THRIFT_SERVER, "worker-1", MASTER]
    assert not any(map(runs, pids))
    assert parts.files() == []
    assert spark.down(parts.folder, told.append) == ()
    assert told[1:] == ["Spark does not run."]


def test_a_process_that_does_not_heed_is_made_to_end(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark, "SECONDS_TO_STOP", 0.3)
    pid = parts.start("worker-1", code=DEAF)
    assert spark.down(parts.folder, print) == ("worker-1",)
    assert not runs(pid)


def test_executors_end_with_their_worker_also_when_it_was_killed(parts: Parts) -> None:
    code = (
        "import subprocess, sys, time\n"
        f"child = [sys.executable, '-c', {SLEEP!r}]\n"
        "print(subprocess.Popen([*child, sys.argv[1]]).pid, subprocess.Popen(child).pid)\n"
        "sys.stdout.flush(); time.sleep(60)\n"
    )
    worker = parts.start("worker-1", code=f"print()\n{code}")
    stdout = parts.processes[0].stdout
    assert stdout is not None
    executor, other = map(int, stdout.readline().split())
    cluster = Cluster(parts.folder, 1, 2, 3, Size())
    assert cluster.executors() == {"worker-1": sorted([executor, other])}
    os.kill(worker, signal.SIGKILL)
    parts.processes[0].wait()
    assert spark.down(parts.folder, print) == ()
    assert not runs(executor)
    assert runs(other)  # without the worker, it is ours only with the cluster's configuration


# ---------------------------------------------------------------- what is told


def test_down_where_nothing_ever_ran_makes_no_folder(tmp_path: Path) -> None:
    told: list[str] = []
    assert spark.down(tmp_path / "spark", told.append) == ()
    assert told == ["Spark does not run."]
    assert not (tmp_path / "spark").exists()


def test_two_commands_do_not_work_on_one_cluster(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ClusterError, match=r"another command starts or stops Spark in .+\. Wa"):
            spark.down(tmp_path, print)


def test_the_last_error_of_a_log_is_found_between_the_lines_of_a_trace(tmp_path: Path) -> None:
    log = tmp_path / "master.log"
    assert spark.last_error(log) == ""
    log.write_text("\n")
    assert spark.last_error(log) == ""
    log.write_text("started\nall is well\n\n")
    assert spark.last_error(log) == "all is well"
    log.write_text(
        "12:00 INFO Master: started\n"
        "12:01 ERROR Master: first\n"
        "java.net.BindException: Address already in use\n"
        "\tat java.base/sun.nio.ch.Errors.raise(Errors.java:555)\n"
        "\t... 7 more\n"
        "12:02 INFO Master: ends\n"
    )
    assert spark.last_error(log) == "java.net.BindException: Address already in use"


# ---------------------------------------------------------------- real clusters


def query(port: int, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query on a cluster."""
    from pyhive import hive

    with closing(hive.connect(host="127.0.0.1", port=port, auth="NOSASL")) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
        return rows


def processes_of(folder: Path) -> set[int]:
    """Every process of this machine that names the folder."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(folder) in file.read_bytes():
                found.add(int(file.parent.name))
    return found - {os.getpid()}


def listens(pids: set[int]) -> list[tuple[str, str]]:
    """The family and the address, in the kernel's hexadecimals, that these processes listen on."""
    sockets = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                sockets.add(str(handle.readlink()))
    found = []
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.append((family, fields[1].partition(":")[0]))
    return found


@pytest.fixture(scope="class")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("spark") / "a cluster"
    told: list[str] = []
    cluster = spark.up(folder, told.append, port=free_port())
    assert len(told) == 2
    assert told[0].endswith(": master, worker-1, worker-2, thrift-server")
    assert told[1].endswith(f"at 127.0.0.1:{cluster.port}: 2 workers, each 1 core")
    yield cluster
    spark.down(folder, print)
    assert processes_of(folder) == set()


@pytest.mark.spark
class TestCluster:
    """One cluster for all; each test leaves it running, but for the last."""

    def again(self, cluster: Cluster) -> Cluster:
        return spark.up(cluster.folder, print, port=cluster.port, size=cluster.size)

    def test_it_answers_with_every_executor(self, cluster: Cluster) -> None:
        assert cluster.started == (MASTER, "worker-1", "worker-2", THRIFT_SERVER)
        assert set(cluster.pids()) == set(cluster.started)
        assert [len(pids) for pids in cluster.executors().values()] == [1, 1]
        assert query(cluster.port, "select 1") == [(1,)]
        assert query(cluster.port, "select count(distinct id % 7) from range(0, 99, 1, 4)") == [
            (7,)
        ]
        assert spark.answers(cluster.port)
        assert not spark.answers(free_port())

    def test_a_session_is_as_the_warehouse_expects(self, cluster: Cluster) -> None:
        for name, value in {
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.timestampType": "TIMESTAMP_NTZ",
            "spark.sql.ansi.enabled": "false",
            "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
            "spark.sql.shuffle.partitions": "2",
        }.items():
            assert query(cluster.port, f"set {name}") == [(name, value)]

    def test_up_again_starts_nothing(self, cluster: Cluster) -> None:
        before = cluster.pids(), cluster.executors()
        told: list[str] = []
        again = spark.up(cluster.folder, told.append, port=cluster.port)
        assert again.started == ()
        assert (cluster.pids(), cluster.executors()) == before
        assert len(told) == 1
        assert told[0].startswith("Spark runs already and answers at 127.0.0.1:")

    def test_another_size_is_refused_while_it_runs(self, cluster: Cluster) -> None:
        before = cluster.pids()
        with pytest.raises(ClusterError, match=r"runs already: port \d+, 2 workers.+spark-down$"):
            spark.up(cluster.folder, print, port=cluster.port, size=Size(workers=1))
        assert cluster.pids() == before

    def test_it_listens_on_this_machine_only(self, cluster: Cluster) -> None:
        loopback = {("tcp", "0100007F"), ("tcp6", "0000000000000000FFFF00000100007F")}
        every = processes_of(cluster.folder)
        assert len(every) == 6
        found = listens(every)
        assert len(found) >= 6
        assert set(found) <= loopback

    def test_a_killed_worker_is_started_again_alone(self, cluster: Cluster) -> None:
        before, executors = cluster.pids(), cluster.executors()
        os.kill(before["worker-1"], signal.SIGKILL)
        assert self.again(cluster).started == ("worker-1",)
        after = cluster.pids()
        assert after.pop("worker-1") != before.pop("worker-1")
        assert after == before
        assert not any(map(runs, executors["worker-1"]))
        wait_for(lambda: len(cluster.executors()["worker-1"]) == 1)
        assert query(cluster.port, "select count(distinct id % 7) from range(0, 99, 1, 4)") == [
            (7,)
        ]

    def test_a_killed_master_comes_back_knowing_the_others(self, cluster: Cluster) -> None:
        before, executors = cluster.pids(), cluster.executors()
        os.kill(before[MASTER], signal.SIGKILL)
        assert self.again(cluster).started == (MASTER,)
        after = cluster.pids()
        assert after.pop(MASTER) != before.pop(MASTER)
        assert after == before
        assert cluster.executors() == executors
        os.kill(before["worker-2"], signal.SIGKILL)
        assert self.again(cluster).started == ("worker-2",)
        wait_for(lambda: len(cluster.executors()["worker-2"]) == 1)  # for the same Thrift server

    def test_tables_outlive_a_killed_thrift_server_and_are_parquet(self, cluster: Cluster) -> None:
        query(cluster.port, "create table kept as select 7 as number")
        assert list((cluster.folder / "warehouse/kept").glob("*.parquet"))
        os.kill(cluster.pids()[THRIFT_SERVER], signal.SIGKILL)
        assert self.again(cluster).started == (THRIFT_SERVER,)
        assert query(cluster.port, "select number from kept") == [(7,)]

    def test_down_stops_all_of_it_and_only_that(self, cluster: Cluster) -> None:
        other = subprocess.Popen([sys.executable, "-c", SLEEP, str(cluster.folder)])
        every = processes_of(cluster.folder) - {other.pid}
        assert len(every) == 6
        try:
            stopped = spark.down(cluster.folder, print)
            assert stopped == (THRIFT_SERVER, "worker-1", "worker-2", MASTER)
            assert not any(map(runs, every))
            assert runs(other.pid)
        finally:
            other.kill()
            other.wait()
        assert list(cluster.folder.glob("*.pid")) == []
        assert spark.down(cluster.folder, print) == ()


@pytest.mark.spark
def test_a_cluster_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as error:
        spark.up(tmp_path / "spark", print, port=free_port(), size=Size(1, driver_memory=300))
    message = str(error.value)
    assert message.startswith("Spark's thrift-server ended: ")
    assert "Insufficient driver memory" in message
    assert message.endswith(f". See {tmp_path}/spark/logs/thrift-server.log")
    assert "\n" not in message
    assert processes_of(tmp_path) == set()
    assert list((tmp_path / "spark").glob("*.pid")) == []


@pytest.mark.spark
def test_a_cluster_that_takes_too_long_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        ClusterError, match=r"^Spark's master does not answer.*\. See .+master\.log"
    ):
        spark.up(tmp_path / "spark", print, port=free_port(), seconds=0.5)
    assert processes_of(tmp_path) == set()


@pytest.mark.spark
@pytest.mark.parametrize("seconds", [0.3, 8.0])
def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path, seconds: float) -> None:
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as typed
        "from pathlib import Path; from warehouse.spark.cluster import up; import sys\n"
        "tell = lambda line: print(line, flush=True)\n"
        "up(Path(sys.argv[1]) / 'spark', tell, port=int(sys.argv[2]))\n"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(free_port())],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    assert command.stdout.readline().startswith("Starting Spark in ")
    time.sleep(seconds)
    assert processes_of(tmp_path) > {command.pid}
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert processes_of(tmp_path) == set()
    assert list((tmp_path / "spark").glob("*.pid")) == []
