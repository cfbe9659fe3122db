"""Receipts: an outbox row goes only when the ledger has proved, under its pinned key, that it holds the very bytes.

A receipt that does not hold is an ERROR log and deletes nothing; the rows stay and are published again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from sqlalchemy import and_, delete, select
from tallystick_tlog.errors import KeyFormatError, ReceiptError, RotationError
from tallystick_tlog.note import VerifierKey
from tallystick_tlog.receipt import Receipt, verify_receipt
from tallystick_tlog.rotation import follow_keys

from tallystick_chassis.metric_catalogue import RECEIPTS_REFUSED
from tallystick_chassis.metrics import count
from tallystick_chassis.tables import events, feed, outbox

if TYPE_CHECKING:
    from tallystick_chassis.bus import Delivery
    from tallystick_chassis.consumer import PullSource
    from tallystick_chassis.database import DutyDatabase

_BATCH: Final = 50
_WAIT_S: Final = 1.0

log = structlog.get_logger(__name__)


class ReceiptReader:
    """Takes the ledger's receipts for one service's events.

    ``ledger_key`` is the pinned 32-byte Ed25519 key, from which rotations are followed; ``origin`` is the prefix of the
    logs' names (``tallystick.local``).
    """

    def __init__(self, *, duty: DutyDatabase, pull: PullSource, ledger_key: bytes, origin: str) -> None:
        """Pin the ledger's key; read nothing yet."""
        self._duty = duty
        self._pull = pull
        self._ledger_key = ledger_key
        self._origin = origin

    async def step(self) -> bool:
        """Take what receipts there are, or wait a second for one.

        Raises:
            BusUnavailableError: if NATS is away.

        """
        for delivery in await self._pull.fetch(_BATCH, _WAIT_S):
            await self._take(delivery)
        return True

    async def _take(self, delivery: Delivery) -> None:
        try:
            confirmed = await self.confirm(delivery.payload)
        except ReceiptError as error:
            # The message names ids, sequence numbers and hashes only.
            log.error("receipt_refused", reason=str(error))  # noqa: TRY400 - the trace would add nothing
            count(RECEIPTS_REFUSED)
            await delivery.term()
            return
        log.debug("receipt_taken", count=confirmed)
        await delivery.ack()

    async def confirm(self, payload: bytes, *, keep_unpublished: bool = False) -> int:
        """Verify a receipt against our own events and delete the outbox rows it covers; return how many it names.

        ``keep_unpublished`` leaves the rows of events that JetStream has not taken: other consumers still want them.

        Raises:
            ReceiptError: if it does not hold in any part; nothing is deleted.

        """
        receipt = Receipt.from_json(payload)
        tenant, ids = _ids(receipt)
        if not receipt.log.startswith(f"{self._origin}/{tenant}/"):
            message = "the receipt is of a log that is not this tenant's"
            raise ReceiptError(message)
        try:
            # The pinned key itself, or one that signed rotations lead to from it.
            key = follow_keys(self._origin, self._ledger_key, receipt.keys)
            verifier = VerifierKey.ed25519(receipt.log, key)
        except KeyFormatError as error:
            message = "the receipt's log has no usable name"
            raise ReceiptError(message) from error
        except RotationError as error:
            message = f"the receipt's keys cannot be followed: {error}"
            raise ReceiptError(message) from error
        async with self._duty.duty() as connection:
            rows = await connection.execute(
                select(events.c.event_id, events.c.body, feed.c.source_seq)
                .select_from(
                    events.join(
                        feed, and_(feed.c.tenant_id == events.c.tenant_id, feed.c.event_id == events.c.event_id)
                    )
                )
                .where(events.c.tenant_id == tenant, events.c.event_id.in_(ids))
            )
            ours = {str(event_id): (bytes(body), source_seq) for event_id, body, source_seq in rows}
            for event in receipt.events:
                if event.id in ours and ours[event.id][1] != event.source_seq:
                    message = f"event {event.id} has another source sequence with us"
                    raise ReceiptError(message)
            confirmed = verify_receipt(receipt, {key: body for key, (body, _) in ours.items()}, [verifier])
            covered = delete(outbox).where(
                outbox.c.tenant_id == tenant, outbox.c.event_id.in_([UUID(one) for one in confirmed])
            )
            if keep_unpublished:
                covered = covered.where(outbox.c.published_at.is_not(None))
            await connection.execute(covered)
        return len(confirmed)


def _ids(receipt: Receipt) -> tuple[UUID, list[UUID]]:
    try:
        return UUID(receipt.tenant), [UUID(event.id) for event in receipt.events]
    except ValueError as error:
        message = "the receipt names something that is no id"
        raise ReceiptError(message) from error
