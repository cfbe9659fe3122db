"""What each class of OCSF requires beyond the frame that all events have, made of one event."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from tallystick_ledger.siem.ocsf_classes import BASE_EVENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Ocsf = dict[str, Any]

PRODUCT: Final = "Tallystick"
_UNKNOWN_USER: Final = {"name": "unknown"}


def _user(event: Ocsf, data: Ocsf) -> Ocsf:
    uid = data.get("person") or event.get("subject") or data.get("keyId")
    return {"uid": uid} if uid else dict(_UNKNOWN_USER)


def _of_account(event: Ocsf, data: Ocsf, _found: Ocsf) -> Ocsf:
    return {"user": _user(event, data)}


def _of_authentication(event: Ocsf, data: Ocsf, _found: Ocsf) -> Ocsf:
    found: Ocsf = {"service": {"name": PRODUCT}, "user": _user(event, data)}
    if "multiFactor" in data:
        found["is_mfa"] = data["multiFactor"]
    if "sessionRef" in data:
        found["session"] = {"uid": data["sessionRef"]}
    return found


def _of_session(event: Ocsf, data: Ocsf, found: Ocsf) -> Ocsf:
    # The one privilege that every session has by itself; the others are grants, and looked up with each request.
    return _of_authentication(event, data, found) | {"privileges": ["session.own"]}


def _of_entity(event: Ocsf, _data: Ocsf, _found: Ocsf) -> Ocsf:
    return {"entity": {"name": event["type"].split(".")[1], "type": event["source"], "uid": event["stream"]}}


def _of_access(event: Ocsf, data: Ocsf, _found: Ocsf) -> Ocsf:
    return {"privileges": [f"role:{data.get('roleId') or data.get('grantId', '')}"], "user": _user(event, data)}


def _of_api(event: Ocsf, data: Ocsf, _found: Ocsf) -> Ocsf:
    return {"api": {"operation": data.get("route") or event["type"]}, "src_endpoint": {"svc_name": event["source"]}}


def _of_datastore(event: Ocsf, data: Ocsf, _found: Ocsf) -> Ocsf:
    table = {"name": event["type"].split(".")[1], "uid": data.get("log") or event["stream"]}
    return {"src_endpoint": {"svc_name": event["source"]}, "table": table}


def _of_finding(event: Ocsf, _data: Ocsf, found: Ocsf) -> Ocsf:
    return {"finding_info": {"title": found["message"], "types": [event["type"]], "uid": event["id"]}}


def _of_compliance(event: Ocsf, data: Ocsf, found: Ocsf) -> Ocsf:
    return _of_finding(event, data, found) | {
        "compliance": {"control": event["type"], "status": "Pass", "status_id": 1}
    }


def _of_detection(event: Ocsf, data: Ocsf, found: Ocsf) -> Ocsf:
    return _of_finding(event, data, found) | {"is_alert": True}


def _of_nothing(_event: Ocsf, _data: Ocsf, _found: Ocsf) -> Ocsf:
    return {}


BODIES: Final[Mapping[int, Callable[[Ocsf, Ocsf, Ocsf], Ocsf]]] = MappingProxyType(
    {
        BASE_EVENT: _of_nothing,
        2003: _of_compliance,
        2004: _of_detection,
        3001: _of_account,
        3002: _of_authentication,
        3003: _of_session,
        3004: _of_entity,
        3005: _of_access,
        6003: _of_api,
        6005: _of_datastore,
    }
)
"""What each class requires beyond the frame."""
