"""Which snapshot is served: the newest that is whole, without a request that fails on the way."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from api import create_app, snapshots
from api.problems import Problem
from api.redaction import without_paths
from api.settings import ROOT, Settings
from api.snapshots import OLD_SNAPSHOTS_OPEN, Snapshot, SnapshotStore
from api.tokens import TokenFile
from tests.api.support import (
    Api,
    as_problem,
    cut_short,
    damage,
    parsed,
    publish_again,
    serving,
    wait_until,
)
from tests.support import overwrite
from warehouse.published import CATALOG, LOG, PublishedFolder

NEVER = 3600.0  # seconds


def settings(folder: PublishedFolder, **more: Any) -> Settings:
    """Settings of a store that looks at the log only when it is told to."""
    defaults = {"root": ROOT, "published": folder.path, "tokens": folder.path / "none"}
    return Settings(**(defaults | {"poll_seconds": NEVER} | more))


@contextmanager
def opened(folder: PublishedFolder, **more: Any) -> Iterator[SnapshotStore]:
    store = SnapshotStore(settings(folder, **more))
    try:
        yield store
    finally:
        store.close()


def republish(folder: PublishedFolder, days: int | None = None) -> str:
    """Publish the newest snapshot again, with so many days of sales."""
    marts = {"daily_sales": f"select * from mart limit {days}"} if days is not None else {}
    return publish_again(folder.path, folder, marts)


def days_of(store: SnapshotStore, snapshot: Snapshot) -> int:
    ((days,),) = store.rows(snapshot, "select count(*) from daily_sales", [])
    return int(days)


def served(store: SnapshotStore) -> str | None:
    catalog = store.status().catalog
    return catalog.version if catalog else None


def open_files(folder: PublishedFolder) -> list[str]:
    """The files of the folder that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith(str(folder.path)):
            found.append(target)
    return found


# --- The store ------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_memory_bytes", [10**9, 1], ids=["tables", "views"])
def test_an_old_snapshot_is_closed_when_its_last_reader_is_done(
    in_memory_bytes: int, published: PublishedFolder
) -> None:
    (old,) = published.versions()
    with opened(published, in_memory_bytes=in_memory_bytes) as store:
        with store.reading() as first:
            with store.reading() as second:
                assert first is second
                new = republish(published, days=7)
                store.refresh()
                with store.reading() as third:
                    assert (third.version, days_of(store, third)) == (new, 7)
                assert published.prune(keep=1).in_use == (old,)
            assert published.prune(keep=1).in_use == (old,)
            assert days_of(store, first) == 731
        assert published.prune(keep=1).removed == (old,)
        with pytest.raises(duckdb.Error):
            first.cursor()
        assert open_files(published) == [str(published.folder(new) / CATALOG)] or (
            in_memory_bytes == 1
        )
        assert served(store) == new


def test_the_served_snapshot_is_leased_also_when_nobody_reads(published: PublishedFolder) -> None:
    (old,) = published.versions()
    with opened(published) as store:
        store.start()
        republish(published)
        assert published.prune(keep=1).in_use == (old,)
        store.refresh()
        assert published.prune(keep=1).removed == (old,)


