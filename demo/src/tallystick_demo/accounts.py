"""The reckoning: what the client was promised, held against the event stores and the exports, key by key.

*Lost*: an accepted command without an event in the stores, or with an event that no export has. *Duplicate*: a command
that was carried out twice (its key stands in two transactions, each with a correlation id of its own), or an event that
stands twice in the exports.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from tallystick_cli.cluster.steps import eventually
from tallystick_contracts.topology import ServiceName

from tallystick_demo.operator import query

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tallystick_cli.cluster.person import Accepted
    from tallystick_cli.stack.layout import Layout

    from tallystick_demo.operator import Stored


@dataclass(frozen=True, slots=True)
class Reckoning:
    """The figures of the report, and some of the keys behind them."""

    commands: int
    events: int
    entries: int
    lost: tuple[str, ...]
    duplicates: tuple[str, ...]


class _EntryEvent(msgspec.Struct, frozen=True):
    id: str


class _Entry(msgspec.Struct, frozen=True):
    event: _EntryEvent


async def everything_confirmed(layout: Layout) -> None:
    """Wait until the ledger's receipts have emptied every outbox."""
    waiting = " + ".join(f"(select count(*) from {service}.outbox)" for service in ServiceName)  # noqa: S608 - constants

    async def empty() -> bool | None:
        return (await asyncio.to_thread(query, layout, f"select {waiting}")).strip() == "0" or None

    await eventually(empty, "the ledger's receipt for every event")


def exported_ids(folders: Iterable[Path]) -> Counter[str]:
    """Count how often each event id stands in the exports."""
    decoder = msgspec.json.Decoder(_Entry)
    counted: Counter[str] = Counter()
    for folder in folders:
        with (folder / "entries.ndjson").open("rb") as lines:
            counted.update(decoder.decode(line).event.id for line in lines)
    return counted


def reckon(
    journal: Iterable[Accepted], stored: Iterable[Stored], exported: Counter[str], *, not_yet_exported: frozenset[str]
) -> Reckoning:
    """Hold the journal against stores and exports.

    ``not_yet_exported`` are the keys of the commands that asked for the exports: their own events came after.
    """
    by_key: defaultdict[str, list[Stored]] = defaultdict(list)
    events = 0
    for one in stored:
        events += 1
        if one.key:
            by_key[one.key].append(one)
    keys = [accepted.key for accepted in journal]
    lost = [
        key
        for key in keys
        if not by_key[key] or (key not in not_yet_exported and any(event.id not in exported for event in by_key[key]))
    ]
    twice = [key for key, found in by_key.items() if len({event.correlation for event in found}) > 1]
    twice += [event_id for event_id, count in exported.items() if count > 1]
    return Reckoning(len(keys), events, exported.total(), tuple(lost), tuple(twice))
