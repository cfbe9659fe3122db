"""Real processes: an operator ends sessions and replaces the key that signs them, while everything runs."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sweep.house import Builder, House
from sweep.visitor import Call, Visitor
from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_cli.cluster import session_key
from tallystick_cli.cluster.credentials import MANAGED_BY
from tallystick_cli.cluster.manifests import MANAGED_BY_LABEL
from tallystick_cli.cluster.plan import Database, Plan
from tallystick_cli.stack import boot, durable, state
from tallystick_cli.stack.database_setup import run_sql
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.services import DATABASE, KEYS_DATABASE
from tallystick_contracts.topology import ServiceName

pytestmark = pytest.mark.xdist_group("system")

SESSION = "__Host-tally_session"
SESSION_KEY, CREDENTIAL_KEY = "identity.signing_key.rotated", "identity.credential_key.rotated"
SEEN_BY = {
    "assessment": "assessment GET /api/v1/assessment/my/assignments",
    "identity": "identity GET /api/v1/identity/me",
    "ledger": "ledger GET /api/v1/ledger/logs",
    "privacy-worker": "privacy GET /api/v1/compliance/erasures",
}


def tally(house: House, *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("tally")), *arguments, "--dir", str(house.layout.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def statuses(house: House, visitor: Visitor) -> set[int]:
    return {visitor.request(house.routes[name], Call()).status_code for name in SEEN_BY.values()}


def refresh(house: House, visitor: Visitor) -> int:
    return visitor.http.post(f"{house.urls['identity']}/session/refresh").status_code


def kid_of(visitor: Visitor) -> str:
    header = visitor.http.cookies[SESSION].split(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=="))["kid"])


def published(house: House) -> list[str]:
    keys = httpx.get(f"{house.urls['identity']}/.well-known/jwks.json", verify=house.tls).json()["keys"]
    return [str(key["kid"]) for key in keys]


def recorded(house: House, event_type: str) -> int:
    """Count the entries of a type in the platform's own logs."""
    servers = boot.describe(house.layout, state.read(house.layout))
    sql = f"select count(*) from ledger.entries where tenant_id = '{PLATFORM_TENANT}' and type = '{event_type}'"
    return int(run_sql(servers, DATABASE, [sql]))


def is_recorded(house: House, event_type: str, times: int) -> None:
    """Wait until the ledger has so many entries of a type, and see that it gets no more."""
    deadline = time.monotonic() + 30.0
    while (found := recorded(house, event_type)) < times:
        assert time.monotonic() < deadline, f"{found} of {times} entries {event_type}"
        time.sleep(0.2)
    assert found == times


