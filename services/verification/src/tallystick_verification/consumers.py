"""What verification does when others speak: certificates come and go; erasures find nothing here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tallystick_chassis.ids import OrgUnitId, PersonRef
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.assessment import CredentialPublished, CredentialWithdrawn
from tallystick_contracts.generated.common import ErasureOutcome, StoreErasure
from tallystick_contracts.generated.privacy import ErasureOrdered
from tallystick_contracts.generated.verification import ErasureReceiptGiven

from tallystick_verification.credentials import store
from tallystick_verification.credentials.domain import Publication

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_chassis.service import Handler
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.envelope import Event

STORE = "credentials"


async def on_credential_published(tx: Transaction, event: Event) -> None:
    """Note the certificate's public half."""
    if isinstance(event.data, CredentialPublished):
        await store.add_publication(tx, Publication.of(event.id, event.data))


async def on_credential_withdrawn(tx: Transaction, event: Event) -> None:
    """Note the withdrawal by itself, so that it holds even if its certificate is still to come."""
    if isinstance(event.data, CredentialWithdrawn):
        await store.add_withdrawal(tx, event.id, event.data)


async def on_erasure_ordered(tx: Transaction, event: Event) -> None:
    """Answer that nothing is held: what is public here names nobody, not even by a pseudonym."""
    if isinstance(event.data, ErasureOrdered):
        nothing = StoreErasure(name=STORE, items=0, outcome=ErasureOutcome.NOTHING_HELD)
        given = ErasureReceiptGiven(job_id=event.data.job_id, person=event.data.person, stores=(nothing,))
        unit = OrgUnitId(event.org_unit) if event.org_unit else None
        draft = EventDraft(given, subject=PersonRef(event.data.person), org_unit=unit)
        await tx.append(f"erasure:{event.data.job_id}", 0, [draft])


HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "assessment.credential.published": on_credential_published,
        "assessment.credential.withdrawn": on_credential_withdrawn,
        "privacy.erasure.ordered": on_erasure_ordered,
    }
)
