"""Exports as files: prepared in parts by whatever workers there are, and fetched in ranges that add up to the file."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError
from tallystick_chassis.scope import Scope
from tallystick_ledger.errors import RangeNotSatisfiable
from tallystick_ledger.exports import commands, store
from tallystick_ledger.exports.preparing import ExportPreparer
from tallystick_ledger.exports.ranges import Span, wanted
from tallystick_ledger.reading.store import get_log

from .asking import AUDITOR, BASE, client, filled, people, without_correlation

if TYPE_CHECKING:
    import asyncpg
    import httpx
    from tallystick_chassis.database import Database, DutyDatabase

    from .asking import Filled, People
    from .conftest import LedgerReader, SettableClock

__all__ = ["client", "filled", "people"]  # fixtures

PART = 50
"""Seven parts of the 303 entries."""

ETAG = '"tag"'


@pytest.fixture
def preparer(duty: DutyDatabase, monkeypatch: pytest.MonkeyPatch) -> ExportPreparer:
    """A worker that measures fifty entries at a time, where five thousand would be one part."""
    monkeypatch.setattr(commands, "PART_ENTRIES", PART)
    return ExportPreparer(duty, part_entries=PART)


@pytest.fixture
async def whole(filled: Filled, reader: LedgerReader) -> bytes:
    """The compliance log's file, put together naively."""
    return b"".join(line + b"\n" for line in (await reader.logs(filled.tenant))[0].lines)


