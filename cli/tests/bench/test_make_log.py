"""`tally bench make-log`: what it writes is a log that verifies."""

from pathlib import Path

import pytest
from tallystick_cli.main import app
from typer.testing import CliRunner


@pytest.mark.parametrize("entries", [1, 4096, 5000])
def test_a_made_log_verifies(tmp_path: Path, entries: int) -> None:
    folder = tmp_path / "log"
    made = CliRunner().invoke(app, ["bench", "make-log", "--entries", str(entries), "--out", str(folder)])
    assert (made.exit_code, made.stdout) == (0, f"tally audit verify {folder} --key {folder}/ledger.vkey\n")
    verified = CliRunner().invoke(app, ["audit", "verify", str(folder), "--key", str(folder / "ledger.vkey"), "--json"])
    assert verified.exit_code == 0
    assert f'"entries": {entries}' in verified.stdout or f'"entries":{entries}' in verified.stdout, verified.stdout


def test_a_log_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "entries.ndjson").write_bytes(b"mine\n")
    refused = CliRunner().invoke(app, ["bench", "make-log", "--entries", "3", "--out", str(tmp_path)])
    assert refused.exit_code == 1
    assert "File exists" in refused.stderr
    assert (tmp_path / "entries.ndjson").read_bytes() == b"mine\n"
