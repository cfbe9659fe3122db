"""The worker's duty to say in public what became of certificates: later, apart, and in no order of the issuing."""

from sqlalchemy import select
from tallystick_chassis.database import Database, DutyDatabase
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import EventDraft, Transaction
from tallystick_contracts.generated.assessment import CredentialPublished, CredentialWithdrawn

from tallystick_assessment.certificates.store import Action, take_publication
from tallystick_assessment.tables import publications


async def publish_next(tx: Transaction) -> bool:
    """Make one public entry and take it off the list, in this transaction alone; False when none is due.

    Events: credential.published or credential.withdrawn.
    """
    publication = await take_publication(tx)
    if publication is None:
        return False
    stream = f"credential-{publication.reference}"
    if publication.action == Action.PUBLISH:
        published = CredentialPublished(
            reference=publication.reference,
            commitment=publication.commitment,
            credential_type=publication.credential_type,
            issuer=publication.issuer,
            issued_at=publication.issued_at,
        )
        await tx.append(stream, 0, [EventDraft(published)])
        return True
    withdrawn = CredentialWithdrawn(reference=publication.reference, withdrawn_at=f"{tx.clock():%Y-%m-%dT%H:%M:%SZ}")
    await tx.append(stream, 1, [EventDraft(withdrawn)])
    return True


class Publisher:
    """Finds the tenants that have something due, and makes one entry in one transaction at a time."""

    def __init__(self, database: Database, duty: DutyDatabase) -> None:
        self._database = database
        self._duty = duty

    async def run(self) -> bool:
        """Make one entry for each tenant that has one due; True when there may be more."""
        async with self._duty.duty() as connection:
            due = await connection.execute(
                select(publications.c.tenant_id).where(publications.c.not_before <= self._duty.clock()).distinct()
            )
            tenants = list(due.scalars())
        made = False
        for tenant in tenants:
            # A scope of its own for each entry: a correlation shared by two would tie them together in our own tables.
            async with self._database.transaction(Scope.for_duty(TenantId(tenant), self._database.service)) as tx:
                made = await publish_next(tx) or made
        return made
