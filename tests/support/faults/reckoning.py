"""The reckoning after faults: what was promised, what is stored, what stands in the ledger, and who heard of it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from typing import TYPE_CHECKING

import asyncpg
import msgspec
from tallystick_cli.stack.services import DATABASE
from tallystick_contracts.topology import DURABLES, EVENT_STREAM, ServiceName
from tallystick_demo.accounts import reckon
from tallystick_demo.operator import query, stored_events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick_cli.cluster.person import Accepted

    from faults.arena import Arena

_POLL_S = 0.05
_OUTBOXES = " union all ".join(f"select '{each}', count(*) from {each}.outbox" for each in ServiceName)
_HEADS = " union all ".join(
    f"select '{each}' as source, tenant_id, aggregate, last_seq from {each}.feed_heads" for each in ServiceName
)
_CURSORS = " union all ".join(
    f"select tenant_id, consumer, source, aggregate, last_seq from {each}.source_cursors" for each in ServiceName
)
_MADE = " union all ".join(f"select event_id from {each}.events where idempotency_key = $1" for each in ServiceName)


class Figures(msgspec.Struct, kw_only=True):
    """What the reckoning found; ``lost`` and ``duplicated`` name what they count, some of it."""

    commands: int
    events: int
    entries: int
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]


class Probe:
    """Asks the database, across its own deaths."""

    def __init__(self, arena: Arena) -> None:
        self._dsn = arena.servers.postgres.dsn(DATABASE)
        self._tls = ssl.create_default_context(cafile=str(arena.layout.ca_file))
        self._connection: asyncpg.Connection | None = None

    async def rows(self, statement: str, *arguments: object) -> list[asyncpg.Record] | None:
        """Return rows; nothing while the database is away."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._dsn, ssl=self._tls, timeout=5)
            return list(await self._connection.fetch(statement, *arguments, timeout=5))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            return None

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()

    async def is_recorded(self, accepted: Accepted, *, within_s: float) -> None:
        """Wait until every event of an accepted command is an entry of the ledger."""
        statement = f"""
            select count(*) as made, count(entries.event_id) as recorded
            from ({_MADE}) as made left join ledger.entries using (event_id)
        """
        deadline = time.monotonic() + within_s
        while not (found := await self.rows(statement, accepted.key)) or not found[0][0] == found[0][1] > 0:
            assert time.monotonic() < deadline, f"{accepted.route} is not in the ledger after {within_s:.0f} s: {found}"
            await asyncio.sleep(_POLL_S)

    async def settled(self, *, within_s: float) -> float:
        """Wait until every outbox is empty and every consumer stands at its sources' heads; return the seconds."""
        begun = time.monotonic()
        behind: object = "the database is away"
        while time.monotonic() - begun < within_s:
            outboxes, heads, cursors = [await self.rows(each) for each in (_OUTBOXES, _HEADS, _CURSORS)]
            if outboxes is not None and heads is not None and cursors is not None:
                behind = [tuple(row) for row in outboxes if row[1]] or _behind(heads, cursors)
                if not behind:
                    return time.monotonic() - begun
            await asyncio.sleep(_POLL_S)
        msg = f"not settled after {within_s:.0f} s: {behind}"
        raise AssertionError(msg)


def _behind(heads: Iterable[asyncpg.Record], cursors: Iterable[asyncpg.Record]) -> list[tuple[object, ...]]:
    reached = {(row["tenant_id"], row["consumer"], row["source"], row["aggregate"]): row["last_seq"] for row in cursors}
    return [
        (durable.name, head["source"], head["aggregate"], at, head["last_seq"])
        for head in heads
        for durable in DURABLES
        if durable.stream == EVENT_STREAM
        and durable.name != ServiceName.LEDGER  # the writer keeps entries, not cursors: the outboxes tell of it
        and durable.matches(head["source"], head["aggregate"])
        and (at := reached.get((head["tenant_id"], durable.name, head["source"], head["aggregate"]), 0))
        < head["last_seq"]
    ]


def figures(arena: Arena, accepted: Iterable[Accepted]) -> Figures:
    """Hold the journal against stores and ledger: each event once, in one place of one sequence."""
    rows = query(arena.layout, "select event_id, count(*) from ledger.entries group by event_id").splitlines()
    recorded = Counter({event: int(count) for event, count in (row.split("|") for row in rows if row)})
    stored = stored_events(arena.layout)
    found = reckon(accepted, stored, recorded, not_yet_exported=frozenset())
    unrecorded = tuple(one.id for one in stored if one.id not in recorded)
    return Figures(
        commands=found.commands,
        events=found.events,
        entries=found.entries,
        lost=found.lost + unrecorded,
        duplicated=found.duplicates,
    )
