"""``python -m tallystick_ledger rotate-key``: the operator's command; run again, it goes on where it stopped."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tallystick_tlog import VerifierKey, format_recorded

from tallystick_ledger.keys.ring import CheckpointKeyMissingError, KeyRing, KeyRingError
from tallystick_ledger.keys.rotation import KeyRotator, NoNextKeyError, Rotating

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.service import Runtime

_DONE: Final = 0
_REFUSED: Final = 1
_NOT_YET: Final = 3
_POLL_S: Final = 0.25
_MOST_DAYS: Final = 3_650


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days <= _MOST_DAYS:  # so that NaN, too, is none
        msg = f"from 0 to {_MOST_DAYS} days"
        raise argparse.ArgumentTypeError(msg)
    return days


async def rotate_key(runtime: Runtime, arguments: Sequence[str]) -> int:
    """Rotate the checkpoint key; 0 when every log is signed by the new one, 3 when some are not yet, 1 if refused."""
    parser = argparse.ArgumentParser(prog="rotate-key", description=__doc__)
    parser.add_argument("--make", action="store_true", help="make a new key in the ring's folder if there is none")
    parser.add_argument("--overlap-days", type=_days, default=30.0, help="how long the old key signs as well")
    parser.add_argument("--timeout-s", type=float, default=60.0, help="how long to wait for the writers")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(list(arguments))
    rotator = KeyRotator(
        database=runtime.database,
        duty=runtime.duty,
        ring=KeyRing(runtime.settings.checkpoint_key, runtime.settings.checkpoint_keys_dir),
        prefix=runtime.settings.ledger_origin,
        clock=runtime.clock,
    )
    deadline = time.monotonic() + asked.timeout_s
    try:
        statement = await rotator.begin(overlap=timedelta(days=asked.overlap_days), make=asked.make)
        rotating = await rotator.step(statement)
        while rotating.lagging and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
            rotating = await rotator.step(statement)
    except (NoNextKeyError, CheckpointKeyMissingError, KeyRingError) as error:
        sys.stderr.write(f"tallystick: {error}\n")
        return _REFUSED
    _tell(rotating, runtime.settings.ledger_origin, as_json=asked.json)
    return _NOT_YET if rotating.lagging else _DONE


def _tell(rotating: Rotating, prefix: str, *, as_json: bool) -> None:
    statement = rotating.statement
    said = {
        "rotation": statement.ordinal,
        "old": str(VerifierKey.ed25519(prefix, statement.old)),
        "new": str(VerifierKey.ed25519(prefix, statement.new)),
        "both_until": format_recorded(statement.both_until),
        "lagging": [one.origin for one in rotating.lagging],
    }
    if as_json:
        sys.stdout.write(json.dumps(said) + "\n")
        return
    sys.stdout.write(f"rotation {said['rotation']}: {said['old']} is followed by\n  {said['new']}\n")
    sys.stdout.write(f"both keys sign until {said['both_until']}\n")
    if rotating.lagging:
        sys.stdout.write(f"{len(rotating.lagging)} logs are not reached yet; run the command again to see:\n")
        sys.stdout.writelines(f"  {one.origin}\n" for one in rotating.lagging)
    else:
        sys.stdout.write("every log is signed by the new key\n")
