"""The one clock. Domain code takes times as arguments; the edge asks here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the present moment as an aware datetime in UTC."""


def utc_now() -> datetime:
    """Return the present moment in UTC, with microseconds."""
    return datetime.now(UTC)
