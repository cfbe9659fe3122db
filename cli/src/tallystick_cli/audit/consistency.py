"""Showing that a newer log begins with an older one: by replaying the entries, or by a proof of RFC 9162."""

from pathlib import Path
from typing import Literal

import msgspec
from tallystick_tlog import (
    Checkpoint,
    CheckpointError,
    CompactRange,
    NodeId,
    NoteError,
    ProofError,
    VerifierKey,
    assemble_proof,
    from_base64,
    leaf_hash,
    plan_consistency,
    read_checkpoint,
    to_base64,
    verify_consistency,
)

from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.errors import AuditError, NotProvedError
from tallystick_cli.audit.prove import NodeCollector
from tallystick_cli.audit.sources import CHECKPOINT, FolderSource, LogSource, read_small_file
from tallystick_cli.audit.verify import check_signature
from tallystick_cli.audit.walk import bare_lines


class Consistency(msgspec.Struct, frozen=True):
    """The newer log begins with the older one; ``proof`` is that of RFC 9162, base64, from the bottom up."""

    log: str
    old_size: int
    new_size: int
    old_root: str
    new_root: str
    by: Literal["replay", "proof", "equal checkpoints"]
    authenticated: bool
    proof: tuple[str, ...]


class Side(msgspec.Struct, frozen=True):
    """One of the two: its signed checkpoint, and the entries where it is an export."""

    note: bytes
    source: LogSource | None


def open_side(argument: str) -> Side:
    """Open a checkpoint file or an export folder.

    Raises:
        AuditError: it is neither.

    """
    path = Path(argument)
    try:
        is_folder = path.is_dir()
    except ValueError as error:
        message = f"{argument!r} is not a path"
        raise AuditError(message) from error
    if not is_folder:
        return Side(read_small_file(path), None)
    source = FolderSource(path)
    return Side(source.read_small(CHECKPOINT), source)


def show_consistency(
    old: Side, new: Side, keys: tuple[VerifierKey, ...], proof: Path | None, advance: Advance
) -> Consistency:
    """Show that the log of ``new`` extends that of ``old``; the entries are ``new``'s, or else ``proof`` must do.

    Raises:
        AuditError: something cannot be read, the checkpoints are of two logs, or nothing to show it with was given.
        NotProvedError: it does not extend it.

    """
    first, second = (_read(side.note, keys, what) for side, what in ((old, "OLD"), (new, "NEW")))
    if first.origin != second.origin:
        message = f"OLD is of log {first.origin}, NEW of {second.origin}"
        raise AuditError(message)
    if first.size > second.size:
        message = f"NEW counts {second.size} entries, fewer than OLD's {first.size}: a log never shrinks"
        raise NotProvedError(message)
    by: Literal["replay", "proof", "equal checkpoints"]
    if proof is not None:
        hashes, by = _read_proof(proof), "proof"
    elif new.source is not None:
        hashes, by = _replay(new.source, first, second, advance), "replay"
    elif first.size == second.size:
        hashes, by = [], "equal checkpoints"
    else:
        message = "NEW must be an export folder with the entries, or give --proof FILE"
        raise AuditError(message)
    try:
        if first.size:
            verify_consistency(first.size, second.size, hashes, first.root, second.root)
        elif first.root != CompactRange().root():
            message = "OLD counts no entries but has a root"
            raise NotProvedError(message)
    except ProofError as error:
        message = f"NEW does not begin with the {first.size} entries of OLD: {error}"
        raise NotProvedError(message) from error
    return Consistency(
        first.origin,
        first.size,
        second.size,
        to_base64(first.root),
        to_base64(second.root),
        by,
        bool(keys),
        tuple(map(to_base64, hashes)),
    )


def _read(note: bytes, keys: tuple[VerifierKey, ...], what: str) -> Checkpoint:
    try:
        checkpoint = read_checkpoint(note)
    except (NoteError, CheckpointError) as error:
        message = f"{what} is not a checkpoint: {error}"
        raise AuditError(message) from error
    for finding in check_signature(note, keys, what) if keys else ():
        raise NotProvedError(finding.message)
    return checkpoint


def _read_proof(path: Path) -> list[bytes]:
    try:
        return [from_base64(line) for line in read_small_file(path).decode("ascii").split()]
    except ValueError as error:
        message = f"{path} is not a consistency proof, one base64 hash a line: {error}"
        raise AuditError(message) from error


def _replay(source: LogSource, old: Checkpoint, new: Checkpoint, advance: Advance) -> list[bytes]:
    """Hash NEW's entries, compare both roots, and give the proof."""
    plan: list[list[NodeId]] = plan_consistency(old.size, new.size) if old.size else []
    collector = NodeCollector(node for element in plan for node in element)
    tree = CompactRange()
    for lines in bare_lines(source, new.size, advance):
        leaves = [leaf_hash(line) for line in lines]
        collector.feed(leaves)
        before = leaves[: max(old.size - tree.end, 0)]
        tree = tree.extend(before)
        if tree.end == old.size and tree.root() != old.root:
            message = f"the first {old.size} entries of NEW are not those of OLD"
            raise NotProvedError(message)
        tree = tree.extend(leaves[len(before) :])
    if tree.end < new.size or tree.root() != new.root:
        message = (
            f"NEW's entries are not the {new.size} of its checkpoint; `tally audit verify` names the first bad one"
        )
        raise NotProvedError(message)
    return assemble_proof(plan, collector.hashes)
