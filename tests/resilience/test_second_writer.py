"""A second writer process beside the first, on the same logs, under load; and the first killed again and again."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import pytest
from faults.load import load
from faults.reckoning import figures
from tallystick_cli.stack import boot
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from pathlib import Path

    from faults.arena import Arena
    from faults.reckoning import Probe

pytestmark = pytest.mark.xdist_group("resilience")

_WITHIN_S = 120.0


async def test_two_writers_on_the_same_logs_write_each_event_once(
    system_of_its_own: Arena, probe: Probe, tmp_path: Path
) -> None:
    arena = system_of_its_own
    program = boot.service_program(arena.servers, ServiceName.LEDGER, "worker")
    log_file = arena.layout.log_file("ledger-second-worker")
    second = dataclasses.replace(program, name="ledger-second-worker", log_file=log_file).start()
    try:
        async with load(arena, tmp_path / "journal.ndjson") as under:
            for _ in range(3):
                await asyncio.sleep(1.5)
                await arena.is_back("ledger-worker", arena.kill("ledger-worker"))
                first = await under.next_accepted(len(under.accepted), within_s=_WITHIN_S)
                await probe.is_recorded(first, within_s=_WITHIN_S)
            await under.end()
            assert second.poll() is None
            await probe.settled(within_s=_WITHIN_S)
            found = figures(arena, under.accepted)
    finally:
        second.terminate()
        second.wait(30)
    assert not found.lost
    assert not found.duplicated
