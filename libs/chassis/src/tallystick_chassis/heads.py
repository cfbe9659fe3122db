"""Heads: every two seconds each source says how far it has come, so that a consumer knows what it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

import msgspec
from sqlalchemy import and_, func, select, union_all
from tallystick_contracts.envelope import format_time, parse_time
from tallystick_contracts.errors import ContractError
from tallystick_contracts.topology import head_subject

from tallystick_chassis.bus import BusMessage
from tallystick_chassis.tables import feed, feed_heads, outbox

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import DutyDatabase

ANNOUNCE_INTERVAL_S: Final = 2.0
_HEADS_A_MESSAGE: Final = 5_000  # about 80 bytes each; the server's limit is 1 MiB


class Head(msgspec.Struct, frozen=True, array_like=True):
    """How many events one aggregate of one tenant has; the last has this ``source_seq``."""

    tenant: UUID
    aggregate: str
    last_seq: int


class _Announcement(msgspec.Struct, frozen=True):
    at: str
    heads: tuple[Head, ...]


class MalformedHeadsError(ValueError):
    """A heads message is not one."""


class _Speaker(Protocol):
    async def publish(self, message: BusMessage) -> None: ...


class HeadAnnouncer:
    """Announces the heads of one service on core NATS."""

    def __init__(self, *, duty: DutyDatabase, bus: _Speaker, service: str, clock: Clock) -> None:
        """Speak for ``service``, reading as its duty role."""
        self._duty = duty
        self._bus = bus
        self._service = service
        self._clock = clock

    async def step(self) -> bool:
        """Announce every head once.

        Raises:
            BusUnavailableError: if NATS is away.

        """
        at = self._clock()  # before reading: what committed by then is counted
        heads = await self._heads()
        for start in range(0, len(heads), _HEADS_A_MESSAGE):
            payload = msgspec.json.encode(
                _Announcement(format_time(at), tuple(heads[start : start + _HEADS_A_MESSAGE]))
            )
            await self._bus.publish(BusMessage(head_subject(self._service), payload))
        return False

    async def _heads(self) -> list[Head]:
        # Committed events without a number count too: a stalled relay must not make a consumer look up to date.
        unnumbered = (
            select(outbox.c.tenant_id, outbox.c.aggregate, func.count().label("last_seq"))
            .select_from(
                outbox.outerjoin(
                    feed, and_(feed.c.tenant_id == outbox.c.tenant_id, feed.c.event_id == outbox.c.event_id)
                )
            )
            .where(outbox.c.published_at.is_(None), feed.c.event_id.is_(None))
            .group_by(outbox.c.tenant_id, outbox.c.aggregate)
        )
        numbered = select(feed_heads.c.tenant_id, feed_heads.c.aggregate, feed_heads.c.last_seq)
        # One statement, so one snapshot: no event is counted twice or left out.
        both = union_all(numbered, unnumbered).subquery()
        async with self._duty.glance() as connection:
            rows = await connection.execute(
                select(both.c.tenant_id, both.c.aggregate, func.sum(both.c.last_seq)).group_by(
                    both.c.tenant_id, both.c.aggregate
                )
            )
            return [Head(tenant, aggregate, int(last_seq)) for tenant, aggregate, last_seq in rows]


def read_heads(payload: bytes) -> tuple[datetime, tuple[Head, ...]]:
    """Return the moment and the heads of an announcement.

    Raises:
        MalformedHeadsError: if it is none.

    """
    try:
        announcement = msgspec.json.decode(payload, type=_Announcement)
        return parse_time(announcement.at), announcement.heads
    except (msgspec.DecodeError, UnicodeDecodeError, ContractError) as error:
        raise MalformedHeadsError(type(error).__name__) from None
