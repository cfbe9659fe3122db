"""The operator's command that follows a new key-encryption key: write it down, then wrap every person's key under it.

What a person's key has sealed (the seeds of second factors, pending recovery codes, names, addresses) stays as it is.
Killed anywhere, it is given again: the record is written once, and a key is under one epoch or the other.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from tallystick_chassis.http.key_file import LOOK_INTERVAL_S
from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import CredentialKeyRotated

from tallystick_identity.parts import make_parts
from tallystick_identity.request_edge import SERVICE_NAME
from tallystick_identity.tenants.store import all_tenants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.service import Runtime

_SETTLE_S = LOOK_INTERVAL_S + 0.5


async def record_epoch(runtime: Runtime, *, epoch: str, previous: str) -> bool:
    """Write into the platform's log that keys are wrapped under another epoch; ``False`` when it stands there."""
    async with runtime.database.transaction(Scope.for_duty(PLATFORM_TENANT, SERVICE_NAME)) as tx:
        stream = f"credential_key-{epoch}"
        if await tx.load(stream):
            return False
        await tx.append(stream, 0, [EventDraft(CredentialKeyRotated(epoch=epoch, previous_epoch=previous))])
        return True


async def rewrap_all(runtime: Runtime, keys: KeyStore) -> int:
    """Wrap what lies under older epochs under the newest, tenant by tenant; return how many keys that were."""
    async with runtime.duty.duty() as duty:
        tenants = await all_tenants(duty)
    moved = 0
    for tenant in tenants:
        while batch := await keys.rewrap(tenant):
            moved += batch
    return moved


async def rewrap_keys(runtime: Runtime, arguments: Sequence[str]) -> int:
    """``rewrap-keys``: what `tally keys rotate credential` does once the new key is there.

    Prints ``<keys moved> <recorded now: 0 or 1>``.
    """
    parser = argparse.ArgumentParser(prog="tallystick_identity rewrap-keys")
    parser.add_argument("--previous", required=True, help="the epoch before")
    given = parser.parse_args(list(arguments))
    keys = make_parts(runtime).keys
    is_new = await record_epoch(runtime, epoch=keys.epoch, previous=given.previous)
    moved = await rewrap_all(runtime, keys)
    # Until every process has looked at its file, one may make a key under the epoch before.
    await asyncio.sleep(_SETTLE_S)
    moved += await rewrap_all(runtime, keys)
    sys.stdout.write(f"{moved} {int(is_new)}\n")
    return 0
