"""Rendering the chart, by Helm's own library, and looking at what came out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

# Helm is Go in this process. Its collector stops all of its threads several times a render, which on a busy machine
# takes seconds; the variable is read when the library is loaded.
os.environ.setdefault("GOGC", "800")

from helm_python import _native
from helm_python.chart import Chart, lint
from helm_python.errors import HelmError

CHART: Final = Path(__file__).resolve().parents[3] / "deploy" / "helm" / "tallystick"
KUBERNETES: Final = "1.36"
Manifest = dict[str, Any]
Values = Mapping[str, Any]

_WORKLOADS: Final = frozenset({"Deployment", "StatefulSet", "Job", "CronJob", "Pod"})


class RefusedError(Exception):
    """The schema or a template refused the values; the message is what an operator reads."""


@dataclass(frozen=True)
class Rendered:
    """A release as Helm would apply it: hooks among the rest."""

    manifests: tuple[Manifest, ...]
    notes: str

    def of(self, *kinds: str) -> list[Manifest]:
        """Return the manifests of some kinds."""
        return [each for each in self.manifests if each["kind"] in kinds]

    def one(self, kind: str, name: str) -> Manifest:
        """Return the one manifest of this kind whose name ends so."""
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"].endswith(name)]
        return found

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """Yield every pod's template with the name of what makes it."""
        for each in self.of(*_WORKLOADS):
            template = each
            if each["kind"] == "CronJob":
                template = each["spec"]["jobTemplate"]["spec"]["template"]
            elif each["kind"] != "Pod":
                template = each["spec"]["template"]
            yield f"{each['kind']}/{each['metadata']['name']}", template

    def containers(self) -> Iterator[tuple[str, Manifest, Manifest]]:
        """Yield every container with its pod's spec and a name."""
        for name, pod in self.pods():
            spec = pod["spec"]
            for container in (*spec.get("initContainers", ()), *spec["containers"]):
                yield f"{name}/{container['name']}", spec, container


def processes(release: Rendered) -> Iterator[tuple[str, str, Manifest, Manifest, str]]:
    """Yield each service's containers: service, process, container, its pod's spec and name."""
    for name, spec, container in release.containers():
        command = container.get("command", [])
        if command[:2] == ["python", "-m"] and command[3] in {"api", "worker", "wait", "migrate"}:
            package = command[2].removeprefix("tallystick_").replace("_", "-")
            yield package, command[3], container, spec, name


def scenarios(chart: Path = CHART) -> dict[str, Values]:
    """Return the values of each scenario under the chart's `ci/`."""
    return {
        file.name.removesuffix("-values.yaml"): yaml.safe_load(file.read_text(encoding="utf-8"))
        for file in sorted((chart / "ci").glob("*-values.yaml"))
    }


def render(
    values: Values,
    *,
    release: str = "tally",
    namespace: str = "exams",
    kubernetes: str = KUBERNETES,
    chart: Path = CHART,
    is_upgrade: bool = False,
) -> Rendered:
    """Render a release.

    Raises:
        RefusedError: the schema or a template refuses the values.
    """
    files = rendered_files(
        values, release=release, namespace=namespace, kubernetes=kubernetes, chart=chart, is_upgrade=is_upgrade
    )
    notes = "".join(body for name, body in files.items() if name.endswith("NOTES.txt"))
    manifests = [
        document
        for name, body in files.items()
        if not name.endswith("NOTES.txt")
        for document in yaml.load_all(body, Loader=yaml.CSafeLoader)
        if document
    ]
    return Rendered(tuple(manifests), notes)


def rendered_files(
    values: Values,
    *,
    release: str = "tally",
    namespace: str = "exams",
    kubernetes: str = KUBERNETES,
    chart: Path = CHART,
    is_upgrade: bool = False,
) -> dict[str, str]:
    """Return what each template gives, as text.

    Raises:
        RefusedError: the schema or a template refuses the values.
    """
    loaded = _load(chart)
    options = {
        "name": release,
        "namespace": namespace,
        "kube_version": f"v{kubernetes}.0",
        "is_upgrade": is_upgrade,
        "is_install": not is_upgrade,
    }
    try:
        loaded.validate_schema(dict(values))
        text = _native.call_string("helm_render", loaded._raw(), json.dumps(values), json.dumps(options))
    except HelmError as error:
        raise RefusedError(str(error)) from error
    files: dict[str, str] = json.loads(text)
    return files


@cache
def _load(chart: Path) -> Chart:
    return Chart.load(chart)


def lint_findings(values: Values) -> list[str]:
    """Return what `helm lint --strict` finds."""
    report = lint(CHART, dict(values), strict=True, namespace="exams", kube_version=f"v{KUBERNETES}.0")
    return [found["error"] for found in report["messages"] if found["severity"] > 1] + list(report["errors"])


def merged(*parts: Values) -> dict[str, Any]:
    """Return values laid over one another, as several `-f` do."""
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else value
    return result


def at(path: str, value: object) -> dict[str, Any]:
    """Return values with one leaf: `at("a.b", 1)` is `{"a": {"b": 1}}`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[return-value] # the path has a part
