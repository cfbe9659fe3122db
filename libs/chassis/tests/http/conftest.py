"""An app of a service that does not exist, its people, and a client that speaks to it without a socket."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from litestar import Litestar
from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import Database, DutyDatabase
from tallystick_chassis.http.app import create_app
from tallystick_chassis.http.authentication import SESSION_COOKIE
from tallystick_chassis.http.csrf import CSRF_COOKIE, CSRF_HEADER, csrf_sha256, csrf_token
from tallystick_chassis.http.introspection import INACTIVE, Grant, Introspection
from tallystick_chassis.http.service_client import ServiceClient
from tallystick_chassis.http.tokens import TokenSigner
from tallystick_chassis.ids import new_person_ref
from tallystick_chassis.sealing import Sealer
from tallystick_chassis.service import Runtime, Service, Wiring
from tallystick_chassis.settings import Dsn, NkeySeed, Settings
from tallystick_chassis.telemetry import get_log, keep_allowed
from tallystick_cli.stack.temporary import Databases
from tallystick_contracts.topology import ServiceName

CSRF_KEY = b"k" * 32
PUBLIC_URL = "https://tally.test"


def _b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def make_jwks(kid: str = "k1") -> bytes:
    """Return a private JWKS with one fresh Ed25519 key."""
    key = Ed25519PrivateKey.generate()
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": kid,
        "x": _b64url(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
        "d": _b64url(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())),
    }
    return msgspec.json.encode({"keys": [jwk]})


@dataclass
class People:
    """Everyone who has signed in: identity's part, played by a dictionary."""

    signer: TokenSigner
    known: dict[str, Introspection] = field(default_factory=dict)
    asked: int = 0

    async def authenticate(self, token: str, *, ask: bool = False) -> Introspection:
        """Answer as identity would."""
        del ask
        self.asked += 1
        return self.known.get(hashlib.sha256(token.encode()).hexdigest(), INACTIVE)

    def sign_in(
        self, tenant: UUID, home: UUID, *grants: tuple[tuple[str, ...], tuple[UUID, ...]], age_s: int = 0
    ) -> Person:
        """Return a person with grants of (capabilities, units)."""
        session, ref = f"s_{uuid4().hex}", new_person_ref()
        auth_time = int(utc_now().timestamp()) - age_s
        token = self.signer.issue_session(
            person=ref,
            tenant=tenant,
            session=session,
            role_ids=(),
            token_version=1,
            amr=("link",),
            auth_time=auth_time,
        )
        csrf = csrf_token(CSRF_KEY, session)
        known = Introspection(
            active=True,
            tenant=tenant,
            person=ref,
            session=session,
            auth_time=auth_time,
            csrf_sha256=csrf_sha256(csrf),
            home_unit=home,
            grants=tuple(Grant(uuid4(), capabilities, units) for capabilities, units in grants),
        )
        self.known[hashlib.sha256(token.encode()).hexdigest()] = known
        return Person(ref, tenant, home, token, csrf)


@dataclass(frozen=True)
class Person:
    """A signed-in person and what their browser sends."""

    ref: str
    tenant: UUID
    home: UUID
    token: str
    csrf: str

    @property
    def cookies(self) -> dict[str, str]:
        """The header with their two cookies."""
        return {"Cookie": f"{SESSION_COOKIE}={self.token}; {CSRF_COOKIE}={self.csrf}"}

    @property
    def unsafe(self) -> dict[str, str]:
        """The headers of an unsafe request with a fresh idempotency key."""
        return {**self.cookies, CSRF_HEADER: self.csrf, "Idempotency-Key": uuid4().hex}


@pytest.fixture(autouse=True)
def _logs_as_in_production() -> None:
    structlog.configure(processors=[keep_allowed, structlog.processors.JSONRenderer()])


AppFactory = Callable[..., Litestar]


@pytest.fixture
def jwks() -> bytes:
    """The key set with which sessions are signed."""
    return make_jwks()


@pytest.fixture
def signer(jwks: bytes) -> TokenSigner:
    """Identity's signer."""
    return TokenSigner(jwks, clock=utc_now)


@pytest.fixture
def people(signer: TokenSigner) -> People:
    """Nobody yet."""
    return People(signer)


@pytest.fixture
def settings(tmp_path: Path, jwks: bytes) -> Settings:
    """Settings without servers: what connects to something must be replaced."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks)
    nothing = tmp_path / "nothing"
    nothing.write_bytes(b"")
    return Settings(
        dsn=Dsn("postgresql://nobody@127.0.0.1:1/none?sslmode=disable"),
        duty_dsn=Dsn("postgresql://nobody@127.0.0.1:1/none?sslmode=disable"),
        nats_url="tls://127.0.0.1:1",
        nats_seed=NkeySeed("x"),
        ca_file=nothing,
        tls_cert_file=nothing,
        tls_key_file=nothing,
        port=0,
        public_url=PUBLIC_URL,
        session_jwks_file=file,
    )


def make_runtime(service: ServiceName, settings: Settings) -> Runtime:
    """Return a runtime for ``settings``."""
    return Runtime(
        service=service,
        settings=settings,
        database=Database(settings.dsn, service, pool_size=6, ca_file=settings.ca_file),
        duty=DutyDatabase(settings.duty_dsn, service, pool_size=2, ca_file=settings.ca_file),
        keys=None,
        clock=utc_now,
        service_client=ServiceClient(service, urls={}),
        sealer=Sealer(utc_now),
        log=get_log(),
    )


def service_of(name: ServiceName, *routes: Any) -> Service:
    """Return a service with these routes and nothing else."""
    return Service(name, f"tallystick_{name}", Settings, lambda _runtime: Wiring(routes=routes))


@pytest_asyncio.fixture
async def make_app(settings: Settings, people: People) -> AsyncIterator[AppFactory]:
    """Return ``make(*routes, databases=None, service=…)``: an app of a service that brings these routes."""
    runtimes: list[Runtime] = []

    def make(*routes: Any, databases: Databases | None = None, service: ServiceName = ServiceName.PRIVACY) -> Litestar:
        own = settings
        if databases is not None:
            own = msgspec.structs.replace(
                settings,
                dsn=Dsn(databases.dsn(service, "app")),
                duty_dsn=Dsn(databases.dsn(service, "duty")),
                ca_file=databases.servers.layout.ca_file,
            )
        runtime = make_runtime(service, own)
        runtimes.append(runtime)
        return create_app(service_of(service, *routes), runtime, Wiring(routes=routes, authenticator=people))

    yield make
    for runtime in runtimes:
        await runtime.close()


@pytest_asyncio.fixture
async def client_of() -> AsyncIterator[Callable[[Litestar], httpx.AsyncClient]]:
    """Return a client that calls an app in this process."""
    clients: list[httpx.AsyncClient] = []

    def make(app: Litestar) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
        clients.append(httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()
