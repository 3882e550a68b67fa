"""Rates of exchange, from a service that is played on this machine, its failures included."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support import ROOT, Project
from warehouse import fetch_fx
from warehouse.fetch_fx import (
    Days,
    FetchError,
    Pair,
    Service,
    days_to_fetch,
    fetch,
    newest_day,
    parse_rates,
    read_service,
    to_csv,
    write_whole,
)
from warehouse.settings import read_settings

KEY = "fca_live_AbC0123456789-secret"
PAIR = Pair("BRL", "USD")
TODAY = date(2024, 2, 10)
JANUARY_31 = Days(date(2024, 1, 31), date(2024, 1, 31))
INVALID_KEY = b'{"message": "Invalid authentication credentials"}'

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers with the next of the server's answers; the last one again and again."""

    server: Played

    def do_GET(self) -> None:
        self.server.seen.append(self)
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    def log_message(self, *_: object) -> None:
        pass

    @property
    def asked(self) -> dict[str, str]:
        """The parameters of the request."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Played(ThreadingHTTPServer):
    """The service, on a free port of this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = [every_day]
        self.seen: list[Handler] = []
        self.slept: list[float] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def asked(self) -> list[dict[str, str]]:
        return [request.asked for request in self.seen]

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that hung up."""

    def service(self, timeout: float = 5) -> Service:
        return Service(key=KEY, url=self.url, timeout=timeout, sleep=self.slept.append)


def every_day(request: Handler) -> None:
    """The documented answer, a rate for each calendar day."""
    asked = request.asked
    first = date.fromisoformat(asked.get("date_from") or asked["date"])
    last = date.fromisoformat(asked.get("date_to") or asked["date"])
    days = [str(first + timedelta(days=index)) for index in range((last - first).days + 1)]
    body = {"data": {day: {asked["currencies"]: 0.2018} for day in days}}
    request.send(200, json.dumps(body).encode())


def answer(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    return lambda request: request.send(status, body, **headers)


def one_rate(text: str) -> bytes:
    return f'{{"data": {{"2024-01-31": {{"USD": {text}}}}}}}'.encode()


def without(body: bytes, length: int) -> Answer:
    """Promises more than it sends, and hangs up."""

    def half(request: Handler) -> None:
        request.send(200, body[:length], Content_Length=str(len(body)))
        request.close_connection = True

    return half


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def played() -> Iterator[Played]:
    with Played() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project's folder, as far as the command reads it."""
    (tmp_path / "seeds/shop").mkdir(parents=True)
    (tmp_path / "dbt_project.yml").write_text("vars:\n  shop_currency: BRL\n")
    (tmp_path / "seeds/shop/fx_rates.csv").write_text(
        "rate_date,from_currency,to_currency,rate\n2024-01-30,BRL,USD,0.2\n2024-02-05,EUR,USD,1.1\n"
    )
    return tmp_path


@pytest.fixture
def command(folder: Path, played: Played) -> Callable[..., int]:
    """The command in this process, on the played service, on 2024-02-10."""

    def run(*arguments: str, **environment: str) -> int:
        parser = argparse.ArgumentParser()
        fetch_fx.add_arguments(parser)
        variables = {"FREECURRENCYAPI_KEY": KEY, "FREECURRENCYAPI_URL": played.url} | environment
        settings = read_settings(environment, root=folder)
        options = parser.parse_args(arguments)
        return fetch_fx.run(settings, options, variables, today=TODAY)

    return run


def files(folder: Path) -> list[str]:
    """Everything below the landing zone, hidden files included."""
    return sorted(path.name for path in (folder / "landing").rglob("*") if path.is_file())


def refusal(played: Played, days: Days = JANUARY_31, timeout: float = 5) -> str:
    """The one line of a fetch that fails."""
    with pytest.raises(FetchError) as caught:
        fetch(played.service(timeout), PAIR, days)
    message = str(caught.value)
    assert "\n" not in message
    assert KEY not in message
    return message


# ---------------------------------------------------------------- the command


