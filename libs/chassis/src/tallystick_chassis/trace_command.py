"""``python -m tallystick_<service> trace``: what one service knows of one correlation id, for ``tally trace``.

``find ID`` tells what the service stored and published; ``handled`` takes events on standard input and tells which of
them the service handled, or buried as dead letters. Nothing personal is printed: actors are pseudonyms. Public events
are left out, since their id beside a correlation would join what they keep apart.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec
from sqlalchemy import and_, select, union
from tallystick_contracts.envelope import decode_envelope
from tallystick_contracts.registry import REGISTRY

from tallystick_chassis.http.correlation import is_correlation
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import dead_letters, events, feed, feed_heads, inbox, outbox

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.service import Command, Runtime

MAX_HOPS: Final = 10_000
_PUBLIC: Final = frozenset(kind.type for kind in REGISTRY if kind.public)
_MISUSED: Final = 2


class Hop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened to one event at one moment in one service.

    ``what`` is ``stored``, ``published``, ``handled``, ``buried`` (it became a dead letter) or ``recorded`` (it is
    entry ``seq`` of ``log``). ``waits_for`` says of a stored event what has not happened yet: ``broker``, ``receipt``,
    or nothing once the ledger has confirmed it.
    """

    at: datetime
    service: str
    what: str
    tenant: UUID
    event_id: UUID
    event_type: str
    actor: str | None = None
    causation: str | None = None
    client_correlation: str | None = None
    consumer: str | None = None
    log: str | None = None
    seq: int | None = None
    source_seq: int | None = None
    trace: str | None = None
    waits_for: str | None = None


class Handled(msgspec.Struct, frozen=True):
    """An event that a service is asked about."""

    tenant: UUID
    event_id: UUID
    event_type: str


More = Callable[["DutyDatabase", str], Awaitable[Sequence[Hop]]]
"""Further hops of ``find``: what the ledger has recorded."""


def trace_command(more: More | None = None) -> Command:
    """Return the ``trace`` command; ``more`` adds what only this service knows."""

    async def trace(runtime: Runtime, arguments: Sequence[str]) -> int:
        parser = argparse.ArgumentParser(prog="trace", description=__doc__)
        does = parser.add_subparsers(dest="does", required=True)
        does.add_parser("find").add_argument("correlation")
        does.add_parser("handled")
        asked = parser.parse_args(list(arguments))
        if asked.does == "handled":
            hops = await _handled(runtime, msgspec.json.decode(sys.stdin.buffer.read(), type=list[Handled]))
        elif not is_correlation(asked.correlation):
            sys.stderr.write("tallystick: that is no correlation id\n")
            return _MISUSED
        else:
            hops = await find_hops(runtime.duty, runtime.service, asked.correlation)
            if more is not None:
                hops += await more(runtime.duty, asked.correlation)
        sys.stdout.write(msgspec.json.encode(hops).decode() + "\n")
        return 0

    return trace


async def find_hops(duty: DutyDatabase, service: str, correlation: str) -> list[Hop]:
    """Return what ``service`` stored under ``correlation``, in any tenant, and how far each event has come."""
    async with duty.duty() as connection:
        tenants = await _tenants(connection)
        rows = await connection.execute(
            select(
                events.c.tenant_id,
                events.c.event_id,
                events.c.type,
                events.c.body,
                events.c.client_correlation,
                events.c.stored_at,
                feed.c.source_seq,
                outbox.c.event_id.is_not(None).label("waits"),
                outbox.c.published_at,
            )
            .select_from(events.outerjoin(feed, _same_event(feed)).outerjoin(outbox, _same_event(outbox)))
            .where(events.c.tenant_id.in_(tenants), events.c.correlation == correlation)
            .order_by(events.c.stored_at)
            .limit(MAX_HOPS)
        )
        hops: list[Hop] = []
        for row in rows:
            if row.type in _PUBLIC:
                continue
            envelope = decode_envelope(bytes(row.body))
            hop = partial(Hop, service=service, tenant=row.tenant_id, event_id=row.event_id, event_type=row.type)
            published = row.waits and row.published_at is not None
            hops.append(
                hop(
                    at=row.stored_at,
                    what="stored",
                    actor=envelope.actor,
                    causation=None if envelope.causation is None else str(envelope.causation),
                    client_correlation=row.client_correlation,
                    source_seq=row.source_seq,
                    trace=envelope.trace,
                    waits_for="receipt" if published else "broker" if row.waits else None,
                )
            )
            if published:
                hops.append(hop(at=row.published_at, what="published"))
        return hops


async def _tenants(connection: AsyncConnection) -> list[UUID]:
    # The index on correlations is by tenant; without it every event of the service would be read.
    known = union(select(feed_heads.c.tenant_id), select(outbox.c.tenant_id))
    return list((await connection.execute(known)).scalars())


async def _handled(runtime: Runtime, asked: Sequence[Handled]) -> list[Hop]:
    by_tenant: defaultdict[UUID, dict[UUID, Handled]] = defaultdict(dict)
    for one in asked:
        by_tenant[one.tenant][one.event_id] = one
    hops: list[Hop] = []
    for tenant, wanted in by_tenant.items():
        async with runtime.database.transaction(Scope.for_duty(TenantId(tenant), runtime.service)) as tx:
            rows = await tx.execute(
                select(inbox.c.consumer, inbox.c.event_id, inbox.c.handled_at).where(
                    inbox.c.tenant_id == tenant, inbox.c.event_id.in_(list(wanted))
                )
            )
            letters = await tx.execute(
                select(dead_letters.c.consumer, dead_letters.c.event_id, dead_letters.c.last_at).where(
                    dead_letters.c.tenant_id == tenant, dead_letters.c.event_id.in_(list(wanted))
                )
            )
            found = [("handled", row.consumer, row.event_id, row.handled_at) for row in rows]
            found += [("buried", row.consumer, row.event_id, row.last_at) for row in letters]
            hops += [
                Hop(
                    at=at,
                    service=runtime.service,
                    what=what,
                    tenant=tenant,
                    event_id=event_id,
                    event_type=wanted[event_id].event_type,
                    consumer=consumer,
                )
                for what, consumer, event_id, at in found
            ]
    return hops


def _same_event(table: Table) -> ColumnElement[bool]:
    return and_(events.c.tenant_id == table.c.tenant_id, events.c.event_id == table.c.event_id)
