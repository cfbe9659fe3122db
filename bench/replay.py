"""`replay`: `tally audit verify` of a long log against bare SHA-256 of the same leaves and nodes on one core.

The log has 1,000,000 entries of about 600 bytes (TALLY_BENCH_ENTRIES for another number). Both sides read the same
file, in processes of their own, from the page cache; what is timed is the whole of each, start-up apart.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Final

from tallystick_tlog import FIRST_PREV, CompactRange, build_line, leaf_hash, to_base64
from tallystick_tlog.samples import ORIGIN, RECORDED, SIGNER, checkpoint

from bench.measure import Measure, Result, result

GOAL: Final = 0.50
_CHUNK_BYTES: Final = 512 * 1024
_LEAVES_AT_ONCE: Final = 4096
_PAIR: Final = 2
_REFERENCE: Final = "bare SHA-256 of the same leaves and nodes, one core"
_UUID: Final = "0192f3a0-4444-7000-8000-{:012}"


def take() -> Result:
    """Make the log, replay it both ways three times, and compare the best runs."""
    entries = int(os.environ.get("TALLY_BENCH_ENTRIES", "1000000"))
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as name:
        folder = Path(name)
        _write_log(folder, entries)
        reference = [sys.executable, "-m", "bench.replay", str(folder)]
        command = [sys.executable, "-c", "from tallystick_cli.main import app; app()"]
        verify = [*command, "audit", "verify", str(folder), "--key", str(SIGNER.verifier), "--json"]
        # In turns, and the best of each: other work on the machine then disturbs both alike.
        runs = [(_timed(reference), _timed(verify), _timed([*command, "--help"])) for _ in range(3)]
        bare_s, verify_s, start_s = (min(column) for column in zip(*runs, strict=True))
        replay_s = verify_s - start_s
    return result(
        name="replay",
        value=entries / replay_s,
        unit="entries/s",
        reference=_REFERENCE,
        reference_value=entries / bare_s,
        goal=GOAL,
    )


def bare(path: Path) -> tuple[int, bytes]:
    """Hash every line and every node of the tree, and nothing else: the bound that a replay cannot pass."""
    rows: list[list[bytes]] = [[]]
    rest = b""
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            size += len(lines)
            rows[0] += [sha256(b"\x00" + line).digest() for line in lines]
            _fold_pairs(rows)
    root = b""
    for row in rows:
        if row:
            root = sha256(b"\x01" + row[0] + root).digest() if root else row[0]
    return size, root


def _fold_pairs(rows: list[list[bytes]]) -> None:
    for level, row in enumerate(rows):
        if len(row) < _PAIR:
            continue
        pairs = iter(row[: len(row) & ~1])
        folded = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
        if level + 1 == len(rows):
            rows.append([])
        rows[level + 1] += folded
        rows[level] = row[len(row) & ~1 :]


def _events(entries: int) -> Iterator[bytes]:
    for number in range(entries):
        person, other = _UUID.format(number % 997), _UUID.format(number)
        yield (
            f'{{"actor":"{person}","correlation":"{other}","data":{{"answer_hash":"{other}","question":"q07",'
            f'"score":{number % 100},"state":"final"}},"id":"{other}","org_unit":"{person}","source":"assessment",'
            f'"stream":"submission:{number}","stream_version":3,"time":"2026-11-21T23:34:05Z",'
            f'"type":"assessment.submission.finalised","v":1}}'
        ).encode()


def _write_log(folder: Path, entries: int) -> None:
    tree, prev = CompactRange(), FIRST_PREV
    leaves: list[bytes] = []
    with (folder / "entries.ndjson").open("wb") as file:
        for seq, event in enumerate(_events(entries)):
            line = build_line(event, ORIGIN, prev, RECORDED, seq, seq + 1)
            prev = leaf_hash(line)
            file.write(line + b"\n")
            leaves.append(prev)
            if len(leaves) == _LEAVES_AT_ONCE:
                tree, leaves = tree.extend(leaves), []
    (folder / "checkpoint").write_bytes(checkpoint(tree.extend(leaves)))
    (folder / "ledger.vkey").write_text(f"{SIGNER.verifier}\n")


def _timed(command: list[str]) -> float:
    begin = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken_s = perf_counter() - begin
    inner = re.search(r"bare: (\S+) s", done.stdout)
    return float(inner[1]) if inner else taken_s


MEASURE: Final = Measure("replay", take)

if __name__ == "__main__":
    started = perf_counter()
    count, root_hash = bare(Path(sys.argv[1]) / "entries.ndjson")
    seconds = perf_counter() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"bare: {seconds} s, {count} entries, root {to_base64(root_hash)}, {peak_mib:.0f} MiB\n")
