"""The SQL of sending: who may send now, what, and what became of it.

Only the questions which destinations are due, and whose there are, cross tenants, as the duty role. The rest is in the
tenant's own scope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text
from tallystick_chassis.ids import TenantId

from tallystick_ledger.siem.domain import BATCH_ENTRIES, Destination, Kind

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.siem.domain import Batch

# A log that lost signed entries is not streamed on, whatever the database now has of it; its successor is.
_IS_WHOLE = """
not exists (select from ledger.breaks where breaks.tenant_id = logs.tenant_id and breaks.origin = logs.origin)
""".strip()
_HAS_NEWS = f"""
exists (
    select from ledger.logs
    left join ledger.siem_cursors as cursors
        on cursors.tenant_id = logs.tenant_id and cursors.log_id = logs.id and cursors.destination_id = found.id
    where
        logs.tenant_id = found.tenant_id and logs.kind = any(found.log_kinds) and logs.dropped_at is null
        and logs.size > coalesce(cursors.next_seq, 0) and {_IS_WHOLE}
)
"""
_IS_SILENT = "found.beat_at + make_interval(secs => found.heartbeat_s) <= now()"
_MAY_SEND = (
    "found.removed_at is null and found.paused_at is null and found.next_at <= now() "
    "and (found.leased_until is null or found.leased_until <= now())"
)
_DUE = text(f"""
select found.tenant_id, found.id from ledger.siem_destinations as found
where {_MAY_SEND} and (found.test_at is not null or {_IS_SILENT} or {_HAS_NEWS})
order by found.next_at
limit :limit
""")  # noqa: S608 - constants
_WAITING = text(f"""
select coalesce(max(waiting), 0) from (
    select sum(greatest(logs.size - coalesce(cursors.next_seq, 0), 0)) as waiting
    from ledger.siem_destinations as found
    inner join ledger.logs
        on logs.tenant_id = found.tenant_id and logs.kind = any(found.log_kinds) and logs.dropped_at is null
    left join ledger.siem_cursors as cursors
        on cursors.tenant_id = logs.tenant_id and cursors.log_id = logs.id and cursors.destination_id = found.id
    where found.removed_at is null and found.paused_at is null and {_IS_WHOLE}
    group by found.tenant_id, found.id
) as each
""")  # noqa: S608 - a constant
_TAKE = text(f"""
update ledger.siem_destinations as taken
set lease = :lease, leased_until = now() + make_interval(secs => :lease_s)
from (
    select found.tenant_id, found.id, {_IS_SILENT} as is_silent from ledger.siem_destinations as found
    where found.tenant_id = :tenant and found.id = :id and {_MAY_SEND}
    for update skip locked
) as free
where taken.tenant_id = free.tenant_id and taken.id = free.id
returning
    taken.tenant_id, taken.id, taken.kind, taken.address, taken.secret, taken.epoch, taken.batch_entries,
    taken.attempts, taken.refused_in_row, taken.test_at is not null as is_test, free.is_silent
""")  # noqa: S608 - constants
# The log that has waited longest for its turn first.
_NEWS = text(f"""
select logs.id, coalesce(cursors.next_seq, 0) as next_seq
from ledger.siem_destinations as found
inner join ledger.logs
    on logs.tenant_id = found.tenant_id and logs.kind = any(found.log_kinds) and logs.dropped_at is null
left join ledger.siem_cursors as cursors
    on cursors.tenant_id = logs.tenant_id and cursors.log_id = logs.id and cursors.destination_id = found.id
where found.tenant_id = :tenant and found.id = :id and logs.size > coalesce(cursors.next_seq, 0)
    and {_IS_WHOLE}
order by cursors.moved_at nulls first, logs.period nulls first, logs.id
""")  # noqa: S608 - a constant
_OPEN_LOGS = text(f"""
select logs.id from ledger.siem_destinations as found
inner join ledger.logs on logs.tenant_id = found.tenant_id and logs.kind = any(found.log_kinds)
where
    found.tenant_id = :tenant and found.id = :id
    and logs.closed_at is null and logs.dropped_at is null and logs.size > 0 and {_IS_WHOLE}
order by logs.period nulls first, logs.id
""")  # noqa: S608 - a constant
_MOVE = text("""
insert into ledger.siem_cursors as cursors (tenant_id, destination_id, log_id, next_seq, moved_at)
values (:tenant, :id, :log, :until, now())
on conflict (tenant_id, destination_id, log_id) do update set next_seq = excluded.next_seq, moved_at = now()
where cursors.next_seq = :start
""")
_SETTLE_LETTERS = text("""
update ledger.siem_dead_letters set taken_at = now()
where
    tenant_id = :tenant and destination_id = :id and log_id = :log and seq >= :start and seq < :until
    and taken_at is null
