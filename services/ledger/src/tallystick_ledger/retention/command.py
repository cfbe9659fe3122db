"""``python -m tallystick_ledger hold``: the operator's way to keep expired audit logs from being dropped.

Each placing and release is an entry of the tenant's compliance log. Legal holds with two people's release are the
privacy service's; they end here.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from tallystick_chassis.http.problems import Problem
from tallystick_chassis.scope import Scope

from tallystick_ledger.errors import EntryNotFound
from tallystick_ledger.exports.command import PLATFORM, find_tenant
from tallystick_ledger.retention.commands import place_hold, release_hold
from tallystick_ledger.retention.store import list_holds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.service import Runtime

_REFUSED = 1
_CODE = re.compile(r"[A-Za-z0-9._-]{1,40}")


def _code(text: str) -> str:
    if not _CODE.fullmatch(text):
        msg = "a code has 1 to 40 of A-Z a-z 0-9 . _ -"
        raise argparse.ArgumentTypeError(msg)
    return text


async def hold(runtime: Runtime, arguments: Sequence[str]) -> int:
    """Place, release or list a tenant's holds; 1 if there is nothing to do it to. Prints JSON, one hold a line."""
    parser = argparse.ArgumentParser(prog="hold", description=__doc__)
    parser.add_argument("does", choices=("place", "release", "list"))
    parser.add_argument("--tenant", required=True, help=f"the tenant's short name or id, or `{PLATFORM}`")
    parser.add_argument("--log", type=UUID, help="place: this log only; all of the tenant's if not said")
    parser.add_argument("--code", type=_code, help="place: why, as a code or file number; no names of people")
    parser.add_argument("--hold", type=UUID, help="release: which")
    asked = parser.parse_args(list(arguments))
    if (asked.does == "place") != (asked.code is not None) or (asked.does == "release") != (asked.hold is not None):
        parser.error("place wants --code, release wants --hold")
    tenant = await find_tenant(runtime, asked.tenant)
    if tenant is None:
        sys.stderr.write("tallystick: there is no such tenant\n")
        return _REFUSED
    try:
        async with runtime.database.transaction(Scope.for_duty(tenant, runtime.service)) as tx:
            changed = asked.hold
            if asked.does == "place":
                changed = await place_hold(tx, asked.log, asked.code)
            elif asked.does == "release":
                await release_hold(tx, asked.hold)
            holds = await list_holds(tx)
    except EntryNotFound:
        sys.stderr.write("tallystick: there is no such hold, or it was released before\n")
        return _REFUSED
    except Problem as problem:
        sys.stderr.write(f"tallystick: {problem.title}\n")
        return _REFUSED
    for one in holds:
        if changed in {None, one.id}:
            sys.stdout.write(msgspec.json.encode(one._asdict()).decode() + "\n")
    return 0
