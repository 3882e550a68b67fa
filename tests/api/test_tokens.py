"""The file of tokens: what is in it, who may change it, and what a running server sees of it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from api import create_app
from api.settings import read_settings
from api.tokens import (
    NameTakenError,
    TokenFile,
    TokenRefusedError,
    TokensError,
    exposure,
    read_tokens,
    without_tokens,
    write_tokens,
)
from tests.support import ROOT


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.json")


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_a_new_token_is_found_and_has_what_was_asked_for(file: TokenFile) -> None:
    ends_at = in_days(90)
    secret = file.create("Ann", ["shop", "hiring"], ends_at, "5 per second")
    token = file.find(secret)
    assert token is not None
    assert (token.name, token.expires_at, token.limit) == ("Ann", ends_at, "5 per second")
    assert token.allows("shop")
    assert token.allows("hiring")
    assert not token.allows("marketing")
    assert not token.allows("*")


def test_a_token_has_32_random_bytes_and_a_prefix(file: TokenFile) -> None:
    one, other = file.create("a", ["*"]), file.create("b", ["*"])
    assert one != other
    assert one.startswith("kpi_")
    assert len(one) == len("kpi_") + 43  # 32 bytes in base64


def test_the_star_allows_every_scope(file: TokenFile) -> None:
    token = file.find(file.create("all", ["*"]))
    assert token is not None
    assert token.allows("hiring")


def test_the_file_holds_no_token_and_only_its_owner_may_read_it(file: TokenFile) -> None:
    old_mask = os.umask(0)
    try:
        secret = file.create("Ann", ["*"])
    finally:
        os.umask(old_mask)
    written = "".join(path.read_text() for path in file.path.parent.iterdir())
    assert secret not in written
    assert secret.removeprefix("kpi_")[:16] not in written
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_could_read_is_closed_by_the_next_change(file: TokenFile) -> None:
    file.create("Ann", ["*"])
    file.path.chmod(0o644)
    file.create("Bob", ["*"])
    assert file.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("change", ["shorter", "longer", "other case", "empty", "digest"])
def test_anything_but_the_whole_token_is_unknown(file: TokenFile, change: str) -> None:
    secret = file.create("Ann", ["*"])
    wrong = {
        "shorter": secret[:-1],
        "longer": secret + "A",
        "other case": secret.swapcase(),
        "empty": "",
        "digest": read_tokens(file.path)[0].digest,
    }[change]
    assert file.find(wrong) is None
    assert file.find(secret) is not None


def test_an_expired_token_is_unknown_from_its_last_moment_on(file: TokenFile) -> None:
    secret = file.create("Ann", ["*"], in_days(1))
    (token,) = read_tokens(file.path)
    assert token.expires_at is not None
    ends = token.expires_at.timestamp()
    assert token.is_live(ends - 1)
    assert not token.is_live(ends)
    content = file.path.read_text().replace(
        json.dumps(token.expires_at.isoformat()), json.dumps(in_days(-0.001).isoformat())
    )
    file.path.write_text(content)
    assert file.find(secret) is None


def test_a_revocation_by_another_process_acts_at_once(file: TokenFile) -> None:
    secret = file.create("Ann", ["*"])
    reader = TokenFile(file.path)
    assert reader.find(secret) is not None
    revoked = file.revoke("Ann")
    assert revoked.revoked_at is not None
    assert reader.find(secret) is None


def test_a_token_made_by_another_process_is_found_at_once(file: TokenFile) -> None:
    reader = TokenFile(file.path)
    assert reader.find("kpi_unknown") is None  # there is no file yet
    assert reader.find(file.create("Ann", ["*"])) is not None


def test_a_name_is_unique_among_live_tokens_and_free_again_after_a_revocation(
    file: TokenFile,
) -> None:
    first = file.create("Ann", ["shop"])
    with pytest.raises(NameTakenError, match="revoke Ann"):
        file.create("Ann", ["*"])
    file.revoke("Ann")
    second = file.create("Ann", ["*"])
    assert file.find(first) is None
    assert file.find(second) is not None
    with pytest.raises(TokenRefusedError, match="no valid token"):
        file.revoke("Bob")


@pytest.mark.parametrize(
    ("name", "scopes", "days", "limit", "reason"),
    [
        ("", ["*"], 1, None, "a name has"),
        ("a\nb", ["*"], 1, None, "a name has"),
        ("a" * 65, ["*"], 1, None, "a name has"),
        ("Ann", [], 1, None, "needs a scope"),
        ("Ann", ["shops"], 1, None, "no scope 'shops'"),
        ("Ann", ["*"], -1, None, "is over already"),
        ("Ann", ["*"], 1, "many", "give a limit"),
    ],
)
def test_a_token_that_cannot_be_is_refused_and_nothing_is_written(
    file: TokenFile, name: str, scopes: list[str], days: float, limit: str | None, reason: str
) -> None:
    with pytest.raises(TokenRefusedError, match=reason):
        file.create(name, scopes, in_days(days), limit)
    assert not file.path.exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 2, "tokens": []}',
        '{"format": 1, "tokens": [{}]}',
        "[" * 100_000,
    ],
)
def test_a_broken_file_lets_nobody_in_until_it_is_mended(file: TokenFile, content: str) -> None:
    secret = file.create("Ann", ["*"])
    good = file.path.read_text()
    assert file.find(secret) is not None
    file.path.write_text(content)
    for _ in range(2):
        with pytest.raises(TokensError, match="is not a file of tokens"):
            file.find(secret)
    with pytest.raises(TokensError):
        file.create("Bob", ["*"])
    assert file.path.read_text() == content  # and it is not overwritten
    file.path.write_text(good)
    assert file.find(secret) is not None


@pytest.mark.parametrize("member", ["expires_at", "revoked_at", "scopes", "limit", "sha256"])
def test_an_entry_without_a_member_is_refused_and_not_taken_for_a_wider_one(
    file: TokenFile, member: str
) -> None:
    secret = file.create("Ann", ["shop"], in_days(1))
    content = json.loads(file.path.read_text())
    del content["tokens"][0][member]
    file.path.write_text(json.dumps(content))
    with pytest.raises(TokensError):
        file.find(secret)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "5 per year", "*"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("name", "sha256", "scopes", "created_at", "expires_at", "revoked_at", "limit")


def entry(**changes: object) -> dict[str, object]:
    return {
        "name": "Ann",
        "sha256": "0" * 64,
        "scopes": ["shop"],
        "created_at": "2026-01-01T00:00:00+00:00",
        "expires_at": None,
        "revoked_at": None,
        "limit": None,
    } | changes


ENTRIES = st.dictionaries(st.sampled_from(MEMBERS), JSON_VALUES, max_size=2).map(
    lambda changes: entry(**changes)
)
DOCUMENTS = JSON_VALUES | st.fixed_dictionaries(
    {"format": st.just(1) | JSON_VALUES, "tokens": st.lists(ENTRIES | JSON_VALUES) | JSON_VALUES}
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """An application with a file of tokens of its own, to write anything into."""
    path = tmp_path_factory.mktemp("tokens") / "tokens.json"
    return create_app(dataclasses.replace(read_settings({}), tokens=path))


def is_read(app: Flask, content: bytes) -> bool:
    """Whether this is a file of tokens; one that is not must be one clear line, by every way."""
    path = app.extensions["tokens"].path
    path.write_bytes(content)
    path.chmod(0o600)
    listed = app.test_cli_runner().invoke(args=["tokens", "list"])
    if listed.exit_code == 0:
        read_tokens(path)
        return True
    with pytest.raises(TokensError) as refused:
        read_tokens(path)
    message = str(refused.value)
    assert re.fullmatch(r"\S+ is not a file of tokens: [ -~]{5,100}\. Restore .*", message)
    assert isinstance(listed.exception, SystemExit)
    assert (listed.exit_code, listed.stderr) == (1, f"Error: {message}\n")
    return False


@given(DOCUMENTS)
@settings(max_examples=50, deadline=None)
def test_any_json_is_read_or_refused_in_one_clear_line(app: Flask, document: object) -> None:
    is_read(app, json.dumps(document).encode())


@pytest.mark.deep
@given(DOCUMENTS)
@settings(max_examples=20_000, deadline=None)
def test_much_json_is_read_or_refused_in_one_clear_line(app: Flask, document: object) -> None:
    is_read(app, json.dumps(document).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"name": "a\nb"},
        {"name": ["Ann"]},
        {"sha256": 5},
        {"sha256": "0" * 63},
        {"scopes": "shop"},
        {"scopes": ["shop", 5]},
        {"scopes": [["shop"]]},
        {"limit": 600},
        {"limit": "many"},
        {"created_at": None},
        {"created_at": 5},
        {"expires_at": "2026-01-01"},
        {"expires_at": "0001-01-01T00:00:00+14:00"},
        {"revoked_at": True},
    ],
)
def test_a_member_of_another_type_is_refused_and_named(
    app: Flask, changes: dict[str, object]
) -> None:
    good = json.dumps({"format": 1, "tokens": [entry()]}).encode()
    assert is_read(app, good)
    bad = json.dumps({"format": 1, "tokens": [entry(), entry(**changes)]}).encode()
    assert not is_read(app, bad)
    with pytest.raises(TokensError, match=f"token 2: {min(changes)} is "):
        read_tokens(app.extensions["tokens"].path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[" * 100_000, b"1" * 5_000, b'{"format": true, "tokens": []}', b"NaN"],
)
def test_what_is_no_json_is_refused_in_one_clear_line(app: Flask, content: bytes) -> None:
    assert not is_read(app, content)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o700])
def test_a_file_that_is_open_to_others_is_told_in_one_line(file: TokenFile, mode: int) -> None:
    file.create("Ann", ["*"])
    assert exposure(file.path) is None
    file.path.chmod(mode)
    app = create_app(dataclasses.replace(read_settings({}), tokens=file.path))
    told = app.test_cli_runner().invoke(args=["tokens", "list"])
    (line,) = told.stderr.splitlines()
    assert line.startswith(f"warning: {file.path} has mode 0{mode:o}")
    assert line.endswith(f"Run: chmod 600 {file.path}")


def test_without_a_file_there_is_no_warning(file: TokenFile) -> None:
    assert exposure(file.path) is None


TOKEN = "kpi_" + "Ab-_7" * 8 + "xyz"


def encoded(text: str, each: int = 1) -> str:
    """Some characters of a text, percent-encoded."""
    return "".join(
        f"%{ord(character):02x}" if number % each == 0 else character
        for number, character in enumerate(text)
    )


@given(
    st.lists(st.sampled_from([1, 2, 3, 5, 40]), max_size=4),
    st.sampled_from([str, str.upper, str.lower]),
    st.sampled_from(["", "/", "/api/v1/", "a=", "%", "%2", "%25", "\u2028"]),
    st.sampled_from(["", "/", "&b=1", "%", "%zz", " "]),
)
@settings(deadline=None)
def test_a_token_is_blotted_out_however_it_is_encoded(
    steps: list[int], cased: Callable[[str], str], before: str, after: str
) -> None:
    token = cased(TOKEN)
    text = token
    for each in steps:
        text = encoded(text, each)
    shown = without_tokens(before + text + after)
    for _ in range(30):
        assert token not in shown
        assert token[4:] not in shown
        shown = unquote(shown)


@pytest.mark.parametrize("times", [0, 1, 2, 7, 8, 9, 30])
def test_a_token_is_not_shown_however_often_it_is_encoded(times: int) -> None:
    shown = without_tokens(f"/%{'25' * times}6bpi_{TOKEN[4:]}")
    assert shown in ("/kpi_***", "***")


@pytest.mark.parametrize(
    "text", ["", "/", "/api/v1/daily_sales", "50 %", "a%20b", "/kpi_overview", "%6bpi_short", "%25"]
)
def test_what_is_no_token_stays_as_it_is(text: str) -> None:
    assert without_tokens(text) == text


def test_time_to_look_for_tokens_is_bounded() -> None:
    text = "%25" * 20_000 + "6bpi_"
    started = time.process_time()
    assert without_tokens(text) in (text, "***")
    assert time.process_time() - started < 5


def test_a_full_disk_leaves_the_old_file(file: TokenFile, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = file.create("Ann", ["*"])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("api.tokens.os.fsync", full)
    with pytest.raises(TokensError, match="No space left on device"):
        file.create("Bob", ["*"])
    assert file.find(secret) is not None
    assert [path.name for path in sorted(file.path.parent.iterdir())] == [
        ".tokens.json.lock",
        "tokens.json",
    ]


def test_tokens_survive_being_written_and_read(file: TokenFile) -> None:
    file.create("Ann", ["shop"], in_days(3), "5 per second")
    file.create("Bob", ["*"])
    file.revoke("Bob")
    before = read_tokens(file.path)
    write_tokens(file.path, before)
    assert read_tokens(file.path) == before


def test_processes_that_make_tokens_at_once_lose_none(file: TokenFile) -> None:
    program = (
        "import sys; from pathlib import Path; from api.tokens import TokenFile\n"
        "for i in range(10): TokenFile(Path(sys.argv[1])).create(f'{sys.argv[2]}-{i}', ['*'])"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", program, str(file.path), str(number)], cwd=ROOT)
        for number in range(4)
    ]
    assert [maker.wait(60) for maker in makers] == [0, 0, 0, 0]
    expected = {f"{number}-{index}" for number in range(4) for index in range(10)}
    assert {token.name for token in file.all()} == expected
