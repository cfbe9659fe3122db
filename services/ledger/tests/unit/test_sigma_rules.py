"""The Sigma rules name event types, classes and fields that are really sent, and find the events they are about."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from tallystick_contracts.generator.examples import example_event
from tallystick_contracts.registry import REGISTRY
from tallystick_ledger.siem.ocsf import ocsf_event
from tallystick_tlog import build_line

RULES = sorted((Path(__file__).parents[4] / "deploy" / "sigma").glob("*.yml"))
LEVELS = {"informational", "low", "medium", "high", "critical"}
# Of Sigma's specification 2.1: what a rule must have, and what it may.
REQUIRED = {"title", "logsource", "detection"}
ALSO = {"id", "status", "description", "references", "author", "date", "tags", "falsepositives", "fields", "level"}


def sent() -> dict[str, dict[str, Any]]:
    """One event of each type, with every field that it may have, as flat dotted names."""
    return {
        f"{kind.type}.v{kind.version}": flat(
            ocsf_event(
                build_line(example_event(kind), "ledger.test/log", bytes(32), "2026-11-22T10:00:00.250000Z", 5, 3),
                tenant=UUID(int=7),
                version="0.1.0",
            )
        )
        for kind in REGISTRY
    }


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested fields with dots, as SIEMs do."""
    found: dict[str, Any] = {}
    for name, part in value.items():
        found[prefix + name] = part
        if isinstance(part, dict):
            found |= flat(part, f"{prefix}{name}.")
    return found


SENT = sent()


def wanted(rule: dict[str, Any]) -> dict[str, list[Any]]:
    return {
        name: value if isinstance(value, list) else [value] for name, value in rule["detection"]["selection"].items()
    }


def test_there_are_rules_and_no_two_have_one_id() -> None:
    rules = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in RULES]
    assert len(rules) >= 10
    assert len({rule["id"] for rule in rules}) == len({rule["title"] for rule in rules}) == len(rules)


@pytest.mark.control("IR-01")
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_a_rule_is_one_of_sigma_and_finds_what_is_really_sent(path: Path) -> None:
    rule = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(rule) >= REQUIRED
    assert set(rule) <= REQUIRED | ALSO
    assert UUID(rule["id"]).version is not None
    assert rule["level"] in LEVELS
    assert rule["status"] in {"stable", "test", "experimental"}
    assert rule["logsource"] == {"product": "tallystick", "service": "ocsf"}
    assert rule["detection"]["condition"] == "selection"
    assert all(re.fullmatch(r"attack\.[a-z0-9.-]+", tag) for tag in rule["tags"])
    selection = wanted(rule)
    found = [one for one in SENT.values() if all(one.get(name) in values for name, values in selection.items())]
    assert found
    # Every value that is named is one that is sent, and every field has a place in some event that is found.
    for name, values in selection.items():
        assert set(values) <= {one[name] for one in found}
    for name in rule["fields"]:
        assert any(name in one for one in found), name


def test_every_severity_that_somebody_should_look_at_has_a_rule() -> None:
    covered = {
        one["metadata.event_code"]
        for path in RULES
        for one in SENT.values()
        if all(
            one.get(name) in values for name, values in wanted(yaml.safe_load(path.read_text(encoding="utf-8"))).items()
        )
    }
    assert {one["metadata.event_code"] for one in SENT.values() if one["severity_id"] >= 3} <= covered
