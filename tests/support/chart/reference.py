"""Write the chart's schema, README and NATS accounts from values.yaml, the services' settings and the topology.

`cd tests/support && ../../.venv/bin/python -m chart.reference [--check]`.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from tallystick_chassis.configuration_reference import services_settings
from tallystick_chassis.settings import setting_names
from tallystick_cli.cluster.streams import accounts_text

CHART: Final = Path(__file__).resolve().parents[3] / "deploy" / "helm" / "tallystick"
Schema = dict[str, Any]

OWN_SETTINGS: Final = yaml.safe_load((CHART / "files" / "own-settings.yaml").read_text(encoding="utf-8"))
CHARTS_OWN: Final = frozenset({**OWN_SETTINGS["secrets"], **OWN_SETTINGS["values"]})
"""What the chart sets itself, from values of its own or from Secrets; validate.yaml refuses it in `settings`."""

_QUANTITY: Final[Schema] = {"type": "string", "pattern": "^[0-9]+(Mi|Gi)$"}
_PORT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 65535}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 1}
_NAME: Final[Schema] = {"type": "string", "pattern": "^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$"}
_OBJECTS: Final[Schema] = {"type": "array", "items": {"type": "object"}}
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
_REPLICAS: Final[Schema] = {"type": ["integer", "null"], "minimum": 0}
_BOUND: Final[Schema] = {"type": ["integer", "string", "null"], "pattern": "^[0-9]+%$", "minimum": 0}
_OPEN: Final[Schema] = {"type": "object"}
_SELECTOR: Final[Schema] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"matchLabels": {"type": "object"}, "matchExpressions": {"type": "array"}},
}
_NETWORK: Final[Schema] = {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]+$"}
_PEERS: Final[Schema] = {
    "type": "array",
    "items": {
        "type": "object",
        "minProperties": 1,  # an empty one would be everybody in the namespace, by a slip
        "additionalProperties": False,
        "properties": {
            "ipBlock": {
                "type": "object",
                "required": ["cidr"],
                "additionalProperties": False,
                "properties": {"cidr": _NETWORK, "except": {"type": "array", "items": _NETWORK}},
            },
            "namespaceSelector": _SELECTOR,
            "podSelector": _SELECTOR,
        },
    },
}
_PORTS: Final[Schema] = {"type": "array", "minItems": 1, "items": _PORT}
_EGRESS: Final = ("postgres", "nats", "mail", "otlp", "objectStore", "openid", "siem", "kubernetesApi")
_TEXT: Final[Schema] = {"type": "string"}
_PASSWORDS: Final = ("postgres", "nats", "mail")
"""Where a `password` and a `user` are looked for, in vain: validate.yaml says where they belong."""

_KNOWN: Final[dict[str, Schema]] = {
    "global": {
        "type": "object",
        "properties": {
            "imageRegistry": {"type": "string"},
            "imagePullSecrets": {"type": "array", "items": _NAME},
        },
        # A parent chart's global values are for all its charts.
    },
    "commonLabels": _TEXTS,
    "ledgerOrigin": {"type": "string", "pattern": "^([a-z0-9][a-z0-9./-]*[a-z0-9])?$"},
    "trustedProxies": {"type": "array", "items": _NETWORK},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "certificates.source": {"enum": ["generated", "certManager", "existing"]},
    "certificates.certManager.kind": {"enum": ["Issuer", "ClusterIssuer"]},
    "trust.certificates": {"type": "string", "pattern": "^$|-----BEGIN CERTIFICATE-----"},
    "trust.existingSecrets": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name", "key"],
            "additionalProperties": False,
            "properties": {"name": _NAME, "key": {"type": "string", "minLength": 1}},
        },
    },
    "postgres.port": _PORT,
    "postgres.migrate.activeDeadlineSeconds": _COUNT,
    "postgres.embedded.size": _QUANTITY,
    "nats.streams.replicas": {"enum": [1, 3, 5]},
    "nats.embedded.size": _QUANTITY,
    "mail.port": _PORT,
    "mail.from": {"type": "string", "pattern": "^([^@ ]+@[^@ ]+)?$"},
    "extraEnv": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "value": {"type": "string"}, "valueFrom": _OPEN},
        },
    },
    "port": {"type": "integer", "minimum": 1024, "maximum": 65535},
    "probePort": {"type": "integer", "minimum": 1024, "maximum": 65535},
    "drainSeconds": {"type": "integer", "minimum": 0, "maximum": 300},
    "dnsPolicy": {"enum": ["ClusterFirst", "Default", "None"]},
    "dnsConfig": _OPEN,
    "nodeSelector": _TEXTS,
    "tolerations": _OBJECTS,
    "podAnnotations": _TEXTS,
    "podLabels": _TEXTS,
    "topologySpread": _OBJECTS,
    "services.ledger.highWater.url": {"type": "string", "pattern": "^((s3|gs|az)://[^/]+.*)?$"},
    "services.ledger.highWater.accessMode": {"enum": ["ReadWriteOnce", "ReadWriteMany"]},
    "services.ledger.highWater.size": _QUANTITY,
    "ingress.controller": {"enum": ["nginx", "traefik", "none"]},
    "ingress.annotations": _TEXTS,
    "gateway.annotations": _TEXTS,
    "gateway.parentRefs": _OBJECTS,
    "gateway.backendTlsPolicyVersion": {"enum": ["v1", "v1alpha3"]},
    "networkPolicy.ingressFrom": _PEERS,
    "networkPolicy.dns": _PEERS,
    **{f"networkPolicy.egress.{peer}": _PEERS for peer in _EGRESS},
    "networkPolicy.egress.openidPorts": _PORTS,
    "networkPolicy.egress.siemPorts": _PORTS,
    "prometheusRule.labels": _TEXTS,
    "dashboards.labels": _TEXTS,
    "dashboards.annotations": _TEXTS,
    "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
}
_BY_NAME: Final[dict[str, Schema]] = {
    "resources": _OPEN,
    "replicas": _REPLICAS,
    "maxUnavailable": _BOUND,
    "minAvailable": _BOUND,
    "backoffLimit": {"type": "integer", "minimum": 0},
}
_BY_TYPE: Final[dict[type, Schema]] = {
    bool: {"type": "boolean"},
    int: _COUNT,
    str: _TEXT,
    list: _OBJECTS,
}
_SETTING: Final[Schema] = {"type": ["string", "number", "boolean", "object"]}
_SERVICE_DIGEST: Final[Schema] = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}


def main() -> int:
    """Write the files, or with `--check` compare; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with what is on disk, write nothing")
    check = parser.parse_args().check
    stale = []
    for name, text in generated().items():
        path = CHART / name
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            stale.append(name)
        elif not check:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.stderr.write(f"chart: {', '.join(stale)} out of date; run `python -m chart.reference` in tests/support\n")
    return 1 if stale else 0


