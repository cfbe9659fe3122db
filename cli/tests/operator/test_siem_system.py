"""An operator streams a tenant's logs from a running system, and is told what a destination answers."""

import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from tallystick_cli.stack.layout import Layout

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("EV-25e")]


def tally(layout, *arguments, group="siem", expected=0):
    command = [Path(sys.executable).with_name("tally"), group, *arguments, "--dir", str(layout.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == expected, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_destination_is_added_tested_paused_replayed_and_removed(system, tmp_path):
    layout = Layout.at(Path(system.ca_file).parent.parent)
    slug = f"siem-{uuid4().hex[:8]}"
    make = [Path(sys.executable).with_name("tally"), "tenant", "add", f"--tenant={slug}", "--name=Siem"]
    subprocess.run([*make, "--admin=a@example.org", "--dir", str(layout.root)], check=True, timeout=180)
    of, name = f"--tenant={slug}", "--name=collector"
    token = tmp_path / "token"
    token.write_text("Bearer hidden\n")
    # Nobody said that it may have a private address, so the worker that tries to reach it does not.
    address = "--address=https://127.0.0.1:9/in"
    added = json.loads(tally(layout, "add", of, name, address, "--authorization-file", str(token)).stdout)
    assert added["secret"].startswith("whsec_")
    listed = tally(layout, "list", of).stdout
    assert json.loads(listed)["id"] == added["id"]
    assert added["secret"] not in listed
    assert "hidden" not in listed

    tested = json.loads(tally(layout, "test", of, name, expected=3).stdout)
    assert (tested["fault"], tested["test_waits"]) == ("not a public host", False)

    # With another key for the secrets the worker, which runs on, opens this one as before.
    rotated = tally(layout, "rotate", "siem", group="keys")
    assert "keys are wrapped under epoch" in rotated.stderr
    assert int(tally(layout, "rotate", "siem", group="keys").stdout) == int(rotated.stdout) + 1
    assert json.loads(tally(layout, "test", of, name, expected=3).stdout)["fault"] == "not a public host"

    assert json.loads(tally(layout, "pause", of, name).stdout)["paused"]
    assert "paused" in tally(layout, "test", of, name, expected=1).stderr
    assert not json.loads(tally(layout, "resume", of, name).stdout)["paused"]
    tally(layout, "replay", of, name, "--since=2026-01-01T00:00:00+0000")
    tally(layout, "replay", of, name, "--seq=3", expected=2)
    assert tally(layout, "dead-letters", of, name).stdout == ""

    taken = tally(layout, "add", of, name, address, expected=1)
    assert "A SIEM destination of this name is there already" in taken.stderr
    refused = tally(layout, "add", of, "--name=plain", "--address=http://siem.example/", expected=1)
    assert "begins with neither https:// nor syslog+tls://" in refused.stderr
    syslog = ("--name=syslog", "--address=syslog+tls://siem.example", "--authorization-file", str(token))
    assert "is for https addresses" in tally(layout, "add", of, *syslog, expected=1).stderr
    tally(layout, "remove", of, name)
    tally(layout, "remove", of, name, expected=1)
    assert tally(layout, "list", of).stdout == ""
    tally(layout, "list", "--tenant=nobody-here", expected=1)
