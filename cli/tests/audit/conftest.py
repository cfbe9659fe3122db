"""Exports made on the spot, and the command run as a user runs it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tallystick_cli.main import app
from tallystick_tlog import FIRST_PREV, CompactRange, Signer, build_line, leaf_hash
from tallystick_tlog.samples import SIGNER, checkpoint, log
from typer.testing import CliRunner, Result

KEY = str(SIGNER.verifier)

Export = Callable[..., Path]
Run = Callable[..., Result]
Verify = Callable[..., dict[str, Any]]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Give a function that writes an export of lines, signed as it stands or as another tree."""

    def write(
        lines: Iterable[bytes] | int = 5,
        *,
        tree: CompactRange | None = None,
        signer: Signer = SIGNER,
        name: str = "log",
    ) -> Path:
        made = log(lines)[0] if isinstance(lines, int) else list(lines)
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "entries.ndjson").write_bytes(b"".join(line + b"\n" for line in made))
        (folder / "checkpoint").write_bytes(
            checkpoint(tree or CompactRange().extend(leaf_hash(line) for line in made), signer)
        )
        (folder / "ledger.vkey").write_text(f"{signer.verifier}\n")
        return folder

    return write


@pytest.fixture
def run() -> Run:
    """Give a function that runs `tally` with arguments."""

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(item) for item in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


@pytest.fixture
def verify(run: Run) -> Verify:
    """Give a function that runs `tally audit verify --key … --json`, and reads the report."""

    def call(folder: Path, *arguments: object, key: str | None = KEY) -> dict[str, Any]:
        pinned = ("--key", key) if key else ()
        result = run("audit", "verify", folder, "--json", *pinned, *arguments)
        report: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == (report["status"] == "damaged")
        return report

    return call


def chained(parts: Iterable[tuple[bytes, dict[str, Any]]], origin: str = SIGNER.verifier.name) -> list[bytes]:
    """Chain events into lines; the changes replace what the ledger would have added."""
    lines: list[bytes] = []
    prev = FIRST_PREV
    for seq, (event, changes) in enumerate(parts):
        added: dict[str, Any] = {"log": origin, "prev": prev, "recorded": "2026-11-21T23:34:05.123456Z", "seq": seq}
        added |= {"source_seq": seq + 1} | changes
        lines.append(build_line(event, **added))
        prev = leaf_hash(lines[-1])
    return lines


@pytest.fixture
def chain() -> Callable[..., list[bytes]]:
    """Give the function that chains events into lines."""
    return chained
