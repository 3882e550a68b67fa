"""Daily rates of exchange from freecurrencyapi.com, as a file in the landing zone.

    <landing>/fx_rates/freecurrencyapi_<from>_<to>_<first day>_<last day>.csv

The build never calls the network; this command does, when a person or a timer types it. Several
days are one request (`date_from`, `date_to`), a single day is `date`. Where the service knows
`date` only, and says so, the days are asked for one by one.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import os
import re
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, DecimalException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from warehouse.landing.sample import own_file
from warehouse.settings import Settings

SERVICE_URL = "https://api.freecurrencyapi.com"
FEED = "fx_rates"
COLUMNS = ("rate_date", "from_currency", "to_currency", "rate")
TARGET_CURRENCY = "USD"  # what the models convert to
FIRST_DAY = date(1999, 1, 1)  # of the service

DAYS_A_REQUEST = 366
DAYS_ONE_BY_ONE = 31  # in one run, where the service gives one day a request
LARGEST_ANSWER = 10_000_000  # bytes
LONGEST_ANSWER = 60.0  # seconds, for a service that sends a byte now and then
PAUSES = (1.0, 2.0)  # seconds, before the second and the third attempt
LONGEST_RETRY_AFTER = 30  # seconds
DECIMALS, WHOLE_DIGITS = 10, 6  # of the contract of the rate: decimal(18,10), at most a million

_DAY = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_KEY = re.compile(r"[!-~]{16,}")
_ADDRESS = re.compile(r"[!-~]+")
_ONE_DAY = timedelta(days=1)
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class FetchError(Exception):
    """Why there is no file; the message is one line for people, and never holds the key."""


class _DayByDayError(Exception):
    """The service refuses several days in one request."""


class _AgainError(Exception):
    """An attempt failed in a way that may pass; the message is for the last attempt."""

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


@dataclass(frozen=True)
class Pair:
    """Two currencies: what one unit of `source` is worth in `target`."""

    source: str
    target: str

    def __str__(self) -> str:
        """The pair in a sentence, such as `BRL in USD`."""
        return f"{self.source} in {self.target}"


@dataclass(frozen=True)
class Days:
    """Days without a gap, the first and the last included."""

    first: date
    last: date

    def __len__(self) -> int:
        """How many days."""
        return (self.last - self.first).days + 1

    def __contains__(self, day: object) -> bool:
        """Whether a day is one of them."""
        return isinstance(day, date) and self.first <= day <= self.last

    def __str__(self) -> str:
        """The days in a sentence."""
        if self.first == self.last:
            return f"{self.first}"
        return f"{self.first} to {self.last}"

    def split(self, at_most: int) -> Iterator[Days]:
        """The same days in parts of at most so many."""
        first = self.first
        while first <= self.last:
            last = min(self.last, first + timedelta(days=at_most - 1))
            yield Days(first, last)
            first = last + _ONE_DAY


@dataclass(frozen=True)
class Service:
    """How the service is reached.

    Attributes:
        key: of the account (`FREECURRENCYAPI_KEY`); never shown.
        url: where the service is (`FREECURRENCYAPI_URL`).
        timeout: seconds to wait for a connection, and for each part of an answer.
        sleep: waits between attempts.
    """

    key: str = field(repr=False)
    url: str = SERVICE_URL
    timeout: float = 10.0
    sleep: Callable[[float], None] = time.sleep


# ---------------------------------------------------------------------------- the command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--from-date", metavar="DAY", help="first day (after the newest rate)")
    parser.add_argument("--to-date", metavar="DAY", help="last day (yesterday, UTC)")
    parser.add_argument("--from", dest="source", metavar="CODE", help="currency (shop_currency)")
    parser.add_argument("--to", dest="target", metavar="CODE", help="its worth in (USD)")


def run(
    settings: Settings,
    options: argparse.Namespace,
    environment: Mapping[str, str] = os.environ,
    today: date | None = None,
) -> int:
    """Fetch the rates that the options ask for, write the file, and say so in one line.

    Args:
        settings: where the project and its landing zone are.
        options: of `add_arguments`.
        environment: variables; FREECURRENCYAPI_KEY and FREECURRENCYAPI_URL are read.
        today: the day in UTC; the clock's when it is not given.

    Returns:
        0 when the file is there or nothing is new, 2 when it could not be done, 130 on Ctrl+C.
    """
    try:
        print(_run(settings, options, environment, today or datetime.now(UTC).date()))
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: nothing was written.", file=sys.stderr)
        return 130
    return 0


def _has_own_files(settings: Settings) -> bool:
    """Whether a build would leave the sample out: there are files beside those of rates."""
    folders = [path.name for path in settings.landing.glob("*/") if path.name != FEED]
    return own_file(settings.landing, folders) is not None


def _run(
    settings: Settings, options: argparse.Namespace, environment: Mapping[str, str], today: date
) -> str:
    pair = Pair(
        _currency(options.source or shop_currency(settings.root / "dbt_project.yml")),
        _currency(options.target or TARGET_CURRENCY),
    )
    if pair.source == pair.target:
        return f"Nothing to fetch: {pair.source} is the currency that amounts are converted to."
    folder = settings.landing / FEED
    files = _landed(folder)
    if settings.sample_data or (settings.sample_data is None and not _has_own_files(settings)):
        files.append(settings.root / "seeds/shop/fx_rates.csv")
    days = days_to_fetch(
        pair, options.from_date, options.to_date, lambda: newest_day(files, pair, today), today
    )
    if days is None:
        return f"Nothing new: the rates of {pair} go up to the last complete day (UTC)."
    rates = fetch(read_service(environment), pair, days)
    got = Days(min(rates), max(rates))
    file = folder / f"freecurrencyapi_{pair.source}_{pair.target}_{got.first}_{got.last}.csv"
    shown = settings.shown(file)
    try:
        write_whole(file, to_csv(pair, rates))
    except OSError as error:
        raise FetchError(
            f"cannot write {shown}: {error.strerror or error}. Make its folder one you may write, "
            "or set WAREHOUSE_LANDING to another folder."
        ) from error
    missing = len(days) - len(rates)
    without = f" ({_count(missing, 'day')} of {days} had none)" if missing else ""
    return f"{_count(len(rates), 'rate')} of {pair}, {got}{without}, in {shown}; next: make build"


def read_service(environment: Mapping[str, str]) -> Service:
    """The service as the environment describes it.

    Raises:
        FetchError: there is no key, or the key or the URL cannot be right.
    """
    key = environment.get("FREECURRENCYAPI_KEY", "").strip()
    if not key:
        raise FetchError(
            "FREECURRENCYAPI_KEY is not set. Get a key at https://app.freecurrencyapi.com, then: "
            "export FREECURRENCYAPI_KEY=..."
        )
    if not _KEY.fullmatch(key):
        raise FetchError(
            "FREECURRENCYAPI_KEY is not a key: it is shorter than 16 characters, or holds a "
            "space or a letter that is not ASCII. Copy it again from "
            "https://app.freecurrencyapi.com"
        )
    url = (environment.get("FREECURRENCYAPI_URL") or SERVICE_URL).rstrip("/")
    try:
        good = _is_safe(url)
    except ValueError:
        good = False
    if not good:
        raise FetchError(
            "FREECURRENCYAPI_URL is not an address this command uses: it begins with https:// "
            "(http:// on this machine only) and has no user, ? or #. Unset it for the service."
        )
    return Service(key=key, url=url)


def _is_safe(url: str) -> bool:
    """Whether the key may go to an address; raises ValueError when it is none."""
    parts = urlsplit(url)
    if not _ADDRESS.fullmatch(url) or not parts.hostname or parts.port == 0:
        return False
    if parts.username or parts.password or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _THIS_MACHINE)


def shop_currency(project: Path) -> str:
    """The currency of the shop's prices: the var shop_currency of dbt_project.yml.

    Raises:
        FetchError: the file does not say.
    """
    try:
        found = yaml.safe_load(project.read_text(encoding="utf-8"))["vars"]["shop_currency"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise FetchError(
            f"{project.name} does not say the var shop_currency. Add it, or name the currency: "
            "--from BRL"
        ) from error
    return str(found)


def _currency(code: str) -> str:
    if not _CURRENCY.fullmatch(code.upper()):
        raise FetchError(
            f'"{_one_line(code)}" is not the code of a currency. Use its three letters, such as '
            "BRL."
        )
    return code.upper()


# ---------------------------------------------------------------------------- which days


def days_to_fetch(
    pair: Pair,
    from_date: str | None,
    to_date: str | None,
    newest: Callable[[], date | None],
    today: date,
) -> Days | None:
    """The days to ask for: as the options say, else those after the newest rate.

    Args:
        pair: the currencies, for the message.
        from_date: option --from-date.
        to_date: option --to-date.
        newest: gives the day of the newest rate there is.
        today: the day in UTC, whose rates are not final yet.

    Returns:
        The days; None when there is nothing new.

    Raises:
        FetchError: an option is no day, or the days make no sense.
    """
    yesterday = today - _ONE_DAY
    last = _day(to_date, "--to-date") if to_date is not None else yesterday
    if last > yesterday:
        raise FetchError(
            f"--to-date {last} is not over yet (UTC), so its rates are not final. The last day "
            f"is {yesterday}."
        )
    if from_date is not None:
        first = _day(from_date, "--from-date")
        if first > last:
            raise FetchError(f"--from-date {first} is after the last day {last}. Swap them.")
    else:
        found = newest()
        if found is None:
            raise FetchError(
                f"there is no rate of {pair} yet, so say the first day: "
                f'make fetch-fx ARGS="--from-date {yesterday.year}-01-01"'
            )
        first = found + _ONE_DAY
        if first > last:
            return None
    if first < FIRST_DAY:
        raise FetchError(f"the service has no rates before {FIRST_DAY}. Use a later --from-date.")
    return Days(first, last)


def _day(text: str, option: str) -> date:
    try:
        return _to_day(text)
    except ValueError as error:
        raise FetchError(
            f'{option} "{_one_line(text)}" is not a day. Write it as 2024-01-31.'
        ) from error


def _to_day(text: str) -> date:
    if not _DAY.fullmatch(text):
        raise ValueError(text)
    return date.fromisoformat(text)


def newest_day(files: Iterable[Path], pair: Pair, today: date) -> date | None:
    """The day of the newest rate of the pair; files and lines that cannot be read do not count.

    Args:
        files: CSV files with the columns of the feed.
        pair: the currencies.
        today: the day in UTC; rates of later days are mistakes and do not count.

    Returns:
        The day; None when no file has a rate of the pair.
    """
    days = (day for file in files for day in _days_of(file, pair) if day <= today)
    return max(days, default=None)


def _days_of(file: Path, pair: Pair) -> list[date]:
    days = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                day, source, target = ((row.get(name) or "").strip(" '\"") for name in COLUMNS[:3])
                if (source, target) == (pair.source, pair.target):
                    with suppress(ValueError):
                        days.append(_to_day(day))
    except (OSError, ValueError, csv.Error):
        return []
    return days


def _landed(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.csv") if not file.name.startswith("."))


# ---------------------------------------------------------------------------- the rates


def fetch(service: Service, pair: Pair, days: Days) -> dict[date, Decimal]:
    """Ask the service for the rates of some days.

    A day that the answer does not name has no rate; that is fine as long as another day has one.

    Args:
        service: how it is reached.
        pair: the currencies.
        days: as many as you like.

    Returns:
        The rates by day, at least one.

    Raises:
        FetchError: an answer did not come or is not usable, or there is no rate at all.
    """
    rates: dict[date, Decimal] = {}
    try:
        for part in days.split(DAYS_A_REQUEST):
            rates |= parse_rates(_ask(service, pair, part), pair, part)
    except _DayByDayError as error:
        if len(days) > DAYS_ONE_BY_ONE:
            raise FetchError(
                f"{_host(service)} gives one day a request, and {len(days)} days are too many. "
                f"Ask for at most {DAYS_ONE_BY_ONE} days at once: --from-date {days.first} "
                f"--to-date {next(days.split(DAYS_ONE_BY_ONE)).last}"
            ) from error
        rates = {}
        for part in days.split(1):
            rates |= parse_rates(_ask(service, pair, part), pair, part)
    if not rates:
        raise FetchError(
            f"{_host(service)} has no rate of {pair} for {days}. Try again later, or ask for "
            "other days; nothing was written."
        )
    return rates


def parse_rates(body: bytes, pair: Pair, days: Days) -> dict[date, Decimal]:
    """The rates of an answer, each digit as it came.

    Args:
        body: the answer, JSON such as {"data": {"2024-01-31": {"USD": 0.2018}}}.
        pair: the currencies that were asked for.
        days: the days that were asked for.

    Returns:
        The rates by day; empty when the answer names no day.

    Raises:
        FetchError: the answer has another shape, or a rate is none.
    """
    try:
        # Numbers keep their digits; NaN and Infinity, which are no JSON, stay text.
        answer = json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=str)
        data = answer["data"]
        if data == []:  # how the service may write an object without members
            data = {}
        found = {_to_day(day): values for day, values in data.items()}
        if not all(isinstance(values, dict) for values in found.values()):
            raise TypeError
        if not all(day in days for day in found):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DecimalException) as e:
        raise FetchError(
            "the answer of the service is not the documented JSON with the rates of "
            f"{days}. Try again later; nothing was written."
        ) from e
    return {day: _rate(values.get(pair.target), pair, day) for day, values in found.items()}


def _rate(value: object, pair: Pair, day: date) -> Decimal:
    """A rate as the contract wants it, or what is wrong with it."""
    if value is None:
        wrong = "is missing"
    elif not isinstance(value, Decimal):
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        wrong = f'"{_one_line(text)}" is not a number'
    elif value <= 0:
        wrong = f"{_one_line(str(value))} is not > 0"
    elif value.adjusted() >= WHOLE_DIGITS:
        wrong = f"{_one_line(str(value))} is too large"
    else:
        rate = _rounded(value)
        if 0 < rate < 10**WHOLE_DIGITS:
            return rate
        wrong = f"{_one_line(str(value))} is too {'large' if rate else 'small'}"
    raise FetchError(
        f"the service's rate of {pair} on {day} {wrong}. Ask for other days, or try again later; "
        "nothing was written."
    )


def _rounded(value: Decimal) -> Decimal:
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -DECIMALS:
        return value.quantize(Decimal(1).scaleb(-DECIMALS), rounding=ROUND_HALF_EVEN)
    return value


def to_csv(pair: Pair, rates: Mapping[date, Decimal]) -> str:
    """The content of the file: a header, and a line for each day, oldest first."""
    lines = [",".join(COLUMNS)]
    lines += [f"{day},{pair.source},{pair.target},{rate:f}" for day, rate in sorted(rates.items())]
    return "\n".join(lines) + "\n"


def write_whole(file: Path, content: str) -> None:
    """Write a file under a hidden name, then rename it, so that nobody sees half of it.

    Raises:
        OSError: the folder cannot be written, or the disk is full; no file is left behind.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