def test_the_days_after_the_newest_rate_until_yesterday_become_a_file(
    command: Callable[..., int], folder: Path, played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 0
    name = "freecurrencyapi_BRL_USD_2024-01-31_2024-02-09.csv"
    assert files(folder) == [name]
    lines = (folder / "landing/fx_rates" / name).read_text().splitlines()
    assert lines[:2] == ["rate_date,from_currency,to_currency,rate", "2024-01-31,BRL,USD,0.2018"]
    assert len(lines) == 1 + 10
    assert capsys.readouterr() == (
        "10 rates of BRL in USD, 2024-01-31 to 2024-02-09, in landing/fx_rates/"
        f"{name}; next: make build\n",
        "",
    )
    request = played.seen[0]
    assert request.headers["apikey"] == KEY
    assert KEY not in request.path
    assert request.path.startswith("/v1/historical?")
    assert played.asked == [
        {
            "date_from": "2024-01-31",
            "date_to": "2024-02-09",
            "base_currency": "BRL",
            "currencies": "USD",
        }
    ]


def test_a_second_fetch_has_nothing_new(
    command: Callable[..., int], folder: Path, played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 0
    before = files(folder)
    capsys.readouterr()
    assert command(FREECURRENCYAPI_KEY="") == 0
    out, err = capsys.readouterr()
    assert out.startswith("Nothing new: ")
    assert out.count("\n") == 1
    assert err == ""
    assert len(played.seen) == 1
    assert files(folder) == before


def test_rates_of_other_files_that_landed_count_but_not_hidden_ones(
    command: Callable[..., int], folder: Path, played: Played
) -> None:
    landed = folder / "landing/fx_rates"
    landed.mkdir(parents=True)
    header = "rate_date,from_currency,to_currency,rate\n"
    (landed / "by hand.csv").write_text(f"{header}2024-02-07,BRL,USD,0.2\n")
    (landed / ".hidden.csv").write_text(f"{header}2024-02-08,BRL,USD,0.2\n")
    assert command() == 0
    assert played.asked[0]["date_from"] == "2024-02-08"


def test_a_shop_that_sells_in_usd_has_nothing_to_fetch(
    command: Callable[..., int], folder: Path, played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "dbt_project.yml").write_text("vars: {shop_currency: USD}\n")
    assert command(FREECURRENCYAPI_KEY="") == 0
    assert capsys.readouterr().out.startswith("Nothing to fetch: USD ")
    assert played.seen == []


def test_options_name_other_days_and_currencies(
    command: Callable[..., int], folder: Path, played: Played
) -> None:
    days = ("--from-date", "2024-01-01", "--to-date", "2024-01-02")
    assert command("--from", "eur", "--to", "chf", *days) == 0
    assert files(folder) == ["freecurrencyapi_EUR_CHF_2024-01-01_2024-01-02.csv"]
    assert (played.asked[0]["base_currency"], played.asked[0]["currencies"]) == ("EUR", "CHF")


def test_the_landing_zone_may_be_elsewhere(command: Callable[..., int], folder: Path) -> None:
    assert command(WAREHOUSE_LANDING="in") == 0
    assert [path.name for path in (folder / "in/fx_rates").iterdir()] == [
        "freecurrencyapi_BRL_USD_2024-01-31_2024-02-09.csv"
    ]


def test_without_the_sample_data_its_rates_do_not_count(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(WAREHOUSE_SAMPLE_DATA="0") == 2
    assert "there is no rate of BRL in USD yet, so say the first day" in capsys.readouterr().err


def test_days_without_a_rate_are_counted(
    command: Callable[..., int],
    folder: Path,
    played: Played,
    capsys: pytest.CaptureFixture[str],
) -> None:
    played.answers = [
        answer(200, b'{"data": {"2024-02-02": {"USD": 0.2}, "2024-02-01": {"USD": 0.3}}}')
    ]
    assert command() == 0
    assert capsys.readouterr().out == (
        "2 rates of BRL in USD, 2024-02-01 to 2024-02-02 (8 days of 2024-01-31 to 2024-02-09 had "
        "none), in landing/fx_rates/freecurrencyapi_BRL_USD_2024-02-01_2024-02-02.csv; "
        "next: make build\n"
    )
    text = (folder / "landing/fx_rates" / files(folder)[0]).read_text()
    assert text.splitlines()[1:] == ["2024-02-01,BRL,USD,0.3", "2024-02-02,BRL,USD,0.2"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--from-date 2024-02-30", '--from-date "2024-02-30" is not a day. Write it as 2024-01-31'),
        ("--from-date 20240101", '--from-date "20240101" is not a day'),
        ("--to-date tomorrow", '--to-date "tomorrow" is not a day'),
        ("--to-date 2024-02-10", "--to-date 2024-02-10 is not over yet (UTC)"),
        ("--from-date 2024-02-02 --to-date 2024-02-01", "2024-02-02 is after the last day 2024-0"),
        ("--from-date 1998-12-31", "the service has no rates before 1999-01-01"),
        ("--from REAL", '"REAL" is not the code of a currency'),
        ("--to U$D", '"U$D" is not the code of a currency'),
        ("--from CHF", "there is no rate of CHF in USD yet"),
    ],
)
def test_an_option_that_cannot_be_is_said_before_any_request(
    command: Callable[..., int],
    played: Played,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    said: str,
) -> None:
    assert command(*arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
    assert played.seen == []


def test_a_landing_zone_that_cannot_be_written_is_said(
    command: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "landing").write_text("a file")
    assert command() == 2
    err = capsys.readouterr().err
    assert err.startswith("error: cannot write landing/fx_rates/freecurrencyapi_BRL_USD_2024-01-31")
    assert "WAREHOUSE_LANDING" in err
    assert err.count("\n") == 1


def test_a_project_that_names_no_currency_is_said(
    command: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "dbt_project.yml").write_text("vars: {}\n")
    assert command() == 2
    assert "dbt_project.yml does not say the var shop_currency" in capsys.readouterr().err


# ---------------------------------------------------------------- which days


def test_lines_and_files_that_cannot_be_read_do_not_count(tmp_path: Path) -> None:
    good, bad, other = tmp_path / "good.csv", tmp_path / "bad.csv", tmp_path / "other.csv"
    good.write_text(
        "rate_date,from_currency,to_currency,rate\n2024-01-05,BRL,USD,1\n2024-02-31,BRL,USD,1\n"
        "x,BRL,USD,1\n\n2024-01-09\n' 2024-01-06 ',BRL,USD,1\n2999-01-01,BRL,USD,1\n"
    )
    bad.write_bytes(b"rate_date,from_currency,to_currency,rate\n2024-01-08,BRL,USD,1\n\xff\n")
    other.write_text("a;b\n1;2\n")
    paths = [good, bad, other, tmp_path / "missing.csv", tmp_path]
    assert newest_day(paths, PAIR, TODAY) == date(2024, 1, 6)
    assert newest_day(paths, Pair("EUR", "USD"), TODAY) is None


def test_options_come_before_the_newest_rate() -> None:
    def newest() -> date:
        return date(2024, 2, 1)

    assert days_to_fetch(PAIR, "2024-01-01", None, newest, TODAY) == Days(
        date(2024, 1, 1), date(2024, 2, 9)
    )
    assert days_to_fetch(PAIR, None, "2024-02-03", newest, TODAY) == Days(
        date(2024, 2, 2), date(2024, 2, 3)
    )
    assert days_to_fetch(PAIR, None, "2024-02-01", newest, TODAY) is None


def test_two_years_are_two_requests(played: Played) -> None:
    days = Days(date(2023, 1, 1), date(2024, 12, 31))
    rates = fetch(played.service(), PAIR, days)
    assert len(rates) == len(days) == 731
    asked = [(request["date_from"], request["date_to"]) for request in played.asked]
    assert asked == [("2023-01-01", "2024-01-01"), ("2024-01-02", "2024-12-31")]


def test_a_single_day_is_asked_for_as_documented(played: Played) -> None:
    assert fetch(played.service(), PAIR, JANUARY_31) == {date(2024, 1, 31): Decimal("0.2018")}
    assert played.asked == [{"date": "2024-01-31", "base_currency": "BRL", "currencies": "USD"}]


def one_day_only(request: Handler) -> None:
    if "date" in request.asked:
        every_day(request)
    else:
        body = {"message": "Validation error", "errors": {"date": ["The date field is required."]}}
        request.send(422, json.dumps(body).encode())


def test_a_service_that_knows_single_days_only_is_asked_day_by_day(played: Played) -> None:
    played.answers = [one_day_only]
    days = Days(date(2024, 1, 1), date(2024, 1, 3))
    rates = fetch(played.service(), PAIR, days)
    assert [day.day for day in rates] == [1, 2, 3]
    assert len(played.seen) == 1 + 3


def test_day_by_day_is_for_a_month_at_most(played: Played) -> None:
    played.answers = [one_day_only]
    message = refusal(played, Days(date(2024, 1, 1), date(2024, 2, 1)))
    assert message.endswith("at most 31 days at once: --from-date 2024-01-01 --to-date 2024-01-31")
    assert len(played.seen) == 1


# ---------------------------------------------------------------- what the service says


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, INVALID_KEY, "does not know the key of FREECURRENCYAPI_KEY (Invalid authentication"),
        (403, b'{"message": "Upgrade\\nyour plan"}', "on the plan of your key (Upgrade your plan)"),
        (404, b"<html>", "answered HTTP 404. Check FREECURRENCYAPI_URL"),
        (
            422,
            b'{"message": "Validation error", "errors": {"currencies": ["No such currency"]}}',
            "refuses the days or the currencies (Validation error; No such currency)",
        ),
        (429, b'{"message": "Too many"}', "the quota of your key is used up, or they came too"),
    ],
)
def test_a_refusal_is_said_in_one_line_and_not_tried_again(
    played: Played, status: int, body: bytes, said: str
) -> None:
    played.answers = [answer(status, body)]
    assert said in refusal(played)
    assert len(played.seen) == 1
    assert played.slept == []


