"""What is remembered only so that nothing happens twice, and forgotten when it can matter no more.

Two tables would grow for ever: ``idempotency`` (a row for each command) and ``inbox`` (a row for each event that a
consumer handled). A job of every worker deletes their old rows as the duty role, in batches. Its policies reach rows
that are older than a day and nothing else, whatever a setting or a process' clock says; and it reads no answer.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select, tuple_

from tallystick_chassis.policies import duty_role
from tallystick_chassis.tables import idempotency, inbox

if TYPE_CHECKING:
    from datetime import datetime

    from alembic.operations import Operations
    from sqlalchemy import Column, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import DutyDatabase

BATCH_ROWS: Final = 1_000
_LOCK: Final = "tallystick.pruning:"
_AGES: Final = ((idempotency, idempotency.c.created_at), (inbox, inbox.c.handled_at))


class Pruner:
    """Deletes keys and inbox rows that are older than so many days, of all tenants."""

    def __init__(
        self, duty: DutyDatabase, clock: Clock, *, key_days: int, inbox_days: int, batch_rows: int = BATCH_ROWS
    ) -> None:
        """Remember how old a row has to be."""
        self._duty = duty
        self._clock = clock
        self._kept = {idempotency.name: timedelta(days=key_days), inbox.name: timedelta(days=inbox_days)}
        self._batch_rows = batch_rows

    async def step(self) -> bool:
        """Delete one batch of each; say whether there may be more."""
        more = False
        for table, age in _AGES:
            async with self._duty.duty() as connection:
                # One replica at a time: two would wait for each other's rows in a circle.
                name = f"{_LOCK}{self._duty.service}.{table.name}"
                if await connection.scalar(select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0)))):
                    more |= await self._delete(connection, table, age) == self._batch_rows
        return more

    async def _delete(self, connection: AsyncConnection, table: Table, age: Column[datetime]) -> int:
        key = tuple_(*table.primary_key.columns)
        old = (
            select(*table.primary_key.columns)
            .where(age < self._clock() - self._kept[table.name])
            .order_by(age)
            .limit(self._batch_rows)
        )
        return (await connection.execute(delete(table).where(key.in_(old)))).rowcount


def let_duty_prune(op: Operations, service: str) -> None:
    """Give the duty role what pruning takes, and no more (called by one migration of every service)."""
    for table, age in _AGES:
        name, role = f"{service}.{table.name}", duty_role(service)
        op.execute(f"create index {table.name}_{age.name} on {name} ({age.name})")
        for command in ("select", "delete"):
            op.execute(
                f"create policy duty_{command} on {name} for {command} to {role} "
                f"using ({age.name} < now() - interval '1 day')"
            )
        columns = ", ".join(column.name for column in (*table.primary_key.columns, age))
        op.execute(f"grant select ({columns}), delete on {name} to {role}")
