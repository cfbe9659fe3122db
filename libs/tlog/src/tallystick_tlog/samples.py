"""Small logs made on the spot, for tests, examples and measurements; nothing here is used by a service."""

import json
from collections.abc import Iterator

from tallystick_tlog.checkpoint import Checkpoint, sign_checkpoint
from tallystick_tlog.entry import FIRST_PREV, build_line
from tallystick_tlog.hashing import leaf_hash
from tallystick_tlog.note import Signer
from tallystick_tlog.tree import CompactRange

ORIGIN = "tally.example/acme/compliance"
SIGNER = Signer(ORIGIN, bytes(range(32)))
"""A public test key."""
RECORDED = "2026-11-21T23:34:05.123456Z"


def event(number: int, **changes: object) -> bytes:
    """Make one canonical event; a change to None leaves the field out."""
    value: dict[str, object] = {
        "actor": "person:7f3a",
        "correlation": "c0ffee",
        "data": {"count": number, "list": [1, None, True, "x"], "state": "done"},
        "id": f"00000000-0000-7000-8000-{number:012}",
        "source": "assessment",
        "stream": "remediation:1",
        "stream_version": number,
        "time": "2026-11-21T23:34:05Z",
        "type": "assessment.remediation.applied",
        "v": 1,
    }
    value.update(changes)
    kept = {key: item for key, item in value.items() if item is not None}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def lines(size: int) -> Iterator[bytes]:
    """Make the lines of a log of ``size`` entries from one source and aggregate."""
    prev = FIRST_PREV
    for seq in range(size):
        line = build_line(event(seq), ORIGIN, prev, RECORDED, seq, seq + 1)
        prev = leaf_hash(line)
        yield line


def log(size: int) -> tuple[list[bytes], CompactRange]:
    """Make a log of ``size`` entries: its lines and its tree."""
    made = list(lines(size))
    return made, CompactRange().extend(map(leaf_hash, made))


def checkpoint(tree: CompactRange, signer: Signer = SIGNER) -> bytes:
    """Sign the tree's head under the signer's name."""
    return sign_checkpoint(Checkpoint(signer.verifier.name, tree.size, tree.root()), signer)