def test_a_short_retry_after_is_waited_for(played: Played) -> None:
    played.answers = [answer(429, Retry_After="7"), every_day]
    assert len(fetch(played.service(), PAIR, JANUARY_31)) == 1
    assert played.slept == [7]


@pytest.mark.parametrize("wait", ["31", "3600", "Wed, 21 Oct 2026 07:28:00 GMT", "-1", ""])
def test_a_long_retry_after_is_not_waited_for(played: Played, wait: str) -> None:
    played.answers = [answer(429, Retry_After=wait)]
    assert "quota of your key is used up" in refusal(played)
    assert len(played.seen) == 1


def test_a_quota_that_stays_used_up_is_said_after_three_attempts(played: Played) -> None:
    played.answers = [answer(429, Retry_After="1")]
    assert "quota of your key is used up" in refusal(played)
    assert (len(played.seen), played.slept) == (3, [1, 1])


def test_a_fault_of_the_service_is_tried_again(played: Played) -> None:
    played.answers = [answer(500), answer(503), every_day]
    assert len(fetch(played.service(), PAIR, JANUARY_31)) == 1
    assert played.slept == [1, 2]


def test_a_fault_that_stays_is_said_after_three_attempts(played: Played) -> None:
    played.answers = [answer(502)]
    assert "has a fault: HTTP 502. Try again later" in refusal(played)
    assert (len(played.seen), played.slept) == (3, [1, 2])


