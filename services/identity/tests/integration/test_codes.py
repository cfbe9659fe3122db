"""The code in the mail: for whoever opens the mail on another device than the one on which they want to sign in."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tallystick_chassis.budgets import CODE_ACCOUNT, FAILURES_ADDRESS, LINK_RECIPIENT
from tallystick_contracts.generated.identity import MagicLinkRejected, MagicLinkRejection
from tallystick_contracts.topology import ServiceName
from tallystick_identity.sign_in.domain import MAX_CODE_TRIES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx
    from tallystick_cli.stack.temporary import Databases

    from conftest import Identity, Link, StartIdentity, Tenant


def _wrong(code: str) -> str:
    return f"{(int(code.replace(' ', '')) + 1) % 10**6:06d}"


def _said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


NOT_ACCEPTED = (401, "code_not_accepted")


async def _reasons(identity: Identity, tenant: Tenant) -> list[MagicLinkRejection]:
    rejected = await identity.events(tenant.id, "identity.magic_link.rejected")
    return [event.data.reason for event in rejected if isinstance(event.data, MagicLinkRejected)]


@pytest.mark.control("X-02")
@pytest.mark.control("EV-21a")
async def test_the_code_typed_where_it_was_asked_for_signs_in_once(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    link = await identity.link_for(client, tenant)
    cookie = {"Cookie": f"__Host-tally_login={client.cookies['__Host-tally_login']}"}
    answer = await identity.verify(client, code=link.code)
    assert (answer.status_code, answer.json()["second_factor"]) == (200, "enrol")
    assert len(await identity.events(tenant.id, "identity.magic_link.consumed")) == 1
    for proof in ({"code": link.code}, link.body):
        again = await identity.client().post("/api/v1/auth/verify", json=proof, headers=cookie)
        assert again.status_code == 401
    assert await _reasons(identity, tenant) == [MagicLinkRejection.REPLAYED] * 2


@pytest.mark.control("X-02")
async def test_in_another_browser_the_link_asks_for_the_code_of_its_mail(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    link = await identity.link_for(identity.client(), tenant)
    other = identity.client()
    assert _said(await identity.verify(other, **link.body)) == (401, "code_required")
    assert _said(await identity.verify(other, **link.body, code=_wrong(link.code))) == NOT_ACCEPTED
    assert not other.cookies
    assert (await identity.verify(other, **link.body, code=link.code)).status_code == 200
    assert await _reasons(identity, tenant) == [MagicLinkRejection.OTHER_BROWSER, MagicLinkRejection.WRONG_CODE]


@pytest.mark.control("X-02")
async def test_the_code_alone_is_worth_nothing_in_another_browser(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    link = await identity.link_for(identity.client(), tenant)
    other = identity.client()
    assert _said(await identity.verify(other, code=link.code)) == NOT_ACCEPTED
    await identity.ask_for_link(other, tenant, "nobody@nowhere.example")
    assert _said(await identity.verify(other, code=link.code)) == NOT_ACCEPTED


@pytest.mark.control("EV-21d")
async def test_a_code_does_not_tell_whether_anybody_has_the_address(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    known, unknown, nowhere = identity.client(), identity.client(), identity.client()
    link = await identity.link_for(known, tenant)
    await identity.ask_for_link(unknown, tenant, "nobody@nowhere.example")
    await nowhere.post("/api/v1/auth/login", json={"tenant": "no-such-tenant", "email": "a@b.example"})
    await identity.send_mail()

    def shape(answer: httpx.Response) -> tuple[object, ...]:
        body = answer.json()
        body.pop("correlation_id")
        return answer.status_code, body, sorted(answer.headers)

    for _ in range(MAX_CODE_TRIES + 1):
        answers = [await identity.verify(one, code=_wrong(link.code)) for one in (known, unknown, nowhere)]
        assert shape(answers[0]) == shape(answers[1]) == shape(answers[2])


@pytest.mark.control("AC-02")
async def test_after_five_wrong_codes_the_right_one_is_wrong_too_and_the_link_is_good(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    link = await identity.link_for(client, tenant)
    cookie = {"Cookie": f"__Host-tally_login={client.cookies['__Host-tally_login']}"}
    wrong = [
        identity.client().post("/api/v1/auth/verify", json={"code": _wrong(link.code)}, headers=cookie)
        for _ in range(MAX_CODE_TRIES)
    ]
    assert {_said(one) for one in await asyncio.gather(*wrong)} == {NOT_ACCEPTED}
    assert _said(await identity.verify(client, code=link.code)) == NOT_ACCEPTED
    assert (await identity.verify(client, **link.body)).status_code == 200


@pytest.mark.control("AC-02")
async def test_an_account_bears_twenty_wrong_codes_a_day(identity_with: StartIdentity) -> None:
    limits = {CODE_ACCOUNT.name: 6, LINK_RECIPIENT.name: 100, FAILURES_ADDRESS.name: 1000}
    assert (CODE_ACCOUNT.limit, CODE_ACCOUNT.window_s) == (20, 86_400)
    async with identity_with(limits) as identity:
        tenant = await identity.new_tenant()
        for tries in (5, 2):
            client = identity.client()
            link = await identity.link_for(client, tenant)
            for _ in range(tries):
                assert _said(await identity.verify(client, code=_wrong(link.code))) == NOT_ACCEPTED
        assert _said(await identity.verify(client, code=link.code)) == NOT_ACCEPTED
        assert (await identity.verify(client, **link.body)).status_code == 200, "no stranger's guess spoils the link"
        identity.clock.ahead += timedelta(days=1)
        later = identity.client()
        link = await identity.link_for(later, tenant)
        assert (await identity.verify(later, code=link.code)).status_code == 200


@pytest.mark.control("AC-02")
@pytest.mark.control("EV-21c")
async def test_whoever_guesses_codes_of_many_accounts_waits(databases: Databases, identity_with: StartIdentity) -> None:
    databases.migrate(ServiceName.IDENTITY)
    async with identity_with({FAILURES_ADDRESS.name: 3}, databases) as identity:
        tenant = await identity.new_tenant()
        for number in range(3):
            client = identity.client()
            await identity.ask_for_link(client, tenant, f"p{number}@nowhere.example")
            assert _said(await identity.verify(client, code="123 456")) == NOT_ACCEPTED
        refused = await identity.verify(client, code="123 456")
        assert _said(refused) == (429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 900
        link = await identity.link_for(client, tenant)
        assert (await identity.verify(client, **link.body)).status_code == 200, "a link is not guessed"


@pytest.mark.control("AC-06")
async def test_of_a_link_and_its_code_at_once_on_two_replicas_exactly_one_wins(
    identity: Identity, identity_with: StartIdentity
) -> None:
    async with identity_with({}) as replica:
        tenant = await identity.new_tenant()
        client = identity.client()
        link = await identity.link_for(client, tenant)
        cookie = {"Cookie": f"__Host-tally_login={client.cookies['__Host-tally_login']}"}

        def prove(at: Identity, proof: dict[str, str]) -> Awaitable[httpx.Response]:
            return at.client().post("/api/v1/auth/verify", json=proof, headers=cookie)

        proofs = ({"code": link.code}, link.body)
        answers = await asyncio.gather(*(prove(at, proof) for proof in proofs for at in (identity, replica)))
        assert sorted(one.status_code for one in answers) == [200, 401, 401, 401]
        assert len(await identity.events(tenant.id, "identity.session.created")) == 1


@pytest.mark.control("X-03")
async def test_a_code_expires_after_ten_minutes_and_with_a_newer_request(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    first, second = identity.client(), identity.client()
    older, newer = await identity.link_for(first, tenant), await identity.link_for(second, tenant)
    assert _said(await identity.verify(first, code=older.code)) == NOT_ACCEPTED
    identity.clock.ahead += timedelta(minutes=10, seconds=1)
    assert _said(await identity.verify(second, code=newer.code)) == NOT_ACCEPTED
    assert await _reasons(identity, tenant) == [MagicLinkRejection.EXPIRED] * 2


@pytest.mark.control("X-08")
async def test_the_code_stands_in_the_mail_and_not_in_its_subject_or_link(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    link = await identity.link_for(identity.client(), tenant)
    message = identity.inbox.messages[-1]
    digits = link.code.replace(" ", "")
    assert digits not in str(message["Subject"])
    assert digits not in link.page


TAMPERED: dict[str, Callable[[str], str]] = {
    "nothing": lambda _: "",
    "the nonce alone": lambda good: good.partition(".")[2],
    "no nonce": lambda good: good.partition(".")[0] + ".",
    "another nonce": lambda good: good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"),
    "another request": lambda good: "A" * 43 + "." + good.partition(".")[2],
    "twice": lambda good: f"{good}.{good}",
    "too long": lambda good: good + "A" * 3_000,
    "not base64": lambda good: "%" + good[1:],
}


@pytest.mark.control("X-02")
@pytest.mark.parametrize("how", TAMPERED)
async def test_a_cookie_that_is_not_the_one_given_binds_nothing(identity: Identity, how: str) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    link: Link = await identity.link_for(client, tenant)
    bad = {"Cookie": f"__Host-tally_login={TAMPERED[how](client.cookies['__Host-tally_login'])}"}
    by_code = await identity.client().post("/api/v1/auth/verify", json={"code": link.code}, headers=bad)
    by_link = await identity.client().post("/api/v1/auth/verify", json=link.body, headers=bad)
    assert (_said(by_code), _said(by_link)) == (NOT_ACCEPTED, (401, "code_required"))
    assert (await identity.verify(client, **link.body)).status_code == 200


@pytest.mark.control("EV-23c")
@pytest.mark.parametrize(
    "change",
    [
        {"request_id": ""},
        {"request_id": "x" * 65},
        {"request_id": "é" * 43},
        {"token": ""},
        {"token": "x" * 129},
        {"token": None},
        {"code": "12345"},
        {"code": "1234567"},
        {"code": "\u0661\u0662\u0663\u0664\u0665\u0666"},  # digits of another script
        {"tenant": "aurora"},
        {"password": "a password beside a link"},
        {"purpose": "reset"},
    ],
)
async def test_what_is_no_proof_is_a_problem_and_uses_nothing_up(
    identity: Identity, change: dict[str, str | None]
) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    link = await identity.link_for(client, tenant)
    body = {name: value for name, value in {**link.body, **change}.items() if value is not None}
    answer = await client.post("/api/v1/auth/verify", json=body)
    assert answer.status_code in {400, 401, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await identity.verify(client, **link.body)).status_code == 200
