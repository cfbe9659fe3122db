"""The entries of one correlation id in all tenants' logs, for `tally trace`: past every session, as the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from tallystick_chassis.trace_command import MAX_HOPS, Hop
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from tallystick_chassis.database import DutyDatabase

_FIND: Final = text(
    "select e.tenant_id, e.recorded, e.event_id, e.type, e.origin, e.seq, e.source_seq from ledger.entries e "
    "where e.tenant_id = any(select distinct tenant_id from ledger.logs) and e.correlation = :correlation "
    "order by e.recorded, e.seq limit :limit"
)


async def recorded(duty: DutyDatabase, correlation: str) -> list[Hop]:
    """Return where each event under ``correlation`` stands in the logs."""
    async with duty.duty() as connection:
        rows = await connection.execute(_FIND, {"correlation": correlation, "limit": MAX_HOPS})
        return [
            Hop(
                at=row.recorded,
                service=ServiceName.LEDGER,
                what="recorded",
                tenant=row.tenant_id,
                event_id=row.event_id,
                event_type=row.type,
                log=row.origin,
                seq=row.seq,
                source_seq=row.source_seq,
            )
            for row in rows
        ]
