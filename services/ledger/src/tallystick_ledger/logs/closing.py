"""Closing audit logs whose month is over, and saying so in the compliance log.

Three steps, each of which may be the last before a crash: close (nothing more goes in), announce (an event through the
outbox, under a stream that can have one only), note the announcement. The next run goes on where this one stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from sqlalchemy import text
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import ConcurrencyError, EventDraft
from tallystick_contracts.generated.ledger import AuditLogClosed
from tallystick_tlog import to_base64

from tallystick_ledger.logs.domain import CLOSING_GRACE, period_of

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row
    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import Database, DutyDatabase

    from tallystick_ledger.high_water.watch import BreakWatch

_CLOSE = text("""
update ledger.logs set closed_at = :now
where kind = 'audit' and closed_at is null and period < :current and origin <> all(cast(:frozen as text[]))
""")
_TO_ANNOUNCE = text("""
select logs.tenant_id, logs.id, logs.period, logs.size, checkpoints.root, checkpoints.note
from ledger.logs
inner join ledger.checkpoints
    on checkpoints.tenant_id = logs.tenant_id and checkpoints.log_id = logs.id and checkpoints.size = logs.size
where logs.closed_at is not null and logs.announced_at is null
order by logs.tenant_id, logs.period
limit 100
""")
_ANNOUNCED = text("""
update ledger.logs set announced_at = :now where tenant_id = :tenant and id = :log and announced_at is null
""")

log = structlog.get_logger(__name__)


class LogCloser:
    """Closes what is due, of every tenant."""

    def __init__(self, *, database: Database, duty: DutyDatabase, clock: Clock, watch: BreakWatch) -> None:
        self._database = database
        self._duty = duty
        self._clock = clock
        self._watch = watch

    async def step(self) -> bool:
        """Close and announce what is due now; say whether there was anything to announce."""
        return await self.close(self._clock()) > 0

    async def close(self, now: datetime) -> int:
        """Close the audit logs whose month and grace were over at ``now``; return how many were announced."""
        # What a restored database has of a log is not what was signed last: closing that would confirm it.
        frozen = [one.origin for one in await self._watch.find()]
        async with self._duty.duty() as connection:
            await connection.execute(_CLOSE, {"now": now, "current": period_of(now - CLOSING_GRACE), "frozen": frozen})
        async with self._duty.duty() as connection:
            closed = (await connection.execute(_TO_ANNOUNCE)).all()
        for one in closed:
            await self._announce(one)
            async with self._duty.duty() as connection:
                await connection.execute(_ANNOUNCED, {"now": now, "tenant": one.tenant_id, "log": one.id})
        return len(closed)

    async def _announce(self, closed: Row[tuple[object, ...]]) -> None:
        event = AuditLogClosed(
            log=str(closed.id),
            size=closed.size,
            root=to_base64(closed.root),
            checkpoint=closed.note,
            period=closed.period,
        )
        scope = Scope.for_duty(TenantId(closed.tenant_id), self._database.service)
        try:
            async with self._database.transaction(scope) as tx:
                await tx.append(f"audit_log-{closed.id}", 0, [EventDraft(event)])
        except ConcurrencyError:
            return  # announced before a crash, or by another worker
        log.info("audit_log_closed", tenant=str(closed.tenant_id), log_id=str(closed.id), size=closed.size)
