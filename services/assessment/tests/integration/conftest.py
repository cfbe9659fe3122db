"""Assessment on real Postgres: its own app over ASGI, people of two tenants, and a worker that is told when to work."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from nacl.public import PrivateKey
from sqlalchemy import insert, select
from tallystick_assessment.app import SERVICE, wire
from tallystick_assessment.certificates import store as certificates
from tallystick_assessment.certificates.publication import Publisher
from tallystick_assessment.settings import AssessmentSettings
from tallystick_chassis.directory import with_directory
from tallystick_chassis.http.app import create_app
from tallystick_chassis.http.csrf import csrf_sha256
from tallystick_chassis.http.introspection import Grant, Introspection
from tallystick_chassis.http.tokens import TokenSigner
from tallystick_chassis.ids import OrgUnitId, PersonRef, TenantId, new_person_ref
from tallystick_chassis.migrate import migrate
from tallystick_chassis.process import make_runtime
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime
from tallystick_chassis.settings import load_settings
from tallystick_chassis.tables import directory_people, directory_tenants, events, tenant_keys
from tallystick_cli.stack.temporary import Databases, RunningServers
from tallystick_contracts.capabilities import DEFAULT_ROLES
from tallystick_contracts.envelope import Event, decode_event
from tallystick_contracts.generated.privacy import ErasureOrdered
from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.topology import ServiceName

BASE = "https://assessment.test"
API = "/api/v1/assessment"


@pytest.fixture(scope="session")
def assessment_databases(stack: RunningServers) -> Databases:
    """Databases with assessment's tables. Tests share them: each has tenants of its own."""
    template = stack.fresh_databases()

    async def run() -> None:
        for folder, keys in (("migrations", False), ("key_migrations", True)):
            await migrate(
                template.dsn(ServiceName.ASSESSMENT, "migrate", keys=keys),
                service=SERVICE.name,
                package=SERVICE.package,
                folder=folder,
                ca_file=stack.ca_file,
            )

    asyncio.run(run())
    return template


@dataclass
class SettableClock:
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Sessions:
    """Identity's part: it knows every session that a test made."""

    known: dict[str, Introspection] = field(default_factory=dict)

    async def authenticate(self, token: str, *, ask: bool = False) -> Introspection:
        del ask
        return self.known[token]


@dataclass
class Tenant:
    id: TenantId
    units: dict[str, OrgUnitId]

    @property
    def all_units(self) -> tuple[OrgUnitId, ...]:
        return (OrgUnitId(self.id), *self.units.values())


