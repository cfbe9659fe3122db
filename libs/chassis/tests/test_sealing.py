"""Sealing to people and tenants, with the keys that the directory's handlers noted."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio
from nacl.public import PrivateKey, SealedBox
from sqlalchemy import select
from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import Database
from tallystick_chassis.directory import DIRECTORY_HANDLERS, DirectoryError, with_directory
from tallystick_chassis.ids import OrgUnitId, TenantId, new_id
from tallystick_chassis.scope import Scope
from tallystick_chassis.sealing import BoxContent, PersonErased, PersonUnknown, Sealer, TenantKeyMissing
from tallystick_chassis.tables import directory_people, directory_tenants
from tallystick_contracts.generated.identity import TenantCreated, UserCreated
from tallystick_contracts.generated.privacy import ErasureOrdered, TenantKeyMinted
from tallystick_contracts.topology import ServiceName

TENANT, OTHER = TenantId(uuid4()), TenantId(uuid4())
UNIT = OrgUnitId(uuid4())
PERSON = "p_abcdefghijklmnopqrstuv"
KEY = PrivateKey.generate()
PUBLIC = base64.b64encode(bytes(KEY.public_key)).decode()
NAMES = {
    TenantCreated: "identity.tenant.created",
    UserCreated: "identity.user.created",
    ErasureOrdered: "privacy.erasure.ordered",
    TenantKeyMinted: "privacy.tenant_key.minted",
}


@pytest_asyncio.fixture
async def database(chassis_databases):
    opened = Database(
        chassis_databases.dsn(ServiceName.ASSESSMENT, "app"),
        "assessment",
        ca_file=chassis_databases.servers.layout.ca_file,
    )
    yield opened
    await opened.dispose()


async def _hear(database, data, tenant=TENANT):
    event = SimpleNamespace(type=NAMES[type(data)], data=data, time=utc_now())
    async with database.transaction(Scope.for_duty(tenant, "assessment")) as tx:
        await DIRECTORY_HANDLERS[event.type](tx, event)


def _user(**changes):
    return UserCreated(
        **{"person": PERSON, "home_unit": str(UNIT), "key_id": "k1", "key_fingerprint": "f", "public_key": PUBLIC}
        | changes
    )


def _open(sealed) -> BoxContent:
    return msgspec.json.decode(SealedBox(KEY).decrypt(base64.b64decode(sealed.box)), type=BoxContent)


async def test_a_value_sealed_to_a_person_names_event_field_and_subject(database):
    await _hear(database, _user())
    event_id = new_id()
    async with database.transaction(Scope.for_duty(TENANT, "assessment")) as tx:
        sealed = await Sealer(utc_now).for_person(tx, PERSON, event_id=event_id, field="ip", value="192.0.2.1")
    assert sealed.key_id == "k1"
    assert _open(sealed) == BoxContent(event_id, "ip", PERSON, "192.0.2.1")


@pytest.mark.control("EV-25h")
async def test_an_erased_person_can_be_sealed_to_no_more_even_if_they_come_late(database):
    await _hear(database, _user())
    await _hear(database, ErasureOrdered(job_id="j", person=PERSON))
    await _hear(database, ErasureOrdered(job_id="j", person="p_later"))
    await _hear(database, _user(person="p_later"))
    for person in (PERSON, "p_later"):
        async with database.transaction(Scope.for_duty(TENANT, "assessment")) as tx:
            with pytest.raises(PersonErased):
                await Sealer(utc_now).for_person(tx, person, event_id=new_id(), field="ip", value="x")
            keys = await tx.execute(select(directory_people.c.public_key).where(directory_people.c.person == person))
            assert keys.scalar_one() is None


@pytest.mark.control("EV-22b")
async def test_people_of_other_tenants_and_of_other_units_are_unknown(database):
    await _hear(database, _user())
    beyond = Scope(TENANT, frozenset({OrgUnitId(uuid4())}), "p_x", "c1")
    for scope in (Scope.for_duty(OTHER, "assessment"), beyond):
        async with database.transaction(scope) as tx:
            with pytest.raises(PersonUnknown):
                await Sealer(utc_now).for_person(tx, PERSON, event_id=new_id(), field="ip", value="x")


async def test_a_tenant_is_sealed_to_with_the_newest_key_whose_day_has_come(database):
    now = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)
    sealer = Sealer(lambda: now)
    event_id = new_id()
    async with database.transaction(Scope.for_duty(TENANT, "assessment")) as tx:
        with pytest.raises(TenantKeyMissing):
            await sealer.for_tenant(tx, event_id=event_id, field="email", value="x")
    for offset_days in (-2, 0, 1):
        day = (now + timedelta(days=offset_days)).date()
        await _hear(database, TenantKeyMinted(day=day.isoformat(), key_id=f"t{offset_days}", public_key=PUBLIC))
    async with database.transaction(Scope.for_duty(TENANT, "assessment")) as tx:
        sealed = await sealer.for_tenant(tx, event_id=event_id, field="email", value="x")
    assert sealed.key_id == "t0"
    assert _open(sealed) == BoxContent(event_id, "email", f"tenant:{TENANT}", "x")


async def test_hearing_twice_changes_nothing_and_a_tenants_newest_name_counts(database):
    for _ in range(2):
        await _hear(database, _user())
        await _hear(database, TenantCreated(slug="acme", name="Acme"))
    await _hear(database, TenantCreated(slug="acme", name="Acme Ltd"))
    async with database.transaction(Scope.for_duty(TENANT, "assessment")) as tx:
        assert (await tx.execute(select(directory_tenants.c.name))).scalars().all() == ["Acme Ltd"]
        assert len((await tx.execute(select(directory_people))).all()) == 1


@pytest.mark.parametrize("public_key", ["", "!", base64.b64encode(b"short").decode()])
async def test_a_malformed_key_is_refused(database, public_key):
    with pytest.raises((DirectoryError, ValueError)):
        await _hear(database, _user(public_key=public_key))


async def test_the_directory_goes_before_a_services_own_handler(database):
    seen = []

    async def own(tx, _event):
        seen.append((await tx.execute(select(directory_people.c.person))).scalars().all())

    handlers = with_directory({"identity.user.created": own, "assessment.attempt.started": own})
    event = SimpleNamespace(type="identity.user.created", data=_user(), time=utc_now())
    async with database.transaction(Scope.for_duty(TENANT, "assessment")) as tx:
        await handlers["identity.user.created"](tx, event)
    assert seen == [[PERSON]]
    assert set(handlers) == {*DIRECTORY_HANDLERS, "assessment.attempt.started"}
