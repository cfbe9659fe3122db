"""The SQL of epochs. Triggers write what waits; here it is taken and counted, on the duty role, over all tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text
from tallystick_chassis.http.epochs import MAX_EPOCHS, Epoch, EpochScope

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_ANY = text("select exists (select from identity.epochs_waiting)")
_HEAD = text("select number from identity.epoch_head for update skip locked")
_TAKE = text(
    "delete from identity.epochs_waiting where (tenant_id, id) in "
    "(select tenant_id, id from identity.epochs_waiting limit :limit) returning tenant_id, scope, subject"
)
_COUNT = text("update identity.epoch_head set number = number + :count returning number")


async def anything_waits(duty: AsyncConnection) -> bool:
    """Say whether a change is committed and not announced."""
    return bool((await duty.execute(_ANY)).scalar_one())


async def lock_head(duty: AsyncConnection) -> int | None:
    """Return how many changes were announced, locked; ``None`` while another process announces."""
    number: int | None = (await duty.execute(_HEAD)).scalar_one_or_none()
    return number


async def take_waiting(duty: AsyncConnection) -> tuple[Epoch, ...]:
    """Take changes that are committed, at most as many as one announcement holds, and count them."""
    rows = await duty.execute(_TAKE, {"limit": MAX_EPOCHS})
    taken = tuple(Epoch(tenant, EpochScope(scope), subject) for tenant, scope, subject in map(tuple, rows))
    if taken:
        await duty.execute(_COUNT, {"count": len(taken)})
    return taken
