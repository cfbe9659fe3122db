"""A process that is killed before any one statement of a sign-in leaves nothing half done.

Each flow is run again and again, cut off before its first statement, its second, and so on, until it gets through. What
a cut-off run left must be what was there before; and the very same proof must then still be good.
"""

from __future__ import annotations

import gc
import warnings
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest
from bendable_provider import BendableProvider
from software_authenticator import SoftwareAuthenticator
from sqlalchemy import event, text
from tallystick_chassis.budgets import (
    FACTOR_PAIR,
    FACTOR_PERSON,
    FAILURES_ACCOUNT,
    FAILURES_PAIR,
    LINK_RECIPIENT,
)
from tallystick_chassis.ids import new_id
from tallystick_chassis.service import Principal
from tallystick_contracts.generated.identity import MagicLinkRejection
from tallystick_identity.factors.proving import Proving
from tallystick_identity.factors.webauthn_json import NewPasskey, UsedPasskey, creation_options, request_options
from tallystick_identity.people.store import find_by_ref
from tallystick_identity.request_edge import Origin, Visit
from tallystick_identity.sessions.domain import parse_refresh_token
from tallystick_identity.sign_in.commands import Presented
from tallystick_identity.sign_in.domain import Purpose, parse_binding
from tallystick_identity.sso.commands import Answer
from tallystick_identity.tenants.commands import set_sign_in_policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tallystick_chassis.transaction import Transaction
    from tallystick_identity.factors.passkeys import Creation
    from tallystick_identity.sessions.domain import Session
    from tallystick_identity.sign_in.domain import Binding

    from conftest import Authenticator, Identity, Link, StartIdentity, Tenant

T = TypeVar("T")
GOOD, OTHER = "correct horse battery staple", "a parrot on a unicycle"
VISIT = Visit(Origin("203.0.113.9", "Test"), correlation=new_id().hex)
STATE = (
    "select count(*), max(token_version) from identity.people",
    "select count(*), count(ended_at), string_agg(encode(refresh_hash, 'hex'), '' order by id) from identity.sessions",
    "select count(*), count(consumed_at), sum(code_tries) from identity.login_requests",
    "select count(*), max(hash), max(set_at::text) from identity.passwords",
    "select count(*), count(active_at), max(last_step), max(sign_count) from identity.second_factors",
    "select count(*) from identity.recovery_codes",
    "select count(*) from identity.passkey_challenges",
    "select count(*) from identity.events",
)

pytestmark = [pytest.mark.control("EV-21d"), pytest.mark.control("AC-06")]


class Killed(BaseException):
    """The process is gone: no handler catches this."""


class Guillotine:
    """Cuts a run off before its ``at``-th statement, on whichever connection."""

    def __init__(self) -> None:
        self.at = 0
        self._seen = 0
        self._armed = False

    @contextmanager
    def armed(self, at: int) -> Iterator[None]:
        self.at, self._seen, self._armed = at, 0, True
        try:
            yield
        finally:
            self._armed = False

    def __call__(self, *_statement: object) -> None:
        if self._armed:
            self._seen += 1
            if self._seen >= self.at:
                raise Killed


@pytest.fixture
async def identity(identity_with: StartIdentity) -> AsyncIterator[Identity]:
    guessed = (FAILURES_PAIR, FAILURES_ACCOUNT, FACTOR_PAIR, FACTOR_PERSON)
    limits = {budget.name: 10_000 for budget in guessed} | {LINK_RECIPIENT.name: 100}
    async with identity_with(limits, TALLY_SSO_INTERNAL_HOSTS="127.0.0.1") as running:
        yield running
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a kill leaves its connections open
        gc.collect()


@pytest.fixture
def guillotine(identity: Identity) -> Iterator[Guillotine]:
    knife = Guillotine()
    engines = [one.engine.sync_engine for one in (identity.runtime.database, identity.parts.keys._database)]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", knife)
        event.listen(engine, "commit", knife)
    yield knife
    for engine in engines:
        event.remove(engine, "before_cursor_execute", knife)
        event.remove(engine, "commit", knife)


async def state(identity: Identity, tenant: Tenant) -> list[object]:
    async with identity.transaction(tenant.id) as tx:
        return [tuple((await tx.execute(text(one))).one()) for one in STATE]


