"""The auditor's rules know every version of the events that they speak of."""

from tallystick_contracts.reconciliation import RULES
from tallystick_contracts.registry import REGISTRY


def test_a_rule_for_an_event_has_one_for_each_of_its_versions():
    ruled = {(rule.event, rule.version) for rule in RULES}
    events = {event for event, _ in ruled}

    assert ruled == {(entry.type, entry.version) for entry in REGISTRY if entry.type in events}
