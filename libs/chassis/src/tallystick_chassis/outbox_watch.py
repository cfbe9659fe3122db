"""What waits in a service's outbox and among its dead letters, measured every few seconds for the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, tuple_

from tallystick_chassis.dead_letters import DeadLetterState
from tallystick_chassis.metric_catalogue import DEAD_LETTERS, OUTBOX_AGE, OUTBOX_UNPUBLISHED, RECEIPTS_OUTSTANDING
from tallystick_chassis.metrics import age, gauge
from tallystick_chassis.tables import dead_letters, events, outbox

if TYPE_CHECKING:
    from tallystick_chassis.database import DutyDatabase

WATCH_INTERVAL_S: Final = 5.0
_OLDEST: Final = 20
"""Rows looked at for the oldest: positions are given before a commit, so the lowest need not be the oldest."""


class OutboxWatch:
    """Looks as the duty role, at all tenants' rows together: no figure tells of one of them."""

    def __init__(self, duty: DutyDatabase) -> None:
        self._duty = duty
        self._consumers: set[str] = set()

    async def step(self) -> bool:
        """Measure once."""
        first = select(outbox.c.tenant_id, outbox.c.event_id).order_by(outbox.c.position).limit(_OLDEST)
        oldest = select(func.min(events.c.stored_at)).where(
            tuple_(events.c.tenant_id, events.c.event_id).in_(first.subquery().select())
        )
        waiting = select(
            func.count().filter(outbox.c.published_at.is_(None)),
            func.count().filter(outbox.c.published_at.is_not(None)),
        ).select_from(outbox)
        letters = (
            select(dead_letters.c.consumer, func.count())
            .where(dead_letters.c.state.in_([DeadLetterState.OPEN, DeadLetterState.RETRYING]))
            .group_by(dead_letters.c.consumer)
        )
        async with self._duty.glance() as connection:
            unpublished, outstanding = (await connection.execute(waiting)).one()
            since = (await connection.execute(oldest)).scalar() if unpublished or outstanding else None
            dead: dict[str, int] = {row[0]: row[1] for row in await connection.execute(letters)}
        gauge(OUTBOX_UNPUBLISHED, unpublished)
        gauge(RECEIPTS_OUTSTANDING, outstanding)
        if since is None:
            gauge(OUTBOX_AGE, 0)
        else:
            age(OUTBOX_AGE, since.timestamp())
        self._consumers |= set(dead)
        for consumer in self._consumers:
            gauge(DEAD_LETTERS, dead.get(consumer, 0), {"messaging.consumer.group.name": consumer})
        return False