@dataclass
class Person:
    """Someone who is signed in: every unsafe request gets a fresh Idempotency-Key unless one is named."""

    ref: PersonRef
    tenant: Tenant
    unit: OrgUnitId
    client: httpx.AsyncClient

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.client.get(API + path, params=query)

    async def send(self, method: str, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        headers = {"Idempotency-Key": key or uuid4().hex}
        if body is None:
            return await self.client.request(method, API + path, headers=headers)
        return await self.client.request(method, API + path, json=body, headers=headers)

    async def post(self, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        return await self.send("POST", path, body, key)

    async def put(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        return await self.send("PUT", path, body, key)


@dataclass
class World:
    """Two tenants, each with the units north and south; people and their sessions; a worker on demand."""

    runtime: Runtime
    clock: SettableClock
    sessions: Sessions
    signer: TokenSigner
    app: Any
    aurora: Tenant
    borealis: Tenant
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def duty(self, tenant: Tenant) -> Scope:
        return Scope.for_duty(tenant.id, "assessment")

    async def person(
        self,
        *roles: str,
        tenant: Tenant | None = None,
        unit: str | None = None,
        units: Iterable[UUID] | None = None,
        auth_age_s: int = 0,
    ) -> Person:
        """Make a person with default roles in ``units`` (everywhere for staff, the home unit for candidates)."""
        tenant = tenant or self.aurora
        home = tenant.units[unit] if unit else OrgUnitId(tenant.id)
        reach = tuple(units) if units is not None else ((home,) if unit else tenant.all_units)
        ref = new_person_ref()
        async with self.runtime.database.transaction(self.duty(tenant)) as tx:
            await tx.execute(
                insert(directory_people).values(
                    tenant_id=tenant.id,
                    person=ref,
                    org_unit_id=home,
                    key_id=uuid4().hex,
                    public_key=bytes(PrivateKey.generate().public_key),
                )
            )
        return self.sign_in(ref, tenant, home, roles, reach, auth_age_s=auth_age_s)

    def sign_in(
        self,
        ref: PersonRef,
        tenant: Tenant,
        home: OrgUnitId,
        roles: Iterable[str],
        reach: tuple[UUID, ...],
        *,
        auth_age_s: int = 0,
    ) -> Person:
        session, csrf = uuid4().hex, uuid4().hex
        auth_time = int(self.clock().timestamp()) - auth_age_s
        token = self.signer.issue_session(
            person=ref,
            tenant=tenant.id,
            session=session,
            role_ids=(),
            token_version=1,
            amr=("link",),
            auth_time=auth_time,
        )
        grants = tuple(
            Grant(uuid4(), tuple(str(capability) for capability in DEFAULT_ROLES[role]), reach) for role in roles
        )
        self.sessions.known[token] = Introspection(
            active=True,
            tenant=tenant.id,
            person=ref,
            session=session,
            amr=("link",),
            auth_time=auth_time,
            csrf_sha256=csrf_sha256(csrf),
            home_unit=home,
            grants=grants,
        )
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url=BASE,
            headers={
                "Cookie": f"__Host-tally_session={token}; __Host-tally_csrf={csrf}",
                "X-CSRF-Token": csrf,
                "User-Agent": "tests",
            },
        )
        self.clients.append(client)
        return Person(ref, tenant, home, client)

    async def events(self, *types: str, tenant: Tenant | None = None, key: str | None = None) -> list[Event]:
        """Return stored events in order of storing, of these types (all when none is named) and idempotency key."""
        query = select(events.c.body).order_by(events.c.stored_at, events.c.stream, events.c.stream_version)
        if key is not None:
            query = query.where(events.c.idempotency_key == key)
        async with self.runtime.database.transaction(self.duty(tenant or self.aurora)) as tx:
            found = [decode_event(bytes(body)) for body in (await tx.execute(query)).scalars()]
        return [event for event in found if not types or event.type in types]

    async def work(self, tenant: Tenant | None = None) -> None:
        """Handle every submission as the worker does: each in the duty's own transaction."""
        handler = wire(self.runtime).handlers["assessment.submission.finalised"]
        for event in await self.events("assessment.submission.finalised", tenant=tenant):
            async with self.runtime.database.transaction(self.duty(tenant or self.aurora)) as tx:
                await handler(tx, event)

    async def erase(self, person: Person, job_id: UUID) -> None:
        """Deliver the order to erase a person, as the consumer does, with the directory's own part before."""
        data = ErasureOrdered(job_id=str(job_id), person=person.ref)
        event = Event(
            id=uuid4(),
            type="privacy.erasure.ordered",
            v=1,
            source="privacy",
            stream=f"erasure:{job_id}",
            stream_version=1,
            time=self.clock(),
            actor="privacy",
            data=data,
            event_type=REGISTRY.by_struct(ErasureOrdered),
        )
        handler = with_directory(wire(self.runtime).handlers)[event.type]
        async with self.runtime.database.transaction(self.duty(person.tenant)) as tx:
            await handler(tx, event)

    async def publish(self) -> None:
        """Run the publisher until nothing is due."""
        publisher = Publisher(self.runtime.database, self.runtime.duty)
        self.clock.advance(milliseconds=certificates.PUBLICATION_DELAY_MS[1])
        while await publisher.run():
            pass


@pytest.fixture
async def world(assessment_databases: Databases) -> AsyncIterator[World]:
    environment = assessment_databases.environment(ServiceName.ASSESSMENT)
    settings = load_settings(AssessmentSettings, environment)
    clock = SettableClock()
    runtime = make_runtime(SERVICE, settings, clock)
    identity = assessment_databases.environment(ServiceName.IDENTITY)
    private_jwks = Path(identity["TALLY_SESSION_KEY_FILE"]).read_bytes()  # noqa: ASYNC240 - once, at the start
    signer = TokenSigner(private_jwks, clock=clock)
    sessions = Sessions()
    app = create_app(SERVICE, runtime, replace(wire(runtime), authenticator=sessions))
    made = World(runtime, clock, sessions, signer, app, _tenant(), _tenant())
    for tenant, name in ((made.aurora, "Aurora"), (made.borealis, "Borealis")):
        async with runtime.database.transaction(made.duty(tenant)) as tx:
            await tx.execute(insert(directory_tenants).values(tenant_id=tenant.id, slug=name.lower(), name=name))
            await tx.execute(
                insert(tenant_keys).values(
                    tenant_id=tenant.id,
                    day=clock().date(),
                    key_id=uuid4().hex,
                    public_key=bytes(PrivateKey.generate().public_key),
                )
            )
    yield made
    for client in made.clients:
        await client.aclose()
    await runtime.close()


def _tenant() -> Tenant:
    return Tenant(TenantId(uuid4()), {"north": OrgUnitId(uuid4()), "south": OrgUnitId(uuid4())})


@pytest.fixture
async def superuser(assessment_databases: Databases) -> AsyncIterator[asyncpg.Connection]:
    """A connection that no policy and no privilege binds: what it is refused, triggers refuse."""
    connection = await asyncpg.connect(
        assessment_databases.superuser_dsn().split("?")[0], ssl=_tls(assessment_databases.servers.layout.ca_file)
    )
    yield connection
    await connection.close()


def _tls(ca_file: Path) -> Any:
    return ssl.create_default_context(cafile=str(ca_file))


@dataclass
class Exam:
    """A published evaluation, its author, and the candidates who were assigned to it."""

    world: World
    author: Person
    evaluation_id: str
    version: int
    candidates: list[Person]
    assignments: dict[str, str]

    async def sit(self, candidate: Person, responses: dict[str, Any]) -> str:
        """Let a candidate start, answer and submit; return the submission's id."""
        started = await candidate.post("/attempts", {"assignment_id": self.assignments[candidate.ref]})
        assert started.status_code == 201, started.text
        attempt = started.json()["attempt_id"]
        for item, response in responses.items():
            saved = await candidate.put(f"/attempts/{attempt}/answers/{item}", {"response": response})
            assert saved.status_code == 200, saved.text
        submitted = await candidate.post(f"/attempts/{attempt}/submission")
        assert submitted.status_code == 201, submitted.text
        return str(submitted.json()["submission_id"])


@pytest.fixture
def make_exam(world: World, document: dict[str, Any]) -> Callable[..., Any]:
    """Publish the document, and assign it to one candidate for each unit named."""

    async def make(*units: str, tenant: Tenant | None = None) -> Exam:
        author = await world.person("author", tenant=tenant)
        published = await author.post("/evaluations", document)
        assert published.status_code == 201, published.text
        evaluation = published.json()
        candidates = [await world.person("candidate", tenant=tenant, unit=unit) for unit in units]
        assignments = {}
        if candidates:
            body = {
                "evaluation_id": evaluation["evaluation_id"],
                "version": evaluation["version"],
                "people": [candidate.ref for candidate in candidates],
            }
            issued = await author.post("/assignments", body)
            assert issued.status_code == 201, issued.text
            assignments = {one["person"]: one["assignment_id"] for one in issued.json()["assignments"]}
        return Exam(world, author, evaluation["evaluation_id"], evaluation["version"], candidates, assignments)

    return make
