"""A dishonest operator, who has the database and the ledger's signing key: which check catches which lie.

The table in docs/explanation/threat-model.md says the same in words. The logs are real exports of a running house;
what the operator could do to the database ends in what he hands out, so that is where he changes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sweep.auditor import audit, export, reconcile
from sweep.house import Builder, House
from sweep.recipes import exam
from sweep.visitor import Call
from tallystick_cli.main import app
from tallystick_cli.stack import secret_files
from tallystick_ledger.keys.ring import KeyRing
from tallystick_tlog import (
    FIRST_PREV,
    Checkpoint,
    CompactRange,
    Signer,
    build_line,
    leaf_hash,
    parse_entry,
    read_checkpoint,
    sign_checkpoint,
)
from typer.testing import CliRunner

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("EV-23"), pytest.mark.control("X-10")]

Change = Callable[[list[bytes]], list[bytes]]


@dataclass(frozen=True)
class Scene:
    """What an auditor has: a checkpoint kept from before, a monitor's memory, and a second, honest export."""

    kept: Path
    seen: Path
    honest: Path
    key: Path
    operator: Signer


@pytest.fixture(scope="module")
def scene(house: House, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("lies")
    kept = export(house, folder / "kept") / "compliance"
    key = kept / "ledger.vkey"
    assert audit("monitor", kept, "--key", key, "--state", folder / "seen", "--once")[0] == 0
    builder, owner = Builder(house.layout, folder), house.visitor("owner")
    builder.ask(owner, "assessment POST /api/v1/assessment/evaluations", Call(json=exam("exam-among-lies")))
    honest = export(house, folder / "honest")
    ring = KeyRing(secret_files.random_key(house.layout, "checkpoint-key"), house.layout.checkpoint_keys)
    origin = read_checkpoint((kept / "checkpoint").read_bytes()).origin
    return Scene(
        kept=kept / "checkpoint",
        seen=folder / "seen",
        honest=honest / "compliance",
        key=key,
        operator=Signer(origin, ring.seed_of(ring.read()[-1])),
    )


def middle(lines: list[bytes]) -> int:
    """Return the place of a score in the log: something to lie about, long before the kept checkpoint."""
    return next(at for at, line in enumerate(lines) if b'"assessment.score.recorded"' in line)


def edits_a_line(lines: list[bytes]) -> list[bytes]:
    at = middle(lines)
    return [*lines[:at], lines[at].replace(b'"pointsMilli":', b'"pointsMilli":1'), *lines[at + 1 :]]


def deletes_the_tail(lines: list[bytes]) -> list[bytes]:
    return lines[: len(lines) // 2]


def _forged(lines: list[bytes]) -> tuple[int, bytes]:
    """Make a grant that nobody gave, under the next number of its aggregate; return where the last true one stands."""
    at = max(at for at, line in enumerate(lines) if b'"identity.role.' in line)
    entry = parse_entry(lines[at])
    more = lines[at].replace(entry.event.id.encode(), b"feedface-feed-4eed-8eed-feedfacefeed")
    return at, more.replace(b'"source_seq":%d' % entry.source_seq, b'"source_seq":%d' % (entry.source_seq + 1))


def inserts_a_line(lines: list[bytes]) -> list[bytes]:
    at, more = _forged(lines)
    return [*lines[: at + 1], more, *lines[at + 1 :]]


def adds_a_line(lines: list[bytes]) -> list[bytes]:
    return [*lines, _forged(lines)[1]]


def swaps_two(lines: list[bytes]) -> list[bytes]:
    at = middle(lines)
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


def withholds_one(lines: list[bytes]) -> list[bytes]:
    at = middle(lines)
    return [*lines[:at], *lines[at + 1 :]]


def withholds_the_last(lines: list[bytes]) -> list[bytes]:
    """Leave out the last event of its aggregate: no later number tells of it."""
    at = max(at for at, line in enumerate(lines) if b'"identity.role.' in line)
    return [*lines[:at], *lines[at + 1 :]]


def restores_a_backup(lines: list[bytes]) -> list[bytes]:
    """Lose some entries in the middle and go on with what came later."""
    at = middle(lines)
    return [*lines[:at], *lines[(at + len(lines)) // 2 :]]


def chained(lines: list[bytes]) -> list[bytes]:
    """Give every line its number and its predecessor's hash again, as if the log had always been so."""
    made: list[bytes] = []
    prev, recorded = FIRST_PREV, ""
    for seq, line in enumerate(lines):
        entry = parse_entry(line)
        recorded = max(recorded, entry.recorded)
        event = line[len(b'{"event":') : line.rindex(b',"log":')]
        made.append(build_line(event, entry.log, prev, recorded, seq, entry.source_seq))
        prev = leaf_hash(made[-1])
    return made


def hand_out(scene: Scene, folder: Path, change: Change, *, signed_again: bool) -> Path:
    """Make the export that the operator gives to the auditor."""
    shutil.copytree(scene.honest, folder)
    lines = change((folder / "entries.ndjson").read_bytes().splitlines())
    if signed_again:
        lines = chained(lines)
        tree = CompactRange().extend(map(leaf_hash, lines))
        head = Checkpoint(scene.operator.verifier.name, tree.size, tree.root())
        (folder / "checkpoint").write_bytes(sign_checkpoint(head, scene.operator))
    (folder / "entries.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


def judged(scene: Scene, folder: Path, tmp_path: Path) -> dict[str, str]:
    """Put every offline check to an export; each answers with what it calls the lie, or that all is well."""
    key = ("--key", scene.key)
    shutil.copytree(scene.seen, tmp_path / "seen")
    status, found = audit("verify", folder, *key)
    since_status, since = audit("verify", folder, *key, "--since", scene.kept)
    _, watched = audit("monitor", folder, *key, "--state", tmp_path / "seen", "--once")
    differs, compared = audit("diff", scene.honest, folder, *key)
    consistent, _ = audit("consistency", scene.kept, folder, *key)
    assert (status, since_status) == (found["status"] == "damaged", since["status"] == "damaged")
    assert differs == bool(compared["verdict"] == "fork" or compared["problems"])
    return {
        "verify": ",".join(one["code"] for one in found["findings"]) or "-",
        "since": ",".join(one["code"] for one in since["findings"]) or "-",
        "consistency": "not proved" if consistent else "-",
        "monitor": watched.get("alarm") or "-",
        "diff": compared["verdict"] + (" with problems" if compared["problems"] else ""),
    }


@dataclass(frozen=True)
class Lie:
    """A change, and what each check calls it; ``-`` where it finds nothing."""

    change: Change
    verify: str
    since: str
    consistency: str
    monitor: str
    diff: str


_PREFIX = "prefix with problems"
_FORK = ("root", "not proved", "fork", "fork")

UNSIGNED = {
    "edits a line": Lie(edits_a_line, "hash", "hash", "not proved", "-", "fork with problems"),
    "deletes the tail": Lie(deletes_the_tail, "truncated", "truncated,truncated", "not proved", "gap", _PREFIX),
    "adds a line": Lie(adds_a_line, "order", "order", "-", "-", _PREFIX),
    "inserts a line": Lie(inserts_a_line, "order", "order", "not proved", "gap", "fork with problems"),
    "swaps two": Lie(swaps_two, "order", "order", "not proved", "-", "fork with problems"),
    "withholds one": Lie(withholds_one, "order", "order", "not proved", "gap", "fork with problems"),
}
SIGNED_AGAIN = {
    "edits a line": Lie(edits_a_line, "-", *_FORK),
    "truncates": Lie(deletes_the_tail, "-", "truncated", "not proved", "shrunk", "prefix"),
    "inserts a line": Lie(inserts_a_line, "-", *_FORK),
    "swaps two": Lie(swaps_two, "-", *_FORK),
    "withholds one": Lie(withholds_one, "source_gap", "source_gap", "not proved", "fork", "fork"),
    "withholds the last of its kind": Lie(withholds_the_last, "-", *_FORK),
    "restores an old backup and goes on": Lie(
        restores_a_backup, "source_gap", "source_gap", "not proved", "shrunk", "fork"
    ),
    "adds a line": Lie(adds_a_line, "-", "-", "-", "-", "prefix"),
}


def test_an_honest_export_passes_every_check(scene, tmp_path):
    folder = hand_out(scene, tmp_path / "log", list, signed_again=False)
    assert judged(scene, folder, tmp_path) == {
        "verify": "-",
        "since": "-",
        "consistency": "-",
        "monitor": "-",
        "diff": "same",
    }


@pytest.mark.parametrize("lie", UNSIGNED)
def test_without_the_signing_key_a_plain_replay_finds_every_change(scene, tmp_path, lie):
    folder = hand_out(scene, tmp_path / "log", UNSIGNED[lie].change, signed_again=False)
    assert judged(scene, folder, tmp_path) == verdicts(UNSIGNED[lie])
    assert UNSIGNED[lie].verify != "-"


@pytest.mark.parametrize("lie", SIGNED_AGAIN)
def test_with_the_signing_key_a_history_made_anew_is_found_by_what_was_kept_from_before(scene, tmp_path, lie):
    folder = hand_out(scene, tmp_path / "log", SIGNED_AGAIN[lie].change, signed_again=True)
    assert judged(scene, folder, tmp_path) == verdicts(SIGNED_AGAIN[lie])


def verdicts(lie: Lie) -> dict[str, str]:
    return {name: value for name, value in vars(lie).items() if name != "change"}


def test_a_history_under_another_key_is_refused_by_the_pinned_one(scene, tmp_path):
    other = replace(scene, operator=Signer(scene.operator.verifier.name, bytes(32)))
    folder = hand_out(other, tmp_path / "log", edits_a_line, signed_again=True)
    assert judged(scene, folder, tmp_path)["verify"] == "signature"


def test_two_auditors_who_are_shown_two_histories_find_out_only_by_comparing(scene, tmp_path):
    folder = hand_out(scene, tmp_path / "log", edits_a_line, signed_again=True)
    for shown in (scene.honest, folder):
        status, found = audit("verify", shown, "--key", scene.key)
        assert (status, found["status"], found["authenticated"]) == (0, "intact", True)
    status, compared = audit("diff", scene.honest, folder, "--key", scene.key)
    assert (status, compared["verdict"], compared["problems"]) == (1, "fork", [])


def test_a_proof_given_before_is_signed_evidence_against_the_history_made_anew(scene, tmp_path):
    at = middle((scene.honest / "entries.ndjson").read_bytes().splitlines())
    proof, entry = tmp_path / "p.proof", tmp_path / "p.json"
    made = ("prove", scene.honest, at, "--key", scene.key, "--out", proof, "--entry-out", entry)
    assert audit(*made)[0] == 0
    folder = hand_out(scene, tmp_path / "log", edits_a_line, signed_again=True)
    shown = CliRunner().invoke(app, ["audit", "proof", str(proof), str(entry), "--key", str(scene.key)])
    assert (shown.exit_code, "proved: entry" in shown.stdout) == (0, True)
    (tmp_path / "of-the-proof").write_bytes(proof.read_bytes().partition(b"\n\n")[2])
    status, found = audit("verify", folder, "--key", scene.key, "--since", tmp_path / "of-the-proof")
    assert (status, [one["code"] for one in found["findings"]]) == (1, ["root"])


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (edits_a_line, {"event_changed", "row_changed"}),
        (adds_a_line, {"event_gone"}),
        (inserts_a_line, {"event_gone"}),
        (withholds_the_last, {"event_withheld", "row_changed", "row_extra"}),
        (restores_a_backup, {"event_withheld", "event_unrecorded", "row_changed", "row_extra"}),
    ],
)
def test_the_services_own_stores_contradict_a_ledger_that_was_made_anew(house, scene, tmp_path, change, codes):
    folder = hand_out(scene, tmp_path / "log", change, signed_again=True)
    found = reconcile(house, folder, grace_s=0)
    # A gap ends the comparison: whether an event of before it was withheld is a matter of milliseconds.
    assert found["status"] in ({"differs", "damaged"} if change is restores_a_backup else {"differs"})
    assert {one["code"] for one in found["differences"]} <= codes


def test_a_log_that_does_not_hold_is_never_said_to_agree(house, scene, tmp_path):
    folder = hand_out(scene, tmp_path / "log", lambda lines: lines[1:], signed_again=False)
    found = reconcile(house, folder, grace_s=0)
    assert (found["status"], found["differences"]) == ("damaged", [])
