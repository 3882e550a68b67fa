"""From the parameters of a request to a query: pure functions, no database.

Identifiers are looked up in the catalog, values are parsed by the type of their column and
always go in as parameters.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from api.catalog import MAX_LIMIT, Column, Mart, Order
from api.problems import Problem

# Operator to the SQL of a comparison. "Not equal" holds for nulls too: they are not that value.
OPERATORS = {
    "eq": "{column} = {value}",
    "ne": "{column} is distinct from {value}",
    "gt": "{column} > {value}",
    "gte": "{column} >= {value}",
    "lt": "{column} < {value}",
    "lte": "{column} <= {value}",
}
LIST_OPERATOR = "in"
NULL_TESTS = {"is.null": "{column} is null", "is.not_null": "{column} is not null"}

# What other APIs call theirs, and ours misspelt. A value that begins with one of these and a dot is
# far more often a mistake than a text; to look for such a text there is `eq.`.
_LIKE_OPERATORS = frozenset(
    """
    eq ne gt gte lt lte in is neq nin not notin not_in not_eq ge le equal equals not_equals
    greater_than less_than lower_than like ilike nlike nilike notlike not_like rlike match imatch
    regex regexp iregex contains icontains ncontains notcontains not_contains startswith istartswith
    starts_with endswith iendswith ends_with iexact ieq between nbetween notbetween not_between
    isnull is_null isnotnull is_not_null notnull not_null isempty is_empty isdistinct is_distinct
    fts plfts phfts wfts cs cd ov sl sr nxr nxl adj
    """.split()  # noqa: SIM905
)
_LOWER, _UPPER = ("gt", "gte"), ("lt", "lte")

# Parameters of the generic route that are not columns.
RESERVED = ("columns", "order", "limit", "cursor", "version", "excel")

MAX_LIST = 500
MAX_CURSOR = 7 * 1024  # characters; a query may have 8 KB
_OPERATOR = re.compile(r"(eq|ne|gt|gte|lt|lte|in)\.(.*)", re.DOTALL)
_PREFIX = re.compile(r"([A-Za-z_]{2,20})\.", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d{1,24}(\.\d{1,10})?", re.ASCII)
_DOUBLE = re.compile(r"[+-]?\d{1,309}(\.\d{1,20})?(e[+-]?\d{1,3})?", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIMESTAMP = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?)?", re.ASCII
)


@dataclass(frozen=True)
class Condition:
    """A part of a where clause: SQL with a `?` for each value."""

    sql: str
    values: tuple[object, ...] = ()


@dataclass(frozen=True)
class PageQuery:
    """A page of rows of one mart.

    Attributes:
        mart: the mart.
        columns: those to show, in order.
        conditions: all must hold.
        order: a total order.
        limit: rows of the page.
        normalised: the same for all spellings of the same question, without limit and cursor.
        version: the snapshot that was asked for, by `version` or by the cursor; None: the newest.
        after: the values of the order's columns in the last row of the page before, as text;
            None: the first page.
    """

    mart: Mart
    columns: tuple[str, ...]
    conditions: tuple[Condition, ...]
    order: tuple[Order, ...]
    limit: int
    normalised: str
    after: tuple[str | None, ...] | None = None

    @property
    def key(self) -> str:
        """What the answer depends on, beside the version, the format and the token's scopes."""
        return json.dumps([self.normalised, self.limit, self.after])

    def where(self) -> Condition:
        """The conditions and the place where the page begins, in one."""
        conditions = list(self.conditions)
        if self.after is not None:
            conditions.append(_after(self.mart, self.order, self.after))
        return Condition(
            " and ".join(f"({condition.sql})" for condition in conditions) or "true",
            tuple(value for condition in conditions for value in condition.values),
        )

    def next_cursor(self, version: str, keys: Iterable[str | None]) -> str:
        """The cursor of the page that begins after the row with these values of the order."""
        content = [version, _fingerprint(self.normalised), *keys]
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        if len(cursor) > MAX_CURSOR:  # it could not be sent back
            raise bad_parameter(
                "order",
                "ends this page at a text that is too long to go on from; order by other columns",
            )
        return cursor


