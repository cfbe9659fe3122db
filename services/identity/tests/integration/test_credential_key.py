"""A new key-encryption key: every factor, recovery code and name goes on, and the platform's log has it once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tallystick_chassis import rewrapping
from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_chassis.keystore import EpochUnknown, KeyStore
from tallystick_chassis.settings import KeyEncryptionKeys, SecretKey
from tallystick_contracts.generated.identity import CredentialKeyRotated
from tallystick_identity.app import SERVICE

if TYPE_CHECKING:
    from conftest import Identity


@pytest.mark.control("IR-02")
@pytest.mark.control("EV-24e")
async def test_a_rotation_breaks_no_factor_and_is_written_down_once(
    empty_identity: Identity, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = empty_identity
    monkeypatch.setattr(rewrapping, "_SETTLE_S", 0.0)
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = (await admin.get("/api/v1/identity/me")).json()["person"]
    authenticator = identity.authenticators[person]
    keys = identity.parts.keys
    old = keys.epoch
    new = str(int(old) + 1)
    both = KeyEncryptionKeys({**keys._wrap._keys, new: SecretKey(b"n" * 32)})
    monkeypatch.setattr(keys._wrap, "_keys", both)
    capsys.readouterr()
    for _ in range(2):
        assert await SERVICE.commands["rewrap-keys"](identity.runtime, [f"--previous={old}"]) == 0
    (first, is_new), (again, is_new_again) = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert int(first) >= 1
    assert (again, is_new, is_new_again) == ("0", "1", "0")
    recorded = [one.data for one in await identity.events(PLATFORM_TENANT, "identity.credential_key.rotated")]
    assert recorded.count(CredentialKeyRotated(epoch=new, previous_epoch=old)) == 1

    alone = KeyStore(keys._database, KeyEncryptionKeys({new: both[new]}))
    await alone.data_key(tenant.id, person)
    with pytest.raises(EpochUnknown):
        await KeyStore(keys._database, KeyEncryptionKeys({old: both[old]})).data_key(tenant.id, person)

    assert (await admin.get("/api/v1/identity/me")).json()["display_name"] == "Ada Admin"
    for method in ("totp", "recovery"):
        client = await identity.signed_in(tenant, second_factor=False)
        identity.clock.ahead += timedelta(seconds=60)
        code = authenticator.code() if method == "totp" else authenticator.recovery_codes.pop()
        assert (await authenticator.show(client, code, method=method)).status_code == 200, method
