"""A stand-in for Tilt: evaluates a Tiltfile with Tilt's built-ins as they are declared, and keeps what they were told.

The parameters are those of Tilt's own reference (docs.tilt.dev/api.html); a call by another name, or with another
parameter, fails. `helm` renders the real chart, so values that its schema refuses fail too.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

import starlark
import yaml

from chart.render import CHART, RefusedError, merged, rendered_files

TILTFILE: Final = CHART.parents[2] / "tilt" / "Tiltfile"

_SIGNATURES: Final = {
    "allow_k8s_contexts": "contexts",
    "ci_settings": "k8s_grace_period='', timeout='30m', readiness_timeout='5m'",
    "decode_yaml_stream": "yaml",
    "default_registry": "host, host_from_cluster=None, single_name=''",
    "docker_build": (
        "ref, context, build_args={}, dockerfile='Dockerfile', dockerfile_contents='', live_update=[], "
        "match_in_env_vars=False, ignore=[], only=[], entrypoint=[], target='', ssh='', network='', secret='', "
        "extra_tag='', container_args=None, cache_from=[], pull=False, platform='', extra_hosts=[]"
    ),
    "encode_yaml": "obj",
    "encode_yaml_stream": "objs",
    "fail": "msg",
    "fall_back_on": "files",
    "helm": "pathToChartDir, name='', namespace='', values=[], set=[], kube_version='', skip_crds=False",
    "k8s_resource": (
        "workload='', new_name='', port_forwards=[], extra_pod_selectors=[], trigger_mode='auto', resource_deps=[], "
        "objects=[], auto_init=True, pod_readiness='', links=[], labels=[], discovery_strategy=''"
    ),
    "k8s_yaml": "yaml, allow_duplicates=False",
    "local_resource": (
        "name, cmd='', deps=None, trigger_mode='auto', resource_deps=[], ignore=[], auto_init=True, serve_cmd='', "
        "cmd_bat='', serve_cmd_bat='', allow_parallel=False, links=[], labels=[], env={}, serve_env={}, "
        "readiness_probe=None, dir='', serve_dir=''"
    ),
    "port_forward": "local_port, container_port=None, name=None, link_path=None, host=None",
    "read_file": "file_path, default=None",
    "read_yaml": "path, default=None",
    "run": "cmd, trigger=[], echo_off=False",
    "sync": "local_path, remote_path",
    "update_settings": (
        "max_parallel_updates=3, k8s_upsert_timeout_secs=30, suppress_unused_image_warnings=None, "
        "k8s_server_side_apply='auto'"
    ),
    "version_settings": "check_updates=True, constraint=''",
}


@dataclass
class Tilt:
    """What a Tiltfile said: each built-in's calls by parameter, and the Kubernetes objects."""

    settings: str | None = None
    """What `settings.yaml` beside the Tiltfile has, whether or not there is one."""
    calls: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in _SIGNATURES})
    objects: list[dict[str, Any]] = field(default_factory=list)
    _refusal: Exception | None = None

    def evaluate(self, text: str, *, subcommand: str = "up") -> "Tilt":
        """Evaluate a Tiltfile's text.

        Raises:
            RefusedError: it says that something cannot be, or the chart does.
            starlark.StarlarkError: its syntax is wrong, or it calls what there is not.
        """
        module, dialect = starlark.Module(), starlark.Dialect.extended()
        dialect.enable_top_level_stmt = True
        globals_ = starlark.Globals.extended_by([starlark.LibraryExtension.StructType])
        module.add_callable("_call", self._call)
        prelude = [
            "TRIGGER_MODE_AUTO, TRIGGER_MODE_MANUAL = 'auto', 'manual'",
            f"config = struct(tilt_subcommand={json.dumps(subcommand)})",
        ]
        for name, signature in _SIGNATURES.items():
            names = [part.split("=")[0].strip() for part in signature.split(", ")]
            given = ", ".join(f"{each!r}: {each}" for each in names)
            prelude.append(f"def {name}({signature}):\n    return _call({name!r}, {{{given}}})")
        starlark.eval(module, starlark.parse("built-ins", "\n".join(prelude), dialect), globals_)
        try:
            starlark.eval(module, starlark.parse("Tiltfile", text, dialect), globals_)
        except starlark.StarlarkError:
            if self._refusal is not None:  # the interpreter makes an error of its own out of it
                raise self._refusal from None
            raise
        return self

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return Kubernetes' and local resources by the name that Tilt shows."""
        ours = {each["new_name"] or each["workload"]: each for each in self.calls["k8s_resource"]}
        return ours | {each["name"]: each for each in self.calls["local_resource"]}

    def _call(self, name: str, given: dict[str, Any]) -> object:
        self.calls[name].append(given)
        answer = getattr(self, f"_{name}", None)
        # What has no answer of its own is handed to another built-in, which then shows what it was.
        try:
            return answer(**given) if answer else {"built-in": name, **given}
        except RefusedError as refusal:
            self._refusal = refusal
            raise

    def _fail(self, msg: str) -> None:
        raise RefusedError(msg)

    def _read_file(self, file_path: str, default: str | None) -> str:
        del default
        return (TILTFILE.parent / file_path).read_text(encoding="utf-8")

    def _read_yaml(self, path: str, default: object) -> object:
        if path == "settings.yaml":
            return default if self.settings is None else yaml.safe_load(self.settings)
        return yaml.safe_load(self._read_file(path, None))

    def _helm(self, pathToChartDir: str, values: list[str], set: list[str], **given: Any) -> str:  # noqa: A002, N803 -- Tilt's
        folder = TILTFILE.parent
        assert (folder / pathToChartDir).resolve() == CHART
        parts = [yaml.safe_load((folder / file).read_text(encoding="utf-8")) for file in values]
        for each in set:
            path, _, value = each.partition("=")
            leaf = yaml.safe_load(value)
            for key in reversed(path.split(".")):
                leaf = {key: leaf}
            parts.append(leaf)
        files = rendered_files(merged(*parts), release=given["name"], namespace=given["namespace"])
        return "\n---\n".join(body for name, body in files.items() if not name.endswith("NOTES.txt"))

    def _decode_yaml_stream(self, yaml: str) -> list[Any]:
        return _loaded(yaml)

    def _encode_yaml(self, obj: object) -> str:
        return json.dumps(obj)

    def _encode_yaml_stream(self, objs: list[Any]) -> str:
        return "\n---\n".join(json.dumps(each) for each in objs)

    def _k8s_yaml(self, yaml: str, allow_duplicates: bool) -> None:  # noqa: FBT001 -- Tilt's
        del allow_duplicates
        self.objects += _loaded(yaml)


def _loaded(text: str) -> list[Any]:
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))
