"""Which class and activity of OCSF 1.8.0 an event type is, from what its contract declares.

The contracts name classes of OCSF 1.9, which has User Management (3007) and Role Management (3008). The released
version has neither, so ``_SINCE_1_9`` says what they are there.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_contracts.message import EventType

OCSF_VERSION: Final = "1.8.0"
OTHER: Final = 99
BASE_EVENT: Final = 0


class Activity(NamedTuple):
    """A class of events and what was done, as OCSF numbers them."""

    class_uid: int
    activity_id: int


CATEGORIES: Final[Mapping[int, str]] = MappingProxyType(
    {0: "Uncategorized", 2: "Findings", 3: "Identity & Access Management", 6: "Application Activity"}
)
CLASSES: Final[Mapping[int, str]] = MappingProxyType(
    {
        BASE_EVENT: "Base Event",
        2003: "Compliance Finding",
        2004: "Detection Finding",
        3001: "Account Change",
        3002: "Authentication",
        3003: "Authorize Session",
        3004: "Entity Management",
        3005: "User Access Management",
        6003: "API Activity",
        6005: "Datastore Activity",
    }
)

_FINDING: Final = {1: "Create", 2: "Update", 3: "Close"}
ACTIVITIES: Final[Mapping[int, Mapping[int, str]]] = MappingProxyType(
    {
        BASE_EVENT: {},
        2003: _FINDING,
        2004: _FINDING,
        3001: {
            1: "Create",
            2: "Enable",
            3: "Password Change",
            4: "Password Reset",
            5: "Disable",
            6: "Delete",
            7: "Attach Policy",
            8: "Detach Policy",
            9: "Lock",
            10: "MFA Factor Enable",
            11: "MFA Factor Disable",
            12: "Unlock",
        },
        3002: {
            1: "Logon",
            2: "Logoff",
            3: "Authentication Ticket",
            4: "Service Ticket Request",
            5: "Service Ticket Renew",
            6: "Preauth",
            7: "Account Switch",
        },
        3003: {1: "Assign Privileges", 2: "Assign Groups"},
        3004: {
            1: "Create",
            2: "Read",
            3: "Update",
            4: "Delete",
            5: "Move",
            6: "Enroll",
            7: "Unenroll",
            8: "Enable",
            9: "Disable",
            10: "Activate",
            11: "Deactivate",
            12: "Suspend",
            13: "Resume",
        },
        3005: {1: "Assign Privileges", 2: "Revoke Privileges"},
        6003: {1: "Create", 2: "Read", 3: "Update", 4: "Delete"},
        6005: {
            1: "Read",
            2: "Update",
            3: "Connect",
            4: "Query",
            5: "Write",
            6: "Create",
            7: "Delete",
            8: "List",
            9: "Encrypt",
            10: "Decrypt",
        },
    }
)
"""The activities of each class that we send, by OCSF 1.8.0's own names; each has ``Other`` besides."""

_USER_MANAGEMENT: Final = 3007
_ROLE_MANAGEMENT: Final = 3008
_SINCE_1_9: Final[Mapping[tuple[int, int], Activity]] = MappingProxyType(
    {
        (_USER_MANAGEMENT, 1): Activity(3001, 1),
        (_USER_MANAGEMENT, 2): Activity(3001, OTHER),  # 1.8 has no Update of an account
        (_USER_MANAGEMENT, 3): Activity(3001, 6),
        (_USER_MANAGEMENT, 4): Activity(3001, 2),
        (_USER_MANAGEMENT, 5): Activity(3001, 5),
        (_USER_MANAGEMENT, 6): Activity(3001, 9),
        (_USER_MANAGEMENT, 7): Activity(3001, 12),
        (_USER_MANAGEMENT, 8): Activity(3001, 3),
        (_USER_MANAGEMENT, 9): Activity(3001, 4),
        (_USER_MANAGEMENT, 10): Activity(3001, 7),
        (_USER_MANAGEMENT, 11): Activity(3001, 8),
        (_USER_MANAGEMENT, 12): Activity(3001, 10),
        (_USER_MANAGEMENT, 13): Activity(3001, 11),
        (_USER_MANAGEMENT, 14): Activity(3005, 1),
        (_USER_MANAGEMENT, 15): Activity(3005, 2),
        (_USER_MANAGEMENT, 16): Activity(3005, 1),
        (_USER_MANAGEMENT, 17): Activity(3005, 2),
        (_USER_MANAGEMENT, 18): Activity(3001, OTHER),
        (_USER_MANAGEMENT, 19): Activity(3001, OTHER),
        (_USER_MANAGEMENT, OTHER): Activity(3001, OTHER),
        (_ROLE_MANAGEMENT, 1): Activity(3004, 1),
        (_ROLE_MANAGEMENT, 2): Activity(3004, 3),
        (_ROLE_MANAGEMENT, 3): Activity(3004, 4),
    }
)


def activity_of(entry: EventType) -> Activity:
    """Return the class and activity of an event type in OCSF 1.8.0.

    Raises:
        KeyError: it has none there. A test asks this of every registered type.
    """
    declared = Activity(entry.ocsf_class, entry.ocsf_activity)
    found = _SINCE_1_9.get(declared, declared)
    if found.activity_id != OTHER and found.activity_id not in ACTIVITIES[found.class_uid]:
        raise KeyError(declared)
    return found
