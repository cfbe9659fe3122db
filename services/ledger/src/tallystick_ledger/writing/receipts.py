"""Receipts for what was committed, one for each source of a batch; and again for what arrives a second time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from tallystick_chassis.bus import BusMessage
from tallystick_contracts.topology import receipt_subject
from tallystick_tlog.entry import format_recorded
from tallystick_tlog.receipt import Receipt, ReceiptEvent

from tallystick_ledger.writing.arrival import Feed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from tallystick_chassis.ids import TenantId

    from tallystick_ledger.writing.batch import Batch


class Place(NamedTuple):
    """Where one event stands."""

    feed: Feed
    source_seq: int
    event_id: UUID
    seq: int


@dataclass(frozen=True, slots=True)
class Committed:
    """One committed batch of one log: what receipts are made of. ``leaves`` and ``places`` are in the log's order."""

    tenant: TenantId
    origin: str
    note: str
    start: int
    prev: bytes
    frontier: tuple[bytes, ...]
    leaves: tuple[bytes, ...]
    recorded: datetime
    places: tuple[Place, ...]
    keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, batch: Batch, keys: tuple[str, ...] = ()) -> Committed:
        """Say of a batch what its receipts need; ``keys`` are the statements that lead to the key that signed it."""
        return cls(
            tenant=batch.log.tenant,
            origin=batch.log.origin,
            note=batch.note,
            start=batch.start,
            prev=batch.log.head,
            frontier=batch.before.hashes,
            leaves=tuple(batch.leaves),
            recorded=batch.recorded,
            places=tuple(
                Place(arrival.feed, arrival.source_seq, arrival.event.id, seq)
                for seq, arrival in enumerate(batch.arrivals, start=batch.start)
            ),
            keys=keys,
        )

    def only_for(self, sources: Collection[str]) -> Committed:
        """Return the same batch with these sources' places alone: who did not ask gets no second receipt."""
        return replace(self, places=tuple(place for place in self.places if place.feed.source in sources))


def receipt_messages(committed: Iterable[Committed]) -> list[BusMessage]:
    """Make the receipts of the batches, one message for each batch and source."""
    return [
        BusMessage(receipt_subject(source), receipt.to_json())
        for batch in committed
        for source, receipt in _receipts(batch)
    ]


def _receipts(batch: Committed) -> Iterable[tuple[str, Receipt]]:
    by_source = sorted(batch.places, key=lambda place: (place.feed.source, place.seq))
    for source, places in groupby(by_source, key=lambda place: place.feed.source):
        yield (
            source,
            Receipt(
                tenant=str(batch.tenant),
                log=batch.origin,
                checkpoint=batch.note,
                start=batch.start,
                prev=batch.prev,
                frontier=batch.frontier,
                leaves=batch.leaves,
                recorded=format_recorded(batch.recorded),
                events=tuple(
                    ReceiptEvent(str(place.event_id), place.feed.aggregate, place.source_seq, place.seq)
                    for place in places
                ),
                keys=batch.keys,
            ),
        )
