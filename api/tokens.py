"""The file of tokens: who may read what, until when. It holds digests, never a token."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import shlex
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from api.settings import parse_limit
from warehouse.audit import SCOPES as MART_SCOPES

SCOPES = (*MART_SCOPES, "monitoring")
ALL_SCOPES = "*"
PREFIX = "kpi_"  # so that people, and scanners for leaked secrets, recognise one

_FORMAT = 1
_MEMBERS = frozenset(
    ("name", "sha256", "scopes", "created_at", "expires_at", "revoked_at", "limit")
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")
_LOOKS_LIKE_A_TOKEN = re.compile(PREFIX + r"[A-Za-z0-9_-]{32,}", re.IGNORECASE)
_MAX_BYTES = 16 * 1024**2  # of the file
_TIMES_ENCODED = 8  # how often a text may be percent-encoded and is still shown

_log = logging.getLogger("api")


class TokensError(Exception):
    """The file of tokens cannot be read or written; the message is one line for people."""


class TokenRefusedError(Exception):
    """A token that cannot be made or revoked as asked; the message is one line for people."""


class NameTakenError(TokenRefusedError):
    """A live token has this name already."""


@dataclass(frozen=True)
class Token:
    """What the file knows about one token.

    Attributes:
        name: what people call it; one live token has it.
        digest: SHA-256 of the token, in hex.
        scopes: what it may read; `*` is everything.
        created_at: when it was made.
        expires_at: when it ends to be valid; None: never.
        revoked_at: when it was revoked; None: it was not.
        limit: its own rate limit; None: the default.
    """

    name: str
    digest: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    limit: str | None = None

    def allows(self, scope: str) -> bool:
        """Whether this token may read what needs the scope."""
        return scope in self.scopes or ALL_SCOPES in self.scopes

    def is_live(self, at: float | None = None) -> bool:
        """Whether the token is neither expired nor revoked, now or at a time of the epoch."""
        if self.revoked_at is not None:
            return False
        return self.expires_at is None or self.expires_at.timestamp() > (at or time.time())


def digest_of(secret: str) -> str:
    """The SHA-256 of a token, in hex; 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def without_tokens(text: str) -> str:
    """The text with whatever looks like a token blotted out, for logs and error bodies.

    In any case of its letters, and percent-encoded, once or several times: such a text is shown
    decoded. One that is encoded more often than anybody does is not shown at all.
    """
    if "%" not in text and PREFIX not in text.lower():
        return text
    decoded = text
    for _ in range(_TIMES_ENCODED):
        if _LOOKS_LIKE_A_TOKEN.search(decoded):
            return _LOOKS_LIKE_A_TOKEN.sub(f"{PREFIX}***", decoded)
        before, decoded = decoded, unquote(decoded)
        if decoded == before:
            return text
    return "***"