def generated() -> dict[str, str]:
    """Return each generated file's text by its path in the chart."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return {
        "values.schema.json": json.dumps(schema(values), indent=1) + "\n",
        "README.md": readme((CHART / "README.md.in").read_text(encoding="utf-8"), values),
        "files/nats-accounts.conf": accounts_text(),
    }


def schema(values: dict[str, Any]) -> Schema:
    """Return the schema: strict, without references, with what each value may be."""
    made = _of("", values)
    made["$schema"] = "https://json-schema.org/draft-07/schema#"
    made["properties"]["existingSecrets"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": dict.fromkeys(secret_parts(), _NAME),
    }
    # A parent chart that has this one under a condition hands the condition down.
    made["properties"]["enabled"] = {"type": "boolean"}
    for part in _PASSWORDS:
        made["properties"][part]["properties"] |= {"user": _TEXT, "password": _TEXT}
    made["properties"]["settings"] = _settings(frozenset.intersection(*map(frozenset, settable().values())))
    for service, names in settable().items():
        own = made["properties"]["services"]["properties"][service]["properties"]
        own["digest"] = _SERVICE_DIGEST
        own["settings"] = _settings(frozenset(names))
        own["extraEnv"] = _KNOWN["extraEnv"]
        for process in ("api", "worker"):
            own[process] = made["properties"][process]
    return made


def _settings(names: frozenset[str]) -> Schema:
    """Return what `settings` may hold: `names`, and the chart's own, which validate.yaml refuses with a sentence."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _SETTING if name in names else {} for name in sorted(names | CHARTS_OWN)},
    }


def settable() -> dict[str, list[str]]:
    """Return, for each service, the settings that are the operator's to choose in `settings`."""
    return {service: sorted(set(setting_names(kind)) - CHARTS_OWN) for service, kind in services_settings().items()}


def secret_parts() -> list[str]:
    """Return what `existingSecrets` may name."""
    services = list(services_settings())
    each = [f"{service}{suffix}" for service in services for suffix in ("", "-migrate", "-tls")]
    return [*each, "ledger-checkpoint-keys", "nats-admin", "nats-keeper"]


def _of(path: str, default: object) -> Schema:
    last = path.rpartition(".")[2]
    if (known := _KNOWN.get(path) or _BY_NAME.get(last)) is not None:
        return known
    if isinstance(default, dict):
        inner = {key: _of(f"{path}.{key}" if path else key, value) for key, value in default.items()}
        return {"type": "object", "additionalProperties": False, "properties": inner}
    if default is None:
        msg = f"values.yaml: what {path} may be is to be said in chart/reference.py"
        raise ValueError(msg)
    return _BY_TYPE[type(default)]


def readme(head: str, values: dict[str, Any]) -> str:
    """Return the README: `head`, then a table of the values with the comments of values.yaml."""
    meanings = dict(_comments())
    rows = [
        f"| `{path}` | `{json.dumps(_at(values, path))}` | {meaning.replace('|', chr(92) + '|')} |"
        for path, meaning in meanings.items()
    ]
    return head + "\n| Value | Default | What it is |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _at(values: dict[str, Any], path: str) -> object:
    found: Any = values
    for key in path.split("."):
        found = found[key]
    return found


def _comments() -> Iterator[tuple[str, str]]:
    """Yield each documented value's path and its comment."""
    stack: list[tuple[int, str]] = []
    said: str | None = None
    for line in (CHART / "values.yaml").read_text(encoding="utf-8").splitlines():
        if comment := re.fullmatch(r"\s*# -- (.*)", line):
            said = comment[1]
        elif key := re.match(r"( *)([A-Za-z][\w-]*):", line):
            indent = len(key[1])
            stack = [one for one in stack if one[0] < indent]
            stack.append((indent, key[2]))
            if said is not None:
                yield ".".join(name for _, name in stack), said
                said = None


if __name__ == "__main__":
    sys.exit(main())
