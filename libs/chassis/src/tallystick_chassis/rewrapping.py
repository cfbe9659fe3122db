"""``rewrap-keys``: follow a new key-encryption key, in every service that has one (ADR 48).

It is written into the platform's log, then all that lies under older epochs is wrapped under the newest. What was
wrapped stays as it is, so nobody notices. Killed anywhere, it is given again: the record is written once, and each key
is under one epoch or the other.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Final, Protocol

from sqlalchemy import select, union
from tallystick_contracts.registry import REGISTRY

from tallystick_chassis.http.key_file import LOOK_INTERVAL_S
from tallystick_chassis.ids import PLATFORM_TENANT, TenantId
from tallystick_chassis.keystore import Rewrapped
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import directory_tenants, feed_heads, outbox
from tallystick_chassis.transaction import ConcurrencyError, EventDraft

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallystick_contracts.message import EventData

    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.service import Command, Runtime

_SETTLE_S = LOOK_INTERVAL_S + 0.5
_DONE, _FAILED = 0, 1

# Whom the service has heard of, and where it has done anything itself: it may know a tenant's people before it hears
# of the tenant.
_TENANTS: Final = union(
    select(directory_tenants.c.tenant_id), select(feed_heads.c.tenant_id), select(outbox.c.tenant_id)
)


class Wrapped(Protocol):
    """What a service keeps wrapped under its key-encryption keys: a key store, or rows of its own."""

    @property
    def epoch(self) -> str:
        """The epoch under which keys are wrapped now."""

    async def rewrap(self, where: TenantId, /) -> Rewrapped:
        """Wrap what the tenant has under older epochs under the newest."""


def _key_store(runtime: Runtime) -> Wrapped:
    if runtime.keys is None:
        msg = f"{runtime.service} needs its key store"
        raise RuntimeError(msg)
    return runtime.keys


def rewrap_command(rotated: type[EventData], wrapped: Callable[[Runtime], Wrapped] = _key_store) -> Command:
    """Return a service's command ``rewrap-keys``, which writes down ``rotated`` once for each epoch.

    ``rotated`` has the fields ``epoch`` and ``previous_epoch``. The command prints ``<keys moved> <recorded now: 0 or
    1>``; it names what does not open, leaves it, and ends with 1.
    """

    async def rewrap_keys(runtime: Runtime, arguments: Sequence[str]) -> int:
        parser = argparse.ArgumentParser(prog=f"{runtime.service} rewrap-keys", description=__doc__)
        parser.add_argument("--previous", required=True, help="the epoch before")
        previous = parser.parse_args(list(arguments)).previous
        keys = wrapped(runtime)
        if keys.epoch == previous:
            _say(f"epoch {previous} is the newest here: add the next one, and wait until it is mounted everywhere")
            return _FAILED
        is_new = await _record(runtime, rotated, epoch=keys.epoch, previous=previous)
        moved, _ = await _rewrap_all(runtime.duty, keys)
        # Until every process has looked at its file, one may wrap a key under the epoch before.
        await asyncio.sleep(_SETTLE_S)
        moved_late, closed = await _rewrap_all(runtime.duty, keys)
        sys.stdout.write(f"{moved + moved_late} {int(is_new)}\n")
        for name in closed:
            _say(f"{name} cannot be opened")
        return _FAILED if closed else _DONE

    return rewrap_keys


async def _record(runtime: Runtime, rotated: type[EventData], *, epoch: str, previous: str) -> bool:
    stream = f"{REGISTRY.by_struct(rotated).aggregate}-{epoch}"
    try:
        async with runtime.database.transaction(Scope.for_duty(PLATFORM_TENANT, runtime.service)) as tx:
            await tx.append(stream, 0, [EventDraft(rotated(epoch=epoch, previous_epoch=previous))])
    except ConcurrencyError:
        return False  # it stands there
    return True


async def _rewrap_all(duty: DutyDatabase, keys: Wrapped) -> tuple[int, list[str]]:
    async with duty.glance() as connection:
        tenants = [TenantId(tenant) for tenant in (await connection.execute(_TENANTS)).scalars()]
    moved, closed = 0, []
    for tenant in tenants:
        done = await keys.rewrap(tenant)
        moved += done.moved
        closed += [f"{name} of tenant {tenant}" for name in done.closed]
    return moved, closed


def _say(line: str) -> None:
    sys.stderr.write(f"tallystick: {line}\n")