# ---------------------------------------------------------------- the network


def test_a_service_that_is_silent_is_said(played: Played) -> None:
    ended = threading.Event()

    def wait(_: Handler) -> None:
        ended.wait(10)

    played.answers = [wait]
    began = time.monotonic()
    message = refusal(played, timeout=0.1)
    ended.set()
    assert "did not answer within 0.1 s" in message
    assert time.monotonic() - began < 5
    assert played.slept == [1, 2]


def test_a_service_that_stops_in_the_middle_is_said(played: Played) -> None:
    ended = threading.Event()

    def stop(request: Handler) -> None:
        request.send(200, b'{"data"', Content_Length="40")
        ended.wait(10)

    played.answers = [stop]
    message = refusal(played, timeout=0.1)
    ended.set()
    assert "did not answer within 0.1 s" in message


def test_a_service_that_drips_is_said(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_fx, "LONGEST_ANSWER", 0.2)

    def drip(request: Handler) -> None:
        request.send(200, b"", Content_Length="1000")
        for _ in range(40):
            request.wfile.write(b" ")
            time.sleep(0.02)

    played.answers = [drip]
    began = time.monotonic()
    assert "did not answer within" in refusal(played)
    assert time.monotonic() - began < 2


def test_half_an_answer_is_tried_again(played: Played) -> None:
    body = one_rate("0.2018")
    played.answers = [without(body, 20), every_day]
    assert len(fetch(played.service(), PAIR, JANUARY_31)) == 1
    assert played.slept == [1]
    played.answers = [without(body, 20)]
    assert "the answer of 127.0.0.1" in refusal(played)


