"""Lists of people, page by page."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from tallystick_identity.people.store import PersonRow

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


class BadCursorError(ValueError):
    """The cursor is none that we gave out."""


def cursor_of(row: PersonRow) -> str:
    """Return the cursor of the page that begins after ``row``."""
    return base64.urlsafe_b64encode(f"{row.created_at.isoformat()}|{row.id}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> tuple[datetime, UUID]:
    """Read what ``cursor_of`` wrote.

    Raises:
        BadCursorError: for anything else.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
        at, _, identifier = raw.partition("|")
        time, uuid = datetime.fromisoformat(at), UUID(identifier)
    except (binascii.Error, UnicodeDecodeError, ValueError):
        time = None
    if time is None or time.tzinfo is None:
        msg = "is not a cursor of this list"
        raise BadCursorError(msg)
    return time, uuid
