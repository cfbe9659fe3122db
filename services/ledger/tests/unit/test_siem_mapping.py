"""Every event type there is becomes an event of OCSF 1.8.0 that has what its class requires, and nothing personal."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from tallystick_contracts.generator.examples import example_event
from tallystick_contracts.message import EventType, PiiClass
from tallystick_contracts.registry import REGISTRY
from tallystick_ledger.siem.ocsf import SEVERITIES, ocsf_event
from tallystick_ledger.siem.ocsf_classes import ACTIVITIES, CLASSES
from tallystick_tlog import build_line, leaf_hash

TENANT = UUID(int=7)
ORIGIN = f"ledger.test/{TENANT}/compliance"
PREV = bytes(range(32))
EVERY_TYPE = [pytest.param(one, id=f"{one.type}.v{one.version}") for one in REGISTRY]

FRAME = {
    *("activity_id", "activity_name", "category_name", "category_uid", "class_name", "class_uid", "message"),
    *("metadata", "severity", "severity_id", "time", "type_uid", "unmapped"),
}
# From the schema of OCSF 1.8.0 (commit 3dcb905d): what each class requires beyond the base event, and may have.
REQUIRED: dict[int, set[str]] = {
    2003: {"compliance", "finding_info"},
    2004: {"finding_info"},
    3001: {"user"},
    3002: {"user", "service"},
    3003: {"user", "privileges"},
    3004: {"entity"},
    3005: {"user", "privileges"},
    6003: {"actor", "api", "src_endpoint"},
    6005: {"actor", "src_endpoint", "table"},
}
OPTIONAL: dict[int, set[str]] = {
    2003: {"actor"},
    2004: {"actor", "is_alert"},
    3001: {"actor"},
    3002: {"actor", "is_mfa", "session"},
    3003: {"actor", "is_mfa", "session", "service"},
    3004: {"actor"},
    3005: {"actor"},
    6003: {"trace"},
    6005: set(),
}


def line_of(event: bytes, seq: int = 5) -> bytes:
    return build_line(event, ORIGIN, PREV, "2026-11-22T10:00:00.250000Z", seq, 3)


def mapped(event: bytes, seq: int = 5) -> dict[str, Any]:
    return ocsf_event(line_of(event, seq), tenant=TENANT, version="0.1.0")


@pytest.mark.control("EV-25e")
@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_every_event_type_has_a_class_of_ocsf_1_8_and_what_that_requires(kind: EventType) -> None:
    found = mapped(example_event(kind))
    uid, activity = found["class_uid"], found["activity_id"]
    assert found["class_name"] == CLASSES[uid]
    assert found["category_uid"] == uid // 1000
    assert found["type_uid"] == uid * 100 + activity
    assert activity == 99 or activity in ACTIVITIES[uid]
    assert REQUIRED[uid] <= set(found)
    assert set(found) - FRAME - {"status", "status_id"} <= REQUIRED[uid] | OPTIONAL[uid]
    assert found["message"] == kind.summary
    json.dumps(found, allow_nan=False)


@pytest.mark.control("EV-25e")
@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_nothing_sealed_or_unnamed_leaves(kind: EventType) -> None:
    event = json.loads(example_event(kind))
    sent = json.dumps(mapped(example_event(kind)))
    boxes = [one for path, one in _leaves(event["data"]) if path.endswith("box")]
    sealed = [path for path, pii in kind.pii.items() if pii is PiiClass.P2]
    assert bool(boxes) == bool(sealed)
    for box in boxes:
        assert box not in sent


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_every_field_that_is_not_personal_does_leave(kind: EventType) -> None:
    event = json.loads(example_event(kind))
    sealed = {_json_name(path) for path, pii in kind.pii.items() if pii is PiiClass.P2}
    open_fields = {name: value for name, value in event["data"].items() if name not in sealed}
    assert mapped(example_event(kind))["unmapped"]["data"] == open_fields


def test_who_where_when_and_the_place_in_the_chain_are_told() -> None:
    kind = REGISTRY.by_name("identity.login.succeeded", 1)
    body = example_event(kind)
    event, found = json.loads(body), mapped(body, seq=41)
    metadata = found["metadata"]
    assert (metadata["uid"], metadata["sequence"], metadata["log_name"]) == (event["id"], 41, ORIGIN)
    assert (metadata["tenant_uid"], metadata["correlation_uid"]) == (str(TENANT), event["correlation"])
    assert (metadata["version"], metadata["event_code"]) == ("1.8.0", "identity.login.succeeded")
    assert metadata["logged_time"] == 1_795_341_600_250
    assert (found["class_uid"], found["activity_name"], found["status_id"]) == (3002, "Logon", 1)
    assert found["user"] == {"uid": event["data"]["person"]}
    assert found["actor"] == {"user": {"uid": event["actor"]}}
    unmapped = found["unmapped"]
    assert unmapped["trace_uid"] == event["trace"].split("-")[1]
    (attestation,) = unmapped["attestation_list"]
    assert attestation["chain_uid"] == ORIGIN
    assert attestation["fingerprint"]["value"] == leaf_hash(line_of(body, 41)).hex()
    assert attestation["prev_event"]["fingerprint"]["value"] == PREV.hex()


def test_user_and_role_management_of_1_9_become_what_1_8_has() -> None:
    def class_of(name: str) -> tuple[int, str]:
        found = mapped(example_event(REGISTRY.by_name(name, 1)))
        return found["class_uid"], found["activity_name"]

    assert class_of("identity.user.created") == (3001, "Create")
    assert class_of("identity.user.enabled") == (3001, "Enable")
    assert class_of("identity.user.address_changed") == (3001, "address_changed")
    assert class_of("identity.mfa.removed") == (3001, "MFA Factor Disable")
    assert class_of("identity.role.revoked") == (3005, "Revoke Privileges")
    assert class_of("identity.role.changed") == (3004, "Update")


def test_an_event_of_an_unknown_type_is_told_of_without_its_data() -> None:
    event = json.loads(example_event(REGISTRY.by_name("identity.user.created", 1)))
    event |= {"v": 9, "data": {"whoKnows": "somebody@example.org"}}
    body = json.dumps(event, sort_keys=True, separators=(",", ":")).encode()
    found = mapped(body)
    assert (found["class_uid"], found["metadata"]["uid"]) == (0, event["id"])
    assert "somebody" not in json.dumps(found)


def test_a_field_that_the_contract_does_not_name_stays() -> None:
    event = json.loads(example_event(REGISTRY.by_name("ledger.hold.placed", 1)))
    event["data"]["note"] = str(uuid4())
    body = json.dumps(event, sort_keys=True, separators=(",", ":")).encode()
    assert "note" not in mapped(body)["unmapped"]["data"]


def test_severities_are_of_types_that_exist() -> None:
    assert set(SEVERITIES) <= {one.type for one in REGISTRY}


def _leaves(value: object, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for name, part in value.items() for leaf in _leaves(part, f"{path}.{name}")]
    if isinstance(value, list):
        return [leaf for part in value for leaf in _leaves(part, path)]
    return [(path, value)]


def _json_name(path: str) -> str:
    first, *rest = path.split("_")
    return first + "".join(part.capitalize() for part in rest)
