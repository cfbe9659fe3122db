"""How full the connection pools are, read whenever metrics are collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sqlalchemy import QueuePool

from tallystick_chassis.metric_catalogue import POOL_MAX, POOL_USED
from tallystick_chassis.metrics import watch

if TYPE_CHECKING:
    from tallystick_chassis.service import Runtime


def watch_pools(runtime: Runtime) -> None:
    """Measure the pools of the runtime role and of the duty role."""
    for name, database in (("runtime", runtime.database), ("duty", runtime.duty)):
        pool = cast("QueuePool", database.engine.pool)  # as `create_async_engine` makes it
        named = {"db.client.connection.pool.name": name}
        watch(POOL_MAX, pool.size, named)
        watch(POOL_USED, pool.checkedout, {**named, "db.client.connection.state": "used"})
        watch(POOL_USED, pool.checkedin, {**named, "db.client.connection.state": "idle"})
