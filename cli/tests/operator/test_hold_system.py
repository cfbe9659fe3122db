"""An operator places, lists and releases holds on a running system, and is told in one line what cannot be."""

import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from tallystick_cli.stack.layout import Layout

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("X-10")]


def tally(layout, *arguments, expected=0):
    command = [Path(sys.executable).with_name("tally"), *arguments, "--dir", str(layout.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == expected, done.stdout + done.stderr
    return done


def test_a_hold_is_placed_listed_and_released_once(system):
    layout = Layout.at(Path(system.ca_file).parent.parent)
    slug = f"hold-{uuid4().hex[:8]}"
    tally(layout, "tenant", "add", f"--tenant={slug}", "--name=Hold", "--admin=a@example.org")
    of = f"--tenant={slug}"
    placed = json.loads(tally(layout, "hold", "place", of, "--code=case-7").stdout)
    assert (placed["code"], placed["released_at"]) == ("case-7", None)
    assert json.loads(tally(layout, "hold", "list", of).stdout) == placed
    released = json.loads(tally(layout, "hold", "release", of, f"--hold={placed['id']}").stdout)
    assert released["released_at"] is not None

    again = tally(layout, "hold", "release", of, f"--hold={placed['id']}", expected=1)
    assert "there is no such hold, or it was released before" in again.stderr
    assert "Traceback" not in again.stderr
    tally(layout, "hold", "place", of, "--code=the case of Mrs Miller", expected=2)
    tally(layout, "hold", "place", of, "--code=case-7", f"--log={uuid4()}", expected=1)
    tally(layout, "hold", "list", "--tenant=nobody-here", expected=1)
