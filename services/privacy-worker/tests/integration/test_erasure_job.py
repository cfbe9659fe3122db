"""Keys and erasures against the real databases: crash anywhere, and the job goes on; twice is once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text
from tallystick_chassis.database import Database
from tallystick_chassis.directory import with_directory
from tallystick_chassis.ids import PersonRef, TenantId, new_person_ref
from tallystick_chassis.keystore import KeyDestroyed, KeyStore
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import load_settings
from tallystick_contracts.envelope import Event
from tallystick_contracts.generated.common import ErasureOutcome, StoreErasure
from tallystick_contracts.generated.identity import TenantCreated, UserCreated, UserDeleted
from tallystick_contracts.generated.privacy import UserAnonymised
from tallystick_contracts.registry import ERASURE_RECEIPTS, REGISTRY
from tallystick_contracts.topology import ServiceName
from tallystick_privacy_worker import consumers
from tallystick_privacy_worker.erasure import commands, store
from tallystick_privacy_worker.erasure.domain import ANSWERING_SERVICES, JobState
from tallystick_privacy_worker.keys import store as key_store
from tallystick_privacy_worker.keys.domain import POOL_BATCH, POOL_LOW
from tallystick_privacy_worker.settings import PrivacySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tallystick_chassis.transaction import Transaction
    from tallystick_cli.stack.temporary import Databases
    from tallystick_contracts.message import EventData

RETENTION_DAYS = 35


class CrashError(Exception):
    """The process ends here."""


@dataclass
class Privacy:
    """The service's parts on real databases, with one tenant."""

    database: Database
    keys: KeyStore
    tenant: TenantId

    @property
    def scope(self) -> Scope:
        return Scope.for_duty(self.tenant, "privacy")

    async def hear(self, source: str, data: EventData, *, event_id: UUID | None = None) -> UUID:
        """Handle an event as the consumer does: one transaction."""
        kind = REGISTRY.by_struct(type(data))
        event = Event(
            id=event_id or uuid4(), type=kind.type, v=kind.version, source=source, stream="s", stream_version=1,
            time=self.database.clock(), actor="p_a", data=data, event_type=kind, org_unit=self.tenant,
        )  # fmt: skip
        async with self.database.transaction(self.scope) as tx:
            await with_directory(consumers.handlers(self.keys))[kind.type](tx, event)
        return event.id

    async def step(self, job_id: UUID) -> bool:
        async with self.database.transaction(self.scope) as tx:
            return await commands.take_step(tx, self.keys, job_id, backup_retention_days=RETENTION_DAYS)

    async def person(self) -> tuple[PersonRef, str]:
        """Give a new person a key from the pool, as identity does."""
        async with self.database.transaction(self.scope) as tx:
            query = "select key_id from privacy.pool_keys where person is null order by key_id limit 1"
            key_id = (await tx.execute(text(query))).scalar_one()
        person = new_person_ref()
        public = "A" * 43 + "="
        created = UserCreated(person=person, home_unit=str(self.tenant), key_id=key_id, public_key=public)
        await self.hear("identity", created)
        return person, key_id

    async def answer(self, job_id: UUID, person: str, *services: str) -> None:
        for service in services:
            erased = StoreErasure(name="rows", items=3, outcome=ErasureOutcome.ERASED)
            await self.hear(service, ERASURE_RECEIPTS[service](job_id=str(job_id), person=person, stores=(erased,)))

    async def events(self, stream: str) -> list[Event]:
        async with self.database.transaction(self.scope) as tx:
            return await tx.load(stream)

    async def free(self) -> int:
        async with self.database.transaction(self.scope) as tx:
            return await key_store.free_keys(tx)


@pytest_asyncio.fixture
async def privacy(migrated_databases: Databases) -> AsyncIterator[Privacy]:
    environment = migrated_databases.environment(ServiceName.PRIVACY)
    settings = load_settings(PrivacySettings, environment)
    database = Database(settings.dsn, "privacy", ca_file=settings.ca_file)
    keys = KeyStore.connect(settings.keys_dsn, "privacy", settings.kek, ca_file=settings.ca_file)
    made = Privacy(database, keys, TenantId(uuid4()))
    await made.hear("identity", TenantCreated(slug="aurora", name="Aurora"))
    yield made
    await keys.close()
    await database.dispose()