""")
_BURY = text("""
insert into ledger.siem_dead_letters (
    tenant_id, destination_id, log_id, seq, event_id, type, status, refused_at
)
select tenant_id, cast(:id as uuid), log_id, seq, event_id, type, cast(:status as integer), now() from ledger.entries
where tenant_id = :tenant and log_id = :log and seq = :start
on conflict (tenant_id, destination_id, log_id, seq) do update
set status = excluded.status, refused_at = excluded.refused_at, taken_at = null
""")
_HELD = "where tenant_id = :tenant and id = :id and lease = :lease and removed_at is null"
_TAKEN = text(f"""
update ledger.siem_destinations
set
    lease = null, leased_until = null, attempts = 0, next_at = now(), beat_at = now(), tried_at = now(),
    fault = null,
    refused_in_row = case when :entries > 0 then 0 else refused_in_row end,
    batch_entries = case when :entries > 0 then least(batch_entries * 2, :most) else batch_entries end,
    test_at = case when :was_test then null else test_at end
{_HELD}
""")  # noqa: S608 - constants
_SHRUNK = text(f"""
update ledger.siem_destinations
set
    lease = null, leased_until = null, next_at = now(), tried_at = now(), fault = :fault, attempts = 0,
    batch_entries = greatest(:entries / 2, 1)
{_HELD}
""")  # noqa: S608 - constants
_BURIED = text(f"""
update ledger.siem_destinations
set
    lease = null, leased_until = null, next_at = now(), tried_at = now(), fault = :fault, attempts = 0,
    refused_in_row = refused_in_row + 1
{_HELD}
""")  # noqa: S608 - constants
_FAILED = text(f"""
update ledger.siem_destinations
set
    lease = null, leased_until = null, attempts = attempts + 1, tried_at = now(), fault = :fault,
    next_at = now() + make_interval(secs => :wait_s), test_at = case when :was_test then null else test_at end
{_HELD}
""")  # noqa: S608 - constants
_RELEASE = text(f"""
update ledger.siem_destinations set lease = null, leased_until = null {_HELD}
""")  # noqa: S608 - constants


class Due(NamedTuple):
    """A destination that something is to be sent to."""

    tenant: TenantId
    id: UUID


class News(NamedTuple):
    """A log with entries that a destination has not taken, and the first of them."""

    log: UUID
    next_seq: int


class Held(NamedTuple):
    """A destination on which this worker holds the lease."""

    destination: Destination
    lease: UUID

    @property
    def named(self) -> dict[str, object]:
        """The row, as long as the lease is ours."""
        return {"tenant": self.destination.tenant, "id": self.destination.id, "lease": self.lease}


async def find_due(connection: AsyncConnection, limit: int) -> list[Due]:
    """Return destinations of any tenant that are due, and that nobody sends to, those due longest first."""
    return [Due(TenantId(row.tenant_id), row.id) for row in await connection.execute(_DUE, {"limit": limit})]


async def longest_wait(connection: AsyncConnection) -> int:
    """Return how many entries the destination that is behind most has yet to take."""
    return int((await connection.execute(_WAITING)).scalar_one())


async def take(tx: Transaction, destination: UUID, lease: UUID, lease_s: float) -> Held | None:
    """Take the lease; `None` if somebody else has it or the destination is not due any more."""
    given = {"tenant": tx.scope.tenant, "id": destination, "lease": lease, "lease_s": lease_s}
    row = (await tx.execute(_TAKE, given)).first()
    if row is None:
        return None
    destination_taken = Destination(
        tenant=TenantId(row.tenant_id),
        id=row.id,
        kind=Kind(row.kind),
        address=row.address,
        secret=row.secret,
        epoch=row.epoch,
        batch_entries=row.batch_entries,
        attempts=row.attempts,
        refused_in_row=row.refused_in_row,
        is_test=row.is_test,
        is_silent=row.is_silent,
    )
    return Held(destination_taken, lease)


async def news(tx: Transaction, destination: UUID) -> list[News]:
    """Return the logs that have something new for the destination, in the order of their turns."""
    found = await tx.execute(_NEWS, {"tenant": tx.scope.tenant, "id": destination})
    return [News(row.id, row.next_seq) for row in found]


async def open_logs(tx: Transaction, destination: UUID) -> list[UUID]:
    """Return the logs that a heartbeat shows the checkpoints of."""
    return list((await tx.execute(_OPEN_LOGS, {"tenant": tx.scope.tenant, "id": destination})).scalars())


async def note_taken(tx: Transaction, held: Held, batch: Batch) -> bool:
    """Move the cursor behind the batch and give the lease back; false if it was lost, and nothing is moved."""
    given = held.named | {
        "entries": batch.entries,
        "most": BATCH_ENTRIES,
        "was_test": held.destination.is_test and batch.log is None,
    }
    if (await tx.execute(_TAKEN, given)).rowcount != 1:
        return False
    if batch.log is not None:
        await _move(tx, held, batch)
        await tx.execute(_SETTLE_LETTERS, _range(held, batch))
    return True


async def note_shrunk(tx: Transaction, held: Held, batch: Batch, fault: str | None) -> bool:
    """Have half of a refused batch tried next; false if the lease was lost."""
    return (await tx.execute(_SHRUNK, held.named | {"entries": batch.entries, "fault": fault})).rowcount == 1


async def bury(tx: Transaction, held: Held, batch: Batch, fault: str | None, status: int) -> bool:
    """Make the batch's one entry a dead letter and go on behind it; false if the lease was lost."""
    if (await tx.execute(_BURIED, held.named | {"fault": fault})).rowcount != 1:
        return False
    await tx.execute(_BURY, _range(held, batch) | {"status": status})
    await _move(tx, held, batch)
    return True


async def note_failed(tx: Transaction, held: Held, fault: str | None, wait_s: float, *, was_test: bool) -> bool:
    """Try again after ``wait_s``; false if the lease was lost. A test that failed is over."""
    given = held.named | {"fault": fault, "wait_s": wait_s, "was_test": was_test}
    return (await tx.execute(_FAILED, given)).rowcount == 1


async def release(tx: Transaction, held: Held) -> None:
    """Give the lease back: nothing was sent, or nobody knows what became of it."""
    await tx.execute(_RELEASE, held.named)


async def _move(tx: Transaction, held: Held, batch: Batch) -> None:
    # Unless a replay has set the cursor back meanwhile.
    await tx.execute(_MOVE, _range(held, batch))


def _range(held: Held, batch: Batch) -> dict[str, object]:
    return held.named | {"log": batch.log, "start": batch.start, "until": batch.until}
