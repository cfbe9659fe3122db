"""Counters shared by replicas: every charge is counted, windows end, nobody is named."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from tallystick_chassis.budgets import BUDGETS, Budget, BudgetLimits, Per
from tallystick_chassis.database import Database, DutyDatabase
from tallystick_chassis.ids import TenantId
from tallystick_chassis.rate_limits import Charge, CounterPruner, RateLimiter, Spent
from tallystick_chassis.scope import Scope
from tallystick_contracts.topology import ServiceName

TENANT = TenantId(uuid4())
BUDGET = Budget("failures.pair", 5, 900, Per.OWN)
MINE, YOURS = Charge(BUDGET, "203.0.113.7 me@example.org"), Charge(BUDGET, "203.0.113.7 you@example.org")


class Replica:
    """One process with a limiter and connections of its own, and a clock that tests move."""

    def __init__(self, databases) -> None:
        self.now = datetime(2026, 11, 22, 5, tzinfo=UTC)
        ca_file = databases.servers.layout.ca_file
        self.database = Database(
            databases.dsn(ServiceName.IDENTITY, "app"), "identity", ca_file=ca_file, clock=lambda: self.now
        )
        self.duty = DutyDatabase(databases.dsn(ServiceName.IDENTITY, "duty"), "identity", ca_file=ca_file)
        self.limiter = RateLimiter(key=b"k" * 32, limits={})

    async def count(self, *charges: Charge, tenant: TenantId = TENANT) -> list[Spent]:
        async with self.database.transaction(Scope.for_duty(tenant, "identity")) as tx:
            return await self.limiter.count(tx, charges)

    async def close(self) -> None:
        await self.database.dispose()
        await self.duty.dispose()


@pytest.fixture
async def replicas(chassis_databases):
    two = Replica(chassis_databases), Replica(chassis_databases)
    yield two
    for one in two:
        await one.close()


async def test_a_clock_that_was_set_back_makes_nobody_wait_longer_than_a_window(replicas):
    one, _ = replicas
    right = one.now
    one.now = right + timedelta(days=1)
    await one.count(MINE)
    one.now = right
    async with one.database.transaction(Scope.for_duty(TENANT, "identity")) as tx:
        assert [seen.count for seen in await one.limiter.peek(tx, [MINE])] == [0]
    for seconds in (0, 60):
        one.now = right + timedelta(seconds=seconds)
        (spent,) = await one.count(MINE)
        assert spent.ends_at == right + timedelta(seconds=BUDGET.window_s)
    assert spent.count == 3


@pytest.mark.control("AC-02")
@pytest.mark.control("EV-61")
async def test_two_replicas_at_once_count_every_charge_once(replicas):
    spent = await asyncio.gather(*(replicas[number % 2].count(MINE) for number in range(20)))
    assert sorted(one.count for (one,) in spent) == list(range(1, 21))
    assert sum(one.is_over for (one,) in spent) == 15
    assert sum(one.is_first_over for (one,) in spent) == 1


async def test_charges_counted_together_come_back_in_their_order_and_never_deadlock(replicas):
    both = await asyncio.gather(
        *(replicas[number % 2].count(*((MINE, YOURS) if number % 3 else (YOURS, MINE))) for number in range(24))
    )
    assert {one.charge for spent in both for one in spent} == {MINE, YOURS}
    assert [one.charge for one in await replicas[0].count(YOURS, MINE)] == [YOURS, MINE]
    assert [one.count for one in await replicas[0].count(YOURS, MINE)] == [26, 26]


async def test_a_window_ends_and_begins_anew(replicas):
    replica, _ = replicas
    (first,) = await replica.count(MINE)
    assert first.retry_after_s(replica.now) == 900
    replica.now += timedelta(seconds=899)
    assert [one.count for one in await replica.count(MINE)] == [2]
    replica.now += timedelta(seconds=1)
    assert [one.count for one in await replica.count(MINE)] == [1]


async def test_forgetting_gives_all_tries_back_and_says_whether_they_were_spent(replicas):
    replica, _ = replicas
    for _ in range(5):
        await replica.count(MINE)
    async with replica.database.transaction(Scope.for_duty(TENANT, "identity")) as tx:
        assert await replica.limiter.forget(tx, [MINE, YOURS])
        assert not await replica.limiter.forget(tx, [MINE])
        assert [one.count for one in await replica.limiter.peek(tx, [MINE])] == [0]
    assert [one.count for one in await replica.count(MINE)] == [1]


async def test_another_tenants_counts_are_its_own(replicas):
    await replicas[0].count(MINE)
    (theirs,) = await replicas[0].count(MINE, tenant=TenantId(uuid4()))
    assert theirs.count == 1


async def test_no_address_and_no_person_lies_in_the_table_and_old_rows_are_deleted(replicas):
    replica, _ = replicas
    await replica.count(MINE, YOURS)
    pruner = CounterPruner(replica.duty, lambda: replica.now)

    async def dump() -> str:
        async with replica.duty.duty() as connection:
            rows = await connection.execute(text("select c::text, encode(key, 'escape') from identity.rate_counters c"))
            return "".join(str(tuple(row)) for row in rows)

    await pruner.step()
    kept = await dump()
    assert kept
    assert not any(word in kept for word in ("203.0.113.7", "example.org", "failures"))
    replica.now += timedelta(seconds=900)
    await pruner.step()
    assert await dump() == ""


@pytest.mark.parametrize("text", ["[]", '{"no.such": 3}', '{"login.address": 0}', '{"login.address": "9"}'])
def test_a_setting_that_names_no_budget_or_no_limit_is_refused(text):
    with pytest.raises(ValueError, match="budget"):
        BudgetLimits(text)


def test_a_setting_changes_the_limit_of_its_budget_alone():
    limits = BudgetLimits('{"login.address": 7}')
    limiter = RateLimiter(key=b"k", limits=limits)
    assert limiter.limit_of(BUDGETS["login.address"]) == 7
    assert limiter.limit_of(BUDGETS["failures.pair"]) == 5
