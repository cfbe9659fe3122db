"""A database of verification's own, a ledger and an identity over real HTTP, and events as they would arrive."""

from __future__ import annotations

import asyncio
import base64
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn
from litestar import Litestar, Request, Response, get, post
from litestar.params import FromPath
from tallystick_chassis.directory import with_directory
from tallystick_chassis.http.app import create_app
from tallystick_chassis.ids import TenantId
from tallystick_chassis.inbox import FeedKey, Inbox, read_received
from tallystick_chassis.migrate import migrate
from tallystick_chassis.process import make_runtime
from tallystick_chassis.service import Runtime
from tallystick_chassis.settings import load_settings
from tallystick_cli.stack import database_setup
from tallystick_cli.stack.temporary import Databases, RunningServers
from tallystick_contracts.envelope import encode_event, format_time
from tallystick_contracts.generated.assessment import CredentialPublished, CredentialWithdrawn
from tallystick_contracts.message import EventData
from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.topology import ServiceName
from tallystick_tlog import (
    FIRST_PREV,
    Checkpoint,
    CompactRange,
    NodeId,
    Signer,
    TlogProof,
    assemble_proof,
    build_line,
    leaf_hash,
    node_hash,
    plan_inclusion,
    sign_checkpoint,
)
from tallystick_verification.app import SERVICE
from tallystick_verification.credentials.domain import reference_of
from tallystick_verification.settings import VerificationSettings

SEED = bytes(range(32))
ORIGIN = "ledger.test"
LEDGER_KEY = Signer("any", SEED).verifier.public_key


@dataclass
class SettableClock:
    now: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def tenant() -> TenantId:
    return TenantId(uuid4())


@pytest.fixture(scope="session")
def verification_template(stack: RunningServers) -> Databases:
    """A database with verification's tables; copy it, do not use it."""
    template = stack.fresh_databases()
    dsn = template.dsn(ServiceName.VERIFICATION, "migrate")
    asyncio.run(migrate(dsn, service=SERVICE.name, package=SERVICE.package, ca_file=stack.ca_file))
    return template


@pytest.fixture
def verification_databases(verification_template: Databases) -> Databases:
    """A new database with verification's tables, empty."""
    name = f"t_{secrets.token_hex(6)}"
    database_setup.copy(verification_template.servers, verification_template.name, name)
    return Databases(verification_template.servers, name, verification_template.keys_name)


@dataclass
class FakeLedger:
    """Tenants' compliance logs, and identity's token route beside them; ``answers`` replaces what it says."""

    lines: dict[UUID, list[bytes]] = field(default_factory=dict)
    places: dict[UUID, tuple[UUID, int]] = field(default_factory=dict)
    answers: dict[UUID, dict[str, object]] = field(default_factory=dict)
    down: bool = False
    asked: int = 0
    seed: bytes = SEED

    def record(self, tenant: UUID, event_id: UUID, body: bytes) -> None:
        """Append the event to the tenant's log."""
        lines = self.lines.setdefault(tenant, [])
        prev = leaf_hash(lines[-1]) if lines else FIRST_PREV
        origin = f"{ORIGIN}/{tenant}/compliance"
        lines.append(build_line(body, origin, prev, "2026-11-21T12:00:00.000000Z", len(lines), len(lines) + 1))
        self.places[event_id] = (tenant, len(lines) - 1)

    def answer(self, event_id: UUID) -> dict[str, object]:
        """Return the line and its proof in the log as it is now."""
        tenant, seq = self.places[event_id]
        lines = self.lines[tenant]
        leaves = [leaf_hash(line) for line in lines]
        signer = Signer(f"{ORIGIN}/{tenant}/compliance", self.seed)
        root = CompactRange().extend(leaves).root()
        note = sign_checkpoint(Checkpoint(signer.verifier.name, len(lines), root), signer)
        plan = plan_inclusion(seq, len(lines))
        nodes = {node: _subtree(leaves, node) for element in plan for node in element}
        proof = TlogProof(seq, tuple(assemble_proof(plan, nodes)), note)
        return {
            "line": lines[seq].decode(),
            "proof": proof.to_bytes().decode(),
            "log": str(uuid4()),
            "seq": seq,
            "size": len(lines),
            "vkey": str(signer.verifier),
        }

    def app(self) -> Litestar:
        """Return the routes of identity and ledger that verification calls."""

        @post("/oauth/token", status_code=200)
        async def token(request: Request) -> dict[str, object]:
            assert request.headers["authorization"].startswith("Basic ")
            return {"access_token": "service-token", "token_type": "Bearer", "expires_in": 300}

        @get("/api/v1/ledger/public-entries/{tenant:uuid}/{event:uuid}")
        async def public_entry(request: Request, tenant: FromPath[UUID], event: FromPath[UUID]) -> Response:
            self.asked += 1
            assert request.headers["authorization"] == "Bearer service-token"
            if self.down:
                return Response({"code": "unavailable"}, status_code=503)
            if event in self.answers:
                return Response(self.answers[event])
            if event not in self.places or self.places[event][0] != tenant:
                return Response({"code": "not_found"}, status_code=404)
            return Response(self.answer(event))

        return Litestar([token, public_entry], openapi_config=None, logging_config=None)


