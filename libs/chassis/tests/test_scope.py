"""A scope is whole or refused."""

from uuid import uuid4

import pytest
from tallystick_chassis.ids import OrgUnitId, TenantId, new_person_ref, new_secret
from tallystick_chassis.scope import ALL_UNITS, Scope, ScopeError

TENANT = TenantId(uuid4())
UNIT = OrgUnitId(uuid4())


@pytest.mark.control("EV-22d")
@pytest.mark.parametrize(
    "broken",
    [
        {"tenant": None},
        {"tenant": str(TENANT)},
        {"org_units": None},
        {"org_units": [UNIT]},
        {"org_units": frozenset({"*"})},
        {"actor": ""},
        {"actor": "a person@example.org"},
        {"correlation": ""},
        {"correlation": "x" * 65},
        {"correlation": "a b"},
    ],
)
def test_a_scope_with_a_missing_or_malformed_part_is_refused(broken: dict[str, object]) -> None:
    whole: dict[str, object] = {"tenant": TENANT, "org_units": frozenset({UNIT}), "actor": "p_x", "correlation": "c1"}
    Scope(**whole)  # type: ignore[arg-type]
    with pytest.raises(ScopeError):
        Scope(**(whole | broken))  # type: ignore[arg-type]


def test_units_are_written_in_a_stable_order_and_all_units_as_a_star() -> None:
    first, second = sorted((OrgUnitId(uuid4()), OrgUnitId(uuid4())), key=str)
    scope = Scope(tenant=TENANT, org_units=frozenset({second, first}), actor="p_x", correlation="c1")
    assert scope.units_setting == f"{first},{second}"
    assert Scope(tenant=TENANT, org_units=frozenset(), actor="p_x", correlation="c1").units_setting == ""
    assert Scope(tenant=TENANT, org_units=ALL_UNITS, actor="p_x", correlation="c1").units_setting == "*"


@pytest.mark.control("X-13")
def test_a_duty_acts_as_its_service_in_one_tenant() -> None:
    scope = Scope.for_duty(TENANT, "ledger")
    assert (scope.tenant, scope.actor, scope.org_units) == (TENANT, "ledger", ALL_UNITS)
    assert scope.correlation


@pytest.mark.control("X-09")
def test_secrets_hold_at_least_128_bits_and_pseudonyms_exactly_that() -> None:
    assert len(new_secret(16)) == 22
    assert len(new_person_ref()) == 24
    with pytest.raises(ValueError, match="at least 16"):
        new_secret(15)
