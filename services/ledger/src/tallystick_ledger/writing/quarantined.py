"""What the ledger could not record, for `tally dlq list`: read-only, since its source sends it again until it fits.

Bodies are not shown: an event that breaks its contract may hold what should have been sealed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import text
from tallystick_chassis.dead_letter_command import Listed
from tallystick_contracts.envelope import decode_envelope
from tallystick_contracts.errors import ContractError
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from tallystick_chassis.database import DutyDatabase

_ALL: Final = text("""
select tenant_id, reason, subject, source_seq, body, seen, first_at, last_at
from ledger.quarantine
order by first_at, digest
""")
_SUBJECT: Final = re.compile(r"evt\.[^.]+\.([a-z]+)\.([a-z0-9_]+)\.[a-z0-9_]+")


async def quarantined(duty: DutyDatabase) -> list[Listed]:
    """Return what is in quarantine, of all tenants, oldest first; `error` is why, `attempts` how often it came."""
    async with duty.duty() as connection:
        rows = (await connection.execute(_ALL)).all()
    listed = []
    for row in rows:
        subject = _SUBJECT.fullmatch(row.subject)
        source, aggregate = subject.groups() if subject is not None else ("", "")
        listed.append(
            Listed(
                service=ServiceName.LEDGER,
                tenant=row.tenant_id,
                state="quarantined",
                consumer=ServiceName.LEDGER,
                event_id=_event_id(bytes(row.body)),
                source=source,
                aggregate=aggregate,
                source_seq=row.source_seq,
                error=row.reason,
                attempts=row.seen,
                first_at=row.first_at,
                last_at=row.last_at,
            )
        )
    return listed


def _event_id(body: bytes) -> UUID | None:
    try:
        return decode_envelope(body).id
    except ContractError:
        return None
