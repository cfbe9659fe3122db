"""The tutorial does what it says: its blocks, pasted into one shell one after the other, lead to a proof."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorials/first-run.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PATIENCE_S = 300


def blocks() -> list[str]:
    """Return what a reader pastes, in order, but for the demo, which has tests of its own."""
    return [block for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if block != "make demo\n"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial needs curl")
def test_the_first_run_goes_as_it_is_written(tmp_path: Path) -> None:
    script = tmp_path / "reader.sh"
    # Whatever becomes of the rest, the stack is stopped.
    script.write_text("trap 'tally down --erase > stopped 2>&1' EXIT\n" + "\n".join(blocks()), encoding="utf-8")
    beside = Path(sys.executable).parent  # where the page says `.venv/bin`
    environment = {"PATH": f"{beside}:{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    said = subprocess.run(
        ["/usr/bin/timeout", "-k", "30", str(PATIENCE_S), "/bin/bash", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    told = said.stdout + said.stderr
    assert "problems/" not in told, told  # no answer was a refusal
    assert '"status":"valid"' in told, told
    assert re.search(r"intact: \d+ entries, root \S+, authenticated by your key", told), told
    assert "Traceback" not in told, told
    assert said.returncode == 0, told
    assert not (tmp_path / "first-run" / "stack").exists()
