"""The SQL of checkpoint keys: the installation's statements, the changes in each log, and each log's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallystick_chassis.ids import PLATFORM_TENANT, TenantId
from tallystick_contracts.message import LogKind

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from tallystick_ledger.logs.domain import Log, LogKey

_STATEMENTS: Final = """
select ordinal, old_key, new_key, statement, both_until, announced_at
from ledger.key_statements where tenant_id = $1 order by ordinal
"""
_ANNOUNCE: Final = """
insert into ledger.key_statements
(tenant_id, ordinal, old_key, new_key, statement, both_until, announced_at)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict do nothing
"""
# Logs from before the first rotation do not name their key yet: it is the one that the first statement retires.
_NAME_FIRST: Final = """
update ledger.logs set public_key = $1 where public_key is null and size > 0
"""
_UNFINISHED: Final = """
select not exists (
    select from ledger.key_rotations_finished where tenant_id = $1 and ordinal = $2
)
"""
_FINISH: Final = """
insert into ledger.key_rotations_finished (tenant_id, ordinal, finished_at) values ($1, $2, $3) on conflict do nothing
"""
_LAGGING: Final = """
select newest.tenant_id, newest.kind, newest.origin, newest.size
from (
    select distinct on (logs.tenant_id, logs.kind) logs.*
    from ledger.logs
    order by logs.tenant_id, logs.kind, logs.period desc nulls first, logs.generation desc
) as newest
where newest.closed_at is null and newest.size > 0 and newest.public_key is distinct from $1
order by newest.tenant_id, newest.kind
"""
_COMPLIANCE_ORIGIN: Final = """
select origin from ledger.logs where tenant_id = $1 and kind = 'compliance' order by generation desc limit 1
"""
_CHANGE: Final = """
insert into ledger.key_changes (tenant_id, log_id, seq, old_key, new_key) values ($1, $2, $3, $4, $5)
"""
_SET_KEY: Final = """
update ledger.logs set public_key = $3, previous_key = $4, both_until = $5 where tenant_id = $1 and id = $2
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """One announced rotation of the installation's key; ``note`` is signed by both keys under the origins' prefix."""

    ordinal: int
    old: bytes
    new: bytes
    note: str
    both_until: datetime
    announced_at: datetime


@dataclass(frozen=True, slots=True)
class Lagging:
    """A log that a rotation has not reached; ``size`` is its size now."""

    tenant: TenantId
    kind: LogKind
    origin: str
    size: int


async def statements(connection: asyncpg.Connection) -> list[Statement]:
    """Return what was announced, in order."""
    return [Statement(*row) for row in await connection.fetch(_STATEMENTS, PLATFORM_TENANT)]


async def announce(connection: asyncpg.Connection, statement: Statement) -> None:
    """Store a statement, unless another has its place; logs that name no key yet get the one it retires."""
    await connection.execute(
        _ANNOUNCE,
        PLATFORM_TENANT,
        statement.ordinal,
        statement.old,
        statement.new,
        statement.note,
        statement.both_until,
        statement.announced_at,
    )
    if statement.ordinal == 1:
        await connection.execute(_NAME_FIRST, statement.old)


async def is_unfinished(connection: asyncpg.Connection, statement: Statement) -> bool:
    """Say whether some log may not have been reached yet."""
    return bool(await connection.fetchval(_UNFINISHED, PLATFORM_TENANT, statement.ordinal))


async def finish(connection: asyncpg.Connection, statement: Statement, now: datetime) -> None:
    """Note that every log was reached."""
    await connection.execute(_FINISH, PLATFORM_TENANT, statement.ordinal, now)


async def lagging(connection: asyncpg.Connection, statement: Statement) -> list[Lagging]:
    """Return the logs being written that another key signs; of audit logs, each tenant's newest."""
    return [
        Lagging(TenantId(row["tenant_id"]), LogKind(row["kind"]), row["origin"], row["size"])
        for row in await connection.fetch(_LAGGING, statement.new)
    ]


async def compliance_origin(connection: asyncpg.Connection, tenant: TenantId) -> str | None:
    """Return the name of a tenant's newest compliance log, if it has one."""
    origin: str | None = await connection.fetchval(_COMPLIANCE_ORIGIN, tenant)
    return origin


async def set_key(
    connection: asyncpg.Connection, log: Log, key: LogKey, changes: list[tuple[int, bytes, bytes]]
) -> None:
    """Let ``key`` sign the log from now on; ``changes`` are the rotations (seq, old, new) that led there."""
    for seq, old, new in changes:
        await connection.execute(_CHANGE, log.tenant, log.id, seq, old, new)
    await connection.execute(_SET_KEY, log.tenant, log.id, key.public, key.previous, key.both_until)
