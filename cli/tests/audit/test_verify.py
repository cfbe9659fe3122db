"""`tally audit verify` on sound and damaged exports: what is wrong is named, at the first entry where it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tallystick_tlog import CompactRange, Signer, build_line, from_base64, leaf_hash, read_checkpoint
from tallystick_tlog.samples import ORIGIN, RECORDED, SIGNER, checkpoint, event, log

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Chain = Callable[..., list[bytes]]
Verify = Callable[..., dict[str, Any]]
Run = Callable[..., Any]


def only(report: dict[str, Any]) -> dict[str, Any]:
    (finding,) = report["findings"]
    assert report["status"] == "damaged"
    return dict(finding)


def place(report: dict[str, Any]) -> tuple[str, int, int]:
    finding = only(report)
    return finding["code"], finding["seq"], finding["line"]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 3000])
def test_a_sound_log_is_intact_and_its_root_is_the_signed_one(export: Export, verify: Verify, size: int) -> None:
    folder = export(size)
    report = verify(folder)
    assert (report["status"], report["authenticated"], report["entries"]) == ("intact", True, size)
    assert from_base64(report["root"]) == read_checkpoint((folder / "checkpoint").read_bytes()).root
    assert report["findings"] == []
    assert any("never numbered" in limit for limit in report["limits"])


def test_without_a_pinned_key_the_log_is_self_consistent_not_authenticated(export: Export, run: Run) -> None:
    result = run("audit", "verify", export())
    assert result.exit_code == 0
    assert "self-consistent, not authenticated" in result.stdout
    assert "warning: self-consistent, not authenticated" in result.stderr
    assert "What this replay cannot show" in result.stdout


def test_with_the_pinned_key_there_is_no_warning(export: Export, run: Run, tmp_path: Path) -> None:
    (tmp_path / "pins").write_text(f"# ours\n\n{Signer('another.example', bytes(32)).verifier}\n{KEY}\n")
    result = run("audit", "verify", export(), "--key", tmp_path / "pins")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "authenticated by your key" in result.stdout


def test_a_log_signed_by_another_key_fails_under_the_pinned_one(export: Export, verify: Verify) -> None:
    report = verify(export(signer=Signer(ORIGIN, bytes(32))))
    assert only(report)["code"] == "signature"
    assert not report["authenticated"]


def test_the_exported_key_is_checked_too_but_proves_nothing(export: Export, verify: Verify) -> None:
    folder = export()
    assert not verify(folder, key=None)["authenticated"]
    (folder / "ledger.vkey").write_text(str(Signer(ORIGIN, bytes(32)).verifier))
    assert only(verify(folder, key=None))["code"] == "signature"
    (folder / "ledger.vkey").write_bytes(b"\xff")
    assert only(verify(folder, key=None))["code"] == "signature"
    assert verify(folder)["status"] == "intact"


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_flipped_byte_of_the_entries_is_pinned_on_its_own_entry(
    export: Export, verify: Verify, jobs: int
) -> None:
    folder = export(4)
    path = folder / "entries.ndjson"
    data = path.read_bytes()
    for position in range(0, len(data), 1 if jobs == 1 else 97):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        code, seq, line = place(verify(folder, "--jobs", jobs))
        # A flipped line feed joins its line to the next one, so it counts for its own entry.
        assert (seq, line) == (data[:position].count(b"\n"), data[:position].count(b"\n") + 1), (position, code)


def test_every_flipped_byte_of_the_checkpoint_is_detected(export: Export, verify: Verify) -> None:
    folder = export(2)
    path = folder / "checkpoint"
    data = path.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        assert verify(folder)["status"] == "damaged"


def test_a_changed_event_is_a_hash_finding_at_its_entry(export: Export, verify: Verify) -> None:
    lines, tree = log(2000)
    lines[1200] = lines[1200].replace(b'"done"', b'"gone"')
    report = verify(export(lines, tree=tree))
    assert place(report) == ("hash", 1200, 1201)
    assert report["root"] is None


@pytest.mark.parametrize("at", [0, 3, 4])
def test_a_changed_link_is_a_chain_finding_at_its_own_entry(export: Export, verify: Verify, at: int) -> None:
    lines, tree = log(5)
    prev = lines[at].index(b'"prev":"') + 8
    lines[at] = lines[at][:prev] + b"B" * 42 + b"A=" + lines[at][prev + 44 :]
    assert place(verify(export(lines, tree=tree))) == ("chain", at, at + 1)


def test_the_entry_before_the_last_is_blamed_when_the_signed_root_says_so(export: Export, verify: Verify) -> None:
    lines, tree = log(5)
    lines[3] = lines[3].replace(b'"done"', b'"gone"')
    assert place(verify(export(lines, tree=tree))) == ("hash", 3, 4)


def test_a_changed_last_entry_is_a_root_finding(export: Export, verify: Verify) -> None:
    lines, tree = log(5)
    lines[4] = lines[4].replace(b'"done"', b'"gone"')
    assert place(verify(export(lines, tree=tree))) == ("root", 4, 5)


def test_a_log_rewritten_with_all_its_links_is_a_root_finding(export: Export, verify: Verify, chain: Chain) -> None:
    rewritten = chain((event(seq, actor="someone else") if seq > 1 else event(seq), {}) for seq in range(5))
    assert place(verify(export(rewritten, tree=log(5)[1]))) == ("root", 4, 5)


def test_missing_repeated_and_swapped_entries_are_order_findings(export: Export, verify: Verify) -> None:
    lines, tree = log(5)
    assert place(verify(export([*lines[:2], *lines[3:]], tree=tree))) == ("order", 2, 3)
    assert place(verify(export([*lines[:2], lines[1], *lines[2:]], tree=tree))) == ("order", 2, 3)
    assert place(verify(export([lines[0], lines[2], lines[1], *lines[3:]], tree=tree))) == ("order", 1, 2)


def test_a_shorter_or_longer_log_than_its_checkpoint_is_found(export: Export, verify: Verify) -> None:
    lines, tree = log(5)
    assert place(verify(export(lines[:3], tree=tree))) == ("truncated", 3, 4)
    assert place(verify(export([], tree=tree))) == ("truncated", 0, 1)
    assert place(verify(export(log(7)[0], tree=tree))) == ("size", 5, 6)


def test_a_gap_in_a_source_is_found(export: Export, verify: Verify, chain: Chain) -> None:
    numbers = [1, 2, 4]
    lines = chain((event(seq), {"source_seq": number}) for seq, number in enumerate(numbers))
    assert place(verify(export(lines))) == ("source_gap", 2, 3)


def test_a_repeated_number_of_a_source_is_found(export: Export, verify: Verify, chain: Chain) -> None:
    lines = chain((event(seq), {"source_seq": number}) for seq, number in enumerate([1, 2, 2]))
    assert place(verify(export(lines))) == ("source_gap", 2, 3)


def test_each_source_and_aggregate_counts_by_itself(export: Export, verify: Verify, chain: Chain) -> None:
    kinds = ["assessment.score.recorded", "assessment.remediation.applied", "assessment.score.corrected"]
    parts = [
        (event(3 * turn + at, type=kind), {"source_seq": 2 * turn + 1 + (at == 2) if at != 1 else turn + 1})
        for turn in range(400)
        for at, kind in enumerate(kinds)
    ]
    assert verify(export(chain(parts)))["status"] == "intact"


def test_a_compliance_log_begins_each_series_at_one(export: Export, verify: Verify, chain: Chain) -> None:
    assert place(verify(export(chain([(event(0), {"source_seq": 2})])))) == ("source_gap", 0, 1)


def test_an_audit_log_may_begin_a_series_anywhere_but_leaves_no_gap(
    export: Export, verify: Verify, chain: Chain
) -> None:
    signer = Signer("tally.example/acme/audit-2026-11", bytes(range(32)))
    lines = chain([(event(0), {"source_seq": 40}), (event(1), {"source_seq": 41})], signer.verifier.name)
    assert verify(export(lines, signer=signer), key=str(signer.verifier))["status"] == "intact"
    gap = chain([(event(0), {"source_seq": 40}), (event(1), {"source_seq": 42})], signer.verifier.name)
    assert place(verify(export(gap, signer=signer), key=str(signer.verifier))) == ("source_gap", 1, 2)


def test_time_that_goes_back_is_found(export: Export, verify: Verify, chain: Chain) -> None:
    times = [RECORDED, "2026-11-21T23:34:06.000000Z", RECORDED]
    lines = chain((event(seq), {"recorded": time}) for seq, time in enumerate(times))
    assert place(verify(export(lines))) == ("time", 2, 3)


def test_an_entry_of_another_log_is_found(export: Export, verify: Verify, chain: Chain) -> None:
    other = "tally.example/other/compliance"
    lines = chain((event(seq), {"log": other} if seq == 2 else {}) for seq in range(4))
    assert place(verify(export(lines))) == ("log", 2, 3)


def test_an_entry_that_is_not_canonical_is_a_format_finding_even_if_the_chain_holds(
    export: Export, verify: Verify, chain: Chain
) -> None:
    loose = event(1).replace(b'"data":{', b'"data": {')
    assert place(verify(export(chain([(event(0), {}), (loose, {})])))) == ("format", 1, 2)
    number = event(1, data={"x": 0}).replace(b'"x":0', b'"x":9007199254740992')
    assert place(verify(export(chain([(event(0), {}), (number, {})])))) == ("format", 1, 2)


def test_odd_but_canonical_entries_are_sound(export: Export, verify: Verify, chain: Chain) -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(20):
        deep = {"x": [deep]}
    events = [event(0, data=deep), event(1, data={"n": 2**53 - 1, "m": -(2**53) + 1}), event(2, subject="Ünï 😀")]
    assert verify(export(chain((item, {}) for item in events)))["status"] == "intact"


def test_a_kept_checkpoint_must_be_the_beginning_of_the_log(export: Export, verify: Verify, tmp_path: Path) -> None:
    folder = export(3000)
    kept = tmp_path / "kept"
    for size in (0, 1, 1500, 3000):
        kept.write_bytes(checkpoint(log(size)[1]))
        report = verify(folder, "--since", kept)
        assert report["status"] == "intact"
        assert not any("--since" in limit for limit in report["limits"])


def test_a_log_rewritten_and_signed_again_fails_under_the_kept_checkpoint(
    export: Export, verify: Verify, chain: Chain, tmp_path: Path
) -> None:
    rewritten = export(chain((event(seq, actor="someone else"), {}) for seq in range(5)))
    kept = tmp_path / "kept"
    kept.write_bytes(checkpoint(log(3)[1]))
    assert verify(rewritten)["status"] == "intact"
    assert only(verify(rewritten, "--since", kept))["code"] == "root"
    kept.write_bytes(checkpoint(log(9)[1]))
    assert only(verify(rewritten, "--since", kept))["code"] == "truncated"
    kept.write_bytes(checkpoint(log(3)[1], Signer(ORIGIN, bytes(32))))
    assert "signature" in {finding["code"] for finding in verify(rewritten, "--since", kept)["findings"]}


def test_a_folder_of_logs_is_verified_log_by_log(export: Export, verify: Verify, run: Run) -> None:
    other = Signer("tally.example/acme/audit-2026-11", bytes(32))
    export(3, name="all/one")
    folder = export(0, signer=other, name="all/two").parent
    (folder / "pins").write_text(f"{KEY}\n{other.verifier}\n")
    report = verify(folder, key=str(folder / "pins"))
    assert (report["status"], report["authenticated"], report["entries"]) == ("intact", True, 3)
    assert [item["log"] for item in report["logs"]] == [ORIGIN, other.verifier.name]
    (folder / "two" / "entries.ndjson").write_bytes(b"x\n")
    assert verify(folder, key=str(folder / "pins"))["status"] == "damaged"
    assert run("audit", "verify", folder).exit_code == 1
    (folder / "two" / "checkpoint").unlink()
    assert run("audit", "verify", folder).exit_code == 2


def test_people_are_told_the_entry_the_line_and_the_reason(export: Export, run: Run) -> None:
    lines, tree = log(5)
    lines[2] = lines[2].replace(b'"done"', b'"gone"')
    result = run("audit", "verify", export(lines, tree=tree), "--key", KEY)
    assert result.exit_code == 1
    assert "damaged: entry 2 (line 3): hash: entry 3 records another hash of it" in result.stdout


def test_parts_digested_by_other_processes_give_the_same_report(
    export: Export, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallystick_cli.audit.drive.PART_BYTES", 200_000)
    lines, tree = log(3000)
    folder = export(lines)
    assert verify(folder, "--jobs", 2) == verify(folder, "--jobs", 1)
    for at in (0, 700, 1499, 2998):
        damaged = list(lines)
        damaged[at] = damaged[at].replace(b'"done"', b'"gone"')
        folder = export(damaged, tree=tree)
        report = verify(folder, "--jobs", 2)
        assert place(report) == ("hash", at, at + 1)
        assert report == verify(folder, "--jobs", 1)


def test_an_entry_built_by_hand_is_what_the_export_holds() -> None:
    lines, tree = log(1)
    assert lines == [build_line(event(0), ORIGIN, bytes(32), RECORDED, 0, 1)]
    assert tree == CompactRange().append(leaf_hash(lines[0]))
