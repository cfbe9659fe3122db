"""Credentials as Kubernetes objects, and back: what `kubectl apply -f` takes and `kubectl get -o json` gives."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tallystick_cli.cluster.credentials import MANAGED_BY, Held, Objects
from tallystick_cli.cluster.plan import Plan

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
Manifest = dict[str, Any]


def manifest(plan: Plan, name: str, held: Held, *, version: str | None = None) -> Manifest:
    """Return the Secret or ConfigMap; `version` is the resourceVersion it replaces."""
    metadata: Manifest = {
        "name": name,
        "namespace": plan.namespace,
        "labels": {**plan.labels, MANAGED_BY_LABEL: MANAGED_BY},
    }
    if version is not None:
        metadata["resourceVersion"] = version
    if held.public:
        data = {key: value.decode() for key, value in held.data.items()}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    encoded = {key: base64.b64encode(value).decode() for key, value in held.data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "type": held.type, "metadata": metadata, "data": encoded}


def held_of(found: Manifest) -> Held:
    """Read a Secret or ConfigMap."""
    ours = found.get("metadata", {}).get("labels", {}).get(MANAGED_BY_LABEL) == MANAGED_BY
    data = found.get("data") or {}
    if found.get("kind") == "ConfigMap":
        return Held({key: value.encode() for key, value in data.items()}, ours, public=True)
    decoded = {key: base64.b64decode(value) for key, value in data.items()}
    return Held(decoded, ours, type=found.get("type", "Opaque"))


def to_list(plan: Plan, objects: Mapping[str, Held]) -> bytes:
    """Return all as one `List`, JSON."""
    items = [manifest(plan, name, held) for name, held in sorted(objects.items()) if held.ours]
    return msgspec.json.format(msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": items}), indent=2)


def from_list(text: bytes) -> Objects:
    """Read a `List`, or one object."""
    read: Manifest = msgspec.json.decode(text)
    items: Iterable[Manifest] = read.get("items", [read])
    return {each["metadata"]["name"]: held_of(each) for each in items if each.get("kind") in {"Secret", "ConfigMap"}}