def _subtree(leaves: list[bytes], node: NodeId) -> bytes:
    if node.level == 0:
        return leaves[node.index]
    left, right = NodeId(node.level - 1, 2 * node.index), NodeId(node.level - 1, 2 * node.index + 1)
    return node_hash(_subtree(leaves, left), _subtree(leaves, right))


@contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener


@asynccontextmanager
async def serving(app: object) -> AsyncIterator[str]:
    """Serve an application over HTTP on a free port; yields its base address."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    with _listening() as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


@pytest.fixture
async def ledger() -> FakeLedger:
    return FakeLedger()


@pytest.fixture
async def ledger_url(ledger: FakeLedger) -> AsyncIterator[str]:
    async with serving(ledger.app()) as url:
        yield url


@pytest.fixture
def settings(verification_databases: Databases, ledger_url: str) -> VerificationSettings:
    environment = dict(verification_databases.environment(ServiceName.VERIFICATION))
    environment |= {
        "TALLY_URL_LEDGER": ledger_url,
        "TALLY_URL_IDENTITY": ledger_url,
        "TALLY_LEDGER_KEY": base64.b64encode(LEDGER_KEY).decode(),
        "TALLY_LEDGER_ORIGIN": ORIGIN,
    }
    return load_settings(VerificationSettings, environment)


@pytest.fixture
async def runtime(settings: VerificationSettings, clock: SettableClock) -> AsyncIterator[Runtime]:
    runtime = make_runtime(SERVICE, settings, clock)
    yield runtime
    await runtime.close()


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    """A verifier: anyone, with nothing."""
    app = create_app(SERVICE, runtime, SERVICE.wire(runtime))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://verify.test") as client:
        yield client


@dataclass
class Issued:
    """A certificate as assessment published it."""

    token: str
    reference: str
    event_id: UUID
    body: bytes


@dataclass
class Assessment:
    """Publishes certificates: what it says arrives in the inbox as from the bus."""

    runtime: Runtime
    sequence: dict[tuple[UUID, FeedKey], int] = field(default_factory=dict)

    async def publish(self, tenant: TenantId, **changes: object) -> Issued:
        """Publish a certificate; the token is in its holder's hands only."""
        token = secrets.token_urlsafe(24)
        fields: dict[str, object] = {
            "reference": reference_of(token),
            "commitment": secrets.token_hex(32),
            "credential_type": "Safety Officer, Level 2",
            "issuer": "Acme Academy",
            "issued_at": format_time(datetime(2026, 11, 21, 11, tzinfo=UTC)),
        }
        data = CredentialPublished(**{**fields, **changes})
        event_id = uuid4()
        body = encode(data, event_id)
        await self.deliver(tenant, body, FeedKey("assessment", "credential"), event_id)
        return Issued(token, data.reference, event_id, body)

    async def withdraw(self, tenant: TenantId, reference: str) -> None:
        data = CredentialWithdrawn(reference=reference, withdrawn_at="2026-11-21T11:30:00.000000Z")
        event_id = uuid4()
        await self.deliver(tenant, encode(data, event_id), FeedKey("assessment", "credential"), event_id)

    async def deliver(self, tenant: TenantId, body: bytes, key: FeedKey, _event_id: UUID) -> None:
        """Hand an event to the inbox, next in its sequence."""
        handlers = with_directory(SERVICE.wire(self.runtime).handlers)
        inbox = Inbox(database=self.runtime.database, consumer="verification", handlers=handlers)
        seq = self.sequence[tenant, key] = self.sequence.get((tenant, key), 0) + 1
        await inbox.apply(tenant, [read_received(tenant, key, seq, body)], await inbox.cursors(tenant))

    async def level(self, tenant: TenantId, at: datetime) -> None:
        """Announce that nothing else has been published by ``at``."""
        key = FeedKey("assessment", "credential")
        inbox = Inbox(database=self.runtime.database, consumer="verification", handlers={})
        await inbox.confirm(tenant, {key: self.sequence.get((tenant, key), 0)}, at)


def encode(data: EventData, event_id: UUID, **envelope: object) -> bytes:
    """Return the event's canonical bytes; a public one names nobody."""
    kind = REGISTRY.by_struct(type(data))
    return encode_event(
        data,
        id=event_id,
        source=kind.service or "assessment",
        stream=f"{kind.aggregate}:{event_id}",
        stream_version=1,
        time=datetime(2026, 11, 21, 11, tzinfo=UTC),
        actor=kind.service or "assessment",
        **envelope,  # type: ignore[arg-type]
    )


@pytest.fixture
def assessment(runtime: Runtime) -> Assessment:
    return Assessment(runtime)


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """How other services' events are written."""
    return encode
