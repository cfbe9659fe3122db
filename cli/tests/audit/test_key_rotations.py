"""Logs whose key was rotated: the pinned key is followed through the log, and nothing else is."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tallystick_cli.audit.monitor import Monitor
from tallystick_cli.audit.sources import FolderSource
from tallystick_tlog import KeyRotation, Signer, sign_rotation
from tallystick_tlog.samples import ORIGIN, event

pytestmark = pytest.mark.control("X-10")

Export = Callable[..., Path]
Verify = Callable[..., dict[str, Any]]
Chain = Callable[..., list[bytes]]

AT = "2026-11-22T00:00:00.000000Z"
SIGNERS = [Signer(ORIGIN, bytes([n]) * 32) for n in range(5)]
KEYS = [str(signer.verifier) for signer in SIGNERS]


def statement(old: int, new: int, *, size: int = 0, name: str = ORIGIN) -> str:
    rotation = KeyRotation(name, size, AT, *(SIGNERS[n].verifier.public_key for n in (old, new)))
    return sign_rotation(rotation, bytes([old]) * 32, bytes([new]) * 32)


def half_signed(old: int, new: int, by: int) -> str:
    text = statement(old, new).partition("\n\n")[0] + "\n"
    return SIGNERS[by].sign(text).decode()


def rotation(at: int, note: str) -> bytes:
    made = json.loads(event(at))
    made |= {"type": "ledger.key.rotated", "source": "ledger", "data": {"statement": note}}
    return json.dumps(made, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.fixture
def rotated(chain: Chain) -> Callable[..., list[bytes]]:
    """Give a function that makes a log of 30 entries with statements at the places named."""

    def make(statements: dict[int, str], count: int = 30) -> list[bytes]:
        parts = []
        numbers = [0, 0]
        for at in range(count):
            is_rotation = at in statements
            numbers[is_rotation] += 1
            data = rotation(at, statements[at]) if is_rotation else event(at)
            parts.append((data, {"source_seq": numbers[is_rotation]}))
        return chain(parts)

    return make


THREE = {5: statement(0, 1, size=4), 12: statement(1, 2, size=12), 20: statement(2, 3, size=20)}


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("pinned", [0, 1, 2, 3])
def test_a_log_with_three_rotations_verifies_with_any_key_of_its_history(
    export: Export, verify: Verify, rotated: Callable[..., list[bytes]], pinned: int, jobs: int
) -> None:
    report = verify(export(rotated(THREE), signer=SIGNERS[3]), "--jobs", jobs, key=KEYS[pinned])
    assert (report["status"], report["authenticated"]) == ("intact", True)
    assert [(use["key"], use["after"], use["until"]) for use in report["keys"]] == [
        (KEYS[0], 0, 5),
        (KEYS[1], 5, 12),
        (KEYS[2], 12, 20),
        (KEYS[3], 20, None),
    ]


def test_an_export_from_before_the_rotations_verifies_with_the_key_of_its_time(
    export: Export, verify: Verify, rotated: Callable[..., list[bytes]]
) -> None:
    lines = rotated(THREE)
    assert verify(export(lines[:5], signer=SIGNERS[0]), key=KEYS[0])["authenticated"]
    assert verify(export(lines[:12], signer=SIGNERS[1]), key=KEYS[0])["authenticated"]


@pytest.mark.parametrize("retired", [0, 1, 2])
def test_a_retired_key_does_not_sign_beyond_its_rotation(
    export: Export, verify: Verify, rotated: Callable[..., list[bytes]], retired: int
) -> None:
    for pinned in KEYS[:4]:
        report = verify(export(rotated(THREE), signer=SIGNERS[retired]), key=pinned)
        assert ([one["code"] for one in report["findings"]], report["authenticated"]) == (["signature"], False)


def test_a_key_that_the_history_does_not_know_is_not_followed(
    export: Export, verify: Verify, rotated: Callable[..., list[bytes]]
) -> None:
    report = verify(export(rotated(THREE), signer=SIGNERS[3]), key=KEYS[4])
    assert ([one["code"] for one in report["findings"]], report["authenticated"]) == (["signature"], False)


@pytest.mark.parametrize(
    "statements",
    [
        {5: half_signed(0, 1, by=0)},
        {5: half_signed(0, 1, by=1)},
        {5: statement(0, 1, name="tallystick.local/other/compliance")},
        {5: statement(0, 1, size=6)},
        {5: statement(0, 1), 9: statement(2, 3)},
        {5: statement(0, 1), 9: statement(1, 0)},
        {5: statement(0, 1), 9: statement(0, 1)},
        {5: "nothing"},
    ],
)
def test_a_forged_rotation_is_named(
    export: Export, verify: Verify, rotated: Callable[..., list[bytes]], statements: dict[int, str]
) -> None:
    report = verify(export(rotated(statements), signer=SIGNERS[0]), key=KEYS[0])
    assert report["findings"][-1]["code"] == "key"
    assert report["findings"][-1]["seq"] == max(statements)


def test_an_entry_without_a_statement_is_no_rotation(export: Export, verify: Verify, chain: Chain) -> None:
    made = json.loads(rotation(1, "x"))
    made["data"] = {}
    line = json.dumps(made, sort_keys=True, separators=(",", ":")).encode()
    report = verify(export(chain([(event(0), {}), (line, {"source_seq": 1})]), signer=SIGNERS[0]), key=KEYS[0])
    assert [one["code"] for one in report["findings"]] == ["key"]


def test_what_was_kept_before_a_rotation_leads_over_it(
    export: Export, verify: Verify, rotated: Callable[..., list[bytes]], tmp_path: Path
) -> None:
    kept, lines = tmp_path / "kept", rotated(THREE)
    for size, signer in ((4, 0), (10, 1), (30, 3)):
        since = ("--since", kept) if kept.exists() else ()
        report = verify(export(lines[:size], signer=SIGNERS[signer]), "--keep", kept, *since, key=KEYS[0])
        assert (report["status"], report["authenticated"]) == ("intact", True)
    assert len(report["keys"]) == 4


def test_a_monitor_that_pinned_the_first_key_follows_the_rotations(
    export: Export, rotated: Callable[..., list[bytes]], tmp_path: Path
) -> None:
    lines, kept = rotated(THREE), tmp_path / "kept"
    alarms = []
    for size, signer in ((4, 0), (10, 1), (11, 0), (30, 3), (30, 2)):
        folder = export(lines[:size], signer=SIGNERS[signer])
        monitor = Monitor(FolderSource(folder), (SIGNERS[0].verifier,), kept, None)
        alarms.append(monitor.look(datetime(2026, 11, 22, tzinfo=UTC)).alarm)
    assert alarms == [None, None, "signature", None, "signature"]


def test_the_words_name_each_key(export: Export, run: Callable[..., Any], rotated: Callable[..., list[bytes]]) -> None:
    said = run("audit", "verify", export(rotated(THREE), signer=SIGNERS[3]), "--key", KEYS[0]).stdout
    assert f"key: sizes 1 to 5: {KEYS[0]}" in said
    assert f"key: sizes from 21: {KEYS[3]}" in said
