"""Checking a proof file: one entry of a log, with nothing else of it at hand."""

from collections.abc import Sequence

from tallystick_tlog import Checkpoint, Entry, ProofError, TlogProof, VerifierKey, leaf_hash, parse_entry


def check_proof(data: bytes, line: bytes, keys: Sequence[VerifierKey]) -> tuple[Entry, Checkpoint]:
    """Return the entry that `line` (without its line feed) is, and the signed checkpoint of the log that holds it.

    Raises:
        TlogError: it is not proved; the text says why.

    """
    entry = parse_entry(line)
    found = TlogProof.from_bytes(data)
    checkpoint = found.verify(leaf_hash(line), keys)
    if (entry.log, entry.seq) != (checkpoint.origin, found.index):
        message = f"the entry calls itself {entry.seq} of {entry.log}, the proof is of another place"
        raise ProofError(message)
    return entry, checkpoint