# ---------------------------------------------------------------------------- parameters


class Parameters:
    """The parameters of a request, taken one by one; what is left over is unknown.

    Args:
        pairs: name and value as they came, repeated names included.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Sort the pairs by name."""
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def all(self, name: str) -> list[str]:
        """Take every value of a parameter."""
        return self._values.pop(name, [])

    def one(self, name: str) -> str | None:
        """Take a parameter that may be given once; None when it was not.

        Raises:
            Problem: it was given more than once.
        """
        values = self.all(name)
        if len(values) > 1:
            raise bad_parameter(name, "is given more than once")
        return values[0] if values else None

    def nothing_else(self, known: Sequence[str]) -> None:
        """Refuse what was not taken.

        Raises:
            Problem: a parameter is left; the answer names those that are known.
        """
        for name in self._values:
            raise Problem(
                400,
                "unknown-parameter",
                f"There is no parameter {name[:100]!r} here.",
                parameter=name[:100],
                known=list(known),
            )


def bad_parameter(name: str, what: str) -> Problem:
    """The problem of a parameter with a wrong value."""
    return Problem(400, "bad-parameter", f"Parameter {name!r} {what}.", parameter=name)


def read_limit(parameters: Parameters, default: int) -> int:
    """Rows of a page: 1 to 10,000."""
    text = parameters.one("limit")
    if text is None:
        return default
    if not _INTEGER.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
        raise bad_parameter("limit", f"must be a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def read_flag(parameters: Parameters, name: str) -> bool:
    """A boolean parameter; false when it is not given."""
    text = parameters.one(name)
    return text is not None and bool(_parse_boolean(name, text))


def read_date(parameters: Parameters, name: str) -> date | None:
    """A date such as 2025-01-31; None when it is not given."""
    text = parameters.one(name)
    return None if text is None else _parse_date(name, text)


def read_text(parameters: Parameters, name: str) -> str | None:
    """A text, which `eq.` may stand before; None when it is not given."""
    text = parameters.one(name)
    return None if text is None else _parse_text(name, _without_operator(name, text))


# ---------------------------------------------------------------------------- operators


def _split(name: str, text: str) -> tuple[str, str]:
    """The operator and the value of a filter; `eq` where the text names none.

    Raises:
        Problem: the text begins like the operator of another API, or like one of ours misspelt.
    """
    match = _OPERATOR.fullmatch(text)
    if match is None:
        _refuse_operator(name, text, "knows other operators")
        return "eq", text
    if match[1] == LIST_OPERATOR and match[2].startswith("(") and match[2].endswith(")"):
        raise bad_parameter(name, "must be a list without parentheses, such as in.a,b")
    return match[1], match[2]


def _without_operator(name: str, text: str) -> str:
    """The value of a parameter that takes no operator, without an `eq.` before it.

    Raises:
        Problem: the text begins like an operator.
    """
    if text.startswith("eq."):
        return text.removeprefix("eq.")
    _refuse_operator(name, text, "takes none; those of /api/v1/marts do")
    return text


def _refuse_operator(name: str, text: str, where: str) -> None:
    match = _PREFIX.match(text)
    if match is None or match[1].lower() not in _LIKE_OPERATORS:
        return
    ours = [*OPERATORS, LIST_OPERATOR]
    raise Problem(
        400,
        "bad-parameter",
        f"Parameter {name!r} begins with {match[0]!r} like an operator, and {where}: "
        f"{', '.join(ours)} in lower case, as eq.value; is.null, is.not_null. To look for the text "
        "itself, write eq. before it.",
        parameter=name,
        operators=[*ours, *NULL_TESTS],
    )


@dataclass(frozen=True)
class _Bound:
    """A value that a column is to be above or below."""

    column: str
    operator: str
    value: Any
    parameter: str


def _refuse_empty_ranges(bounds: Sequence[_Bound]) -> None:
    """Refuse ranges that end before they start: nobody asks for those on purpose.

    Raises:
        Problem: a lower bound of a column is above an upper bound.
    """
    for low in bounds:
        for high in bounds:
            if (
                low.column == high.column
                and low.operator in _LOWER
                and high.operator in _UPPER
                and low.value > high.value
            ):
                raise bad_parameter(
                    low.parameter,
                    f"must not be after {high.parameter}"
                    if low.parameter != high.parameter
                    else f"must not be {low.operator}. more than it is {high.operator}.",
                )


# ---------------------------------------------------------------------------- values


def _parse_text(name: str, text: str) -> str:
    if "\x00" in text:
        raise bad_parameter(name, "must not hold the character NUL")
    if _SURROGATE.search(text):  # half a character, which a forged cursor can hold; not UTF-8
        raise bad_parameter(name, "must be Unicode text")
    return text


def _parse_integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise bad_parameter(name, "must be a whole number of 64 bits")
    return int(text)


def _parse_decimal(name: str, text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise bad_parameter(name, "must be a number such as 12.50")
    return Decimal(text)


def _parse_double(name: str, text: str) -> float:
    if not _DOUBLE.fullmatch(text) or not math.isfinite(float(text)):
        raise bad_parameter(name, "must be a number such as 12.50 or 1e-07")
    return float(text)


def _parse_date(name: str, text: str) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise bad_parameter(name, "must be a date such as 2025-01-31")


def _parse_timestamp(name: str, text: str) -> datetime:
    try:
        if _TIMESTAMP.fullmatch(text):
            time = datetime.fromisoformat(text)
            return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError):
        pass
    raise bad_parameter(name, "must be a time such as 2025-01-31T12:00:00Z")


def _parse_boolean(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise bad_parameter(name, "must be true or false")
    return text == "true"


# How a column's type reads a value, and the type that the parameter has in SQL.
_PARSERS: dict[str, tuple[Callable[[str, str], object], str]] = {
    "VARCHAR": (_parse_text, "varchar"),
    "BIGINT": (_parse_integer, "bigint"),
    "INTEGER": (_parse_integer, "bigint"),
    "SMALLINT": (_parse_integer, "bigint"),
    "TINYINT": (_parse_integer, "bigint"),
    "DECIMAL": (_parse_decimal, "decimal(38, 10)"),
    "DOUBLE": (_parse_double, "double"),
    "FLOAT": (_parse_double, "float"),
    "DATE": (_parse_date, "date"),
    "TIMESTAMP": (_parse_timestamp, "timestamp"),
    "BOOLEAN": (_parse_boolean, "boolean"),
}


def base_type(column: Column) -> str:
    """The type without its digits: DECIMAL for DECIMAL(18,2); a list stays one (VARCHAR[])."""
    return column.type if column.type.endswith("[]") else column.type.partition("(")[0]


def is_filterable(column: Column) -> bool:
    """Whether values can be compared with this column."""
    return base_type(column) in _PARSERS


def compare(column: Column, operator: str, text: str, parameter: str) -> tuple[Condition, str]:
    """The condition that a column compares so with a value.

    Args:
        column: a column of the catalog.
        operator: one of `OPERATORS`, or `in` with comma-separated values (quoted as in CSV).
        text: the value as it came.
        parameter: the parameter's name, for the message.

    Returns:
        The condition, and the normalised spelling of its value.

    Raises:
        Problem: the value is none of the column's type.
    """
    if not is_filterable(column):
        raise bad_parameter(parameter, f"is of type {column.type}, which cannot be filtered")
    parse, sql_type = _PARSERS[base_type(column)]
    placeholder = f"cast(? as {sql_type})"
    if operator != LIST_OPERATOR:
        value = parse(parameter, text)
        sql = OPERATORS[operator].format(column=quoted(column.name), value=placeholder)
        return Condition(sql, (value,)), str(value)
    try:
        (texts,) = csv.reader([text], strict=True) if text else [[""]]  # csv: no line, no value
    except (csv.Error, ValueError):
        raise bad_parameter(parameter, 'must be a list such as in.a,b or in."a,b",c') from None
    if len(texts) > MAX_LIST:
        raise bad_parameter(parameter, f"must list at most {MAX_LIST} values")
    values = sorted({parse(parameter, item) for item in texts}, key=str)
    sql = f"{quoted(column.name)} in ({', '.join([placeholder] * len(values))})"
    return Condition(sql, tuple(values)), json.dumps([str(value) for value in values])


def quoted(identifier: str) -> str:
    """An identifier of the catalog as SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def order_by(order: Iterable[Order]) -> str:
    """The order by clause, where nulls come last; nothing for a mart of one row, without grain."""
    terms = [
        f"{quoted(term.column)} {'desc' if term.descending else 'asc'} nulls last" for term in order
    ]
    return f"order by {', '.join(terms)}" if terms else ""


# ---------------------------------------------------------------------------- queries


def read_version(parameters: Parameters) -> tuple[str | None, str | None]:
    """The snapshot that is asked for, by `version` or by the cursor, and the cursor.

    Raises:
        Problem: the cursor is none of ours, or names another version than `version` does.
    """
    version, cursor = parameters.one("version"), parameters.one("cursor")
    if cursor is not None:
        content = _read_cursor(cursor)
        if version is not None and version != content[0]:
            raise bad_parameter("cursor", "belongs to another version")
        version = str(content[0])
    return version, cursor


def generic_query(mart: Mart, parameters: Parameters, cursor: str | None) -> PageQuery:
    """A query on any mart: filters by column, the caller's columns and order.

    Raises:
        Problem: a parameter is unknown or has a wrong value.
    """
    limit = read_limit(parameters, mart.default_limit)
    columns = _read_columns(mart, parameters.one("columns"))
    order = _read_order(mart, parameters.one("order"))
    compared: dict[str, Condition] = {}
    bounds: list[_Bound] = []
    for name, column in mart.columns.items():
        for text in parameters.all(name):
            if text in NULL_TESTS:
                compared[f"{name} {text}"] = Condition(NULL_TESTS[text].format(column=quoted(name)))
                continue
            operator, value = _split(name, text)
            condition, spelling = compare(column, operator, value, name)
            compared[f"{name} {operator} {spelling}"] = condition
            bounds += [_Bound(name, operator, bound, name) for bound in condition.values[:1]]
    _refuse_empty_ranges(bounds)
    parameters.nothing_else([*RESERVED, *mart.columns])
    return _page(mart, columns, compared, order, limit, cursor)


def route_query(mart: Mart, parameters: Parameters, cursor: str | None) -> PageQuery:
    """A query on a mart's declared route: its own filters, its own order.

    Raises:
        Problem: a parameter is unknown or has a wrong value.
    """
    limit = read_limit(parameters, mart.default_limit)
    compared: dict[str, Condition] = {}
    bounds: list[_Bound] = []
    for rule in mart.filters:
        text = parameters.one(rule.parameter)
        if text is not None:
            if base_type(mart.columns[rule.column]) == "VARCHAR":
                text = _without_operator(rule.parameter, text)
            condition, spelling = compare(
                mart.columns[rule.column], rule.operator, text, rule.parameter
            )
            compared[f"{rule.column} {rule.operator} {spelling}"] = condition
            bounds += [
                _Bound(rule.column, rule.operator, bound, rule.parameter)
                for bound in condition.values[:1]
            ]
    _refuse_empty_ranges(bounds)
    for hidden in mart.hide:
        if hidden.unless is None or not read_flag(parameters, hidden.unless):
            compared[f"{hidden.column} hidden"] = Condition(
                f"{quoted(hidden.column)} is distinct from ?", (hidden.equals,)
            )
    parameters.nothing_else(route_parameters(mart))
    return _page(mart, tuple(mart.columns), compared, mart.order, limit, cursor)


def route_parameters(mart: Mart) -> list[str]:
    """The names of the parameters of a declared route."""
    flags = [hidden.unless for hidden in mart.hide if hidden.unless]
    return (
        [rule.parameter for rule in mart.filters] + flags + ["limit", "cursor", "version", "excel"]
    )


def _page(
    mart: Mart,
    columns: tuple[str, ...],
    compared: Mapping[str, Condition],
    order: tuple[Order, ...],
    limit: int,
    cursor: str | None,
) -> PageQuery:
    normalised = json.dumps(
        [mart.name, columns, sorted(compared), [str(term) for term in order]], ensure_ascii=False
    )
    after = None if cursor is None else _read_place(mart, order, normalised, cursor)
    return PageQuery(mart, columns, tuple(compared.values()), order, limit, normalised, after)


def _read_columns(mart: Mart, text: str | None) -> tuple[str, ...]:
    if text is None:
        return tuple(mart.columns)
    names = text.split(",")
    for name in names:
        if name not in mart.columns:
            raise _no_column("columns", name, mart)
        if names.count(name) > 1:
            raise bad_parameter("columns", f"names {name} more than once")
    return tuple(names)


def _read_order(mart: Mart, text: str | None) -> tuple[Order, ...]:
    if text is None:
        return mart.order
    terms = tuple(Order.parse(term) for term in text.split(","))
    names = [term.column for term in terms]
    for name in names:
        if name not in mart.columns:
            raise _no_column("order", name, mart)
        if not is_filterable(mart.columns[name]):
            raise bad_parameter("order", f"names {name}, which cannot be ordered")
        if names.count(name) > 1:
            raise bad_parameter("order", f"names {name} more than once")
    return mart.total_order(terms)


def _no_column(parameter: str, name: str, mart: Mart) -> Problem:
    return Problem(
        400,
        "unknown-column",
        f"Parameter {parameter!r} names {name[:100]!r}, which is no column of {mart.name}.",
        parameter=parameter,
        known=list(mart.columns),
    )


# ---------------------------------------------------------------------------- cursors


def _fingerprint(normalised: str) -> str:
    return hashlib.sha256(normalised.encode()).hexdigest()[:16]


def _read_cursor(cursor: str) -> list[Any]:
    try:
        content = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        content = None
    if (
        not isinstance(content, list)
        or len(content) < 2
        or not all(item is None or isinstance(item, str) for item in content)
        or None in content[:2]
    ):
        raise bad_parameter("cursor", "is not one that this API gave")
    return content


def _read_place(
    mart: Mart, order: tuple[Order, ...], normalised: str, cursor: str
) -> tuple[str | None, ...]:
    _version, fingerprint, *keys = _read_cursor(cursor)
    if fingerprint != _fingerprint(normalised) or len(keys) != len(order):
        raise bad_parameter("cursor", "belongs to another question; ask for the first page again")
    for term, key in zip(order, keys, strict=True):
        if key is not None:
            _PARSERS[base_type(mart.columns[term.column])][0]("cursor", key)
    return tuple(keys)


def _after(mart: Mart, order: tuple[Order, ...], keys: tuple[str | None, ...]) -> Condition:
    """The rows that come after one, in an order where nulls come last."""
    if not order:
        return Condition("false")
    term, key = order[0], keys[0]
    parse, sql_type = _PARSERS[base_type(mart.columns[term.column])]
    column, value = quoted(term.column), f"cast(? as {sql_type})"
    rest = _after(mart, order[1:], keys[1:])
    if key is None:  # only nulls are left
        return Condition(f"{column} is null and ({rest.sql})", rest.values)
    bound = parse("cursor", key)
    further = "<" if term.descending else ">"
    return Condition(
        f"{column} {further} {value} or {column} is null or ({column} = {value} and ({rest.sql}))",
        (bound, bound, *rest.values),
    )
