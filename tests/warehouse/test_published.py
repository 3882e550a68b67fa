"""The published folder: what exists, what does not, and who may write, on folders made by hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support import ROOT, overwrite
from warehouse.published import (
    CATALOG,
    LOG,
    REMOVING,
    BusyError,
    DamagedError,
    Entry,
    GoneError,
    HeldFile,
    PublishedError,
    PublishedFolder,
    make_version,
    sha256_of,
    what_readers_see,
)

NEVER = "20200101T000000Z-00000000"


@pytest.fixture
def folder(tmp_path: Path) -> PublishedFolder:
    return PublishedFolder(tmp_path / "published")


def publish(folder: PublishedFolder, name: str, content: bytes = b"rows") -> str:
    """Publish a snapshot of one file; its version, which ends with the name."""
    draft = folder.begin(name)
    file = draft.path / "mart.parquet"
    file.write_bytes(content)
    mart = {"file": file.name, "bytes": len(content), "sha256": sha256_of(file)}
    draft.write_catalog({"format": 1, "version": draft.version, "marts": [mart]})
    draft.publish()
    return draft.version


@contextmanager
def another_process(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has done something to the folder `published`, and lives on until told."""
    script = (
        "import sys; from pathlib import Path; from warehouse.published import PublishedFolder\n"
        f"published = PublishedFolder(Path(sys.argv[1]))\n{code}\n"
        "print('done', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        try:
            yield process
        finally:
            process.kill()


def test_versions_sort_by_time_and_carry_the_run() -> None:
    early = make_version(datetime(2026, 11, 21, 1, 35, 1, 999999, tzinfo=UTC), "ffffffff-0000")
    late = make_version(datetime(2026, 11, 21, 1, 35, 2, tzinfo=UTC), "1a2b3c4d-9999-4fbc")
    assert (early, late) == ("20261121T013501Z-ffffffff", "20261121T013502Z-1a2b3c4d")
    assert early < late


def test_nothing_is_there_before_the_first_publication(folder: PublishedFolder) -> None:
    assert folder.entries() == []
    assert folder.newest() is None
    assert folder.versions() == []
    assert folder.stamp() is None
    assert folder.prune(1).removed == ()
    assert what_readers_see(folder.path) == "nothing has been published yet"
    with pytest.raises(GoneError, match=f"no snapshot {NEVER}"):
        folder.catalog(NEVER)
    assert not folder.path.exists()


def test_a_snapshot_exists_from_the_line_end_of_its_entry_on(folder: PublishedFolder) -> None:
    version = publish(folder, "aaaaaaaa")
    log = folder.path / LOG
    whole = log.read_bytes()
    for length in range(len(whole)):
        log.write_bytes(whole[:length])
        assert folder.entries() == []
        assert folder.versions() == []
        with pytest.raises(GoneError):
            folder.catalog(version)
        with pytest.raises(GoneError):
            folder.lease(version)
    log.write_bytes(whole)
    assert folder.versions() == [version]
    assert folder.catalog(version)["version"] == version


def test_the_stamp_changes_with_each_entry(folder: PublishedFolder) -> None:
    stamps = [folder.stamp()]
    first = publish(folder, "aaaaaaaa")
    stamps.append(folder.stamp())
    assert folder.stamp() == stamps[-1]
    publish(folder, "bbbbbbbb")
    stamps.append(folder.stamp())
    folder.rollback(first)
    stamps.append(folder.stamp())
    assert len(set(map(str, stamps))) == 4


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "{}",
        '{"version": "../../etc", "at": "2026-11-21T01:35:01Z", "action": "publish"}',
        '{"version": "20261121T013501Z-1a2b3c4d", "at": "noon", "action": "publish"}',
        '{"version": "20261121T013501Z-1a2b3c4d", "at": "2026-11-21T01:35:01Z", "action": "go"}',
        '{"version": 7, "at": "2026-11-21T01:35:01Z", "action": "publish"}',
    ],
)
def test_a_whole_line_that_is_no_entry_is_named(folder: PublishedFolder, line: str) -> None:
    publish(folder, "aaaaaaaa")
    with (folder.path / LOG).open("a") as log:
        log.write(line + "\n")
    with pytest.raises(DamagedError, match=r"log\.jsonl: line 2 is not an entry"):
        folder.entries()
    assert "line 2 is not an entry" in what_readers_see(folder.path)


@pytest.mark.parametrize("text", ["", "..", "../x", "20261121T013501Z-1a2b3c4d/..", "x" * 24])
def test_no_path_is_made_of_what_is_no_version(folder: PublishedFolder, text: str) -> None:
    for use in (folder.folder, folder.catalog, folder.verify, folder.lease, folder.rollback):
        with pytest.raises(GoneError, match="is no version"):
            use(text)