async def cut_everywhere(
    identity: Identity, tenant: Tenant, guillotine: Guillotine, run: Callable[[], Awaitable[object]]
) -> int:
    """Cut ``run`` off before each statement, then let it through; return how many places there were."""
    before = await state(identity, tenant)
    for at in range(1, 400):
        try:
            with guillotine.armed(at):
                await run()
        except Killed:
            assert await state(identity, tenant) == before, f"cut off before statement {at}"
        else:
            assert await state(identity, tenant) != before
            return at - 1
    pytest.fail("it never gets through")


async def asked(identity: Identity, tenant: Tenant, purpose: str = "sign_in") -> tuple[Link, Binding]:
    client = identity.client()
    link = await identity.link_for(client, tenant, purpose=purpose)
    binding = parse_binding(client.cookies["__Host-tally_login"])
    assert binding is not None
    return link, binding


async def with_password(identity: Identity) -> Tenant:
    tenant = await identity.new_tenant()
    async with identity.transaction(tenant.id) as tx:
        await set_sign_in_policy(tx, passwords=True)
    link, binding = await asked(identity, tenant, "reset")
    await identity.parts.passwords.reset(VISIT, **link.body, new=GOOD, binding=binding)
    return tenant


@pytest.mark.control("EV-21a")
async def test_a_link(identity: Identity, guillotine: Guillotine) -> None:
    tenant = await identity.new_tenant()
    link, binding = await asked(identity, tenant)
    door = identity.parts.door
    places = await cut_everywhere(
        identity, tenant, guillotine, lambda: door.follow_link(VISIT, **link.body, binding=binding)
    )
    assert places > 10
    assert len(await identity.events(tenant.id, "identity.session.created")) == 1


@pytest.mark.control("X-02")
async def test_a_code(identity: Identity, guillotine: Guillotine) -> None:
    tenant = await identity.new_tenant()
    link, binding = await asked(identity, tenant)
    door = identity.parts.door
    run = cut_everywhere(identity, tenant, guillotine, lambda: door.type_code(VISIT, code=link.code, binding=binding))
    assert await run > 10


@pytest.mark.control("AC-01")
async def test_a_password(identity: Identity, guillotine: Guillotine) -> None:
    tenant = await with_password(identity)
    by_password = identity.parts.by_password

    async def sign_in() -> object:
        return await by_password.sign_in(VISIT, slug=tenant.slug, email=tenant.admin_email, password=GOOD)

    assert await cut_everywhere(identity, tenant, guillotine, sign_in) > 15


async def test_a_new_password_by_mail(identity: Identity, guillotine: Guillotine) -> None:
    tenant = await with_password(identity)
    link, binding = await asked(identity, tenant, "reset")
    passwords = identity.parts.passwords
    reset = cut_everywhere(
        identity, tenant, guillotine, lambda: passwords.reset(VISIT, **link.body, new=OTHER, binding=binding)
    )
    assert await reset > 15
    assert len(await identity.events(tenant.id, "identity.password.reset_completed")) == 2


async def test_a_changed_password(identity: Identity, guillotine: Guillotine) -> None:
    tenant = await with_password(identity)
    link, binding = await asked(identity, tenant)
    signed_in = await identity.parts.door.follow_link(VISIT, **link.body, binding=binding)
    passwords, session = identity.parts.passwords, signed_in.credentials.session_ref

    async def change() -> object:
        return await passwords.change(VISIT.scope(tenant.id), session, new=OTHER, current=GOOD, origin=VISIT.origin)

    assert await cut_everywhere(identity, tenant, guillotine, change) > 15
    assert len(await identity.events(tenant.id, "identity.password.changed")) == 1


async def test_asking_for_a_mail(identity: Identity, guillotine: Guillotine) -> None:
    tenant = await identity.new_tenant()
    door = identity.parts.door

    async def ask() -> object:
        return await door.ask(VISIT, slug=tenant.slug, email=tenant.admin_email, purpose=Purpose.SIGN_IN)

    assert await cut_everywhere(identity, tenant, guillotine, ask) > 3


