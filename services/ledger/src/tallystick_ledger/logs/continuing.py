"""``python -m tallystick_ledger checkpoints``: every log's newest checkpoint, for ``tally doctor --upgrade``.

With ``--since`` it takes what it printed before on standard input and adds to each log a proof that it begins with the
earlier one (RFC 9162 §2.1.4). Who compares needs no trust in this process: notes are signed, proofs prove.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import text
from tallystick_chassis.http.problems import Problem
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_tlog import to_base64

from tallystick_ledger.errors import LedgerStateError, NoCheckpointAtSize
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.high_water.mark import MarkConflictError
from tallystick_ledger.high_water.place import open_marks
from tallystick_ledger.keys.ring import KeyRing
from tallystick_ledger.keys.signing import CheckpointKeys
from tallystick_ledger.reading.proofs import consistency_proof
from tallystick_ledger.reading.store import get_checkpoint, list_logs
from tallystick_ledger.reading.subtrees import Subtrees
from tallystick_ledger.writing.connection import raw_transaction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallystick_chassis.service import Runtime
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log

_TENANTS: Final = text("select distinct tenant_id from ledger.logs order by tenant_id")


class KeptLog(msgspec.Struct, frozen=True, omit_defaults=True):
    """One log as it stood: ``note`` its newest checkpoint, ``keys`` the statements from the first key to the signer's.

    ``proof`` is in base64, from the size asked for to this one; ``is_dropped`` says that its content is lawfully gone.
    ``fault`` says why the ledger does not show its checkpoint, as of a log that stands still: then there is no note.
    """

    origin: str
    size: int
    note: str = ""
    keys: tuple[str, ...] = ()
    proof: tuple[str, ...] = ()
    is_dropped: bool = False
    fault: str = ""


class KeptLogs(msgspec.Struct, frozen=True):
    """All logs of an installation, and the first key (base64) of their checkpoints, which is pinned with them."""

    prefix: str
    ledger_key: str
    logs: tuple[KeptLog, ...]


async def checkpoints(runtime: Runtime, arguments: Sequence[str]) -> int:
    """Print every log's newest checkpoint; with ``--since`` also how it continues the one on standard input."""
    parser = argparse.ArgumentParser(prog="checkpoints", description=__doc__)
    parser.add_argument("--since", action="store_true", help="read what was printed before from standard input")
    since: dict[str, int] = {}
    if parser.parse_args(list(arguments)).since:
        before = msgspec.json.decode(sys.stdin.buffer.read(), type=KeptLogs)
        since = {log.origin: log.size for log in before.logs if log.note}
    sys.stdout.write(msgspec.json.encode(await read_logs(runtime, since)).decode() + "\n")
    return 0


async def read_logs(runtime: Runtime, since: Mapping[str, int]) -> KeptLogs:
    """Return every log of every tenant; ``since`` are earlier sizes by origin."""
    settings = runtime.settings
    async with runtime.duty.duty() as connection:
        tenants = [TenantId(tenant) for tenant in (await connection.execute(_TENANTS)).scalars()]
    keys = CheckpointKeys(KeyRing(settings.checkpoint_key, settings.checkpoint_keys_dir), settings.ledger_origin)
    guard = HighWaterGuard(open_marks(settings))
    kept: list[KeptLog] = []
    for tenant in tenants:
        async with runtime.database.transaction(Scope.for_duty(tenant, runtime.service)) as tx:
            for log in await list_logs(tx):
                if log.dropped_at is not None:
                    kept.append(KeptLog(log.origin, log.size, is_dropped=True))
                elif log.size:
                    async with raw_transaction(runtime.duty) as connection:
                        chain = await keys.chain(connection, log.key.public if log.key else None)
                    kept.append(await _kept(tx, log, chain, guard, since.get(log.origin, 0)))
    return KeptLogs(settings.ledger_origin, to_base64(settings.ledger_key), tuple(kept))


async def _kept(tx: Transaction, log: Log, chain: tuple[str, ...], guard: HighWaterGuard, since: int) -> KeptLog:
    proof: tuple[str, ...] = ()
    try:
        newest = await get_checkpoint(tx, log, log.size)
        await guard.show(tx, log, newest.head)
        if 0 < since <= log.size:
            hashes = await consistency_proof(tx, log, Subtrees(guard.marked_size), since, log.size)
            proof = tuple(to_base64(part) for part in hashes)
    except NoCheckpointAtSize:
        return KeptLog(log.origin, log.size, fault="This log's newest entries were never signed")
    except Problem as error:
        return KeptLog(log.origin, log.size, fault=error.title)
    except (LedgerStateError, MarkConflictError) as error:
        return KeptLog(log.origin, log.size, fault=str(error))
    return KeptLog(log.origin, log.size, newest.note, chain, proof)
