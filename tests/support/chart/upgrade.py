"""What Kubernetes lets nobody change, and so what an upgrade from an earlier version of the chart must leave alone.

`python -m chart.upgrade` writes the record of this version, for the tests of the next: in the commit that releases it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from chart.render import CHART, Manifest, Rendered, render, scenarios

RECORD: Final = CHART.parents[2] / "tests" / "chart" / "released.yaml"
RECORDED: Final = ("embedded", "everything", "external")
"""The scenarios whose objects are recorded: those with every workload, every name of one's own, and hooks."""

_HEAD: Final = """\
# What an upgrade from the last version must leave alone, of three scenarios in ci/. Written in the commit that releases
# a version, by `cd tests/support && ../../.venv/bin/python -m chart.upgrade`, and changed by nothing else.
"""
_HOLD_DATA: Final = frozenset({"StatefulSet", "PersistentVolumeClaim"})
# The services' selectors may change, but then requests go to pods that are not there yet.
_STAYS: Final = {
    "Deployment": ("selector",),
    "DaemonSet": ("selector",),
    "Service": ("selector", "clusterIP"),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
    "Secret": ("type",),
}
# Kubernetes: "updates to statefulset spec for fields other than … are forbidden"; of a claim only its size may grow.
_ALL_STAYS_BUT: Final = {
    "StatefulSet": frozenset(
        {
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        }
    ),
    "PersistentVolumeClaim": frozenset({"resources", "volumeAttributesClassName"}),
}

Fixed = Mapping[str, Mapping[str, Any]]
"""What must stay, by kind and name."""


def fixed(release: Rendered) -> dict[str, dict[str, Any]]:
    """Return what of each object must stay; a hook's object is deleted before it is made again, so nothing of that."""
    found = {}
    for each in release.manifests:
        if "helm.sh/hook" in each["metadata"].get("annotations", {}):
            continue
        if kept := _fixed(each):
            found[f"{each['kind']}/{each['metadata']['name']}"] = kept
    return found


def _fixed(each: Manifest) -> dict[str, Any]:
    kind, spec = each["kind"], each.get("spec", {})
    if kind == "Job":
        whole = {key: spec.get(key) for key in ("template", "selector", "completions", "completionMode")}
        return {"sha256": hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()}
    if kind in _ALL_STAYS_BUT:
        return {key: value for key, value in spec.items() if key not in _ALL_STAYS_BUT[kind]}
    return {key: {**spec, **each}.get(key) for key in _STAYS.get(kind, ())}


def problems(before: Fixed, after: Fixed) -> list[str]:
    """Return why an upgrade between two versions would be refused, or lose what is stored; nothing if it works."""
    found = []
    for name, kept in before.items():
        if name not in after:
            if name.partition("/")[0] in _HOLD_DATA:
                found.append(f"{name} is gone, and what it stored is out of reach")
            continue
        now = after[name]
        found += [f"{name}: {key} cannot be changed" for key in sorted({*kept, *now}) if kept.get(key) != now.get(key)]
    return found


def recorded() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the record of the last version, by scenario."""
    read: dict[str, Any] = yaml.safe_load(RECORD.read_text(encoding="utf-8"))
    return {name: read[name] for name in RECORDED}


def record_text(chart: Path = CHART) -> str:
    """Return the record of a chart as it stands."""
    version = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))["version"]
    values = scenarios(chart)
    parts = [_HEAD, f"version: {version}\n"]
    for name in RECORDED:
        parts.append(f"{name}:\n")
        kept = fixed(render(values[name], chart=chart))
        parts += [f"  {each}: {json.dumps(what, sort_keys=True)}\n" for each, what in sorted(kept.items())]
    return "".join(parts)


if __name__ == "__main__":
    RECORD.write_text(record_text(), encoding="utf-8")
