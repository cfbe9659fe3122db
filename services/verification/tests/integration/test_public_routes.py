"""What anyone can ask: the three answers, always of one shape, with nothing in them that names a person."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tallystick_chassis.telemetry import configure_logging
from tallystick_tlog import TlogProof, VerifierKey, leaf_hash
from tallystick_verification.credentials.domain import reference_of
from tallystick_verification.proofs.fetching import ProofFetcher

if TYPE_CHECKING:
    import httpx
    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.service import Runtime

FIELDS = ["status", "credential_type", "issuer", "issued_at", "expires_at", "integrity"]
NOTHING = dict.fromkeys(FIELDS) | {"status": "cannot_be_confirmed"}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.control("EV-64", "EV-22e", "EV-51", "EV-12b")
async def test_a_certificate_is_valid_and_the_answer_has_exactly_its_six_fields(  # noqa: PLR0917 - fixtures
    client: httpx.AsyncClient, assessment, ledger, runtime: Runtime, tenant: TenantId, clock
) -> None:
    issued = await assessment.publish(tenant)
    ledger.record(tenant, issued.event_id, issued.body)
    await ProofFetcher(runtime, runtime.settings).step()
    await assessment.level(tenant, clock.now)

    response = await client.get(f"/certs/verify/{issued.token}", headers={"Accept": "application/json"})

    assert response.status_code == 200
    assert list(response.json()) == FIELDS
    assert response.json() == {
        "status": "valid",
        "credential_type": "Safety Officer, Level 2",
        "issuer": "Acme Academy",
        "issued_at": "2026-11-21T11:00:00Z",
        "expires_at": None,
        "integrity": {
            "proof": "verified",
            "log": f"ledger.test/{tenant}/compliance",
            "entry": 0,
            "tree_size": 1,
            "as_of": "2026-11-21T12:00:00Z",
        },
    }


@pytest.mark.control("EV-64", "DI-02")
async def test_a_withdrawn_certificate_is_revoked(client: httpx.AsyncClient, assessment, tenant: TenantId) -> None:
    issued = await assessment.publish(tenant)
    await assessment.withdraw(tenant, issued.reference)
    assert (await client.get(f"/certs/verify/{issued.token}")).json()["status"] == "revoked"


async def test_a_withdrawal_holds_even_if_its_certificate_arrives_after_it(
    client: httpx.AsyncClient, assessment, tenant: TenantId
) -> None:
    token = "a-token-that-was-sent-to-a-holder"
    await assessment.withdraw(tenant, reference_of(token))
    assert (await client.get(f"/certs/verify/{token}")).json() == NOTHING
    await assessment.publish(tenant, reference=reference_of(token))
    assert (await client.get(f"/certs/verify/{token}")).json()["status"] == "revoked"


async def test_an_expired_certificate_cannot_be_confirmed_and_says_when_it_expired(
    client: httpx.AsyncClient, assessment, tenant: TenantId, clock
) -> None:
    issued = await assessment.publish(tenant, expires_at="2026-11-21T12:00:10.000000Z")
    assert (await client.get(f"/certs/verify/{issued.token}")).json()["status"] == "valid"
    clock.advance(seconds=10)
    answer = (await client.get(f"/certs/verify/{issued.token}")).json()
    assert (answer["status"], answer["expires_at"]) == ("cannot_be_confirmed", "2026-11-21T12:00:10Z")


@pytest.mark.control("EV-64", "EV-51", "DI-02")
@pytest.mark.parametrize("accept", ["application/json", BROWSER])
async def test_unknown_and_malformed_tokens_get_one_and_the_same_answer(
    client: httpx.AsyncClient, assessment, tenant: TenantId, accept: str
) -> None:
    issued = await assessment.publish(tenant)
    made_up = ["x" * 32, "A", "%20", "..%5C", "%FF%FE", "%C3%A4", "p'%3B--", "z" * 4000, str(uuid4()), issued.reference]
    made_up += [issued.token[:-1], issued.token + "A", issued.token.swapcase()]
    answers = []
    for token in made_up:
        response = await client.get(f"/certs/verify/{token}", headers={"Accept": accept})
        assert response.status_code == 200, token
        varying = {"x-correlation-id", "content-security-policy", "content-length"}
        headers = {name: value for name, value in response.headers.items() if name not in varying}
        answers.append((headers, response.json() if accept == "application/json" else _without_nonce(response.text)))
    assert all(answer == answers[0] for answer in answers)
    if accept == "application/json":
        assert answers[0][1] == NOTHING


def _without_nonce(page: str) -> str:
    before, _, after = page.partition('nonce="')
    return before + after.partition('"')[2]


async def test_a_reference_that_two_tenants_claim_confirms_nothing(
    client: httpx.AsyncClient, assessment, tenant: TenantId
) -> None:
    issued = await assessment.publish(tenant)
    await assessment.publish(uuid4(), reference=issued.reference, issuer="Somebody Else")
    assert (await client.get(f"/certs/verify/{issued.token}")).json() == NOTHING


@pytest.mark.control("DI-02")
async def test_proof_and_entry_can_be_checked_with_the_published_key_alone(
    client: httpx.AsyncClient, assessment, ledger, runtime: Runtime, tenant: TenantId
) -> None:
    issued = [await assessment.publish(tenant) for _ in range(5)]
    for one in issued:
        ledger.record(tenant, one.event_id, one.body)
    await ProofFetcher(runtime, runtime.settings).step()
    key = VerifierKey.ed25519(f"ledger.test/{tenant}/compliance", runtime.settings.ledger_key)

    for one in issued:
        proof = await client.get(f"/certs/verify/{one.token}/proof")
        entry = await client.get(f"/certs/verify/{one.token}/entry")
        assert TlogProof.from_bytes(proof.content).verify(leaf_hash(entry.content), [key]).size == 5
        assert one.reference.encode() in entry.content
        assert proof.headers["content-type"] == "text/plain; charset=utf-8"
        assert proof.headers["content-disposition"] == 'attachment; filename="certificate.proof"'
        assert entry.headers["content-type"] == "application/json"


@pytest.mark.control("EV-51")
@pytest.mark.parametrize("file", ["proof", "entry"])
async def test_there_is_no_proof_yet_and_no_certificate_at_all_look_the_same(
    client: httpx.AsyncClient, assessment, tenant: TenantId, file: str
) -> None:
    issued = await assessment.publish(tenant)
    answers = [await client.get(f"/certs/verify/{token}/{file}") for token in (issued.token, "made-up", "%FF")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text.replace(answer.headers["x-correlation-id"], "") for answer in answers}) == 1
    assert answers[0].headers["content-type"] == "application/problem+json"


@pytest.mark.control("X-08")
@pytest.mark.parametrize("accept", ["application/json", BROWSER])
@pytest.mark.parametrize("path", ["", "/proof", "/entry"])
async def test_nothing_is_kept_in_caches_or_told_to_other_sites(
    client: httpx.AsyncClient, assessment, tenant: TenantId, accept: str, path: str
) -> None:
    issued = await assessment.publish(tenant)
    for token in (issued.token, "made-up"):
        headers = (await client.get(f"/certs/verify/{token}{path}", headers={"Accept": accept})).headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none';")
        assert "unsafe" not in headers["content-security-policy"]
        assert "set-cookie" not in headers


@pytest.mark.control("X-08")
async def test_a_token_never_stands_in_a_log_line(client: httpx.AsyncClient, assessment, tenant: TenantId) -> None:
    issued = await assessment.publish(tenant)
    with redirect_stdout(io.StringIO()) as written:
        configure_logging(service="verification", process="api", level="DEBUG")
        for path in ("", "/proof", "/entry", "/nothing"):
            await client.get(f"/certs/verify/{issued.token}{path}")
    configure_logging(service="verification", process="api")
    lines = written.getvalue()
    assert "GET /certs/verify/{token}" in lines
    assert issued.token not in lines
    assert issued.reference not in lines


@pytest.mark.control("EV-22e")
async def test_the_page_says_what_json_says_and_nothing_that_names_a_person(
    client: httpx.AsyncClient, assessment, tenant: TenantId, clock
) -> None:
    issued = await assessment.publish(tenant, issuer="Acme <b>&</b> Sons")
    await assessment.level(tenant, clock.now - timedelta(seconds=2))
    response = await client.get(f"/certs/verify/{issued.token}", headers={"Accept": BROWSER})
    page = response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "Accept" in response.headers["vary"]
    assert "<h1>Valid</h1>" in page
    assert "Acme &lt;b&gt;&amp;&lt;/b&gt; Sons" in page
    assert "11:59:58 UTC</time>, 2 s ago" in page
    assert "<script" not in page
    assert "p_" not in page


@pytest.mark.control("X-14")
async def test_an_answer_older_than_a_minute_says_so_plainly(
    client: httpx.AsyncClient, assessment, tenant: TenantId, clock
) -> None:
    issued = await assessment.publish(tenant)
    headers = {"Accept": BROWSER}
    assert "Freshness unknown" in (await client.get(f"/certs/verify/{issued.token}", headers=headers)).text
    await assessment.level(tenant, clock.now)
    clock.advance(seconds=60)
    assert "not up to date" not in (await client.get(f"/certs/verify/{issued.token}", headers=headers)).text
    clock.advance(minutes=12)
    page = (await client.get(f"/certs/verify/{issued.token}", headers=headers)).text
    assert "not up to date" in page
    assert "12:00:00 UTC</time>, 13 minutes ago" in page
