"""Real processes: a session that ended is refused by every service, with the broker up, killed and frozen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from faults.freezing import frozen
from sweep.house import Builder, House, eventually
from sweep.problems import problem_in
from sweep.recipes import Ids
from sweep.visitor import Call, Visitor
from tallystick_cli.stack import boot, database_setup, state, status
from tallystick_cli.stack.services import DATABASE

pytestmark = pytest.mark.xdist_group("system")

SESSION = "__Host-tally_session"
PATHS = {
    "assessment": "/api/v1/assessment/my/assignments",
    "ledger": "/api/v1/ledger/logs",
    "privacy-worker": "/api/v1/compliance/erasures",
}
STALE_AFTER_S = 2.0
LAG_S = 0.8
"""What a request and this busy machine add."""


@pytest.fixture(scope="module")
def builder(house: House, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(house.layout, tmp_path_factory.mktemp("revocation"))


def ask(house: House, service: str, cookie: str) -> httpx.Response:
    headers = {"Cookie": f"{SESSION}={cookie}"}
    return httpx.get(house.urls[service] + PATHS[service], headers=headers, verify=house.tls, timeout=30.0)


def statuses(house: House, cookie: str) -> set[int]:
    return {ask(house, service, cookie).status_code for service in PATHS}


@contextmanager
def somebody(house: House, builder: Builder, name: str) -> Iterator[Visitor]:
    """Somebody who may read everything in the first tenant, and whom every service has seen."""
    owner, ids = house.visitor("owner"), house.places["a"]
    email = f"{name}@{slug_of(house)}.example"
    body = {"email": email, "display_name": name.title(), "org_unit_id": ids.unit}
    made = builder.ask(owner, "identity POST /api/v1/identity/people", Call(json=body)).json()
    grant = {"person_id": made["id"], "role_id": ids.role, "org_unit_id": ids.tenant, "subtree": True}
    builder.ask(owner, "identity POST /api/v1/identity/grants", Call(json=grant))
    (visitor,) = builder.sign_in(slug_of(house), name).values()
    try:
        time.sleep(0.5)  # what signing in changed is announced by then, and undoes no answer any more
        assert statuses(house, visitor.http.cookies[SESSION]) == {200}
        yield visitor
    finally:
        visitor.close()


def slug_of(house: House) -> str:
    servers = boot.describe(house.layout, state.read(house.layout))
    query = f"select slug from identity.tenants where tenant_id = '{house.places['a'].tenant}'"
    return database_setup.run_sql(servers, DATABASE, [query]).strip()


def refused_after(house: House, cookie: str) -> float:
    began = time.monotonic()
    while statuses(house, cookie) != {401}:
        assert time.monotonic() - began < 10, statuses(house, cookie)
    return time.monotonic() - began


def pid_of(house: House, program: str) -> int:
    pid = status.read(house.layout).programs[program].pid
    assert pid is not None
    return pid


@pytest.mark.control("AC-05")
@pytest.mark.parametrize("fault", ["none", "killed", "frozen"])
def test_a_session_that_ended_is_refused_whatever_happens_to_the_broker(house, builder, fault):
    with somebody(house, builder, f"broker-{fault}-{time.time_ns()}") as visitor:
        cookie = visitor.http.cookies[SESSION]
        if fault == "none":
            builder.do(visitor, "identity POST /api/v1/auth/logout", Ids())
            assert refused_after(house, cookie) < 1.0 + LAG_S
            return
        broker = pid_of(house, "nats")
        if fault == "killed":
            os.kill(broker, signal.SIGKILL)
            builder.do(visitor, "identity POST /api/v1/auth/logout", Ids())
            assert refused_after(house, cookie) < STALE_AFTER_S + LAG_S
        else:
            with frozen(broker):
                builder.do(visitor, "identity POST /api/v1/auth/logout", Ids())
                assert refused_after(house, cookie) < STALE_AFTER_S + LAG_S
    eventually(lambda: status.read(house.layout).programs["nats"].pid, "the broker's return")


@pytest.mark.control("AC-05")
def test_with_broker_and_identity_down_what_needs_a_session_is_503_and_public_verification_works(house, builder):
    with somebody(house, builder, f"both-{time.time_ns()}") as visitor:
        cookie = visitor.http.cookies[SESSION]
        with frozen(pid_of(house, "identity-api")):
            # The broker is up: who was seen before is still let in, from what is known to be true.
            assert statuses(house, cookie) == {200}
            with frozen(pid_of(house, "nats")):
                time.sleep(STALE_AFTER_S + 0.2)
                for service in PATHS:
                    problem = problem_in(ask(house, service, cookie))
                    assert (problem.status, problem.code) == (503, "unavailable"), service
                public = httpx.get(house.verification_url, verify=house.tls, timeout=30.0)
                assert public.status_code == 200

        eventually(lambda: statuses(house, cookie) == {200} or None, "an end of the outage")
