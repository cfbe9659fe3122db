"""`replay`: `tally audit verify` of a long log against bare SHA-256 of the same leaves and nodes on one core.

The log has 1,000,000 entries of about 600 bytes (TALLY_BENCH_ENTRIES for another number). Both sides read the same
file, in processes of their own, from the page cache; what is timed is the whole of each, start-up apart. One process is
timed by its processor time, so that other work on the machine does not count; two, which are there to save time, by the
clock on the wall.
"""

import os
import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from time import perf_counter, process_time
from typing import Final

import msgspec
from tallystick_cli.bench.make_log import make_log
from tallystick_tlog import to_base64
from tallystick_tlog.samples import SIGNER

from bench.measure import Measure, Result, result

GOAL: Final = 0.50
GOAL_TWO: Final = 0.80
MOST_MIB: Final = 150
_CHUNK_BYTES: Final = 512 * 1024
_PAIR: Final = 2
_ROUNDS: Final = 5
_BARE: Final = re.compile(r"bare: (\S+) s by the processor, (\S+) s by the clock")
_REFERENCE: Final = "bare SHA-256 of the same leaves and nodes, one core"


class Run(msgspec.Struct, frozen=True):
    """What a command took, its children included; the peak is of the largest process."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    output: str


def take() -> Result:
    """Replay in one process."""
    return _take("replay", GOAL, 1)


def take_two() -> Result:
    """Replay in two processes."""
    return _take("replay_two_processes", GOAL_TWO, 2)


def _take(name: str, goal: float, jobs: int) -> Result:
    """Make the log, replay it both ways five times, and compare the best runs."""
    entries = int(os.environ.get("TALLY_BENCH_ENTRIES", "1000000"))
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as made:
        folder = Path(made)
        make_log(folder, entries, lambda _more: None)
        reference = [sys.executable, "-m", "bench.replay", str(folder)]
        command = [sys.executable, "-c", "from tallystick_cli.main import app; app()"]
        verify = [*command, "audit", "verify", str(folder), "--key", str(SIGNER.verifier), "--json"]
        verify += ["--jobs", str(jobs)]
        # In turns, and the best of each: other work on the machine then disturbs both alike.
        runs = [(_run(reference), _run(verify), _run([*command, "--help"])) for _ in range(_ROUNDS)]
    bare_s = min(float(_BARE.findall(found.output)[0][jobs > 1]) for found, _, _ in runs)
    replay_s, start_s = (
        min(row[column].wall_s if jobs > 1 else row[column].cpu_s for row in runs) for column in (1, 2)
    )
    peak_mib = max(row[1].peak_mib for row in runs)
    if peak_mib > MOST_MIB:
        message = f"the replay took {peak_mib:.0f} MiB, more than {MOST_MIB}"
        raise RuntimeError(message)
    return result(
        name=name,
        value=entries / (replay_s - start_s),
        unit="entries/s",
        reference=_REFERENCE,
        reference_value=entries / bare_s,
        goal=goal,
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


def _run(command: list[str]) -> Run:
    with tempfile.TemporaryFile("w+") as output:
        begin = perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if child.returncode:
        message = f"{command[:5]} failed: {text[-500:]}"
        raise RuntimeError(message)
    return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


MEASURE: Final = Measure("replay", take)
MEASURE_TWO: Final = Measure("replay_two_processes", take_two)

if __name__ == "__main__":
    started, started_cpu = perf_counter(), process_time()
    count, root_hash = bare(Path(sys.argv[1]) / "entries.ndjson")
    seconds, cpu_seconds = perf_counter() - started, process_time() - started_cpu
    sys.stdout.write(f"bare: {cpu_seconds} s by the processor, {seconds} s by the clock\n")
    sys.stdout.write(f"{count} entries, root {to_base64(root_hash)}\n")
