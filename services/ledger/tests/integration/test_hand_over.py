"""Events brought over HTTP: recorded and proved like those from NATS, and nobody speaks for anybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import msgspec
import pytest
from tallystick_chassis.clock import utc_now
from tallystick_chassis.hand_over import HAND_OVER_PATH, HandOverAnswer
from tallystick_chassis.http.tokens import TokenSigner
from tallystick_chassis.ids import TenantId
from tallystick_contracts.message import LogKind
from tallystick_tlog.receipt import Receipt, verify_receipt

from .api_in_process import ledger_api, made_jwks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    import asyncpg
    from tallystick_cli.stack.temporary import Databases
    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, LedgerReader, StoredLog


class Sources:
    """The services that hand over: the ledger's API in this process, and tokens for whoever calls."""

    def __init__(self, client: httpx.AsyncClient, signer: TokenSigner) -> None:
        self.client = client
        self.signer = signer

    async def post(self, service: str, content: bytes | None, tenant: str | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.signer.issue_service(service)}", "Content-Type": "application/json"}
        if tenant is not None:
            headers["X-Tally-Tenant"] = tenant
        return await self.client.post(HAND_OVER_PATH, content=content, headers=headers)

    async def hand_over(self, tenant: TenantId, arrivals: Iterable[Arrival], *, by: str = "identity") -> httpx.Response:
        body = {"events": [{"source_seq": one.source_seq, "body": one.body.decode()} for one in arrivals]}
        return await self.post(by, msgspec.json.encode(body), str(tenant))


@pytest.fixture
async def sources(ledger_databases: Databases, tmp_path: Path) -> AsyncIterator[Sources]:
    jwks = made_jwks()
    async with ledger_api(ledger_databases, tmp_path, jwks) as client:
        yield Sources(client, TokenSigner(jwks, clock=utc_now))


def proved(answer: httpx.Response, arrivals: Iterable[Arrival], *logs: StoredLog) -> set[str]:
    """Verify the answer's receipts as their source would; return the ids that they prove."""
    bodies = {str(one.event.id): one.body for one in arrivals}
    ids: set[str] = set()
    for raw in msgspec.json.decode(answer.content, type=HandOverAnswer).receipts:
        receipt = Receipt.from_json(bytes(raw))
        ids.update(verify_receipt(receipt, bodies, [log.verifier for log in logs]))
    return ids


async def quarantined(superuser: asyncpg.Connection, tenant: TenantId) -> list[tuple[str, str, int]]:
    rows = await superuser.fetch("select reason, subject, seen from ledger.quarantine where tenant_id = $1", tenant)
    return [tuple(row) for row in rows]


