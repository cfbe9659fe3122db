"""The routes of the standard format, as clients of c2sp.org/tlog-tiles use them, and the switch that opens a log."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from tallystick_cli.audit.mirror import mirror_log
from tallystick_cli.audit.sources import open_sources
from tallystick_cli.audit.tiled import TiledSource
from tallystick_cli.audit.verify import verify_log
from tallystick_tlog import (
    TILE_WIDTH,
    Tile,
    TileReader,
    VerifierKey,
    from_base64,
    leaf_hash,
    new_bundles,
    new_tiles,
    open_checkpoint,
    read_bundle,
    verify_consistency,
    verify_inclusion,
)

from .asking import AUDITOR, BASE, L, client, filled, people, without_correlation

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg
    import httpx
    from tallystick_ledger.writing.writer import LedgerWriter

    from .asking import Filled, People
    from .conftest import FakeSource, LedgerReader

__all__ = ["client", "filled", "people"]  # fixtures

PUBLISHER = ("ledger.read", "ledger.publish")
OPEN_PATHS = ("checkpoint", "vkey", "tile/0/000", "tile/0/001.p/47", "tile/1/000.p/1")


async def fetch_log(
    client: httpx.AsyncClient, prefix: str, headers: dict[str, str], *, entries: bool
) -> dict[str, bytes]:
    """Fetch a whole log as a client would who knows nothing but its address."""
    found = {}
    for name in ("checkpoint", "vkey"):
        found[name] = (await client.get(f"{prefix}/{name}", headers=headers)).content
    head = open_checkpoint(found["checkpoint"], [VerifierKey.parse(found["vkey"].decode().strip())])
    for tile in (*new_tiles(0, head.size), *(new_bundles(0, head.size) if entries else ())):
        answer = await client.get(f"{prefix}/{tile.path}", headers=headers)
        assert answer.status_code == 200, tile.path
        found[tile.path] = answer.content
    return found


async def test_the_log_reads_from_its_tiles_as_from_the_entries(
    client: httpx.AsyncClient, people: People, filled: Filled, reader: LedgerReader
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    prefix = f"{BASE}/logs/{filled.compliance}"
    found = await fetch_log(client, prefix, auditor, entries=True)
    head = open_checkpoint(found["checkpoint"], [VerifierKey.parse(found["vkey"].decode().strip())])
    tiles = TileReader(head.size, head.root, lambda tile: found[tile.path])
    lines = (await reader.logs(filled.tenant))[0].lines
    assert [entry for bundle in new_bundles(0, head.size) for entry in tiles.entries(bundle)] == lines
    for seq in (0, 255, 256, 302):
        proof = (await client.get(f"{prefix}/proofs/inclusion?seq={seq}", headers=auditor)).json()
        assert [from_base64(item) for item in proof["hashes"]] == tiles.inclusion_proof(seq)
        verify_inclusion(leaf_hash(lines[seq]), seq, head.size, tiles.inclusion_proof(seq), head.root)
    old = (await client.get(f"{prefix}/checkpoint?size=263", headers=auditor)).content
    old_head = open_checkpoint(old, [VerifierKey.parse(found["vkey"].decode().strip())])
    verify_consistency(263, head.size, tiles.consistency_proof(263), old_head.root, head.root)


@dataclass(frozen=True)
class Fetched:
    """What was fetched from the routes, as `tally audit` reads it."""

    found: dict[str, bytes]
    name: str = "fetched"

    def read_small(self, name: str) -> bytes:
        return self.found[name]

    def read_file(self, name: str, _max_bytes: int) -> bytes:
        return self.found[name]


@pytest.mark.control("EV-25e")
async def test_what_the_routes_give_is_mirrored_and_verified_as_it_grows(
    *,
    client: httpx.AsyncClient,
    people: People,
    filled: Filled,
    writer: LedgerWriter,
    source: FakeSource,
    tmp_path: Path,
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    prefix = f"{BASE}/logs/{filled.compliance}"
    for size in (303, 703):
        found = await fetch_log(client, prefix, auditor, entries=True)
        keys = (VerifierKey.parse(found["vkey"].decode().strip()),)
        done = mirror_log(TiledSource(Fetched(found)), tmp_path / "mirror", keys, lambda _: None)
        assert (done.entries, done.authenticated) == (size, True)
        for path, content in found.items():
            assert (tmp_path / "mirror" / path).read_bytes() == content
        (mirrored,) = open_sources(str(tmp_path / "mirror"), None, ())
        assert verify_log(mirrored, keys, (), 1, lambda _: None).status == "intact"
        await writer.record(filled.tenant, L, source.compliance(filled.tenant, 400))


async def test_content_types_and_caching_are_the_specifications(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    prefix = f"{BASE}/logs/{filled.compliance}"
    checkpoint = await client.get(f"{prefix}/checkpoint", headers=auditor)
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    for path, age_s in (("tile/0/000", 31_536_000), ("tile/entries/000", 31_536_000), ("tile/0/001.p/47", 300)):
        answer = await client.get(f"{prefix}/{path}", headers=auditor)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["cache-control"] == f"private, max-age={age_s}, immutable"


async def test_every_narrower_partial_tile_stays_available(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    prefix = f"{BASE}/logs/{filled.compliance}"
    whole = (await client.get(f"{prefix}/tile/0/000", headers=auditor)).content
    assert len(whole) == TILE_WIDTH * 32
    for width in (1, 5, 255):
        part = await client.get(f"{prefix}/tile/0/000.p/{width}", headers=auditor)
        assert part.content == whole[: width * 32]
        entries = await client.get(f"{prefix}/tile/entries/000.p/{width}", headers=auditor)
        assert [leaf_hash(entry) for entry in read_bundle(Tile(-1, 0, width), entries.content)] == [
            whole[place * 32 : place * 32 + 32] for place in range(width)
        ]


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("identity, gzip;q=0.5", "gzip"), ("gzip; q=0", None), ("identity", None), ("br", None)],
)
async def test_bundles_are_compressed_for_whoever_asks(
    *, client: httpx.AsyncClient, people: People, filled: Filled, accepted: str, encoding: str | None
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read") | {"Accept-Encoding": accepted}
    url = f"{BASE}/logs/{filled.compliance}/tile/entries/000"
    async with client.stream("GET", url, headers=auditor) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "Accept-Encoding"
    assert int(answer.headers["content-length"]) == len(raw)
    assert len(read_bundle(Tile(-1, 0), gzip.decompress(raw) if encoding else raw)) == TILE_WIDTH


@pytest.mark.parametrize(
    "path",
    [
        *("tile/0/001", "tile/0/001.p/48", "tile/0/002.p/1", "tile/1/000", "tile/1/000.p/2", "tile/2/000.p/1"),
        *("tile/entries/001", "tile/entries/001.p/48", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/0", "tile/00/000"),
        *(
            "tile/data/000",
            "tile/64/000",
            "tile/0/x000/000",
            "tile/0/000.p/01",
            "tile/0/x999/x999/999",
            "tile/0/%2e%2e",
        ),
    ],
)
async def test_what_names_no_tile_of_the_log_is_not_found(
    client: httpx.AsyncClient, people: People, filled: Filled, path: str
) -> None:
    auditor = people.sign_in(filled.tenant, "ledger.read")
    answer = await client.get(f"{BASE}/logs/{filled.compliance}/{path}", headers=auditor)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.control("EV-22c")
@pytest.mark.control("EV-13b")
async def test_tiles_are_for_those_who_may_read_the_whole_log(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    stranger = people.sign_in(uuid4(), *AUDITOR, "ledger.publish")
    of_unit = people.sign_in(filled.tenant, *AUDITOR, "ledger.publish", unit=filled.unit)
    nobody = people.sign_in(filled.tenant, "people.read")
    for path in (*OPEN_PATHS[1:], "tile/entries/000", "publication"):
        url = f"{BASE}/logs/{filled.compliance}/{path}"
        missing = await client.get(f"{BASE}/logs/{uuid4()}/{path}", headers=stranger)
        for headers in (stranger, of_unit):
            answer = await client.get(url, headers=headers)
            assert answer.status_code == 404, path
            assert without_correlation(answer) == without_correlation(missing), path
        assert (await client.get(url)).status_code == 401, path
        assert (await client.get(url, headers=nobody)).status_code == 403, path


async def switch(client: httpx.AsyncClient, headers: dict[str, str], log: UUID, *, is_open: bool) -> httpx.Response:
    headers = headers | {"Idempotency-Key": uuid4().hex}
    return await client.put(f"{BASE}/logs/{log}/publication", json={"open": is_open}, headers=headers)


@pytest.mark.control("EV-12b")
async def test_a_log_is_open_to_anybody_from_switch_to_switch(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    publisher = people.sign_in(filled.tenant, *PUBLISHER)
    prefix = f"/open/logs/{filled.compliance}"

    async def statuses() -> set[int]:
        return {(await client.get(f"{prefix}/{path}")).status_code for path in OPEN_PATHS}

    assert await statuses() == {404}
    answer = await switch(client, publisher, filled.compliance, is_open=True)
    assert answer.json() == {
        "log_id": str(filled.compliance),
        "open": True,
        "url": f"https://ledger.test{prefix}",
    }
    assert await statuses() == {200}
    found = await fetch_log(client, prefix, {}, entries=False)
    head = open_checkpoint(found["checkpoint"], [VerifierKey.parse(found["vkey"].decode().strip())])
    assert len(TileReader(head.size, head.root, lambda tile: found[tile.path]).inclusion_proof(7)) == 9
    full = await client.get(f"{prefix}/tile/0/000")
    assert full.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await client.get(f"{prefix}/checkpoint")).headers["cache-control"] == "public, max-age=5"
    assert (await client.get(f"/open/logs/{filled.audit}/checkpoint")).status_code == 404
    await switch(client, publisher, filled.compliance, is_open=False)
    assert await statuses() == {404}


@pytest.mark.control("EV-12b")
async def test_a_closed_a_missing_and_a_malformed_address_answer_alike(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    publisher = people.sign_in(filled.tenant, *PUBLISHER)
    await switch(client, publisher, filled.compliance, is_open=True)
    answers = [
        await client.get(f"/open/logs/{log}/{path}")
        for log in (filled.audit, uuid4())
        for path in (*OPEN_PATHS, "tile/entries/000", "tile/nonsense")
    ]
    answers += [
        await client.get(f"/open/logs/{filled.compliance}/{path}")
        for path in ("tile/entries/000", "tile/entries/000.p/3", "tile/0/009", "tile/nonsense", "entries", "entries/0")
    ]
    bodies = [without_correlation(answer) for answer in answers]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert bodies == [bodies[0]] * len(bodies)
    lengths = {tuple(sorted(answer.headers)) for answer in answers}
    assert len(lengths) == 1


async def test_each_turn_of_the_switch_is_recorded_once(
    client: httpx.AsyncClient, people: People, filled: Filled, superuser: asyncpg.Connection
) -> None:
    publisher = people.sign_in(filled.tenant, *PUBLISHER)
    for is_open in (False, True, True, False, False, True):
        answer = await switch(client, publisher, filled.compliance, is_open=is_open)
        assert (answer.status_code, answer.json()["open"]) == (200, is_open)
        shown = await client.get(f"{BASE}/logs/{filled.compliance}/publication", headers=publisher)
        assert shown.json() == answer.json()
    rows = await superuser.fetch(
        "select type, stream, convert_from(body, 'UTF8') as body from ledger.events where tenant_id = $1 "
        "order by stream_version",
        filled.tenant,
    )
    assert [row["type"].rpartition(".")[2] for row in rows] == ["started", "stopped", "started"]
    assert {row["stream"] for row in rows} == {f"publication-{filled.compliance}"}
    assert all(f'"data":{{"log":"{filled.compliance}","size":303}}' in row["body"] for row in rows)


async def test_the_switch_wants_its_own_capability_and_a_recent_sign_in(
    client: httpx.AsyncClient, people: People, filled: Filled
) -> None:
    for headers, status, code in (
        (people.sign_in(filled.tenant, *AUDITOR), 403, "capability_missing"),
        (people.sign_in(filled.tenant, *PUBLISHER, age_s=3_600), 401, "step_up_required"),
        (people.sign_in(uuid4(), *PUBLISHER), 404, "not_found"),
        (people.sign_in(filled.tenant, *PUBLISHER, unit=filled.unit), 404, "not_found"),
    ):
        answer = await switch(client, headers, filled.compliance, is_open=True)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await client.get(f"/open/logs/{filled.compliance}/checkpoint")).status_code == 404


@pytest.mark.control("EV-11c")
async def test_the_look_up_without_a_tenant_shows_a_published_log_and_nothing_else(
    client: httpx.AsyncClient, people: People, filled: Filled, superuser: asyncpg.Connection
) -> None:
    await switch(client, people.sign_in(filled.tenant, *PUBLISHER), filled.compliance, is_open=True)
    await superuser.execute("set role tally_ledger_app")
    try:
        assert await superuser.fetchval("select ledger.find_open_log($1)", filled.compliance) == filled.tenant
        assert await superuser.fetchval("select ledger.find_open_log($1)", filled.audit) is None
        assert await superuser.fetchval("select ledger.find_open_log($1)", uuid4()) is None
        # The setting that the function writes for its owner opens nothing to the role that calls it.
        await superuser.execute("select set_config('app.open_log', $1, false)", str(filled.compliance))
        assert await superuser.fetchval("select count(*) from ledger.logs") == 0
    finally:
        await superuser.execute("reset role")
        await superuser.execute("reset app.open_log")
