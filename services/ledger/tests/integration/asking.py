"""The ledger's API, asked by people with the capabilities that a test gives them."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from nacl.signing import SigningKey
from tallystick_chassis.clock import utc_now
from tallystick_chassis.http.app import create_app
from tallystick_chassis.http.authentication import SESSION_COOKIE
from tallystick_chassis.http.csrf import CSRF_COOKIE, CSRF_HEADER, csrf_sha256, csrf_token
from tallystick_chassis.http.introspection import INACTIVE, Grant, Introspection
from tallystick_chassis.http.tokens import TokenSigner
from tallystick_chassis.ids import TenantId, new_person_ref
from tallystick_chassis.process import make_runtime
from tallystick_chassis.settings import KeyEncryptionKeys, PublicKey, Secret, SecretKey
from tallystick_contracts.message import LogKind
from tallystick_contracts.topology import ServiceName
from tallystick_ledger.app import SERVICE, wire
from tallystick_ledger.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tallystick_cli.stack.temporary import Databases
    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, LedgerReader


BASE = "/api/v1/ledger"
SEED = bytes(range(32))
CSRF_KEY = b"k" * 32
L, A = LogKind.COMPLIANCE, LogKind.AUDIT
AUDITOR = ("ledger.read", "ledger.export")


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class People:
    """Identity's part: signs people in and answers for their sessions."""

    signer: TokenSigner
    known: dict[str, Introspection] = field(default_factory=dict)

    async def authenticate(self, token: str, *, ask: bool = False) -> Introspection:
        del ask
        return self.known.get(hashlib.sha256(token.encode()).hexdigest(), INACTIVE)

    def sign_in(self, tenant: UUID, *capabilities: str, unit: UUID | None = None, age_s: int = 0) -> dict[str, str]:
        """Return the headers of a person with capabilities in one unit (the root, if not said)."""
        person, session, auth_time = new_person_ref(), f"s_{uuid4().hex}", int(utc_now().timestamp()) - age_s
        token = self.signer.issue_session(
            person=person,
            tenant=tenant,
            session=session,
            role_ids=(),
            token_version=1,
            amr=("link",),
            auth_time=auth_time,
        )
        csrf = csrf_token(CSRF_KEY, session)
        self.known[hashlib.sha256(token.encode()).hexdigest()] = Introspection(
            active=True,
            tenant=tenant,
            person=person,
            session=session,
            auth_time=auth_time,
            csrf_sha256=csrf_sha256(csrf),
            home_unit=unit or tenant,
            grants=(Grant(uuid4(), capabilities, (unit or tenant,)),),
        )
        return {
            "Cookie": f"{SESSION_COOKIE}={token}; {CSRF_COOKIE}={csrf}",
            CSRF_HEADER: csrf,
            "Idempotency-Key": uuid4().hex,
        }

    def service(self, name: str) -> dict[str, str]:
        """Return the headers of one of our services."""
        return {"Authorization": f"Bearer {self.signer.issue_service(name)}"}


@pytest.fixture
def people() -> People:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    jwk = {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": encoded(public), "d": encoded(private)}
    people = People(TokenSigner(msgspec.json.encode({"keys": [jwk]}), clock=utc_now))
    people.jwks = msgspec.json.encode({"keys": [jwk]})  # type: ignore[attr-defined]
    return people


@pytest.fixture
async def client(people: People, ledger_databases: Databases, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the ledger's API in this process, without a socket."""
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(people.jwks)  # type: ignore[attr-defined]
    ca_file = ledger_databases.servers.layout.ca_file
    settings = Settings(
        dsn=Secret(ledger_databases.dsn(ServiceName.LEDGER, "app")),
        duty_dsn=Secret(ledger_databases.dsn(ServiceName.LEDGER, "duty")),
        nats_url="tls://127.0.0.1:1",
        nats_seed=Secret("x"),
        ca_file=ca_file,
        tls_cert_file=ca_file,
        tls_key_file=ca_file,
        port=0,
        public_url="https://ledger.test",
        url_identity="https://identity.test",
        client_secret=Secret("x"),
        session_jwks_file=jwks,
        checkpoint_key=SecretKey(SEED),
        ledger_key=PublicKey(bytes(SigningKey(SEED).verify_key)),
        ledger_origin="ledger.test",
        high_water=str(tmp_path / "high-water"),
        kek=KeyEncryptionKeys({"1": SecretKey(SEED)}),
    )
    runtime = make_runtime(SERVICE, settings)
    wiring = wire(runtime)
    app = create_app(SERVICE, runtime, type(wiring)(routes=wiring.routes, authenticator=people))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://ledger.test") as client:
        yield client
    await runtime.close()


@dataclass(frozen=True)
class Filled:
    """A tenant with a compliance log of 303 entries in three batches and an audit log of 3."""

    tenant: TenantId
    compliance: UUID
    audit: UUID
    sizes: tuple[int, ...]
    unit: UUID
    arrivals: tuple[Arrival, ...]


@pytest.fixture
async def filled(writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader) -> Filled:
    unit = uuid4()
    first = source.compliance(tenant, 5, correlation="one-request")
    second = source.compliance(tenant, 2, correlation="one-request", org_unit=unit)
    rest = source.compliance(tenant, 296)
    for batch in (first, [*second, *rest[:256]], rest[256:]):
        await writer.record(tenant, L, batch)
    await writer.record(tenant, A, source.audit(tenant, 3))
    compliance, audit = await reader.logs(tenant)
    return Filled(tenant, compliance.log["id"], audit.log["id"], (5, 263, 303), unit, (*first, *second, *rest))


def without_correlation(answer: httpx.Response) -> dict[str, object]:
    return {name: value for name, value in answer.json().items() if name != "correlation_id"}