async def test_sending_a_mail(identity: Identity, guillotine: Guillotine) -> None:
    """A mail may go out twice; its request is recorded once, and the last one's link is good."""
    tenant = await identity.new_tenant()
    client = identity.client()
    assert (await identity.ask_for_link(client, tenant, tenant.admin_email)).status_code == 202
    for at in range(1, 60):
        identity.clock.ahead += timedelta(seconds=6)
        try:
            with guillotine.armed(at):
                await identity.send_mail()
        except Killed:
            continue
        break
    assert at > 5
    link = [one for one in identity.links() if one.slug == tenant.slug][-1]
    assert len(await identity.events(tenant.id, "identity.magic_link.requested")) == 1
    assert (await identity.verify(client, **link.body)).status_code == 200


async def test_a_wrong_code_is_counted_or_not_answered(identity: Identity, guillotine: Guillotine) -> None:
    tenant = await identity.new_tenant()
    link, binding = await asked(identity, tenant)
    wrong = f"{(int(link.code.replace(' ', '')) + 1) % 10**6:06d}"
    sign_in, scope = identity.parts.door._sign_in, VISIT.scope(tenant.id)

    async def try_it() -> object:
        async with identity.runtime.database.transaction(scope) as tx:
            said = await sign_in.use(tx, binding.link, Presented(binding.nonce, code=wrong), origin=VISIT.origin)
        assert said is MagicLinkRejection.WRONG_CODE
        return said

    assert await cut_everywhere(identity, tenant, guillotine, try_it) > 5


class Half:
    """Somebody of staff between their two factors: a session by the link alone, and what shows the other."""

    def __init__(self, identity: Identity, tenant: Tenant, session: str, person: str) -> None:
        self.tenant, self.person, self._identity = tenant, person, identity
        self._principal = Principal(person, is_service=False, session=session)
        self._scope = VISIT.scope(tenant.id)
        parts = identity.parts
        self._proving = Proving(database=identity.runtime.database, tries=parts.tries, csrf_key=parts.settings.csrf_key)

    async def prove(self, proof: Callable[[Transaction, Session], Awaitable[Any]]) -> object:
        """Take a proof as the routes do."""
        return await self._proving.prove(self._scope, self._principal, VISIT.origin, proof)

    async def within(self, what: Callable[[Transaction, Session], Awaitable[T]]) -> T:
        """Do something in one transaction with the session."""
        async with self._identity.runtime.database.transaction(self._scope) as tx:
            return await what(tx, await self._proving.session_of(tx, self._principal))


async def half_in(identity: Identity, tenant: Tenant) -> Half:
    link, binding = await asked(identity, tenant)
    signed_in = await identity.parts.door.follow_link(VISIT, **link.body, binding=binding)
    return Half(identity, tenant, signed_in.credentials.session_ref, signed_in.person)


async def enrolled(identity: Identity) -> tuple[Half, Authenticator]:
    tenant = await identity.new_tenant()
    await identity.signed_in(tenant)
    half = await half_in(identity, tenant)
    identity.clock.ahead += timedelta(seconds=60)
    return half, identity.authenticators[half.person]


@pytest.mark.control("X-01")
async def test_a_one_time_code(identity: Identity, guillotine: Guillotine) -> None:
    half, authenticator = await enrolled(identity)
    factors, code = identity.parts.factors, authenticator.code()

    async def show(tx: Transaction, session: Session) -> object:
        return await factors.show(tx, session, code=code, origin=VISIT.origin)

    assert await cut_everywhere(identity, half.tenant, guillotine, lambda: half.prove(show)) > 15
    assert len(await identity.events(half.tenant.id, "identity.login.succeeded")) == 2


@pytest.mark.control("X-01")
async def test_a_recovery_code(identity: Identity, guillotine: Guillotine) -> None:
    half, authenticator = await enrolled(identity)
    factors, code = identity.parts.factors, authenticator.recovery_codes[0]

    async def recover(tx: Transaction, session: Session) -> object:
        return await factors.recover(tx, session, code=code, origin=VISIT.origin)

    assert await cut_everywhere(identity, half.tenant, guillotine, lambda: half.prove(recover)) > 15
    assert len(await identity.events(half.tenant.id, "identity.login.succeeded")) == 2


