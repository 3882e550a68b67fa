"""Answers: made once for a version and a question, then kept, with an ETag."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cachetools import LRUCache
from flask import Response, g, request

from api import formats
from api.catalog import Catalog, Mart
from api.formats import ARROW, CSV, JSON, PARQUET, Format
from api.query import Condition, PageQuery, order_by, quoted
from api.safety import add_headers
from api.snapshots import Snapshot, SnapshotStore
from api.tokens import Token

# Part of every ETag: raise it when the same question gets another answer from the same snapshot.
SHAPE = 1

_ALIASES = 8192  # spellings that are remembered; some 2 MB, as a digest has one size


@dataclass(frozen=True)
class Answer:
    """A finished answer; it never changes, since its snapshot does not.

    Attributes:
        version: of the snapshot.
        suffix: the format.
        etag: with its quotes.
        headers: all that the answer itself determines, but its type and length.
        body: the bytes.
    """

    version: str
    suffix: str
    etag: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class Key:
    """What an answer depends on.

    Attributes:
        version: of the snapshot.
        resource: which resource, such as `marts/daily_sales`.
        question: the normalised query.
        suffix: the format.
        scopes: of the token, where rows depend on them; else none.
    """

    version: str
    resource: str
    question: str
    suffix: str
    scopes: tuple[str, ...] = ()

    def etag(self) -> str:
        """A strong validator: the same key gives the same bytes."""
        text = repr((SHAPE, self.version, self.resource, self.question, self.suffix, self.scopes))
        return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def alias_of(*spelling: object) -> bytes:
    """The digest of how a request is spelled; nothing that a client wrote is kept itself."""
    return hashlib.blake2b(repr(spelling).encode(), digest_size=16).digest()


class AnswerCache:
    """The answers used last, up to a number of bytes.

    A request that is spelled exactly like an earlier one is found by its spelling (its alias),
    without being parsed; other spellings of the same question are found by their ETag. Both are
    digests: what is kept beside the answers does not grow with what clients send.

    Args:
        max_bytes: of the answers; a larger one is not kept.
    """

    _OVERHEAD = 1024  # bytes of an answer beside its texts

    def __init__(self, max_bytes: int) -> None:
        """Keep nothing yet."""
        self._answers: LRUCache[str, Answer] = LRUCache(max_bytes, getsizeof=self._size)
        self._aliases: LRUCache[bytes, str] = LRUCache(_ALIASES)
        self._lock = threading.Lock()

    def spelled(self, alias: bytes) -> Answer | None:
        """The answer to a request that was spelled like this before."""
        with self._lock:
            etag = self._aliases.get(alias)
            return None if etag is None else self._answers.get(etag)

    def find(self, etag: str, alias: bytes) -> Answer | None:
        """The answer with this ETag; the alias will find it too from now on."""
        with self._lock:
            answer = self._answers.get(etag)
            if answer is not None:
                self._aliases[alias] = answer.etag
            return answer

    def keep(self, alias: bytes, answer: Answer) -> None:
        """Keep an answer, and let go of those not used for longest."""
        with self._lock:
            if self._size(answer) <= self._answers.maxsize:
                self._answers[answer.etag] = answer
                self._aliases[alias] = answer.etag

    def _size(self, answer: Answer) -> int:
        headers = sum(len(name) + len(value) for name, value in answer.headers)
        return len(answer.body) + headers + self._OVERHEAD


@dataclass(frozen=True)
class Question:
    """A request that was understood: its key, and how its body is made when it is not kept.

    Attributes:
        key: what the answer depends on.
        make: makes the body and the headers that belong to it.
        is_lasting: whether the key says all that it depends on; false where the time does too.
    """

    key: Key
    make: Callable[[], tuple[bytes, Mapping[str, str]]]
    is_lasting: bool = True


def respond(cache: AnswerCache, alias: bytes, catalog: Catalog, question: Question) -> Response:
    """Answer a question from the cache, by 304, or anew."""
    key = question.key
    if not question.is_lasting:
        body, headers = question.make()
        return send_unkept(body, key.suffix, (*_snapshot_headers(catalog), *headers.items()))
    etag = key.etag()
    answer = cache.find(etag, alias)
    if answer is not None:
        return send(answer, "hit")
    if client_has(etag):
        return send(Answer(key.version, key.suffix, etag, _headers(catalog, etag), b""), "miss")
    body, headers = question.make()
    all_headers = (*_headers(catalog, etag), *headers.items())
    answer = Answer(key.version, key.suffix, etag, all_headers, body)
    cache.keep(alias, answer)
    return send(answer, "miss")


def send(answer: Answer, cache: str) -> Response:
    """The response with an answer, or 304 when the client has it."""
    g.version = answer.version
    add_headers(answer.headers)
    if client_has(answer.etag):
        g.cache = "304"
        return Response(status=304)
    g.cache = cache
    return Response(answer.body, content_type=_MEDIA_TYPES[answer.suffix])


def send_unkept(body: bytes, suffix: str, headers: Iterable[tuple[str, str]]) -> Response:
    """The response with an answer that may be another one next time; it has no ETag.

    Args:
        body: the bytes.
        suffix: the format.
        headers: all that the answer itself determines, but its type and length.
    """
    add_headers((("Cache-Control", "no-store"), *headers))
    g.cache = "miss"
    return Response(body, content_type=_MEDIA_TYPES[suffix])


def client_has(etag: str) -> bool:
    """Whether If-None-Match names this ETag, with its quotes, or any.

    Looking for one text in another takes a time that grows with both, however the header is made.
    """
    given = request.environ.get("HTTP_IF_NONE_MATCH")
    return given is not None and (etag in given or given.strip() == "*")


_MEDIA_TYPES = {
    shape.suffix: shape.media_type + ("; charset=utf-8" if shape is CSV else "")
    for shape in formats.FORMATS
}


def _headers(catalog: Catalog, etag: str) -> tuple[tuple[str, str], ...]:
    return (
        ("ETag", etag),
        ("Cache-Control", "private, no-cache"),
        ("Vary", "Accept, Authorization"),
        *_snapshot_headers(catalog),
    )


def _snapshot_headers(catalog: Catalog) -> tuple[tuple[str, str], ...]:
    return (
        ("X-Snapshot-Version", catalog.version),
        ("X-Snapshot-Published-At", catalog.published_at_text),
    )


# ---------------------------------------------------------------------------- pages of rows


def page_question(
    store: SnapshotStore,
    snapshot: Snapshot,
    resource: str,
    query: PageQuery,
    shape: Format,
    token: Token,
) -> Question:
    """A page of a mart's rows as a question.

    Args:
        store: runs the query.
        snapshot: the snapshot to read.
        resource: the path that is answered, for the key.
        query: the page.
        shape: the format of the answer.
        token: whose scopes say which rows are shown, where the mart has a `row_scope`.
    """
    mart = query.mart
    allowed, scopes = rows_allowed(mart, token)

    def make() -> tuple[bytes, Mapping[str, str]]:
        return _page(store, snapshot, query, shape, allowed)

    key = Key(snapshot.version, resource, query.key, shape.suffix, scopes)
    return Question(key, make)


def rows_allowed(mart: Mart, token: Token | None) -> tuple[Condition, tuple[str, ...]]:
    """The rows of a mart that a token may see, and the scopes this depends on.

    Args:
        mart: the mart, whose own scope was asked for already.
        token: who asks; None: anybody.
    """
    if mart.row_scope is None or (token is not None and token.allows("*")):
        return Condition("true"), ()
    if token is None:
        return Condition("false"), ()
    scopes = tuple(sorted(token.scopes))
    places = ", ".join("?" * len(scopes))
    return Condition(f"{quoted(mart.row_scope)} in ({places})", scopes), scopes


def _page(
    store: SnapshotStore, snapshot: Snapshot, query: PageQuery, shape: Format, allowed: Condition
) -> tuple[bytes, Mapping[str, str]]:
    mart = query.mart
    columns = [mart.columns[name] for name in query.columns]
    shown = formats.select_list(columns, shape)
    keys = [f'cast({quoted(term.column)} as varchar) as "key {term}"' for term in query.order]
    where = query.where()
    order = "" if snapshot.has_order(mart, query.order) else order_by(query.order)
    # The page first, then its text: or every row of the mart would be written before the sort.
    # DuckDB keeps the order of a sorted, limited subquery.
    sql = (
        f"select {', '.join([shown, *keys])} from (select * from {quoted(mart.name)}"
        f" where ({allowed.sql}) and ({where.sql})"
        f" {order} limit {query.limit + 1})"
    )
    values = allowed.values + where.values

    following = None
    if shape in (ARROW, PARQUET):
        table = store.arrow(snapshot, sql, values)
        if table.num_rows > query.limit:
            last = table.slice(query.limit - 1, 1)
            following = query.next_cursor(
                snapshot.version, [last[f"key {term}"][0].as_py() for term in query.order]
            )
        page = table.slice(0, query.limit).select(range(len(columns)))
        body = formats.table_as_bytes(page, shape)
    else:
        width = 1 if shape is JSON else len(columns)
        rows = store.rows(snapshot, sql, values)
        if len(rows) > query.limit:
            following = query.next_cursor(snapshot.version, rows[query.limit - 1][width:])
            del rows[query.limit :]
        if shape is JSON:
            body = formats.rows_as_json(
                [row[0] for row in rows], formats.meta(snapshot.catalog, following)
            )
        else:
            body = formats.rows_as_csv(query.columns, [row[:width] for row in rows])
    return body, page_headers(mart.name, snapshot.version, shape, following)


def page_headers(name: str, version: str, shape: Format, following: str | None) -> dict[str, str]:
    """The headers of an answer that its shape and its place among the pages determine."""
    headers = {} if following is None else {"X-Next-Cursor": following}
    return headers | file_headers(f"{name}-{version}", shape)


def file_headers(name: str, shape: Format) -> dict[str, str]:
    """The headers that name the file of an answer, where it is one; JSON is none."""
    if shape is JSON:
        return {}
    return {"Content-Disposition": f'attachment; filename="{name}.{shape.suffix}"'}
