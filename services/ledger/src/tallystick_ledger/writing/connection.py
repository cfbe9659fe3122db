"""asyncpg's own connection out of the chassis' pool: a batch is one statement, and SQLAlchemy would cost as much."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy.util import greenlet_spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tallystick_chassis.database import DutyDatabase


@asynccontextmanager
async def raw_connection(duty: DutyDatabase) -> AsyncIterator[asyncpg.Connection]:
    """Yield asyncpg's connection outside of a transaction: each statement commits by itself."""
    pooled = await duty.engine.raw_connection()
    try:
        raw = pooled.driver_connection
        if raw is None:
            msg = "the pool gave no connection"
            raise asyncpg.InterfaceError(msg)
        try:
            yield raw
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, asyncio.CancelledError):
            # Nobody knows what it will answer next.
            await greenlet_spawn(pooled.invalidate)
            raise
        finally:
            # SQLAlchemy did not see it die, and would hand it out again.
            if raw.is_closed() and pooled.is_valid:
                await greenlet_spawn(pooled.invalidate)
    finally:
        await greenlet_spawn(pooled.close)


@asynccontextmanager
async def raw_transaction(duty: DutyDatabase) -> AsyncIterator[asyncpg.Connection]:
    """Begin on asyncpg's own connection, yield it, commit; roll back on any error."""
    async with raw_connection(duty) as raw, raw.transaction():
        yield raw
