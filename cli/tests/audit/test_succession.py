"""`tally audit verify` of a log that goes on after a restore: it says which log it succeeds and where that broke."""

from pathlib import Path
from typing import Any

import pytest
from tallystick_tlog import FIRST_PREV, CompactRange, Signer, build_line, leaf_hash
from tallystick_tlog.checkpoint import Checkpoint, sign_checkpoint
from tallystick_tlog.samples import RECORDED, event

OLD = "tally.example/acme/compliance"
SEED = bytes(range(32))
BROKEN: dict[str, Any] = {
    "keptRoot": "AAAA",
    "keptSize": 40,
    "log": OLD,
    "signedRoot": "BBBB",
    "signedSize": 50,
}


def written(folder: Path, origin: str, first: bytes) -> Path:
    """Write an export of two entries of ``origin``, the first of them with this event."""
    signer, prev, lines = Signer(origin, SEED), FIRST_PREV, list[bytes]()
    # Both series go on in the middle, as they do after a break.
    for seq, (body, number) in enumerate(((first, 3), (event(1), 981))):
        lines.append(build_line(body, origin, prev, RECORDED, seq, number))
        prev = leaf_hash(lines[-1])
    tree = CompactRange().extend(map(leaf_hash, lines))
    folder.mkdir()
    (folder / "entries.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    (folder / "checkpoint").write_bytes(sign_checkpoint(Checkpoint(origin, 2, tree.root()), signer))
    (folder / "ledger.vkey").write_text(f"{signer.verifier}\n")
    return folder


def succeeded(log: str, kind: str = "ledger.log.succeeded", **changes: Any) -> bytes:
    data = {"broken": [{**BROKEN, **changes}], "log": log}
    return event(0, source="ledger", type=kind, stream=f"log-{log}", stream_version=1, data=data)


@pytest.mark.parametrize(
    ("origin", "kind"),
    [
        (f"{OLD}.2", "ledger.log.succeeded"),
        ("tally.example/acme/audit-2026-11.3", "ledger.period.succeeded"),
        ("tally.example/acme/audit-2026-12", "ledger.period.succeeded"),
    ],
)
def test_a_successor_says_which_log_it_succeeds_and_where_that_broke(
    run: Any, tmp_path: Path, origin: str, kind: str
) -> None:
    folder = written(tmp_path / "log", origin, succeeded(origin, kind))
    said = run("audit", "verify", folder, "--key", str(Signer(origin, SEED).verifier))
    assert said.exit_code == 0
    assert f"succeeds {OLD}: that was signed up to at least 50 entries (root BBBB)" in said.stdout
    assert "40 of them were kept (root AAAA); 10 signed entries were lost there" in said.stdout


def test_another_history_is_called_so(run: Any, tmp_path: Path) -> None:
    folder = written(tmp_path / "log", f"{OLD}.2", succeeded(f"{OLD}.2", keptSize=50))
    assert "what was kept is another history" in run("audit", "verify", folder).stdout


@pytest.mark.parametrize("first", [event(0, source="ledger"), succeeded(OLD), succeeded(f"{OLD}.3")])
def test_a_successor_that_does_not_name_its_break_is_damaged(verify: Any, tmp_path: Path, first: bytes) -> None:
    report = verify(written(tmp_path / "log", f"{OLD}.2", first), key=str(Signer(f"{OLD}.2", SEED).verifier))
    (finding,) = report["findings"]
    assert (report["status"], finding["code"], finding["seq"]) == ("damaged", "format", 0)


def test_the_first_log_of_its_kind_cannot_begin_in_the_middle(run: Any, tmp_path: Path) -> None:
    said = run("audit", "verify", written(tmp_path / "log", OLD, succeeded(OLD)))
    assert said.exit_code == 1
    assert "source_gap" in said.stdout
