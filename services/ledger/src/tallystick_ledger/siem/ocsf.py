"""An entry as an event of OCSF 1.8.0: a pure function of its line.

What may leave is listed, not what may not: a field goes out if its contract calls it P0 or P1, so nothing personal and
nothing sealed does, and of an event whose type this release does not know no field at all. The line itself stays here
for the same reason; its hash, the hash before it and the checkpoint go, which is what a witness needs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from uuid import uuid5

import msgspec
from tallystick_contracts.errors import UnknownEventTypeError
from tallystick_contracts.registry import REGISTRY
from tallystick_tlog import from_base64, leaf_hash

from tallystick_ledger.siem.ocsf_bodies import BODIES, PRODUCT
from tallystick_ledger.siem.ocsf_classes import (
    ACTIVITIES,
    BASE_EVENT,
    CATEGORIES,
    CLASSES,
    OCSF_VERSION,
    OTHER,
    Activity,
    activity_of,
)
from tallystick_ledger.siem.visible import visible_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from tallystick_contracts.message import EventType

    from tallystick_ledger.reading.store import SignedHead
    from tallystick_ledger.siem.ocsf_bodies import Ocsf

CHECKPOINT: Final = "tallystick.checkpoint"
HEARTBEAT: Final = "tallystick.heartbeat"

INFORMATIONAL, LOW, MEDIUM, HIGH = 1, 2, 3, 4
SEVERITIES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "assessment.content_key.rotated": MEDIUM,
        "assessment.remediation.applied": MEDIUM,
        "assessment.remediation.reverted": MEDIUM,
        "authz.cross_tenant.attempted": HIGH,
        "identity.account.locked": MEDIUM,
        "identity.credential_key.rotated": MEDIUM,
        "identity.mfa.removed": MEDIUM,
        "identity.role.assigned": MEDIUM,
        "identity.role.changed": MEDIUM,
        "identity.service_key.created": MEDIUM,
        "identity.sign_in_policy.changed": MEDIUM,
        "identity.signing_key.rotated": MEDIUM,
        "identity.sso_provider.changed": MEDIUM,
        "identity.token_version.bumped": MEDIUM,
        "ledger.audit_key.rotated": MEDIUM,
        "ledger.export.created": MEDIUM,
        "ledger.hold.released": MEDIUM,
        "ledger.key.rotated": MEDIUM,
        "ledger.log.succeeded": HIGH,
        "ledger.period.succeeded": HIGH,
        "ledger.publication.started": MEDIUM,
        "ledger.siem_destination.added": MEDIUM,
        "ledger.siem_destination.changed": MEDIUM,
        "ledger.siem_destination.removed": MEDIUM,
        "ledger.siem_key.rotated": MEDIUM,
        "ops.dead_letter.discarded": MEDIUM,
        "privacy.opening_key.rotated": MEDIUM,
    }
)
"""Types that somebody should look at; of the others a failure is low, and the rest informational."""

_SEVERITY_NAMES: Final = {INFORMATIONAL: "Informational", LOW: "Low", MEDIUM: "Medium", HIGH: "High"}
_STATUSES: Final = {"Success": 1, "Failure": 2}
_SHA256: Final = 3
_TRACE_PARTS: Final = 4
_API_ACTIVITY: Final = 6003
_FINDINGS: Final = 2


def ocsf_event(line: bytes, *, tenant: UUID, version: str) -> Ocsf:
    """Return the event of an entry's line; ``version`` is the product's.

    Raises:
        KeyError, msgspec.DecodeError: this is no entry's line.
    """
    entry = msgspec.json.decode(line)
    event = entry["event"]
    try:
        kind: EventType | None = REGISTRY.by_name(event["type"], event["v"])
    except UnknownEventTypeError:
        kind = None  # recorded by a newer release, before this one was rolled back to
    what = Activity(BASE_EVENT, OTHER) if kind is None else activity_of(kind)
    data = {} if kind is None else visible_data(kind, event["data"])
    trace = _trace_id(event.get("trace"))
    found = _frame(what, event["type"].rpartition(".")[2], _severity(kind))
    found |= {
        "time": _milliseconds(event["time"]),
        "message": "An event of a type that this release does not know." if kind is None else kind.summary,
        "metadata": _metadata(version, event["id"], tenant, event["type"])
        | {
            "sequence": entry["seq"],
            "log_name": entry["log"],
            "logged_time": _milliseconds(entry["recorded"]),
        },
        "unmapped": _unmapped(line, entry, data, trace, must_record=kind is None or kind.must_record),
    }
    if (correlation := event.get("correlation")) is not None:
        found["metadata"]["correlation_uid"] = correlation
    # What OCSF calls a finding's status is something else: how far somebody has looked into it.
    if kind is not None and kind.ocsf_status and what.class_uid // 1000 != _FINDINGS:
        found |= {"status": kind.ocsf_status, "status_id": _STATUSES[kind.ocsf_status]}
    if what.class_uid != BASE_EVENT:
        found["actor"] = _actor(event)
    if trace is not None and what.class_uid == _API_ACTIVITY:  # the one of our classes that has the profile in 1.8.0
        found["trace"] = {"uid": trace}
        found["metadata"]["profiles"] = ["trace"]
    return found | BODIES[what.class_uid](event, data, found)


def checkpoint_event(origin: str, head: SignedHead, *, log: UUID, tenant: UUID, version: str, now: datetime) -> Ocsf:
    """Return what ends each batch: the log's newest checkpoint, a signed note, for whoever keeps it as a witness."""
    return _own_event(
        CHECKPOINT,
        "The log's newest checkpoint.",
        str(uuid5(log, f"checkpoint:{head.size}")),
        {"checkpoints": [_checkpoint(origin, head)]},
        tenant=tenant,
        version=version,
        now=now,
    )


