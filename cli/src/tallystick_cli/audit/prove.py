"""Making proofs from an export: an entry's inclusion, and that one checkpoint's log begins with another's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tallystick_tlog import (
    Checkpoint,
    CheckpointError,
    CompactRange,
    EntryError,
    NodeId,
    NoteError,
    ProofError,
    TlogProof,
    VerifierKey,
    assemble_proof,
    leaf_hash,
    parse_entry,
    plan_inclusion,
    read_checkpoint,
    verify_inclusion,
)

from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.errors import AuditError, NotProvedError
from tallystick_cli.audit.sources import CHECKPOINT, LogSource
from tallystick_cli.audit.verify import check_signature
from tallystick_cli.audit.walk import bare_lines


class NodeCollector:
    """Hashes of chosen perfect subtrees, gathered while the leaves go by once, in order."""

    def __init__(self, nodes: Iterable[NodeId]) -> None:
        """Name the subtrees, which do not overlap."""
        self.hashes: dict[NodeId, bytes] = {}
        self._wanted = sorted(nodes, key=lambda node: node.index << node.level, reverse=True)
        self._range = CompactRange()
        self._position = 0

    def feed(self, leaves: Sequence[bytes]) -> None:
        """Take the next leaf hashes."""
        position, end = self._position, self._position + len(leaves)
        while self._wanted and position < end:
            node = self._wanted[-1]
            low, high = node.index << node.level, (node.index + 1) << node.level
            position = max(position, low)
            if position >= end:
                break
            if position == low:
                self._range = CompactRange(low, low)
            upto = min(high, end)
            self._range = self._range.extend(leaves[position - self._position : upto - self._position])
            position = upto
            if upto == high:
                self.hashes[node] = self._range.hashes[0]
                self._wanted.pop()
        self._position = end


@dataclass(frozen=True, slots=True)
class Proved:
    """An entry's line, the checkpoint it is proved under, and the c2sp.org/tlog-proof@v1 file."""

    line: bytes
    checkpoint: Checkpoint
    proof: bytes


def prove_entry(source: LogSource, seq: int, keys: tuple[VerifierKey, ...], advance: Advance) -> Proved:
    """Make and check the proof that entry ``seq`` is in the log of the export's checkpoint.

    Raises:
        AuditError: the source cannot be read, or the log has no such entry.
        NotProvedError: the checkpoint is not signed by the keys, or the entries are not its tree.

    """
    note, checkpoint = _read_signed(source, keys)
    if not 0 <= seq < checkpoint.size:
        message = f"the log has {checkpoint.size} entries, counted from 0; there is no entry {seq}"
        raise AuditError(message)
    plan = plan_inclusion(seq, checkpoint.size)
    collector = NodeCollector(node for element in plan for node in element)
    line = _gather(source, collector, checkpoint.size, seq, advance)
    if line is None:
        message = f"the export ends before the {checkpoint.size} entries that its checkpoint counts"
        raise NotProvedError(message)
    try:
        hashes = tuple(assemble_proof(plan, collector.hashes))
        verify_inclusion(leaf_hash(line), seq, checkpoint.size, hashes, checkpoint.root)
        entry = parse_entry(line)
    except ProofError as error:
        message = f"the entries are not those of the checkpoint ({error}); `tally audit verify` names the first bad one"
        raise NotProvedError(message) from error
    except EntryError as error:
        message = f"line {seq + 1} is not an entry: {error}"
        raise NotProvedError(message) from error
    if (entry.log, entry.seq) != (checkpoint.origin, seq):
        message = f"the entry calls itself {entry.seq} of {entry.log}"
        raise NotProvedError(message)
    return Proved(line, checkpoint, TlogProof(seq, hashes, note).to_bytes())


def _read_signed(source: LogSource, keys: tuple[VerifierKey, ...]) -> tuple[bytes, Checkpoint]:
    note = source.read_small(CHECKPOINT)
    try:
        checkpoint = read_checkpoint(note)
    except (NoteError, CheckpointError) as error:
        message = f"the checkpoint is not one: {error}"
        raise NotProvedError(message) from error
    for finding in check_signature(note, keys, "the checkpoint") if keys else ():
        raise NotProvedError(finding.message)
    return note, checkpoint


def _gather(source: LogSource, collector: NodeCollector, size: int, seq: int, advance: Advance) -> bytes | None:
    """Feed the first ``size`` leaves; give line ``seq``, or None if there are fewer."""
    wanted: bytes | None = None
    position = 0
    for lines in bare_lines(source, size, advance):
        collector.feed([leaf_hash(line) for line in lines])
        if position <= seq < position + len(lines):
            wanted = lines[seq - position]
        position += len(lines)
    return wanted if position == size else None
