"""Kubernetes' own schemas, strict: an unknown field or kind is an error."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any, Final

import referencing
from jsonschema.validators import Draft202012Validator

VERSIONS: Final = tuple(f"1.{minor}" for minor in range(29, 38))

CUSTOM_KINDS: Final = {
    "BackendTLSPolicy": "gateway.networking.k8s.io/v1",
    "Certificate": "cert-manager.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "Middleware": "traefik.io/v1alpha1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "ScaledObject": "keda.sh/v1alpha1",
    "ServersTransport": "traefik.io/v1alpha1",
    "TLSOption": "traefik.io/v1alpha1",
}
"""Kinds that come with an operator; Kubernetes has no schema of them."""


def problem(manifest: dict[str, Any], version: str) -> str | None:
    """Return what one version of Kubernetes would refuse in a manifest; nothing if it takes it."""
    kind, api_version = manifest["kind"], manifest["apiVersion"]
    if kind in CUSTOM_KINDS:
        return None if CUSTOM_KINDS[kind] == api_version else f"{kind} of {api_version} is not known"
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    try:
        validator = _validator(version, f"{kind.lower()}-{group}.json")
    except FileNotFoundError:
        return f"{kind} of {api_version} is not known to Kubernetes {version}"
    found = next(validator.iter_errors(manifest), None)
    return None if found is None else f"{'.'.join(map(str, found.absolute_path))}: {found.message}"


def _folder(version: str) -> Any:
    return files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"


@cache
def _validator(version: str, name: str) -> Draft202012Validator:
    schema = json.loads((_folder(version) / name).read_text(encoding="utf-8"))
    return Draft202012Validator(schema, registry=_definitions(version))


@cache
def _definitions(version: str) -> Any:
    definitions = json.loads((_folder(version) / "_definitions.json").read_text(encoding="utf-8"))
    resource: Any = referencing.Resource.from_contents(definitions)
    registry: Any = referencing.Registry()
    return (resource @ registry).crawl()
