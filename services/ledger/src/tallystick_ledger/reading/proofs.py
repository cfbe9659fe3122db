"""Inclusion and consistency proofs, from leaf hashes and stored subtrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_tlog import NodeId, ProofError, TlogProof, assemble_proof, plan_consistency, plan_inclusion

from tallystick_ledger.errors import BadRange
from tallystick_ledger.reading.store import get_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log
    from tallystick_ledger.reading.subtrees import Subtrees


async def inclusion_proof(tx: Transaction, log: Log, subtrees: Subtrees, seq: int, size: int) -> list[bytes]:
    """Prove that entry ``seq`` is in the log's first ``size`` entries (RFC 9162 §2.1.3).

    Raises:
        BadRange: not ``seq < size <= log.size``.
    """
    if size > log.size:
        raise BadRange
    try:
        planned = plan_inclusion(seq, size)
    except ProofError as error:
        raise BadRange from error
    return await _assemble(tx, log, subtrees, planned)


async def consistency_proof(tx: Transaction, log: Log, subtrees: Subtrees, size1: int, size2: int) -> list[bytes]:
    """Prove that the first ``size2`` entries begin with the first ``size1`` (RFC 9162 §2.1.4).

    Raises:
        BadRange: not ``0 < size1 <= size2 <= log.size``.
    """
    if size2 > log.size:
        raise BadRange
    try:
        planned = plan_consistency(size1, size2)
    except ProofError as error:
        raise BadRange from error
    return await _assemble(tx, log, subtrees, planned)


async def tlog_proof(tx: Transaction, log: Log, subtrees: Subtrees, seq: int) -> TlogProof:
    """Make an entry's self-contained proof against the newest checkpoint (c2sp.org/tlog-proof@v1)."""
    newest = await get_checkpoint(tx, log, log.size)
    hashes = await inclusion_proof(tx, log, subtrees, seq, newest.size)
    return TlogProof(seq, tuple(hashes), newest.note.encode())


async def _assemble(tx: Transaction, log: Log, subtrees: Subtrees, planned: Sequence[Sequence[NodeId]]) -> list[bytes]:
    return assemble_proof(planned, await subtrees.read(tx, log, {node for element in planned for node in element}))
