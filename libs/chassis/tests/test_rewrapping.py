"""The command that follows a new key-encryption key: killed anywhere it goes on, and nothing is lost beside it."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import pytest
import pytest_asyncio
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import create_async_engine
from tallystick_chassis import rewrapping
from tallystick_chassis.database import Database, DutyDatabase, connection_arguments
from tallystick_chassis.http.key_file import KeyFile
from tallystick_chassis.ids import PLATFORM_TENANT, TenantId
from tallystick_chassis.keystore import KeyDestroyed, KeyStore, allow_rewrapping, create_keystore_tables
from tallystick_chassis.rewrapping import rewrap_command
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import KeyEncryptionKeys, SecretKey
from tallystick_chassis.tables import directory_tenants
from tallystick_chassis.transaction import EventDraft, Transaction
from tallystick_cli.stack.database_setup import run_sql
from tallystick_contracts.generated.identity import CredentialKeyRotated
from tallystick_contracts.generated.privacy import OpeningKeyRotated
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from sqlalchemy import Connection
    from tallystick_chassis.service import Runtime
    from tallystick_cli.stack.temporary import Databases

pytestmark = pytest.mark.control("EV-24e")

OLD, NEW = SecretKey(b"1" * 32), SecretKey(b"2" * 32)
FIRST, BOTH, SECOND = ({"1": OLD}, {"1": OLD, "2": NEW}, {"2": NEW})
REWRAP = rewrap_command(CredentialKeyRotated)


class CrashError(Exception):
    """The process ends here."""


def write(file: Path, keys: dict[str, SecretKey]) -> None:
    file.write_text(json.dumps({epoch: base64.b64encode(bytes(key)).decode() for epoch, key in keys.items()}))


class House:
    """A service with a key store, whose key-encryption keys are in ``file``."""

    def __init__(self, databases: Databases, file: Path) -> None:
        ca_file = databases.servers.layout.ca_file
        self.databases, self.file = databases, file
        self.database = Database(databases.dsn(ServiceName.IDENTITY, "app"), "identity", ca_file=ca_file)
        self.duty = DutyDatabase(databases.dsn(ServiceName.IDENTITY, "duty"), "identity", ca_file=ca_file)
        self._stores: list[KeyStore] = []

    def store(self, keys: dict[str, SecretKey], *, file: Any = None) -> KeyStore:
        dsn = self.databases.dsn(ServiceName.IDENTITY, "app", keys=True)
        ca_file = self.databases.servers.layout.ca_file
        opened = KeyStore.connect(dsn, "identity", KeyEncryptionKeys(keys), ca_file=ca_file, file=file)
        self._stores.append(opened)
        return opened

    def follower(self) -> KeyStore:
        """Return the key store of a process that began before the rotation, and looks at the file."""
        return self.store(FIRST, file=KeyFile(self.file))

    def runtime(self, keys: dict[str, SecretKey]) -> Runtime:
        store = self.store(keys)
        made = SimpleNamespace(database=self.database, duty=self.duty, keys=store, service="identity")
        return cast("Runtime", made)

    async def tenant(self) -> TenantId:
        tenant = TenantId(uuid4())
        async with self.database.transaction(Scope.for_duty(tenant, "identity")) as tx:
            await tx.execute(insert(directory_tenants).values(tenant_id=tenant, slug="a", name="A"))
        return tenant

    async def recorded(self) -> list[object]:
        async with self.database.transaction(Scope.for_duty(PLATFORM_TENANT, "identity")) as tx:
            return [event.data for event in await tx.load("credential_key-2")]

    async def close(self) -> None:
        for each in self._stores:
            await each.close()
        await self.duty.dispose()
        await self.database.dispose()


@pytest_asyncio.fixture
async def house(
    databases: Databases, chassis_databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    monkeypatch.setattr(rewrapping, "_SETTLE_S", 0.0)
    both = type(databases)(databases.servers, chassis_databases.name, databases.keys_name)
    url, arguments = connection_arguments(
        both.dsn(ServiceName.IDENTITY, "migrate", keys=True),
        application_name="test",
        ca_file=both.servers.layout.ca_file,
    )

    def create(connection: Connection) -> None:
        connection.execute(text("set local role tally_identity_owner"))
        operations = Operations(MigrationContext.configure(connection))
        create_keystore_tables(operations, "identity")
        allow_rewrapping(operations, "identity")

    engine = create_async_engine(url, connect_args=arguments)
    async with engine.begin() as connection:
        await connection.run_sync(create)
    await engine.dispose()
    write(tmp_path / "kek.json", FIRST)
    made = House(both, tmp_path / "kek.json")
    yield made
    await made.close()


async def test_a_command_that_is_killed_between_any_two_statements_goes_on(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = house.store(FIRST)
    tenants = [await house.tenant() for _ in range(2)]
    boxes = {}
    for tenant in tenants:
        for person in ("p_1", "p_2", "p_3"):
            boxes[tenant, person] = (await old.data_key(tenant, person, create=True)).encrypt(b"seed", aad=b"x")
        await old.destroy(tenant, "p_3")
    runtime = house.runtime(BOTH)
    execute, left = Transaction.execute, 0

    async def until_killed(tx: Transaction, *statement: Any) -> Any:
        nonlocal left
        if not left:
            raise CrashError
        left -= 1
        return await execute(tx, *statement)

    for lives in range(40):
        left = lives
        with monkeypatch.context() as patched, suppress(CrashError):
            patched.setattr(Transaction, "execute", until_killed)
            assert await REWRAP(runtime, ["--previous=1"]) == 0
            break
    else:
        pytest.fail("it never came to its end")
    assert lives > 4, "it was killed at several places"
    assert await REWRAP(runtime, ["--previous=1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 0"
    assert await house.recorded() == [CredentialKeyRotated(epoch="2", previous_epoch="1")]
    alone = house.store(SECOND)
    for tenant in tenants:
        for person in ("p_1", "p_2"):
            assert (await alone.data_key(tenant, person)).decrypt(boxes[tenant, person], aad=b"x") == b"seed"
        with pytest.raises(KeyDestroyed):
            await alone.data_key(tenant, "p_3", create=True)


async def test_what_is_made_read_and_destroyed_meanwhile_is_neither_lost_nor_brought_back(house: House) -> None:
    tenant = await house.tenant()
    people = [f"p_{number}" for number in range(60)]
    old, running = house.store(FIRST), house.follower()
    for person in people:
        await old.data_key(tenant, person, create=True)
    write(house.file, BOTH)

    async def use() -> None:
        for number, person in enumerate(people):
            assert await running.data_key(tenant, person)
            await (old if number % 2 else running).data_key(tenant, f"{person}_new", create=True)
            if number % 3 == 0:
                await running.destroy(tenant, person)

    runtime = house.runtime(BOTH)
    await asyncio.gather(use(), *(REWRAP(runtime, ["--previous=1"]) for _ in range(2)), return_exceptions=False)
    assert await REWRAP(runtime, ["--previous=1"]) == 0
    alone = house.store(SECOND)
    for number, person in enumerate(people):
        assert await alone.data_key(tenant, f"{person}_new")
        if number % 3:
            assert await alone.data_key(tenant, person)
        else:
            with pytest.raises(KeyDestroyed):
                await alone.data_key(tenant, person, create=True)


async def test_tenants_that_the_directory_has_not_heard_of_are_moved_as_well(house: House) -> None:
    tenant = TenantId(uuid4())
    async with house.database.transaction(Scope.for_duty(tenant, "identity")) as tx:
        await tx.append("credential_key-9", 0, [EventDraft(CredentialKeyRotated(epoch="9", previous_epoch="8"))])
    await house.store(FIRST).data_key(tenant, "p_1", create=True)
    assert await REWRAP(house.runtime(BOTH), ["--previous=1"]) == 0
    assert await house.store(SECOND).data_key(tenant, "p_1")


async def test_a_row_that_somebody_changed_is_named_and_stops_no_other(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = await house.tenant()
    for person in ("p_1", "p_2", "p_3"):
        await house.store(FIRST).data_key(tenant, person, create=True)
    run_sql(
        house.databases.servers,
        house.databases.keys_name,
        [
            "alter table identity.data_keys disable trigger only_destroy",
            "update identity.data_keys set wrapped = 'x'::bytea where subject = 'p_1'",
            "alter table identity.data_keys enable trigger only_destroy",
        ],
    )
    assert await REWRAP(house.runtime(BOTH), ["--previous=1"]) == 1
    said = capsys.readouterr()
    assert said.out == "2 1\n"
    assert said.err == f"tallystick: the key of p_1 of tenant {tenant} cannot be opened\n"
    assert await house.store(SECOND).data_key(tenant, "p_3")


async def test_without_a_newer_key_nothing_is_written_down(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert await REWRAP(house.runtime(FIRST), ["--previous=1"]) == 1
    assert "epoch 1 is the newest here" in capsys.readouterr().err
    assert await house.recorded() == []


async def test_a_service_without_a_key_store_is_refused(house: House) -> None:
    runtime = cast("Runtime", SimpleNamespace(keys=None, service="verification"))
    with pytest.raises(RuntimeError, match="verification needs its key store"):
        await rewrap_command(OpeningKeyRotated)(runtime, ["--previous=1"])
    assert await house.recorded() == []


async def test_keys_that_are_added_while_the_file_changes_say_under_which_epoch_they_are(house: House) -> None:
    class ChangesAtTheSecondLook:
        looks = 0

        def read_if_changed(self, *, at_once: bool = False) -> bytes | None:
            del at_once
            self.looks += 1
            if self.looks != 2:
                return None
            write(house.file, BOTH)
            return house.file.read_bytes()

    tenant = TenantId(uuid4())
    store = house.store(FIRST, file=ChangesAtTheSecondLook())
    added = {f"k_{number}": bytes([number]) * 32 for number in range(3)}
    await store.add(tenant, added)
    later = house.store(BOTH)
    assert {name: await later.reveal(tenant, name) for name in added} == added
