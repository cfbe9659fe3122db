"""What a report tells of a log's entries, gathered in one pass and in bounded memory."""

import heapq
from datetime import datetime
from typing import Final

import msgspec

from tallystick_cli.audit.records import Record

MAX_BUCKETS: Final = 96
"""Columns of a chart; the width of a bucket doubles until all entries fit."""

MAX_TYPES: Final = 200
OTHER_TYPES: Final = "(all other types)"
DELAY_BOUNDS_S: Final = (0.1, 0.5, 1.0, 5.0, 60.0, 3600.0, 86_400.0)
"""Upper bounds of the classes of delay from event to entry; one more class holds the rest."""

_LONGEST: Final = 5


class Silence(msgspec.Struct, frozen=True, order=True):
    """A stretch without entries, between two neighbours."""

    seconds: float
    after_seq: int
    begin: str
    end: str


class TypeCount(msgspec.Struct):
    """How often a type stands in the log; ``buckets`` counts by bucket of time."""

    first: str
    last: str = ""
    count: int = 0
    buckets: dict[int, int] = msgspec.field(default_factory=dict)


class Profile:
    """Counts by type and time, delays and silences of one log."""

    def __init__(self) -> None:
        """Begin empty; a bucket is a second wide at first."""
        self.bucket_s = 1
        self.types: dict[str, TypeCount] = {}
        self.delays = [0] * (len(DELAY_BOUNDS_S) + 1)
        self.early = 0
        self.worst_delay: tuple[float, int] | None = None
        self.first = self.last = ""
        self.entries = 0
        self._origin_s = 0
        self._before_s = 0.0
        self._silences: list[Silence] = []

    def add(self, record: Record) -> None:
        """Count one entry; entries come in the log's order."""
        at_s = datetime.fromisoformat(record.recorded).timestamp()
        if not self.entries:
            self.first, self._origin_s = record.recorded, int(at_s)
        elif at_s > self._before_s:
            silence = Silence(at_s - self._before_s, record.seq - 1, self.last, record.recorded)
            if len(self._silences) < _LONGEST:
                heapq.heappush(self._silences, silence)
            else:
                heapq.heappushpop(self._silences, silence)
        self.entries += 1
        self.last, self._before_s = record.recorded, at_s
        self._count(record, int(at_s) - self._origin_s)
        self._delay(record, at_s)

    def silences(self) -> list[Silence]:
        """Give the longest stretches without entries, the longest first."""
        return sorted(self._silences, reverse=True)

    def totals(self) -> list[int]:
        """Count all types' entries by bucket, from the log's first to its last."""
        width = 1 + max((bucket for count in self.types.values() for bucket in count.buckets), default=-1)
        return [sum(count.buckets.get(bucket, 0) for count in self.types.values()) for bucket in range(width)]

    def _count(self, record: Record, since_s: int) -> None:
        while since_s // self.bucket_s >= MAX_BUCKETS:
            self.bucket_s *= 2
            for count in self.types.values():
                halved: dict[int, int] = {}
                for bucket, number in count.buckets.items():
                    halved[bucket // 2] = halved.get(bucket // 2, 0) + number
                count.buckets = halved
        name = record.event.type
        if name not in self.types and len(self.types) >= MAX_TYPES:
            name = OTHER_TYPES
        found = self.types.setdefault(name, TypeCount(record.recorded))
        found.count += 1
        found.last = record.recorded
        bucket = since_s // self.bucket_s
        found.buckets[bucket] = found.buckets.get(bucket, 0) + 1

    def _delay(self, record: Record, at_s: float) -> None:
        try:
            delay_s = at_s - datetime.fromisoformat(record.event.time).timestamp()
        except ValueError:
            return
        if delay_s < 0:
            self.early += 1
        if self.worst_delay is None or delay_s > self.worst_delay[0]:
            self.worst_delay = delay_s, record.seq
        class_ = next((at for at, bound in enumerate(DELAY_BOUNDS_S) if delay_s <= bound), len(DELAY_BOUNDS_S))
        self.delays[class_] += 1
