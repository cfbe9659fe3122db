"""Epochs: what identity announces so that other services forget what they remember of a session.

An announcement is a watermark and the changes since the one before in one message, so neither can overtake the other.
``number`` counts changes; ``previous`` is the count that the announcement follows. Whoever has another count has
missed something and forgets everything, which is always safe: it asks identity again.
"""

from __future__ import annotations

import enum
from typing import Final
from uuid import UUID

import msgspec

ANNOUNCE_INTERVAL_S: Final = 0.5
FRESH_S: Final = 2.0
MAX_EPOCHS: Final = 2_000
"""Changes in one announcement: about 90 bytes each, where the server takes 1 MiB."""


class EpochScope(enum.StrEnum):
    """Whose sessions a change touches."""

    TENANT = "tenant"
    PERSON = "person"
    SESSION = "session"


class Epoch(msgspec.Struct, frozen=True, array_like=True):
    """One change. ``subject`` is the tenant's id, a pseudonym or a session's reference, as ``scope`` says."""

    tenant: UUID
    scope: EpochScope
    subject: str


class Announcement(msgspec.Struct, frozen=True):
    """Everything that changed up to ``number`` since ``previous``; ``at`` is seconds since 1970 by identity's clock.

    ``at`` is read before the database is, so every change committed by then is counted.
    """

    at: float
    previous: int
    number: int
    epochs: tuple[Epoch, ...] = ()


def encode_announcement(announcement: Announcement) -> bytes:
    """Return the message."""
    return msgspec.json.encode(announcement)


def decode_announcement(payload: bytes) -> Announcement:
    """Read a message.

    Raises:
        msgspec.DecodeError: if it is none.
    """
    return msgspec.json.decode(payload, type=Announcement)
