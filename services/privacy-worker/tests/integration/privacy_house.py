"""The privacy worker's parts on real databases, for the tests of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest_asyncio
from sqlalchemy import text
from tallystick_chassis.directory import with_directory
from tallystick_chassis.ids import PersonRef, TenantId, new_person_ref
from tallystick_chassis.process import make_runtime
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import load_settings
from tallystick_contracts.envelope import Event
from tallystick_contracts.generated.common import ErasureOutcome, StoreErasure
from tallystick_contracts.generated.identity import TenantCreated, UserCreated
from tallystick_contracts.registry import ERASURE_RECEIPTS, REGISTRY
from tallystick_contracts.topology import ServiceName
from tallystick_privacy_worker import consumers
from tallystick_privacy_worker.app import SERVICE
from tallystick_privacy_worker.erasure import commands
from tallystick_privacy_worker.keys import store as key_store
from tallystick_privacy_worker.settings import PrivacySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tallystick_chassis.database import Database
    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.service import Runtime
    from tallystick_cli.stack.temporary import Databases
    from tallystick_contracts.message import EventData

RETENTION_DAYS = 35


@dataclass
class Privacy:
    """The service's parts on real databases, with one tenant."""

    runtime: Runtime
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
    settings = load_settings(PrivacySettings, migrated_databases.environment(ServiceName.PRIVACY))
    runtime = make_runtime(SERVICE, settings)
    assert runtime.keys is not None
    made = Privacy(runtime, runtime.database, runtime.keys, TenantId(uuid4()))
    await made.hear("identity", TenantCreated(slug="aurora", name="Aurora"))
    yield made
    await runtime.close()
