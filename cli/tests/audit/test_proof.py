"""`tally audit proof`: one entry and its proof file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tallystick_tlog import CompactRange, TlogProof, leaf_hash, plan_inclusion
from tallystick_tlog.samples import SIGNER, checkpoint, log

KEY = str(SIGNER.verifier)
Run = Callable[..., Any]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Write the proof of entry 2 of 5, and the entry."""
    lines, tree = log(5)
    leaves = [leaf_hash(line) for line in lines]
    hashes = []
    for (node,) in plan_inclusion(2, 5):
        low, high = node.index << node.level, (node.index + 1) << node.level
        hashes.append(CompactRange(low, low).extend(leaves[low:high]).hashes[0])
    proof, entry = tmp_path / "1.proof", tmp_path / "1.entry.json"
    proof.write_bytes(TlogProof(2, tuple(hashes), checkpoint(tree)).to_bytes())
    entry.write_bytes(lines[2] + b"\n")
    return proof, entry


def test_an_entry_is_proved_under_the_pinned_key(files: tuple[Path, Path], run: Run) -> None:
    result = run("audit", "proof", *files, "--key", KEY)
    assert result.exit_code == 0
    assert "proved: entry 2 of tally.example/acme/compliance (5 entries)" in result.stdout


@pytest.mark.parametrize("which", [0, 1])
def test_every_flipped_byte_of_either_file_is_detected(files: tuple[Path, Path], run: Run, which: int) -> None:
    data = files[which].read_bytes()
    last = len(data) - (which == 1)  # the entry's line feed is not part of it
    for position in range(last):
        damaged = bytearray(data)
        damaged[position] ^= 1
        files[which].write_bytes(damaged)
        result = run("audit", "proof", *files, "--key", KEY)
        assert result.exit_code == 1, position
        assert result.stdout.startswith("not proved: ")
        assert result.stdout.count("\n") == 1


def test_missing_files_and_keys_are_one_line_and_status_2(files: tuple[Path, Path], run: Run) -> None:
    for arguments in ((*files, "--key", "nonsense"), (files[0], "nowhere", "--key", KEY), (files[0], files[1])):
        assert run("audit", "proof", *arguments).exit_code == 2
