"""Setting and changing a password: whoever may, by a session or by mail, and what ends with it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tallystick_contracts.generated.identity import (
    LoginFailure,
    SignInPolicyChanged,
)

from .steps import (
    GOOD,
    KIM,
    NOT_ACCEPTED,
    OTHER,
    by_password,
    candidate,
    policy,
    reasons,
    said,
    set_password,
)

if TYPE_CHECKING:
    from conftest import Identity, StartIdentity


async def test_passwords_are_off_until_an_administrator_says_so_and_when_off_again(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    assert (await admin.get("/api/v1/identity/sign-in-policy")).json() == {"passwords": False}
    assert (await admin.get("/api/v1/auth/password")).json() == {"allowed": False, "set_at": None}
    assert said(await set_password(identity, admin, GOOD)) == (409, "passwords_off")
    for passwords in (True, True):
        assert (await policy(identity, admin, passwords=passwords)).json() == {"passwords": True}
    assert (await set_password(identity, admin, GOOD)).status_code == 200
    assert (await admin.get("/api/v1/auth/password")).json()["set_at"] is not None
    await policy(identity, admin, passwords=False)
    assert said(await by_password(identity, tenant, tenant.admin_email)) == NOT_ACCEPTED
    changes = [one.data for one in await identity.events(tenant.id, "identity.sign_in_policy.changed")]
    assert [one.passwords for one in changes if isinstance(one, SignInPolicyChanged)] == [True, False]


async def test_who_may_manage_roles_in_one_unit_only_sets_no_policy(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    unit = await identity.new_unit(admin, "north")
    person = await identity.new_person(admin, KIM, org_unit_id=unit)
    await identity.grant(admin, person["id"], "administrator", unit, subtree=True)
    kim = await identity.signed_in(tenant, KIM)
    assert said(await policy(identity, kim, passwords=True)) == (403, "capability_missing")


@pytest.mark.control("AC-05")
@pytest.mark.control("AU-01")
async def test_changing_it_wants_the_old_one_and_ends_every_other_session(identity: Identity) -> None:
    tenant, _, kim = await candidate(identity)
    other = identity.client()
    await by_password(identity, tenant, client=other)
    assert said(await set_password(identity, kim, OTHER)) == NOT_ACCEPTED
    assert said(await set_password(identity, kim, OTHER, "not the old one")) == NOT_ACCEPTED
    assert (await other.get("/api/v1/identity/me")).status_code == 200
    before = kim.cookies["__Host-tally_session"]
    bumps = len(await identity.events(tenant.id, "identity.token_version.bumped"))
    assert (await set_password(identity, kim, OTHER, GOOD)).status_code == 200
    assert kim.cookies["__Host-tally_session"] != before
    assert (await kim.get("/api/v1/identity/me")).status_code == 200
    assert (await other.get("/api/v1/identity/me")).status_code == 401
    assert (await other.post("/session/refresh")).status_code == 401
    assert said(await by_password(identity, tenant)) == NOT_ACCEPTED
    assert (await by_password(identity, tenant, password=OTHER)).status_code == 200
    changed = await identity.events(tenant.id, "identity.password.changed")
    assert len(changed) == 2
    assert all(one.data.ip is not None for one in changed)  # type: ignore[attr-defined]
    assert len(await identity.events(tenant.id, "identity.token_version.bumped")) == bumps + 1


@pytest.mark.control("X-04")
async def test_changing_it_wants_a_recent_sign_in(identity: Identity) -> None:
    _, _, kim = await candidate(identity)
    identity.clock.ahead += timedelta(minutes=16)
    assert (await kim.post("/session/refresh")).status_code == 204
    assert said(await set_password(identity, kim, OTHER, GOOD)) == (401, "step_up_required")


@pytest.mark.control("X-04")
async def test_changing_it_makes_no_sign_in_more_recent(identity: Identity) -> None:
    _, _, kim = await candidate(identity)
    identity.clock.ahead += timedelta(minutes=10)
    assert (await kim.post("/session/refresh")).status_code == 204
    assert (await set_password(identity, kim, OTHER, GOOD)).status_code == 200
    identity.clock.ahead += timedelta(minutes=6)
    assert (await kim.post("/session/refresh")).status_code == 204
    assert said(await set_password(identity, kim, GOOD, OTHER)) == (401, "step_up_required")


async def test_the_old_password_is_guessed_no_more_often_behind_a_session(identity: Identity) -> None:
    tenant, _, kim = await candidate(identity)
    for _ in range(5):
        await set_password(identity, kim, OTHER, "not the old one")
    assert said(await set_password(identity, kim, OTHER, GOOD)) == NOT_ACCEPTED
    assert (await reasons(identity, tenant))[-1] is LoginFailure.RATE_LIMITED


@pytest.mark.control("AC-01")
@pytest.mark.parametrize("new", ["short", "password1", "kim@people.example", "Tallystick1"])
async def test_a_password_that_is_tried_first_is_not_set(identity: Identity, new: str) -> None:
    tenant, _, kim = await candidate(identity)
    refused = await set_password(identity, kim, new, GOOD)
    assert said(refused) == (422, "invalid_input")
    assert [one["pointer"] for one in refused.json()["errors"]] == ["/new_password"]
    assert new not in refused.text
    link = await identity.link_for(client := identity.client(), tenant, KIM, purpose="reset")
    by_mail = await identity.verify(client, **link.body, new_password=new)
    assert said(by_mail) == (422, "invalid_input")
    assert (await identity.verify(client, **link.body, new_password=OTHER)).status_code == 200, "the link stays good"


@pytest.mark.control("AC-06")
@pytest.mark.control("AC-05")
@pytest.mark.control("AU-01")
async def test_a_new_password_by_mail_ends_every_session_and_signs_nobody_in(identity: Identity) -> None:
    tenant, _, kim = await candidate(identity)
    client = identity.client()
    link = await identity.link_for(client, tenant, KIM, purpose="reset")
    assert link.code
    answer = await identity.verify(client, **link.body, new_password=OTHER)
    assert answer.json() == {"person": None, "second_factor": None}
    assert "__Host-tally_session" not in client.cookies
    assert (await kim.get("/api/v1/identity/me")).status_code == 401
    assert said(await by_password(identity, tenant)) == NOT_ACCEPTED
    assert (await by_password(identity, tenant, password=OTHER)).status_code == 200
    for kind in ("requested", "completed"):
        (event,) = await identity.events(tenant.id, f"identity.password.reset_{kind}")
        assert event.data.ip is not None  # type: ignore[attr-defined]
    assert KIM not in str(await identity.events(tenant.id))


@pytest.mark.control("AC-06")
@pytest.mark.control("X-01")
async def test_a_new_password_by_mail_does_not_pass_the_second_factor(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    await policy(identity, admin, passwords=True)
    link = await identity.link_for(client := identity.client(), tenant, purpose="reset")
    assert (await identity.verify(client, **link.body, new_password=GOOD)).status_code == 200
    assert (await admin.get("/api/v1/identity/me")).status_code == 401
    answer = await by_password(identity, tenant, tenant.admin_email)
    assert answer.json()["second_factor"] == "show"


@pytest.mark.control("AC-06")
async def test_of_two_new_passwords_at_once_exactly_one_is_set(
    identity: Identity, identity_with: StartIdentity
) -> None:
    async with identity_with({}) as replica:
        tenant, _, _ = await candidate(identity)
        client = identity.client()
        link = await identity.link_for(client, tenant, KIM, purpose="reset")
        cookie = {"Cookie": f"__Host-tally_login={client.cookies['__Host-tally_login']}"}
        passwords = [f"{OTHER} {number}" for number in range(4)]
        answers = await asyncio.gather(
            *(
                at.client().post("/api/v1/auth/verify", json={**link.body, "new_password": new}, headers=cookie)
                for at, new in zip([identity, replica] * 2, passwords, strict=True)
            )
        )
        won = [new for one, new in zip(answers, passwords, strict=True) if one.status_code == 200]
        assert sorted(one.status_code for one in answers) == [200, 401, 401, 401]
        assert (await by_password(identity, tenant, password=won[0])).status_code == 200
        assert len(await identity.events(tenant.id, "identity.password.reset_completed")) == 1


@pytest.mark.control("AC-06")
@pytest.mark.control("X-03")
async def test_a_link_that_sets_a_password_is_good_for_that_alone_once_and_for_ten_minutes(identity: Identity) -> None:
    tenant, _, _ = await candidate(identity)
    client, other = identity.client(), identity.client()
    sign_in = await identity.link_for(client, tenant, KIM)
    assert said(await identity.verify(client, **sign_in.body, new_password=OTHER)) == (401, "link_not_accepted")
    older = await identity.link_for(client, tenant, KIM, purpose="reset")
    assert said(await identity.verify(client, **older.body)) == (401, "link_not_accepted")
    assert said(await identity.verify(client, code=older.code)) == (401, "code_not_accepted")
    assert said(await identity.verify(other, **older.body, new_password=OTHER)) == (401, "code_required")
    newer = await identity.link_for(client, tenant, KIM, purpose="reset")
    assert said(await identity.verify(client, **older.body, new_password=OTHER)) == (401, "link_not_accepted")
    identity.clock.ahead += timedelta(minutes=10, seconds=1)
    assert said(await identity.verify(client, **newer.body, new_password=OTHER)) == (401, "link_not_accepted")
    identity.clock.ahead -= timedelta(minutes=10, seconds=1)
    done = await identity.verify(other, **newer.body, code=newer.code, new_password=OTHER)
    assert done.status_code == 200, "in another browser with the code"
    assert said(await identity.verify(other, **newer.body, code=newer.code, new_password=GOOD))[0] == 401


@pytest.mark.control("AC-06")
async def test_the_fourth_mail_of_an_hour_is_refused_whoever_has_the_address(strict_identity: Identity) -> None:
    identity = strict_identity
    tenant = await identity.new_tenant()
    for email in (tenant.admin_email, "nobody@nowhere.example"):
        asked = [await identity.ask_for_link(identity.client(), tenant, email, purpose="reset") for _ in range(4)]
        assert [one.status_code for one in asked] == [202, 202, 202, 429]
    assert (await identity.ask_for_link(identity.client(), tenant, tenant.admin_email)).status_code == 202


async def test_where_there_are_no_passwords_no_mail_sets_one(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    asked = await identity.ask_for_link(identity.client(), tenant, tenant.admin_email, purpose="reset")
    assert asked.status_code == 202
    await identity.send_mail()
    assert [one for one in identity.links() if one.slug == tenant.slug] == []
    assert len(await identity.events(tenant.id, "identity.password.reset_requested")) == 1


async def test_somebody_disabled_or_deleted_knows_no_password(identity: Identity) -> None:
    tenant, admin, _ = await candidate(identity)
    people = (await admin.get("/api/v1/identity/people")).json()["people"]
    kim = next(one["id"] for one in people if one["email"] == KIM)
    await identity.command(admin, "POST", f"identity/people/{kim}/disable")
    assert said(await by_password(identity, tenant)) == NOT_ACCEPTED
    await identity.command(admin, "POST", f"identity/people/{kim}/enable")
    assert (await by_password(identity, tenant)).status_code == 200


@pytest.mark.control("EV-23c")
@pytest.mark.parametrize(
    "body",
    [
        b'{"tenant": "t", "email": "a@b.example"}',
        b'{"tenant": "t", "email": "a@b.example", "password": ""}',
        b'{"tenant": "t", "email": "a@b.example", "password": "\\ud800abcdefgh"}',
        b'{"tenant": "t", "email": "no address", "password": "abcdefgh"}',
        b'{"tenant": "t", "email": "a@b.example", "password": "' + b"x" * 129 + b'"}',
        b'{"tenant": "t", "email": "a@b.example", "password": "abcdefgh", "code": "123456"}',
        b'{"tenant": "t", "email": "a@b.example", "password": "abcdefgh", "new_password": "abcdefgh"}',
    ],
)
async def test_bad_input_is_a_problem(identity: Identity, body: bytes) -> None:
    async with identity.client() as client:
        answer = await client.post("/api/v1/auth/verify", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"
