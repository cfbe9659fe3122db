"""What a search asks for, and the cursor: where the next page begins, as an opaque text."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Mapping


class Order(StrEnum):
    """By recorded time; entries of one moment by log and seq."""

    OLDEST = "oldest"
    NEWEST = "newest"


class Place(NamedTuple):
    """An entry's place in the order of a search."""

    recorded: datetime
    log: UUID
    seq: int


class CursorError(ValueError):
    """The text is no cursor of this list."""


@dataclass(frozen=True, slots=True)
class Search:
    """Which entries, in which order. ``equal`` is column to value; ``since`` is included, ``until`` is not (UTC)."""

    equal: Mapping[str, str | UUID] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    order: Order = Order.OLDEST


def cursor_after(place: Place, order: Order) -> str:
    """Return the cursor of the page that begins behind ``place``."""
    text = f"{order}|{place.recorded.astimezone(UTC).isoformat()}|{place.log}|{place.seq}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str, order: Order) -> Place:
    """Read a cursor that was given out for this order.

    Raises:
        CursorError: it is none.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
        given, recorded, log, seq = raw.split("|")
        moment = datetime.fromisoformat(recorded)
        place = Place(moment.astimezone(UTC) if moment.tzinfo else moment, UUID(log), int(seq))
    except (binascii.Error, UnicodeError, ValueError, OverflowError) as error:
        raise CursorError from error
    if given != order or place.recorded.tzinfo is None or not 0 <= place.seq < 2**63:
        raise CursorError
    return place
