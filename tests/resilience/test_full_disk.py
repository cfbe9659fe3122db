"""A full disk, under load: Postgres and NATS on one file system without a free byte; then there is room again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import nats.errors
import nats.js.errors
import pytest
from faults.load import load
from faults.reckoning import figures

if TYPE_CHECKING:
    from pathlib import Path

    from faults.arena import Arena
    from faults.reckoning import Probe
    from nats.js import JetStreamContext

pytestmark = pytest.mark.xdist_group("resilience")

FULL_S = 6.0
_WITHIN_S = 120.0


async def fill(broker: JetStreamContext) -> None:
    """Publish what is no event until NATS can write nothing: Postgres may refuse first and leave it nothing to write.

    A stream that could not write once stays stuck until NATS starts again.
    """
    for _ in range(1_000):
        try:
            await broker.publish("evt.full.disk.is.poison", bytes(60_000), timeout=1)
        except (nats.errors.Error, nats.js.errors.Error):
            return
    pytest.fail("NATS goes on writing")


async def test_a_full_disk_stops_everything_and_loses_nothing(
    system_of_its_own: Arena, probe: Probe, tmp_path: Path
) -> None:
    arena = system_of_its_own
    if not arena.has_own_disk:
        pytest.skip("FULL DISK NOT TRIED: only root can mount a file system of limited size")
    async with load(arena, tmp_path / "journal.ndjson") as under:
        await asyncio.sleep(1.0)
        async with arena.broker() as broker:
            with arena.full_disk():
                await fill(broker)
                await asyncio.sleep(FULL_S)
        first = await under.next_accepted(len(under.accepted), within_s=_WITHIN_S)
        await probe.is_recorded(first, within_s=_WITHIN_S)
        await under.end()
        await probe.settled(within_s=_WITHIN_S)
        found = figures(arena, under.accepted)
    assert not found.lost
    assert not found.duplicated