def test_a_connection_that_is_refused_is_said() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    slept: list[float] = []
    service = Service(key=KEY, url=f"http://127.0.0.1:{port}", sleep=slept.append)
    with pytest.raises(FetchError, match=r"cannot be reached: Connection refused\. Check the net"):
        fetch(service, PAIR, JANUARY_31)
    assert slept == [1, 2]


def test_a_name_that_is_not_found_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_found)
    monkeypatch.setenv("no_proxy", "*")
    service = Service(key=KEY, url="https://rates.invalid", sleep=lambda _: None)
    with pytest.raises(FetchError, match=r"the address of rates\.invalid is not found"):
        fetch(service, PAIR, JANUARY_31)


def test_a_name_that_cannot_be_one_is_said() -> None:
    service = Service(key=KEY, url=f"https://{'a' * 64}.invalid", sleep=lambda _: None)
    with pytest.raises(FetchError, match=r"the address of a{64}\.invalid is not found"):
        fetch(service, PAIR, JANUARY_31)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_so_that_the_key_stays(played: Played, status: int) -> None:
    with Played() as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        played.answers = [answer(status, Location=f"{other.url}/v1/historical?date=2024-01-31")]
        message = refusal(played)
        other.shutdown()
        thread.join()
    assert f"sends this request elsewhere (HTTP {status})" in message
    assert other.seen == []


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"rates": {}}',
        b'{"data": null}',
        b'{"data": [1]}',
        b'{"data": {"USD": 0.2}}',
        b'{"data": {"2024-01-31": 0.2}}',
        b'{"data": {"2024-01-31": [0.2]}}',
        b'{"data": {"2024-02-01": {"USD": 0.2}}}',
        b'{"data": {"31/01/2024": {"USD": 0.2}}}',
        one_rate("1e99999999999999999999"),
        b"[" * 100_000,
    ],
)
def test_an_answer_of_another_shape_is_refused(played: Played, body: bytes) -> None:
    played.answers = [answer(200, body)]
    assert "is not the documented JSON with the rates of 2024-01-31" in refusal(played)


def test_an_answer_that_is_too_large_is_refused(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_fx, "LARGEST_ANSWER", 1_000_000)
    rest = one_rate("0.2018")
    body = b" " * (1_000_000 - len(rest)) + rest
    played.answers = [answer(200, body)]
    assert len(fetch(played.service(), PAIR, JANUARY_31)) == 1

    def endless(request: Handler) -> None:
        request.send_response(200)
        request.end_headers()
        while len(body):
            request.wfile.write(body)

    for too_large in (answer(200, body + b" "), endless):
        played.answers = [too_large]
        assert "is larger than 1 MB" in refusal(played)


@pytest.mark.parametrize("body", [b'{"data": {}}', b'{"data": []}'])
def test_no_rate_at_all_is_said(played: Played, body: bytes) -> None:
    played.answers = [answer(200, body)]
    assert "has no rate of BRL in USD for 2024-01-31" in refusal(played)


