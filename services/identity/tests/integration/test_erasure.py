"""What identity destroys when erasure is ordered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from tallystick_chassis.keystore import KeyDestroyed
from tallystick_contracts.generated.common import ErasureOutcome
from tallystick_contracts.generated.privacy import ErasureOrdered

if TYPE_CHECKING:
    from conftest import Identity


@pytest.mark.control("EV-25h")
async def test_erasure_leaves_no_name_no_address_no_session_and_no_key(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = await identity.new_person(admin, "kim@people.example")
    south = await identity.new_unit(admin, "south")
    officer = await identity.new_person(admin, "officer@people.example")
    await identity.grant(admin, person["id"], "candidate", south)
    await identity.grant(admin, officer["id"], "privacy_officer", str(tenant.id))
    await identity.signed_in(tenant, "kim@people.example")
    by = await identity.signed_in(tenant, "officer@people.example")  # who cannot reach the grant in the south
    assert (await identity.command(by, "DELETE", f"identity/people/{person['id']}")).status_code == 202
    assert await identity.events(tenant.id, "identity.role.revoked") == []
    order = ErasureOrdered(job_id="job-1", person=person["person"])
    await identity.receive(tenant.id, order)
    await identity.receive(tenant.id, order)
    (receipt,) = await identity.events(tenant.id, "identity.erasure_receipt.given")
    assert receipt.data.job_id == "job-1"  # type: ignore[attr-defined]
    stores = {one.name: (one.items, one.outcome) for one in receipt.data.stores}  # type: ignore[attr-defined]
    erased = ErasureOutcome.ERASED
    assert stores == {
        "people": (1, erased), "sessions": (1, erased), "sign-in": (1, erased), "data-key": (1, erased),
        "second-factors": (0, ErasureOutcome.NOTHING_HELD), "passwords": (0, ErasureOutcome.NOTHING_HELD),
    }  # fmt: skip
    assert len(await identity.events(tenant.id, "identity.role.revoked")) == 1
    async with identity.transaction(tenant.id) as tx:
        row = (
            await tx.execute(
                text("select email_index, email_ciphertext, name_ciphertext from identity.people where person = :one"),
                {"one": person["person"]},
            )
        ).one()
    assert tuple(row) == (None, None, None)
    with pytest.raises(KeyDestroyed):
        await identity.parts.keys.data_key(tenant.id, person["person"])


@pytest.mark.control("EV-25h")
async def test_an_order_for_somebody_unknown_is_answered_too(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    await identity.receive(tenant.id, ErasureOrdered(job_id="job-2", person="p_unknown"))
    (receipt,) = await identity.events(tenant.id, "identity.erasure_receipt.given")
    assert {one.outcome for one in receipt.data.stores} == {ErasureOutcome.NOTHING_HELD}  # type: ignore[attr-defined]