def test_an_altered_byte_of_a_file_is_found_and_the_file_named(folder: PublishedFolder) -> None:
    version = publish(folder, "aaaaaaaa", b"0123456789")
    file = folder.folder(version) / "mart.parquet"
    assert folder.verify(version)["version"] == version
    overwrite(file, b"0123456789"[::-1])  # of the same size
    with pytest.raises(DamagedError, match=r"mart\.parquet is not what was published"):
        folder.verify(version)
    file.unlink()
    with pytest.raises(DamagedError, match=r"mart\.parquet cannot be read"):
        folder.verify(version)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"version": "other", "format": 1}'])
def test_a_damaged_catalog_is_found_with_and_without_its_sum_in_the_log(
    folder: PublishedFolder, damage: bytes
) -> None:
    version = publish(folder, "aaaaaaaa")
    overwrite(folder.folder(version) / CATALOG, damage)
    with pytest.raises(DamagedError, match=r"catalog\.json is not what was published"):
        folder.catalog(version)
    entry = json.loads((folder.path / LOG).read_text())
    del entry["catalog_sha256"]
    (folder.path / LOG).write_text(json.dumps(entry) + "\n")
    with pytest.raises(DamagedError, match=r"catalog\.json is not what was published"):
        folder.catalog(version)


def test_one_altered_letter_of_a_catalog_is_found(folder: PublishedFolder) -> None:
    version = publish(folder, "aaaaaaaa")
    catalog = folder.folder(version) / CATALOG
    overwrite(catalog, catalog.read_bytes().replace(b"mart.parquet", b"maru.parquet"))
    with pytest.raises(DamagedError, match=r"catalog\.json is not what was published"):
        folder.catalog(version)


def test_a_catalog_of_another_format_says_so(folder: PublishedFolder) -> None:
    draft = folder.begin("aaaaaaaa")
    draft.write_catalog({"format": 2, "version": draft.version, "marts": []})
    draft.publish()
    with pytest.raises(DamagedError, match="has format 2, this program reads format 1"):
        folder.catalog(draft.version)


def test_a_draft_that_is_discarded_leaves_nothing_and_lets_others_write(
    folder: PublishedFolder,
) -> None:
    draft = folder.begin("aaaaaaaa")
    (draft.path / "mart.parquet").write_bytes(b"half")
    draft.discard()
    draft.discard()
    assert not draft.path.exists()
    version = publish(folder, "bbbbbbbb")
    assert folder.versions() == [version]


def test_what_was_published_cannot_be_discarded(folder: PublishedFolder) -> None:
    draft = folder.begin("aaaaaaaa")
    draft.write_catalog({"format": 1, "version": draft.version, "marts": []})
    draft.publish()
    draft.discard()
    assert folder.versions() == [draft.version]


def test_the_next_build_removes_what_a_killed_one_left_and_touches_nothing_else(
    folder: PublishedFolder,
) -> None:
    version = publish(folder, "aaaaaaaa")
    for name in (NEVER, f"{NEVER}{REMOVING}", f"{version}{REMOVING}", "notes", "20260101"):
        (folder.path / name).mkdir()
        (folder.path / name / "file").write_bytes(b"x")
    folder.begin("bbbbbbbb").discard()
    names = {path.name for path in folder.path.iterdir()}
    assert names == {version, "notes", "20260101", LOG, ".lock"}
    folder.verify(version)


def test_a_torn_line_does_not_spoil_the_next_entry(folder: PublishedFolder) -> None:
    first = publish(folder, "aaaaaaaa")
    second = publish(folder, "bbbbbbbb")
    for tear in (lambda: publish(folder, "cccccccc"), lambda: folder.rollback(first)):
        with (folder.path / LOG).open("ab") as log:
            log.write(b'{"version": "2026')
        tear()
        folder.entries()
    assert [entry.action for entry in folder.entries()] == ["publish"] * 3 + ["rollback"]
    assert folder.versions()[:2] == [first, second]


def test_an_entry_that_cannot_be_written_whole_is_taken_back(
    folder: PublishedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(folder, "aaaaaaaa")
    before = (folder.path / LOG).read_bytes()
    publish(folder, "bbbbbbbb")
    after = (folder.path / LOG).read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:10]))
    with pytest.raises(OSError, match="No space left on device"):
        folder.rollback(first)
    assert (folder.path / LOG).read_bytes() == after != before


