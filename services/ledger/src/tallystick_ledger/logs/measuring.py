"""How high the chains stand, how old the newest checkpoint is, what lies in quarantine: for the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from tallystick_chassis.metric_catalogue import CHECKPOINT_AGE, LEDGER_LOGS, LEDGER_QUARANTINED, LEDGER_SIZE
from tallystick_chassis.metrics import age, gauge

if TYPE_CHECKING:
    from tallystick_chassis.database import DutyDatabase

MEASURE_INTERVAL_S: Final = 10.0

# A log's checkpoint is signed in the transaction of its newest entry, so one moment is both.
_LOGS = text(
    "select kind, count(*) as logs, coalesce(sum(size), 0) as entries, max(last_recorded) as signed_at "
    "from ledger.logs where closed_at is null group by kind"
)
_QUARANTINED = text("select count(*) from ledger.quarantine")


class LogMeasurer:
    """Looks at all tenants' logs together: no figure tells of one of them."""

    def __init__(self, duty: DutyDatabase) -> None:
        self._duty = duty

    async def step(self) -> bool:
        """Measure once."""
        async with self._duty.glance() as connection:
            kinds = (await connection.execute(_LOGS)).all()
            quarantined = (await connection.execute(_QUARANTINED)).scalar_one()
        for row in kinds:
            gauge(LEDGER_LOGS, row.logs, {"tallystick.log.kind": row.kind})
            gauge(LEDGER_SIZE, int(row.entries), {"tallystick.log.kind": row.kind})
        if kinds:
            age(CHECKPOINT_AGE, max(row.signed_at for row in kinds).timestamp())
        gauge(LEDGER_QUARANTINED, quarantined)
        return False
