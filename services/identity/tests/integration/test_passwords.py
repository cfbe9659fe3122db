"""Passwords: where a tenant wants them, and never instead of a second factor."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import bcrypt
import pytest
from sqlalchemy import text
from tallystick_chassis.budgets import FAILURES_ACCOUNT, FAILURES_ADDRESS, FAILURES_EVERYBODY
from tallystick_contracts.generated.identity import (
    AccountLocked,
    LoginFailed,
    LoginFailure,
    LoginSucceeded,
    SignInPolicyChanged,
)
from tallystick_contracts.topology import ServiceName
from tallystick_identity.passwords.sign_in import FAILURE_TAKES_S

if TYPE_CHECKING:
    import httpx
    from tallystick_cli.stack.temporary import Databases

    from conftest import Identity, StartIdentity, Tenant

GOOD = "correct horse battery staple"
OTHER = "a parrot on a unicycle"
NOT_ACCEPTED = (401, "password_not_accepted")
KIM = "kim@people.example"


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


async def policy(identity: Identity, admin: httpx.AsyncClient, *, passwords: bool) -> httpx.Response:
    return await identity.command(admin, "PUT", "identity/sign-in-policy", {"passwords": passwords})


async def set_password(
    identity: Identity, client: httpx.AsyncClient, new: str, current: str | None = None
) -> httpx.Response:
    body = {"new_password": new} if current is None else {"new_password": new, "current_password": current}
    answer = await identity.command(client, "PUT", "auth/password", body)
    client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
    return answer


async def by_password(
    identity: Identity, tenant: Tenant, email: str = KIM, password: str = GOOD, client: httpx.AsyncClient | None = None
) -> httpx.Response:
    browser = client or identity.client()
    return await identity.verify(browser, tenant=tenant.slug, email=email, password=password)


async def candidate(identity: Identity) -> tuple[Tenant, httpx.AsyncClient, httpx.AsyncClient]:
    """Return a tenant with passwords, its administrator, and Kim, who is no staff and has set a password."""
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    assert (await policy(identity, admin, passwords=True)).status_code == 200
    await identity.new_person(admin, KIM)
    kim = await identity.signed_in(tenant, KIM)
    answer = await set_password(identity, kim, GOOD)
    assert answer.status_code == 200, answer.text
    return tenant, admin, kim


def elsewhere(identity: Identity, number: int) -> httpx.AsyncClient:
    """Return a browser at another address."""
    import httpx as http  # noqa: PLC0415

    transport = http.ASGITransport(app=identity.app, client=(f"203.0.113.{number}", 1))
    return http.AsyncClient(transport=transport, base_url="https://identity.example", headers={"User-Agent": "Test"})


async def stored_hash(identity: Identity, tenant: Tenant) -> list[str]:
    async with identity.transaction(tenant.id) as tx:
        return list((await tx.execute(text("select hash from identity.passwords"))).scalars())


async def reasons(identity: Identity, tenant: Tenant) -> list[LoginFailure]:
    failed = [one.data for one in await identity.events(tenant.id, "identity.login.failed")]
    return [one.reason for one in failed if isinstance(one, LoginFailed)]


@pytest.mark.control("AC-01")
@pytest.mark.control("AU-01")
async def test_a_person_signs_in_by_password_and_only_its_hash_is_stored(identity: Identity) -> None:
    tenant, _, _ = await candidate(identity)
    client = identity.client()
    answer = await by_password(identity, tenant, client=client)
    assert (answer.status_code, answer.json()["second_factor"]) == (200, None)
    assert (await client.get("/api/v1/identity/me")).status_code == 200
    (hashed,) = await stored_hash(identity, tenant)
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    login = (await identity.events(tenant.id, "identity.login.succeeded"))[-1].data
    assert isinstance(login, LoginSucceeded)
    assert None not in {login.ip, login.user_agent}
    async with identity.transaction(tenant.id) as tx:
        dump = ""
        for table in ("passwords", "idempotency", "events", "sessions"):
            dump += "".join(str(tuple(row)) for row in await tx.execute(text(f"select * from identity.{table}")))  # noqa: S608 - our tables
    assert GOOD not in dump


@pytest.mark.control("X-01")
async def test_staff_who_know_their_password_still_need_their_second_factor(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    await policy(identity, admin, passwords=True)
    assert (await set_password(identity, admin, GOOD)).status_code == 200
    assert (await admin.get("/api/v1/identity/people")).status_code == 200, "the new session is whole as the old was"
    client = identity.client()
    answer = await by_password(identity, tenant, tenant.admin_email, client=client)
    assert (answer.status_code, answer.json()["second_factor"]) == (200, "show")
    for path in ("identity/people", "identity/me", "auth/password"):
        assert said(await client.get(f"/api/v1/{path}")) == (403, "second_factor_required"), path
    refused = await set_password(identity, client, OTHER, GOOD)
    assert said(refused) == (403, "second_factor_required")
    authenticator = identity.authenticators[answer.json()["person"]]
    shown = await authenticator.show(client, authenticator.recovery_codes.pop(), method="recovery")
    assert shown.status_code == 200
    assert (await client.get("/api/v1/identity/people")).status_code == 200


@pytest.mark.control("EV-21d")
@pytest.mark.control("AC-02")
async def test_every_refusal_reads_and_takes_the_same(identity: Identity) -> None:
    tenant, admin, _ = await candidate(identity)
    await identity.new_person(admin, "none@people.example")  # who has no password
    hashed = bcrypt.hashpw(GOOD.encode(), bcrypt.gensalt(12)).decode()
    rows = [{"org_unit": "", "email": "old@people.example", "display_name": "Old", "password_hash": hashed}]
    assert (await identity.command(admin, "POST", "identity/imports", {"rows": rows})).status_code == 201
    shapes, loop = set(), asyncio.get_running_loop()
    for slug, email in (
        (tenant.slug, KIM),
        (tenant.slug, "old@people.example"),
        (tenant.slug, "none@people.example"),
        (tenant.slug, "nobody@people.example"),
        ("no-such-tenant", KIM),
        ("Not a slug!", KIM),
    ):
        async with identity.client() as client:
            started = loop.time()
            answer = await identity.verify(client, tenant=slug, email=email, password=OTHER)
            assert loop.time() - started >= FAILURE_TAKES_S
            assert not client.cookies
        body = {name: value for name, value in answer.json().items() if name != "correlation_id"}
        shapes.add((answer.status_code, str(body), str(sorted(answer.headers))))
    assert len(shapes) == 1
    assert await reasons(identity, tenant) == [LoginFailure.BAD_CREDENTIAL] * 3 + [LoginFailure.UNKNOWN_PERSON]
    for event in await identity.events(tenant.id, "identity.login.failed"):
        assert isinstance(event.data, LoginFailed)
        assert None not in {event.data.ip, event.data.login_name}


@pytest.mark.control("AC-01")
async def test_an_imported_bcrypt_hash_signs_in_and_is_argon2id_from_then_on(identity: Identity) -> None:
    tenant, admin, _ = await candidate(identity)
    hashed = bcrypt.hashpw(OTHER.encode(), bcrypt.gensalt(12)).decode()
    row = {"org_unit": "", "email": "old@people.example", "display_name": "Old", "password_hash": hashed}
    weak = {**row, "password_hash": bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()}
    assert (await identity.command(admin, "POST", "identity/imports", {"rows": [weak]})).status_code == 400
    assert (await identity.command(admin, "POST", "identity/imports", {"rows": [row]})).status_code == 201
    assert said(await by_password(identity, tenant, "old@people.example", GOOD)) == NOT_ACCEPTED
    assert hashed in await stored_hash(identity, tenant)
    logins = [by_password(identity, tenant, "old@people.example", OTHER) for _ in range(2)]
    assert 200 in {one.status_code for one in await asyncio.gather(*logins)}
    assert all(one.startswith("$argon2id$") for one in await stored_hash(identity, tenant))
    assert (await by_password(identity, tenant, "old@people.example", OTHER)).status_code == 200


@pytest.mark.control("AC-02")
async def test_five_failures_lock_the_address_out_and_not_the_owner_elsewhere(identity: Identity) -> None:
    tenant, _, _ = await candidate(identity)
    for _ in range(5):
        assert said(await by_password(identity, tenant, password=OTHER)) == NOT_ACCEPTED
    assert said(await by_password(identity, tenant)) == NOT_ACCEPTED
    (locked,) = await identity.events(tenant.id, "identity.account.locked")
    assert isinstance(locked.data, AccountLocked)
    assert (locked.data.budget, locked.data.ip is not None) == ("failures.pair", True)
    assert (await reasons(identity, tenant))[-1] is LoginFailure.RATE_LIMITED
    assert (await by_password(identity, tenant, client=elsewhere(identity, 7))).status_code == 200
    assert said(await by_password(identity, tenant)) == NOT_ACCEPTED, "the stranger's address stays locked"


@pytest.mark.control("AC-02")
async def test_a_lock_ends_after_a_quarter_of_an_hour(identity: Identity) -> None:
    tenant, _, _ = await candidate(identity)
    await asyncio.gather(*(by_password(identity, tenant, password=OTHER) for _ in range(6)))
    assert said(await by_password(identity, tenant)) == NOT_ACCEPTED
    identity.clock.ahead += timedelta(minutes=15)
    assert (await by_password(identity, tenant)).status_code == 200


@pytest.mark.control("AC-02")
async def test_two_replicas_share_the_count_and_a_hundred_at_once_are_no_more_than_five(
    identity: Identity, identity_with: StartIdentity
) -> None:
    async with identity_with({}) as replica:
        tenant, _, _ = await candidate(identity)
        tries = [by_password(at, tenant, password=OTHER) for at in (identity, replica) for _ in range(5)]
        assert {said(one) for one in await asyncio.gather(*tries)} == {NOT_ACCEPTED}
        assert (await reasons(identity, tenant)).count(LoginFailure.BAD_CREDENTIAL) == 5
        assert said(await by_password(replica, tenant)) == NOT_ACCEPTED
        assert len(await identity.events(tenant.id, "identity.account.locked")) == 1


@pytest.mark.control("AC-02")
async def test_one_stranger_cannot_spend_the_accounts_day(identity_with: StartIdentity) -> None:
    async with identity_with({FAILURES_ACCOUNT.name: 8, FAILURES_ADDRESS.name: 1_000}) as identity:
        tenant, _, _ = await candidate(identity)
        await asyncio.gather(*(by_password(identity, tenant, password=OTHER) for _ in range(20)))
        assert (await by_password(identity, tenant, client=elsewhere(identity, 7))).status_code == 200


@pytest.mark.control("AC-02")
async def test_many_strangers_lock_the_account_but_not_a_browser_that_its_owner_has_used(
    identity_with: StartIdentity,
) -> None:
    async with identity_with({FAILURES_ACCOUNT.name: 4, FAILURES_ADDRESS.name: 1_000}) as identity:
        tenant, admin, _ = await candidate(identity)
        own = elsewhere(identity, 200)
        assert (await by_password(identity, tenant, client=own)).status_code == 200
        strangers = [elsewhere(identity, number) for number in range(6)]
        for one in strangers:
            assert said(await by_password(identity, tenant, password=OTHER, client=one)) == NOT_ACCEPTED
        assert said(await by_password(identity, tenant, client=elsewhere(identity, 9))) == NOT_ACCEPTED
        locked = [one.data for one in await identity.events(tenant.id, "identity.account.locked")]
        assert [one.budget for one in locked if isinstance(one, AccountLocked)] == ["failures.account"]
        thief = elsewhere(identity, 10)
        mark = own.cookies["__Host-tally_device"]
        thief.cookies.set("__Host-tally_device", mark[:-1] + ("0" if mark[-1] != "0" else "1"))
        assert said(await by_password(identity, tenant, client=thief)) == NOT_ACCEPTED
        assert (await by_password(identity, tenant, client=own)).status_code == 200
        for one in strangers:
            await by_password(identity, tenant, password=OTHER, client=one)
        people = (await admin.get("/api/v1/identity/people")).json()["people"]
        kim = next(one["id"] for one in people if one["email"] == KIM)
        unlocked = await identity.command(admin, "POST", f"identity/people/{kim}/unlock", {"reason": "it was me"})
        assert unlocked.status_code == 200
        assert (await by_password(identity, tenant, client=elsewhere(identity, 11))).status_code == 200


@pytest.mark.control("AC-02")
@pytest.mark.control("EV-21c")
@pytest.mark.parametrize("budget", [FAILURES_ADDRESS, FAILURES_EVERYBODY])
async def test_whoever_tries_one_password_on_many_accounts_waits(
    databases: Databases, identity_with: StartIdentity, budget: object
) -> None:
    databases.migrate(ServiceName.IDENTITY)
    name = budget.name  # type: ignore[attr-defined]
    async with identity_with({name: 3}, databases) as identity:
        tenant, _, _ = await candidate(identity)
        at = (elsewhere(identity, 1) for _ in range(9))
        for number in range(3):
            email = f"p{number}@people.example"
            assert said(await by_password(identity, tenant, email, client=next(at))) == NOT_ACCEPTED
        refused = await by_password(identity, tenant, client=next(at))
        assert said(refused) == (429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 900
        other = await by_password(identity, tenant, client=elsewhere(identity, 2))
        assert other.status_code == (200 if budget is FAILURES_ADDRESS else 429)
        link = await identity.link_for(client := identity.client(), tenant, KIM)
        assert (await identity.verify(client, **link.body)).status_code == 200, "a link is not guessed"


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
