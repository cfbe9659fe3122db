"""Pruning: a key within its time is always answered alike, a pruned one is new; nothing fresh can be deleted at all."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec.structs import fields
from sqlalchemy import Select, delete, insert, select, text
from sqlalchemy.exc import DBAPIError
from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import Database, DutyDatabase
from tallystick_chassis.http.commands import IdempotencyKeyReused, perform
from tallystick_chassis.ids import PLATFORM_TENANT, TenantId
from tallystick_chassis.pruning import Pruner
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import Settings, SettingsError, load_settings
from tallystick_chassis.tables import idempotency, inbox
from tallystick_chassis.transaction import Transaction
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tallystick_cli.stack.temporary import Databases

KEY_DAYS, INBOX_DAYS = 7, 90
TENANTS = (TenantId(uuid4()), TenantId(uuid4()))


class SettableClock:
    """A clock that begins long ago: what the database's own clock calls fresh, nobody deletes."""

    def __init__(self) -> None:
        self.now = utc_now() - timedelta(days=4_000)

    def __call__(self) -> datetime:
        return self.now


class House:
    """Identity's two roles, under one clock."""

    def __init__(self, databases: Databases) -> None:
        self.clock = SettableClock()
        ca_file = databases.servers.layout.ca_file
        service = ServiceName.IDENTITY
        self.app = Database(databases.dsn(service, "app"), service, pool_size=4, ca_file=ca_file, clock=self.clock)
        self.duty = DutyDatabase(databases.dsn(service, "duty"), service, ca_file=ca_file, clock=self.clock)

    def pruner(self, batch_rows: int = 1_000) -> Pruner:
        return Pruner(self.duty, self.clock, key_days=KEY_DAYS, inbox_days=INBOX_DAYS, batch_rows=batch_rows)

    async def remember(self, tenant: UUID, count: int, *, age: timedelta) -> None:
        """Write so many keys and inbox rows, as old as told by the clock."""
        at = self.clock() - age
        scope = Scope.for_duty(TenantId(tenant), "identity")
        async with self.app.transaction(scope) as tx:
            for _ in range(count):
                row = {"tenant_id": tenant, "actor": "a", "key": uuid4().hex, "fingerprint": b"f", "correlation": "c"}
                await tx.execute(insert(idempotency).values(**row, created_at=at, status=200, body=b"{}"))
                row = {"tenant_id": tenant, "consumer": "c", "event_id": uuid4()}
                await tx.execute(insert(inbox).values(**row, handled_at=at))

    async def left(self, tenant: UUID) -> tuple[int, int]:
        """Count the tenant's keys and inbox rows."""
        async with self.app.transaction(Scope.for_duty(TenantId(tenant), "identity")) as tx:
            keys = (await tx.execute(select(idempotency))).all()
            return len(keys), len((await tx.execute(select(inbox))).all())

    async def close(self) -> None:
        await self.duty.dispose()
        await self.app.dispose()


@pytest.fixture
async def house(chassis_databases: Databases) -> AsyncIterator[House]:
    house = House(chassis_databases)
    yield house
    await house.close()


async def test_old_rows_of_all_tenants_go_in_batches_and_younger_ones_stay(house: House) -> None:
    for tenant in TENANTS:
        await house.remember(tenant, 5, age=timedelta(days=91))
        await house.remember(tenant, 3, age=timedelta(days=8))
        await house.remember(tenant, 2, age=timedelta(days=6))
    steps = 1
    while await house.pruner(batch_rows=4).step():
        steps += 1
    assert steps == 5, "16 keys and 10 inbox rows, four at a time"
    assert [await house.left(tenant) for tenant in TENANTS] == [(2, 5), (2, 5)]
    assert await house.pruner().step() is False


async def test_two_replicas_that_prune_at_one_moment_do_not_disturb_each_other(house: House) -> None:
    await house.remember(TENANTS[0], 60, age=timedelta(days=91))

    async def prune() -> None:
        pruner = house.pruner(batch_rows=7)
        while (await house.left(TENANTS[0])) != (0, 0):
            await pruner.step()

    await asyncio.wait_for(asyncio.gather(prune(), prune()), 30)


