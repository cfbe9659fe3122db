"""Identity for tests: the real application on a real Postgres and a real SMTP server, with a clock that tests move."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import Message
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pyotp
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from nacl.public import PrivateKey
from tallystick_chassis.clock import utc_now
from tallystick_chassis.directory import with_directory
from tallystick_chassis.http.app import create_app
from tallystick_chassis.ids import TenantId
from tallystick_chassis.process import make_runtime
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import load_settings
from tallystick_chassis.tables import events as events_table
from tallystick_cli.stack.database_setup import run_sql
from tallystick_contracts.envelope import Event, decode_event, encode_event
from tallystick_contracts.generated.privacy import KeyMinted, PooledKey, TenantKeyMinted
from tallystick_contracts.topology import ServiceName
from tallystick_identity import app as identity_app
from tallystick_identity.bootstrap import create_first_administrator, create_tenant
from tallystick_identity.consumers import handlers
from tallystick_identity.parts import Parts, make_parts
from tallystick_identity.settings import IdentitySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from litestar import Litestar
    from tallystick_chassis.service import Runtime
    from tallystick_cli.stack.temporary import Databases, RunningServers
    from tallystick_contracts.message import EventData

StartIdentity = Callable[..., AbstractAsyncContextManager["Identity"]]
_LIMITS = "TALLY_RATE_LIMITS"
_LINK = re.compile(r"(https://\S+/sign-in/(\S+)/verify)#([^.\s]+)\.([^.\s]+)")
_CODE = re.compile(r"type ([0-9]{3} [0-9]{3})\.")
_SENDING_S = 5.0
BASE_URL = "https://identity.example"


class MovableClock:
    """The real clock, moved on by as much as a test says."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


class Inbox:
    """Receives what identity mails."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        content = envelope.content
        assert isinstance(content, bytes)
        self.messages.append(message_from_bytes(content))
        return "250 delivered"


@dataclass(frozen=True)
class Link:
    """A link as it was mailed."""

    page: str
    slug: str
    request_id: str
    token: str
    correlation: str
    code: str

    @property
    def body(self) -> dict[str, str]:
        return {"request_id": self.request_id, "token": self.token}


@dataclass(frozen=True)
class Tenant:
    """A tenant with keys and an administrator."""

    id: TenantId
    slug: str
    admin_email: str


class Authenticator:
    """Somebody's authenticator app, with the recovery codes that they kept: it enrols and shows through the routes."""

    def __init__(self, clock: MovableClock) -> None:
        self._clock = clock
        self._used_step = 0
        self.seed = ""
        self.recovery_codes: list[str] = []

    def code(self, *, steps_ahead: int = 0) -> str:
        """Return what the app shows now, or so many steps away; early enough in a step to be sent before the next."""
        if (left_s := 30 - self._clock().timestamp() % 30) < _SENDING_S:
            self._clock.ahead += timedelta(seconds=left_s)
        self._used_step = int(self._clock().timestamp()) // 30 + steps_ahead
        return pyotp.TOTP(self.seed).generate_otp(self._used_step)

    async def enrol(self, client: httpx.AsyncClient) -> httpx.Response:
        """Enrol; return the answer to the first code."""
        started = await client.post(
            "/api/v1/auth/factors", json={"kind": "totp", "label": "phone"}, headers={"Idempotency-Key": uuid4().hex}
        )
        assert started.status_code == 201, started.text
        factor = started.json()["id"]
        pending = (await client.get(f"/api/v1/auth/factors/{factor}")).json()
        self.seed, self.recovery_codes = pending["seed"], list(pending["recovery_codes"])
        return await self.send(client, f"/api/v1/auth/factors/{factor}/confirm", {"code": self.code()})

    async def complete(self, client: httpx.AsyncClient, need: str) -> None:
        """Do what the session needs. A code is good once, so somebody in a hurry takes a recovery code."""
        if need == "enrol":
            answer = await self.enrol(client)
        elif int(self._clock().timestamp()) // 30 > self._used_step:
            answer = await self.show(client, self.code())
        else:
            answer = await self.show(client, self.recovery_codes.pop(), method="recovery")
        assert answer.status_code == 200, answer.text

    async def show(self, client: httpx.AsyncClient, code: str, *, method: str = "totp") -> httpx.Response:
        """Show a code."""
        return await self.send(client, "/api/v1/auth/second-factor", {"method": method, "code": code})

    @staticmethod
    async def send(client: httpx.AsyncClient, path: str, body: dict[str, str]) -> httpx.Response:
        answer = await client.post(path, json=body, headers={"Idempotency-Key": uuid4().hex})
        client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
        return answer


