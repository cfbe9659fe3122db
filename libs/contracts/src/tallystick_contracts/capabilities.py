"""The names of all capabilities, what each service may do, and the roles a new tenant starts with.

Sessions carry role ids, never these names: every service looks them up on its side.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType

from tallystick_contracts.topology import ServiceName


class Capability(enum.StrEnum):
    """What a route can require."""

    SESSION_OWN = "session.own"
    SESSION_INTROSPECT = "session.introspect"
    FEED_READ = "feed.read"
    EVENT_HAND_OVER = "event.hand_over"
    KEY_POOL_READ = "key_pool.read"
    PROOF_READ = "proof.read"
    PEOPLE_READ = "people.read"
    PEOPLE_WRITE = "people.write"
    PEOPLE_DELETE = "people.delete"
    PEOPLE_IMPORT = "people.import"
    ROLES_READ = "roles.read"
    ROLES_WRITE = "roles.write"
    GRANTS_WRITE = "grants.write"
    SERVICE_KEYS_READ = "service_keys.read"
    SERVICE_KEYS_WRITE = "service_keys.write"
    SSO_READ = "sso.read"
    SSO_WRITE = "sso.write"
    ORG_UNITS_READ = "org_units.read"
    ORG_UNITS_WRITE = "org_units.write"
    QUESTION_READ = "question.read"
    QUESTION_WRITE = "question.write"
    EVALUATION_READ = "evaluation.read"
    EVALUATION_WRITE = "evaluation.write"
    ASSIGNMENT_READ = "assignment.read"
    ASSIGNMENT_ISSUE = "assignment.issue"
    ATTEMPT_TAKE = "attempt.take"
    SUBMISSION_READ = "submission.read"
    SCORE_READ = "score.read"
    REMEDIATION_PROPOSE = "remediation.propose"
    REMEDIATION_APPLY = "remediation.apply"
    CERTIFICATE_READ = "certificate.read"
    CERTIFICATE_ISSUE = "certificate.issue"
    CERTIFICATE_REVOKE = "certificate.revoke"
    CERTIFICATE_OWN = "certificate.own"
    LEDGER_READ = "ledger.read"
    LEDGER_EXPORT = "ledger.export"
    LEDGER_PUBLISH = "ledger.publish"
    PRIVACY_MANAGE = "privacy.manage"
    STATE_READ = "state.read"


# Every active person has these, in the home unit, without a grant.
IMPLICIT_CAPABILITIES = frozenset({Capability.SESSION_OWN})

# Only services have these: no role may hold one.
SERVICE_ONLY_CAPABILITIES = frozenset(
    {
        Capability.SESSION_INTROSPECT,
        Capability.FEED_READ,
        Capability.EVENT_HAND_OVER,
        Capability.KEY_POOL_READ,
        Capability.PROOF_READ,
    }
)

_EVERY_SERVICE = frozenset({Capability.FEED_READ, Capability.EVENT_HAND_OVER})

SERVICE_CAPABILITIES: Mapping[ServiceName, frozenset[Capability]] = MappingProxyType(
    {
        ServiceName.IDENTITY: _EVERY_SERVICE,
        ServiceName.ASSESSMENT: _EVERY_SERVICE | {Capability.SESSION_INTROSPECT},
        ServiceName.LEDGER: _EVERY_SERVICE | {Capability.SESSION_INTROSPECT},
        ServiceName.VERIFICATION: _EVERY_SERVICE | {Capability.SESSION_INTROSPECT, Capability.PROOF_READ},
        ServiceName.PRIVACY: _EVERY_SERVICE | {Capability.SESSION_INTROSPECT},
    }
)

# Capabilities that may stand in a role.
GRANTABLE_CAPABILITIES = frozenset(Capability) - SERVICE_ONLY_CAPABILITIES - IMPLICIT_CAPABILITIES

# Those of the default roles that are not staff's: whoever holds only these needs no second factor.
PARTICIPANT_ROLES = frozenset({"candidate"})

# Seed data of a new tenant; afterwards roles are the tenant's own, and no code asks for a role by name.
DEFAULT_ROLES: Mapping[str, frozenset[Capability]] = MappingProxyType(
    {
        "administrator": frozenset(
            {
                Capability.PEOPLE_READ,
                Capability.PEOPLE_WRITE,
                Capability.PEOPLE_DELETE,
                Capability.PEOPLE_IMPORT,
                Capability.ROLES_READ,
                Capability.ROLES_WRITE,
                Capability.GRANTS_WRITE,
                Capability.SERVICE_KEYS_READ,
                Capability.SERVICE_KEYS_WRITE,
                Capability.SSO_READ,
                Capability.SSO_WRITE,
                Capability.ORG_UNITS_READ,
                Capability.ORG_UNITS_WRITE,
                Capability.LEDGER_PUBLISH,
            }
        ),
        "author": frozenset(
            {
                Capability.QUESTION_READ,
                Capability.QUESTION_WRITE,
                Capability.EVALUATION_READ,
                Capability.EVALUATION_WRITE,
                Capability.ASSIGNMENT_READ,
                Capability.ASSIGNMENT_ISSUE,
                Capability.SUBMISSION_READ,
                Capability.SCORE_READ,
                Capability.REMEDIATION_PROPOSE,
                Capability.REMEDIATION_APPLY,
            }
        ),
        "proctor": frozenset({Capability.ASSIGNMENT_READ, Capability.ASSIGNMENT_ISSUE}),
        "grader": frozenset(
            {
                Capability.SUBMISSION_READ,
                Capability.SCORE_READ,
                Capability.CERTIFICATE_READ,
                Capability.CERTIFICATE_ISSUE,
                Capability.CERTIFICATE_REVOKE,
            }
        ),
        "auditor": frozenset(
            {
                Capability.LEDGER_READ,
                Capability.LEDGER_EXPORT,
                Capability.STATE_READ,
                Capability.SCORE_READ,
                Capability.CERTIFICATE_READ,
            }
        ),
        "privacy_officer": frozenset({Capability.PRIVACY_MANAGE, Capability.PEOPLE_READ, Capability.PEOPLE_DELETE}),
        "candidate": frozenset({Capability.ATTEMPT_TAKE, Capability.CERTIFICATE_OWN}),
        # What a customer's own system needs to bring people in, assign to them, and fetch what came of it.
        "service": frozenset(
            {
                Capability.PEOPLE_READ,
                Capability.PEOPLE_IMPORT,
                Capability.ORG_UNITS_READ,
                Capability.ASSIGNMENT_READ,
                Capability.ASSIGNMENT_ISSUE,
                Capability.CERTIFICATE_READ,
            }
        ),
    }
)
