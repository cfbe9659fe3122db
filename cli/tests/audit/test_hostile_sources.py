"""Hostile files and wrong usage end in one line and a status, never in a stack trace or unbounded memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tallystick_tlog import Signer
from tallystick_tlog.samples import SIGNER, checkpoint, log

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Run = Callable[..., Any]
Verify = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "truncated"),
        (b"\n", "format"),
        (b"\x00" * 10_000, "truncated"),
        (b"\xff\xfe\n", "format"),
        (bytes(range(256)) * 100, "format"),
        (b"{}\n", "format"),
        (b"[" * 60_000 + b"\n", "format"),
        (b'{"a":' * 10_000 + b"\n", "format"),
        (b"9" * 60_000 + b"\n", "format"),
        (b"x" * 65_536 + b"\n", "size"),
        (b"x" * 5_000_000, "size"),
        (b'{"event":{}}', "truncated"),
        (log(1)[0][0], "truncated"),
        (log(1)[0][0] + b"\r\n", "format"),
        (b"\xef\xbb\xbf" + log(1)[0][0] + b"\n", "format"),
    ],
)
def test_hostile_entries_are_a_finding_at_the_first_line(
    export: Export, verify: Verify, data: bytes, code: str
) -> None:
    folder = export(3)
    (folder / "entries.ndjson").write_bytes(data)
    (finding,) = verify(folder)["findings"]
    assert (finding["code"], finding["seq"], finding["line"]) == (code, 0, 1)


@pytest.mark.parametrize("tail", [b"\n", b"garbage", b"\x00\n", b"x" * 200_000])
def test_extra_data_after_the_last_entry_is_found(export: Export, verify: Verify, tail: bytes) -> None:
    folder = export(3)
    with (folder / "entries.ndjson").open("ab") as file:
        file.write(tail)
    (finding,) = verify(folder)["findings"]
    assert (finding["seq"], finding["line"]) == (3, 4)


def test_an_endless_line_is_not_read_into_memory(export: Export, verify: Verify) -> None:
    folder = export(3)
    with (folder / "entries.ndjson").open("wb") as file:
        file.truncate(2**34)
    tracemalloc.start()
    try:
        assert verify(folder)["findings"][0]["code"] == "size"
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_huge_checkpoint_is_refused_unread(export: Export, verify: Verify) -> None:
    folder = export(3)
    with (folder / "checkpoint").open("wb") as file:
        file.truncate(100_000_000)
    assert verify(folder)["findings"][0]["code"] == "format"


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xff", b"no note", b"a\n1\nAAAA\n\n\xe2\x80\x94 a AAAAAAAA\n"])
def test_what_is_not_a_checkpoint_is_a_finding(export: Export, verify: Verify, data: bytes) -> None:
    folder = export(3)
    (folder / "checkpoint").write_bytes(data)
    assert verify(folder)["findings"][0]["code"] == "format"


def test_a_checkpoint_whose_log_name_no_entry_can_have_is_damage(export: Export, verify: Verify) -> None:
    signer = Signer('we"ird', bytes(32))
    folder = export(0, signer=signer)
    (folder / "entries.ndjson").write_bytes(log(1)[0][0] + b"\n")
    assert verify(folder, key=str(signer.verifier))["status"] == "damaged"


@pytest.mark.parametrize("name", ["entries.ndjson", "checkpoint"])
@pytest.mark.parametrize("how", ["missing", "dangling", "folder", "loop"])
def test_unreadable_files_are_one_line_and_status_2(export: Export, run: Run, name: str, how: str) -> None:
    path = export(3) / name
    path.unlink()
    if how == "dangling":
        path.symlink_to("nowhere")
    elif how == "loop":
        path.symlink_to(path)
    elif how == "folder":
        path.mkdir()
    result = run("audit", "verify", path.parent, "--key", KEY)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere"],
        ["\x00"],
        ["{folder}", "--key", "nonsense"],
        ["{folder}", "--key", "\x00"],
        ["{folder}", "--key", "{folder}/entries.ndjson"],
        ["{folder}", "--key", "{folder}"],
        ["{folder}", "--since", "{folder}/nowhere"],
        ["{folder}", "--since", "{folder}/entries.ndjson"],
        ["{folder}", "--since", "{folder}/other"],
        ["{folder}/../.."],
        ["http://127.0.0.1:1"],
        ["http://"],
        ["http://[::1"],
        ["https://127.0.0.1:1", "--ca", "{folder}/nowhere"],
        ["https://127.0.0.1:1", "--ca", "{folder}/entries.ndjson"],
        ["http://127.0.0.1:1", "--header", "no colon"],
        ["http://127.0.0.1:1", "--header", "a: b\r\nc: d"],
    ],
)
def test_wrong_usage_is_one_line_and_status_2(export: Export, run: Run, arguments: list[str]) -> None:
    folder = export(1, name="deep/down/log")
    (folder / "other").write_bytes(checkpoint(log(1)[1], Signer("other.example", bytes(32))))
    result = run("audit", "verify", *(item.format(folder=folder) for item in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_control_characters_of_a_log_do_not_reach_the_terminal(export: Export, run: Run) -> None:
    folder = export(1)
    line = (folder / "entries.ndjson").read_bytes().replace(b'"v":1},"log"', b'"v":1,"\\u001b[31m":1},"log"')
    (folder / "entries.ndjson").write_bytes(line)
    result = run("audit", "verify", folder)
    assert "\x1b[31m" not in result.stdout
