"""Turn data of an older version of an event type into the next one.

A published version never changes: a new version is a new message, and its upcaster stands here, old struct to function.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tallystick_contracts.generated.identity import RoleAssigned, RoleAssignedV2
from tallystick_contracts.message import EventData

Upcaster = Callable[[Any], EventData]


def _role_assigned(data: RoleAssigned) -> RoleAssignedV2:
    return RoleAssignedV2(
        grant_id=data.grant_id,
        person=data.person,
        role_id=data.role_id,
        unit_id=data.unit_id,
        subtree=data.subtree,
    )


UPCASTERS: Mapping[type[EventData], Upcaster] = MappingProxyType({RoleAssigned: _role_assigned})
