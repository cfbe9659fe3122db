"""What assessment does when something has happened: score what was handed in, erase whom it must forget."""

from collections.abc import Mapping
from uuid import UUID

from tallystick_chassis.ids import PersonRef
from tallystick_chassis.service import Handler
from tallystick_chassis.transaction import Transaction
from tallystick_contracts.envelope import Event
from tallystick_contracts.generated.assessment import SubmissionFinalised
from tallystick_contracts.generated.privacy import ErasureOrdered

from tallystick_assessment.cipher import Cipher
from tallystick_assessment.erasure.commands import erase_person
from tallystick_assessment.scoring.commands import score_submission


def handlers(cipher: Cipher) -> Mapping[str, Handler]:
    """Return the handlers by event type; the chassis adds the directory's."""

    async def on_submission_finalised(tx: Transaction, event: Event) -> None:
        if isinstance(event.data, SubmissionFinalised):
            await score_submission(tx, cipher, UUID(event.data.submission_id))

    async def on_erasure_ordered(tx: Transaction, event: Event) -> None:
        if isinstance(event.data, ErasureOrdered):
            await erase_person(tx, cipher, job_id=event.data.job_id, person=PersonRef(event.data.person))

    return {
        "assessment.submission.finalised": on_submission_finalised,
        "privacy.erasure.ordered": on_erasure_ordered,
    }
