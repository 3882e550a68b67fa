"""Text that spreadsheet programs take for a formula when they open a CSV file.

Excel, LibreOffice and Google Sheets compute a cell that begins like a formula, whoever wrote it: a
customer's name can run a command, or send the sheet elsewhere. An apostrophe before makes it text.
"""

from __future__ import annotations

import re

BOM = "\ufeff"  # without it, Excel reads a CSV file in the code page of the machine

# Those that begin a formula, also full width, and those that such programs skip before one.
_BEGINS_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would take a text for a formula, or for the beginning of one."""
    return _BEGINS_FORMULA.match(text) is not None


def is_number(text: str) -> bool:
    """Whether a text is a plain number, such as -5.25, which no program computes."""
    return _NUMBER.fullmatch(text) is not None