class Mounted:
    """As much of the Kubernetes API as a rotation needs; what is written is mounted at once, as the stack's files."""

    def __init__(self, layout: Layout) -> None:
        self.files = {
            "secrets/tally-identity": layout.secrets / "session-keys.json",
            "configmaps/tally-trust": layout.authority / "session-jwks.json",
        }

    def ask(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        file = self.files["/".join(path.split("/")[-2:])]
        is_secret = "/secrets/" in path
        if method == "PUT":
            text = body["data"][file.name]
            durable.replace(file, base64.b64decode(text) if is_secret else text.encode())
            return 200, b"{}"
        held = file.read_bytes()
        text = base64.b64encode(held).decode() if is_secret else held.decode()
        name = path.rpartition("/")[2]
        metadata = {"name": name, "labels": {MANAGED_BY_LABEL: MANAGED_BY}, "resourceVersion": "1"}
        return 200, json.dumps({"metadata": metadata, "data": {file.name: text}}).encode()


def in_key_store(house: House, sql: str) -> str:
    servers = boot.describe(house.layout, state.read(house.layout))
    return run_sql(servers, KEYS_DATABASE, [sql]).strip()


def epochs(house: House, service: str) -> set[str]:
    """Return the epochs under which the service's living keys lie."""
    return set(in_key_store(house, f"select distinct epoch from {service}.data_keys where wrapped is not null").split())


def alive(house: House, service: str) -> int:
    return int(in_key_store(house, f"select count(*) from {service}.data_keys where wrapped is not null"))


def every_old_key_is_distrusted(house: House, owner: Visitor, newest: str) -> None:
    """Wait until what was signed before is refused; whoever comes back gets on with the newest key."""
    deadline = time.monotonic() + 4.0
    while statuses(house, owner) != {401} or published(house) != [newest]:
        assert time.monotonic() < deadline
    for visitor in house.visitors.values():
        refresh(house, visitor)
    assert statuses(house, owner) == {200}


@pytest.mark.control("IR-02")
@pytest.mark.control("EV-24e")
def test_a_rotated_key_breaks_no_session_and_one_that_leaked_is_refused_at_once(house):
    owner = house.visitor("owner")
    refresh(house, owner)
    before = recorded(house, SESSION_KEY)
    old = kid_of(owner)
    new = tally(house, "keys", "rotate", "session")
    assert new != old
    for _ in range(5):
        assert statuses(house, owner) == {200}, "what the old key signed is good"
        time.sleep(0.3)
    assert published(house) == [new, old]
    assert refresh(house, owner) == 204
    assert kid_of(owner) == new
    assert statuses(house, owner) == {200}, "and what the new one signs is known everywhere"

    newest = tally(house, "keys", "rotate", "session", "--distrust-old")
    every_old_key_is_distrusted(house, owner, newest)
    is_recorded(house, SESSION_KEY, before + 2)


@pytest.mark.control("IR-02")
@pytest.mark.control("EV-24e")
def test_a_job_in_a_cluster_rotates_session_keys_as_the_command_of_a_stack_does(house, monkeypatch):
    owner = house.visitor("owner")
    refresh(house, owner)
    before, old = recorded(house, SESSION_KEY), kid_of(owner)
    servers = boot.describe(house.layout, state.read(house.layout))
    for variable, value in servers.service_environment(ServiceName.IDENTITY).items():
        monkeypatch.setenv(variable, value)
    plan, mounted = Plan("tally", "exams", Database("")), Mounted(house.layout)

    def settle() -> None:
        for _ in range(4):
            assert statuses(house, owner) == {200}
            assert refresh(house, owner) == 204
            assert kid_of(owner) == old, "it is known and does not sign yet"
            time.sleep(0.4)
        assert len(published(house)) == 2

    new = session_key.rotate(plan, mounted.ask, session_key.record_by_identity, settle)
    deadline = time.monotonic() + 10.0
    while kid_of(owner) != new:
        assert time.monotonic() < deadline
        assert statuses(house, owner) == {200}, "no session ends"
        assert refresh(house, owner) == 204
    assert statuses(house, owner) == {200}
    assert published(house) == [new, old]

    newest = session_key.rotate(plan, mounted.ask, session_key.record_by_identity, pytest.fail, distrust_old=True)
    every_old_key_is_distrusted(house, owner, newest)
    is_recorded(house, SESSION_KEY, before + 2)


@pytest.mark.control("IR-02")
@pytest.mark.control("EV-24e")
def test_a_new_key_for_private_data_breaks_no_session_and_no_factor(house):
    owner = house.visitor("owner")
    refresh(house, owner)
    before = recorded(house, CREDENTIAL_KEY)
    name = owner.raw("identity", "GET", "/api/v1/identity/me").json()["display_name"]
    first, second = (int(tally(house, "keys", "rotate", "credential")) for _ in range(2))
    assert second == first + 1
    assert statuses(house, owner) == {200}
    assert owner.raw("identity", "GET", "/api/v1/identity/me").json()["display_name"] == name
    owner.renew()  # by a mail to an address that is read, and by a factor whose seed is read
    is_recorded(house, CREDENTIAL_KEY, before + 2)


@pytest.mark.control("EV-24e")
@pytest.mark.parametrize(
    ("name", "service", "event_type"),
    [
        ("content", "assessment", "assessment.content_key.rotated"),
        ("opening", "privacy", "privacy.opening_key.rotated"),
    ],
)
def test_a_new_key_for_what_a_service_keeps_is_used_by_what_runs_and_leaves_nothing_behind(
    house, name, service, event_type
):
    owner = house.visitor("owner")
    refresh(house, owner)
    before = recorded(house, event_type)
    first, second = (int(tally(house, "keys", "rotate", name)) for _ in range(2))
    assert second == first + 1
    assert statuses(house, owner) == {200}
    is_recorded(house, event_type, before + 2)
    assert epochs(house, service) == {str(second)}
    if service == "privacy":
        slug, living = f"keys-{secrets.token_hex(3)}", alive(house, service)
        tally(house, "tenant", "add", f"--tenant={slug}", "--name=Keys", f"--admin=admin@{slug}.example")
        deadline = time.monotonic() + 30.0
        while alive(house, service) == living:
            assert time.monotonic() < deadline, "no key was minted"
            time.sleep(0.2)
        assert epochs(house, service) == {str(second)}, "what runs wraps under the new key"


@pytest.mark.control("IR-02")
def test_a_contained_tenant_is_out_of_every_service_within_a_second(house, tmp_path):
    builder, slug = Builder(house.layout, tmp_path), f"leak-{secrets.token_hex(3)}"
    tally(house, "tenant", "add", f"--tenant={slug}", "--name=Leak", f"--admin=admin@{slug}.example")
    (admin,) = builder.sign_in(slug, "admin").values()
    owner = house.visitor("owner")
    refresh(house, owner)
    try:
        assert 401 not in statuses(house, admin)
        tally(house, "contain", "tenant", f"--tenant={slug}")
        began = time.monotonic()
        while statuses(house, admin) != {401}:
            assert time.monotonic() - began < 1.8, "a second, and this busy machine"
        assert refresh(house, admin) == 401
        assert statuses(house, owner) == {200}
    finally:
        admin.close()
