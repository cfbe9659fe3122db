"""The routes as an auditor's client sees them: entries, proofs, exports; and what those who may not read see."""

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
from sqlalchemy import text
from tallystick_chassis.clock import utc_now
from tallystick_chassis.http.app import create_app
from tallystick_chassis.http.authentication import SESSION_COOKIE
from tallystick_chassis.http.csrf import CSRF_COOKIE, CSRF_HEADER, csrf_sha256, csrf_token
from tallystick_chassis.http.introspection import INACTIVE, Grant, Introspection
from tallystick_chassis.http.tokens import TokenSigner
from tallystick_chassis.ids import TenantId, new_person_ref
from tallystick_chassis.process import make_runtime
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import KeyEncryptionKeys, PublicKey, Secret, SecretKey
from tallystick_cli.audit.sources import FolderSource
from tallystick_cli.audit.verify import verify_log
from tallystick_contracts.generated.assessment import CredentialPublished
from tallystick_contracts.message import LogKind
from tallystick_contracts.topology import ServiceName
from tallystick_ledger.app import SERVICE, wire
from tallystick_ledger.high_water.files import FILE, FileHighWater
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.search import store as search_store
from tallystick_ledger.settings import Settings
from tallystick_tlog import (
    Checkpoint,
    TlogProof,
    VerifierKey,
    from_base64,
    leaf_hash,
    open_checkpoint,
    verify_consistency,
    verify_inclusion,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tallystick_chassis.database import Database
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


async def test_the_logs_are_listed_with_their_keys(client: httpx.AsyncClient, people: People, filled: Filled) -> None:
    answer = await client.get(f"{BASE}/logs", headers=people.sign_in(filled.tenant, "ledger.read"))
    assert answer.status_code == 200
    compliance, audit = answer.json()["logs"]
    assert (compliance["kind"], compliance["period"], compliance["size"]) == ("compliance", None, 303)
    assert (audit["kind"], audit["period"], audit["size"]) == ("audit", "2026-11", 3)
    assert VerifierKey.parse(audit["vkey"]).name == audit["origin"] == f"ledger.test/{filled.tenant}/audit-2026-11"


async def test_entries_are_given_in_order_with_the_bytes_that_are_hashed(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    lines: list[str] = []
    while len(lines) < 303:
        answer = await client.get(
            f"{BASE}/logs/{filled.compliance}/entries", params={"start": len(lines), "limit": 100}, headers=auditor
        )
        lines += [entry["line"] for entry in answer.json()["entries"]]
    assert [arrival.body.decode() in line for arrival, line in zip(filled.arrivals, lines, strict=True)] == [True] * 303
    one = (await client.get(f"{BASE}/logs/{filled.compliance}/entries/17", headers=auditor)).json()
    assert one["line"] == lines[17]
    assert from_base64(one["leaf_hash"]) == leaf_hash(lines[17].encode())
    assert (await client.get(f"{BASE}/logs/{filled.compliance}/entries/303", headers=auditor)).status_code == 404


async def test_inclusion_and_consistency_proofs_hold(client: httpx.AsyncClient, people: People, filled: Filled) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    log = f"{BASE}/logs/{filled.compliance}"
    heads: dict[int, Checkpoint] = {}
    key = VerifierKey.ed25519(f"ledger.test/{filled.tenant}/compliance", bytes(SigningKey(SEED).verify_key))
    for size in filled.sizes:
        note = await client.get(f"{log}/checkpoint", params={"size": size}, headers=auditor)
        heads[size] = open_checkpoint(note.content, [key])
    newest = await client.get(f"{log}/checkpoint", headers=auditor)
    assert open_checkpoint(newest.content, [key]) == heads[303]
    for size, head in heads.items():
        for seq in {0, 4, 5, 255, 256, 262, 302} & set(range(size)):
            answer = await client.get(f"{log}/proofs/inclusion", params={"seq": seq, "size": size}, headers=auditor)
            proof = answer.json()
            hashes = [from_base64(item) for item in proof["hashes"]]
            verify_inclusion(from_base64(proof["leaf_hash"]), seq, size, hashes, head.root)
        for later in [one for one in filled.sizes if one >= size]:
            answer = await client.get(f"{log}/proofs/consistency", params={"from": size, "to": later}, headers=auditor)
            hashes = [from_base64(item) for item in answer.json()["hashes"]]
            verify_consistency(size, later, hashes, head.root, heads[later].root)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("proofs/inclusion?seq=303", 400, "bad_range"),
        ("proofs/inclusion?seq=5&size=5", 400, "bad_range"),
        ("proofs/inclusion?seq=5&size=304", 400, "bad_range"),
        ("proofs/inclusion?seq=-1", 400, "validation_failed"),
        ("proofs/consistency?from=0", 400, "validation_failed"),
        ("proofs/consistency?from=9&to=8", 400, "bad_range"),
        ("proofs/consistency?from=9&to=304", 400, "bad_range"),
        ("checkpoint?size=6", 404, "not_found"),
        ("checkpoint?size=x", 400, "validation_failed"),
        ("entries?limit=201", 400, "validation_failed"),
        ("entries/9007199254740992", 400, "validation_failed"),
    ],
)
async def test_positions_that_cannot_be_are_problems(
    *, client: httpx.AsyncClient, people: People, filled: Filled, path: str, status: int, code: str
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    answer = await client.get(f"{BASE}/logs/{filled.compliance}/{path}", headers=auditor)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.control("EV-25b")
async def test_one_correlation_id_gives_its_entries_page_by_page(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    found: list[str] = []
    params = {"correlation": "one-request", "limit": 3}
    while True:
        page = (await client.get(f"{BASE}/entries", params=params, headers=auditor)).json()
        found += [entry["line"] for entry in page["entries"]]
        if page["next"] is None:
            break
        params["after"] = page["next"]
    assert len(found) == 7
    assert all(arrival.body.decode() in line for arrival, line in zip(filled.arrivals[:7], found, strict=True))
    bad = await client.get(f"{BASE}/entries", params={**params, "after": "garbage"}, headers=auditor)
    assert (bad.status_code, bad.json()["code"]) == (400, "validation_failed")


@pytest.mark.control("EV-25b")
async def test_a_search_combines_filters_newest_first_too(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")

    async def places(**params: object) -> list[tuple[str, int]]:
        answer = await client.get(f"{BASE}/entries", params=params, headers=auditor)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        assert answer.json()["complete"]
        return [(entry["log"], entry["seq"]) for entry in answer.json()["entries"]]

    compliance, audit = str(filled.compliance), str(filled.audit)
    assert await places(type="identity.magic_link.rejected") == [(audit, seq) for seq in range(3)]
    assert await places(type="identity.magic_link.rejected", order="newest") == [(audit, seq) for seq in (2, 1, 0)]
    both = {"correlation": "one-request", "org_unit": str(filled.unit)}
    assert await places(**both) == [(compliance, 5), (compliance, 6)]
    stream = filled.arrivals[6].event.stream
    assert await places(stream=stream, actor="identity") == [(compliance, 6)]
    assert await places(stream=stream, actor="somebody") == []
    assert await places(since="2026-11-21T12:00:00+00:00", correlation="one-request", limit=1) == [(compliance, 0)]
    assert await places(until="2026-11-21T12:00:00Z") == []
    before_time = "0001-01-01T00:00:00%2B14:00"
    for wrong in (
        "since=2026-11-21T12:00:00",
        f"since={before_time}",
        f"until={before_time}",
        "order=sideways",
        "type=x",
        "org_unit=7",
        "limit=0",
    ):
        answer = await client.get(f"{BASE}/entries?{wrong}", headers=auditor)
        assert (answer.status_code, answer.json()["code"]) == (400, "validation_failed"), wrong


@pytest.mark.control("EV-25b")
async def test_a_search_streams_all_pages_as_the_lines_that_are_hashed(
    client: httpx.AsyncClient, people: People, filled: Filled, reader: LedgerReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read") | {"Accept": "application/x-ndjson"}
    answer = await client.get(f"{BASE}/entries?order=newest&limit=1", headers=auditor)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    compliance, audit = await reader.logs(filled.tenant)
    assert len(answer.content.splitlines()) == 306
    assert sorted(answer.content.splitlines()) == sorted((*compliance.lines, *audit.lines))
    monkeypatch.setattr(search_store, "TAIL_ENTRIES", 5)
    behind = await client.get(f"{BASE}/entries", headers=auditor)
    assert (behind.status_code, behind.json()["code"]) == (503, "search_behind")
    assert behind.headers["retry-after"]


async def test_whoever_has_an_answer_is_told_so(client: httpx.AsyncClient, people: People, filled: Filled) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    log = f"{BASE}/logs/{filled.compliance}"
    for path, lasting in (
        (f"{log}/entries/7", True),
        (f"{log}/entries", False),
        (f"{log}/checkpoint", False),
        (f"{log}/checkpoint?size=263", True),
        (f"{log}/proofs/inclusion?seq=3&size=263", True),
        (f"{log}/proofs/inclusion?seq=3", False),
        (f"{log}/proofs/consistency?from=5&to=263", True),
        (f"{log}/tile/0/000", True),
        (f"{BASE}/entries?correlation=one-request", False),
    ):
        first = await client.get(path, headers=auditor)
        etag = first.headers["etag"]
        assert etag.startswith('"'), "strong"
        assert ("immutable" in first.headers["cache-control"]) == lasting, path
        assert first.headers["cache-control"].startswith("private"), path
        again = await client.get(path, headers=auditor | {"If-None-Match": f'"other", W/{etag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag), path
        other = await client.get(path, headers=auditor | {"If-None-Match": '"other"'})
        assert (other.status_code, other.content) == (200, first.content), path


@pytest.mark.control("EV-22a")
@pytest.mark.control("EV-22c")
@pytest.mark.control("DI-01")
async def test_another_tenants_auditor_sees_what_is_not_there(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    stranger = people.sign_in(uuid4(), *AUDITOR)
    here = people.sign_in(filled.tenant, *AUDITOR)
    await client.post(f"{BASE}/exports", json={"log_id": str(filled.compliance)}, headers=here)
    assert (await client.get(f"{BASE}/logs", headers=stranger)).json() == {"logs": []}
    timeline = await client.get(f"{BASE}/entries?correlation=one-request", headers=stranger)
    assert timeline.json() == {"entries": [], "next": None, "complete": True}
    for path in PATHS:
        foreign = await client.get(f"{BASE}/logs/{filled.compliance}/{path}", headers=stranger)
        missing = await client.get(f"{BASE}/logs/{uuid4()}/{path}", headers=stranger)
        assert foreign.status_code == missing.status_code == 404, path
        assert without_correlation(foreign) == without_correlation(missing), path
    foreign = await client.post(f"{BASE}/exports", json={"log_id": str(filled.compliance)}, headers=stranger)
    assert foreign.status_code == 404


PATHS = (
    "checkpoint",
    "entries",
    "entries/0",
    "proofs/inclusion?seq=0",
    "proofs/consistency?from=1",
    "export",
    "export/303/entries.ndjson",
    "export/303/checkpoint",
    "export/303/ledger.vkey",
)


def without_correlation(answer: httpx.Response) -> dict[str, object]:
    return {name: value for name, value in answer.json().items() if name != "correlation_id"}


@pytest.mark.control("EV-22b")
@pytest.mark.control("EV-22c")
async def test_an_auditor_of_one_unit_reads_that_units_entries_and_no_log(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    of_unit = people.sign_in(filled.tenant, *AUDITOR, unit=filled.unit)
    assert (await client.get(f"{BASE}/logs", headers=of_unit)).json() == {"logs": []}
    for path in PATHS:
        answer = await client.get(f"{BASE}/logs/{filled.compliance}/{path}", headers=of_unit)
        assert answer.status_code == 404, path
    timeline = (await client.get(f"{BASE}/entries?correlation=one-request", headers=of_unit)).json()
    assert [entry["seq"] for entry in timeline["entries"]] == [5, 6]


@pytest.mark.control("EV-13b")
async def test_every_route_wants_its_capability(client: httpx.AsyncClient, people: People, filled: Filled) -> None:
    nobody, reader = people.sign_in(filled.tenant, "people.read"), people.sign_in(filled.tenant, "ledger.read")
    for path in ("logs", "entries?correlation=x", *(f"logs/{filled.compliance}/{path}" for path in PATHS)):
        assert (await client.get(f"{BASE}/{path}")).status_code == 401, path
        assert (await client.get(f"{BASE}/{path}", headers=nobody)).status_code == 403, path
        expected = 403 if "/export" in path else 200
        assert (await client.get(f"{BASE}/{path}", headers=reader)).status_code == expected, path
    body = {"log_id": str(filled.compliance)}
    assert (await client.post(f"{BASE}/exports", json=body, headers=reader)).status_code == 403
    public = f"{BASE}/public-entries/{filled.tenant}/{uuid4()}"
    assert (await client.get(public, headers=reader)).status_code == 403
    assert (await client.get(public, headers=people.service("assessment"))).status_code == 403


@pytest.fixture
def exported(client: httpx.AsyncClient, people: People, filled: Filled, tmp_path: Path) -> Callable[[UUID], object]:
    """Export a log and save its three files."""

    async def export(log: UUID) -> Path:
        auditor = people.sign_in(filled.tenant, *AUDITOR)
        answer = await client.post(f"{BASE}/exports", json={"log_id": str(log)}, headers=auditor)
        assert answer.status_code == 201, answer.text
        folder = tmp_path / str(log)
        folder.mkdir()
        for name in answer.json()["files"]:
            file = await client.get(f"{answer.json()['base_url']}/{name}", headers=auditor)
            assert file.status_code == 200
            (folder / name).write_bytes(file.content)
        return folder

    return export


async def test_an_exported_log_passes_the_auditors_check_and_a_changed_one_does_not(
    exported: Callable[[UUID], object], filled: Filled
) -> None:
    for log, size in ((filled.compliance, 303), (filled.audit, 3)):
        folder: Path = await exported(log)  # type: ignore[misc]
        key = VerifierKey.parse((folder / "ledger.vkey").read_text().strip())
        report = verify_log(FolderSource(folder), (key,), (), 1, lambda _count: None)
        assert (report.status, report.authenticated, report.entries) == ("intact", True, size)
        entries = (folder / "entries.ndjson").read_bytes()
        (folder / "entries.ndjson").write_bytes(entries.replace(b'"actor":"identity"', b'"actor":"identitz"', 1))
        assert verify_log(FolderSource(folder), (key,), (), 1, lambda _count: None).status == "damaged"


async def test_an_export_keeps_its_size_while_the_log_grows(
    client: httpx.AsyncClient,
    people: People,
    filled: Filled,
    writer: LedgerWriter,
    source: FakeSource,
) -> None:
    auditor = people.sign_in(filled.tenant, *AUDITOR)
    asked = await client.post(f"{BASE}/exports", json={"log_id": str(filled.compliance)}, headers=auditor)
    await writer.record(filled.tenant, L, source.compliance(filled.tenant, 10))
    entries = await client.get(f"{asked.json()['base_url']}/entries.ndjson", headers=auditor)
    note = await client.get(f"{asked.json()['base_url']}/checkpoint", headers=auditor)
    assert entries.content.count(b"\n") == 303
    assert note.text.split("\n")[1] == "303"
    newest = await client.get(f"{BASE}/logs/{filled.compliance}/export", headers=auditor)
    assert newest.json() == asked.json()
    unasked = await client.get(f"{BASE}/logs/{filled.compliance}/export/313/entries.ndjson", headers=auditor)
    assert (unasked.status_code, unasked.json()["code"]) == (409, "not_exported")


async def test_an_export_is_recorded_once_however_often_it_is_sent(
    client: httpx.AsyncClient, people: People, filled: Filled, database: Database
) -> None:
    auditor = people.sign_in(filled.tenant, *AUDITOR)
    body = {"log_id": str(filled.compliance)}
    first = await client.post(f"{BASE}/exports", json=body, headers=auditor)
    again = await client.post(f"{BASE}/exports", json=body, headers=auditor)
    assert first.json() == again.json()
    async with database.transaction(Scope.for_duty(filled.tenant, "ledger")) as tx:
        stored = await tx.execute(text("select type from ledger.events"))
        waiting = await tx.execute(text("select type from ledger.events where correlation <> ''"))
        assert stored.scalars().all() == waiting.scalars().all() == ["ledger.export.created"]


async def test_an_export_wants_a_recent_sign_in(client: httpx.AsyncClient, people: People, filled: Filled) -> None:
    long_ago = people.sign_in(filled.tenant, *AUDITOR, age_s=3_600)
    answer = await client.post(f"{BASE}/exports", json={"log_id": str(filled.compliance)}, headers=long_ago)
    assert (answer.status_code, answer.json()["code"]) == (401, "step_up_required")


@pytest.mark.control("EV-23c")
@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b'{"log_id":7}', b'{"log_id":"0192f3a0444470008000000000000001","more":1}']
)
async def test_a_malformed_export_is_a_problem(
    client: httpx.AsyncClient, people: People, tenant: TenantId, body: bytes
) -> None:
    headers = {**people.sign_in(tenant, *AUDITOR), "Content-Type": "application/json"}
    answer = await client.post(f"{BASE}/exports", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_public_entry_comes_with_a_proof_that_stands_alone(
    client: httpx.AsyncClient, people: People, filled: Filled, writer: LedgerWriter, source: FakeSource
) -> None:
    published = source.emit(
        filled.tenant,
        CredentialPublished(
            reference="r" * 43,
            commitment="c" * 64,
            credential_type="Certificate",
            issuer="Test",
            issued_at="2026-11-21T12:00:00.000000Z",
        ),
    )
    await writer.record(filled.tenant, L, [published])
    verification = people.service("verification")
    url = f"{BASE}/public-entries/{filled.tenant}/{published.event.id}"
    found = (await client.get(url, headers=verification)).json()
    assert published.body.decode() in found["line"]
    key = VerifierKey.parse(found["vkey"])
    proof = TlogProof.from_bytes(found["proof"].encode())
    checkpoint = proof.verify(leaf_hash(found["line"].encode()), [key])
    assert (checkpoint.size, proof.index) == (found["size"], found["seq"]) == (304, 303)
    private = f"{BASE}/public-entries/{filled.tenant}/{filled.arrivals[0].event.id}"
    unknown = f"{BASE}/public-entries/{filled.tenant}/{uuid4()}"
    answers = [await client.get(path, headers=verification) for path in (private, unknown)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert without_correlation(answers[0]) == without_correlation(answers[1])


@pytest.mark.parametrize("url", ["checkpoint", "export/303/checkpoint"])
async def test_what_a_killed_writer_left_unmarked_is_marked_before_it_is_shown(  # noqa: PLR0917 - fixtures
    client: httpx.AsyncClient, people: People, filled: Filled, marks: FileHighWater, tmp_path: Path, url: str
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read", "ledger.export")
    origin = f"ledger.test/{filled.tenant}/compliance"
    await client.post(f"{BASE}/exports", json={"log_id": str(filled.compliance)}, headers=auditor)
    newest = await marks.read(origin)
    (tmp_path / "high-water" / FILE).write_bytes(b"")
    assert (await client.get(f"{BASE}/logs/{filled.compliance}/{url}", headers=auditor)).status_code == 200
    assert newest is not None
    assert await FileHighWater(tmp_path / "high-water").read(origin) == newest


async def test_a_log_that_was_signed_otherwise_shows_no_checkpoint_from_there_on(
    client: httpx.AsyncClient, people: People, filled: Filled, tmp_path: Path
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    (tmp_path / "high-water" / FILE).write_bytes(b"")
    other = Head(263, bytes(32))
    await FileHighWater(tmp_path / "high-water").raise_to({f"ledger.test/{filled.tenant}/compliance": other})
    for size, status in ((5, 200), (263, 409), (303, 409)):
        answer = await client.get(f"{BASE}/logs/{filled.compliance}/checkpoint", params={"size": size}, headers=auditor)
        assert answer.status_code == status
        assert status == 200 or answer.json()["code"] == "log_frozen"
