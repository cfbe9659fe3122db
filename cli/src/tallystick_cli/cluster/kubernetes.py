"""The Kubernetes API as far as credentials need it: get, create and replace one object, with a Job's own token."""

import http.client
import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from tallystick_cli.cluster.credentials import LATER_CHECKPOINT_KEYS, Held, fill
from tallystick_cli.cluster.errors import ClusterError
from tallystick_cli.cluster.manifests import Manifest, held_of, manifest
from tallystick_cli.cluster.plan import Plan

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_S = 15.0
_TRIES = 5
_AGAIN_AND_AGAIN = "the credentials were changed by somebody else again and again"
_PUBLIC_PARTS = frozenset({"trust", "nats-users"})

Ask = Callable[[str, str, Manifest | None], tuple[int, bytes]]
"""Method, path and body to status and body."""


def in_cluster(account: Path = _ACCOUNT) -> Ask:
    """Return a way to ask the API server of the cluster we run in.

    Raises:
        ClusterError: we run in none, or without a token.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").exists():
        msg = "this runs as a Job of the chart, with a service account's token; elsewhere use `tally cluster secrets`"
        raise ClusterError(msg)
    context = ssl.create_default_context(cafile=str(account / "ca.crt"))

    def ask(method: str, path: str, body: Manifest | None) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(host, int(port), timeout=_TIMEOUT_S, context=context)
        token = (account / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else msgspec.json.encode(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            msg = f"the Kubernetes API does not answer ({type(error).__name__}): is there a route from this pod to it?"
            raise ClusterError(msg) from error
        finally:
            connection.close()

    return ask


def bring_up_to_date(plan: Plan, ask: Ask) -> list[str]:
    """Make or complete the installation's credentials and return the names of the objects that were written.

    Several may run at once and any may be killed: an object is written whole, and only over the version that was read.

    Raises:
        ClusterError: the API refuses, or a Secret that is not ours lacks something.
    """
    for _ in range(_TRIES):
        found = _read(plan, ask)
        after = fill(plan, {name: held_of(each) for name, each in found.items()})
        wanted = {name: manifest(plan, name, held, found=found.get(name)) for name, held in after.items() if held.ours}
        changed = [name for name, one in wanted.items() if name not in found or _differs(one, found[name])]
        # Public halves last: who sees them may rely on the keys they belong to.
        changed.sort(key=lambda name: (after[name].public, name))
        if all(_write(plan, ask, wanted[name], is_new=name not in found) for name in changed):
            return changed
    raise ClusterError(_AGAIN_AND_AGAIN)


def change(plan: Plan, ask: Ask, part: str, edit: Callable[[dict[str, bytes]], dict[str, bytes]]) -> dict[str, bytes]:
    """Change the data of one object of ours and return them; `edit` is asked anew where somebody else wrote meanwhile.

    Raises:
        ClusterError: the API refuses, or the object is not there or not ours.
    """
    name = plan.name(part)
    for _ in range(_TRIES):
        found = _read_one(plan, ask, name, public=part in _PUBLIC_PARTS)
        held = held_of(found) if found else Held(ours=False)
        if not held.ours:
            msg = f"{name} was not made here: change it where it comes from"
            raise ClusterError(msg)
        edited = edit(held.data)
        wanted = manifest(plan, name, replace(held, data=edited), found=found)
        if edited == held.data or _write(plan, ask, wanted, is_new=False):
            return edited
    raise ClusterError(_AGAIN_AND_AGAIN)


def _read(plan: Plan, ask: Ask) -> dict[str, Manifest]:
    found = {}
    for name, public in _names(plan).items():
        one = _read_one(plan, ask, name, public=public)
        if one is not None:
            found[name] = one
    return found


def _differs(wanted: Manifest, found: Manifest) -> bool:
    """Say whether data, labels or annotations are others; nothing else is ours to write."""
    return bool(wanted["metadata"] != found["metadata"] or wanted["data"] != (found.get("data") or {}))


def _read_one(plan: Plan, ask: Ask, name: str, *, public: bool) -> Manifest | None:
    status, body = ask("GET", _path(plan, name, public=public), None)
    if status == http.client.NOT_FOUND:
        return None
    if status != http.client.OK:
        raise _refused(name, status)
    read: Manifest = msgspec.json.decode(body)
    return {"kind": "ConfigMap" if public else "Secret", **read}


def _names(plan: Plan) -> dict[str, bool]:
    """Return the objects that are made for a plan or, where they are there, read; and whether each is public."""
    public = {plan.name(part) for part in _PUBLIC_PARTS}
    return {name: name in public for name in (*fill(plan, {}), plan.name(LATER_CHECKPOINT_KEYS))}


def _write(plan: Plan, ask: Ask, wanted: Manifest, *, is_new: bool) -> bool:
    """Write an object, over the version that was read; false when somebody else did meanwhile."""
    name: str = wanted["metadata"]["name"]
    path = _path(plan, "" if is_new else name, public=wanted["kind"] == "ConfigMap")
    status, _ = ask("POST" if is_new else "PUT", path, wanted)
    if status in {http.client.OK, http.client.CREATED}:
        return True
    if status in {http.client.CONFLICT, http.client.NOT_FOUND}:
        return False
    raise _refused(name, status)


def _path(plan: Plan, name: str, *, public: bool) -> str:
    kind = "configmaps" if public else "secrets"
    return f"/api/v1/namespaces/{plan.namespace}/{kind}" + (f"/{name}" if name else "")


def _refused(name: str, status: int) -> ClusterError:
    return ClusterError(f"the Kubernetes API does not let us read or write {name} (HTTP {status}): see the Job's Role")
