"""What the privacy worker does when others speak: tenants and people come, people go, stores report."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from tallystick_chassis.ids import OrgUnitId, PersonRef
from tallystick_contracts.generated.identity import UserCreated, UserDeleted
from tallystick_contracts.registry import ERASURE_RECEIPTS, ErasureReceipt

from tallystick_privacy_worker.erasure.commands import order
from tallystick_privacy_worker.erasure.domain import Receipt
from tallystick_privacy_worker.erasure.store import add_receipts
from tallystick_privacy_worker.keys import store as key_store
from tallystick_privacy_worker.keys.commands import ensure_tenant_keys, fill_pool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.service import Handler
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.envelope import Event


def handlers(keys: KeyStore) -> Mapping[str, Handler]:
    """Return the handlers by event type."""

    async def on_tenant_created(tx: Transaction, _event: Event) -> None:
        await ensure_tenant_keys(tx, keys, tx.clock().date())
        await fill_pool(tx, keys)

    async def on_user_created(tx: Transaction, event: Event) -> None:
        data = event.data
        if isinstance(data, UserCreated):
            await key_store.claim(tx, data.key_id, data.person)
            await fill_pool(tx, keys)

    async def on_user_deleted(tx: Transaction, event: Event) -> None:
        data = event.data
        if isinstance(data, UserDeleted):
            await order(
                tx,
                job_id=event.id,
                person=PersonRef(data.person),
                key_id=data.key_id,
                unit=OrgUnitId(event.org_unit) if event.org_unit else tx.scope.root_unit,
            )

    async def on_erasure_receipt_given(tx: Transaction, event: Event) -> None:
        data = event.data
        if isinstance(data, ErasureReceipt):
            reported = [
                Receipt(event.source, one.name, one.outcome.value, one.items, event.time) for one in data.stores
            ]
            await add_receipts(tx, UUID(data.job_id), reported)

    receipts = {f"{service}.erasure_receipt.given": on_erasure_receipt_given for service in ERASURE_RECEIPTS}
    return receipts | {
        "identity.tenant.created": on_tenant_created,
        "identity.user.created": on_user_created,
        "identity.user.deleted": on_user_deleted,
    }
