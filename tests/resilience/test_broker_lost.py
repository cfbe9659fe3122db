"""NATS wiped, emptied, frozen for long: under load, with nobody's help, and nothing is lost for anyone who listens."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest
from faults.load import load
from faults.reckoning import figures

if TYPE_CHECKING:
    from pathlib import Path

    from faults.arena import Arena
    from faults.load import Load
    from faults.reckoning import Probe

pytestmark = pytest.mark.xdist_group("resilience")

IS_LONG = int(os.environ.get("TALLY_ROUNDS", "20")) >= 100
FROZEN_S = 60.0 if IS_LONG else 12.0
TIMES = 10 if IS_LONG else 2
WORKERS = ("identity-worker", "assessment-worker", "ledger-worker", "privacy-worker-worker", "verification-worker")
_WITHIN_S = 120.0


async def reckon(arena: Arena, probe: Probe, under: Load) -> None:
    """End the load; expect every promise kept once, and every consumer at its sources' heads."""
    await under.end()
    await probe.settled(within_s=_WITHIN_S)
    found = figures(arena, under.accepted)
    assert not found.lost
    assert not found.duplicated


@pytest.mark.control("X-10")
async def test_jetstreams_store_is_wiped_in_mid_load_and_nothing_is_lost(
    system_of_its_own: Arena, probe: Probe, tmp_path: Path
) -> None:
    async with load(system_of_its_own, tmp_path / "journal.ndjson") as under:
        for _ in range(TIMES):
            await asyncio.sleep(1.0)
            await system_of_its_own.wipe_jetstream()
            first = await under.next_accepted(len(under.accepted), within_s=_WITHIN_S)
            await probe.is_recorded(first, within_s=_WITHIN_S)
        await reckon(system_of_its_own, probe, under)


async def test_streams_emptied_by_an_administrator_cost_nothing_but_time(
    system_of_its_own: Arena, probe: Probe, tmp_path: Path
) -> None:
    async with load(system_of_its_own, tmp_path / "journal.ndjson") as under:
        async with system_of_its_own.broker() as broker:
            for _ in range(5 * TIMES):
                await asyncio.sleep(0.3)
                await broker.purge_stream("EVT")
                await broker.purge_stream("RCPT")
        await reckon(system_of_its_own, probe, under)


@pytest.mark.control("X-10")
async def test_while_nats_is_frozen_the_ledger_gets_its_events_over_http(
    system_of_its_own: Arena, probe: Probe, tmp_path: Path
) -> None:
    arena = system_of_its_own
    before = sum(arena.logged(worker, "handed_over") for worker in WORKERS)
    async with load(arena, tmp_path / "journal.ndjson") as under:
        await asyncio.sleep(1.0)
        with arena.frozen("nats"):
            thawed_at = time.monotonic() + FROZEN_S
            first = await under.next_accepted(len(under.accepted) + 10, within_s=_WITHIN_S)
            await probe.is_recorded(first, within_s=_WITHIN_S)
            await asyncio.sleep(max(0.0, thawed_at - time.monotonic()))
        assert sum(arena.logged(worker, "handed_over") for worker in WORKERS) > before
        await reckon(arena, probe, under)
