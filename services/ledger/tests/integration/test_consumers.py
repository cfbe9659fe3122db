"""What the ledger answers when a person is to be erased."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tallystick_chassis.ids import new_person_ref
from tallystick_chassis.scope import Scope
from tallystick_contracts.envelope import decode_event, encode_event
from tallystick_contracts.generated.common import ErasureOutcome
from tallystick_contracts.generated.ledger import ErasureReceiptGiven
from tallystick_contracts.generated.privacy import ErasureOrdered
from tallystick_ledger.consumers import on_erasure_ordered

if TYPE_CHECKING:
    from tallystick_chassis.database import Database
    from tallystick_chassis.ids import TenantId


@pytest.mark.control("EV-25h")
async def test_an_order_to_erase_is_answered_once_with_nothing_held(database: Database, tenant: TenantId) -> None:
    order = ErasureOrdered(job_id=str(uuid4()), person=new_person_ref())
    body = encode_event(
        order,
        id=uuid4(),
        source="privacy",
        stream=f"erasure-{order.job_id}",
        stream_version=1,
        time=datetime(2026, 11, 21, tzinfo=UTC),
        actor="privacy",
    )
    for _ in range(2):
        async with database.transaction(Scope.for_duty(tenant, "ledger")) as tx:
            await on_erasure_ordered(tx, decode_event(body, tenant=tenant, source_seq=1))
    async with database.transaction(Scope.for_duty(tenant, "ledger")) as tx:
        (receipt,) = await tx.load(f"erasure_receipt-{order.job_id}")
    assert isinstance(receipt.data, ErasureReceiptGiven)
    assert (receipt.data.job_id, receipt.data.person) == (order.job_id, order.person)
    assert [(one.name, one.items, one.outcome) for one in receipt.data.stores] == [
        ("logs", 0, ErasureOutcome.NOTHING_HELD)
    ]