async def test_what_is_handed_over_is_recorded_in_both_logs_and_proved(
    sources: Sources, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    arrivals = source.compliance(tenant, 60) + source.audit(tenant, 40)
    answer = await sources.hand_over(tenant, arrivals)
    assert answer.status_code == 200
    logs = await reader.logs(tenant)
    assert [len(log.lines) for log in logs] == [60, 40]
    assert proved(answer, arrivals, *logs) == {str(one.event.id) for one in arrivals}
    assert answer.json()["heads"] == {"tenant": 60, "magic_link": 40}


async def test_what_came_by_nats_before_gets_its_receipt_again_and_stands_once(
    *, sources: Sources, source: FakeSource, tenant: TenantId, reader: LedgerReader, writer: LedgerWriter
) -> None:
    arrivals = source.compliance(tenant, 5)
    await writer.record(tenant, LogKind.COMPLIANCE, arrivals[:3])
    for _ in range(2):
        answer = await sources.hand_over(tenant, arrivals)
        (log,) = await reader.logs(tenant)
        assert len(log.lines) == 5
        assert proved(answer, arrivals, log) == {str(one.event.id) for one in arrivals}


async def test_what_lies_behind_a_gap_waits_and_the_answer_says_what_is_missing(
    sources: Sources, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    arrivals = source.compliance(tenant, 6)
    answer = await sources.hand_over(tenant, [*arrivals[:2], *arrivals[4:]])
    assert answer.json()["heads"] == {"tenant": 2}
    (log,) = await reader.logs(tenant)
    assert proved(answer, arrivals, log) == {str(one.event.id) for one in arrivals[:2]}
    assert (await sources.hand_over(tenant, arrivals[2:])).json()["heads"] == {"tenant": 6}


@pytest.mark.control("EV-13b")
async def test_a_service_cannot_hand_over_anothers_events(
    *, sources: Sources, source: FakeSource, tenant: TenantId, reader: LedgerReader, superuser: asyncpg.Connection
) -> None:
    arrivals = source.compliance(tenant, 2)
    answer = await sources.hand_over(tenant, arrivals, by="assessment")
    assert (answer.status_code, answer.json()) == (200, {"receipts": [], "heads": {}})
    assert await reader.logs(tenant) == []
    assert await quarantined(superuser, tenant) == [("wrong_source", "hand-over.assessment", 1)] * 2


async def test_an_event_that_breaks_its_contract_is_quarantined_and_the_rest_recorded(
    *, sources: Sources, source: FakeSource, tenant: TenantId, reader: LedgerReader, superuser: asyncpg.Connection
) -> None:
    (good,) = source.compliance(tenant)
    events = [
        {"source_seq": 1, "body": good.body.decode()},
        {"source_seq": 2, "body": good.body.decode() + " "},
        {"source_seq": 3, "body": "x" * 70_000},
        {"source_seq": 1, "body": source.compliance(tenant)[0].body.decode()},
    ]
    answer = await sources.post("identity", msgspec.json.encode({"events": events[:3]}), str(tenant))
    assert answer.json()["heads"] == {"tenant": 1}
    again = await sources.post("identity", msgspec.json.encode({"events": events[3:]}), str(tenant))
    assert (again.status_code, again.json()) == (200, {"receipts": [], "heads": {"tenant": 1}})
    (log,) = await reader.logs(tenant)
    assert len(log.lines) == 1
    assert sorted(reason for reason, *_ in await quarantined(superuser, tenant)) == [
        "broken_contract", "conflict", "too_large",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "tenant", "status"),
    [
        (b'{"events":[{"source_seq":1,"body":"' + b"x" * 1_100_000 + b'"}]}', "good", 413),
        (b'{"events":[]}', "good", 400),
        (msgspec.json.encode({"events": [{"source_seq": 1, "body": "{}"}] * 501}), "good", 400),
        (b'{"events":[{"source_seq":0,"body":"{}"}]}', "good", 400),
        (b'{"events":[{"source_seq":"1","body":"{}"}]}', "good", 400),
        (b'{"events":[{"source_seq":1,"body":{}}]}', "good", 400),
        (b'{"events":[{"source_seq":1,"body":"{}"}],"source":"identity"}', "good", 400),
        (b"[", "good", 400),
        (b'{"events":[{"source_seq":1,"body":"{}"}]}', "nobody", 400),
        (b'{"events":[{"source_seq":1,"body":"{}"}]}', None, 400),
    ],
)
async def test_a_request_that_is_none_is_refused_whole(
    *, sources: Sources, superuser: asyncpg.Connection, content: bytes, tenant: str | None, status: int
) -> None:
    named = TenantId(uuid4())
    answer = await sources.post("identity", content, str(named) if tenant == "good" else tenant)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert await quarantined(superuser, named) == []


async def test_a_log_in_trouble_does_not_hold_the_other_back(
    *, sources: Sources, source: FakeSource, tenant: TenantId, reader: LedgerReader, superuser: asyncpg.Connection
) -> None:
    await sources.hand_over(tenant, source.compliance(tenant))
    async with superuser.transaction():
        await superuser.execute(
            "select from ledger.logs where tenant_id = $1 and kind = 'compliance' for update", tenant
        )
        answer = await sources.hand_over(tenant, source.compliance(tenant) + source.audit(tenant))
    assert answer.json()["heads"] == {"tenant": 1, "magic_link": 1}
    assert [len(log.lines) for log in await reader.logs(tenant)] == [1, 1]
