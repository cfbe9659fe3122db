"""What the domain says when a rule does not let a command through; pure, translated once at the edge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the input: a JSON pointer (RFC 6901) into the body, and what is wrong there."""

    pointer: str
    detail: str


class Refusal(Exception):
    """A rule of the domain refuses a command; subclasses fix the problem's code, HTTP status and title."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 409
    title: ClassVar[str] = "The command is not possible now"

    def __init__(self, detail: str = "", faults: Sequence[Fault] = ()) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.faults = tuple(faults)


class DocumentInvalid(Refusal):
    """An evaluation document contradicts itself."""

    code = "evaluation_invalid"
    status = 422
    title = "The evaluation document is not valid"


class ResponseInvalid(Refusal):
    """A response does not have the form that its item asks for."""

    code = "response_invalid"
    status = 422
    title = "The response does not fit the item"


class KeyInvalid(Refusal):
    """A new key does not fit the item that it is for."""

    code = "key_invalid"
    status = 422
    title = "The key does not fit the item"


class PeopleUnknown(Refusal):
    """Some people cannot be assigned: unknown here, erased, or outside the caller's org units."""

    code = "people_unknown"
    status = 422
    title = "Some people are not known here"


class UnitsUnknown(Refusal):
    """Some org units are outside the caller's scope."""

    code = "units_unknown"
    status = 422
    title = "Some org units are not known here"


class Unchanged(Refusal):
    """The document equals the newest version, so there is nothing to publish."""

    code = "evaluation_unchanged"
    title = "The newest version already says this"


class AlreadyStarted(Refusal):
    """An assignment gives one attempt."""

    code = "attempt_already_started"
    title = "This assignment has already been started"


class AssignmentRevoked(Refusal):
    """The assignment was taken back."""

    code = "assignment_revoked"
    title = "This assignment was taken back"


class AssignmentStarted(Refusal):
    """An assignment that was started cannot be taken back."""

    code = "assignment_started"
    title = "This assignment has already been started"


class PersonErased(Refusal):
    """Erasure was ordered for the person; nothing can be kept for them any more."""

    code = "person_erased"
    title = "This person has been erased"


class AttemptExpired(Refusal):
    """The time limit has passed."""

    code = "attempt_expired"
    title = "The time for this attempt is over"


class AttemptSubmitted(Refusal):
    """The attempt was submitted and takes no more answers."""

    code = "attempt_submitted"
    title = "This attempt has already been submitted"


class ItemUnknown(Refusal):
    """A version has no such item."""

    code = "item_unknown"
    status = 422
    title = "This version has no such item"


class NothingChanges(Refusal):
    """The proposed key equals the key in force."""

    code = "key_unchanged"
    status = 422
    title = "This key is already in force"


class UnitsNotCovered(Refusal):
    """The command reaches further than the caller: to the root unit, or to every unit that sat an evaluation."""

    code = "units_not_covered"
    status = 403
    title = "This needs the capability in every org unit that it touches"


class RemediationStale(Refusal):
    """The scores have moved since the dry run, so what was reviewed is not what would happen."""

    code = "remediation_stale"
    title = "The scores have changed since the dry run; propose it again"


class RemediationNotApplied(Refusal):
    """Only an applied remediation can be reverted."""

    code = "remediation_not_applied"
    title = "This remediation has not been applied"


class RemediationSuperseded(Refusal):
    """A later remediation of the same item is in force and must be reverted first."""

    code = "remediation_superseded"
    title = "A later remediation of this item is in force; revert that one first"
