"""A random sample that anyone can draw again, and that the operator could not foresee.

Each entry's rank is SHA-256(key ‖ seq as 8 bytes, big-endian), where key is SHA-256 of these lines, each ended by a
line feed: ``tallystick audit sample v1``, the log's origin, its size, its root in base64, the seed. The sample is the
entries of the lowest ranks. The auditor names the seed after the root was signed: who wrote the log did not know the
seed, and who names the seed can no longer change the log.
"""

import heapq
from fnmatch import fnmatchcase
from hashlib import sha256

import msgspec
from tallystick_tlog import Checkpoint, leaf_hash, to_base64

from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.findings import Report
from tallystick_cli.audit.records import Record, read_record
from tallystick_cli.audit.walk import Walk

MAX_SAMPLE = 10_000
"""A sample is held in memory and looked at by people."""

_SEQ_BYTES = 8


class Drawn(msgspec.Struct, frozen=True):
    """One entry of a sample; ``leaf_hash`` is base64, ``line`` the entry's own text."""

    seq: int
    id: str
    type: str
    recorded: str
    actor: str
    subject: str | None
    leaf_hash: str
    line: str


class Sample(msgspec.Struct, frozen=True):
    """A sample in the log's order; ``population`` is the number of entries it was drawn from."""

    log: str
    size: int
    root: str
    authenticated: bool
    seed: str
    type: str | None
    count: int
    population: int
    entries: tuple[Drawn, ...]


class _Kind(msgspec.Struct):
    type: str


class _Head(msgspec.Struct):
    event: _Kind


_read_head = msgspec.json.Decoder(_Head).decode


def sample_key(checkpoint: Checkpoint, seed: str) -> bytes:
    """Give the 32-byte key of the ranks."""
    root = to_base64(checkpoint.root)
    parts = ("tallystick audit sample v1", checkpoint.origin, str(checkpoint.size), root, seed)
    return sha256("".join(f"{part}\n" for part in parts).encode()).digest()


def rank(key: bytes, seq: int) -> int:
    """Give an entry's rank; the lowest are drawn."""
    return int.from_bytes(sha256(key + seq.to_bytes(_SEQ_BYTES, "big")).digest(), "big")


def draw_sample(walk: Walk, seed: str, count: int, kind: str | None, advance: Advance) -> tuple[Sample | None, Report]:
    """Draw ``count`` entries, of types that match the pattern ``kind``; no sample from a log that does not hold.

    Raises:
        AuditError: the source cannot be read, or the seed has a line break.

    """
    if not seed.isprintable() or not seed:
        message = "a seed is one line of text, such as the date and a word of your own"
        raise AuditError(message)
    if walk.checkpoint is None:
        return None, walk.report()
    key = sample_key(walk.checkpoint, seed)
    best: list[tuple[int, int, bytes]] = []
    population = 0
    for start, lines in walk.lines(advance):
        for seq, line in enumerate(lines, start):
            if kind is not None and not fnmatchcase(_read_head(line).event.type, kind):
                continue
            population += 1
            item = (-rank(key, seq), seq, line)
            if len(best) < count:
                heapq.heappush(best, item)
            else:
                heapq.heappushpop(best, item)
    report = walk.report()
    if report.status == "damaged":
        return None, report
    drawn = tuple(_drawn(read_record(line), line) for _, _, line in sorted(best, key=lambda item: item[1]))
    sample = Sample(
        log=walk.checkpoint.origin,
        size=walk.checkpoint.size,
        root=to_base64(walk.checkpoint.root),
        authenticated=report.authenticated,
        seed=seed,
        type=kind,
        count=len(drawn),
        population=population,
        entries=drawn,
    )
    return sample, report


def _drawn(record: Record, line: bytes) -> Drawn:
    event = record.event
    return Drawn(
        seq=record.seq,
        id=event.id,
        type=event.type,
        recorded=record.recorded,
        actor=event.actor,
        subject=event.subject,
        leaf_hash=to_base64(leaf_hash(line)),
        line=line.decode(),
    )
