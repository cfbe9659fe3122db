"""A log made on the spot, of any length, as a folder that an export would be: for measurements and trials.

Its lines are chained and its checkpoint is signed, with a key that everybody knows: it verifies, and proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick_tlog import FIRST_PREV, CompactRange, build_line, leaf_hash
from tallystick_tlog.samples import ORIGIN, RECORDED, SIGNER, checkpoint

from tallystick_cli.audit.sources import CHECKPOINT, ENTRIES, VKEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_AT_ONCE: Final = 4096
_PEOPLE: Final = 997
_UUID: Final = "0192f3a0-4444-7000-8000-{:012}"


def make_log(folder: Path, entries: int, advance: Callable[[int], object]) -> None:
    """Write ``entries`` entries of about 600 bytes, the checkpoint and the key; call ``advance`` with how many more.

    Raises:
        FileExistsError: there is a log already. The checkpoint comes last, so a folder without one is not finished.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tree, prev = CompactRange(), FIRST_PREV
    lines: list[bytes] = []
    leaves: list[bytes] = []
    with (folder / ENTRIES).open("xb") as file:
        for seq, event in enumerate(_events(entries), start=0):
            lines.append(build_line(event, ORIGIN, prev, RECORDED, seq, seq + 1))
            prev = leaf_hash(lines[-1])
            leaves.append(prev)
            if len(leaves) == _AT_ONCE or seq == entries - 1:
                file.write(b"\n".join(lines) + b"\n")
                tree = tree.extend(leaves)
                advance(len(leaves))
                lines, leaves = [], []
    (folder / VKEY).write_text(f"{SIGNER.verifier}\n")
    (folder / CHECKPOINT).write_bytes(checkpoint(tree))


def _events(entries: int) -> Iterator[bytes]:
    for number in range(entries):
        person, other = _UUID.format(number % _PEOPLE), _UUID.format(number)
        yield (
            f'{{"actor":"{person}","correlation":"{other}","data":{{"answer_hash":"{other}","question":"q07",'
            f'"score":{number % 100},"state":"final"}},"id":"{other}","org_unit":"{person}","source":"assessment",'
            f'"stream":"submission:{number}","stream_version":3,"time":"2026-11-21T23:34:05Z",'
            f'"type":"assessment.submission.finalised","v":1}}'
        ).encode()
