"""`tally audit prove` and `consistency`: what is proved holds under `proof`, and nothing else is proved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_cli.audit.prove import NodeCollector
from tallystick_tlog import CompactRange, Signer, leaf_hash, plan_consistency, plan_inclusion
from tallystick_tlog.samples import ORIGIN, SIGNER, checkpoint, event, log

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Run = Callable[..., Any]


@pytest.mark.parametrize("size", [1, 2, 5, 1500])
def test_every_proof_is_accepted_by_the_command_that_checks_one(
    export: Export, run: Run, tmp_path: Path, size: int
) -> None:
    folder = export(size)
    for seq in sorted({0, size // 2, size - 1}):
        proof, entry = tmp_path / f"{seq}.proof", tmp_path / f"{seq}.json"
        made = run("audit", "prove", folder, seq, "--out", proof, "--entry-out", entry, "--key", KEY)
        assert (made.exit_code, made.stderr) == (0, "")
        assert run("audit", "proof", proof, entry, "--key", KEY).exit_code == 0


@given(st.integers(1, 300).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size), st.integers(1, 90))))
def test_subtrees_are_collected_however_the_leaves_are_cut(case: tuple[int, int, int]) -> None:
    index, size, step = case
    leaves = [leaf_hash(b"%d" % at) for at in range(size)]
    for plan in (plan_inclusion(index, size), plan_consistency(index + 1, size)):
        nodes = [node for element in plan for node in element]
        collector = NodeCollector(nodes)
        for at in range(0, size, step):
            collector.feed(leaves[at : at + step])
        for node in nodes:
            low, high = node.index << node.level, (node.index + 1) << node.level
            assert collector.hashes[node] == CompactRange(low, low).extend(leaves[low:high]).hashes[0]


def test_a_changed_export_proves_nothing(export: Export, run: Run) -> None:
    lines, tree = log(5)
    lines[2] = lines[2].replace(b'"done"', b'"gone"')
    folder = export(lines, tree=tree)
    for seq in (1, 2):
        result = run("audit", "prove", folder, seq, "--key", KEY)
        assert (result.exit_code, result.stdout.split(":")[0]) == (1, "not proved")
    short = export(log(3)[0], tree=tree, name="short")
    assert run("audit", "prove", short, 1, "--key", KEY).exit_code == 1
    other = export(5, signer=Signer(ORIGIN, bytes(32)), name="other")
    assert run("audit", "prove", other, 1, "--key", KEY).exit_code == 1


def test_a_proof_without_a_pinned_key_says_what_it_is_worth(export: Export, run: Run) -> None:
    result = run("audit", "prove", export(3), 1)
    assert result.exit_code == 0
    assert result.stdout.startswith("c2sp.org/tlog-proof@v1\nindex 1\n")
    assert "not authenticated" in result.stderr
    shown = json.loads(run("audit", "prove", export(3), 1, "--json", "--key", KEY).stdout)
    assert (shown["seq"], shown["size"], shown["authenticated"]) == (1, 3, True)


def test_what_cannot_be_proved_is_one_line_and_status_2(export: Export, run: Run, tmp_path: Path) -> None:
    folder = export(3)
    there = tmp_path / "there"
    there.write_text("mine")
    for arguments in ((folder, 3), (folder, 1, "--out", there), (folder, 1, "--out", tmp_path / "no" / "x"), ("no", 1)):
        result = run("audit", "prove", *arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), arguments
    assert there.read_text() == "mine"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("old", "new"), [(0, 5), (1, 5), (4, 5), (5, 5), (1000, 1500), (1024, 1500)])
def test_a_newer_log_begins_with_the_older_one(export: Export, run: Run, tmp_path: Path, old: int, new: int) -> None:
    kept, proof = tmp_path / "kept", tmp_path / "proof"
    kept.write_bytes(checkpoint(log(old)[1]))
    folder = export(new)
    made = run("audit", "consistency", kept, folder, "--key", KEY, "--out", proof)
    assert (made.exit_code, made.stderr) == (0, "")
    again = run("audit", "consistency", kept, folder / "checkpoint", "--key", KEY, "--proof", proof)
    assert again.exit_code == 0


def test_a_log_that_was_rewritten_shrunk_or_cut_is_not_consistent(
    export: Export, run: Run, chain: Callable[..., list[bytes]], tmp_path: Path
) -> None:
    rewritten = export(chain((event(seq, actor="someone else"), {}) for seq in range(5)))
    for size in (3, 5):
        kept = tmp_path / f"kept{size}"
        kept.write_bytes(checkpoint(log(size)[1]))
        result = run("audit", "consistency", kept, rewritten, "--key", KEY)
        assert (result.exit_code, result.stdout.split(":")[0]) == (1, "not proved")
    longer, cut = export(7, name="longer"), export(log(4)[0], tree=log(5)[1], name="cut")
    assert run("audit", "consistency", longer, export(5, name="five")).exit_code == 1
    assert run("audit", "consistency", tmp_path / "kept3", cut).exit_code == 1


def test_equal_sizes_are_not_enough_the_entries_are_read_too(export: Export, run: Run) -> None:
    lines, tree = log(5)
    lines[4] = lines[4].replace(b'"done"', b'"gone"')
    assert run("audit", "consistency", export(5), export(lines, tree=tree, name="b")).exit_code == 1


def test_two_checkpoints_alone_or_of_two_logs_are_status_2(export: Export, run: Run, tmp_path: Path) -> None:
    kept, other = tmp_path / "kept", tmp_path / "other"
    kept.write_bytes(checkpoint(log(3)[1]))
    other.write_bytes(checkpoint(log(3)[1], Signer("other.example", bytes(32))))
    folder = export(5)
    wrong = ((kept, folder / "checkpoint"), (other, folder), (folder / "entries.ndjson", folder), (kept, "no"))
    for arguments in wrong:
        result = run("audit", "consistency", *arguments)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    proof = tmp_path / "proof"
    proof.write_text("AAAA\n")
    assert run("audit", "consistency", kept, folder / "checkpoint", "--proof", proof).exit_code == 1
    proof.write_text("é\n")
    assert run("audit", "consistency", kept, folder / "checkpoint", "--proof", proof).exit_code == 2