@pytest.mark.parametrize(
    ("rate", "wrong"),
    [
        ("0", "0 is not > 0"),
        ("-0.2", "-0.2 is not > 0"),
        ("-0.0", "-0.0 is not > 0"),
        ('"0.2"', '"0.2" is not a number'),
        ('"a\\nb"', '"a b" is not a number'),
        ("NaN", '"NaN" is not a number'),
        ("Infinity", '"Infinity" is not a number'),
        ("true", '"true" is not a number'),
        ("[]", '"[]" is not a number'),
        ("null", "is missing"),
        ("1e-11", "1E-11 is too small"),
        ("1e-999999999", "1E-999999999 is too small"),
        ("1e999999999", "1E+999999999 is too large"),
        ("1000000", "1000000 is too large"),
        ("999999.99999999999", "999999.99999999999 is too large"),
    ],
)
def test_a_rate_that_is_none_is_refused_with_its_day_and_value(
    command: Callable[..., int],
    folder: Path,
    played: Played,
    capsys: pytest.CaptureFixture[str],
    rate: str,
    wrong: str,
) -> None:
    good = '"2024-02-01": {"USD": 0.2}'
    played.answers = [
        answer(200, f'{{"data": {{{good}, "2024-01-31": {{"USD": {rate}}}}}}}'.encode())
    ]
    assert command() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"rate of BRL in USD on 2024-01-31 {wrong}." in err
    assert err.count("\n") == 1
    assert files(folder) == []


def test_a_day_without_the_currency_that_was_asked_for_is_refused() -> None:
    with pytest.raises(FetchError, match="on 2024-01-31 is missing"):
        parse_rates(b'{"data": {"2024-01-31": {"EUR": 0.2}}}', PAIR, JANUARY_31)


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("0.1234567891", "0.1234567891"),
        ("0.2018", "0.2018"),
        ("0.20180", "0.20180"),
        ("5", "5"),
        ("1e-7", "0.0000001"),
        ("1E+2", "100"),
        ("123456.1234567891", "123456.1234567891"),
        ("0.12345678905", "0.1234567890"),
        ("0.12345678915", "0.1234567892"),
        ("0.123456789149999999999999999999999999999", "0.1234567891"),
    ],
)
def test_a_rate_keeps_its_digits(sent: str, written: str) -> None:
    rates = parse_rates(one_rate(sent), PAIR, JANUARY_31)
    assert to_csv(PAIR, rates).splitlines()[1] == f"2024-01-31,BRL,USD,{written}"


def test_the_file_is_in_the_grammar_of_the_contract(
    command: Callable[..., int], folder: Path, played: Played
) -> None:
    numbers = ["1e-10", "999999.9999999999", "5", "0.20180", "1E+5", "0.12345678905"]
    data = ", ".join(
        f'"2024-02-0{index}": {{"USD": {number}}}' for index, number in enumerate(numbers, start=1)
    )
    played.answers = [answer(200, f'{{"data": {{{data}}}}}'.encode())]
    assert command() == 0
    content = (folder / "landing/fx_rates" / files(folder)[0]).read_bytes()
    header, *lines = content.decode("ascii").removesuffix("\n").split("\n")
    assert header == "rate_date,from_currency,to_currency,rate"
    assert len(lines) == len(numbers)
    grammar = re.compile(
        r"[12][0-9]{3}-[0-9]{2}-[0-9]{2},[A-Z]{3},[A-Z]{3},[0-9]{1,6}(\.[0-9]{1,10})?"
    )
    for line, number in zip(lines, numbers, strict=True):
        assert grammar.fullmatch(line), line
        assert abs(Decimal(line.split(",")[3]) - Decimal(number)) < Decimal("1e-10")


# ---------------------------------------------------------------- the file