@dataclass
class Identity:
    """Identity, whole but for NATS."""

    runtime: Runtime
    app: Litestar
    parts: Parts
    clock: MovableClock
    inbox: Inbox
    private_keys: dict[str, PrivateKey] = field(default_factory=dict)
    authenticators: dict[str, Authenticator] = field(init=False)

    def __post_init__(self) -> None:
        self.authenticators = defaultdict(lambda: Authenticator(self.clock))

    def client(self, **headers: str) -> httpx.AsyncClient:
        """Return a browser that has no cookies yet."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app), base_url=BASE_URL, headers={"User-Agent": "Test", **headers}
        )

    @asynccontextmanager
    async def transaction(self, tenant: UUID) -> AsyncIterator[Any]:
        async with self.runtime.database.transaction(Scope.for_duty(TenantId(tenant), "identity")) as tx:
            yield tx

    async def receive(self, tenant: UUID, data: EventData) -> None:
        """Hand an event of the privacy worker to identity's consumer, as the worker would."""
        body = encode_event(
            data, id=uuid4(), source="privacy", stream="test", stream_version=1, time=self.clock(), actor="privacy"
        )
        event = decode_event(body, tenant=tenant, source_seq=1)
        async with self.transaction(tenant) as tx:
            await with_directory(handlers(self.parts.keys))[event.type](tx, event)

    async def mint_keys(self, tenant: UUID, count: int = 20) -> None:
        pairs = {f"k_{secrets.token_hex(8)}": PrivateKey.generate() for _ in range(count)}
        self.private_keys |= pairs
        keys = [PooledKey(key_id=name, public_key=_base64(bytes(key.public_key))) for name, key in pairs.items()]
        await self.receive(tenant, KeyMinted(keys=tuple(keys)))

    async def mint_day_key(self, tenant: UUID, slug: str) -> None:
        key = self.private_keys[f"day-{slug}"] = PrivateKey.generate()
        day = self.clock().date().isoformat()
        minted = TenantKeyMinted(day=day, key_id=f"day-{slug}", public_key=_base64(bytes(key.public_key)))
        await self.receive(tenant, minted)

    async def new_tenant(self, *, keys: int = 20) -> Tenant:
        """Make a tenant with an administrator, and enough keys for ``keys`` more people."""
        slug = f"t{secrets.token_hex(6)}"
        tenant = await create_tenant(self.runtime, slug=slug, name=f"Tenant {slug}")
        await self.mint_keys(tenant, keys + 1)
        await self.mint_day_key(tenant, slug)
        email = f"admin@{slug}.example"
        await create_first_administrator(self.runtime, tenant, email=email, name="Ada Admin")
        return Tenant(tenant, slug, email)

    async def send_mail(self) -> None:
        """Let the worker's job send what is waiting."""
        mailer = identity_app._mailer(self.runtime, self.parts)
        while await mailer.send_waiting():
            pass

    async def prune(self) -> None:
        """Let the worker's job delete old requests."""
        await identity_app._mailer(self.runtime, self.parts).prune()

    async def ask_for_link(
        self, client: httpx.AsyncClient, tenant: Tenant, email: str, **fields: str
    ) -> httpx.Response:
        return await client.post("/api/v1/auth/login", json={"tenant": tenant.slug, "email": email, **fields})

    async def link_for(self, client: httpx.AsyncClient, tenant: Tenant, email: str = "", **fields: str) -> Link:
        """Ask for a link (of the administrator's) and return what was mailed."""
        asked = await self.ask_for_link(client, tenant, email or tenant.admin_email, **fields)
        assert asked.status_code == 202, asked.text
        await self.send_mail()
        return next(one for one in self.links() if one.correlation == asked.headers["X-Correlation-ID"])

    async def verify(self, client: httpx.AsyncClient, **proof: str) -> httpx.Response:
        """Prove who one is."""
        answer = await client.post("/api/v1/auth/verify", json=proof)
        if "__Host-tally_csrf" in client.cookies:
            client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
        return answer

    def links(self) -> list[Link]:
        """Return all links that were mailed, oldest first."""
        links = []
        for message in self.inbox.messages:
            payload = message.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found, code = _LINK.search(payload.decode()), _CODE.search(payload.decode())
            assert found is not None
            assert code is not None
            links.append(Link(*found.groups(), correlation=str(message["X-Correlation-ID"]), code=code.group(1)))
        return links

    async def signed_in(
        self, tenant: Tenant, email: str | None = None, *, second_factor: bool = True
    ) -> httpx.AsyncClient:
        """Return a browser in which somebody (the administrator) has signed in: by the link from the mail, and by a
        second factor where one is asked for.
        """
        client = self.client()
        link = await self.link_for(client, tenant, email or "")
        verified = await self.verify(client, **link.body)
        assert verified.status_code == 200, verified.text
        if second_factor and (need := verified.json()["second_factor"]):
            await self.authenticators[verified.json()["person"]].complete(client, need)
        return client

    async def events(self, tenant: UUID, *types: str) -> list[Event]:
        """Return the tenant's events of the given types, in the order of their storing."""
        async with self.transaction(tenant) as tx:
            rows = await tx.execute(events_table.select().order_by(events_table.c.stored_at))
            found = [decode_event(bytes(row.body)) for row in rows]
        return [event for event in found if not types or event.type in types]

    def service(self, name: str = "assessment") -> httpx.AsyncClient:
        """Return another of our services, with its token."""
        return self.client(Authorization=f"Bearer {self.parts.signer.issue_service(name)}")

    async def command(
        self, client: httpx.AsyncClient, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> httpx.Response:
        """Send an unsafe request as our own pages do, with a fresh Idempotency-Key unless one is given."""
        headers = {"Idempotency-Key": key or uuid4().hex}
        return await client.request(method, f"/api/v1/{path}", json=body, headers=headers)

    async def new_person(self, admin: httpx.AsyncClient, email: str, **fields: object) -> dict[str, str]:
        """Create a person through the API."""
        body = {"email": email, "display_name": "Some Body", **fields}
        created = await self.command(admin, "POST", "identity/people", body)
        assert created.status_code == 201, created.text
        return created.json()

    async def grant(
        self, admin: httpx.AsyncClient, person_id: str, role: str, unit: str, *, subtree: bool = False
    ) -> dict[str, str]:
        """Give a person a role by its name."""
        roles = {one["name"]: one["id"] for one in (await admin.get("/api/v1/identity/roles")).json()["roles"]}
        body = {"person_id": person_id, "role_id": roles[role], "org_unit_id": unit, "subtree": subtree}
        granted = await self.command(admin, "POST", "identity/grants", body)
        assert granted.status_code == 201, granted.text
        return granted.json()

    async def new_unit(self, admin: httpx.AsyncClient, slug: str, parent: str | None = None) -> str:
        """Create an org unit and return its id."""
        body = {"slug": slug, "name": slug.title(), "parent_id": parent}
        created = await self.command(admin, "POST", "identity/org-units", body)
        assert created.status_code == 201, created.text
        return created.json()["id"]


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.fixture(scope="session")
def identity_databases(stack: RunningServers) -> Databases:
    databases = stack.fresh_databases()
    databases.migrate(ServiceName.IDENTITY)
    return databases


@asynccontextmanager
async def running_identity(databases: Databases, **more: str) -> AsyncIterator[Identity]:
    inbox = Inbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(inbox, loop=loop), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    environment = {**databases.environment(ServiceName.IDENTITY), "TALLY_SMTP_PORT": str(port), **more}
    clock = MovableClock()
    runtime = make_runtime(identity_app.SERVICE, load_settings(IdentitySettings, environment), clock=clock)
    try:
        app = create_app(identity_app.SERVICE, runtime, identity_app.wire(runtime))
        yield Identity(runtime, app, make_parts(runtime), clock, inbox)
    finally:
        await runtime.close()
        server.close()
        await server.wait_closed()


@pytest.fixture
async def identity(identity_databases: Databases) -> AsyncIterator[Identity]:
    async with running_identity(identity_databases) as running:
        yield running


@pytest.fixture
async def empty_identity(databases: Databases) -> AsyncIterator[Identity]:
    """Identity on databases without any tenant."""
    databases.migrate(ServiceName.IDENTITY)
    async with running_identity(databases) as running:
        yield running


@pytest.fixture
async def strict_identity(identity_databases: Databases) -> AsyncIterator[Identity]:
    """Identity with the limits that it has where nothing is set, and nothing counted yet."""
    run_sql(identity_databases.servers, identity_databases.name, ["truncate identity.rate_counters"])
    async with running_identity(identity_databases, TALLY_RATE_LIMITS="") as running:
        yield running


@pytest.fixture
def identity_with(identity_databases: Databases) -> StartIdentity:
    """Start a further identity beside others, with limits of its own: ``async with identity_with(limits) as …``."""

    def start(
        limits: Mapping[str, int], databases: Databases | None = None, **more: str
    ) -> AbstractAsyncContextManager[Identity]:
        text = json.dumps(limits) if limits else identity_databases.environment(ServiceName.IDENTITY).get(_LIMITS, "")
        return running_identity(databases or identity_databases, **{_LIMITS: text}, **more)

    return start


@pytest.fixture
async def federated_identity(identity_databases: Databases) -> AsyncIterator[Identity]:
    """Identity that may ask OpenID providers on this machine."""
    async with running_identity(identity_databases, TALLY_SSO_INTERNAL_HOSTS="127.0.0.1") as running:
        yield running
