"""``python -m tallystick_ledger log``: what the operator does about logs that stand still after a restore."""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Final

import msgspec
from tallystick_chassis.catch_up import OwnFeed
from tallystick_chassis.relay import Relay
from tallystick_tlog import to_base64

from tallystick_ledger.exports.command import PLATFORM, find_tenant
from tallystick_ledger.high_water.place import open_marks
from tallystick_ledger.high_water.store import list_breaks
from tallystick_ledger.high_water.succession import Succession
from tallystick_ledger.high_water.watch import BreakWatch
from tallystick_ledger.keys.ring import KeyRing
from tallystick_ledger.keys.signing import CheckpointKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.bus import BusMessage
    from tallystick_chassis.service import Runtime

    from tallystick_ledger.high_water.guard import HighWater
    from tallystick_ledger.high_water.store import Break

MAX_REASON_CHARS: Final = 500
_FROZEN: Final = 1
_REFUSED: Final = 1


class BreakView(msgspec.Struct, frozen=True, kw_only=True):
    """One break, as ``log breaks`` lists it; roots in base64. Without a ``successor`` the log stands still."""

    tenant: str
    log: str
    verdict: str
    signed_size: int
    signed_root: str
    kept_size: int
    kept_root: str
    found_at: str
    successor: str | None
    refilled_at: str | None


async def log_command(runtime: Runtime, arguments: Sequence[str]) -> int:
    """List breaks (1 if a log stands still), or let a tenant's logs go on in successors."""
    parser = argparse.ArgumentParser(prog="log", description=__doc__)
    does = parser.add_subparsers(dest="does", required=True)
    listing = does.add_parser("breaks", help="logs that do not continue what was signed, and their successors")
    listing.add_argument("--json", action="store_true", help="for programs")
    succeeding = does.add_parser("succeed", help="close a tenant's broken logs and open successors")
    succeeding.add_argument("--tenant", required=True, help=f"the tenant's short name or id, or `{PLATFORM}`")
    succeeding.add_argument("--reason", required=True, help=f"why, in 1 to {MAX_REASON_CHARS} characters; it is sealed")
    asked = parser.parse_args(list(arguments))
    marks = open_marks(runtime.settings)
    watch = BreakWatch(duty=runtime.duty, marks=marks, prefix=runtime.settings.ledger_origin, clock=runtime.clock)
    if asked.does == "breaks":
        return await _list(runtime, watch, as_json=asked.json)
    return await _succeed(runtime, watch, marks, named=asked.tenant, reason=asked.reason.strip())


async def _list(runtime: Runtime, watch: BreakWatch, *, as_json: bool) -> int:
    frozen = await watch.find()
    async with runtime.duty.duty() as connection:
        found = await list_breaks(connection)
    views = [_view(one) for one in found]
    if as_json:
        sys.stdout.write(msgspec.json.encode(views).decode() + "\n")
    else:
        for one in views:
            goes_on = f"goes on as {one.successor}" if one.successor else "STANDS STILL"
            refilled = "" if one.successor is None else ", refilled" if one.refilled_at else ", not refilled yet"
            sys.stdout.write(
                f"{one.log}: {one.verdict}, signed up to {one.signed_size}, the database has {one.kept_size}; "
                f"{goes_on}{refilled}\n"
            )
    return _FROZEN if frozen else 0


async def _succeed(runtime: Runtime, watch: BreakWatch, marks: HighWater, *, named: str, reason: str) -> int:
    if not 0 < len(reason) <= MAX_REASON_CHARS:
        return _refuse(f"a reason of 1 to {MAX_REASON_CHARS} characters is needed")
    tenant = await find_tenant(runtime, named)
    if tenant is None:
        return _refuse("there is no such tenant; one that the backup does not know is named by its id")
    frozen = [one for one in await watch.find() if one.tenant == tenant]
    if not frozen:
        return _refuse("no log of this tenant stands still")
    succession = Succession(
        database=runtime.database,
        duty=runtime.duty,
        relay=Relay(duty=runtime.duty, bus=_Silent(), service=runtime.service, clock=runtime.clock),
        feeds=OwnFeed(runtime.database),
        marks=marks,
        sealer=runtime.sealer,
        keys=CheckpointKeys(
            KeyRing(runtime.settings.checkpoint_key, runtime.settings.checkpoint_keys_dir),
            runtime.settings.ledger_origin,
        ),
        prefix=runtime.settings.ledger_origin,
        clock=runtime.clock,
    )
    # The compliance log first: that is where the other successions are recorded.
    frozen.sort(key=lambda one: one.kind.value, reverse=True)
    for kind, breaks in groupby(frozen, key=lambda one: one.kind):
        sys.stdout.write(f"{await succession.succeed(tenant, kind, list(breaks), reason)}\n")
    return 0


def _refuse(why: str) -> int:
    sys.stderr.write(f"tallystick: {why}\n")
    return _REFUSED


def _view(one: Break) -> BreakView:
    return BreakView(
        tenant=str(one.tenant),
        log=one.origin,
        verdict=one.verdict.value,
        signed_size=one.marked.size,
        signed_root=to_base64(one.marked.root),
        kept_size=one.kept.size,
        kept_root=to_base64(one.kept.root),
        found_at=one.found_at.isoformat(),
        successor=one.successor,
        refilled_at=one.refilled_at.isoformat() if one.refilled_at else None,
    )


class _Silent:
    """The command numbers its event and leaves publishing to the worker."""

    async def publish_batch(self, messages: Sequence[BusMessage], *, timeout_s: float) -> None:
        raise NotImplementedError((len(messages), timeout_s))