async def ask(client: httpx.AsyncClient, filled: Filled, headers: dict[str, str]) -> dict[str, object]:
    answer = await client.post(f"{BASE}/exports", json={"log_id": str(filled.compliance)}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def finish(preparer: ExportPreparer) -> None:
    while await preparer.measure():
        pass
    await preparer.hash()


async def test_a_long_export_is_ready_when_it_is_measured_and_says_how_far_that_is(
    client: httpx.AsyncClient, people: People, filled: Filled, preparer: ExportPreparer, whole: bytes
) -> None:
    auditor = people.sign_in(filled.tenant, *AUDITOR)
    asked = await ask(client, filled, auditor)
    assert (asked["state"], asked["progress"], asked["bytes"], asked["sha256"]) == ("requested", 0, None, None)
    url = f"{asked['base_url']}/entries.ndjson"
    early = await client.get(url, headers=auditor)
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    assert int(early.headers["retry-after"]) > 0

    async def view() -> dict[str, object]:
        answer = await client.get(f"{BASE}/logs/{filled.compliance}/export", headers=auditor)
        return answer.json()  # type: ignore[no-any-return]

    progress = []
    while await preparer.measure():
        progress.append((await view())["progress"])
    assert progress == [50, 100, 150, 200, 250, 300]
    ready = await view()
    assert (ready["state"], ready["progress"], ready["bytes"], ready["sha256"]) == ("ready", 303, len(whole), None)
    assert (await client.get(url, headers=auditor)).content == whole
    assert not await preparer.hash()
    assert (await view())["sha256"] == hashlib.sha256(whole).hexdigest()


async def test_a_short_export_is_ready_at_once(
    client: httpx.AsyncClient, people: People, filled: Filled, whole: bytes
) -> None:
    asked = await ask(client, filled, people.sign_in(filled.tenant, *AUDITOR))
    assert (asked["state"], asked["progress"], asked["bytes"]) == ("ready", 303, len(whole))
    assert asked["sha256"] == hashlib.sha256(whole).hexdigest()


class KilledError(BaseException):
    """What SIGKILL leaves of a transaction: nothing."""


async def test_a_worker_that_is_killed_leaves_what_it_had_measured_and_another_goes_on(
    *,
    client: httpx.AsyncClient,
    people: People,
    filled: Filled,
    preparer: ExportPreparer,
    whole: bytes,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await ask(client, filled, people.sign_in(filled.tenant, *AUDITOR))
    sound = {name: getattr(store, name) for name in ("add_part", "set_bytes", "set_sha256")}
    begun: list[int] = []
    sound_measure = store.measure

    async def noting(*given: object) -> tuple[int, int]:
        begun.append(given[2])  # type: ignore[arg-type]
        return await sound_measure(*given)  # type: ignore[arg-type]

    async def killed(*given: object) -> None:
        await sound[now](*given)
        raise KilledError

    monkeypatch.setattr(store, "measure", noting)
    for now in ("add_part", "set_bytes", "set_sha256"):
        if now == "set_bytes":
            for _ in range(6):
                assert await preparer.measure()
        with monkeypatch.context() as patch:
            patch.setattr(store, now, killed)
            with pytest.raises(KilledError):
                await (preparer.hash() if now == "set_sha256" else preparer.measure())
        if now != "add_part":
            await preparer.measure()
    await preparer.hash()
    assert begun == [0, 0, 50, 100, 150, 200, 250, 300, 300]
    row = await superuser.fetchrow("select bytes, sha256 from ledger.export_files where log_id = $1", filled.compliance)
    assert tuple(row) == (len(whole), hashlib.sha256(whole).digest())


async def test_two_workers_at_once_come_to_one_result(
    *,
    client: httpx.AsyncClient,
    people: People,
    filled: Filled,
    preparer: ExportPreparer,
    duty: DutyDatabase,
    whole: bytes,
    superuser: asyncpg.Connection,
) -> None:
    await ask(client, filled, people.sign_in(filled.tenant, *AUDITOR))
    await asyncio.gather(finish(preparer), finish(ExportPreparer(duty, part_entries=PART)))
    await finish(preparer)  # whoever found the export taken has gone home
    row = await superuser.fetchrow("select bytes, sha256 from ledger.export_files where log_id = $1", filled.compliance)
    assert tuple(row) == (len(whole), hashlib.sha256(whole).digest())
    parts = await superuser.fetch(
        "select first_seq, start_byte from ledger.export_parts where log_id = $1 order by 1", filled.compliance
    )
    lines = whole.splitlines(keepends=True)
    assert [tuple(part) for part in parts] == [(at, len(b"".join(lines[:at]))) for at in range(PART, 303, PART)]


async def test_an_export_that_another_worker_has_is_left_to_it(
    client: httpx.AsyncClient, people: People, filled: Filled, preparer: ExportPreparer, duty: DutyDatabase
) -> None:
    await ask(client, filled, people.sign_in(filled.tenant, *AUDITOR))
    async with duty.duty() as connection:
        (one,) = [each for each in await store.find_unmeasured(connection, 100) if each.log == filled.compliance]
        assert await store.lock(connection, one)
        assert not await preparer.measure()
    assert await preparer.measure()


async def test_any_range_is_that_slice_of_the_file(
    client: httpx.AsyncClient, people: People, filled: Filled, preparer: ExportPreparer, whole: bytes
) -> None:
    auditor = people.sign_in(filled.tenant, *AUDITOR)
    url = f"{(await ask(client, filled, auditor))['base_url']}/entries.ndjson"
    await finish(preparer)
    full = await client.get(url, headers=auditor)
    assert (full.status_code, full.content, full.headers["accept-ranges"]) == (200, whole, "bytes")
    assert full.headers["content-length"] == str(len(whole))
    assert full.headers["content-disposition"] == 'attachment; filename="entries.ndjson"'
    dice, length = random.Random(45), len(whole)  # noqa: S311 - the same test draws the same
    feed = whole.index(b"\n")
    spans = [(0, 0), (0, length - 1), (length - 1, length - 1), (feed, feed), (feed + 1, feed + 1)]
    spans += [sorted((dice.randrange(length), dice.randrange(length))) for _ in range(25)]  # type: ignore[misc]
    for first, last in spans:
        part = await client.get(url, headers=auditor | {"Range": f"bytes={first}-{last}"})
        assert (part.status_code, part.content) == (206, whole[first : last + 1]), (first, last)
        assert part.headers["content-range"] == f"bytes {first}-{last}/{length}"
        assert part.headers["content-length"] == str(last + 1 - first)
        assert part.headers["etag"] == full.headers["etag"]
    rest = await client.get(url, headers=auditor | {"Range": f"bytes={length - 700}-"})
    end = await client.get(url, headers=auditor | {"Range": "bytes=-700"})
    assert rest.content == end.content == whole[-700:]


async def test_if_range_and_if_none_match_compare_the_files_tag(
    client: httpx.AsyncClient, people: People, filled: Filled, whole: bytes
) -> None:
    auditor = people.sign_in(filled.tenant, *AUDITOR)
    url = f"{(await ask(client, filled, auditor))['base_url']}/entries.ndjson"
    etag = (await client.get(url, headers=auditor)).headers["etag"]
    ranged = auditor | {"Range": "bytes=9-19"}
    same = await client.get(url, headers=ranged | {"If-Range": etag})
    assert (same.status_code, same.content) == (206, whole[9:20])
    for other in ('"other"', f"W/{etag}", "Sat, 21 Nov 2026 12:00:00 GMT"):
        answer = await client.get(url, headers=ranged | {"If-Range": other})
        assert (answer.status_code, answer.content) == (200, whole), other
    kept = await client.get(url, headers=auditor | {"If-None-Match": etag})
    assert (kept.status_code, kept.content) == (304, b"")
    behind = await client.get(url, headers=auditor | {"Range": f"bytes={len(whole)}-"})
    assert (behind.status_code, behind.json()["code"]) == (416, "range_not_satisfiable")
    assert behind.headers["content-range"] == f"bytes */{len(whole)}"


@pytest.mark.parametrize(
    ("given", "span"),
    [
        (None, None),
        ("bytes=0-", Span(0, 10)),
        ("Bytes=3-5", Span(3, 6)),
        ("bytes=3-99", Span(3, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-99", Span(0, 10)),
        ("bytes=5-3", None),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("lines=0-1", None),
        ("bytes=+1-2", None),
        ("bytes=0-" + 19 * "9", None),
    ],
)
def test_what_is_no_single_range_is_answered_whole(given: str | None, span: Span | None) -> None:
    assert wanted(given, None, etag=ETAG, total=10) == span


@pytest.mark.parametrize("given", ["bytes=10-", "bytes=10-10", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(given: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        wanted(given, ETAG, etag=ETAG, total=10)


@pytest.mark.control("EV-25e")
async def test_a_download_is_recorded_once_an_hour_for_each_export_and_person(
    client: httpx.AsyncClient, people: People, filled: Filled, superuser: asyncpg.Connection
) -> None:
    one, other = people.sign_in(filled.tenant, *AUDITOR), people.sign_in(filled.tenant, *AUDITOR)
    base = (await ask(client, filled, one))["base_url"]

    async def recorded() -> int:
        return await superuser.fetchval(  # type: ignore[no-any-return]
            "select count(*) from ledger.events inner join ledger.outbox using (tenant_id, event_id) "
            "where tenant_id = $1 and type = 'ledger.export.downloaded'",
            filled.tenant,
        )

    await client.get(f"{base}/checkpoint", headers=one)
    await client.get(f"{base}/entries.ndjson", headers=one | {"Range": "bytes=99999999-"})
    assert await recorded() == 0, "nobody has fetched an entry"
    at_once = [client.get(f"{base}/entries.ndjson", headers=one | {"Range": f"bytes={at}-"}) for at in range(5)]
    assert {answer.status_code for answer in await asyncio.gather(*at_once)} == {206}
    await client.get(f"{base}/entries.ndjson", headers=one)
    assert await recorded() == 1
    await client.get(f"{base}/entries.ndjson", headers=other)
    assert await recorded() == 2


async def test_the_next_hours_download_is_recorded_again(
    client: httpx.AsyncClient, people: People, filled: Filled, database: Database, clock: SettableClock
) -> None:
    await ask(client, filled, people.sign_in(filled.tenant, *AUDITOR))
    scope = Scope.for_duty(filled.tenant, "ledger")
    counts = []
    for minutes in (0, 30, 30):
        clock.advance(minutes=minutes)
        async with database.transaction(scope) as tx:
            log = await get_log(tx, filled.compliance)
            await commands.record_download(tx, log, 303)
            counts.append((await tx.connection.exec_driver_sql("select count(*) from ledger.events")).scalar())
    assert counts == [2, 2, 3]


@pytest.mark.control("EV-22c")
async def test_another_tenants_range_is_not_there(client: httpx.AsyncClient, people: People, filled: Filled) -> None:
    await ask(client, filled, people.sign_in(filled.tenant, *AUDITOR))
    stranger = people.sign_in(uuid4(), *AUDITOR) | {"Range": "bytes=0-9"}
    foreign = await client.get(f"{BASE}/logs/{filled.compliance}/export/303/entries.ndjson", headers=stranger)
    missing = await client.get(f"{BASE}/logs/{uuid4()}/export/303/entries.ndjson", headers=stranger)
    assert foreign.status_code == missing.status_code == 404
    assert without_correlation(foreign) == without_correlation(missing)


async def test_nobody_moves_a_part(
    *,
    client: httpx.AsyncClient,
    people: People,
    filled: Filled,
    preparer: ExportPreparer,
    superuser: asyncpg.Connection,
    database: Database,
) -> None:
    await ask(client, filled, people.sign_in(filled.tenant, *AUDITOR))
    await preparer.measure()
    with pytest.raises(Exception, match="append-only"):
        await superuser.execute("update ledger.export_parts set start_byte = start_byte + 1")
    with pytest.raises(DBAPIError, match="permission denied"):
        async with database.transaction(Scope.for_duty(filled.tenant, "ledger")) as tx:
            await tx.connection.exec_driver_sql("update ledger.export_files set bytes = 1")