@pytest.mark.control("X-01")
async def test_a_new_authenticator(identity: Identity, guillotine: Guillotine) -> None:
    half = await half_in(identity, await identity.new_tenant())
    factors = identity.parts.factors
    factor = await half.within(lambda tx, session: factors.start(tx, session, label="phone"))
    pending = await half.within(lambda tx, session: factors.pending(tx, session.person, factor))
    assert pending is not None
    authenticator = identity.authenticators[half.person]
    authenticator.seed = pending.seed
    code = authenticator.code()

    async def confirm(tx: Transaction, session: Session) -> object:
        return await factors.confirm(tx, session, factor, code=code, origin=VISIT.origin)

    assert await cut_everywhere(identity, half.tenant, guillotine, lambda: half.prove(confirm)) > 20
    assert len(await identity.events(half.tenant.id, "identity.mfa.enrolled")) == 1


@pytest.mark.control("X-01")
async def test_a_passkey(identity: Identity, guillotine: Guillotine) -> None:
    passkeys = identity.parts.passkeys
    half = await half_in(identity, await identity.new_tenant())
    device = SoftwareAuthenticator(passkeys.party.origins[0])
    factor = await half.within(lambda tx, session: passkeys.start(tx, session, label="phone"))

    async def creation(tx: Transaction, session: Session) -> Creation:
        person = await find_by_ref(tx, session.person)
        assert person is not None
        found = await passkeys.creation(tx, person, factor)
        assert found is not None
        return found

    made = device.create(as_sent(creation_options(passkeys.party, await half.within(creation))))
    attestation = msgspec.convert(made, NewPasskey).read()

    async def confirm(tx: Transaction, session: Session) -> object:
        return await passkeys.confirm(tx, session, factor, attestation=attestation, origin=VISIT.origin)

    assert await cut_everywhere(identity, half.tenant, guillotine, lambda: half.prove(confirm)) > 20

    scope = VISIT.scope(half.tenant.id)
    async with identity.runtime.database.transaction(scope) as tx:
        challenge, ticket = await passkeys.ask_to_sign_in(tx)
    used = msgspec.convert(device.get(as_sent(request_options(passkeys.party, challenge))), UsedPasskey).read()

    async def sign_in() -> object:
        async with identity.runtime.database.transaction(scope) as tx:
            return await passkeys.sign_in(tx, ticket, assertion=used, origin=VISIT.origin)

    assert await cut_everywhere(identity, half.tenant, guillotine, sign_in) > 10
    assert len(await identity.events(half.tenant.id, "identity.login.succeeded")) == 2


def as_sent(options: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(options))


@pytest.mark.control("X-04")
async def test_a_refresh(identity: Identity, guillotine: Guillotine) -> None:
    tenant = await identity.new_tenant()
    link, binding = await asked(identity, tenant)
    signed_in = await identity.parts.door.follow_link(VISIT, **link.body, binding=binding)
    presented = parse_refresh_token(signed_in.credentials.refresh_token)
    assert presented is not None

    async def refresh() -> object:
        async with identity.runtime.database.transaction(VISIT.scope(tenant.id)) as tx:
            credentials = await identity.parts.sessions.refresh(tx, presented)
        assert credentials is not None
        return credentials

    assert await cut_everywhere(identity, tenant, guillotine, refresh) > 5
    assert (await refresh()).refresh_token == (await refresh()).refresh_token, "its lost answer is repeated"  # type: ignore[attr-defined]


@pytest.mark.control("X-06")
async def test_a_providers_answer(identity: Identity, guillotine: Guillotine) -> None:
    """It is used up by the first who brings it, so whoever was cut off begins anew; and nobody is there by halves."""
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    claims = {"email": "kim@people.example", "email_verified": True, "name": "Kim Learner"}
    async with BendableProvider(claims=claims) as provider:
        body = {
            "issuer": provider.issuer,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "enabled": True,
            "domains": ["people.example"],
            "creates_accounts": True,
        }
        assert (await identity.command(admin, "PUT", "identity/sso", body)).status_code == 200
        sso, scope, back = identity.parts.sso.single_sign_on, VISIT.scope(tenant.id), "https://identity.example/back"

        async def sign_in() -> object:
            begun = await sso.begin(scope, redirect_uri=back, fresh=False)
            given = provider.authorize(begun.address)
            answer = Answer(given["state"], given["code"], given["iss"], "")
            return await sso.finish(scope, answer, secret=begun.secret, redirect_uri=back, origin=VISIT.origin)

        assert await cut_everywhere(identity, tenant, guillotine, sign_in) > 25
    assert len(await identity.events(tenant.id, "identity.user.created")) == 2
    assert len(await identity.events(tenant.id, "identity.sso.linked")) == 1
