"""The worker's job that drops expired audit logs whole.

Three steps, each of which may be the last before a crash. A closed log is told until when it is kept. When that time is
over, nothing holds the log and its closing, or its break, stands in the compliance log, it is dropped: from that commit
on nobody gets its content, and the event that says so is in the same transaction. Then the purge role, which can do
nothing else, deletes its rows chunk by chunk; the next run goes on where this one stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy.exc import IntegrityError
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import ConcurrencyError, EventDraft
from tallystick_contracts.generated.ledger import AuditLogDropped
from tallystick_tlog import to_base64

from tallystick_ledger.errors import LedgerStateError
from tallystick_ledger.logs.domain import kept_until
from tallystick_ledger.retention import store

if TYPE_CHECKING:
    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import Database, DutyDatabase

    from tallystick_ledger.retention.store import Dropped, Expired

CHUNK_ENTRIES: Final = 5_000
_VERSION_AFTER_CLOSING: Final = 1

log = structlog.get_logger(__name__)


class LogDropper:
    """Drops what has expired, of every tenant.

    ``purge``, which is closed with this, is the role that can delete dropped logs' rows only.
    """

    def __init__(
        self,
        *,
        database: Database,
        duty: DutyDatabase,
        purge: DutyDatabase,
        clock: Clock,
        retention_months: int,
        chunk_entries: int = CHUNK_ENTRIES,
    ) -> None:
        self._database = database
        self._duty = duty
        self._purge = purge
        self._clock = clock
        self._months = retention_months
        self._chunk_entries = chunk_entries

    async def step(self) -> bool:
        """Do what is due now; say whether there is more.

        Raises:
            LedgerStateError: the purge role can do more, or less, than it should.
        """
        async with self._purge.duty() as connection:
            powers = await store.powers(connection)
        if powers != store.POWERS:
            msg = f"the purge role's powers are not as they should be: {sorted(powers ^ store.POWERS)}"
            raise LedgerStateError(msg)
        async with self._duty.duty() as connection:
            for tenant, log_id, period in await store.find_unset(connection):
                await store.keep_until(connection, tenant, log_id, kept_until(period, self._months))
        async with self._duty.duty() as connection:
            expired = await store.find_expired(connection, self._clock())
        for one in expired:
            await self._drop(one)
        async with self._purge.duty() as connection:
            dropped = await store.find_dropped(connection)
        for each in dropped:
            await self._delete(each)
        return False

    async def close(self) -> None:
        """Close the purge role's connection, which is nobody else's."""
        await self._purge.dispose()

    async def _drop(self, expired: Expired) -> None:
        event = AuditLogDropped(
            log=str(expired.log),
            size=expired.size,
            root=to_base64(expired.root),
            period=expired.period,
            origin=expired.origin,
        )
        try:
            async with self._database.transaction(Scope.for_duty(expired.tenant, self._database.service)) as tx:
                is_closed = await store.closing_is_recorded(tx, expired.log)
                if not is_closed and not await store.break_is_recorded(tx, expired):
                    log.warning(
                        "expired_log_waits_for_its_closing", tenant=str(expired.tenant), log_id=str(expired.log)
                    )
                    return
                if not await store.drop(tx, expired.log, self._clock()):
                    return
                version = _VERSION_AFTER_CLOSING if is_closed else 0
                await tx.append(f"audit_log-{expired.log}", version, [EventDraft(event)])
        except (ConcurrencyError, IntegrityError) as error:
            # Another worker was faster, or a hold came in between: the next run looks again.
            log.info("audit_log_not_dropped", tenant=str(expired.tenant), reason=type(error).__name__)
            return
        log.info("audit_log_dropped", tenant=str(expired.tenant), log_id=str(expired.log), size=expired.size)

    async def _delete(self, dropped: Dropped) -> None:
        more = True
        while more:
            async with self._purge.duty() as connection:
                more = await store.delete_chunk(connection, dropped, self._chunk_entries)
        async with self._purge.duty() as connection:
            await store.finish(connection, dropped, self._clock())
        log.info("audit_log_deleted", tenant=str(dropped.tenant), log_id=str(dropped.log))
