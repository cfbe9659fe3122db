"""Byte ranges of a file whose bytes never change (RFC 9110 §13.1.5 and §14): what a download goes on from."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from tallystick_ledger.errors import RangeNotSatisfiable

# One range only: several are answered whole, as the RFC allows.
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)


class Span(NamedTuple):
    """The bytes ``[start, end)`` of a file."""

    start: int
    end: int


def wanted(given: str | None, if_range: str | None, *, etag: str, total: int) -> Span | None:
    """Return the span that ``Range`` and ``If-Range`` ask for; `None` where the whole file is the answer.

    Raises:
        RangeNotSatisfiable: the range begins behind the file's end.
    """
    if given is None or (if_range is not None and if_range.strip() != etag):
        return None
    found = _RANGE.fullmatch(given.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(total - int(found[2]), 0), total
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, total) if found[2] else total
        if found[2] and int(found[2]) < start:
            return None
    if start >= total:
        raise RangeNotSatisfiable(headers={"Content-Range": f"bytes */{total}"})
    return Span(start, end)
