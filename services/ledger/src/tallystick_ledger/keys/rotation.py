"""Rotating the checkpoint key, in steps of which each may be the last before a crash; the next run goes on.

1. The new key lies in every process' ring. 2. The installation's statement, signed by both keys, is stored: from here
on there is no other next key. 3. Each tenant's logs get an event with a statement of their own, through the outbox,
under a stream that can have one only. 4. The writer records it, and in that transaction the log's key changes.
5. When every log is reached, the platform's compliance log gets its event too, even if it begins with it, and that all
are reached is noted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import ConcurrencyError, EventDraft
from tallystick_contracts.generated.ledger import AuditKeyRotated, KeyRotated
from tallystick_contracts.message import LogKind
from tallystick_tlog import KeyRotation, format_recorded, rotation_name, sign_rotation, to_base64

from tallystick_ledger.keys import store
from tallystick_ledger.keys.store import Lagging, Statement
from tallystick_ledger.logs.domain import origin_of
from tallystick_ledger.writing.connection import raw_transaction

if TYPE_CHECKING:
    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import Database, DutyDatabase

    from tallystick_ledger.keys.ring import KeyRing


class NoNextKeyError(RuntimeError):
    """Every key of the ring was announced already: there is none to turn to."""


@dataclass(frozen=True, slots=True)
class Rotating:
    """A rotation on its way; ``lagging`` logs are still signed by another key."""

    statement: Statement
    lagging: tuple[Lagging, ...]


class KeyRotator:
    """Rotates the checkpoint key of an installation. Two at once do no harm: each step can happen once only."""

    def __init__(self, *, database: Database, duty: DutyDatabase, ring: KeyRing, prefix: str, clock: Clock) -> None:
        self._database = database
        self._duty = duty
        self._ring = ring
        self._prefix = prefix
        self._clock = clock

    async def begin(self, *, overlap: timedelta, make: bool) -> Statement:
        """Return the unfinished rotation, or announce one to the ring's next key; ``make`` it if there is none.

        Checkpoints carry both signatures for the time of ``overlap``.

        Raises:
            NoNextKeyError: nothing is unfinished, and no key is new.
            CheckpointKeyMissingError: the key in force is not in the ring, so nobody can sign for it.
            KeyRingError: the ring cannot be read or written.
        """
        while True:
            async with raw_transaction(self._duty) as connection:
                announced = await store.statements(connection)
                if announced and await store.is_unfinished(connection, announced[-1]):
                    return announced[-1]
            statement = self._state(announced, self._next_key(announced, make=make), overlap)
            async with raw_transaction(self._duty) as connection:
                await store.announce(connection, statement)
            # If another was faster, its rotation is the unfinished one now.

    async def step(self, statement: Statement) -> Rotating:
        """Send each lagging log its event, unless it was sent, and say which logs lag."""
        async with raw_transaction(self._duty) as connection:
            lagging = await store.lagging(connection, statement)
        for one in lagging:
            await self._send(statement, one)
        if not lagging:
            await self._tell_platform(statement)
            async with raw_transaction(self._duty) as connection:
                await store.finish(connection, statement, self._clock())
        return Rotating(statement, tuple(lagging))

    async def _tell_platform(self, statement: Statement) -> None:
        """See to it that the operator's act stands in the platform's log, where their other acts stand.

        A log that is opened now begins with the new key, so that it does not lag; its event says so all the same.
        """
        async with raw_transaction(self._duty) as connection:
            origin = await store.compliance_origin(connection, PLATFORM_TENANT)
        if origin is None:
            origin = origin_of(self._prefix, PLATFORM_TENANT, None)
        await self._send(statement, Lagging(PLATFORM_TENANT, LogKind.COMPLIANCE, origin, 0))

    def _next_key(self, announced: list[Statement], *, make: bool) -> bytes:
        used = {key for one in announced for key in (one.old, one.new)} or {self._ring.first}
        fresh = [key for key in self._ring.read() if key not in used]
        if fresh:
            return fresh[-1]
        if not make:
            msg = "no key in the ring is new: add one to every ledger process first"
            raise NoNextKeyError(msg)
        return self._ring.make(self._clock().strftime("%Y%m%dT%H%M%S.%fZ"))

    def _state(self, announced: list[Statement], new: bytes, overlap: timedelta) -> Statement:
        now = self._clock()
        old = announced[-1].new if announced else self._ring.first
        note = self._sign(KeyRotation(self._prefix, 0, format_recorded(now), old, new))
        return Statement(len(announced) + 1, old, new, note, now + overlap, now)

    async def _send(self, statement: Statement, lagging: Lagging) -> None:
        name = rotation_name(lagging.origin)
        at = format_recorded(self._clock())
        note = self._sign(KeyRotation(name, lagging.size, at, statement.old, statement.new))
        kind, stream = (KeyRotated, "key") if lagging.kind is LogKind.COMPLIANCE else (AuditKeyRotated, "audit_key")
        event = kind(
            log=name,
            size=lagging.size,
            old_key=to_base64(statement.old),
            new_key=to_base64(statement.new),
            statement=note,
            both_until=format_recorded(statement.both_until),
        )
        try:
            async with self._database.transaction(Scope.for_duty(lagging.tenant, self._database.service)) as tx:
                await tx.append(f"{stream}-{statement.ordinal}", 0, [EventDraft(event)])
        except ConcurrencyError:
            return  # sent before a crash, or by another run

    def _sign(self, rotation: KeyRotation) -> str:
        return sign_rotation(rotation, self._ring.seed_of(rotation.old), self._ring.seed_of(rotation.new))
