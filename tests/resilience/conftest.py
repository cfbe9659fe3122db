"""One system on a disk of its own for all the tests here that need the whole; they leave it running and settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from faults.arena import Arena, arena
from faults.reckoning import Probe


@pytest.fixture(scope="session")
def system_of_its_own() -> Iterator[Arena]:
    with arena() as running:
        yield running


@pytest.fixture
async def probe(system_of_its_own: Arena) -> AsyncIterator[Probe]:
    probe = Probe(system_of_its_own)
    yield probe
    await probe.close()
    await asyncio.sleep(0)