@pytest.mark.parametrize("in_memory_bytes", [10**9, 1], ids=["tables", "views"])
def test_threads_that_read_while_snapshots_are_swapped_see_one_whole_version_each(
    in_memory_bytes: int, published: PublishedFolder
) -> None:
    (first,) = published.versions()
    days = {first: 731}
    seen: list[tuple[str, int]] = []
    errors: list[BaseException] = []
    is_over = threading.Event()

    def read(store: SnapshotStore) -> None:
        try:
            while not is_over.is_set():
                with store.reading() as snapshot:
                    seen.append((snapshot.version, days_of(store, snapshot)))
                    seen.append((snapshot.version, days_of(store, snapshot)))
                with store.reading(first) as snapshot:
                    seen.append((snapshot.version, days_of(store, snapshot)))
        except BaseException as error:
            errors.append(error)

    with opened(published, poll_seconds=0.01, in_memory_bytes=in_memory_bytes) as store:
        store.start()
        threads = [threading.Thread(target=read, args=(store,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in (50, 40, 30, 20):
            version = republish(published, days=number)
            days[version] = number
            wait_until(lambda: (version, number) in seen[-40:] or errors)  # noqa: B023
        is_over.set()
        for thread in threads:
            thread.join(30)
    assert errors == []
    assert {version for version, _ in seen} == days.keys()
    assert {(version, days[version]) for version, _ in seen} == set(seen)
    assert len(seen) > 100


@pytest.mark.parametrize("what", ["parquet", "catalog", "missing", "unreadable catalog"])
def test_a_damaged_snapshot_is_not_served_and_is_tried_again_after_a_while(
    what: str, published: PublishedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SECONDS_BEFORE_RETRY", 0.3)
    (good,) = published.versions()
    with opened(published) as store:
        store.start()
        if what == "unreadable catalog":  # whole, but of another program
            bad = publish_again(published.path, published, edit=lambda new: new.pop("engine"))
        else:
            bad = republish(published, days=5)
        folder = published.folder(bad)
        name = CATALOG if "catalog" in what else "daily_sales.parquet"
        whole = (folder / name).read_bytes()
        if what == "parquet":
            damage(folder / name)
        elif what == "catalog":
            cut_short(published, bad)
        elif what == "missing":
            (folder / name).unlink()
        store.refresh()
        status = store.status()
        assert served(store) == good
        assert (status.failed_version, status.swaps) == (bad, 1)
        assert status.failure is not None
        assert (name if what != "unreadable catalog" else bad) in status.failure
        assert "\n" not in status.failure
        with store.reading() as snapshot:
            assert days_of(store, snapshot) == 731
        with pytest.raises(Problem) as caught, store.reading(bad):
            pass
        assert caught.value.status == 410
        if what == "unreadable catalog":
            return

        (folder / name).touch()
        overwrite(folder / name, whole)
        store.refresh()  # too early
        assert served(store) == good
        time.sleep(0.35)
        store.refresh()
        status = store.status()
        assert (served(store), status.failure, status.swaps) == (bad, None, 2)


def test_a_start_with_a_damaged_newest_serves_the_last_good_one(published: PublishedFolder) -> None:
    (good,) = published.versions()
    for _ in range(2):
        damage(published.folder(republish(published)) / "order_kpis.parquet")
    with opened(published) as store:
        status = store.status()
        assert served(store) == good
        assert status.failed_version == published.versions()[-1]
    damage(published.folder(good) / "order_kpis.parquet")
    with opened(published) as store:
        assert served(store) is None
        with pytest.raises(Problem) as caught, store.reading():
            pass
        assert (caught.value.status, caught.value.kind) == (503, "nothing-published")
        assert "order_kpis.parquet" in caught.value.detail


def test_a_good_publication_after_a_damaged_one_is_taken_up(published: PublishedFolder) -> None:
    damage(published.folder(republish(published)) / "order_kpis.parquet")
    with opened(published) as store:
        assert store.status().failure is not None
        published.rollback(published.versions()[0])
        store.refresh()
        assert (served(store), store.status().failure) == (published.versions()[0], None)
        new = republish(published, days=3)
        store.refresh()
        assert (served(store), store.status().failure) == (new, None)


def test_a_rollback_is_followed(published: PublishedFolder) -> None:
    (first,) = published.versions()
    with opened(published) as store:
        second = republish(published, days=3)
        assert served(store) == second
        with store.reading(first) as old:
            published.rollback(first)
            store.refresh()
            with store.reading() as snapshot:
                assert (snapshot.version, days_of(store, snapshot)) == (first, 731)
            assert days_of(store, old) == 731
        with pytest.raises(Problem) as caught, store.reading(second):
            pass
        assert (caught.value.status, caught.value.kind) == (410, "version-withdrawn")
        assert caught.value.members["available"] == [first]
        published.rollback(second)
        store.refresh()
        with store.reading(second) as snapshot:
            assert days_of(store, snapshot) == 3


def test_a_log_that_cannot_be_read_changes_nothing_for_readers(published: PublishedFolder) -> None:
    (good,) = published.versions()
    log = published.path / LOG
    with opened(published) as store:
        store.start()
        whole = log.read_bytes()
        log.write_bytes(whole + b"not an entry\n")
        store.refresh()
        status = store.status()
        assert (served(store), status.failed_version) == (good, None)
        assert status.failure is not None
        assert "log.jsonl" in status.failure
        log.write_bytes(whole + b'{"version": "2026')  # half a line is none yet
        store.refresh()
        assert (served(store), store.status().failure) == (good, None)
        log.unlink()
        store.refresh()
        assert served(store) == good
        status = store.status()
        assert status.failure is not None
        assert "log.jsonl lacks entries" in status.failure
        log.write_bytes(whole)
        store.refresh()
        assert (served(store), store.status().failure) == (good, None)


def test_few_older_snapshots_stay_open(published: PublishedFolder) -> None:
    for days in (9, 8, 7, 6, 5):
        republish(published, days=days)
    versions = published.versions()
    assert len(versions) == 6
    with opened(published) as store:
        for version in versions:
            with store.reading(version) as snapshot:
                assert snapshot.version == version
        leased = {Path(file).parent.name for file in open_files(published)}
        assert leased == {versions[-1], *versions[-1 - OLD_SNAPSHOTS_OPEN : -1]}
        pruned = published.prune(keep=1)
        assert pruned.removed == tuple(versions[: -1 - OLD_SNAPSHOTS_OPEN])


def test_nothing_is_left_after_the_store_is_closed(published: PublishedFolder) -> None:
    (old,) = published.versions()
    republish(published)
    before = threading.enumerate()
    store = SnapshotStore(settings(published, poll_seconds=0.01))
    assert threading.enumerate() == before  # nothing begins before it is asked for
    with store.reading(old), store.reading() as snapshot:
        started = [thread for thread in threading.enumerate() if thread not in before]
        assert {thread.name for thread in started} == {"publish-log", "query-time"}
        assert len(open_files(published)) == 2
        store.close()
        assert days_of(store, snapshot) == 731  # who reads may finish
    for thread in started:
        thread.join(5)
    assert [thread for thread in started if thread.is_alive()] == []
    assert open_files(published) == []


def test_a_snapshot_that_cannot_be_opened_leaves_nothing_open(published: PublishedFolder) -> None:
    (good,) = published.versions()
    damage(published.folder(good) / "order_kpis.parquet")
    for _ in range(3):
        with pytest.raises(Exception, match="order_kpis"):
            Snapshot(published, good, settings(published))
    assert open_files(published) == []


def test_a_snapshot_too_large_for_the_memory_is_read_from_its_files(
    published: PublishedFolder,
) -> None:
    version = publish_again(
        published.path,
        published,
        {"daily_sales": "select mart.* from mart, range(4000)"},
    )
    with opened(published, memory_limit=16 * 1024**2) as store, store.reading() as snapshot:
        assert (snapshot.version, snapshot.in_memory) == (version, False)
        assert days_of(store, snapshot) == 731 * 4000


# --- Files that change while they are served ------------------------------------------------------


def rewrite(file: Path) -> None:
    """Put fewer rows into a file in place: of the same size, and of the same time."""
    size, at = file.stat().st_size, file.stat().st_mtime_ns
    other = file.with_name("other")
    duckdb.execute(f"copy (from read_parquet('{file}') limit 5) to '{other}' (format parquet)")
    content = other.read_bytes()
    other.unlink()
    # Parquet is read from its end, so that what fills it up stands in front of it.
    overwrite(file, (b"PAR1" + b"\0" * size)[: size - len(content)] + content)
    os.utime(file, ns=(at, at))


def replace(file: Path) -> None:
    other = file.with_name("other")
    duckdb.execute(f"copy (from read_parquet('{file}') limit 5) to '{other}' (format parquet)")
    other.replace(file)


def cut(file: Path) -> None:
    overwrite(file, file.read_bytes()[: file.stat().st_size // 2])


def link(file: Path) -> None:
    file.with_name("link").hardlink_to(file)


HARMLESS: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "replaced": replace,
    "linked": link,
    "chmod": lambda file: file.chmod(0o600),
}
HARMFUL: dict[str, Callable[[Path], None]] = {"rewritten": rewrite, "cut": cut, "one byte": damage}


@pytest.mark.parametrize("what", HARMLESS)
def test_files_that_are_served_may_be_removed_replaced_and_linked(
    what: str, published: PublishedFolder
) -> None:
    version = republish(published, days=600)
    file = published.folder(version) / "daily_sales.parquet"
    with opened(published, in_memory_bytes=0) as store:
        store.start()
        HARMLESS[what](file)
        with store.reading() as snapshot:
            assert days_of(store, snapshot) == 600
        store.refresh()
        with store.reading() as snapshot:
            assert (snapshot.version, days_of(store, snapshot)) == (version, 600)
        status = store.status()
        if what in ("deleted", "replaced"):
            assert status.failure is not None
            assert status.failure.startswith(f"{version}/daily_sales.parquet: removed or replaced")
            assert status.failed_version == version
        else:
            assert status.failure is None


@pytest.mark.parametrize("what", HARMFUL)
def test_no_number_comes_from_a_file_that_was_changed_in_place(
    what: str, published: PublishedFolder
) -> None:
    (good,) = published.versions()
    version = republish(published, days=600)
    file = published.folder(version) / "daily_sales.parquet"
    with opened(published, in_memory_bytes=0) as store:
        store.start()
        HARMFUL[what](file)
        with store.reading() as snapshot, pytest.raises(Problem) as caught:
            days_of(store, snapshot)
        assert (caught.value.status, caught.value.kind) == (503, "snapshot-damaged")
        with pytest.raises(Problem) as caught, store.reading():
            pass
        assert caught.value.kind == "snapshot-damaged"
        store.refresh()
        with store.reading() as snapshot:
            assert (snapshot.version, days_of(store, snapshot)) == (good, 731)
        status = store.status()
        assert status.failed_version == version
        assert status.failure == f"{version}/daily_sales.parquet is not what was published"
        HARMFUL[what](published.folder(good) / "order_kpis.parquet")
        store.refresh()
        with pytest.raises(Problem) as caught, store.reading():
            pass
        assert (caught.value.status, caught.value.kind) == (503, "nothing-published")


def test_a_damaged_snapshot_makes_nobody_see_what_was_withdrawn(published: PublishedFolder) -> None:
    (first,) = published.versions()
    republish(published, days=600)
    published.rollback(first)
    with opened(published, in_memory_bytes=0) as store:
        store.start()
        rewrite(published.folder(first) / "daily_sales.parquet")
        store.refresh()
        with pytest.raises(Problem) as caught, store.reading():
            pass
        assert (caught.value.status, caught.value.kind) == (503, "nothing-published")


def test_a_file_that_changes_under_a_query_gives_no_answer_though_it_changes_back(
    published: PublishedFolder,
) -> None:
    (good,) = published.versions()
    file = published.folder(good) / "daily_sales.parquet"
    whole = file.read_bytes()
    with opened(published, in_memory_bytes=0) as store, store.reading() as snapshot:
        asked: list[int] = []

        def fetch(cursor: duckdb.DuckDBPyConnection) -> int:
            is_first = not asked
            if is_first:
                rewrite(file)
            ((days,),) = cursor.execute("select count(*) from daily_sales").fetchall()
            if is_first:
                overwrite(file, whole)
            asked.append(days)
            return int(days)

        assert store._answer(snapshot, fetch) == 731
        assert asked == [5, 731]


def test_a_folder_that_moves_away_is_no_fault_of_the_servers(published: PublishedFolder) -> None:
    (good,) = published.versions()
    with opened(published, in_memory_bytes=0) as store:
        store.start()
        published.folder(good).rename(published.path / "elsewhere")
        with store.reading() as snapshot, pytest.raises(Problem) as caught:
            days_of(store, snapshot)
        assert (caught.value.status, caught.value.kind) == (503, "snapshot-damaged")
        store.refresh()
        assert served(store) is None


# --- A server -------------------------------------------------------------------------------------


def ready(api: Api) -> Any:
    return parsed(api.get("/ready", scopes=()).body)


def test_without_a_snapshot_everything_says_what_to_do_until_there_is_one(
    tmp_path: Path, published: PublishedFolder
) -> None:
    empty = PublishedFolder(tmp_path / "empty" / "published")
    empty.path.parent.mkdir()
    with serving(empty) as api:
        for path in ("daily_sales", "marts", "marts/order_kpis", "metrics", "nothing", "/ready"):
            answer = api.get(path)
            problem = as_problem(answer, 503, "nothing-published")
            assert "make build" in problem["detail"]
            assert int(answer.headers["retry-after"]) > 0
        assert api.get("/health", scopes=()).status == 200
        assert b"make build" in api.get("/", scopes=()).body
        document = parsed(api.get("/api/v1/openapi.json", scopes=()).body)
        assert "/api/v1/marts" in document["paths"]
        assert api.get("daily_sales", scopes=()).status == 401

        version = publish_again(empty.path, published)
        wait_until(lambda: api.get("/ready").status == 200)
        assert ready(api)["version"] == version
        assert len(api.rows("daily_sales")) == 100


@pytest.mark.parametrize("what", ["parquet", "catalog"])
def test_a_damaged_newest_snapshot_leaves_the_last_good_one_and_says_so(
    what: str, published: PublishedFolder
) -> None:
    (good,) = published.versions()
    with serving(published) as api:
        before = api.get("daily_sales").body
        assert (ready(api)["status"], ready(api)["failure"]) == ("ready", None)

        def break_it(catalog: dict[str, Any]) -> None:
            # As a disk would: the file is not what the catalog says from the first look on.
            if what == "parquet":
                folder = published.folder(catalog["version"])
                damage(folder / "daily_sales.parquet")

        if what == "parquet":
            bad = publish_again(published.path, published, edit=break_it)
        else:
            draft = published.begin("0" * 32)
            draft.write_catalog(published.catalog(good) | {"version": draft.version})
            content = (draft.path / CATALOG).read_bytes()
            overwrite(draft.path / CATALOG, content[: len(content) // 2])
            bad = draft.publish().version
        wait_until(lambda: ready(api)["status"] == "degraded")
        state = ready(api)
        assert (state["version"], state["failure"]["version"]) == (good, bad)
        file = "daily_sales.parquet" if what == "parquet" else CATALOG
        assert file in state["failure"]["detail"]
        assert api.get("/ready").status == 200
        for path in ("/ready", "/", "/api/v1/quality"):  # no folder of the server
            assert str(published.path).encode() not in api.get(path).body
            assert published.path.parent.name.encode() not in api.get(path).body
        assert state["failure"]["detail"].startswith(bad)
        assert file.encode() in api.get("/", scopes=()).body
        assert api.get("daily_sales").body == before
        time.sleep(0.3)  # some more looks at the log
        refused = [line for line in api.server.log if line["event"] == "snapshot_refused"]
        assert [(line["version"], line["serving"], line["level"]) for line in refused] == [
            (bad, good, "error")
        ]
        assert file in refused[0]["message"]

        new = publish_again(published.path, PublishedFolder(_good_copy(published, good)))
        wait_until(lambda: ready(api)["status"] == "ready")
        assert ready(api)["version"] == new


def _good_copy(published: PublishedFolder, version: str) -> Path:
    """A folder whose newest snapshot is this one."""
    copy = published.path.parent / "copy"
    copy.mkdir(exist_ok=True)
    if not (copy / version).exists():
        (copy / version).symlink_to(published.folder(version))
    line = (published.path / LOG).read_text().splitlines(keepends=True)[0]
    assert json.loads(line)["version"] == version
    (copy / LOG).write_text(line)
    return copy


def test_whatever_happens_to_files_every_answer_is_right_or_503(published: PublishedFolder) -> None:
    days = {published.versions()[0]: 731}
    answers: list[tuple[int, str, int]] = []
    is_over = threading.Event()
    with serving(published, API_IN_MEMORY_BYTES="0") as api:
        api.rows("daily_sales")

        def ask() -> None:
            number = 0
            while not is_over.is_set():
                number += 1  # another query each time, so that no answer is kept
                answer = api.get("marts/daily_sales", {"limit": str(9000 + number % 900)})
                rows = parsed(answer.body)["data"] if answer.status == 200 else []
                answers.append(
                    (answer.status, answer.headers.get("x-snapshot-version", ""), len(rows))
                )

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number, happens in enumerate([*HARMLESS.values(), *HARMFUL.values()]):
            version = republish_from(published, days, 700 - number)
            wait_until(lambda: answers[-1][:2] == (200, version))  # noqa: B023
            happens(published.folder(version) / "daily_sales.parquet")
            if happens in HARMFUL.values() or happens in (replace, Path.unlink):
                wait_until(lambda: ready(api)["status"] == "degraded")
                assert "daily_sales.parquet" in ready(api)["failure"]["detail"]
                assert str(published.path) not in api.get("/ready").body.decode()
        is_over.set()
        for thread in threads:
            thread.join(30)
    assert {status for status, _, _ in answers} <= {200, 503}
    assert {(version, days[version]) for status, version, _ in answers if status == 200} == {
        (version, rows) for status, version, rows in answers if status == 200
    }


def republish_from(published: PublishedFolder, days: dict[str, int], number: int) -> str:
    """Publish the first snapshot again, with so many days of sales, and note them."""
    source = PublishedFolder(_good_copy(published, next(iter(days))))
    version = publish_again(
        published.path, source, {"daily_sales": f"select * from mart limit {number}"}
    )
    days[version] = number
    return version


def test_older_versions_are_read_until_they_are_pruned(published: PublishedFolder) -> None:
    (first,) = published.versions()
    second = republish(published, days=20)
    third = republish(published, days=10)
    with serving(published) as api:
        for version, days in ((first, 731), (second, 20), (third, 10), (None, 10)):
            query = {"limit": "10000"} | ({"version": version} if version else {})
            answer = api.get("daily_sales", query)
            assert len(parsed(answer.body)["data"]) == days
            assert answer.headers["x-snapshot-version"] == (version or third)
            assert parsed(answer.body)["meta"]["version"] == (version or third)
            for path in ("marts", "feedback", "marts/daily_sales.csv"):
                answer = api.get(path, {"version": version} if version else {})
                assert answer.headers["x-snapshot-version"] == (version or third)
        for version in ("20200101T000000Z-00000000", "x", "", "..", "../published", first.lower()):
            problem = as_problem(
                api.get("daily_sales", {"version": version}), 404, "unknown-version"
            )
            assert problem["available"] == [first, second, third]

        fourth = republish(published, days=4)
        fifth = republish(published, days=3)
        wait_until(lambda: ready(api)["version"] == fifth)
        for version in (third, fourth):  # the older two are let go
            assert api.get("daily_sales", {"version": version}).status == 200
        assert published.prune(keep=1).removed == (first, second)
        for path in ("daily_sales", "marts", "marts/order_kpis.csv"):
            problem = as_problem(api.get(path, {"version": first}), 410, "version-gone")
            assert problem["available"] == [third, fourth, fifth]


def test_a_cursor_keeps_reading_its_version_after_a_new_publication(
    published: PublishedFolder,
) -> None:
    (old,) = published.versions()
    with serving(published) as api:
        whole = api.rows("marts/daily_sales", {"order": "-date", "limit": "10000"})
        page = api.page("marts/daily_sales", {"order": "-date", "limit": "100"})
        new = republish(published, days=3)
        wait_until(lambda: ready(api)["version"] == new)
        assert len(api.rows("marts/daily_sales")) == 3
        query = {"order": "-date", "limit": "100", "cursor": page["meta"]["next"]}
        rest = list(api.pages("marts/daily_sales", query))
        assert {content["meta"]["version"] for content in rest} == {old}
        assert page["data"] + [row for content in rest for row in content["data"]] == whole
        # Held until others are read; then it can be pruned, and the cursor leads nowhere.
        assert published.prune(keep=1).in_use == (old,)
        for _ in range(2):
            republish(published)
        newest = published.versions()[-1]
        wait_until(lambda: ready(api)["version"] == newest)
        for version in published.versions()[1:-1]:
            api.rows("daily_sales", {"version": version})
        assert published.prune(keep=3).removed == (old,)
        as_problem(api.get("marts/daily_sales", query | {"limit": "99"}), 410, "version-gone")


def test_a_slow_reader_gets_the_rest_of_its_own_version(published: PublishedFolder) -> None:
    (old,) = published.versions()
    with serving(published) as api:
        path = "marts/product_daily_growth"
        expected = api.get(path, {"limit": "10000"}).body
        with socket.create_connection(("127.0.0.1", api.server.port), timeout=30) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            token = api.token("*")
            slow.sendall(
                f"GET /api/v1/{path}?limit=10000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                f"Authorization: Bearer {token}\r\n\r\n".encode()
            )
            received = slow.recv(1000)
            new = publish_again(
                published.path, published, {"product_daily_growth": "from mart limit 1"}
            )
            wait_until(lambda: ready(api)["version"] == new)
            assert len(api.rows(path)) == 1
            while part := slow.recv(65536):
                received += part
        head, _, body = received.partition(b"\r\n\r\n")
        assert old in head.decode()
        assert body == expected


def test_a_query_that_takes_too_long_is_stopped_and_the_server_goes_on(
    published: PublishedFolder,
) -> None:
    publish_again(
        published.path,
        published,
        {"order_lines": "select mart.* replace (range as source_line) from mart, range(600)"},
    )
    with serving(published, API_QUERY_SECONDS="0.05") as api:
        slow = {"order": "-product_name,total_price_usd,order_id", "limit": "10000"}
        for suffix in ("", ".csv", ".arrow"):
            began = time.monotonic()
            problem = as_problem(api.get(f"marts/order_lines{suffix}", slow), 503, "query-too-slow")
            assert "0.05 s" in problem["detail"]
            assert time.monotonic() - began < 5
        assert len(api.rows("daily_sales")) == 100
        assert ready(api)["status"] == "ready"
        # All the server's threads were stopped, and all work again.
        answers: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(api.get("marts/order_lines", slow).status)
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == [503] * 8
        assert api.get("daily_sales", {"limit": "7"}).status == 200


def test_an_answer_made_while_a_snapshot_is_swapped_in_is_not_kept_for_the_old_one(
    published: PublishedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens.json"
    headers = {"Authorization": f"Bearer {TokenFile(tokens).create('reader', ['*'])}"}
    app = create_app(settings(published, tokens=tokens))
    client = app.test_client()
    store: SnapshotStore = app.extensions["snapshots"]

    def version_of_the_answer() -> str:
        answer = client.get("/api/v1/order_kpis", headers=headers)
        version: str = answer.get_json()["meta"]["version"]
        return version

    try:
        store.start()
        old = store.newest_version()
        new = republish(published)

        def swapped_in_between() -> str:
            store.refresh()
            return old

        with monkeypatch.context() as patch:
            patch.setattr(store, "newest_version", swapped_in_between)
            assert version_of_the_answer() == new
        published.rollback(old)
        store.refresh()
        assert version_of_the_answer() == old
    finally:
        store.close()


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/srv/my data/published/v1/a.parquet is not what was published", "v1/a.parquet is not"),
        ("/srv/my data/published: it is gone", "the published folder: it is gone"),
        ('IO Error: cannot open "/srv/my data/published/v1/a.parquet"', '"v1/a.parquet"'),
        ("[Errno 13] Permission denied: '/etc/kpi/secret/log.jsonl'", "'log.jsonl'"),
        ("there is no snapshot v1 in /srv/my data/published", "in the published folder"),
        ("see /docs/problems or https://example.com/a/b", "https://example.com/a/b"),
    ],
)
def test_what_clients_are_told_names_files_but_no_folders(message: str, shown: str) -> None:
    told = without_paths(message, Path("/srv/my data/published"))
    assert shown in told
    assert "/srv" not in told
    assert "/etc" not in told
