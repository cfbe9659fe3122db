"""Proofs are fetched from the ledger, checked here, and kept only when they prove exactly what was published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tallystick_verification.proofs import fetching
from tallystick_verification.proofs.fetching import ProofFetcher

if TYPE_CHECKING:
    import httpx
    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.service import Runtime


@pytest.fixture
def fetcher(runtime: Runtime) -> ProofFetcher:
    return ProofFetcher(runtime, runtime.settings)


async def proof_of(client: httpx.AsyncClient, token: str) -> str:
    return (await client.get(f"/certs/verify/{token}")).json()["integrity"]["proof"]


@pytest.mark.control("EV-64")
async def test_a_certificate_is_confirmed_before_its_proof_and_proven_once_the_ledger_has_it(  # noqa: PLR0917 - fixtures
    client: httpx.AsyncClient, assessment, ledger, fetcher: ProofFetcher, tenant: TenantId, clock
) -> None:
    issued = await assessment.publish(tenant)
    await fetcher.step()
    assert await proof_of(client, issued.token) == "pending"
    ledger.record(tenant, issued.event_id, issued.body)
    await fetcher.step()
    assert (await proof_of(client, issued.token), ledger.asked) == ("pending", 1)  # not before the wait is over
    clock.advance(seconds=1)
    await fetcher.step()
    assert await proof_of(client, issued.token) == "verified"
    clock.advance(days=1)
    await fetcher.step()
    assert ledger.asked == 2  # what is proven is not asked for again


async def test_an_outage_of_the_ledger_pauses_all_and_costs_no_certificate_its_turn(  # noqa: PLR0917 - fixtures
    client: httpx.AsyncClient, assessment, ledger, fetcher: ProofFetcher, tenant: TenantId, monkeypatch
) -> None:
    issued = [await assessment.publish(tenant) for _ in range(3)]
    for one in issued:
        ledger.record(tenant, one.event_id, one.body)
    ledger.down = True
    assert await fetcher.step() is False
    asked = ledger.asked
    assert await fetcher.step() is False
    assert ledger.asked == asked  # it pauses
    ledger.down = False
    monkeypatch.setattr(fetching.time, "monotonic", lambda: fetcher._resume_at)
    await fetcher.step()
    assert [await proof_of(client, one.token) for one in issued] == ["verified"] * 3


def _other_line(answer: dict[str, str]) -> None:
    answer["line"] = answer["line"].replace("Acme", "Acne")


def _other_signature(answer: dict[str, str]) -> None:
    head, _, signature = answer["proof"].rpartition(" ")
    answer["proof"] = f"{head} {signature[:10]}{'A' if signature[10] != 'A' else 'B'}{signature[11:]}"


def _other_place(answer: dict[str, str]) -> None:
    answer["proof"] = answer["proof"].replace("index 0", "index 1")


def _no_proof(answer: dict[str, str]) -> None:
    answer["proof"] = "trust me"


def _no_entry(answer: dict[str, str]) -> None:
    answer["line"] = json.dumps({"event": {}})


@pytest.mark.control("DI-02")
@pytest.mark.parametrize("damage", [_other_line, _other_signature, _other_place, _no_proof, _no_entry])
async def test_a_proof_that_does_not_hold_is_never_kept_and_the_certificate_is_not_confirmed(  # noqa: PLR0917 - fixtures
    client: httpx.AsyncClient, assessment, ledger, fetcher: ProofFetcher, tenant: TenantId, clock, damage
) -> None:
    issued = await assessment.publish(tenant)
    ledger.record(tenant, issued.event_id, issued.body)
    true_answer = ledger.answer(issued.event_id)
    damage(answer := dict(true_answer))
    assert answer != true_answer
    ledger.answers[issued.event_id] = answer
    await fetcher.step()
    told = (await client.get(f"/certs/verify/{issued.token}")).json()
    assert (told["status"], told["integrity"]["proof"], told["issuer"]) == ("cannot_be_confirmed", "refused", None)
    assert (await client.get(f"/certs/verify/{issued.token}/proof")).status_code == 404

    del ledger.answers[issued.event_id]  # the fault passes
    clock.advance(seconds=1)
    await fetcher.step()
    assert await proof_of(client, issued.token) == "verified"


@pytest.mark.control("DI-02")
async def test_a_ledger_with_another_key_proves_nothing(
    client: httpx.AsyncClient, assessment, ledger, fetcher: ProofFetcher, tenant: TenantId
) -> None:
    issued = await assessment.publish(tenant)
    ledger.seed = bytes(32)
    ledger.record(tenant, issued.event_id, issued.body)
    await fetcher.step()
    assert await proof_of(client, issued.token) == "refused"


async def test_a_true_proof_of_another_publication_or_of_another_tenants_log_is_refused(
    client: httpx.AsyncClient, assessment, ledger, fetcher: ProofFetcher, tenant: TenantId
) -> None:
    wanted, other = await assessment.publish(tenant), await assessment.publish(tenant)
    foreign = await assessment.publish(tenant)
    ledger.record(tenant, other.event_id, other.body)
    ledger.record(uuid4(), foreign.event_id, foreign.body)
    ledger.answers[wanted.event_id] = ledger.answer(other.event_id)
    ledger.answers[foreign.event_id] = ledger.answer(foreign.event_id)
    await fetcher.step()
    states = [await proof_of(client, one.token) for one in (wanted, other, foreign)]
    assert states == ["refused", "verified", "refused"]


async def test_what_the_ledger_recorded_must_be_what_was_published(
    client: httpx.AsyncClient, assessment, ledger, fetcher: ProofFetcher, tenant: TenantId
) -> None:
    issued = await assessment.publish(tenant, issuer="Acme Academy")
    ledger.record(tenant, issued.event_id, issued.body.replace(b"Acme Academy", b"Acme College"))
    await fetcher.step()
    assert await proof_of(client, issued.token) == "refused"
