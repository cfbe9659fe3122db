"""The SQL of destinations, as administrators see and change them: in a tenant's scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from tallystick_ledger.siem.secrets import Wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log

_ADD = text("""
insert into ledger.siem_destinations (
    tenant_id, org_unit_id, id, name, kind, address, log_kinds, heartbeat_s, secret, epoch, created_by, created_at
)
values (
    :tenant, :tenant, :id, :name, :kind, :address, cast(:log_kinds as text[]), :heartbeat_s, :secret, :epoch,
    :created_by, :now
)
on conflict do nothing
returning id
""")
_COUNT = text("""
select count(*) from ledger.siem_destinations where tenant_id = :tenant and removed_at is null
""")
# What a new destination does not get: the entries that are there. A log that opens later has no row, and is sent whole.
_SKIP = text("""
insert into ledger.siem_cursors (tenant_id, destination_id, log_id, next_seq)
select logs.tenant_id, cast(:id as uuid), logs.id, logs.size from ledger.logs
where logs.tenant_id = :tenant and logs.kind = any(cast(:log_kinds as text[])) and logs.dropped_at is null
""")
_LIST = text("""
select
    found.id, found.name, found.kind, found.address, found.log_kinds, found.heartbeat_s, found.created_by,
    found.created_at, found.paused_at is not null as paused, found.attempts, found.fault, found.tried_at,
    found.test_at is not null as test_waits,
    (
        select max(cursors.moved_at) from ledger.siem_cursors as cursors
        where cursors.tenant_id = found.tenant_id and cursors.destination_id = found.id
    ) as taken_at,
    (
        select coalesce(sum(greatest(logs.size - coalesce(cursors.next_seq, 0), 0)), 0)
        from ledger.logs
        left join ledger.siem_cursors as cursors
            on cursors.tenant_id = logs.tenant_id and cursors.log_id = logs.id and cursors.destination_id = found.id
        where logs.tenant_id = found.tenant_id and logs.kind = any(found.log_kinds) and logs.dropped_at is null
    ) as waiting,
    (
        select count(*) from ledger.siem_dead_letters as letters
        where letters.tenant_id = found.tenant_id and letters.destination_id = found.id and letters.taken_at is null
    ) as dead_letters
from ledger.siem_destinations as found
where
    found.tenant_id = :tenant and found.removed_at is null
    and (cast(:id as uuid) is null or found.id = cast(:id as uuid))
order by found.created_at, found.id
""")
_PAUSE = text("""
update ledger.siem_destinations set paused_at = :now
where tenant_id = :tenant and id = :id and removed_at is null and paused_at is null
""")
_RESUME = text("""
update ledger.siem_destinations set paused_at = null, attempts = 0, next_at = now()
where tenant_id = :tenant and id = :id and removed_at is null and paused_at is not null
""")
_REMOVE = text("""
update ledger.siem_destinations set removed_at = :now, secret = null, epoch = null, lease = null, leased_until = null
where tenant_id = :tenant and id = :id and removed_at is null
""")
_TEST = text("""
update ledger.siem_destinations set test_at = :now, next_at = now()
where tenant_id = :tenant and id = :id and removed_at is null and paused_at is null
""")
# Locked, so that a destination that is removed at this moment is removed before or after.
_UNDER_OTHERS = text("""
select id, address, secret, epoch from ledger.siem_destinations
where tenant_id = :tenant and secret is not null and epoch <> :epoch
order by id
for update
""")
_PUT_SECRET = text("""
update ledger.siem_destinations set secret = :secret, epoch = :epoch where tenant_id = :tenant and id = :id
""")
_BACK = text("""
update ledger.siem_cursors set next_seq = :seq
where tenant_id = :tenant and destination_id = :id and log_id = :log and next_seq > :seq
""")
_LETTERS = text("""
select letters.log_id, letters.seq, letters.event_id, letters.type, letters.status, letters.refused_at
from ledger.siem_dead_letters as letters
where letters.tenant_id = :tenant and letters.destination_id = :id and letters.taken_at is null
order by letters.refused_at, letters.log_id, letters.seq
limit :limit
""")
_RECORDED = text("""
select recorded from ledger.entries where tenant_id = :tenant and log_id = :log and seq = :seq
""")


class Settled(NamedTuple):
    """A destination as it is seen: ``waiting`` entries are not taken yet, ``taken_at`` is when some last were.

    ``attempts`` is how often in a row it failed, ``fault`` how, ``tried_at`` when it was last tried.
    """

    id: UUID
    name: str
    kind: str
    address: str
    log_kinds: Sequence[str]
    heartbeat_s: int
    created_by: str
    created_at: datetime
    paused: bool
    attempts: int
    fault: str | None
    tried_at: datetime | None
    test_waits: bool
    taken_at: datetime | None
    waiting: int
    dead_letters: int


class Wanted(NamedTuple):
    """A destination to make."""

    name: str
    kind: str
    address: str
    log_kinds: Sequence[str]
    heartbeat_s: int


class Kept(NamedTuple):
    """A destination's secret as it is stored, and what it is bound to."""

    id: UUID
    address: str
    wrapped: Wrapped


