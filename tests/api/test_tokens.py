"""The file of tokens: what is in it, who may change it, and what a running server sees of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.tokens import (
    NameTakenError,
    TokenFile,
    TokenRefusedError,
    TokensError,
    read_tokens,
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
