"""Tables that people open in a spreadsheet: no cell of a log becomes a formula there."""

import csv
import io
import re
from collections.abc import Iterable
from typing import Final

_WIDE: Final = ("\uff1d", "\uff0b", "\uff0d", "\uff20")  # = + - @ as Japanese keyboards write them
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", *_WIDE)


# Where a comma is the decimal sign, spreadsheets part cells at semicolons, and take no notice of our quotation marks.
_CELL_WITHIN: Final = re.compile(r"([;\t\r\n][ \"]*)(?=[=+\-@|%" + "".join(_WIDE) + "])")


def safe_cell(value: object) -> str:
    """Write a cell; text that a spreadsheet would calculate gets an apostrophe in front, which it takes off.

    So does what would become a cell of its own in a spreadsheet that parts cells at semicolons, tabs or line feeds.
    """
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    text = _CELL_WITHIN.sub(r"\1'", str(value))
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def csv_rows(rows: Iterable[Iterable[object]]) -> bytes:
    """Write rows of RFC 4180 CSV, UTF-8, each cell made safe."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([safe_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode()
