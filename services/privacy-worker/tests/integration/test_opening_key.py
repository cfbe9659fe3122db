"""A new key-encryption key of the privacy worker: every box opens as before, and erased people stay erased."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from nacl.public import PublicKey, SealedBox
from tallystick_chassis import rewrapping
from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_chassis.keystore import EpochUnknown, KeyDestroyed, KeyStore
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import KeyEncryptionKeys, SecretKey
from tallystick_contracts.generated.identity import UserDeleted
from tallystick_contracts.generated.privacy import OpeningKeyRotated
from tallystick_privacy_worker.app import SERVICE
from tallystick_privacy_worker.erasure.domain import ANSWERING_SERVICES
from tallystick_privacy_worker.keys import store as key_store
from tallystick_privacy_worker.keys.domain import open_box

from .privacy_house import Privacy, privacy

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["privacy"]  # fixture

pytestmark = pytest.mark.control("EV-24e")
REWRAP = SERVICE.commands["rewrap-keys"]


async def erase(privacy: Privacy, person: str, key_id: str) -> None:
    job_id: UUID = await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    await privacy.answer(job_id, person, *ANSWERING_SERVICES)
    while await privacy.step(job_id):
        pass


@pytest.mark.control("EV-25h")
async def test_a_rotation_moves_every_private_key_and_brings_none_back(
    privacy: Privacy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrapping, "_SETTLE_S", 0.0)
    (person, key_id), (erased, erased_key), (later, later_key) = [await privacy.person() for _ in range(3)]
    await erase(privacy, erased, erased_key)
    async with privacy.database.transaction(privacy.scope) as tx:
        known = await key_store.key_of(tx, person)
    assert known is not None
    sealed = SealedBox(PublicKey(known.public_key)).encrypt(
        json.dumps({"event": "e", "field": "f", "value": "Ada"}).encode()
    )
    box = base64.b64encode(sealed).decode()
    keys = privacy.keys
    old = keys.epoch
    new = str(int(old) + 1)
    both = KeyEncryptionKeys({**keys._wrap._keys, new: SecretKey(b"n" * 32)})
    living = await keys.count(privacy.tenant)
    monkeypatch.setattr(keys._wrap, "_keys", both)
    capsys.readouterr()

    for _ in range(2):
        assert await REWRAP(privacy.runtime, [f"--previous={old}"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [f"{living} 1", "0 0"]
    async with privacy.database.transaction(Scope.for_duty(PLATFORM_TENANT, "privacy")) as tx:
        recorded = [event.data for event in await tx.load(f"opening_key-{new}")]
    assert recorded == [OpeningKeyRotated(epoch=new, previous_epoch=old)]

    alone = KeyStore(keys._database, KeyEncryptionKeys({new: both[new]}))
    assert open_box(await alone.reveal(privacy.tenant, key_id), box, event_id="e", field="f") == "Ada"
    with pytest.raises(EpochUnknown):
        await KeyStore(keys._database, KeyEncryptionKeys({old: both[old]})).reveal(privacy.tenant, key_id)
    await erase(privacy, later, later_key)
    assert await REWRAP(privacy.runtime, [f"--previous={old}"]) == 0
    for gone in (erased_key, later_key):
        with pytest.raises(KeyDestroyed):
            await alone.reveal(privacy.tenant, gone)
    assert await privacy.free() > 0
    await privacy.person()
