"""``python -m tallystick_ledger rewrap-keys``: follow a new key-encryption key with the secrets of SIEM destinations.

It is written down, then every secret is wrapped under the new key; the secrets stay, so no receiver notices. Killed
anywhere, it is given again: the record is written once, and a secret is under one epoch or the other (ADR 48).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Final

from tallystick_chassis.http.key_file import LOOK_INTERVAL_S
from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_chassis.keystore import KeyStoreError
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.ledger import SiemKeyRotated

from tallystick_ledger.siem import store
from tallystick_ledger.siem.parts import open_box
from tallystick_ledger.siem.progress import tenants_with_destinations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.service import Runtime

    from tallystick_ledger.siem.secrets import SecretBox

_SETTLE_S = LOOK_INTERVAL_S + 0.5
_FAILED: Final = 1


async def rewrap_keys(runtime: Runtime, arguments: Sequence[str]) -> int:
    """Do what `tally keys rotate siem` does once the new key is there; 1 if a secret could not be opened.

    Prints ``<secrets moved> <recorded now: 0 or 1>``.
    """
    parser = argparse.ArgumentParser(prog="tallystick_ledger rewrap-keys", description=__doc__)
    parser.add_argument("--previous", required=True, help="the epoch before")
    asked = parser.parse_args(list(arguments))
    box = open_box(runtime.settings)
    is_new = await record_epoch(runtime, epoch=box.epoch, previous=asked.previous)
    moved, _ = await rewrap_all(runtime, box)
    # Until every process has looked at its file, one may wrap a secret under the epoch before.
    await asyncio.sleep(_SETTLE_S)
    moved_late, closed = await rewrap_all(runtime, box)
    sys.stdout.write(f"{moved + moved_late} {int(is_new)}\n")
    for tenant, destination in closed:
        sys.stderr.write(f"tallystick: the secret of destination {destination} of tenant {tenant} cannot be opened\n")
    return _FAILED if closed else 0


async def record_epoch(runtime: Runtime, *, epoch: str, previous: str) -> bool:
    """Write into the platform's log that secrets are wrapped under another epoch; ``False`` when it stands there."""
    async with runtime.database.transaction(Scope.for_duty(PLATFORM_TENANT, runtime.service)) as tx:
        stream = f"siem_key-{epoch}"
        if await tx.load(stream):
            return False
        await tx.append(stream, 0, [EventDraft(SiemKeyRotated(epoch=epoch, previous_epoch=previous))])
        return True


async def rewrap_all(runtime: Runtime, box: SecretBox) -> tuple[int, list[tuple[str, str]]]:
    """Wrap what lies under older epochs under the newest, tenant by tenant.

    Return how many secrets that were, and tenant and id of the destinations whose secret does not open: its key is
    gone, or somebody has pointed the row elsewhere.
    """
    async with runtime.duty.glance() as connection:
        tenants = await tenants_with_destinations(connection)
    moved, closed = 0, []
    for tenant in tenants:
        async with runtime.database.transaction(Scope.for_duty(tenant, runtime.service)) as tx:
            for one in await store.secrets_under_other_epochs(tx, box.epoch):
                try:
                    secret = box.open(one.wrapped, tenant=tenant, destination=one.id, address=one.address)
                except KeyStoreError:
                    closed.append((str(tenant), str(one.id)))
                    continue
                wrapped = box.close(secret, tenant=tenant, destination=one.id, address=one.address)
                await store.put_secret(tx, one.id, wrapped)
                moved += 1
    return moved, closed
