"""A full disk, under load: Postgres and NATS on one file system without a free byte; then there is room again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from faults.load import load
from faults.reckoning import figures

if TYPE_CHECKING:
    from pathlib import Path

    from faults.arena import Arena
    from faults.reckoning import Probe

pytestmark = pytest.mark.xdist_group("resilience")

FULL_S = 6.0
_WITHIN_S = 120.0


async def test_a_full_disk_stops_everything_and_loses_nothing(
    system_of_its_own: Arena, probe: Probe, tmp_path: Path
) -> None:
    arena = system_of_its_own
    if not arena.has_own_disk:
        pytest.skip("FULL DISK NOT TRIED: only root can mount a file system of limited size")
    async with load(arena, tmp_path / "journal.ndjson") as under:
        await asyncio.sleep(1.0)
        with arena.full_disk():
            await asyncio.sleep(FULL_S)
        first = await under.next_accepted(len(under.accepted), within_s=_WITHIN_S)
        await probe.is_recorded(first, within_s=_WITHIN_S)
        await under.end()
        await probe.settled(within_s=_WITHIN_S)
        found = figures(arena, under.accepted)
    assert not found.lost
    assert not found.duplicated