def test_a_second_writer_waits_for_the_first_one(folder: PublishedFolder) -> None:
    draft = folder.begin("aaaaaaaa")
    with pytest.raises(BusyError, match="another process has been writing to"):
        folder.begin("bbbbbbbb", wait=0.1)
    with pytest.raises(BusyError):
        folder.prune(1, wait=0.1)
    assert draft.path.is_dir()
    timer = threading.Timer(0.3, draft.discard)
    timer.start()
    started = time.monotonic()
    folder.begin("bbbbbbbb", wait=30).discard()
    assert 0.2 < time.monotonic() - started < 10
    timer.join()


def test_a_killed_writer_blocks_nobody(folder: PublishedFolder) -> None:
    with another_process("draft = published.begin('aaaaaaaa')", folder.path) as process:
        with pytest.raises(BusyError):
            folder.begin("bbbbbbbb", wait=0.1)
        process.kill()
        process.wait()
        version = publish(folder, "bbbbbbbb")
    assert [path.name for path in folder.path.iterdir() if path.is_dir()] == [version]


# ------------------------------------------------------------------ going back, and removing


def test_a_rollback_shows_an_older_snapshot_until_the_next_publication(
    folder: PublishedFolder,
) -> None:
    first, second = publish(folder, "aaaaaaaa"), publish(folder, "bbbbbbbb")
    entry = folder.rollback(first)
    assert isinstance(entry, Entry)
    assert entry == folder.newest()
    assert (entry.version, entry.action) == (first, "rollback")
    assert folder.versions() == [first, second]
    assert folder.rollback(first) == entry  # they see it already
    assert len(folder.entries()) == 3
    third = publish(folder, "cccccccc")
    newest = folder.newest()
    assert newest is not None
    assert newest.version == third


def test_nobody_is_sent_back_to_a_damaged_or_missing_snapshot(folder: PublishedFolder) -> None:
    first, second = publish(folder, "aaaaaaaa"), publish(folder, "bbbbbbbb")
    overwrite(folder.folder(first) / "mart.parquet", b"ROWS")
    with pytest.raises(DamagedError, match=r"mart\.parquet"):
        folder.rollback(first)
    with pytest.raises(GoneError):
        folder.rollback(NEVER)
    newest = folder.newest()
    assert newest is not None
    assert newest.version == second
    assert len(folder.entries()) == 2


def test_prune_keeps_the_newest_and_what_readers_see(folder: PublishedFolder) -> None:
    versions = [publish(folder, letter * 8) for letter in "abcde"]
    folder.rollback(versions[1])
    size = sum(path.stat().st_size for path in folder.folder(versions[0]).iterdir())
    pruned = folder.prune(2)
    assert pruned.removed == (versions[0], versions[2])
    assert pruned.in_use == ()
    assert pruned.size == pytest.approx(2 * size, abs=4)
    assert folder.versions() == [versions[1], *versions[3:]]
    assert [entry.action for entry in folder.entries()][5:] == ["rollback", "prune", "prune"]
    newest = folder.newest()
    assert newest is not None
    assert newest.version == versions[1]
    assert folder.prune(2).removed == ()
    with pytest.raises(GoneError):
        folder.catalog(versions[0])
    with pytest.raises(PublishedError, match="at least 1 snapshot must stay, not 0"):
        folder.prune(0)


def test_a_snapshot_that_was_pruned_is_gone_though_its_folder_comes_back(
    folder: PublishedFolder, tmp_path: Path
) -> None:
    first, second = publish(folder, "aaaaaaaa"), publish(folder, "bbbbbbbb")
    shutil.copytree(folder.folder(first), tmp_path / "copy")
    assert folder.prune(1).removed == (first,)
    shutil.copytree(tmp_path / "copy", folder.folder(first))
    for ask in (folder.catalog, folder.verify, folder.lease, folder.rollback):
        with pytest.raises(GoneError):
            ask(first)
    assert folder.versions() == [second]
    publish(folder, "cccccccc")  # the next writer removes it
    assert not folder.folder(first).exists()


def test_prune_keeps_what_any_process_reads(folder: PublishedFolder) -> None:
    versions = [publish(folder, letter * 8) for letter in "abcd"]
    own = folder.lease(versions[1])
    with another_process(f"lease = published.lease({versions[0]!r})", folder.path):
        pruned = folder.prune(1)
        assert pruned.in_use == (versions[0], versions[1])
        assert pruned.removed == (versions[2],)
        folder.verify(versions[0])
    assert folder.prune(1).removed == (versions[0],)
    own.release()
    own.release()
    assert folder.prune(1).removed == (versions[1],)
    with pytest.raises(GoneError):
        folder.lease(versions[1])
    with folder.lease(versions[3]):
        pass