def heartbeat_event(
    uid: UUID,
    heads: Sequence[tuple[str, SignedHead]],
    *,
    tenant: UUID,
    version: str,
    now: datetime,
    is_test: bool,
) -> Ocsf:
    """Return what is sent when there is nothing else, so that silence is seen; ``heads`` are by origin."""
    return _own_event(
        HEARTBEAT,
        "A test." if is_test else "Nothing else was recorded for a while.",
        str(uid),
        {"checkpoints": [_checkpoint(origin, head) for origin, head in heads], "test": is_test},
        tenant=tenant,
        version=version,
        now=now,
    )


def _own_event(
    event_type: str, message: str, uid: str, unmapped: Ocsf, *, tenant: UUID, version: str, now: datetime
) -> Ocsf:
    return _frame(Activity(BASE_EVENT, OTHER), event_type.rpartition(".")[2], INFORMATIONAL) | {
        "time": int(now.timestamp() * 1000),
        "message": message,
        "metadata": _metadata(version, uid, tenant, event_type),
        "unmapped": {"event_type": event_type} | unmapped,
    }


def _checkpoint(origin: str, head: SignedHead) -> Ocsf:
    return {"log_name": origin, "size": head.size, "root": head.root.hex(), "note": head.note}


def _frame(what: Activity, verb: str, severity: int) -> Ocsf:
    category = what.class_uid // 1000
    return {
        "activity_id": what.activity_id,
        "activity_name": ACTIVITIES[what.class_uid].get(what.activity_id, verb),
        "category_name": CATEGORIES[category],
        "category_uid": category,
        "class_name": CLASSES[what.class_uid],
        "class_uid": what.class_uid,
        "severity": _SEVERITY_NAMES[severity],
        "severity_id": severity,
        "type_uid": what.class_uid * 100 + what.activity_id,
    }


def _metadata(version: str, uid: str, tenant: UUID, event_type: str) -> Ocsf:
    return {
        "event_code": event_type,
        "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": version},
        "tenant_uid": str(tenant),
        "uid": uid,
        "version": OCSF_VERSION,
    }


def _unmapped(line: bytes, entry: Ocsf, data: Ocsf, trace: str | None, *, must_record: bool) -> Ocsf:
    """Return what OCSF 1.8.0 has no place for; the record's integrity is written as version 1.9 has it."""
    event = entry["event"]
    found = {
        "event_type": event["type"],
        "event_version": event["v"],
        "source": event["source"],
        "source_sequence": entry["source_seq"],
        "stream": event["stream"],
        "stream_version": event["stream_version"],
        "must_record": must_record,
        "data": data,
        "attestation_list": [
            {
                "chain_uid": entry["log"],
                "fingerprint": _fingerprint(leaf_hash(line)),
                "prev_event": {"fingerprint": _fingerprint(from_base64(entry["prev"]))},
            }
        ],
    }
    named = {"causation_uid": "causation", "org_unit_uid": "org_unit", "subject_uid": "subject"}
    found |= {name: event[key] for name, key in named.items() if key in event}
    return found if trace is None else found | {"trace_uid": trace}


def _fingerprint(digest: bytes) -> Ocsf:
    return {"algorithm": "SHA-256", "algorithm_id": _SHA256, "value": digest.hex()}


def _actor(event: Ocsf) -> Ocsf:
    actor = event["actor"]
    return {"app_name": actor} if actor == event["source"] else {"user": {"uid": actor}}


def _severity(kind: EventType | None) -> int:
    if kind is None:
        return INFORMATIONAL
    return SEVERITIES.get(kind.type, LOW if kind.ocsf_status == "Failure" else INFORMATIONAL)


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


def _trace_id(traceparent: str | None) -> str | None:
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) == _TRACE_PARTS else None
