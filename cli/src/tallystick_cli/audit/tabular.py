"""Tables that people open in a spreadsheet: no cell of a log becomes a formula there."""

import csv
import io
from collections.abc import Iterable
from typing import Final

_WIDE: Final = ("\uff1d", "\uff0b", "\uff0d", "\uff20")  # = + - @ as Japanese keyboards write them
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", *_WIDE)


def safe_cell(value: object) -> str:
    """Write a cell; text that a spreadsheet would calculate gets an apostrophe in front, which it takes off."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def csv_rows(rows: Iterable[Iterable[object]]) -> bytes:
    """Write rows of RFC 4180 CSV, UTF-8, each cell made safe."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([safe_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode()
