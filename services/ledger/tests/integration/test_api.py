"""The routes as an auditor's client sees them: entries, proofs, exports; and what those who may not read see."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import httpx
import pytest
from nacl.signing import SigningKey
from sqlalchemy import text
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_cli.audit.sources import FolderSource
from tallystick_cli.audit.verify import verify_log
from tallystick_contracts.generated.assessment import CredentialPublished
from tallystick_ledger.high_water.files import FILE, FileHighWater
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.search import store as search_store
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

from .asking import AUDITOR, BASE, Filled, L, People, client, filled, people, without_correlation
from .conftest import SEED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tallystick_chassis.database import Database
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, LedgerReader


__all__ = ["client", "filled", "people"]  # fixtures


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


async def test_what_a_killed_writer_left_unmarked_is_marked_before_it_is_shown(
    client: httpx.AsyncClient, people: People, filled: Filled, marks: FileHighWater, tmp_path: Path
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    origin = f"ledger.test/{filled.tenant}/compliance"
    newest = await marks.read(origin)
    (tmp_path / "high-water" / FILE).write_bytes(b"")
    assert (await client.get(f"{BASE}/logs/{filled.compliance}/checkpoint", headers=auditor)).status_code == 200
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
