"""One filled example of every event type, the same at every run: what the golden files hold."""

import base64
import hashlib
import uuid
from datetime import UTC, datetime

import msgspec
from msgspec import inspect

from tallystick_contracts.envelope import encode_event
from tallystick_contracts.generated.common import Sealed
from tallystick_contracts.message import EventData, EventType, PiiClass

_TIME = datetime(2026, 11, 21, 23, 34, 5, 123456, tzinfo=UTC)
_NAMESPACE = uuid.UUID("6b1f3f0e-6a51-4c39-9d0a-3b8f0a7b6c11")


def example_data(event_type: EventType) -> EventData:
    """Return data of this type with every field filled, repeated ones twice."""
    value = _value(inspect.type_info(event_type.struct), "", event_type)
    return msgspec.convert(value, event_type.struct)


def example_event(event_type: EventType) -> bytes:
    """Return the canonical bytes of a whole event of this type, every envelope field filled that it may have."""
    source = event_type.service or "assessment"
    name = f"{event_type.type}.v{event_type.version}"
    linking = {} if event_type.public else {
        "correlation": _digest(f"{name} correlation")[:32],
        "causation": str(uuid.uuid5(_NAMESPACE, f"{name} causation")),
        "org_unit": uuid.uuid5(_NAMESPACE, f"{name} org unit"),
        "subject": _pseudonym(f"{name} subject"),
        "trace": f"00-{_digest(name)[:32]}-{_digest(name)[:16]}-01",
    }  # fmt: skip
    return encode_event(
        example_data(event_type),
        id=uuid.uuid5(_NAMESPACE, name),
        source=source,
        stream=f"{event_type.aggregate}:{uuid.uuid5(_NAMESPACE, event_type.aggregate)}",
        stream_version=7,
        time=_TIME,
        actor=source if event_type.public else _pseudonym(f"{name} actor"),
        **linking,  # type: ignore[arg-type] # keyword arguments by name
    )


def _value(kind: inspect.Type, path: str, event_type: EventType) -> object:
    if isinstance(kind, inspect.StructType) and kind.cls is Sealed:
        box = hashlib.sha512(path.encode()).digest()
        return Sealed(key_id=_pseudonym(f"{path} key"), box=base64.b64encode(box).decode())
    if isinstance(kind, inspect.StructType):
        prefix = f"{path}." if path else ""
        values = {field.name: _value(field.type, prefix + field.name, event_type) for field in kind.fields}
        return kind.cls(**values)
    if isinstance(kind, inspect.VarTupleType):
        return (_value(kind.item_type, path, event_type),) * 2
    if isinstance(kind, inspect.UnionType):
        return _value(next(part for part in kind.types if not isinstance(part, inspect.NoneType)), path, event_type)
    return _scalar(kind, path, event_type)


def _scalar(kind: inspect.Type, path: str, event_type: EventType) -> object:
    if isinstance(kind, inspect.EnumType):
        return list(kind.cls)[-1]
    if isinstance(kind, inspect.BoolType):
        return True
    if isinstance(kind, inspect.IntType):
        return int(_digest(path)[:4], 16)
    return _text(path, event_type.pii[path])


def _text(path: str, pii: PiiClass) -> str:
    name = path.rpartition(".")[2]
    if pii is PiiClass.P1:
        return _pseudonym(path)
    if name.endswith("_at"):
        return "2026-11-21T23:34:05.123456Z"
    if name.endswith(("_hash", "_sha256", "_root")):
        return _digest(path)
    if name.endswith("_id") or name == "home_unit":
        return str(uuid.uuid5(_NAMESPACE, path))
    return f"{name}: “Prüfung” \\ /\n\u20ac\U0001f9ee"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _pseudonym(text: str) -> str:
    return "p_" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:16]).decode().rstrip("=")
