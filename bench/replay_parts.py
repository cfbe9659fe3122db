"""Where a replay's time goes: each part of `digest` by itself, in microseconds of processor time an entry.

`python -m bench.replay_parts`, TALLY_BENCH_ENTRIES entries (100,000). The parts are timed apart, so that their sum is
about the whole, and the bound (splitting, leaves, tree) is among them.
"""

import gc
import os
import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from time import process_time
from typing import Final

from tallystick_cli.audit import fast
from tallystick_cli.audit.blocks import BLOCK_BYTES
from tallystick_cli.bench.make_log import make_log
from tallystick_tlog import CompactRange, parse_entry

_ROUNDS: Final = 5


def main() -> None:
    """Print the table."""
    entries = int(os.environ.get("TALLY_BENCH_ENTRIES", "100000"))
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as made:
        make_log(Path(made), entries, lambda _more: None)
        blocks = _blocks((Path(made) / "entries.ndjson").read_bytes())
    log = parse_entry(blocks[0].partition(b"\n")[0]).log
    decoder = fast._decoder(log)  # noqa: SLF001 - its parts are what is timed
    decoded = [decoder.decode_lines(block) for block in blocks]
    lines = [block.split(b"\n")[:-1] for block in blocks]
    leaves = [[sha256(b"\x00" + line).digest() for line in some] for some in lines]
    parts: dict[str, Callable[[int], object]] = {
        "the whole digest": lambda n: fast.digest(blocks[n], log),
        "bound: splitting into lines": lambda n: blocks[n].split(b"\n"),
        "bound: hashing leaves": lambda n: [sha256(b"\x00" + line).digest() for line in lines[n]],
        "bound: hashing the tree": lambda n: CompactRange().extend(leaves[n]),
        "decoding, with types": lambda n: decoder.decode_lines(blocks[n]),
        "encoding and comparing": lambda n: fast._encode_lines(decoded[n]) == blocks[n],  # noqa: SLF001 - as above
        "numbers of the sources": lambda n: fast._series(decoded[n]),  # noqa: SLF001 - as above
        "links between entries": lambda n: [entry.prev for entry in decoded[n][1:]] == leaves[n][:-1],
    }
    gc.disable()
    for name, part in parts.items():
        sys.stdout.write(f"{name:30s} {min(_timed(part, len(blocks)) for _ in range(_ROUNDS)) / entries * 1e6:6.2f}\n")


def _timed(part: Callable[[int], object], blocks: int) -> float:
    begin = process_time()
    for number in range(blocks):
        part(number)
    return process_time() - begin


def _blocks(data: bytes) -> list[bytes]:
    blocks, start = [], 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + BLOCK_BYTES) + 1
        blocks.append(data[start:end])
        start = end
    return blocks


if __name__ == "__main__":
    main()
