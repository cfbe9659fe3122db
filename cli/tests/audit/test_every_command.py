"""What all of the auditor's commands share: help that teaches, and one line for whatever cannot be read."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tallystick_cli.audit.sources import FolderSource
from tallystick_tlog.samples import SIGNER, event

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Run = Callable[..., Any]

# {log} is the log, {tmp} a folder to write to.
COMMANDS = {
    "verify": ["{log}", "--key", KEY],
    "prove": ["{log}", "1", "--key", KEY],
    "consistency": ["{log}", "{log}", "--key", KEY],
    "sample": ["{log}", "--seed", "x", "--key", KEY],
    "diff": ["{log}", "{log}", "--key", KEY],
    "explain": ["{log}", "1", "--key", KEY],
    "state": ["{log}", "--stream", "remediation:1", "--at", "2026-12-01", "--key", KEY],
    "report": ["{log}", "--out", "{tmp}/r.html", "--key", KEY],
    "export-as": ["{log}", "--format", "csv", "--out", "{tmp}/x.csv", "--key", KEY],
    "monitor": ["{log}", "--state", "{tmp}/seen", "--once", "--key", KEY],
}


def call(run: Run, name: str, log: object, tmp: Path, *more: str) -> tuple[int, str, str]:
    arguments = [item.format(log=log, tmp=tmp) for item in COMMANDS[name]]
    result = run("audit", name, *arguments, *more)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_and_what_the_exit_status_means(name: str, run: Run) -> None:
    shown = " ".join(re.sub(r"[^\x20-\x7e]", " ", run("audit", name, "--help").stdout).split())
    assert f"tally audit {name} " in shown.split("Options")[0].replace("Usage: tally audit", "")
    assert "Exit status: 0" in shown


def test_help_shows_brackets(run: Run) -> None:
    assert "tallystick-cli[parquet]" in "".join(run("audit", "export-as", "--help").stdout.split())


@pytest.mark.parametrize("arguments", [["verify"], ["verify", "--json"], ["prove", "1"], ["explain", "1"]])
def test_an_answer_that_cannot_be_written_is_not_a_damaged_log(arguments: list[str], export: Export) -> None:
    name, *more = arguments
    command = [Path(sys.executable).with_name("tally"), "audit", name, export(5), *more, "--key", KEY]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: cannot write the answer: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_fault_of_the_program_is_no_finding(
    name: str, export: Export, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> NoReturn:
        message = "what the log says"
        raise LookupError(message)

    monkeypatch.setattr(FolderSource, "read_small", fail)
    status, shown, errors = call(run, name, export(5), tmp_path)
    assert (status, shown, errors.count("\n")) == (70, "", 1)
    assert errors.startswith("error: tally itself broke down with LookupError (test_every_command.py, line ")
    assert "what the log says" not in errors


def test_a_file_that_fails_where_nobody_thought_of_it_is_named(
    export: Export, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/somewhere")

    monkeypatch.setattr(FolderSource, "read_small", fail)
    assert call(run, "verify", export(5), tmp_path) == (2, "", "error: cannot use /somewhere: Permission denied\n")


def test_whoever_stops_it_is_not_told_of_damage(export: Export, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_arguments: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(FolderSource, "read_small", stop)
    assert run("audit", "verify", export(5), "--key", KEY).exit_code == 130


def test_a_terminal_without_the_logs_letters_shows_their_numbers(export: Export, chain: Callable[..., Any]) -> None:
    folder = export(chain([(event(0, actor="Zoë"), {"source_seq": 1})]))
    command = [Path(sys.executable).with_name("tally"), "audit", "explain", folder, "0", "--key", KEY]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Zo\\xeb" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_sound_log_is_status_0_with_nothing_on_stderr(name: str, export: Export, run: Run, tmp_path: Path) -> None:
    status, _, errors = call(run, name, export(5), tmp_path)
    assert (status, errors) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("log", ["nowhere", "\x00", "http://127.0.0.1:1", "{empty}", "{no_entries}", "{folder}"])
def test_what_cannot_be_read_is_one_line_and_status_2(
    name: str, log: str, export: Export, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (export(3, name="no_entries") / "entries.ndjson").unlink()
    (export(3, name="folder") / "entries.ndjson").unlink()
    (tmp_path / "folder" / "entries.ndjson").mkdir()
    places = {item: tmp_path / item for item in ("empty", "no_entries", "folder")}
    status, shown, errors = call(run, name, log.format(**places), tmp_path)
    assert (status, shown) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_garbage_is_never_status_0_and_never_a_traceback(name: str, export: Export, run: Run, tmp_path: Path) -> None:
    folder = export(3)
    for number, garbage in enumerate((b"\xff\n" * 9, b"{}\n" * 9, b"[" * 60_000 + b"\n", b"\n" * 9, b"x" * 300_000)):
        (folder / "entries.ndjson").write_bytes(garbage)
        out = tmp_path / f"out{number}"
        out.mkdir()
        status, _, _ = call(run, name, folder, out)
        assert status in {1, 2}, garbage[:10]
    (folder / "checkpoint").write_bytes(b"\xff")
    assert call(run, name, folder, tmp_path)[0] in {1, 2}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_key_that_is_none_is_one_line_and_status_2(name: str, export: Export, run: Run, tmp_path: Path) -> None:
    status, shown, errors = call(run, name, export(3), tmp_path, "--key", "nonsense")
    assert (status, shown, errors.count("\n")) == (2, "", 1)
