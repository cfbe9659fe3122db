"""Going on after a break: the logs that cannot continue are closed, and a successor begins with an entry that says so.

Three steps, each of which may be the last before a kill; the command is then given again and goes on:

1. the event, in the ledger's own event store, under a stream that can have one only;
2. its number, from the relay;
3. one transaction: old logs closed, successor opened, the event recorded as its first entry, the breaks settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

from tallystick_chassis.ids import new_id
from tallystick_chassis.scope import ALL_UNITS, Scope
from tallystick_chassis.sealing import TenantKeyMissing
from tallystick_chassis.transaction import ConcurrencyError, EventDraft
from tallystick_contracts.generated.ledger import BrokenLog, LogSucceeded, PeriodSucceeded
from tallystick_contracts.message import LogKind
from tallystick_contracts.topology import ServiceName
from tallystick_tlog import to_base64

from tallystick_ledger.errors import LedgerStateError
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.high_water.store import close_broken, lock_breaks, open_successor, settle
from tallystick_ledger.logs.domain import origin_of, period_of, read_origin, recorded_at, successor_origin
from tallystick_ledger.writing import store
from tallystick_ledger.writing.arrival import Feed, read_event
from tallystick_ledger.writing.batch import build_batch
from tallystick_ledger.writing.connection import raw_transaction
from tallystick_ledger.writing.plan import plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.catch_up import FeedClient
    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.relay import Relay
    from tallystick_chassis.sealing import Sealer

    from tallystick_ledger.high_water.guard import HighWater
    from tallystick_ledger.high_water.store import Break
    from tallystick_ledger.keys.signing import CheckpointKeys
    from tallystick_ledger.writing.arrival import Arrival

OPERATOR: Final = "operator"
"""The actor: whoever has the ledger's secrets, not a person of the tenant."""

_AGGREGATE: Final = {LogKind.COMPLIANCE: "log", LogKind.AUDIT: "period"}


class Succession:
    """Lets a tenant's logs go on after a break."""

    def __init__(
        self,
        *,
        database: Database,
        duty: DutyDatabase,
        relay: Relay,
        feeds: FeedClient,
        marks: HighWater,
        sealer: Sealer,
        keys: CheckpointKeys,
        prefix: str,
        clock: Clock,
    ) -> None:
        """Connect the parts; ``relay`` only numbers, ``feeds`` is asked for the ledger's own events alone."""
        self._database = database
        self._duty = duty
        self._relay = relay
        self._feeds = feeds
        self._marks = marks
        self._sealer = sealer
        self._keys = keys
        self._prefix = prefix
        self._clock = clock

    async def succeed(self, tenant: TenantId, kind: LogKind, breaks: Sequence[Break], reason: str) -> str:
        """Open the successor of a tenant's broken logs of one kind; return its origin.

        Raises:
            LedgerStateError: another command has settled the breaks meanwhile.
        """
        origin, generation = await self._name(tenant, kind)
        await self._announce(tenant, kind, origin, breaks, reason)
        while await self._relay.number(tenant):
            pass
        head = await self._open(tenant, kind, origin, generation, breaks)
        await self._marks.raise_to({origin: head})
        return origin

    async def _name(self, tenant: TenantId, kind: LogKind) -> tuple[str, int]:
        """Return the first free name: also of a log that only its mark remembers."""
        period = None if kind is LogKind.COMPLIANCE else period_of(self._clock())
        names = [read_origin(self._prefix, origin) for origin in await self._marks.read_all()]
        taken = [name.generation for name in names if name and name[:3] == (tenant, kind, period)]
        generation = max(taken, default=0) + 1
        first = origin_of(self._prefix, tenant, period)
        return (first if generation == 1 else successor_origin(first, generation)), generation

    async def _announce(
        self, tenant: TenantId, kind: LogKind, origin: str, breaks: Sequence[Break], reason: str
    ) -> None:
        broken = tuple(
            BrokenLog(
                log=one.origin,
                signed_size=one.marked.size,
                signed_root=to_base64(one.marked.root),
                kept_size=one.kept.size,
                kept_root=to_base64(one.kept.root),
            )
            for one in breaks
        )
        scope = Scope(tenant=tenant, org_units=ALL_UNITS, actor=OPERATOR, correlation=uuid4().hex)
        event_id = new_id()
        try:
            async with self._database.transaction(scope) as tx:
                try:
                    sealed = await self._sealer.for_tenant(tx, event_id=event_id, field="reason", value=reason)
                except TenantKeyMissing:
                    sealed = None  # the platform has none, and a tenant whose keys the backup is older than
                said = LogSucceeded(log=origin, broken=broken, reason=sealed)
                await tx.append(f"log-{origin}", 0, [EventDraft(said, id=event_id)])
                if kind is LogKind.AUDIT:
                    first = PeriodSucceeded(log=origin, broken=broken)
                    await tx.append(f"period-{origin}", 0, [EventDraft(first)])
        except ConcurrencyError:
            return  # said before a kill

    async def _open(
        self, tenant: TenantId, kind: LogKind, origin: str, generation: int, breaks: Sequence[Break]
    ) -> Head:
        own = await self._own_events(tenant, _AGGREGATE[kind])
        origins = [one.origin for one in breaks]
        async with raw_transaction(self._duty) as connection:
            if await lock_breaks(connection, tenant, origins) != len(origins):
                message = f"the breaks of {origin} were settled meanwhile"
                raise LedgerStateError(message)
            now = self._clock()
            await close_broken(connection, tenant, kind, origins, now)
            ledger = await open_successor(connection, tenant, kind, origin, generation, now)
            state = await store.read_state(connection, ledger, {Feed(ServiceName.LEDGER, _AGGREGATE[kind])})
            if state is None:
                message = f"{origin} is not the newest log of its kind"
                raise LedgerStateError(message)
            tree, heads = state
            done = plan(own, heads)
            if not done.fresh or done.fresh[-1].event.stream != f"{_AGGREGATE[kind]}-{origin}":
                message = f"the entry that begins {origin} is not there"
                raise LedgerStateError(message)
            _, signers = await self._keys.signers(connection, ledger, done.fresh, now)
            batch = build_batch(ledger, tree, done.fresh, recorded_at(ledger, now), *signers)
            if not await store.append(connection, batch, signed_at=now):
                message = f"{origin} is not empty"
                raise LedgerStateError(message)
            await settle(connection, tenant, origins, origin, now)
        return Head(batch.size, batch.root)

    async def _own_events(self, tenant: TenantId, aggregate: str) -> list[Arrival]:
        """Return what the ledger ever said of its successions: a handful."""
        found: list[Arrival] = []
        while True:
            page = await self._feeds.read(tenant, ServiceName.LEDGER, aggregate, len(found))
            found += [read_event(tenant, one.source_seq, one.body.encode()) for one in page.events]
            if len(found) >= page.head or not page.events:
                return found
