"""Holding every mark against the database, also those of logs that nobody writes to: a break shows at once.

A mark is read before the log, and neither ever goes back, so a log that is behind its mark here has lost entries.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog
from tallystick_chassis.metric_catalogue import LEDGER_FROZEN, VERIFICATION_AGE
from tallystick_chassis.metrics import age, gauge

from tallystick_ledger.high_water.mark import NOTHING, MarkMovedError, judge
from tallystick_ledger.high_water.store import (
    Break,
    KeptLog,
    find_kept,
    find_unmarked,
    forget_breaks,
    list_breaks,
    note_breaks,
)
from tallystick_ledger.logs.domain import read_origin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.ids import TenantId

    from tallystick_ledger.high_water.guard import HighWater
    from tallystick_ledger.high_water.mark import Head

WATCH_INTERVAL_S: Final = 30.0

_MISSING: Final = KeptLog(NOTHING, None)

log = structlog.get_logger(__name__)


class BreakWatch:
    """Finds the logs that do not continue their marks, of all tenants."""

    def __init__(self, *, duty: DutyDatabase, marks: HighWater, prefix: str, clock: Clock) -> None:
        self._duty = duty
        self._marks = marks
        self._prefix = prefix
        self._clock = clock
        self._has_adopted = False

    async def step(self) -> bool:
        """Look once, and raise the alarm for every log that stands still until an operator has decided."""
        looked_at = time.time()
        broken = await self.find()
        gauge(LEDGER_FROZEN, len(broken))
        age(VERIFICATION_AGE, looked_at)
        for one in broken:
            log.error(
                "log_frozen",
                tenant=str(one.tenant),
                log_name=one.origin,
                reason=f"{one.verdict}: signed up to {one.marked.size}, the database has {one.kept.size}",
            )
        return False

    async def find(self) -> Sequence[Break]:
        """Return the breaks that have no successor, after noting new ones and forgetting those that are mended."""
        marks = await self._marks.read_all()
        if not self._has_adopted:
            await self._adopt(marks)
            self._has_adopted = True
        named = [(name, origin, mark) for origin, mark in marks.items() if (name := read_origin(self._prefix, origin))]
        now = self._clock()
        async with self._duty.duty() as connection:
            known = {(one.tenant, one.origin): one for one in await list_breaks(connection)}
            kept = await find_kept(connection, [(name.tenant, origin, mark) for name, origin, mark in named])
            found: dict[tuple[TenantId, str], Break] = {}
            ahead: dict[str, Head] = {}
            for name, origin, mark in named:
                key = name.tenant, origin
                before = known.get(key)
                if before is not None and before.successor is not None:
                    continue
                has = kept.get(key, _MISSING)
                # How far ahead does not matter here: the writer says it, or raises the mark.
                verdict = judge(mark, has.head, root_at_mark=has.root_at_mark, unmarked=0)
                if verdict.is_broken:
                    found[key] = before or Break(
                        tenant=name.tenant,
                        origin=origin,
                        kind=name.kind,
                        period=name.period,
                        verdict=verdict,
                        marked=mark,
                        kept=has.head,
                        found_at=now,
                    )
                elif has.head.size > mark.size:
                    ahead[origin] = has.head  # a batch that a crash left unmarked, in a log that nobody writes to
            await note_breaks(connection, [one for key, one in found.items() if key not in known])
            mended = [one for key, one in known.items() if one.successor is None and key not in found]
            await forget_breaks(connection, mended)
        with suppress(MarkMovedError):  # somebody writes to it after all
            await self._marks.raise_to(ahead)
        return sorted(found.values(), key=lambda one: (one.tenant, one.origin))

    async def _adopt(self, marks: Mapping[str, Head]) -> None:
        """Mark the logs that have no mark as they are: of what was before, nobody can tell."""
        async with self._duty.duty() as connection:
            unmarked = await find_unmarked(connection, marks)
        if unmarked:
            await self._marks.raise_to(unmarked)
            log.warning("high_water_adopted", count=len(unmarked), first_use=not marks)
