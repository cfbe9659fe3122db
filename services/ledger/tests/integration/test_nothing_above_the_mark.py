"""Whatever the API shows of a log lies at or below its high-water mark, or is not shown."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from nacl.signing import SigningKey
from tallystick_ledger.errors import LogFrozen
from tallystick_ledger.exports import command
from tallystick_ledger.exports.command import export
from tallystick_ledger.high_water.files import FileHighWater
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.keys.ring import KeyRing
from tallystick_ledger.keys.signing import CheckpointKeys
from tallystick_ledger.logs.continuing import read_logs
from tallystick_ledger.writing.writer import LedgerWriter

from .asking import BASE, A, L, client, people
from .conftest import PREFIX, SEED
from .test_high_water import Killed, KilledBefore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

    import httpx
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_chassis.ids import TenantId
    from tallystick_cli.stack.temporary import Databases
    from tallystick_ledger.high_water.guard import HighWater

    from .asking import People
    from .conftest import FakeSource, LedgerReader, SettableClock, StoredLog

__all__ = ["client", "people"]  # fixtures

MARKED, SIZE = 3, 5
ABOVE = (
    "/logs/{log}/entries",
    "/logs/{log}/entries/4",
    "/logs/{log}/proofs/inclusion?seq=1",
    "/logs/{log}/proofs/inclusion?seq=1&size=4",
    "/logs/{log}/proofs/consistency?from=1",
    "/logs/{log}/tile/0/000.p/5",
    "/logs/{log}/tile/entries/000.p/4",
    "/entries",
    "/entries?order=newest&limit=1",
)
BELOW = (
    "/logs/{log}/entries/1",
    "/logs/{log}/proofs/inclusion?seq=1&size=2",
    "/logs/{log}/proofs/consistency?from=1&to=2",
    "/logs/{log}/tile/0/000.p/2",
    "/logs/{log}/tile/entries/000.p/2",
    "/entries?limit=1",
)


@pytest.fixture
def writer_with(duty: DutyDatabase, source: FakeSource, clock: SettableClock) -> Callable[[HighWater], LedgerWriter]:
    """Make a writer with marks of its own."""
    return lambda marks: LedgerWriter(
        duty=duty,
        feeds=source,
        prefix=PREFIX,
        keys=CheckpointKeys(KeyRing(SEED), PREFIX),
        clock=clock,
        high_water=HighWaterGuard(marks),
    )


@pytest.fixture
async def unmarked(
    writer_with: Callable[[HighWater], LedgerWriter],
    source: FakeSource,
    tenant: TenantId,
    marks: FileHighWater,
    reader: LedgerReader,
) -> StoredLog:
    """A log of five entries, of which the last two were committed by a writer that was killed before it marked them."""
    await writer_with(marks).record(tenant, L, source.compliance(tenant, MARKED))
    with suppress(Killed):
        await writer_with(KilledBefore(marks)).record(tenant, L, source.compliance(tenant, SIZE - MARKED))
        pytest.fail("nothing was killed")
    (stored,) = await reader.logs(tenant)
    assert [row["size"] for row in stored.checkpoints] == [MARKED, SIZE]
    return stored


@pytest.fixture
async def forked(  # noqa: PLR0917 - fixtures
    writer_with: Callable[[HighWater], LedgerWriter],
    source: FakeSource,
    tenant: TenantId,
    marks: FileHighWater,
    reader: LedgerReader,
    tmp_path: Path,
) -> StoredLog:
    """A log of five entries, of which the mark knows another history at two."""
    await writer_with(FileHighWater(tmp_path / "elsewhere")).record(tenant, L, source.compliance(tenant, SIZE))
    (stored,) = await reader.logs(tenant)
    await marks.raise_to({stored.log["origin"]: Head(2, bytes(32))})
    return stored


async def marked(marks: FileHighWater, stored: StoredLog) -> int:
    found = await marks.read(stored.log["origin"])
    return found.size if found else 0


@pytest.mark.control("X-10", "EV-41b")
@pytest.mark.parametrize("path", ["/logs", *ABOVE])
async def test_what_lies_above_the_mark_is_marked_before_it_is_shown(  # noqa: PLR0917 - fixtures
    client: httpx.AsyncClient, people: People, tenant: TenantId, unmarked: StoredLog, marks: FileHighWater, path: str
) -> None:
    assert await marked(marks, unmarked) == MARKED
    answer = await client.get(BASE + path.format(log=unmarked.log["id"]), headers=people.sign_in(tenant, "ledger.read"))
    assert answer.status_code == 200
    assert await marked(marks, unmarked) == SIZE


@pytest.mark.parametrize("path", BELOW)
async def test_what_lies_below_the_mark_is_shown_as_it_is(  # noqa: PLR0917 - fixtures
    client: httpx.AsyncClient, people: People, tenant: TenantId, unmarked: StoredLog, marks: FileHighWater, path: str
) -> None:
    answer = await client.get(BASE + path.format(log=unmarked.log["id"]), headers=people.sign_in(tenant, "ledger.read"))
    assert answer.status_code == 200
    assert await marked(marks, unmarked) == MARKED


async def test_an_export_is_of_what_was_marked(
    client: httpx.AsyncClient, people: People, tenant: TenantId, unmarked: StoredLog, marks: FileHighWater
) -> None:
    auditor = people.sign_in(tenant, "ledger.export")
    asked = await client.post(f"{BASE}/exports", json={"log_id": str(unmarked.log["id"])}, headers=auditor)
    assert (asked.status_code, asked.json()["size"]) == (201, SIZE)
    assert await marked(marks, unmarked) == SIZE


async def test_an_open_logs_tiles_are_marked_too(
    client: httpx.AsyncClient, people: People, tenant: TenantId, unmarked: StoredLog, marks: FileHighWater
) -> None:
    log: UUID = unmarked.log["id"]
    publisher = people.sign_in(tenant, "ledger.read", "ledger.publish")
    assert (await client.put(f"{BASE}/logs/{log}/publication", json={"open": True}, headers=publisher)).is_success
    assert await marked(marks, unmarked) == MARKED
    assert (await client.get(f"/open/logs/{log}/tile/0/000.p/5")).status_code == 200
    assert await marked(marks, unmarked) == SIZE


@pytest.mark.control("X-10", "EV-41b")
@pytest.mark.parametrize("path", ABOVE)
async def test_what_does_not_continue_the_mark_is_not_shown(
    client: httpx.AsyncClient, people: People, tenant: TenantId, forked: StoredLog, path: str
) -> None:
    answer = await client.get(BASE + path.format(log=forked.log["id"]), headers=people.sign_in(tenant, "ledger.read"))
    assert (answer.status_code, answer.json()["code"]) == (409, "log_frozen")


async def test_a_log_that_stands_still_is_listed_as_far_as_it_was_signed_and_not_exported(
    client: httpx.AsyncClient, people: People, tenant: TenantId, forked: StoredLog
) -> None:
    auditor = people.sign_in(tenant, "ledger.read", "ledger.export")
    (listed,) = (await client.get(f"{BASE}/logs", headers=auditor)).json()["logs"]
    assert listed["size"] == 2
    refused = await client.post(f"{BASE}/exports", json={"log_id": str(forked.log["id"])}, headers=auditor)
    assert (refused.status_code, refused.json()["code"]) == (409, "log_frozen")


@dataclass(frozen=True)
class Operator:
    """What the operator's command needs of a process."""

    database: Database
    duty: DutyDatabase
    settings: SimpleNamespace
    service: str = "ledger"

    async def export(self, tenant: TenantId, out: Path) -> int:
        return await export(self, ["--tenant", str(tenant), "--out", str(out)])  # type: ignore[arg-type] # all it uses