def test_the_final_name_appears_when_the_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "fx_rates/a.csv"
    seen: list[tuple[list[str], str]] = []
    replace = Path.replace

    def look(part: Path, target: Path) -> Path:
        seen.append(([path.name for path in part.parent.iterdir()], part.read_text()))
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", look)
    write_whole(file, "new\n")
    assert seen == [([".a.csv.part"], "new\n")]
    assert [path.name for path in file.parent.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("old\n")

    def fail(_: int) -> None:
        raise failure

    monkeypatch.setattr("warehouse.fetch_fx.os.fsync", fail)
    with pytest.raises(type(failure)):
        write_whole(file, "new\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert file.read_text() == "old\n"


# ---------------------------------------------------------------- the key


@pytest.mark.parametrize(
    "given",
    [
        answer(401, json.dumps({"message": f"no such key {KEY}"}).encode()),
        answer(422, json.dumps({"message": "x", "errors": {KEY: [KEY * 9]}}).encode()),
        answer(500, json.dumps({"message": "x" * 180 + KEY}).encode()),
        answer(200, json.dumps({"data": {"2024-01-31": {"USD": "x" * 50 + KEY}}}).encode()),
        answer(302, Location=f"http://127.0.0.1:1/?apikey={KEY}"),
    ],
)
def test_the_key_is_in_no_message(played: Played, given: Answer) -> None:
    played.answers = [given]
    message = refusal(played)
    assert KEY[:9] not in message
    assert KEY not in repr(played.service())


@pytest.mark.parametrize("key", ["two words are not a key", "ä" * 20, "line\nend-in-the-key", "x"])
def test_a_key_that_cannot_be_one_is_said_without_it(key: str) -> None:
    with pytest.raises(FetchError) as caught:
        read_service({"FREECURRENCYAPI_KEY": key})
    assert str(caught.value).startswith("FREECURRENCYAPI_KEY is not a key")
    assert key == "x" or key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://rates.example.com",
        "ftp://127.0.0.1",
        "file:///etc",
        "127.0.0.1:80",
        "https://",
        "https://me:secret@example.com",
        "https://example.com?a=b",
        "https://example.com:port",
        "https://exam ple.com",
    ],
)
def test_an_address_that_would_give_the_key_away_is_not_used(url: str) -> None:
    with pytest.raises(FetchError, match="FREECURRENCYAPI_URL is not an address"):
        read_service({"FREECURRENCYAPI_KEY": KEY, "FREECURRENCYAPI_URL": url})


def test_the_address_is_that_of_the_service_unless_it_is_set() -> None:
    assert read_service({"FREECURRENCYAPI_KEY": KEY}).url == "https://api.freecurrencyapi.com"
    other = {"FREECURRENCYAPI_KEY": f" {KEY}\n", "FREECURRENCYAPI_URL": "https://a.example/fx/"}
    assert read_service(other) == Service(key=KEY, url="https://a.example/fx")


# ---------------------------------------------------------------- as people type it


@pytest.fixture
def project_folder(tmp_path: Path) -> Project:
    """A copy of the project that is not built."""
    project = Project(tmp_path / "project")
    shutil.rmtree(project.folder / "landing", ignore_errors=True)
    return project


def test_the_command_as_people_type_it(project_folder: Project, played: Played) -> None:
    arguments = ("warehouse", "fetch-fx", "--from-date", "2024-01-01", "--to-date", "2024-12-31")
    where = {"FREECURRENCYAPI_URL": played.url, "no_proxy": "127.0.0.1"}

    done = project_folder.run(*arguments, FREECURRENCYAPI_KEY=KEY, **where)
    name = "landing/fx_rates/freecurrencyapi_BRL_USD_2024-01-01_2024-12-31.csv"
    assert (done.exit_code, done.err) == (0, "")
    assert done.out == (
        f"366 rates of BRL in USD, 2024-01-01 to 2024-12-31, in {name}; next: make build\n"
    )
    assert len((project_folder.folder / name).read_text().splitlines()) == 367

    done = project_folder.run(*arguments, FREECURRENCYAPI_KEY="", **where)
    assert (done.exit_code, done.out) == (2, "")
    assert done.err.startswith("error: FREECURRENCYAPI_KEY is not set. ")
    assert done.err.count("\n") == 1

    played.answers = [answer(401, INVALID_KEY)]
    done = project_folder.run(*arguments, FREECURRENCYAPI_KEY=KEY, **where)
    assert (done.exit_code, done.out) == (2, "")
    assert "does not know the key of FREECURRENCYAPI_KEY" in done.err
    assert KEY not in done.err
    assert done.err.count("\n") == 1


def test_make_lists_the_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^fetch-fx: .*## .*FREECURRENCYAPI_KEY", makefile, re.MULTILINE)
    assert re.search(r"^\.PHONY:.* fetch-fx\b", makefile, re.MULTILINE)
