"""Passkeys: enrolled after a recent sign-in, shown after a link, signed in by alone, refused when anything is off."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from software_authenticator import SoftwareAuthenticator, to_bytes, to_text
from sqlalchemy import text
from tallystick_contracts.generated.identity import LoginFailed, LoginFailure, LoginSucceeded

if TYPE_CHECKING:
    import httpx

    from conftest import Identity, Tenant

PASSKEYS = "/api/v1/auth/passkeys"
SHOW = "/api/v1/auth/second-factor/passkey"


def _device(identity: Identity, **more: Any) -> SoftwareAuthenticator:
    (origin,) = identity.parts.passkeys.party.origins
    return SoftwareAuthenticator(origin, **more)


def _key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


async def _start(client: httpx.AsyncClient, label: str = "the phone") -> tuple[str, dict[str, Any]]:
    started = await client.post("/api/v1/auth/factors", json={"kind": "passkey", "label": label}, headers=_key())
    assert started.status_code == 201, started.text
    options = await client.get(f"{PASSKEYS}/{started.json()['id']}")
    assert options.status_code == 200, options.text
    return started.json()["id"], options.json()


async def _confirm(client: httpx.AsyncClient, factor: str, made: dict[str, Any]) -> httpx.Response:
    answer = await client.post(f"{PASSKEYS}/{factor}/confirm", json=made, headers=_key())
    client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
    return answer


async def _enrol(client: httpx.AsyncClient, device: SoftwareAuthenticator, label: str = "the phone") -> httpx.Response:
    factor, options = await _start(client, label)
    return await _confirm(client, factor, device.create(options))


async def _enrolled(identity: Identity, tenant: Tenant) -> tuple[httpx.AsyncClient, SoftwareAuthenticator]:
    device = _device(identity)
    client = await identity.signed_in(tenant, second_factor=False)
    assert (await _enrol(client, device)).status_code == 200
    return client, device


async def _challenge(client: httpx.AsyncClient, tenant: Tenant) -> dict[str, Any]:
    asked = await client.post(f"/sign-in/{tenant.slug}/passkey/options")
    assert asked.status_code == 200, asked.text
    return asked.json()  # type: ignore[no-any-return]


async def _sign_in(
    identity: Identity, tenant: Tenant, device: SoftwareAuthenticator, client: httpx.AsyncClient | None = None
) -> tuple[httpx.AsyncClient, httpx.Response]:
    client = client or identity.client()
    answer = await client.post(f"/sign-in/{tenant.slug}/passkey", json=device.get(await _challenge(client, tenant)))
    if answer.status_code == 200:
        client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
    return client, answer


async def _failures(identity: Identity, tenant: Tenant) -> list[LoginFailure]:
    events = await identity.events(tenant.id, "identity.login.failed")
    return [event.data.reason for event in events if isinstance(event.data, LoginFailed)]


@pytest.mark.control("X-01")
@pytest.mark.control("AU-01")
async def test_a_member_of_staff_enrols_a_passkey_and_is_whole(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    other = await identity.signed_in(tenant, second_factor=False)
    client, _ = await _enrolled(identity, tenant)
    assert "people.write" in (await client.get("/api/v1/identity/me")).json()["capabilities"]
    assert (await other.get("/api/v1/auth/second-factor")).status_code == 401
    (enrolled,) = await identity.events(tenant.id, "identity.mfa.enrolled")
    assert enrolled.data.label is not None  # type: ignore[attr-defined]
    assert "the phone" not in str(enrolled.data)
    (login,) = await identity.events(tenant.id, "identity.login.succeeded")
    assert isinstance(login.data, LoginSucceeded)
    assert login.data.multi_factor is True


@pytest.mark.control("X-01")
@pytest.mark.control("AU-01")
async def test_a_passkey_alone_signs_staff_in_because_it_verifies_its_user(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, device = await _enrolled(identity, tenant)
    before = len(await identity.events(tenant.id, "identity.login.succeeded", "identity.session.created"))
    client, answer = await _sign_in(identity, tenant, device)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"person"}
    assert (await client.get("/api/v1/auth/second-factor")).json()["needed"] is None
    assert "people.write" in (await client.get("/api/v1/identity/me")).json()["capabilities"]
    after = await identity.events(tenant.id, "identity.login.succeeded", "identity.session.created")
    assert len(after) == before + 2
    known = await identity.service().post(
        "/api/v1/identity/introspect", json={"token": client.cookies["__Host-tally_session"]}
    )
    assert known.json()["amr"] == ["pop", "mfa"]


@pytest.mark.control("X-01")
async def test_after_a_link_a_passkey_makes_the_session_whole(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, device = await _enrolled(identity, tenant)
    client = await identity.signed_in(tenant, second_factor=False)
    assert (await client.get("/api/v1/identity/me")).status_code == 403
    options = await client.post(f"{SHOW}/options", headers=_key())
    assert [to_bytes(one["id"]) for one in options.json()["allowCredentials"]] == [device.credentials[0].id]
    shown = await client.post(SHOW, json=device.get(options.json()), headers=_key())
    assert shown.status_code == 200, shown.text
    client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
    assert (await client.get("/api/v1/identity/me")).status_code == 200
    again = await client.post(f"{SHOW}/options", headers=_key())
    assert (again.status_code, again.json()["code"]) == (409, "nothing_to_show")


async def test_one_person_has_several_passkeys_with_names_and_removing_one_ends_other_sessions(
    identity: Identity,
) -> None:
    tenant = await identity.new_tenant()
    client, device = await _enrolled(identity, tenant)
    second = _device(identity)
    factor, options = await _start(client, "the key on the ring")
    with pytest.raises(RuntimeError, match="already"):
        device.create(options)
    assert (await _confirm(client, factor, second.create(options))).status_code == 200
    factors = (await client.get("/api/v1/auth/second-factor")).json()["factors"]
    assert [(one["kind"], one["label"]) for one in factors] == [
        ("passkey", "the phone"),
        ("passkey", "the key on the ring"),
    ]
    other, answer = await _sign_in(identity, tenant, device)
    assert answer.status_code == 200
    removed = await identity.command(client, "DELETE", f"auth/factors/{factors[0]['id']}")
    assert removed.status_code == 200
    assert (await other.get("/api/v1/identity/me")).status_code == 401
    _, refused = await _sign_in(identity, tenant, device)
    assert (refused.status_code, refused.json()["code"]) == (401, "passkey_not_accepted")
    assert len(await identity.events(tenant.id, "identity.mfa.removed")) == 1
    _, accepted = await _sign_in(identity, tenant, second)
    assert accepted.status_code == 200


@pytest.mark.control("X-01")
async def test_the_last_passkey_of_staff_does_not_vanish_and_after_a_reset_only_enrolment_is_reachable(
    identity: Identity,
) -> None:
    tenant = await identity.new_tenant()
    client, device = await _enrolled(identity, tenant)
    (factor,) = (await client.get("/api/v1/auth/second-factor")).json()["factors"]
    refused = await identity.command(client, "DELETE", f"auth/factors/{factor['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "last_factor")
    people = (await client.get("/api/v1/identity/people")).json()["people"]
    path = f"identity/people/{people[0]['id']}/factors/reset"
    assert (await identity.command(client, "POST", path, {"reason": "lost"})).status_code == 200
    _, gone = await _sign_in(identity, tenant, device)
    assert gone.status_code == 401
    half = await identity.signed_in(tenant, second_factor=False)
    assert (await half.get("/api/v1/identity/me")).json()["code"] == "second_factor_required"
    assert (await half.get("/api/v1/auth/second-factor")).json()["needed"] == "enrol"


@pytest.mark.control("X-04")
async def test_enrolling_wants_a_recent_sign_in_and_the_factor_there_is(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client, _ = await _enrolled(identity, tenant)
    half = await identity.signed_in(tenant, second_factor=False)
    refused = await identity.command(half, "POST", "auth/factors", {"kind": "passkey"})
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_first")
    factor, options = await _start(client)
    identity.clock.ahead += timedelta(minutes=16)
    await client.post("/session/refresh")
    made = _device(identity).create(options)
    for answer in (
        await identity.command(client, "POST", "auth/factors", {"kind": "passkey"}),
        await client.get(f"{PASSKEYS}/{factor}"),
        await _confirm(client, factor, made),
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, "step_up_required")


@pytest.mark.control("X-01")
async def test_an_authenticator_that_does_not_verify_its_user_is_refused(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await identity.signed_in(tenant, second_factor=False)
    careless = _device(identity, is_verifying=False)
    assert (await _enrol(client, careless)).status_code == 401
    _, device = await _enrolled(identity, tenant)
    device.is_verifying = False
    _, refused = await _sign_in(identity, tenant, device)
    assert refused.status_code == 401
    assert (await _failures(identity, tenant))[-1] is LoginFailure.BAD_CREDENTIAL


async def test_a_counter_that_goes_back_is_refused_and_recorded_once(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, device = await _enrolled(identity, tenant)
    assert (await _sign_in(identity, tenant, device))[1].status_code == 200
    device.credentials[0].count -= 1
    _, refused = await _sign_in(identity, tenant, device)
    assert (refused.status_code, refused.json()["code"]) == (401, "passkey_not_accepted")
    assert await _failures(identity, tenant) == [LoginFailure.COUNTER_WENT_BACK]
    half = await identity.signed_in(tenant, second_factor=False)
    device.credentials[0].count -= 1
    options = (await half.post(f"{SHOW}/options", headers=_key())).json()
    assert (await half.post(SHOW, json=device.get(options), headers=_key())).status_code == 401
    assert await _failures(identity, tenant) == [LoginFailure.COUNTER_WENT_BACK] * 2
    device.credentials[0].count += 5
    assert (await _sign_in(identity, tenant, device))[1].status_code == 200


async def test_a_passkey_that_never_counts_is_good(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, device = await _enrolled(identity, tenant)
    device.is_counting = False
    for _ in range(2):
        assert (await _sign_in(identity, tenant, device))[1].status_code == 200


async def test_a_challenge_is_good_for_one_answer_also_of_two_at_once(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, device = await _enrolled(identity, tenant)
    client = identity.client()
    options = await _challenge(client, tenant)
    ticket = {"Cookie": f"__Host-tally_passkey={client.cookies['__Host-tally_passkey']}"}
    answers = await asyncio.gather(
        *(
            identity.client().post(f"/sign-in/{tenant.slug}/passkey", json=device.get(options), headers=ticket)
            for _ in range(3)
        )
    )
    assert sorted(one.status_code for one in answers) == [200, 401, 401]


async def test_a_wrong_answer_uses_the_challenge_up(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, device = await _enrolled(identity, tenant)
    client = identity.client()
    options = await _challenge(client, tenant)
    good = device.get(options)
    bad = {**good, "response": {**good["response"], "signature": to_text(b"no signature")}}
    ticket = {"Cookie": f"__Host-tally_passkey={client.cookies['__Host-tally_passkey']}"}
    for body in (bad, good):
        answer = await identity.client().post(f"/sign-in/{tenant.slug}/passkey", json=body, headers=ticket)
        assert answer.status_code == 401


async def test_a_challenge_lasts_five_minutes_and_belongs_to_the_browser_that_asked(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client, device = await _enrolled(identity, tenant)
    asking, elsewhere = identity.client(), identity.client()
    made = device.get(await _challenge(asking, tenant))
    assert (await elsewhere.post(f"/sign-in/{tenant.slug}/passkey", json=made)).status_code == 401
    factor, options = await _start(client)
    identity.clock.ahead += timedelta(minutes=5, seconds=1)
    assert (await asking.post(f"/sign-in/{tenant.slug}/passkey", json=made)).status_code == 401
    assert (await client.post("/session/refresh")).status_code == 204
    assert (await client.get(f"{PASSKEYS}/{factor}")).status_code == 404
    late = await _confirm(client, factor, _device(identity).create(options))
    assert (late.status_code, late.json()["code"]) == (401, "code_not_accepted")


async def test_expired_challenges_are_forgotten(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    for _ in range(3):
        await _challenge(identity.client(), tenant)
    identity.clock.ahead += timedelta(minutes=6)
    await _challenge(identity.client(), tenant)
    async with identity.transaction(tenant.id) as tx:
        left = await tx.execute(text("select count(*) from identity.passkey_challenges"))
        assert left.scalar_one() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("origin", "https://evil.example"),
        ("rp_id", "evil.example"),
        ("user_handle", b"somebody else"),
    ],
)
async def test_what_was_signed_for_another_site_or_person_is_refused(
    identity: Identity, field: str, value: object
) -> None:
    tenant = await identity.new_tenant()
    _, device = await _enrolled(identity, tenant)
    setattr(device if field == "origin" else device.credentials[0], field, value)
    _, refused = await _sign_in(identity, tenant, device)
    assert (refused.status_code, refused.json()["code"]) == (401, "passkey_not_accepted")
    assert await _failures(identity, tenant) == [LoginFailure.BAD_CREDENTIAL]


async def test_another_persons_passkey_does_not_make_a_session_whole(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin, _ = await _enrolled(identity, tenant)
    person = await identity.new_person(admin, "kim@people.example")
    await identity.grant(admin, person["id"], "grader", str(tenant.id))
    kims = _device(identity)
    assert (await _enrol(await identity.signed_in(tenant, "kim@people.example", second_factor=False), kims)).is_success
    half = await identity.signed_in(tenant, second_factor=False)
    options = (await half.post(f"{SHOW}/options", headers=_key())).json()
    answer = await half.post(SHOW, json=kims.get(options, credential=kims.credentials[0]), headers=_key())
    assert (answer.status_code, answer.json()["code"]) == (401, "code_not_accepted")


async def test_a_credential_that_somebody_has_is_not_registered_twice(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client, device = await _enrolled(identity, tenant)
    factor, options = await _start(client)
    twice = _device(identity)
    made = twice.create(options)
    assert (await _confirm(client, factor, made)).status_code == 200
    factor, options = await _start(client)
    again = _device(identity)
    forged = again.create(options)
    stolen = twice.credentials[0].id
    for text_of in ("id", "rawId"):
        forged[text_of] = to_text(stolen)
    raw = to_bytes(forged["response"]["attestationObject"]).replace(again.credentials[0].id, stolen)
    forged["response"]["attestationObject"] = to_text(raw)
    assert (await _confirm(client, factor, forged)).status_code == 401
    assert (await _confirm(client, factor, again.create(options | {"excludeCredentials": []}))).status_code == 401
    assert (await _sign_in(identity, tenant, device))[1].status_code == 200


async def test_a_passkey_opens_nothing_in_another_tenant_or_for_somebody_disabled(identity: Identity) -> None:
    tenant, other = await identity.new_tenant(), await identity.new_tenant()
    admin, _ = await _enrolled(identity, tenant)
    person = await identity.new_person(admin, "kim@people.example")
    kims = _device(identity)
    kim = await identity.signed_in(tenant, "kim@people.example", second_factor=False)
    assert (await _enrol(kim, kims)).status_code == 200
    assert (await _sign_in(identity, other, kims))[1].status_code == 401
    assert (await identity.command(admin, "POST", f"identity/people/{person['id']}/disable")).status_code == 200
    _, refused = await _sign_in(identity, tenant, kims)
    assert (refused.status_code, refused.json()["code"]) == (401, "passkey_not_accepted")
    assert await _failures(identity, tenant) == [LoginFailure.ACCOUNT_DISABLED]


@pytest.mark.control("EV-21d")
async def test_a_tenant_that_does_not_exist_is_answered_alike(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    nowhere = tenant.__class__(tenant.id, "no-such-tenant", "")
    here, there = await _challenge(identity.client(), tenant), await _challenge(identity.client(), nowhere)
    assert here.keys() == there.keys()
    assert here["allowCredentials"] == there["allowCredentials"] == []
    _, device = await _enrolled(identity, tenant)
    _, refused = await _sign_in(identity, nowhere, device)
    assert (refused.status_code, refused.json()["code"]) == (401, "passkey_not_accepted")


@pytest.mark.parametrize(
    "attestation",
    [b"", b"\xff", b"\xa0", b"\xa2cfmtdnonehauthData@", b"\xa3cfmtctpmgattStmt\xa0hauthDataX\x25" + bytes(37)],
)
async def test_malformed_answers_are_refused_and_break_nothing(identity: Identity, attestation: bytes) -> None:
    tenant = await identity.new_tenant()
    client = await identity.signed_in(tenant, second_factor=False)
    factor, options = await _start(client)
    made = _device(identity).create(options)
    made["response"]["attestationObject"] = to_text(attestation)
    answer = await _confirm(client, factor, made)
    assert (answer.status_code, answer.json()["code"]) == (401, "code_not_accepted")


async def test_a_body_that_is_no_credential_is_a_validation_problem(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    good = SoftwareAuthenticator("https://identity.example")
    body: dict[str, Any] = {"id": "A", "rawId": "A", "type": "public-key"}
    body["response"] = {"clientDataJSON": "A", "authenticatorData": "", "signature": ""}
    for wrong in (body, body | {"id": "ä"}, body | {"more": 1}, {}):
        answer = await client.post(f"/sign-in/{tenant.slug}/passkey", json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "validation_failed")
    assert good.credentials == []
