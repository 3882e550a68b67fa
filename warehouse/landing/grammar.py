"""The grammar of a line of CSV, which all readers keep; docs/contracts.md has it in words.

The engines' own readers get a file only where they do not read it otherwise; the look at its quotes
and the count of its lines see to that. Any other file is read by `warehouse.landing.lines`.
"""

from __future__ import annotations

from collections.abc import Iterable

DELIMITERS = (",", ";", "\t")
QUOTE = '"'
BLANKS = " \t\n\r\u00a0"  # what clean_cell() takes from the ends of a cell


class OpenQuoteError(Exception):
    """A quoted field does not end on its line."""


class QuoteError(Exception):
    """Something follows a closing quote."""


def is_blank(text: str, delimiter: str) -> bool:
    """Whether a line has nothing but delimiters and blanks, and so is none."""
    return not text.strip(delimiter + BLANKS)


def split_fields(text: str, delimiter: str) -> list[str]:
    """The fields of a record; a field in quotes loses them, two quotes inside are one.

    Raises:
        OpenQuoteError: the last field is in quotes that do not close.
        QuoteError: something else than a blank follows a closing quote.
    """
    if QUOTE not in text:
        return text.split(delimiter)
    fields: list[str] = []
    place, length = 0, len(text)
    while True:
        begin = place
        while begin < length and text[begin] == " ":
            begin += 1
        if begin < length and text[begin] == QUOTE:
            field, place = _quoted_field(text, begin + 1)
            while place < length and text[place] == " ":
                place += 1
            fields.append(field)
            if place == length:
                return fields
            if text[place] != delimiter:
                raise QuoteError
            place += 1
        else:
            end = text.find(delimiter, place)
            if end < 0:
                fields.append(text[place:])
                return fields
            fields.append(text[place:end])
            place = end + 1


def _quoted_field(text: str, place: int) -> tuple[str, int]:
    """A field whose opening quote is just before a place, and the place after its closing one."""
    parts = []
    while True:
        quote = text.find(QUOTE, place)
        if quote < 0:
            raise OpenQuoteError
        if text[quote + 1 : quote + 2] != QUOTE:
            parts.append(text[place:quote])
            return "".join(parts), quote + 1
        parts.append(text[place : quote + 1])
        place = quote + 2


def fit(fields: list[str], width: int, least: int) -> bool:
    """Whether fields make a row, which then has all of them.

    Empty fields beyond the width go; those that are missing at the end are empty.

    Args:
        fields: of a record; is changed.
        width: fields of a whole row.
        least: fields that a row must have: the last of them is required.
    """
    while len(fields) > width and not fields[-1].strip(BLANKS):
        fields.pop()
    if least <= len(fields) < width:
        fields += [""] * (width - len(fields))
    return len(fields) == width


def has_spaced_quote(block: bytes | bytearray, before: int) -> bool:
    """Whether a quote follows a space: then readers may differ on what it means.

    To DuckDB two spaces before a quote make it a letter, and `"a" ""` is one quoted field.

    Args:
        block: of a file.
        before: the byte before it.
    """
    if block.find(b'"') < 0:
        return False
    import numpy as np

    letters = np.frombuffer(block, np.uint8)
    is_quote, is_space = letters[1:] == ord(QUOTE), letters[:-1] == ord(" ")
    return bool((is_quote & is_space).any()) or (before, block[0]) == (ord(" "), ord(QUOTE))


def quotes_are_plain(blocks: Iterable[bytes], delimiter: str) -> bool:
    """Whether the quotes of a file mean the same to any reader.

    They do if each opens just after a delimiter or a line end, closes just before one, and if those
    inside are doubled (RFC 4180).

    Args:
        blocks: the file.
        delimiter: of the fields.
    """
    import numpy as np

    opens_after, closes_before = np.zeros(256, bool), np.zeros(256, bool)
    opens_after[list((delimiter + "\n" + QUOTE).encode())] = True
    closes_before[list((delimiter + "\r\n" + QUOTE).encode())] = True
    is_open = has_just_closed = False
    before = ord("\n")
    for block in blocks:
        letters = np.frombuffer(block, np.uint8)
        places = np.flatnonzero(letters == ord(QUOTE))
        opening, closing = places[int(is_open) :: 2], places[1 - int(is_open) :: 2]
        befores = letters[opening - 1]
        if opening.size and opening[0] == 0:
            befores[0] = before
        afters = letters[closing[closing < len(letters) - 1] + 1]
        if (
            (has_just_closed and not closes_before[letters[0]])
            or not opens_after[befores].all()
            or not closes_before[afters].all()
        ):
            return False
        has_just_closed = bool(closing.size and closing[-1] == len(letters) - 1)
        is_open ^= bool(places.size % 2)
        before = int(letters[-1])
    return not is_open
