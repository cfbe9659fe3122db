"""A tenant's logs: their names, their periods, and the time that an entry gets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, NewType
from uuid import UUID

from tallystick_chassis.ids import TenantId
from tallystick_contracts.message import LogKind

LogId = NewType("LogId", UUID)
Period = NewType("Period", str)
"""A calendar month in UTC, as ``2026-11``. Periods sort as their texts do."""

CLOSING_GRACE: Final = timedelta(minutes=5)
"""How long after its period an audit log is closed: longer than clocks of two machines differ."""

_PERIOD: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_ORIGIN: Final = re.compile(
    r"(?P<tenant>[0-9a-f-]{36})/(compliance|audit-(?P<period>[0-9]{4}-[0-9]{2}))([.](?P<generation>[0-9]{1,9}))?"
)
_DECEMBER: Final = 12


@dataclass(frozen=True, slots=True)
class LogKey:
    """The public key that signs a log (32 bytes, Ed25519), and the one before it, which signs too until a time."""

    public: bytes
    previous: bytes | None = None
    both_until: datetime | None = None

    @classmethod
    def of(cls, public: bytes | None, previous: bytes | None, both_until: datetime | None) -> LogKey | None:
        """Read a log's row; ``None`` if it names no key yet, which is so before its first batch or rotation."""
        return None if public is None else cls(public, previous, both_until)


@dataclass(frozen=True, slots=True)
class Log:
    """One log as its row says. ``head`` is the leaf hash of the newest entry (32 zero bytes in an empty log)."""

    tenant: TenantId
    id: LogId
    kind: LogKind
    period: Period | None
    origin: str
    size: int
    head: bytes
    last_recorded: datetime
    opened_at: datetime
    closed_at: datetime | None
    kept_until: datetime | None = None
    dropped_at: datetime | None = None
    key: LogKey | None = None


def period_of(time: datetime) -> Period:
    """Return the month that ``time`` lies in."""
    return Period(time.astimezone(UTC).strftime("%Y-%m"))


def period_start(period: Period) -> datetime:
    """Return the first moment of a period.

    Raises:
        ValueError: ``period`` is not a month.
    """
    if not _PERIOD.fullmatch(period):
        msg = f"not a month: {period!r}"
        raise ValueError(msg)
    return datetime(int(period[:4]), int(period[5:]), 1, tzinfo=UTC)


def next_period(period: Period) -> Period:
    """Return the month after."""
    start = period_start(period)
    if start.month == _DECEMBER:
        return Period(f"{start.year + 1:04}-01")
    return Period(f"{start.year:04}-{start.month + 1:02}")


def kept_until(period: Period, months: int) -> datetime:
    """Return the moment until which an audit log is kept: so many months after its period's end."""
    for _ in range(months + 1):
        period = next_period(period)
    return period_start(period)


def may_close(period: Period, now: datetime) -> bool:
    """Say whether an audit log's period and the grace after it are over."""
    return now >= period_start(next_period(period)) + CLOSING_GRACE


def origin_of(prefix: str, tenant: TenantId, period: Period | None) -> str:
    """Name a log: ``<prefix>/<tenant>/compliance`` or ``<prefix>/<tenant>/audit-2026-11``. So is its key named."""
    return f"{prefix}/{tenant}/{'compliance' if period is None else f'audit-{period}'}"


def successor_origin(origin: str, generation: int) -> str:
    """Name the log that goes on where ``origin``, a log's first name, could not: ``…/compliance.2``."""
    return f"{origin}.{generation}"


class LogName(NamedTuple):
    """What a log's origin says: whose it is, its kind, its period, and how often it was succeeded (first: 1)."""

    tenant: TenantId
    kind: LogKind
    period: Period | None
    generation: int


def read_origin(prefix: str, origin: str) -> LogName | None:
    """Read a log's name; ``None`` if it is not of this installation."""
    found = _ORIGIN.fullmatch(origin.removeprefix(f"{prefix}/"))
    if found is None or not origin.startswith(f"{prefix}/"):
        return None
    period = found["period"]
    return LogName(
        TenantId(UUID(found["tenant"])),
        LogKind.COMPLIANCE if period is None else LogKind.AUDIT,
        None if period is None else Period(period),
        int(found["generation"] or 1),
    )


def period_to_write(newest: Log | None, now: datetime) -> Period:
    """Choose the audit log for what is recorded at ``now``: never a closed one, never one before the newest."""
    current = period_of(now)
    if newest is None or newest.period is None:
        return current
    return max(current, next_period(newest.period) if newest.closed_at else newest.period)


def earliest_recorded(period: Period | None, now: datetime) -> datetime:
    """Return the time before which nothing in a new log is recorded."""
    return now if period is None else period_start(period)


def recorded_at(log: Log, now: datetime) -> datetime:
    """Return the time of the next entries. It never goes back, even when the clock does."""
    return max(now, log.last_recorded)
