"""What `tally doctor` asks of the ledger alone: frozen logs, the quarantine, keys that sign, and room for marks."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from tallystick_chassis.doctor import Finding, State

from tallystick_ledger.high_water.place import open_marks
from tallystick_ledger.high_water.store import list_breaks
from tallystick_ledger.keys.ring import KeyRing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallystick_chassis.doctor import Check
    from tallystick_chassis.service import Runtime

    from tallystick_ledger.settings import Settings

_QUARANTINED = text("select count(*) from ledger.quarantine")
_KEYS = text("select distinct public_key from ledger.logs where closed_at is null and public_key is not null")
_LEAST_ROOM_BYTES: Final = 64 * 1024 * 1024


async def check_breaks(runtime: Runtime) -> Sequence[Finding]:
    """Say what the worker has found, which holds every log against its mark every half minute."""
    async with runtime.duty.duty() as connection:
        broken = [one for one in await list_breaks(connection) if one.successor is None]
    if not broken:
        return [Finding("logs", State.OK, "every log continues what was signed")]
    todo = "`tally log breaks`, docs/howto/restore-a-ledger.md; if nobody restored anything, treat it as an intrusion"
    return [Finding("logs", State.FAILED, f"{one.origin} stands still: {one.verdict}", todo) for one in broken]


async def check_quarantine(runtime: Runtime) -> Sequence[Finding]:
    """Count what cannot be recorded."""
    async with runtime.duty.duty() as connection:
        waiting = (await connection.execute(_QUARANTINED)).scalar_one()
    if not waiting:
        return [Finding("quarantine", State.OK, "empty")]
    todo = "`tally dlq list` says why; mend it at its source, which sends it again"
    return [Finding("quarantine", State.FAILED, f"{waiting} events cannot be recorded", todo)]


async def check_keys(runtime: Runtime) -> Sequence[Finding]:
    """See that the keys which sign open logs are here."""
    settings: Settings = runtime.settings
    held = KeyRing(settings.checkpoint_key, settings.checkpoint_keys_dir).read()
    async with runtime.duty.duty() as connection:
        wanted = {bytes(key) for key in (await connection.execute(_KEYS)).scalars()}
    missing = len(wanted - set(held))
    if not missing:
        return [Finding("checkpoint keys", State.OK, f"{len(held)} held, every open log's among them")]
    todo = "mount them in TALLY_CHECKPOINT_KEYS_DIR; docs/howto/rotate-keys.md"
    return [Finding("checkpoint keys", State.FAILED, f"{missing} keys that sign open logs are not here", todo)]


async def check_marks(runtime: Runtime) -> Sequence[Finding]:
    """See that marks can be read, and in a folder written: without them nothing is signed."""
    where = runtime.settings.high_water
    try:
        count = len(await open_marks(runtime.settings).read_all())
        free_bytes = shutil.disk_usage(where).free if where.startswith("/") else None
    except OSError as error:
        todo = "make TALLY_HIGH_WATER reachable; docs/howto/restore-a-ledger.md says what a lost mark means"
        return [Finding("high-water marks", State.FAILED, f"they cannot be read: {type(error).__name__}", todo)]
    said = f"{count} can be read"
    if free_bytes is not None and free_bytes <= _LEAST_ROOM_BYTES:
        return [Finding("high-water marks", State.FAILED, said, "make room on the volume of TALLY_HIGH_WATER")]
    return [Finding("high-water marks", State.OK, said)]


CHECKS: Final[Mapping[str, Check]] = {
    "logs": check_breaks,
    "quarantine": check_quarantine,
    "checkpoint keys": check_keys,
    "high-water marks": check_marks,
}
