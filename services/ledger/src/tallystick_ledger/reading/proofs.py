"""Inclusion and consistency proofs, from leaf hashes and stored subtrees: at most a few hundred hashes are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_tlog import (
    NodeId,
    ProofError,
    TlogProof,
    assemble_proof,
    fold_perfect,
    plan_consistency,
    plan_inclusion,
    stored_span,
)

from tallystick_ledger.errors import BadRange, LedgerStateError
from tallystick_ledger.reading.store import get_checkpoint, get_leaves, get_nodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log


async def inclusion_proof(tx: Transaction, log: Log, seq: int, size: int) -> list[bytes]:
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
    return await _assemble(tx, log, planned)


async def consistency_proof(tx: Transaction, log: Log, size1: int, size2: int) -> list[bytes]:
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
    return await _assemble(tx, log, planned)


async def tlog_proof(tx: Transaction, log: Log, seq: int) -> TlogProof:
    """Make an entry's self-contained proof against the newest checkpoint (c2sp.org/tlog-proof@v1)."""
    newest = await get_checkpoint(tx, log, log.size)
    hashes = await inclusion_proof(tx, log, seq, newest.size)
    return TlogProof(seq, tuple(hashes), newest.note.encode())


async def _assemble(tx: Transaction, log: Log, planned: Sequence[Sequence[NodeId]]) -> list[bytes]:
    wanted = {node for element in planned for node in element}
    spans = {node: stored_span(node) for node in wanted}
    leaves = [(span.first, span.first + span.count) for span in spans.values() if span.level == 0]
    nodes = [(span.level, span.first, span.first + span.count) for span in spans.values() if span.level]
    stored: dict[NodeId, bytes] = {}
    if leaves:
        stored |= await get_leaves(tx, log, leaves)
    if nodes:
        stored |= await get_nodes(tx, log, nodes)
    try:
        hashes = {
            node: fold_perfect([stored[NodeId(span.level, span.first + n)] for n in range(span.count)])
            for node, span in spans.items()
        }
    except KeyError as error:
        msg = f"log {log.origin} lacks a stored hash below its size"
        raise LedgerStateError(msg) from error
    return assemble_proof(planned, hashes)
