"""Credentials as Kubernetes objects, and back: what `kubectl create -f` takes and `kubectl get -o json` gives."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tallystick_cli.cluster.credentials import MANAGED_BY, Held, Objects
from tallystick_cli.cluster.plan import Plan

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
ANNOTATIONS = {
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
}
"""Argo CD before 3 takes whatever bears its application's name as `instance` for its own, and would delete these."""
Manifest = dict[str, Any]


def manifest(plan: Plan, name: str, held: Held, *, found: Manifest | None = None) -> Manifest:
    """Return the Secret or ConfigMap; `found` is what it replaces, and keeps what is not ours.

    An object whose name the plan gives may be another installation's, and keeps its labels as they are.
    """
    metadata: Manifest = dict(found["metadata"]) if found else {"name": name, "namespace": plan.namespace}
    if not found or name not in plan.names.values():
        ours = {**plan.labels, MANAGED_BY_LABEL: MANAGED_BY}
        metadata["labels"] = {**(metadata.get("labels") or {}), **ours}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **ANNOTATIONS}
    if held.public:
        data = {key: value.decode() for key, value in held.data.items()}
        return {**(found or {}), "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    encoded = {key: base64.b64encode(value).decode() for key, value in held.data.items()}
    secret: Manifest = {"apiVersion": "v1", "kind": "Secret", "type": held.type, "metadata": metadata}
    return {**(found or {}), **secret, "data": encoded}


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
