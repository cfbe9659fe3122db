"""asyncpg's own connection out of the chassis' pool: a batch is one statement, and SQLAlchemy would cost as much."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tallystick_chassis.database import DutyDatabase


@asynccontextmanager
async def raw_connection(duty: DutyDatabase) -> AsyncIterator[asyncpg.Connection]:
    """Yield asyncpg's connection outside of a transaction: each statement commits by itself."""
    async with duty.engine.connect() as connection:
        pooled = await connection.get_raw_connection()
        raw = pooled.driver_connection
        if raw is None:
            msg = "the pool gave no connection"
            raise asyncpg.InterfaceError(msg)
        try:
            yield raw
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, asyncio.CancelledError):
            # Nobody knows what it will answer next.
            await connection.invalidate()
            raise
        finally:
            # SQLAlchemy did not see it die, and would hand it out again.
            if raw.is_closed() and not connection.invalidated:
                await connection.invalidate()


@asynccontextmanager
async def raw_transaction(duty: DutyDatabase) -> AsyncIterator[asyncpg.Connection]:
    """Begin on asyncpg's own connection, yield it, commit; roll back on any error."""
    async with raw_connection(duty) as raw, raw.transaction():
        yield raw
