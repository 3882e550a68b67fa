"""The commands, each run in a process of its own: what they print, and how they end."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.cli import age, read_expiry
from api.tokens import TokenFile, digest_of
from tests.api.server import flask, make_token
from tests.support import Outcome, overwrite
from warehouse.history import BuildHistory, EndOfRun
from warehouse.published import PublishedFolder, format_time


def publish(folder: Path, number: int, rows: int = 1234, *, sample: bool = False) -> str:
    """Publish a snapshot of one small file, as a build does; its version."""
    published = PublishedFolder(folder / "published")
    draft = published.begin(f"{number:08x}-0000-0000-0000-000000000000")
    content = bytes(rows)
    (draft.path / "daily_sales.parquet").write_bytes(content)
    draft.write_catalog(
        {
            "format": 1,
            "version": draft.version,
            "published_at": format_time(draft.at),
            "rows": rows,
            "sample_data": sample,
            "tests": {
                "data_tests": {"passed": 163, "warned": number % 2},
                "unit_tests": {"passed": 100},
                "warnings": [],
            },
            "marts": [
                {
                    "name": "daily_sales",
                    "file": "daily_sales.parquet",
                    "bytes": rows,
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
            ],
        }
    )
    return draft.publish().version


def assert_refused(outcome: Outcome, code: int, *words: str) -> None:
    """It ended with this code, one line of error that has these words, and no trace."""
    assert outcome.exit_code == code, outcome.out + outcome.err
    assert outcome.out == ""
    lines = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in lines[0]


# ---------------------------------------------------------------------------- tokens


def test_a_newcomer_gets_a_token_for_everything_and_the_line_to_try_it(tmp_path: Path) -> None:
    outcome = flask(tmp_path, "tokens", "create", PORT="5123")
    assert outcome.exit_code == 0
    secret = outcome.out.strip()
    token = TokenFile(tmp_path / "tokens.json").find(secret)
    assert token is not None
    assert (token.name, token.scopes) == ("local", frozenset("*"))
    assert token.expires_at is not None
    assert timedelta(days=89) < token.expires_at - datetime.now(UTC) <= timedelta(days=90)
    line = f'curl -H "Authorization: Bearer {secret}" http://127.0.0.1:5123/api/v1/'
    assert line in outcome.err


def test_a_second_newcomer_gets_the_next_free_name(tmp_path: Path) -> None:
    make_token(tmp_path)
    make_token(tmp_path)
    names = [token.name for token in TokenFile(tmp_path / "tokens.json").all()]
    assert names == ["local", "local-2"]


def test_a_token_has_the_scopes_the_end_and_the_limit_that_were_asked_for(tmp_path: Path) -> None:
    secret = make_token(
        tmp_path,
        *("Ann", "--scope", "shop", "--scope", "hiring"),
        *("--expires", "2099-01-31", "--limit", "6000 per minute"),
    )
    token = TokenFile(tmp_path / "tokens.json").find(secret)
    assert token is not None
    assert token.scopes == {"shop", "hiring"}
    assert token.expires_at == datetime(2099, 2, 1, tzinfo=UTC)  # its last day is included
    assert token.limit == "6000 per minute"


def test_the_list_shows_states_and_nothing_that_lets_one_in(tmp_path: Path) -> None:
    secrets = [make_token(tmp_path, name, "--scope", "*") for name in ("Ann", "Bob")]
    revoked = flask(tmp_path, "tokens", "revoke", "Bob")
    assert (revoked.exit_code, revoked.out) == (0, "Token Bob is revoked.\n")
    listed = flask(tmp_path, "tokens", "list").out
    heading, ann, bob = listed.splitlines()
    assert re.split(r"  +", heading)[:4] == ["name", "state", "scopes", "limit"]
    assert re.split(r"  +", ann)[:4] == ["Ann", "valid", "*", "default"]
    assert re.split(r"  +", bob)[:4] == ["Bob", "revoked", "*", "default"]
    for secret in secrets:
        assert secret not in listed
        assert digest_of(secret) not in listed


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["Ann"], "--scope"),
        (["Ann", "--scope", "shops"], "no scope 'shops'"),
        (["Ann", "--scope", "*", "--expires", "soon"], "give days"),
        (["Ann", "--scope", "*", "--expires", "2027-02-30"], "give days"),
        (["Ann", "--scope", "*", "--expires", "2001-01-01"], "is over already"),
        (["Ann", "--scope", "*", "--expires", "0d"], "is over already"),
        (["Ann", "--scope", "*", "--limit", "many"], "give a limit"),
        (["../Ann", "--scope", "*"], "a name has"),
    ],
)
def test_a_token_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, arguments: list[str], word: str
) -> None:
    assert_refused(flask(tmp_path, "tokens", "create", *arguments), 2, word)
    assert not (tmp_path / "tokens.json").exists()


def test_a_name_that_is_taken_or_missing_is_told(tmp_path: Path) -> None:
    make_token(tmp_path, "Ann", "--scope", "*")
    again = flask(tmp_path, "tokens", "create", "Ann", "--scope", "*")
    assert_refused(again, 2, "named 'Ann' already", "tokens revoke Ann")
    assert_refused(flask(tmp_path, "tokens", "revoke", "Bob"), 2, "named 'Bob'", "tokens list")


def test_a_file_of_tokens_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text("{")
    for command in (["list"], ["create"], ["revoke", "Ann"]):
        assert_refused(
            flask(tmp_path, "tokens", *command), 1, "tokens.json", "not a file of tokens"
        )
    (tmp_path / "file").write_text("")
    outcome = flask(tmp_path, "tokens", "create", WAREHOUSE_TOKENS=str(tmp_path / "file/tokens"))
    assert_refused(outcome, 1, "file/tokens")


def test_a_bad_setting_is_told_by_every_command_in_one_line(tmp_path: Path) -> None:
    for command in (["tokens", "list"], ["publications", "list"], ["serve"], ["run"]):
        assert_refused(flask(tmp_path, *command, PORT="http"), 2, "PORT is 'http'")


def test_redis_without_its_client_is_told(tmp_path: Path) -> None:
    outcome = flask(tmp_path, "serve", API_RATE_STORAGE="redis://:hunter2@127.0.0.1:6379")
    assert_refused(outcome, 2, "API_RATE_STORAGE", "pip install redis")
    assert "hunter2" not in outcome.err


@pytest.mark.parametrize(
    "command",
    [
        *("tokens", "tokens create", "tokens list", "tokens revoke"),
        *("publications", "publications list", "publications rollback", "publications prune"),
        "publications history",
        "serve",
    ],
)
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    outcome = flask(tmp_path, *command.split(), "--help")
    assert outcome.exit_code == 0
    assert "Usage: " in outcome.out
    assert len(outcome.out.splitlines()) > 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("never", None),
        ("2d", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("2026-11-21", datetime(2026, 11, 22, tzinfo=UTC)),
    ],
)
def test_ends_are_read_as_people_write_them(text: str, expected: datetime | None) -> None:
    assert read_expiry(text, datetime(2026, 11, 21, 12, tzinfo=UTC)) == expected


# ---------------------------------------------------------------------------- publications


def test_without_publications_the_list_says_what_to_do(tmp_path: Path) -> None:
    outcome = flask(tmp_path, "publications", "list")
    assert (outcome.exit_code, outcome.out) == (0, "")
    assert "make build" in outcome.err


def test_the_list_of_publications_tells_what_was_tested_and_what_is_served(tmp_path: Path) -> None:
    first, second = publish(tmp_path, 1), publish(tmp_path, 2, rows=2_500_000)
    listed = flask(tmp_path, "publications", "list").out.splitlines()
    assert re.split(r"  +", listed[0]) == [
        *("version", "published", "age", "rows", "size", "tests", "mark")
    ]
    cells = {line.split()[0]: re.split(r"  +", line) for line in listed[1:]}
    assert cells[second][3:] == ["2,500,000", "2.5 MB", "263 passed", "served"]
    assert cells[first][3:] == ["1,234", "1.2 kB", "263 passed, 1 warned"]


def test_the_list_and_a_rollback_say_which_version_contains_the_sample(tmp_path: Path) -> None:
    first, second = publish(tmp_path, 1, sample=True), publish(tmp_path, 2)
    listed = flask(tmp_path, "publications", "list").out.splitlines()
    found = {line.split()[0]: re.split(r"  +", line)[6:] for line in listed[1:]}
    assert found == {first: ["contains the sample"], second: ["served"]}
    done = flask(tmp_path, "publications", "rollback", first)
    assert f"{first} is served from now on, which contains the sample" in done.out
    listed = flask(tmp_path, "publications", "list").out.splitlines()
    assert any(line.endswith("served, rolled back to; contains the sample") for line in listed)


def test_a_rollback_serves_an_older_version_and_the_list_marks_it(tmp_path: Path) -> None:
    first, second = publish(tmp_path, 1), publish(tmp_path, 2)
    done = flask(tmp_path, "publications", "rollback", first)
    assert done.exit_code == 0
    assert first in done.out
    newest = PublishedFolder(tmp_path / "published").newest()
    assert newest is not None
    assert newest.version == first
    listed = flask(tmp_path, "publications", "list").out.splitlines()
    (line,) = [line for line in listed if line.startswith(first)]
    assert line.endswith("served, rolled back to")
    (line,) = [line for line in listed if line.startswith(second)]
    assert line.endswith("withdrawn")
    assert "already" in flask(tmp_path, "publications", "rollback", first).out


def test_a_rollback_to_what_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    first = publish(tmp_path, 1)
    second = publish(tmp_path, 2)
    gone = "20200101T000000Z-00000000"
    assert_refused(flask(tmp_path, "publications", "rollback", gone), 2, gone)
    assert_refused(flask(tmp_path, "publications", "rollback", "../../etc"), 2, "../../etc")
    overwrite(tmp_path / "published" / first / "daily_sales.parquet", b"x")
    assert_refused(flask(tmp_path, "publications", "rollback", first), 1, "daily_sales.parquet")
    newest = PublishedFolder(tmp_path / "published").newest()
    assert newest is not None
    assert newest.version == second


def test_pruning_says_what_went_and_what_stayed_because_it_is_read(tmp_path: Path) -> None:
    versions = [publish(tmp_path, number) for number in range(4)]
    with PublishedFolder(tmp_path / "published").lease(versions[0]):
        outcome = flask(tmp_path, "publications", "prune", "--keep", "1")
    assert outcome.exit_code == 0
    lines = outcome.out.splitlines()
    assert f"kept {versions[0]}: it is being read" in lines
    assert {f"removed {version}" for version in versions[1:3]} <= set(lines)
    assert lines[-1].startswith("2 removed (")
    assert lines[-1].endswith("2 left.")


def test_pruning_everything_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    assert_refused(flask(tmp_path, "publications", "prune", "--keep", "0"), 2, "--keep")
    assert_refused(flask(tmp_path, "publications", "prune"), 2, "--keep")


def test_a_damaged_snapshot_is_listed_as_damaged(tmp_path: Path) -> None:
    version = publish(tmp_path, 1)
    catalog = tmp_path / "published" / version / "catalog.json"
    overwrite(catalog, json.dumps({"format": 1}).encode())
    outcome = flask(tmp_path, "publications", "list")
    assert outcome.exit_code == 0
    assert "damaged" in outcome.out


def test_without_a_build_the_history_says_what_to_do(tmp_path: Path) -> None:
    outcome = flask(tmp_path, "publications", "history")
    assert (outcome.exit_code, outcome.out) == (0, "")
    assert "make build" in outcome.err


def test_the_history_lists_the_last_builds_newest_first_and_why_one_published_nothing(
    tmp_path: Path,
) -> None:
    history = BuildHistory(tmp_path / "published")
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    version = "20261121T120000Z-1a2b3c4d"
    for number in range(20):
        history.start(str(number), "dbt build", noon + timedelta(minutes=number))
    history.end(
        "18", EndOfRun("published", version, None, 24.4, 70_937, 274, 1, 0, 165, True), noon
    )
    why = "the test\n" + "x" * 200
    history.end("17", EndOfRun("not published", None, why, 3.6, None, 9, 0, 2, None), noon)
    history.start("20", "dbt build --select a", noon + timedelta(minutes=20))
    outcome = flask(tmp_path, "publications", "history")
    assert outcome.exit_code == 0
    heading, *lines = outcome.out.splitlines()
    assert re.split(r"  +", heading) == [
        *("started", "command", "outcome", "seconds", "rows", "rejected", "tests"),
        "version or why",
    ]
    assert [line[:16] for line in lines] == [
        f"2026-11-21 12:{minute:02}" for minute in range(20, 0, -1)
    ]
    cells = [re.split(r"  +", line) for line in lines[:4]]
    assert cells[0][1:] == [
        *("dbt build --select a", "unfinished", "still running, or killed before its end"),
    ]
    assert cells[2][1:] == [
        *(
            "dbt build",
            "published",
            "24",
            "70,937",
            "165",
            "274 passed, 1 warned",
            f"{version}, contains the sample",
        ),
    ]
    said = f"the test {'x' * 91}..."
    assert cells[3][1:] == ["dbt build", "not published", "4", "9 passed, 2 failed", said]


def test_spans_of_time_are_told_in_their_largest_unit() -> None:
    assert age(timedelta(seconds=59)) == "59 s"
    assert age(timedelta(minutes=90)) == "1 h"
    assert age(timedelta(days=400)) == "400 d"
