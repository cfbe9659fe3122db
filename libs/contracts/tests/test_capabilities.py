"""Roles hold only what a person may be granted, and services only what they need."""

import pytest
from tallystick_contracts.capabilities import (
    DEFAULT_ROLES,
    GRANTABLE_CAPABILITIES,
    IMPLICIT_CAPABILITIES,
    SERVICE_CAPABILITIES,
    SERVICE_ONLY_CAPABILITIES,
    Capability,
)
from tallystick_contracts.topology import ServiceName


@pytest.mark.parametrize("role", DEFAULT_ROLES)
def test_a_default_role_holds_only_grantable_capabilities(role: str) -> None:
    assert DEFAULT_ROLES[role] <= GRANTABLE_CAPABILITIES


def test_every_grantable_capability_is_in_some_default_role() -> None:
    assert frozenset().union(*DEFAULT_ROLES.values()) == GRANTABLE_CAPABILITIES


def test_every_service_is_listed_and_holds_only_service_capabilities() -> None:
    assert set(SERVICE_CAPABILITIES) == set(ServiceName)
    for capabilities in SERVICE_CAPABILITIES.values():
        assert capabilities <= SERVICE_ONLY_CAPABILITIES


def test_every_capability_is_grantable_implicit_or_for_services_alone() -> None:
    kinds = (GRANTABLE_CAPABILITIES, IMPLICIT_CAPABILITIES, SERVICE_ONLY_CAPABILITIES)
    assert sum(map(len, kinds)) == len(Capability)
    assert frozenset().union(*kinds) == frozenset(Capability)
