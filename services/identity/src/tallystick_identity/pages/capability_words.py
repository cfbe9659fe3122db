"""What each capability lets people do, in words, and which belong together: for the pages about roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallystick_contracts.capabilities import Capability

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True, slots=True)
class Group:
    """Capabilities of one kind, each with what it lets people do; the sentence goes on from "may"."""

    title: str
    words: Mapping[Capability, str]

    def held(self, capabilities: Collection[str]) -> int:
        """Return how many of the group are among ``capabilities``."""
        return sum(one in capabilities for one in self.words)


GROUPS: Final = (
    Group(
        "People",
        {
            Capability.PEOPLE_READ: "see who there is, their addresses and sessions",
            Capability.PEOPLE_WRITE: "add people, disable and enable them, end sessions, help whoever is locked out",
            Capability.PEOPLE_IMPORT: "bring in many people at once, with their units and roles",
            Capability.PEOPLE_DELETE: "delete people, whose data is erased then",
            Capability.PRIVACY_MANAGE: "see which erasures there were, with their receipts",
        },
    ),
    Group(
        "Units and roles",
        {
            Capability.ORG_UNITS_READ: "see the units",
            Capability.ORG_UNITS_WRITE: "add units",
            Capability.ROLES_READ: "see roles, who holds them, and how people sign in",
            Capability.ROLES_WRITE: "define and change roles, and let people sign in by password or not",
            Capability.GRANTS_WRITE: "give roles and take them back, and change anybody's address",
        },
    ),
    Group(
        "Sign-in and machines",
        {
            Capability.SSO_READ: "see the provider of single sign-on",
            Capability.SSO_WRITE: "set that provider up, and disable it",
            Capability.SERVICE_KEYS_READ: "see the keys of machines",
            Capability.SERVICE_KEYS_WRITE: "make keys for machines, and take them back",
        },
    ),
    Group(
        "Questions and exams",
        {
            Capability.QUESTION_READ: "see questions with their keys",
            Capability.QUESTION_WRITE: "write questions",
            Capability.EVALUATION_READ: "see exams",
            Capability.EVALUATION_WRITE: "publish exams, and release them to units",
            Capability.ASSIGNMENT_READ: "see who was assigned what",
            Capability.ASSIGNMENT_ISSUE: "assign exams, and take assignments back",
            Capability.ATTEMPT_TAKE: "sit the exams assigned to them, and see their own results",
        },
    ),
    Group(
        "Results",
        {
            Capability.SUBMISSION_READ: "see what was handed in",
            Capability.SCORE_READ: "see scores",
            Capability.REMEDIATION_PROPOSE: "work out what another key to a question would change",
            Capability.REMEDIATION_APPLY: "apply that, and take it back",
        },
    ),
    Group(
        "Certificates",
        {
            Capability.CERTIFICATE_READ: "see certificates",
            Capability.CERTIFICATE_ISSUE: "issue certificates",
            Capability.CERTIFICATE_REVOKE: "revoke certificates",
            Capability.CERTIFICATE_OWN: "see their own certificates",
        },
    ),
    Group(
        "Logs and audits",
        {
            Capability.LEDGER_READ: "read the logs of what happened",
            Capability.LEDGER_EXPORT: "export the logs, and have them streamed to a SIEM",
            Capability.LEDGER_PUBLISH: "let anybody see a log's head and hashes, or stop that",
            Capability.STATE_READ: "read the present state of everything, to hold it against the logs",
        },
    ),
)

WORDS: Final[Mapping[str, str]] = {one.value: words for group in GROUPS for one, words in group.words.items()}
"""The same by the capability's name; what no role can hold is not there."""
