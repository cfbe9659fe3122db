"""Destroying what assessment can read about a person, and saying so."""

from sqlalchemy import select, update
from tallystick_chassis.ids import PersonRef
from tallystick_chassis.tables import directory_people
from tallystick_chassis.transaction import EventDraft, Transaction
from tallystick_contracts.generated.assessment import ErasureReceiptGiven
from tallystick_contracts.generated.common import ErasureOutcome, StoreErasure

from tallystick_assessment.cipher import Cipher
from tallystick_assessment.tables import answers, certificates


async def erase_person(tx: Transaction, cipher: Cipher, *, job_id: str, person: PersonRef) -> None:
    """Destroy the person's data key, scrub what was encrypted under it, and give the receipt; once for each job.

    The key store is another database and cannot be rolled back, so its key goes last but before the commit: whatever
    happens then, a retry finds the key gone and does the rest. Scores, hashes and pseudonyms stay; nobody can tell
    any more whose they were. Event: erasure_receipt.given.
    """
    stream = f"erasure_receipt-{job_id}"
    if await tx.load(stream):
        return
    tenant = tx.scope.tenant
    scrubbed_answers = await tx.execute(
        update(answers)
        .where(answers.c.tenant_id == tenant, answers.c.person == person, answers.c.content.is_not(None))
        .values(content=None)
    )
    scrubbed_links = await tx.execute(
        update(certificates)
        .where(certificates.c.tenant_id == tenant, certificates.c.person == person, certificates.c.content.is_not(None))
        .values(content=None)
    )
    known = await tx.execute(
        select(directory_people.c.person).where(
            directory_people.c.tenant_id == tenant,
            directory_people.c.person == person,
            directory_people.c.erased_at.is_not(None),
        )
    )
    destroyed = await cipher.destroy(tenant, person)
    # After a crash the key is gone already; what was still encrypted under it says that there was one.
    had_key = destroyed or scrubbed_answers.rowcount or scrubbed_links.rowcount
    stores = (
        _store("data-key", 1 if had_key else 0),
        _store("answers", scrubbed_answers.rowcount),
        _store("certificate-links", scrubbed_links.rowcount),
        _store("directory", len(known.all())),
    )
    event = ErasureReceiptGiven(job_id=job_id, person=person, stores=stores)
    await tx.append(stream, 0, [EventDraft(event, subject=person)])


def _store(name: str, items: int) -> StoreErasure:
    outcome = ErasureOutcome.ERASED if items else ErasureOutcome.NOTHING_HELD
    return StoreErasure(name=name, items=items, outcome=outcome)
