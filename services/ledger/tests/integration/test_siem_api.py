"""SIEM destinations as an auditor makes and watches them, and what everybody else sees: nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tallystick_chassis.ids import TenantId
from tallystick_ledger.siem import commands

from .asking import AUDITOR, BASE, client, filled, people

if TYPE_CHECKING:
    import asyncpg
    import httpx

    from .asking import Filled, People

__all__ = ["client", "filled", "people"]  # fixtures

SIEMS = f"{BASE}/siem-destinations"
NEW = {"name": "splunk", "address": "https://siem.example/in/token", "authorization": "Splunk hidden"}

pytestmark = pytest.mark.control("EV-25e")


async def add(client: httpx.AsyncClient, headers: dict[str, str], **other: object) -> httpx.Response:
    return await client.post(SIEMS, json=NEW | other, headers=headers)


def fresh(headers: dict[str, str]) -> dict[str, str]:
    return headers | {"Idempotency-Key": uuid4().hex}


async def test_the_secret_is_shown_once_and_stored_nowhere(
    client: httpx.AsyncClient, people: People, filled: Filled, superuser: asyncpg.Connection
) -> None:
    auditor = people.sign_in(filled.tenant, *AUDITOR)
    made = await add(client, auditor)
    assert made.status_code == 201, made.text
    secret = made.json()["secret"]
    assert secret.startswith("whsec_")
    assert (made.json()["waiting"], made.json()["log_kinds"]) == (0, ["audit", "compliance"])
    again = await add(client, auditor)
    assert (again.status_code, again.json()["id"], "secret" in again.json()) == (201, made.json()["id"], False)
    (listed,) = (await client.get(SIEMS, headers=auditor)).json()["destinations"]
    assert (listed["id"], "secret" in listed) == (made.json()["id"], False)
    for table in ("siem_destinations", "idempotency", "events"):
        for row in await superuser.fetch(f"select t::text as row from ledger.{table} as t"):  # noqa: S608 - fixed names
            assert secret not in row["row"]
            assert "hidden" not in row["row"]


async def test_pausing_replaying_testing_and_removing(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    auditor = people.sign_in(filled.tenant, *AUDITOR)
    one = f"{SIEMS}/{(await add(client, auditor, from_beginning=True)).json()['id']}"
    paused = await client.put(one, json={"paused": True}, headers=fresh(auditor))
    assert (paused.json()["paused"], paused.json()["waiting"]) == (True, 306)
    refused = await client.post(f"{one}/test", headers=fresh(auditor))
    assert (refused.status_code, refused.json()["code"]) == (409, "siem_paused")
    assert not (await client.put(one, json={"paused": False}, headers=fresh(auditor))).json()["paused"]
    asked = await client.post(f"{one}/test", headers=fresh(auditor))
    assert (asked.status_code, asked.json()["test_waits"]) == (202, True)
    for body in ({"log_id": str(filled.compliance), "seq": 3}, {"since": "2026-11-22T10:00:00Z"}, {}):
        assert (await client.post(f"{one}/replay", json=body, headers=fresh(auditor))).status_code == 200
    assert (await client.get(f"{one}/dead-letters", headers=auditor)).json() == {"dead_letters": []}
    removed = await client.delete(one, headers=fresh(auditor))
    assert removed.status_code == 200
    assert (await client.get(SIEMS, headers=auditor)).json() == {"destinations": []}
    assert (await client.get(f"{one}/dead-letters", headers=auditor)).status_code == 404
    assert (await add(client, fresh(auditor))).status_code == 201, "the name is free again"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"address": "http://siem.example/"}, "/address"),
        ({"address": "https://user@siem.example/"}, "/address"),
        ({"address": "file:///etc/passwd"}, "/address"),
        ({"address": "syslog+tls://siem.example"}, "/authorization"),
        ({"heartbeat_s": 5}, "/heartbeat_s"),
        ({"log_kinds": []}, "/log_kinds"),
        ({"log_kinds": ["everything"]}, "/log_kinds/0"),
        ({"name": "Splunk!"}, "/name"),
        ({"authorization": "two\r\nlines: x"}, "/authorization"),
    ],
)
async def test_what_cannot_be_sent_to_is_refused_and_said_where(
    client: httpx.AsyncClient, people: People, filled: Filled, body: dict[str, object], pointer: str
) -> None:
    answer = await add(client, people.sign_in(filled.tenant, *AUDITOR), **body)
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_failed"), answer.text
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize("body", [{"seq": 3}, {"log_id": str(uuid4())}])
async def test_a_replay_without_a_clear_beginning_is_refused(
    client: httpx.AsyncClient, people: People, filled: Filled, body: dict[str, object]
) -> None:
    auditor = people.sign_in(filled.tenant, *AUDITOR)
    made = (await add(client, auditor)).json()
    assert (await client.post(f"{SIEMS}/{made['id']}/replay", json=body, headers=fresh(auditor))).status_code == 400


async def test_names_are_taken_once_and_there_are_not_many(
    client: httpx.AsyncClient, people: People, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor = people.sign_in(filled.tenant, *AUDITOR)
    assert (await add(client, auditor)).status_code == 201
    assert (await add(client, fresh(auditor))).json()["code"] == "siem_name_taken"
    monkeypatch.setattr(commands, "MAX_DESTINATIONS", 1)
    assert (await add(client, fresh(auditor), name="other")).json()["code"] == "too_many_siem_destinations"


async def test_another_tenant_a_unit_and_a_reader_without_export_see_and_change_nothing(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    auditor = people.sign_in(filled.tenant, *AUDITOR)
    one = f"{SIEMS}/{(await add(client, auditor)).json()['id']}"
    for other in (
        people.sign_in(TenantId(uuid4()), *AUDITOR),
        people.sign_in(filled.tenant, *AUDITOR, unit=filled.unit),
    ):
        assert (await client.get(SIEMS, headers=other)).json() == {"destinations": []}
        assert (await client.get(f"{one}/dead-letters", headers=other)).status_code == 404
        assert (await client.put(one, json={"paused": True}, headers=fresh(other))).status_code == 404
        assert (await client.post(f"{one}/replay", json={}, headers=fresh(other))).status_code == 404
        assert (await client.post(f"{one}/test", headers=fresh(other))).status_code == 404
        assert (await client.delete(one, headers=fresh(other))).status_code == 404
    in_a_unit = people.sign_in(filled.tenant, *AUDITOR, unit=filled.unit)
    assert (await add(client, in_a_unit, name="mine")).json()["code"] == "capability_missing"
    reader = people.sign_in(filled.tenant, "ledger.read")
    assert (await client.get(SIEMS, headers=reader)).status_code == 403
    (still,) = (await client.get(SIEMS, headers=auditor)).json()["destinations"]
    assert not still["paused"]


async def test_adding_and_replaying_want_a_recent_sign_in(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    made = (await add(client, people.sign_in(filled.tenant, *AUDITOR))).json()
    stale = people.sign_in(filled.tenant, *AUDITOR, age_s=3600)
    assert (await add(client, stale, name="other")).json()["code"] == "step_up_required"
    replay = await client.post(f"{SIEMS}/{made['id']}/replay", json={}, headers=fresh(stale))
    assert replay.json()["code"] == "step_up_required"