def test_a_lease_on_a_folder_that_goes_away_meanwhile_is_refused(
    folder: PublishedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish(folder, "aaaaaaaa")
    opened = os.open

    def open_and_lose(path: Path, flags: int) -> int:
        descriptor = opened(path, flags)
        folder.folder(version).rename(tmp_path / "gone")
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    with pytest.raises(GoneError):
        folder.lease(version)


# ------------------------------------------------------------------ modes, and a log that is lost


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_published_is_for_the_owner_and_the_group_under_any_umask(
    folder: PublishedFolder, umask: int
) -> None:
    before = os.umask(umask)
    try:
        draft = folder.begin("aaaaaaaa")
        (draft.path / "data_docs").mkdir()
        for name in ("mart.parquet", "data_docs/index.html"):
            (draft.path / name).write_bytes(b"rows")
        draft.write_catalog({"format": 1, "version": draft.version, "marts": []})
        draft.publish()
        publish(folder, "bbbbbbbb")
    finally:
        os.umask(before)
    modes = {
        str(path.relative_to(folder.path)).replace(draft.version, "v"): path.stat().st_mode & 0o7777
        for path in [folder.path, *folder.path.rglob("*")]
        if "bbbbbbbb" not in str(path)
    }
    files = ("v/catalog.json", "v/mart.parquet", "v/data_docs/index.html")
    assert modes == {
        **dict.fromkeys((".", "v", "v/data_docs"), 0o750),
        **dict.fromkeys(files, 0o440),
        **dict.fromkeys((LOG, ".lock"), 0o640),
    }
    assert folder.prune(1).removed == (draft.version,)


def test_the_group_of_a_folder_that_hands_it_on_is_handed_on(folder: PublishedFolder) -> None:
    folder.path.mkdir()
    folder.path.chmod(0o2770)
    version = publish(folder, "aaaaaaaa")
    assert folder.path.stat().st_mode & 0o7777 == 0o2770  # it was there
    assert folder.folder(version).stat().st_mode & 0o7777 == 0o2750


@pytest.mark.parametrize("what", ["deleted", "emptied", "went back"])
def test_no_writer_removes_snapshots_that_a_log_has_lost(
    folder: PublishedFolder, what: str
) -> None:
    first = publish(folder, "aaaaaaaa")
    log = folder.path / LOG
    before = log.read_bytes()
    second = publish(folder, "bbbbbbbb")
    whole = log.read_bytes()
    if what == "deleted":
        log.unlink()
    else:
        log.write_bytes(b"" if what == "emptied" else before)
    for write in (lambda: publish(folder, "cccccccc"), lambda: folder.prune(1)):
        with pytest.raises(
            DamagedError, match=rf"log\.jsonl has no entry of {second}.*from a copy"
        ):
            write()
    log.write_bytes(whole)
    for version in (first, second):
        folder.verify(version)
    assert folder.versions() == [first, second]
    publish(folder, "cccccccc")


def test_a_build_that_died_before_its_entry_is_removed_though_it_is_whole(
    folder: PublishedFolder,
) -> None:
    code = (
        "draft = published.begin('aaaaaaaa')\n"
        "draft.write_catalog({'format': 1, 'version': draft.version, 'marts': []})"
    )
    with another_process(code, folder.path) as process:
        process.kill()
    version = publish(folder, "bbbbbbbb")
    assert [path.name for path in folder.path.iterdir() if path.is_dir()] == [version]


# ------------------------------------------------------------------ files that are held


def test_a_held_file_is_read_again_only_after_it_was_touched(
    folder: PublishedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish(folder, "aaaaaaaa")
    with ExitStack() as held:
        _, files = folder.hold(version, held)
        file = files["mart.parquet"]
        readings: list[bool] = []
        is_same = HeldFile._is_same

        def counted(self: HeldFile) -> bool:
            readings.append(True)
            return is_same(self)

        monkeypatch.setattr(HeldFile, "_is_same", counted)
        known = file.check()
        assert file.check() == known
        assert readings == []
        (folder.path / "link").hardlink_to(file.path)
        assert file.check() != known
        assert readings == [True]
        assert file.is_in_place()
        file.path.unlink()
        file.check()
        assert not file.is_in_place()
        (folder.path / "link").chmod(0o640)
        (folder.path / "link").write_bytes(b"ROWS")
        with pytest.raises(DamagedError, match=r"mart\.parquet is not what was published"):
            file.check()
