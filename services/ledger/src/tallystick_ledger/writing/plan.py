"""What to do with a batch of arrivals, given how far the log has got with each feed. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from tallystick_ledger.writing.arrival import Arrival, Feed


@dataclass(frozen=True, slots=True)
class Plan:
    """Arrivals by what becomes of them.

    ``fresh`` continue their feeds and are recorded in this order. ``known`` have a number that is recorded already: the
    same event again, or a conflict; the store tells. ``conflicts`` claim a number or an id that another event has.
    ``held`` lie behind a gap; ``gaps`` says after which number each gap begins.
    """

    fresh: tuple[Arrival, ...]
    known: tuple[Arrival, ...]
    conflicts: tuple[Arrival, ...]
    held: tuple[Arrival, ...]
    gaps: Mapping[Feed, int]


def plan(arrivals: Sequence[Arrival], heads: Mapping[Feed, int], taken: Collection[UUID] | None = None) -> Plan:
    """Sort arrivals out; ``heads`` has the last recorded number of each feed (absent: none yet).

    Each feed's events are recorded in the order of their numbers, and feeds among each other in the order of arrival:
    the log reads as things happened. Event ids are compared only if ``taken`` is given, the ids that the log has: a
    source that uses one twice is at fault, and the database refuses it.
    """
    known: list[Arrival] = []
    conflicts: list[Arrival] = []
    chosen: dict[tuple[Feed, int], Arrival] = {}
    used = None if taken is None else set(taken)
    for arrival in arrivals:
        if arrival.source_seq <= heads.get(arrival.feed, 0):
            known.append(arrival)
            continue
        place = (arrival.feed, arrival.source_seq)
        other = chosen.setdefault(place, arrival)
        if other is not arrival:
            if other.body != arrival.body:
                conflicts.append(arrival)
            continue  # else the same message twice in one batch
        if used is not None:
            if arrival.event.id in used:
                conflicts.append(chosen.pop(place))
            used.add(arrival.event.id)

    ready, held, gaps = _continuous(chosen, heads)
    # Each place in the order of arrival goes to its feed's next number.
    fresh = tuple(ready[feed].popleft() for feed, _ in chosen if ready.get(feed))
    return Plan(fresh, tuple(known), tuple(conflicts), tuple(held), gaps)


def _continuous(
    chosen: Mapping[tuple[Feed, int], Arrival], heads: Mapping[Feed, int]
) -> tuple[dict[Feed, deque[Arrival]], list[Arrival], dict[Feed, int]]:
    by_feed: defaultdict[Feed, list[Arrival]] = defaultdict(list)
    for arrival in chosen.values():
        by_feed[arrival.feed].append(arrival)
    ready: dict[Feed, deque[Arrival]] = {}
    held: list[Arrival] = []
    gaps: dict[Feed, int] = {}
    for feed, numbered in by_feed.items():
        numbered.sort(key=lambda arrival: arrival.source_seq)
        last = heads.get(feed, 0)
        ready[feed] = deque()
        for arrival in numbered:
            if arrival.source_seq == last + 1:
                ready[feed].append(arrival)
                last = arrival.source_seq
            else:
                held.append(arrival)
                gaps[feed] = last
    return ready, held, gaps
