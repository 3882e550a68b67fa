"""Answers: made once for a version and a question, then kept, with an ETag."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cachetools import LRUCache
from flask import Response, g, request

from api import formats
from api.catalog import Catalog, Column, Mart
from api.formats import ARROW, CSV, EXCEL, JSON, PARQUET, Format
from api.query import Condition, PageQuery, order_by, quoted
from api.safety import add_headers
from api.snapshots import Snapshot, SnapshotStore
from api.tokens import Token

# Part of every ETag: raise it when the same question gets another answer from the same snapshot.
SHAPE = 2

# Of a file that has not all rows: who saves it looks at no cursor.
TRUNCATED = {"X-Truncated": "true"}

_ALIASES = 8192  # spellings that are remembered; some 4 MB at most
_SHORT = 256  # characters of a spelling that is remembered as it is; a digest costs 10 us


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


Alias = tuple[str | frozenset[str], ...] | bytes


def alias_of(version: str, resource: str, query: str, accept: str, scopes: frozenset[str]) -> Alias:
    """How a request is spelled; as a digest where that is long, so that it has a bounded size."""
    if len(resource) + len(query) + len(accept) <= _SHORT:
        return version, resource, query, accept, scopes
    spelling = repr((version, resource, query, accept, sorted(scopes)))
    return hashlib.blake2b(spelling.encode(), digest_size=16).digest()


class AnswerCache:
    """The answers used last, up to a number of bytes.

    A request that is spelled exactly like an earlier one is found by its spelling (its alias),
    without being parsed; other spellings of the same question are found by their ETag. What
    is kept beside the answers is bounded, however much clients send.

    Args:
        max_bytes: of the answers; a larger one is not kept.
    """

    _OVERHEAD = 1024  # bytes of an answer beside its texts

    def __init__(self, max_bytes: int) -> None:
        """Keep nothing yet."""
        self._answers: LRUCache[str, Answer] = LRUCache(max_bytes, getsizeof=self._size)
        self._aliases: LRUCache[Alias, str] = LRUCache(_ALIASES)
        self._lock = threading.Lock()

    def spelled(self, alias: Alias) -> Answer | None:
        """The answer to a request that was spelled like this before."""
        with self._lock:
            etag = self._aliases.get(alias)
            return None if etag is None else self._answers.get(etag)

    def find(self, etag: str, alias: Alias) -> Answer | None:
        """The answer with this ETag; the alias will find it too from now on."""
        with self._lock:
            answer = self._answers.get(etag)
            if answer is not None:
                self._aliases[alias] = answer.etag
            return answer

    def keep(self, alias: Alias, answer: Answer) -> None:
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


def respond(cache: AnswerCache, alias: Alias, catalog: Catalog, question: Question) -> Response:
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
    shape.suffix: shape.media_type + ("; charset=utf-8" if shape in (CSV, EXCEL) else "")
    for shape in (*formats.FORMATS, EXCEL)
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
        *((("X-Snapshot-Contains-Sample", "true"),) if catalog.sample_data else ()),
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

    asked = f"{query.key} {store.page_bytes}"
    return Question(Key(snapshot.version, resource, asked, shape.suffix, scopes), make)


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


@dataclass(frozen=True)
class _Page:
    """Rows of a page in their format, and what the answer says beside them.

    Attributes:
        body: the bytes.
        rows: how many it has.
        following: the cursor of the next page; None: there is none.
    """

    body: bytes
    rows: int
    following: str | None


def _page(
    store: SnapshotStore, snapshot: Snapshot, query: PageQuery, shape: Format, allowed: Condition
) -> tuple[bytes, Mapping[str, str]]:
    """A page that ends before it has too many bytes; one row that has them by itself is cut."""
    most = store.page_bytes
    count, is_last = query.limit, None
    if _widest(store, snapshot, query) * query.limit > most:
        count, is_last = _rows_that_fit(store, snapshot, query, allowed)
    page = None
    if count > 0:
        page = _read_page(store, snapshot, query, shape, allowed, count, is_last)
        while len(page.body) > most and page.rows > 1:  # it is longer than what it is made of
            count = max(1, min(page.rows - 1, page.rows * most // len(page.body)))
            page = _read_page(store, snapshot, query, shape, allowed, count, is_last=False)
    headers: dict[str, str] = {}
    if page is None or (page.rows == 1 and len(page.body) > most):
        longest = most // _BYTES_OF_A_CHARACTER // max(1, len(_texts(query)))
        cut = _longer_than(store, snapshot, query, allowed, longest)
        page = _read_page(store, snapshot, query, shape, allowed, 1, None, longest, cut)
        headers = {"X-Truncated": "true", "X-Cut-Columns": ", ".join(map(quote, cut))}
    about = page_headers(query.mart.name, snapshot.version, shape, page.following)
    return page.body, about | headers


# In JSON a character takes up to six bytes; two are for what stands around it.
_BYTES_OF_A_CHARACTER = 8


def _texts(query: PageQuery) -> list[Column]:
    """The columns of a page whose values may have any length."""
    columns = (query.mart.columns[name] for name in query.columns)
    return [column for column in columns if formats.is_text(column)]


def _rows_of(
    snapshot: Snapshot, query: PageQuery, allowed: Condition, shown: str, limit: int
) -> tuple[str, tuple[object, ...]]:
    """The query of the first rows of a page, and its values.

    What is to be shown is made of those rows alone, or it would be made of every row of the mart
    before the sort. DuckDB keeps the order of a sorted, limited subquery.
    """
    where = query.where()
    order = "" if snapshot.has_order(query.mart, query.order) else order_by(query.order)
    sql = (
        f"select {shown} from (select * from {quoted(query.mart.name)}"
        f" where ({allowed.sql}) and ({where.sql}) {order} limit {limit})"
    )
    return sql, allowed.values + where.values


def _widest(store: SnapshotStore, snapshot: Snapshot, query: PageQuery) -> int:
    """A number of bytes that no row of a page exceeds, before it is written in a format.

    Looks at each text column once for a snapshot, however many pages are asked for.
    """
    known = snapshot.widths.get(query.mart.name)
    if known is None:
        texts = [column for column in query.mart.columns.values() if formats.is_text(column)]
        sizes = ", ".join(f"max({formats.size_sql(column)})" for column in texts)
        name = quoted(query.mart.name)
        (found,) = store.rows(snapshot, f"select {sizes} from {name}", []) if texts else ((),)
        known = {column.name: size or 0 for column, size in zip(texts, found, strict=True)}
        snapshot.widths[query.mart.name] = known
    return sum(known.get(name, formats.BYTES_OF_A_NUMBER) for name in query.columns)


def _rows_that_fit(
    store: SnapshotStore, snapshot: Snapshot, query: PageQuery, allowed: Condition
) -> tuple[int, bool | None]:
    """How many rows of a page have no more bytes than one may, and whether they are the last.

    Returns:
        0 and None when the first row has too many by itself.
    """
    texts = _texts(query)
    fixed = formats.BYTES_OF_A_NUMBER * (len(query.columns) - len(texts))
    size = " + ".join([str(fixed), *(formats.size_sql(column) for column in texts)])
    where = query.where()
    # Sizes before the sort: it need not carry the texts.
    terms = "".join(f", {quoted(term.column)}" for term in query.order)
    order = "" if snapshot.has_order(query.mart, query.order) else order_by(query.order)
    rows = store.rows(
        snapshot,
        f'select "bytes of a row" from (select {size} as "bytes of a row"{terms}'
        f" from {quoted(query.mart.name)} where ({allowed.sql}) and ({where.sql}))"
        f" {order} limit {query.limit + 1}",
        allowed.values + where.values,
    )
    if not rows:
        return query.limit, True
    total = count = 0
    for (size_of_row,) in rows[: query.limit]:
        total += size_of_row
        if total > store.page_bytes:
            break
        count += 1
    return count, count == len(rows) if count else None


def _longer_than(
    store: SnapshotStore, snapshot: Snapshot, query: PageQuery, allowed: Condition, longest: int
) -> list[str]:
    """The columns whose value in the first row of a page is cut at so many characters."""
    texts = _texts(query)
    flags = ", ".join(
        f"{formats.cut_sql(column, longest)} is distinct from {quoted(column.name)}"
        for column in texts
    )
    (row,) = store.rows(snapshot, *_rows_of(snapshot, query, allowed, flags, 1))
    return [column.name for column, is_cut in zip(texts, row, strict=True) if is_cut]


def _read_page(
    store: SnapshotStore,
    snapshot: Snapshot,
    query: PageQuery,
    shape: Format,
    allowed: Condition,
    count: int,
    is_last: bool | None,
    longest: int = 0,
    cut: Sequence[str] = (),
) -> _Page:
    """The first rows of a page, in their format.

    Args:
        store: runs the query.
        snapshot: the snapshot to read.
        query: the page.
        shape: the format.
        allowed: the rows that may be shown.
        count: how many rows.
        is_last: whether no row comes after them; None: to be found out, by reading one more.
        longest: characters at which texts are cut; 0: they are whole.
        cut: the columns that are cut, to be told.
    """
    columns = [query.mart.columns[name] for name in query.columns]
    shown = formats.select_list(columns, shape, longest)
    keys = [f'cast({quoted(term.column)} as varchar) as "key {term}"' for term in query.order]
    sql, values = _rows_of(
        snapshot, query, allowed, ", ".join([shown, *keys]), count + (is_last is None)
    )
    following = None
    if shape in (ARROW, PARQUET):
        table = store.arrow(snapshot, sql, values)
        read = table.num_rows
        if (read > count) if is_last is None else not is_last:
            last = table.slice(min(read, count) - 1, 1)
            following = query.next_cursor(
                snapshot.version, [last[f"key {term}"][0].as_py() for term in query.order]
            )
        page = table.slice(0, count).select(range(len(columns)))
        return _Page(formats.table_as_bytes(page, shape), page.num_rows, following)
    width = 1 if shape is JSON else len(columns)
    rows = store.rows(snapshot, sql, values)
    if (len(rows) > count) if is_last is None else not is_last:
        following = query.next_cursor(snapshot.version, rows[min(len(rows), count) - 1][width:])
    del rows[count:]
    if shape is JSON:
        about: dict[str, Any] = {**formats.meta(snapshot.catalog, following)}
        if cut:
            about["cut"] = cut
        body = formats.rows_as_json([row[0] for row in rows], about)
    else:
        body = formats.rows_as_csv(columns, [row[:width] for row in rows], shape)
    return _Page(body, len(rows), following)


def page_headers(name: str, version: str, shape: Format, following: str | None) -> dict[str, str]:
    """The headers of an answer that its shape and its place among the pages determine."""
    headers = {} if following is None else {"X-Next-Cursor": following}
    if following is not None and shape is not JSON:
        headers |= TRUNCATED
    return headers | file_headers(f"{name}-{version}", shape)


def file_headers(name: str, shape: Format) -> dict[str, str]:
    """The headers that name the file of an answer, where it is one; JSON is none."""
    if shape is JSON:
        return {}
    return {"Content-Disposition": f'attachment; filename="{name}.{shape.suffix}"'}
