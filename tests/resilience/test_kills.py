"""SIGKILL for writer, relays, APIs, NATS and Postgres, at random moments under load; then every promise is looked up.

``TALLY_ROUNDS`` says how often: 20 unless told; ``make test-resilience`` says 200 and keeps the figures.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from faults.load import load
from faults.reckoning import figures

if TYPE_CHECKING:
    from faults.arena import Arena
    from faults.reckoning import Probe

pytestmark = pytest.mark.xdist_group("resilience")

ROUNDS = int(os.environ.get("TALLY_ROUNDS", "20"))
SEED = int(os.environ.get("TALLY_SEED", "20261122"))
LONG = 100
"""From so many rounds on the figures are kept."""
RESULTS = Path(__file__).parents[2] / "bench" / "results" / "resilience.json"
VICTIMS = (
    "ledger-worker",  # the writer
    "identity-worker",  # a relay, and a reader of receipts
    "assessment-worker",
    "nats",
    "postgres",
    "identity-api",
    "ledger-api",
)
_SETTLED_WITHIN_S = 120.0
_RECOVERED_WITHIN_S = 60.0


class Report(msgspec.Struct, kw_only=True):
    """The figures of one run."""

    rounds: int
    kills: dict[str, int]
    commands_accepted: int
    events: int
    entries: int
    lost: int
    duplicated: int
    recovered_max_s: float
    recovered_median_s: float
    settled_s: float


@pytest.mark.control("X-10")
async def test_whatever_is_killed_at_whatever_moment_nothing_is_lost_and_nothing_happens_twice(
    system_of_its_own: Arena, probe: Probe, tmp_path: Path
) -> None:
    arena, luck = system_of_its_own, random.Random(SEED)  # noqa: S311 - a seed that can be given again
    killed: Counter[str] = Counter()
    recovered_s: list[float] = []
    async with load(arena, tmp_path / "journal.ndjson") as under:
        for _ in range(ROUNDS):
            await asyncio.sleep(luck.uniform(0.0, 0.5))
            under.check()
            program = luck.choice(VICTIMS)
            before, died = len(under.accepted), time.monotonic()
            victim = arena.kill(program)
            killed[program] += 1
            await arena.is_back(program, victim)
            first = await under.next_accepted(before, within_s=_RECOVERED_WITHIN_S)
            await probe.is_recorded(first, within_s=_RECOVERED_WITHIN_S)
            recovered_s.append(time.monotonic() - died)
        await under.end()
        settled_s = await probe.settled(within_s=_SETTLED_WITHIN_S)
        found = figures(arena, under.accepted)
    report = Report(
        rounds=ROUNDS,
        kills=dict(sorted(killed.items())),
        commands_accepted=found.commands,
        events=found.events,
        entries=found.entries,
        lost=len(found.lost),
        duplicated=len(found.duplicated),
        recovered_max_s=round(max(recovered_s), 2),
        recovered_median_s=round(statistics.median(recovered_s), 2),
        settled_s=round(settled_s, 2),
    )
    print(msgspec.json.encode(report).decode())  # noqa: T201 - the figure is the point; pytest -s shows it
    if ROUNDS >= LONG:
        RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    assert not found.lost
    assert not found.duplicated
    assert found.commands > ROUNDS