# ---------------------------------------------------------------------------- the network


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the header with the key would go along."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        """Do not follow."""


def _ask(service: Service, pair: Pair, days: Days) -> bytes:
    """The answer to one request, after at most three attempts."""
    when = {"date_from": str(days.first), "date_to": str(days.last)}
    if len(days) == 1:
        when = {"date": str(days.first)}
    query = urlencode(when | {"base_currency": pair.source, "currencies": pair.target})
    # The scheme is https, or http on this machine: read_service.
    request = urllib.request.Request(  # noqa: S310
        f"{service.url}/v1/historical?{query}",
        headers={"apikey": service.key, "Accept": "application/json"},
    )
    for pause in (*PAUSES, None):
        try:
            return _attempt(service, request, several_days=len(days) > 1)
        except _AgainError as error:
            if pause is None:
                raise FetchError(str(error)) from error
            service.sleep(pause if error.pause is None else error.pause)
    raise AssertionError  # the last attempt returns or raises


def _attempt(service: Service, request: urllib.request.Request, several_days: bool) -> bytes:
    host = _host(service)
    opener = urllib.request.build_opener(
        _NoRedirects, urllib.request.HTTPSHandler(context=ssl.create_default_context())
    )
    try:
        with opener.open(request, timeout=service.timeout) as response:
            return _without_key(_read(response, host), service)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error, service, several_days) from None
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise _not_reached(error, host, service.timeout) from error


def _read(response: http.client.HTTPResponse, host: str) -> bytes:
    length = response.headers.get("Content-Length", "")
    expected = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
    body = bytearray()
    until = time.monotonic() + LONGEST_ANSWER
    while expected is None or len(body) < expected:
        if len(body) > LARGEST_ANSWER or (expected or 0) > LARGEST_ANSWER:
            raise FetchError(
                f"the answer of {host} is larger than {LARGEST_ANSWER // 1_000_000} MB, which "
                "rates never are. Try again later; nothing was written."
            )
        if time.monotonic() > until:
            raise TimeoutError
        chunk = response.read1(65536)
        if not chunk:
            break
        body += chunk
    if expected is not None and len(body) < expected:
        raise http.client.IncompleteRead(bytes(body), expected - len(body))
    return bytes(body)


def _refused(
    error: urllib.error.HTTPError, service: Service, several_days: bool
) -> FetchError | _AgainError | _DayByDayError:
    """What an answer other than 200 means."""
    host, status = _host(service), error.code
    said, fields = _complaint(error, service)
    says = f" ({said})" if said else ""
    if status == 401:
        return FetchError(
            f"{host} does not know the key of FREECURRENCYAPI_KEY{says}. Copy it again from "
            "https://app.freecurrencyapi.com"
        )
    if status == 403:
        return FetchError(
            f"{host} does not allow this on the plan of your key{says}. Ask for later days or "
            "other currencies, or change the plan."
        )
    if status == 422:
        if several_days and "date" in fields:
            return _DayByDayError()
        return FetchError(f"{host} refuses the days or the currencies{says}. Ask for others.")
    if status == 429:
        message = (
            f"{host} takes no more requests for now: the quota of your key is used up, or they "
            f"came too fast{says}. Wait a minute; if it says the same, wait for the next month."
        )
        wait = error.headers.get("Retry-After", "")
        if re.fullmatch(r"[0-9]{1,6}", wait) and int(wait) <= LONGEST_RETRY_AFTER:
            return _AgainError(message, float(wait))
        return FetchError(message)
    if status >= 500:
        return _AgainError(f"{host} has a fault: HTTP {status}{says}. Try again later.")
    if 300 <= status < 400:
        return FetchError(
            f"{host} sends this request elsewhere (HTTP {status}), and the key goes nowhere "
            "else. Set FREECURRENCYAPI_URL to the right address, or unset it."
        )
    return FetchError(
        f"{host} answered HTTP {status}{says}. Check FREECURRENCYAPI_URL, or unset it."
    )


def _complaint(error: urllib.error.HTTPError, service: Service) -> tuple[str, dict[str, Any]]:
    """What an answer says about itself: its message, and the fields it complains about."""
    try:
        answer = json.loads(_without_key(error.read(100_000), service))
        message, fields = answer.get("message"), answer.get("errors")
    except (OSError, ValueError, AttributeError, RecursionError, http.client.HTTPException):
        return "", {}
    fields = fields if isinstance(fields, dict) else {}
    details = [text for texts in fields.values() if isinstance(texts, list) for text in texts]
    texts = [text for text in (message, *details) if isinstance(text, str)]
    return _one_line("; ".join(dict.fromkeys(texts)), 200), fields


def _not_reached(error: Exception, host: str, timeout: float) -> FetchError | _AgainError:
    """What it means that no whole answer came."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return FetchError(
            f"the certificate of {host} is not trusted: {reason.verify_message}. Check the clock "
            "and the certificates of this machine."
        )
    if isinstance(reason, TimeoutError):
        return _AgainError(
            f"{host} did not answer within {timeout:g} s. Check the network, then try again."
        )
    if isinstance(reason, socket.gaierror | UnicodeError):  # the latter for what is no name
        return _AgainError(
            f"the address of {host} is not found. Check the network and DNS, then try again."
        )
    if isinstance(reason, http.client.HTTPException):
        return _AgainError(f"the answer of {host} broke off. Try again later.")
    why = reason.strerror if isinstance(reason, OSError) else None
    return _AgainError(
        f"{host} cannot be reached: {why or _one_line(str(reason))}. Check the network, then try "
        "again."
    )


def _host(service: Service) -> str:
    return urlsplit(service.url).netloc


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _without_key(body: bytes, service: Service) -> bytes:
    """An answer, should it repeat the key, so that no message can."""
    return body.replace(service.key.encode(), b"***")


def _one_line(text: str, longest: int = 60) -> str:
    """A text of others on one line, cut, and without control characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= longest else f"{text[:longest]}..."
