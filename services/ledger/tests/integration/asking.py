"""The ledger's API, asked by people with the capabilities that a test gives them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import httpx
import pytest
from tallystick_chassis.clock import utc_now
from tallystick_chassis.http.authentication import SESSION_COOKIE
from tallystick_chassis.http.csrf import CSRF_COOKIE, CSRF_HEADER, csrf_sha256, csrf_token
from tallystick_chassis.http.introspection import INACTIVE, Grant, Introspection
from tallystick_chassis.http.tokens import TokenSigner
from tallystick_chassis.ids import TenantId, new_person_ref
from tallystick_contracts.message import LogKind

from .api_in_process import ledger_api, made_jwks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tallystick_cli.stack.temporary import Databases
    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, LedgerReader


BASE = "/api/v1/ledger"
CSRF_KEY = b"k" * 32
L, A = LogKind.COMPLIANCE, LogKind.AUDIT
AUDITOR = ("ledger.read", "ledger.export")


@dataclass
class People:
    """Identity's part: signs people in and answers for their sessions."""

    signer: TokenSigner
    jwks: bytes
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
    jwks = made_jwks()
    return People(TokenSigner(jwks, clock=utc_now), jwks)


@pytest.fixture
async def client(people: People, ledger_databases: Databases, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the ledger's API in this process, without a socket."""
    async with ledger_api(ledger_databases, tmp_path, people.jwks, authenticator=people) as api:
        yield api


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
