"""Counters that all replicas share: rows in the service's own Postgres, counted in one statement.

A row's key is an HMAC of the budget and whom it counts (an address, a person), so that no address and no person lies
in the table; the worker deletes a row when its window is over. A count is taken *before* what it permits is tried, so
that a hundred tries at once are a hundred counts.
"""

from __future__ import annotations

import hmac
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Column, DateTime, Integer, LargeBinary, MetaData, Table, Uuid, case, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from tallystick_chassis import metrics
from tallystick_chassis.metric_catalogue import RATE_LIMITED
from tallystick_chassis.policies import duty, silo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from alembic.operations import Operations

    from tallystick_chassis.budgets import Budget
    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.settings import Settings
    from tallystick_chassis.transaction import Transaction

_MOST = 2**30
_METADATA = MetaData()
rate_counters = Table(
    "rate_counters",
    _METADATA,
    Column("tenant_id", Uuid, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("ends_at", DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Charge:
    """One request on one budget, for ``subject``: any text that names whose budget it is."""

    budget: Budget
    subject: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What a charge came to: the ``count`` in this window, this one included; the window ends at ``ends_at``."""

    charge: Charge
    count: int
    limit: int
    ends_at: datetime

    @property
    def is_over(self) -> bool:
        """Say whether the charge exceeds the budget."""
        return self.count > self.limit

    @property
    def is_first_over(self) -> bool:
        """Say whether it is the first of its window to do so: exactly one charge is."""
        return self.count == self.limit + 1

    def retry_after_s(self, now: datetime) -> int:
        """Return the whole seconds until the window ends, at least 1."""
        return max(1, math.ceil((self.ends_at - now).total_seconds()))


class RateLimiter:
    """Counts charges in the caller's transaction, in the caller's tenant. ``key`` is the HMAC key."""

    def __init__(self, *, key: bytes, limits: Mapping[str, int]) -> None:
        self._key = key
        self._limits = limits

    @classmethod
    def of(cls, settings: Settings) -> RateLimiter:
        """Return the limiter of a service. All its replicas have the same secrets, so the same keys."""
        secret = settings.client_secret or settings.dsn
        key = hmac.digest(secret.encode(), b"tallystick rate limits v1", "sha256")
        return cls(key=key, limits=settings.rate_limits or {})

    def limit_of(self, budget: Budget) -> int:
        """Return the budget's limit as it is set here."""
        return self._limits.get(budget.name, budget.limit)

    async def count(self, tx: Transaction, charges: Sequence[Charge]) -> list[Spent]:
        """Count all charges at once and return what they came to, in their order."""
        now = tx.clock()
        keyed = {self._key_of(charge): charge for charge in charges}
        statement = insert(rate_counters).values(
            [
                {
                    "tenant_id": tx.scope.tenant,
                    "key": key,
                    "count": 1,
                    "ends_at": now + timedelta(seconds=charge.budget.window_s),
                }
                for key, charge in sorted(keyed.items(), key=lambda one: one[0])  # one order, so no deadlock
            ]
        )
        is_over = rate_counters.c.ends_at <= now
        rows = await tx.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", "key"],
                set_={
                    "count": case((is_over, 1), else_=func.least(rate_counters.c.count + 1, _MOST)),
                    # Where a clock was set back, no window ends later than one that begins now.
                    "ends_at": case(
                        (is_over, statement.excluded.ends_at),
                        else_=func.least(rate_counters.c.ends_at, statement.excluded.ends_at),
                    ),
                },
            ).returning(rate_counters.c.key, rate_counters.c.count, rate_counters.c.ends_at)
        )
        found = {bytes(key): (count, ends_at) for key, count, ends_at in map(tuple, rows)}
        spent = [Spent(charge, *_of(found[key], self.limit_of(charge.budget))) for key, charge in keyed.items()]
        for one in spent:
            if one.is_over:
                metrics.count(RATE_LIMITED, 1, {"tallystick.budget": one.charge.budget.name})
        return spent

    async def peek(self, tx: Transaction, charges: Sequence[Charge]) -> list[Spent]:
        """Return what the charges have come to so far, without counting."""
        now = tx.clock()
        keyed = {self._key_of(charge): charge for charge in charges}
        rows = await tx.execute(
            select(rate_counters.c.key, rate_counters.c.count, rate_counters.c.ends_at).where(
                rate_counters.c.tenant_id == tx.scope.tenant,
                rate_counters.c.key.in_(list(keyed)),
                rate_counters.c.ends_at > now,
            )
        )
        found = {
            bytes(key): (count, ends_at)
            for key, count, ends_at in map(tuple, rows)
            # Of a clock that was far ahead: whoever counts next ends that window in time.
            if ends_at <= now + 2 * timedelta(seconds=keyed[bytes(key)].budget.window_s)
        }
        return [
            Spent(charge, *_of(found.get(key, (0, now)), self.limit_of(charge.budget))) for key, charge in keyed.items()
        ]

    async def forget(self, tx: Transaction, charges: Sequence[Charge]) -> bool:
        """Set the charges' counts back to nothing; say whether one of them was spent up."""
        spent = await self.peek(tx, charges)
        await tx.execute(
            rate_counters.update()
            .where(
                rate_counters.c.tenant_id == tx.scope.tenant,
                rate_counters.c.key.in_([self._key_of(charge) for charge in charges]),
            )
            .values(count=0)
        )
        return any(one.count >= one.limit for one in spent)

    def _key_of(self, charge: Charge) -> bytes:
        return hmac.digest(self._key, f"{charge.budget.name}\x00{charge.subject}".encode(), "sha256")


def _of(found: tuple[int, datetime], limit: int) -> tuple[int, int, datetime]:
    count, ends_at = found
    return count, limit, ends_at


class CounterPruner:
    """Deletes counters whose window is over, of all tenants, as the duty role: a job of every worker."""

    def __init__(self, duty: DutyDatabase, clock: Clock) -> None:
        self._duty = duty
        self._clock = clock

    async def step(self) -> bool:
        """Delete what is over; there is never more at once."""
        async with self._duty.duty() as connection:
            await connection.execute(delete(rate_counters).where(rate_counters.c.ends_at <= self._clock()))
        return False


def create_rate_counters(op: Operations, service: str) -> None:
    """Create the table of counters, closed by row-level security (called by one migration of every service).

    Unlogged it is not: a crash would let everybody try again.
    """
    connection = op.get_bind().execution_options(schema_translate_map={None: service})
    _METADATA.create_all(connection, checkfirst=False)
    silo(op, service, "rate_counters", grants="select, insert, update")
    duty(op, service, "rate_counters", commands=("select", "delete"))