class Letter(NamedTuple):
    """An entry that a receiver refused for good."""

    log: UUID
    seq: int
    event_id: UUID
    type: str
    status: int
    refused_at: datetime


async def count(tx: Transaction) -> int:
    """Return how many destinations the tenant has."""
    return int((await tx.execute(_COUNT, {"tenant": tx.scope.tenant})).scalar_one())


async def add(tx: Transaction, destination: UUID, wanted: Wanted, secret: Wrapped | None) -> bool:
    """Store a destination; false if one of this name is there."""
    given = {
        "tenant": tx.scope.tenant,
        "id": destination,
        "created_by": tx.scope.actor,
        "now": tx.clock(),
        "secret": None if secret is None else secret.secret,
        "epoch": None if secret is None else secret.epoch,
    }
    return (
        await tx.execute(_ADD, given | wanted._asdict() | {"log_kinds": list(wanted.log_kinds)})
    ).first() is not None


async def skip_what_is_there(tx: Transaction, destination: UUID, log_kinds: Sequence[str]) -> None:
    """Let the stream begin with what is recorded from now on."""
    await tx.execute(_SKIP, {"tenant": tx.scope.tenant, "id": destination, "log_kinds": list(log_kinds)})


async def list_destinations(tx: Transaction) -> list[Settled]:
    """Return the tenant's destinations, oldest first."""
    return [_settled(row) for row in await tx.execute(_LIST, {"tenant": tx.scope.tenant, "id": None})]


async def find(tx: Transaction, destination: UUID) -> Settled | None:
    """Return one destination, unless it was removed."""
    row = (await tx.execute(_LIST, {"tenant": tx.scope.tenant, "id": destination})).first()
    return None if row is None else _settled(row)


async def pause(tx: Transaction, destination: UUID) -> bool:
    """Send nothing more; false if that was so."""
    return (await tx.execute(_PAUSE, _named(tx, destination) | {"now": tx.clock()})).rowcount == 1


async def resume(tx: Transaction, destination: UUID) -> bool:
    """Send again, at once; false if that was so."""
    return (await tx.execute(_RESUME, _named(tx, destination))).rowcount == 1


async def remove(tx: Transaction, destination: UUID) -> bool:
    """Take the destination away, its secret for good; false if it is not there."""
    return (await tx.execute(_REMOVE, _named(tx, destination) | {"now": tx.clock()})).rowcount == 1


async def ask_for_test(tx: Transaction, destination: UUID) -> bool:
    """Have a heartbeat sent at once; false if the destination is paused or not there."""
    return (await tx.execute(_TEST, _named(tx, destination) | {"now": tx.clock()})).rowcount == 1


async def secrets_under_other_epochs(tx: Transaction, epoch: str) -> list[Kept]:
    """Return the tenant's secrets that are not wrapped under ``epoch``, locked until the transaction ends."""
    rows = await tx.execute(_UNDER_OTHERS, {"tenant": tx.scope.tenant, "epoch": epoch})
    return [Kept(row.id, row.address, Wrapped(bytes(row.secret), row.epoch)) for row in rows]


async def put_secret(tx: Transaction, destination: UUID, wrapped: Wrapped) -> None:
    """Store the secret as it is wrapped now."""
    await tx.execute(_PUT_SECRET, _named(tx, destination) | wrapped._asdict())


async def go_back(tx: Transaction, destination: UUID, log: UUID, seq: int) -> bool:
    """Let the stream of a log go on from ``seq``; false if it has not come further."""
    return (await tx.execute(_BACK, _named(tx, destination) | {"log": log, "seq": seq})).rowcount == 1


async def list_letters(tx: Transaction, destination: UUID, limit: int) -> list[Letter]:
    """Return what the receiver refused and has not taken since, oldest first."""
    rows = await tx.execute(_LETTERS, _named(tx, destination) | {"limit": limit})
    return [Letter(row.log_id, row.seq, row.event_id, row.type, row.status, row.refused_at) for row in rows]


async def seq_since(tx: Transaction, log: Log, since: datetime) -> int:
    """Return the first entry recorded at ``since`` or later; the log's size if there is none.

    Recorded times never go back within a log, so a search in halves finds it.
    """
    low, high = 0, log.size
    while low < high:
        middle = (low + high) // 2
        given = {"tenant": log.tenant, "log": log.id, "seq": middle}
        recorded = (await tx.execute(_RECORDED, given)).scalar_one()
        low, high = (low, middle) if recorded >= since else (middle + 1, high)
    return low


def _named(tx: Transaction, destination: UUID) -> dict[str, object]:
    return {"tenant": tx.scope.tenant, "id": destination}


def _settled(row: object) -> Settled:
    found = Settled(*row)  # type: ignore[misc] # a row is a tuple of its columns
    return found._replace(waiting=int(found.waiting))
