"""Signing in by a password: where a tenant wants them, never instead of a second factor, and not by guessing."""

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
)
from tallystick_contracts.topology import ServiceName
from tallystick_identity.passwords.sign_in import FAILURE_TAKES_S

from .steps import (
    GOOD,
    KIM,
    NOT_ACCEPTED,
    OTHER,
    by_password,
    candidate,
    elsewhere,
    policy,
    reasons,
    said,
    set_password,
    stored_hash,
)

if TYPE_CHECKING:
    from tallystick_cli.stack.temporary import Databases

    from conftest import Identity, StartIdentity


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