async def test_the_duty_role_reaches_nothing_fresh_and_no_answer(house: House) -> None:
    house.clock.now = utc_now()
    await house.remember(TENANTS[0], 3, age=timedelta(hours=23))
    for table in (idempotency, inbox):
        async with house.duty.duty() as connection:
            assert (await connection.execute(delete(table))).rowcount == 0
    # A clock far ahead of the database's deletes nothing that the database calls fresh.
    house.clock.now += timedelta(days=1_000)
    await house.pruner().step()
    assert await house.left(TENANTS[0]) == (3, 3)
    for refused in (
        "select body from identity.idempotency",
        "select * from identity.idempotency",
        "update identity.idempotency set created_at = now() - interval '1 year'",
        "insert into identity.inbox values (gen_random_uuid(), 'c', gen_random_uuid(), now())",
        "truncate identity.inbox",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with house.duty.duty() as connection:
                await connection.execute(text(refused))


async def test_the_runtime_role_still_deletes_nothing(house: House) -> None:
    for table in (idempotency, inbox):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with house.app.transaction(Scope.for_duty(PLATFORM_TENANT, "identity")) as tx:
                await tx.execute(delete(table))


def request_of(house: House, key: str, body: bytes) -> Any:
    """A request as `perform` reads it."""

    async def read() -> bytes:
        return body

    return SimpleNamespace(
        headers={"Idempotency-Key": key},
        app=SimpleNamespace(state=SimpleNamespace(runtime=SimpleNamespace(database=house.app))),
        scope={"raw_path": b"/x", "query_string": b""},
        method="POST",
        body=read,
    )


class KeysMachine(RuleBasedStateMachine):
    """People send commands with few keys again and again, while time goes by and pruning runs."""

    def __init__(self, databases: Databases) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.house = House(databases)
        self.scopes = [Scope.for_duty(TenantId(uuid4()), "identity") for _ in range(2)]
        self.kept: dict[tuple[int, str], tuple[bytes, bytes, datetime]] = {}
        self.effects = 0

    @rule(who=st.integers(0, 1), key=st.sampled_from("ab"), body=st.sampled_from([b"1", b"1", b"2"]))
    def send(self, who: int, key: str, body: bytes) -> None:
        known = self.kept.get((who, key))
        before = self.effects

        async def run(_tx: Transaction) -> int:
            self.effects += 1
            return self.effects

        sending = perform(request_of(self.house, key, body), self.scopes[who], run)
        try:
            answer = self.runner.run(sending)
        except IdempotencyKeyReused:
            assert known is not None
            assert known[0] != body
            assert self.effects == before
            return
        content = bytes(answer.content)
        if known is None:
            assert self.effects == before + 1
            assert "Idempotency-Replayed" not in answer.headers
            self.kept[who, key] = body, content, self.house.clock()
        else:
            assert (known[0], known[1]) == (body, content)
            assert self.effects == before
            assert answer.headers["Idempotency-Replayed"] == "true"

    @rule(hours=st.sampled_from([1, 23, 24, 100, 168, 169]))
    def time_goes_by(self, hours: int) -> None:
        self.house.clock.now += timedelta(hours=hours)

    @rule(batch_rows=st.integers(1, 5))
    def prune(self, batch_rows: int) -> None:
        async def all_of_it() -> None:
            pruner = self.house.pruner(batch_rows)
            while await pruner.step():
                pass

        self.runner.run(all_of_it())
        oldest = self.house.clock() - timedelta(days=KEY_DAYS)
        self.kept = {place: known for place, known in self.kept.items() if known[2] >= oldest}

    @invariant()
    def what_is_kept_is_what_should_be(self) -> None:
        for who, scope in enumerate(self.scopes):
            keys, _ = self.runner.run(self.house.left(scope.tenant))
            assert keys == sum(1 for place in self.kept if place[0] == who)

    def teardown(self) -> None:
        self.runner.run(self.house.close())
        self.runner.close()


@pytest.mark.control("EV-25b")
def test_a_key_within_its_time_is_always_answered_alike_and_a_pruned_one_is_new(chassis_databases: Databases) -> None:
    run_state_machine_as_test(
        lambda: KeysMachine(chassis_databases),
        settings=settings(
            max_examples=25,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


async def test_a_key_that_is_pruned_in_mid_request_is_a_new_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruned between finding the key taken and reading its answer."""
    scope, done, pruned = Scope.for_duty(TENANTS[0], "identity"), 0, False
    execute = Transaction.execute

    async def run(_tx: Transaction) -> int:
        nonlocal done
        done += 1
        return done

    async def execute_after_pruning(tx: Transaction, statement: Any, *values: Any) -> Any:
        nonlocal pruned
        if isinstance(statement, Select) and not pruned:
            pruned = True
            await house.pruner().step()
        return await execute(tx, statement, *values)

    await perform(request_of(house, "k", b"1"), scope, run)
    house.clock.now += timedelta(days=8)
    monkeypatch.setattr(Transaction, "execute", execute_after_pruning)
    answer = await perform(request_of(house, "k", b"1"), scope, run)
    assert pruned
    assert (bytes(answer.content), done) == (b"2", 2)


@pytest.mark.parametrize("days", ["0", "-1", "36501", "seven", "1.5"])
def test_a_time_that_is_none_is_refused(days: str) -> None:
    with pytest.raises(SettingsError, match="setting TALLY_INBOX_DAYS is invalid: not a"):
        load_settings(Settings, {"TALLY_INBOX_DAYS": days})


def test_keys_are_kept_for_a_week_and_handled_events_for_a_quarter_unless_told() -> None:
    defaults = {field.name: field.default for field in fields(Settings)}
    assert (defaults["idempotency_days"], defaults["inbox_days"]) == (KEY_DAYS, INBOX_DAYS)
