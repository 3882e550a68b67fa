"""What clients may cost: memory, time and connections, whatever they send or leave out."""

from __future__ import annotations

import csv
import hashlib
import http.client
import io
import itertools
import re
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_etags

from api import answers as kept_answers
from api import connections
from api.answers import AnswerCache, alias_of, client_has
from api.connections import Guard
from api.formats import FORMATS, _accepted, negotiate
from api.limits import Budgets
from api.problems import Problem
from api.query import Parameters, read_version
from api.safety import MAX_HEADERS
from api.settings import Settings
from tests.api.server import Answer, Server
from tests.api.support import (
    NO_LIMITS,
    SUFFIXES,
    Api,
    as_problem,
    parsed,
    publish_again,
    read_csv,
    serving,
    wait_until,
)
from tests.support import ROOT, Project
from warehouse.published import PublishedFolder

HOST = "127.0.0.1"
NO_SCOPES: frozenset[str] = frozenset()
GET = b"GET /health HTTP/1.1\r\n"
POST = b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n"


def worker_of(server: Server) -> int:
    """The process that answers."""
    task = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    (worker,) = [
        int(pid)
        for pid in task.read_text().split()
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return worker


def memory_of(process: int) -> int:
    """Bytes of memory that a process has."""
    (pages,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(pages) * 1024


# ---------------------------------------------------------------------------- headers


@pytest.mark.parametrize("name", ["Accept", "X-Anything", "If-None-Match", "Cookie", "User-Agent"])
def test_headers_that_are_too_large_are_a_problem(name: str, api: Api) -> None:
    for size in (MAX_HEADERS, 2 * MAX_HEADERS, 60_000):
        answer = api.get("daily_sales", headers={name: "a" * size})
        as_problem(answer, 431, "headers-too-large")


def test_many_small_headers_are_as_large_as_one(api: Api) -> None:
    few = {f"X-{number}": "a" * 100 for number in range(60)}
    many = {f"X-{number}": "a" * 200 for number in range(60)}
    assert api.get("daily_sales", headers=few).status == 200
    as_problem(api.get("daily_sales", headers=many), 431, "headers-too-large")


def test_what_no_client_needs_is_refused_before_it_is_kept(api: Api) -> None:
    """Beyond 64 KB granian answers itself: it must not hold more of one connection."""
    for size in (100_000, 380_000, 2_000_000):
        try:
            assert api.get("daily_sales", headers={"Accept": "a" * size}).status == 431
            assert api.get("/" + "a" * size).status in (414, 431)
        except (BrokenPipeError, ConnectionResetError):
            continue  # it hung up before all was sent
    assert api.get("/health").status == 200


def test_memory_does_not_grow_by_what_clients_send(api: Api) -> None:
    """Each request is another one in its headers or its query, and as large as it may be."""
    token = api.token("*")
    worker = worker_of(api.server)
    connection = http.client.HTTPConnection(HOST, api.server.port, timeout=30)
    numbers = itertools.count()

    def ask(count: int) -> None:
        for _ in range(count):
            text = f"{next(numbers):09d}"
            for path, headers in (
                ("daily_sales?limit=1", {"Accept": f"*/*, {text * 700}"}),
                ("daily_sales?limit=1", {"Accept": f"*/*, {text * 40_000}"[:60_000]}),
                (f"marts/product_metrics?limit=1&name={text * 800}", {}),
                ("daily_sales?limit=1", {"If-None-Match": f'"{text * 700}"'}),
                (f"daily_sales?limit=1&start={text * 100}", {"X-Request-Id": text * 100}),
                (text * 150, {"Accept-Encoding": text * 100, "Host": text * 20}),
                (f"marts/{text}?{text}={text}", {"Authorization": f"Bearer {text * 50}"}),
            ):
                sent = {"Authorization": f"Bearer {token}"} | headers
                connection.request("GET", f"/api/v1/{path}", headers=sent)
                answer = connection.getresponse()
                answer.read()
                assert answer.status < 500
                if answer.will_close:
                    connection.close()

    ask(40)
    before = memory_of(worker)
    ask(400)
    sent = 400 * 7 * 8_000
    assert memory_of(worker) - before < sent / 3
    connection.close()


def test_what_the_cache_holds_is_bounded_in_bytes() -> None:
    cache = AnswerCache(100_000)
    for number in range(20_000):
        headers = (("X-Next-Cursor", f"{number}" * 1_000),)
        etag = f'"{hashlib.sha256(str(number).encode()).hexdigest()[:32]}"'
        answer = kept_answers.Answer("v", "json", etag, headers, b"body")
        cache.keep(alias_of("v", "r", f"{number}" * 1_000, "", NO_SCOPES), answer)
    held = sum(
        len(answer.body) + sum(len(name) + len(value) for name, value in answer.headers)
        for answer in cache._answers.values()
    )
    assert 0 < held <= 100_000
    assert len(cache._aliases) <= 8192
    assert {len(alias) for alias in cache._aliases} == {16}
    assert {len(etag) for etag in cache._aliases.values()} == {34}


def test_two_spellings_share_no_alias() -> None:
    for filler in ("", "x" * 300):  # short ones are kept as they are, long ones as a digest
        spellings = [
            ("a", "b", filler, "", NO_SCOPES),
            ("ab", "", filler, "", NO_SCOPES),
            ("a", "", "b" + filler, "", NO_SCOPES),
            ("a", "b", "", filler, NO_SCOPES) if filler else ("a", "", "", "b", NO_SCOPES),
            ("a", "b", filler, "", frozenset({"shop"})),
            ("a", "b'", filler, "", NO_SCOPES),
        ]
        assert len({alias_of(*spelling) for spelling in spellings}) == len(spellings)


# ---------------------------------------------------------------------------- time to read them


def seconds(work: Callable[[], object]) -> float:
    """The shortest of some times that it takes this process."""
    found = []
    for _ in range(3):
        started = time.process_time()
        with suppress(Problem):
            work()
        found.append(time.process_time() - started)
    return min(found)


READERS: dict[str, Callable[[str], object]] = {
    "Accept": lambda text: negotiate("daily_sales", text),
    "If-None-Match": lambda text: _asked_with(text),
    "cursor": lambda text: read_version(Parameters([("cursor", text)])),
}


def _asked_with(text: str) -> bool:
    with Flask("test").test_request_context(headers={"If-None-Match": "x"}) as context:
        context.request.environ["HTTP_IF_NONE_MATCH"] = text
        return client_has('"0123456789abcdef"')


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "unit",
    [
        "a/b,",
        "*/*,",
        " ",
        ",",
        ", ",
        ";",
        "a/b;q=1;",
        '"',
        "\\",
        '"a", ',
        "text/csv;q=0,",
        "=",
        "W/",
    ],
)
def test_time_to_read_a_header_grows_as_its_length(reader: str, unit: str) -> None:
    """Ten times as much takes some ten times as long; a quadratic reader takes a hundred times."""
    read = READERS[reader]
    small, large = unit * (40_000 // len(unit)), unit * (400_000 // len(unit))
    assert seconds(lambda: read(large)) <= 40 * seconds(lambda: read(small)) + 0.2


QUALITIES = ["", ";q=0", ";q=0.5", ";q=1", ";q=.", "; charset=x"]
MEDIA_RANGES = [shape.media_type for shape in FORMATS] + ["*/*", "text/*", "application/*", "a/b"]


@given(st.lists(st.tuples(st.sampled_from(MEDIA_RANGES), st.sampled_from(QUALITIES))))
def test_accept_means_what_the_standard_says(ranges: list[tuple[str, str]]) -> None:
    """RFC 9110, 12.5.1, said the long way round: the most precise range has the word."""
    accept = ", ".join(name + quality for name, quality in ranges)
    liked: dict[str, float] = {}
    for shape in FORMATS:
        for wanted in (shape.media_type, shape.media_type.split("/")[0] + "/*", "*/*"):
            told = [quality for name, quality in ranges if name == wanted and quality != ";q=."]
            if told:
                liked[shape.suffix] = {";q=0": 0.0, ";q=0.5": 0.5}.get(told[0], 1.0)
                break
    best = max(liked.values(), default=0)
    found = _accepted(accept)
    if best == 0:
        assert found is None
    else:
        assert found is not None
        assert liked[found.suffix] == best


@given(
    st.lists(st.sampled_from(['"0123456789abcdef"', 'W/"0123456789abcdef"', '"other"', "*", "x"]))
)
def test_if_none_match_means_what_werkzeug_says(tags: list[str]) -> None:
    given_ = ", ".join(tags)
    if tags == ["*"] or "*" not in tags:
        assert _asked_with(given_) == parse_etags(given_).contains_weak("0123456789abcdef")


# ---------------------------------------------------------------------------- connections


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that was started with few files allowed, as many systems have it."""
    resource_before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = resource_before[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        running = Server(tmp_path_factory.mktemp("server"), **NO_LIMITS)
        running.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield running
    running.__exit__(None, None, None)
    resource.setrlimit(resource.RLIMIT_NOFILE, resource_before)


@contextmanager
def connected(server: Server, count: int, sources: int = 1) -> Iterator[list[socket.socket]]:
    """Connections that send nothing, from one or more addresses of this machine."""
    with ExitStack() as stack:
        opened = []
        for number in range(count):
            client = stack.enter_context(socket.socket())
            client.settimeout(5)
            client.bind((f"127.0.0.{2 + number % sources}", 0))
            client.connect((HOST, server.port))
            opened.append(client)
        yield opened


def open_ones(clients: list[socket.socket]) -> int:
    """How many of them the server has not closed."""
    count = 0
    for client in clients:
        client.setblocking(False)
        try:
            client.recv(1)
        except BlockingIOError:
            count += 1
        except ConnectionError:
            pass
    return count


def seconds_to_answer(server: Server) -> float:
    started = time.monotonic()
    assert server.get("/health").status == 200
    return time.monotonic() - started


def wait_for(is_so: Callable[[], bool], seconds: float) -> None:
    give_up_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up_at, "it never came to be"
        time.sleep(0.1)


def test_silent_connections_of_one_address_leave_room_for_others(server: Server) -> None:
    with connected(server, 1500) as clients:
        assert seconds_to_answer(server) < 5
        wait_for(lambda: open_ones(clients) <= 100, 8)
        assert seconds_to_answer(server) < 5
    assert seconds_to_answer(server) < 5


def test_silent_connections_of_many_addresses_leave_room_for_others(server: Server) -> None:
    with connected(server, 2500, sources=40) as clients:
        assert seconds_to_answer(server) < 5
        wait_for(lambda: open_ones(clients) <= 2048, 8)
        assert seconds_to_answer(server) < 5
        wait_for(lambda: open_ones(clients) == 0, 20)  # each had its ten seconds
    assert seconds_to_answer(server) < 5
    assert len(list(Path(f"/proc/{worker_of(server)}/fd").iterdir())) < 100


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([], id="nothing"),
        pytest.param(
            [b"GET /health HTTP/1.1\r\n", *[b"X: y\r\n"] * 30], id="a header now and then"
        ),
        pytest.param([b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"], id="nothing more"),
        pytest.param(
            [
                b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n",
                *[b"x"] * 30,
            ],
            id="a body without end",
        ),
    ],
)
def test_who_sends_nothing_or_too_slowly_is_closed(server: Server, words: list[bytes]) -> None:
    with connected(server, 1) as (client,):
        started = time.monotonic()
        rest = iter(words)
        is_closed = False
        client.settimeout(0.7)
        while not is_closed and time.monotonic() - started < 20:
            try:
                client.sendall(next(rest, b""))
                is_closed = client.recv(4096) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                is_closed = True
        assert is_closed
        assert time.monotonic() - started < 15


def test_http_2_without_tls_is_not_spoken(server: Server) -> None:
    with connected(server, 1) as (client,):
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        answer = client.recv(100)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


def test_the_longest_silent_are_closed_first_and_those_at_work_stay() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((HOST, 0)))
        guard = Guard(most=100, most_of_one=3)
        guard.find_listener()
        clients = []
        for _ in range(5):
            clients.append(stack.enter_context(socket.create_connection(listener.getsockname())))
            stack.enter_context(listener.accept()[0])
            time.sleep(0.02)
        clients[0].sendall(b"GET")  # the oldest, but the only one that says something
        time.sleep(0.02)
        elsewhere = stack.enter_context(socket.create_server((HOST, 0)))  # not the guard's business
        others = []
        for _ in range(9):
            others.append(stack.enter_context(socket.create_connection(elsewhere.getsockname())))
        assert guard.look() == 2
        assert [open_ones([client]) for client in clients] == [1, 0, 0, 1, 1]
        assert guard.look() == 0
        assert open_ones(others) == 9


def test_a_client_that_takes_nothing_of_its_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "SECONDS_TO_TAKE", 1)
    with socket.create_server((HOST, 0)) as listener:
        Guard(100, 100).find_listener()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(listener.getsockname())
            accepted, _ = listener.accept()
            with accepted, pytest.raises(TimeoutError):
                accepted.sendall(bytes(20_000_000))


def test_files_may_be_opened_as_many_as_the_system_lets_us(server: Server) -> None:
    limits = Path(f"/proc/{worker_of(server)}/limits").read_text()
    (soft, hard) = re.findall(r"Max open files\s+(\d+)\s+(\d+)", limits)[0]
    assert int(soft) >= min(int(hard), 4096)


# ---------------------------------------------------------------------------- pages


SMALL_PAGE = 64_000
KEYS = itemgetter("feed", "file", "line_number")
ORDERS: tuple[dict[str, str], ...] = ({}, {"order": "-line_number"})


def with_records(
    published: PublishedFolder, size: int, every: int, source: PublishedFolder | None = None
) -> str:
    """Publish rejected rows of which some have a long record; it doubles when written as JSON."""
    records = (
        "select * replace (case when row_number() over (partition by feed order by line_number)"
        f" % {every} = 0 then repeat('\"', {size}) else record end as record) from mart"
    )
    return publish_again(published.path, source or published, {"rejected_rows": records})


def is_served(api: Api, version: str) -> bool:
    return bool(api.get("/ready").json["version"] == version)


def walk(api: Api, path: str, query: dict[str, str]) -> Iterator[Answer]:
    """All pages of any format, by the cursor in the header."""
    answer = api.get(path, query)
    yield answer
    while "x-next-cursor" in answer.headers:
        answer = api.get(path, query | {"cursor": answer.headers["x-next-cursor"]})
        yield answer


def rows_of(answer: Answer, suffix: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = READ[suffix](answer.body)
    return rows


READ: dict[str, Callable[[bytes], Any]] = {
    "json": lambda body: parsed(body)["data"],
    "csv": lambda body: [row | {"line_number": int(row["line_number"])} for row in csv_of(body)],
    "arrow": lambda body: pyarrow.ipc.open_stream(body).read_all().to_pylist(),
    "parquet": lambda body: pyarrow.parquet.read_table(io.BytesIO(body)).to_pylist(),
}


def csv_of(body: bytes) -> list[dict[str, Any]]:
    csv.field_size_limit(100_000_000)
    return [dict(row) for row in read_csv(body)]


@pytest.mark.parametrize(
    ("in_memory", "sizes"),
    [
        ("256MB", [(5_000, 2, False), (40_000, 3, True), (300_000, 7, True)]),
        ("1", [(300_000, 7, True)]),
    ],
)
def test_no_page_has_more_bytes_than_one_may_and_no_row_is_left_out(
    published: PublishedFolder,
    built: Project,
    in_memory: str,
    sizes: list[tuple[int, int, bool]],
) -> None:
    asked = {"limit": "1000", "feed": "orders"}
    with serving(published, API_PAGE_BYTES=str(SMALL_PAGE), API_IN_MEMORY_BYTES=in_memory) as api:
        plain = api.walk("marts/rejected_rows", asked)
        expected = [KEYS(row) for row in plain]
        for size, every, are_cut in sizes:
            version = with_records(published, size, every, built.published)
            wait_until(partial(is_served, api, version))
            for suffix in SUFFIXES:
                for order in ORDERS:
                    path, query = f"marts/rejected_rows.{suffix}", asked | order
                    answers = list(walk(api, path, query))
                    assert {answer.status for answer in answers} == {200}
                    assert max(len(answer.body) for answer in answers) <= SMALL_PAGE
                    found = [row for answer in answers for row in rows_of(answer, suffix)]
                    assert len(found) == len(expected)
                    keys = [KEYS(row) for row in found]
                    assert keys == (expected if not order else keys)
                    assert sorted(keys) == sorted(expected)
                    cut = [answer for answer in answers if "x-cut-columns" in answer.headers]
                    assert {answer.headers["x-cut-columns"] for answer in cut} <= {"record"}
                    assert all(answer.headers["x-truncated"] == "true" for answer in cut)
                    assert all(len(rows_of(answer, suffix)) == 1 for answer in cut)
                    if size == 300_000 or suffix == "json" or not are_cut:
                        assert len(cut) == (len(expected) // every if are_cut else 0)
                    whole = sum(row["record"] == '"' * size for row in found)
                    assert whole == len(expected) // every - len(cut)


def test_a_row_that_is_cut_says_so_and_its_other_columns_are_whole(
    published: PublishedFolder,
) -> None:
    with_records(published, 300_000, 1)
    with serving(published, API_PAGE_BYTES=str(SMALL_PAGE)) as api:
        content = api.page("marts/rejected_rows")
        assert content["meta"]["cut"] == ["record"]
        assert len(content["data"]) == 1
        assert content["meta"]["next"]
        assert set(content["data"][0]["record"]) == {'"'}
        without = {"columns": "feed,file,line_number,reasons", "limit": "5"}
        rows = api.page("marts/rejected_rows", without)
        assert len(rows["data"]) == 5
        assert "cut" not in rows["meta"]
        answer = api.get("marts/rejected_rows", {"order": "record", "limit": "1"})
        problem = as_problem(answer, 400, "bad-parameter")
        assert problem["parameter"] == "order"
        assert api.page("marts/rejected_rows", {"feed": "none such"})["data"] == []


def test_a_record_of_50_mb_makes_no_request_fail(published: PublishedFolder) -> None:
    with_records(published, 50_000_000, 100)
    with serving(published) as api, ThreadPoolExecutor(8) as threads:
        queries = [
            {"limit": "1000"},
            {"order": "-line_number"},
            {"limit": "1000", "feed": "orders"},
        ]
        api.token("*")  # once, and not by eight threads
        asked = [
            threads.submit(api.get, f"marts/rejected_rows.{suffix}", query)
            for suffix in SUFFIXES
            for query in queries
        ]
        answers = [answer.result() for answer in asked]
        assert {answer.status for answer in answers} == {200}
        assert max(len(answer.body) for answer in answers) <= 8 * 1024**2
        assert api.get("quality").status == 200


def test_budgets_are_counted_by_many_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's storage in memory starts a timer where it sees none, without a lock."""
    settings = Settings(ROOT, Path("none"), Path("none"), failed_limit="1000 per minute")
    budgets = Budgets(settings)
    monkeypatch.setattr(threading.Timer, "is_alive", lambda _timer: False)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            standings = list(pool.map(lambda _: budgets.spend_failure("192.0.2.1"), range(400)))
    finally:
        sys.setswitchinterval(interval)
    assert sorted(standing.remaining for standing in standings) == list(range(600, 1000))