def redacted(value: Any) -> Any:
    """A value of JSON with every text in it `without_tokens`, names of members too."""
    if isinstance(value, str):
        return without_tokens(value)
    if isinstance(value, Mapping):
        return {without_tokens(str(name)): redacted(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value


class TokenFile:
    """The tokens in a JSON file, read anew whenever the file changes.

    Args:
        path: the file; it need not exist: then there are no tokens.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it is read at first use."""
        self.path = path
        self._lock = threading.Lock()
        self._stamp: object = ()
        self._by_digest: dict[str, Token] = {}
        self._error: str | None = None

    def find(self, secret: str) -> Token | None:
        """The live token that this secret is, or None.

        A lookup by digest in a dict takes a time that depends on the digest, but who times it
        learns at most something about the SHA-256 of his own guess, which he knows. The comparison
        that decides takes constant time all the same.

        Raises:
            TokensError: the file cannot be read. Nobody is let in then.
        """
        self._refresh()
        if self._error is not None:
            raise TokensError(self._error)
        digest = digest_of(secret)
        token = self._by_digest.get(digest)
        if token is None or not hmac.compare_digest(token.digest, digest):
            return None
        return token if token.is_live() else None

    def all(self) -> list[Token]:
        """Every token of the file, in the order they were made.

        Raises:
            TokensError: the file cannot be read.
        """
        return read_tokens(self.path)

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        expires_at: datetime | None = None,
        limit: str | None = None,
    ) -> str:
        """Make a token and write it to the file.

        Args:
            name: what people call it; no live token may have it.
            scopes: names of `SCOPES`, or `*`.
            expires_at: when it ends to be valid; None: never.
            limit: its own rate limit; None: the default.

        Returns:
            The token itself. It is nowhere else: the file holds its digest.

        Raises:
            NameTakenError: a live token has this name.
            TokenRefusedError: such a token cannot be.
            TokensError: the file cannot be read or written.
        """
        now = datetime.now(UTC)
        asked = frozenset(scopes)
        _check(name, asked, expires_at, limit, now)
        secret = PREFIX + secrets.token_urlsafe(32)
        token = Token(name, digest_of(secret), asked, now, expires_at, None, limit)
        with self._changing() as tokens:
            if any(other.name == name and other.is_live() for other in tokens):
                raise NameTakenError(
                    f"there is a token named {name!r} already. Choose another name, or revoke it: "
                    f"flask --app api tokens revoke {_quoted(name)}"
                )
            tokens.append(token)
        return secret

    def revoke(self, name: str) -> Token:
        """Revoke the live token of this name.

        Returns:
            The token as it is now.

        Raises:
            TokenRefusedError: no live token has this name.
            TokensError: the file cannot be read or written.
        """
        with self._changing() as tokens:
            for index, token in enumerate(tokens):
                if token.name == name and token.is_live():
                    tokens[index] = replace(token, revoked_at=datetime.now(UTC))
                    return tokens[index]
            raise TokenRefusedError(
                f"no valid token is named {name!r}. See: flask --app api tokens list"
            )

    def _refresh(self) -> None:
        """Read the file when it changed: one stat a request, so that a revocation acts at once."""
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return
        with self._lock:
            if stamp == self._stamp:
                return
            try:
                tokens, error = read_tokens(self.path), None
            except TokensError as unreadable:
                tokens, error = [], str(unreadable)
                _log.error(error, extra={"event": "tokens_unreadable"})
            self._by_digest = {token.digest: token for token in tokens}
            self._error = error
            # Taken before the file was read: a change in between is seen by the next request.
            self._stamp = stamp

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        """The tokens, to change in place; written when the block ends without an error.

        The lock is a file of its own, since the file of tokens is replaced, not rewritten.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_name(f".{self.path.name}.lock").open("w")
        except OSError as error:
            raise TokensError(f"{self.path} cannot be written: {error.strerror}") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = read_tokens(self.path)
            yield tokens
            try:
                write_tokens(self.path, tokens)
            except OSError as error:
                raise TokensError(f"{self.path} cannot be written: {error.strerror}") from None


def read_tokens(path: Path) -> list[Token]:
    """The tokens of a file, none when there is no file.

    Raises:
        TokensError: the file is there and is not a file of tokens; the message says why.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TokensError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return _read(content)
    except _WrongError as error:
        raise TokensError(
            f"{path} is not a file of tokens: {error}. Restore it from a backup, or move it away "
            "and make new tokens"
        ) from None


def exposure(path: Path) -> str | None:
    """Who else may read or change the file, as one line for people; None: its owner alone."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:  # there is no file, or whoever reads it will say what is wrong
        return None
    if not mode & 0o177:
        return None
    return (
        f"{path} has mode {mode:04o}: others may read or change who is let in. "
        f"Run: chmod 600 {shlex.quote(str(path))}"
    )


def write_tokens(path: Path, tokens: Iterable[Token]) -> None:
    """Replace the file at once, readable by its owner only.

    Raises:
        OSError: the file cannot be written; the old one is still there.
    """
    content = {"format": _FORMAT, "tokens": [_to_json(token) for token in tokens]}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a process that was killed; its mode may be wider
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # or the old file may be back after a power cut, with what was revoked
    finally:
        os.close(folder)


def _stamp(path: Path) -> object:
    try:
        status = os.stat(path)  # noqa: PTH116 - on every request, and Path.stat costs twice as much
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.errno
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size, status.st_mode


def _check(
    name: str, scopes: frozenset[str], expires_at: datetime | None, limit: str | None, now: datetime
) -> None:
    if not _NAME.fullmatch(name):
        raise TokenRefusedError(
            "a name has up to 64 letters, digits, spaces and . _ @ -, and starts with a letter or "
            "a digit"
        )
    unknown = sorted(scopes - {*SCOPES, ALL_SCOPES})
    if unknown or not scopes:
        reason = f"there is no scope {unknown[0]!r}" if unknown else "a token needs a scope"
        raise TokenRefusedError(f"{reason}. Scopes: {', '.join(SCOPES)}, or * for all")
    if expires_at is not None and expires_at <= now:
        raise TokenRefusedError(f"{expires_at:%Y-%m-%d %H:%M} UTC is over already")
    if limit is not None:
        try:
            parse_limit(limit)
        except ValueError as error:
            raise TokenRefusedError(str(error)) from None


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


def _to_json(token: Token) -> dict[str, Any]:
    def text(at: datetime | None) -> str | None:
        return at.isoformat() if at else None

    return {
        "name": token.name,
        "sha256": token.digest,
        "scopes": sorted(token.scopes),
        "created_at": text(token.created_at),
        "expires_at": text(token.expires_at),
        "revoked_at": text(token.revoked_at),
        "limit": token.limit,
    }


class _WrongError(Exception):
    """What is wrong with the content of a file of tokens, in few words."""


def _read(content: bytes) -> list[Token]:
    """The tokens of the content of a file.

    Raises:
        _WrongError: it is no such content.
    """
    if len(content) > _MAX_BYTES:
        raise _WrongError("it is too large")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise _WrongError("it is not JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("tokens"), list):
        raise _WrongError('it is no object with a list of "tokens"')
    version = document.get("format")
    if isinstance(version, bool) or version != _FORMAT:
        raise _WrongError(f'its "format" is not {_FORMAT}')
    tokens = []
    for number, entry in enumerate(document["tokens"], start=1):
        try:
            tokens.append(_from_json(entry))
        except _WrongError as error:
            raise _WrongError(f"token {number}: {error}") from None
    return tokens


def _from_json(entry: object) -> Token:
    if not isinstance(entry, dict):
        raise _WrongError("it is no object")
    missing = _MEMBERS - entry.keys()  # a missing end must not become "never"
    if missing:
        raise _WrongError(f"{min(missing)} is missing")
    name, digest, scopes, limit = (entry[key] for key in ("name", "sha256", "scopes", "limit"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _WrongError("name is no name")
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise _WrongError("sha256 is no digest")
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise _WrongError("scopes is no list of texts")
    if limit is not None:
        try:
            limit = parse_limit(limit)
        except (ValueError, TypeError, AttributeError):
            raise _WrongError("limit is no limit") from None
    created_at = _moment(entry, "created_at")
    if created_at is None:
        raise _WrongError("created_at is null")
    return Token(
        name=name,
        digest=digest,
        scopes=frozenset(scopes),
        created_at=created_at,
        expires_at=_moment(entry, "expires_at"),
        revoked_at=_moment(entry, "revoked_at"),
        limit=limit,
    )


def _moment(entry: Mapping[str, Any], key: str) -> datetime | None:
    value = entry[key]
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        raise _WrongError(f"{key} is no time with its time zone") from None