@pytest.fixture
def operator(database: Database, duty: DutyDatabase, ledger_databases: Databases, tmp_path: Path) -> Operator:
    return Operator(
        database,
        duty,
        SimpleNamespace(
            high_water=str(tmp_path / "high-water"),
            ca_file=ledger_databases.servers.layout.ca_file,
            ledger_key=bytes(SigningKey(SEED).verify_key),
            ledger_origin=PREFIX,
            checkpoint_key=SEED,
            checkpoint_keys_dir=None,
        ),
    )


async def test_the_operators_export_marks_a_log_before_it_writes_one_entry(
    operator: Operator, tenant: TenantId, unmarked: StoredLog, marks: FileHighWater, tmp_path: Path
) -> None:
    assert await operator.export(tenant, tmp_path / "out") == 0
    assert await marked(marks, unmarked) == SIZE
    assert len((tmp_path / "out" / "compliance" / "entries.ndjson").read_bytes().splitlines()) == SIZE


async def test_the_operators_export_leaves_out_what_stands_still_and_says_so(  # noqa: PLR0917 - fixtures
    operator: Operator,
    tenant: TenantId,
    forked: StoredLog,
    writer_with: Callable[[HighWater], LedgerWriter],
    source: FakeSource,
    marks: FileHighWater,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    await writer_with(marks).record(tenant, A, source.audit(tenant, 2))
    assert await operator.export(tenant, tmp_path / "out") == 1
    said = capsys.readouterr()
    assert said.err == (
        f"tallystick: {forked.log['origin']} is not exported. "
        "This log does not continue what was signed, and stands still\n"
    )
    assert [folder.name for folder in (tmp_path / "out").iterdir()] == ["audit-2026-11"]
    assert said.out.splitlines()[-1] == f"{tmp_path / 'out' / 'audit-2026-11'}"


async def test_the_record_for_an_upgrade_says_of_each_log_that_stands_still_why_and_proves_the_others(  # noqa: PLR0917 - fixtures
    operator: Operator,
    tenant: TenantId,
    forked: StoredLog,
    writer_with: Callable[[HighWater], LedgerWriter],
    source: FakeSource,
    marks: FileHighWater,
) -> None:
    await writer_with(marks).record(tenant, A, source.audit(tenant, 3))
    kept = await read_logs(operator, {f"{PREFIX}/{tenant}/audit-2026-11": 2})  # type: ignore[arg-type] # all it uses
    logs = {log.origin: log for log in kept.logs if str(tenant) in log.origin}
    still = logs.pop(forked.log["origin"])
    assert (still.size, still.note, still.fault) == (SIZE, "", LogFrozen.title)
    (sound,) = logs.values()
    assert (sound.size, sound.fault, len(sound.proof)) == (3, "", 1), sound.origin
    assert sound.note.startswith(sound.origin)


async def test_a_log_that_is_dropped_while_it_is_exported_leaves_nothing_that_looks_damaged(  # noqa: PLR0917 - fixtures
    operator: Operator,
    tenant: TenantId,
    unmarked: StoredLog,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    async def gone(*_arguments: object) -> list[object]:
        return []

    monkeypatch.setattr(command, "get_lines", gone)
    assert await operator.export(tenant, tmp_path / "out") == 1
    assert f"{unmarked.log['origin']} is not exported" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


async def test_what_was_below_the_mark_once_is_shown_while_the_marks_are_out_of_reach(
    client: httpx.AsyncClient, people: People, tenant: TenantId, unmarked: StoredLog, tmp_path: Path
) -> None:
    auditor = people.sign_in(tenant, "ledger.read")
    entries = f"{BASE}/logs/{unmarked.log['id']}/entries"
    assert (await client.get(f"{entries}/1", headers=auditor)).status_code == 200
    (tmp_path / "high-water").rename(tmp_path / "away")
    (tmp_path / "high-water").write_text("no folder any more")
    assert (await client.get(f"{entries}/2", headers=auditor)).status_code == 200
    assert (await client.get(f"{entries}/4", headers=auditor)).status_code == 500
