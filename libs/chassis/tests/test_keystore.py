"""Data keys: one for each person, bound to place and purpose, gone for good when destroyed."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from tallystick_chassis.database import connection_arguments
from tallystick_chassis.http.key_file import KeyFile
from tallystick_chassis.ids import TenantId
from tallystick_chassis.keystore import (
    CiphertextInvalid,
    DataKey,
    EpochUnknown,
    KeyDestroyed,
    KeyStore,
    KeyUnknown,
    allow_rewrapping,
    create_keystore_tables,
)
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import KeyEncryptionKeys, SecretKey
from tallystick_cli.stack.database_setup import run_sql
from tallystick_contracts.topology import ServiceName

ONE, OTHER = TenantId(uuid4()), TenantId(uuid4())
PERSON = "p_abcdefghijklmnopqrstuv"
KEYS = KeyEncryptionKeys({"1": SecretKey(b"1" * 32), "2": SecretKey(b"2" * 32)})


async def _create(dsn: str, ca_file) -> None:
    def create(connection):
        connection.execute(text("set local role tally_identity_owner"))
        operations = Operations(MigrationContext.configure(connection))
        create_keystore_tables(operations, "identity")
        allow_rewrapping(operations, "identity")

    url, arguments = connection_arguments(dsn, application_name="test", ca_file=ca_file)
    engine = create_async_engine(url, connect_args=arguments)
    async with engine.begin() as connection:
        await connection.run_sync(create)
    await engine.dispose()


@pytest_asyncio.fixture
async def open_store(databases):
    ca_file = databases.servers.layout.ca_file
    await _create(databases.dsn(ServiceName.IDENTITY, "migrate", keys=True), ca_file)
    opened = []

    def make(keys: KeyEncryptionKeys = KEYS, *, file: Path | None = None) -> KeyStore:
        dsn = databases.dsn(ServiceName.IDENTITY, "app", keys=True)
        watched = None if file is None else KeyFile(file)
        opened.append(KeyStore.connect(dsn, "identity", keys, ca_file=ca_file, file=watched))
        return opened[-1]

    yield make
    for store in opened:
        await store.close()


@pytest.fixture
def store(open_store) -> KeyStore:
    return open_store()


async def test_a_key_is_made_once_and_opens_what_it_closed(store):
    with pytest.raises(KeyUnknown):
        await store.data_key(ONE, PERSON)
    box = (await store.data_key(ONE, PERSON, create=True)).encrypt(b"secret", aad=b"answer:1")
    assert b"secret" not in box
    assert (await store.data_key(ONE, PERSON)).decrypt(box, aad=b"answer:1") == b"secret"


async def test_creating_at_the_same_moment_gives_one_key(store):
    keys = await asyncio.gather(*(store.data_key(ONE, PERSON, create=True) for _ in range(8)))
    assert {key._key for key in keys} == {keys[0]._key}
    assert await store.count(ONE) == 1


@pytest.mark.control("EV-25h")
async def test_a_destroyed_key_is_gone_and_never_comes_back(store):
    box = (await store.data_key(ONE, PERSON, create=True)).encrypt(b"secret", aad=b"x")
    assert await store.destroy(ONE, PERSON) == 1
    assert await store.destroy(ONE, PERSON) == 0
    for create in (False, True):
        with pytest.raises(KeyDestroyed):
            await store.data_key(ONE, PERSON, create=create)
    assert len(box) > 6


async def test_a_key_destroyed_before_it_was_made_is_never_made(store):
    assert await store.destroy(ONE, PERSON) == 0
    with pytest.raises(KeyDestroyed):
        await store.data_key(ONE, PERSON, create=True)


async def test_creating_and_destroying_at_the_same_moment_leaves_no_key(store):
    await asyncio.gather(
        *(store.data_key(ONE, PERSON, create=True) for _ in range(3)),
        store.destroy(ONE, PERSON),
        return_exceptions=True,
    )
    with pytest.raises(KeyDestroyed):
        await store.data_key(ONE, PERSON, create=True)


@pytest.mark.control("DI-01")
async def test_two_tenants_have_different_keys_for_the_same_pseudonym(store):
    one = await store.data_key(ONE, PERSON, create=True)
    other = await store.data_key(Scope.for_duty(OTHER, "identity"), PERSON, create=True)
    with pytest.raises(CiphertextInvalid):
        other.decrypt(one.encrypt(b"secret", aad=b"x"), aad=b"x")
    await store.destroy(ONE, PERSON)
    assert (await store.data_key(OTHER, PERSON))._key == other._key


def test_a_ciphertext_is_bound_to_tenant_subject_and_purpose_and_to_every_byte():
    key = DataKey(ONE, PERSON, b"k" * 32)
    box = key.encrypt(b"secret", aad=b"answer:1")
    assert box != key.encrypt(b"secret", aad=b"answer:1")
    wrong = [
        (DataKey(OTHER, PERSON, b"k" * 32), b"answer:1", box),
        (DataKey(ONE, "p_other", b"k" * 32), b"answer:1", box),
        (key, b"answer:2", box),
        *((key, b"answer:1", box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :]) for at in range(len(box))),
        (key, b"answer:1", box[:-1]),
        (key, b"answer:1", b""),
    ]
    for other, aad, changed in wrong:
        with pytest.raises(CiphertextInvalid):
            other.decrypt(changed, aad=aad)
    assert "kkkk" not in repr(key)


async def test_keys_of_an_older_epoch_open_until_its_key_encryption_key_is_gone(open_store):
    await open_store(KeyEncryptionKeys({"1": KEYS["1"]})).data_key(ONE, PERSON, create=True)
    assert (await open_store(KEYS).data_key(ONE, PERSON)).subject == PERSON
    with pytest.raises(EpochUnknown):
        await open_store(KeyEncryptionKeys({"2": KEYS["2"]})).data_key(ONE, PERSON)


async def test_a_wrapped_key_moved_to_another_person_does_not_open(store, databases):
    await store.data_key(ONE, PERSON, create=True)
    moved = "update identity.data_keys set subject = 'p_other'"
    run_sql(
        databases.servers,
        databases.keys_name,
        ["alter table identity.data_keys disable trigger only_destroy", moved],
    )
    with pytest.raises(CiphertextInvalid):
        await store.data_key(ONE, "p_other")


@pytest.mark.parametrize(
    "statement",
    [
        "update identity.data_keys set wrapped = 'x'::bytea, destroyed_at = null",
        "update identity.data_keys set wrapped = 'x'::bytea",
        "update identity.data_keys set wrapped = 'x'::bytea, epoch = '1'",
        "update identity.data_keys set subject = 'p_other'",
        "delete from identity.data_keys",
        "truncate identity.data_keys",
    ],
)
async def test_the_runtime_role_can_destroy_and_nothing_else(store, statement):
    await store.data_key(ONE, PERSON, create=True)
    with pytest.raises(DBAPIError):
        async with store._database.transaction(Scope.for_duty(ONE, "identity")) as tx:
            await tx.execute(text(statement))
    await store.data_key(ONE, PERSON)


ONE_KEY = KeyEncryptionKeys({"1": KEYS["1"]})


@pytest.mark.control("EV-24e")
async def test_a_rewrapped_key_is_the_same_key_and_needs_the_older_epoch_no_more(open_store):
    old, new = open_store(ONE_KEY), open_store(KEYS)
    box = (await old.data_key(ONE, PERSON, create=True)).encrypt(b"seed", aad=b"factor")
    await old.data_key(OTHER, PERSON, create=True)
    assert [(await new.rewrap(ONE)).moved for _ in range(2)] == [1, 0]
    alone = open_store(KeyEncryptionKeys({"2": KEYS["2"]}))
    assert (await alone.data_key(ONE, PERSON)).decrypt(box, aad=b"factor") == b"seed"
    with pytest.raises(EpochUnknown):
        await alone.data_key(OTHER, PERSON)


async def test_keys_are_rewrapped_batch_by_batch_also_by_two_at_once(open_store):
    old, new = open_store(ONE_KEY), open_store(KEYS)
    for number in range(7):
        await old.data_key(ONE, f"p_{number}", create=True)
    moved = await asyncio.gather(*(new.rewrap(ONE, batch=5) for _ in range(2)))
    assert sum(one.moved for one in moved) == 7
    assert await new.rewrap(ONE) == (0, [])
    for number in range(7):
        await new.data_key(ONE, f"p_{number}")


async def test_a_destroyed_key_stays_destroyed_however_often_keys_are_rewrapped(open_store):
    old, new = open_store(ONE_KEY), open_store(KEYS)
    for number in range(20):
        await old.data_key(ONE, f"p_{number}", create=True)
    await asyncio.gather(new.rewrap(ONE), *(old.destroy(ONE, f"p_{number}") for number in range(10)))
    assert await new.count(ONE) == 10
    for number in range(10):
        with pytest.raises(KeyDestroyed):
            await new.data_key(ONE, f"p_{number}")


async def test_a_running_process_learns_a_new_epoch_when_it_meets_one(open_store, tmp_path):
    def text_of(keys: KeyEncryptionKeys) -> str:
        return json.dumps({epoch: base64.b64encode(key).decode() for epoch, key in keys.items()})

    file = tmp_path / "kek.json"
    file.write_text(text_of(ONE_KEY))
    running = open_store(ONE_KEY, file=file)
    await running.data_key(ONE, PERSON, create=True)
    file.write_text("{")
    await running.data_key(ONE, PERSON)
    file.write_text(text_of(KEYS))
    assert (await open_store(KEYS).rewrap(ONE)).moved == 1
    await running.data_key(ONE, PERSON)
    assert running.epoch == "2"