async def test_a_new_tenant_gets_a_pool_of_keys_and_its_keys_of_the_day_once(privacy: Privacy) -> None:
    assert await privacy.free() == POOL_LOW
    await privacy.hear("identity", TenantCreated(slug="aurora", name="Aurora"))
    assert await privacy.free() == POOL_LOW
    today = privacy.database.clock().date()
    assert [event.type for event in await privacy.events(f"tenant-key:{today}")] == ["privacy.tenant_key.minted"]


async def test_the_pool_is_filled_again_before_it_runs_dry(privacy: Privacy) -> None:
    await privacy.person()
    assert await privacy.free() == POOL_LOW - 1 + POOL_BATCH
    await privacy.person()
    assert await privacy.free() == POOL_LOW - 2 + POOL_BATCH, "and not again for each person"


@pytest.mark.control("EV-25g")
@pytest.mark.control("EV-25h")
async def test_an_erasure_is_complete_when_all_have_answered_and_the_key_is_gone(privacy: Privacy) -> None:
    person, key_id = await privacy.person()
    assert await privacy.keys.reveal(privacy.tenant, key_id)
    job_id = await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    await privacy.answer(job_id, person, *sorted(ANSWERING_SERVICES)[:-1])
    assert not await privacy.step(job_id), "one service has not answered"
    assert await privacy.keys.reveal(privacy.tenant, key_id), "and so the key is still there"
    await privacy.answer(job_id, person, max(ANSWERING_SERVICES))
    assert await privacy.step(job_id)
    with pytest.raises(KeyDestroyed):
        await privacy.keys.reveal(privacy.tenant, key_id)
    assert await privacy.step(job_id)
    assert not await privacy.step(job_id), "nothing is left to do"
    ordered, given, anonymised = await privacy.events(f"erasure:{job_id}")
    assert (ordered.type, given.type) == ("privacy.erasure.ordered", "privacy.erasure_receipt.given")
    record = anonymised.data
    assert isinstance(record, UserAnonymised)
    assert {receipt.store.split("/")[0] for receipt in record.receipts} == ANSWERING_SERVICES | {"privacy"}
    assert len(record.key_fingerprint) == 64
    assert record.irrecoverable_after > str(privacy.database.clock().date())


@pytest.mark.control("EV-25g")
async def test_a_deletion_heard_twice_makes_one_job_and_one_order(privacy: Privacy) -> None:
    person, key_id = await privacy.person()
    job_id = await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    await privacy.hear("identity", UserDeleted(person=person, key_id=key_id), event_id=job_id)
    await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    assert len(await privacy.events(f"erasure:{job_id}")) == 1


@pytest.mark.control("EV-25h")
@pytest.mark.parametrize("crash_at", ["after the key is destroyed", "before the commit", "in the record"])
async def test_a_job_that_crashes_at_any_step_goes_on_and_ends_once(
    privacy: Privacy, monkeypatch: pytest.MonkeyPatch, crash_at: str
) -> None:
    person, key_id = await privacy.person()
    job_id = await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    await privacy.answer(job_id, person, *ANSWERING_SERVICES)
    if crash_at == "in the record":
        assert await privacy.step(job_id)
    crashing = {"after the key is destroyed": "add_receipts"}.get(crash_at, "set_state")

    async def crash(_tx: Transaction, *_: object, **__: object) -> None:
        raise CrashError

    with monkeypatch.context() as patched:
        patched.setattr(store, crashing, crash)
        with suppress(CrashError):
            await privacy.step(job_id)
    while await privacy.step(job_id):
        pass
    types = [event.type for event in await privacy.events(f"erasure:{job_id}")]
    assert types == ["privacy.erasure.ordered", "privacy.erasure_receipt.given", "privacy.user.anonymised"]
    with pytest.raises(KeyDestroyed):
        await privacy.keys.reveal(privacy.tenant, key_id)


@pytest.mark.control("EV-25h")
async def test_two_workers_at_the_same_job_take_each_step_once(privacy: Privacy) -> None:
    person, key_id = await privacy.person()
    job_id = await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    await privacy.answer(job_id, person, *ANSWERING_SERVICES)
    outcomes = await asyncio.gather(*(privacy.step(job_id) for _ in range(6)))
    assert sum(outcomes) == 2
    async with privacy.database.transaction(privacy.scope) as tx:
        job = await store.get_job(tx, job_id)
    assert job is not None
    assert job.state is JobState.COMPLETE
    assert len(await privacy.events(f"erasure:{job_id}")) == 3
