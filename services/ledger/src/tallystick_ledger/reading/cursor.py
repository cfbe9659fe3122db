"""The cursor of a timeline: where the next page begins, as an opaque text."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from tallystick_chassis.http.problems import FieldError, ValidationFailed

if TYPE_CHECKING:
    from tallystick_ledger.reading.store import TimedLine

Place = tuple[datetime, UUID, int]
"""Recorded time, log, seq: the order of a timeline."""

BEGINNING: Final[Place] = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0), -1)


def cursor_after(line: TimedLine) -> str:
    """Return the cursor of the page that begins after ``line``."""
    text = f"{line.recorded.isoformat()}|{line.line.log}|{line.line.seq}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str | None) -> Place:
    """Read a cursor; none is the beginning.

    Raises:
        ValidationFailed: it is none that we gave out.
    """
    if text is None:
        return BEGINNING
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
        recorded, log, seq = raw.split("|")
        place = datetime.fromisoformat(recorded), UUID(log), int(seq)
    except (binascii.Error, UnicodeError, ValueError):
        place = None
    if place is None or place[0].tzinfo is None or not 0 <= place[2] < 2**63:
        raise ValidationFailed(errors=[FieldError("is not a cursor of this list", parameter="after")])
    return place
