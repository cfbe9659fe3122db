"""A rotation on a running system, while it works: nobody notices, and the auditor's pinned old key leads over it."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest
from tallystick_cli.stack import boot, state
from tallystick_cli.stack.database_setup import run_sql
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.services import DATABASE
from tallystick_contracts.topology import ServiceName
from tallystick_tlog import VerifierKey, from_base64

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("X-10", "EV-24e")]

ENTRIES = "select count(*) > 1 from ledger.entries where tenant_id = '{tenant}'"
WAITING = """
select
    (select count(*) from identity.outbox) + (select count(*) from assessment.outbox)
    + (select count(*) from ledger.outbox) + (select count(*) from verification.outbox)
    + (select count(*) from privacy.outbox)
"""


def tally(layout, *arguments, expected=0, in_stack=True):
    command = [Path(sys.executable).with_name("tally"), *arguments, *(("--dir", str(layout.root)) if in_stack else ())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


def add_tenant(layout):
    slug = f"keys-{uuid4().hex[:8]}"
    said = tally(layout, "tenant", "add", f"--tenant={slug}", "--name=Keys", "--admin=a@example.org")
    return slug, said.split()[-1]


def test_the_key_is_rotated_under_load_and_the_old_pin_leads_to_the_new_key(system, tmp_path):
    layout = Layout.at(Path(system.ca_file).parent.parent)
    servers = boot.describe(layout, state.read(layout))
    pinned = from_base64(servers.service_environment(ServiceName.LEDGER)["TALLY_LEDGER_KEY"])

    def sql(statement):
        return run_sql(servers, DATABASE, [statement]).strip()

    def until(statement, wanted, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while (found := sql(statement)) != wanted:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    slug, tenant = add_tenant(layout)
    until(ENTRIES.format(tenant=tenant), "t")
    others = []
    load = threading.Thread(target=lambda: others.extend(add_tenant(layout) for _ in range(3)))
    load.start()
    rotated = json.loads(tally(layout, "keys", "rotate", "checkpoint", "--overlap-days=0", "--json").splitlines()[-1])
    load.join()
    assert rotated["lagging"] == []
    assert len(others) == 3
    # Every event of every service has its receipt: the workers have followed the key that they did not know.
    add_tenant(layout)
    until(WAITING, "0")

    tally(layout, "export", f"--tenant={slug}", f"--out={tmp_path / 'out'}")
    folder = tmp_path / "out" / "compliance"
    origin = (folder / "checkpoint").read_text().partition("\n")[0]
    old = str(VerifierKey.ed25519(origin, pinned))
    report = json.loads(tally(layout, "audit", "verify", str(folder), "--key", old, "--json", in_stack=False))
    assert (report["status"], report["authenticated"]) == ("intact", True)
    new = VerifierKey.ed25519(origin, VerifierKey.parse(rotated["new"]).public_key)
    assert [use["key"] for use in report["keys"]] == [old, str(new)]
    rotations = "select count(*) from ledger.entries where tenant_id = '{tenant}' and type = 'ledger.key.rotated'"
    assert sql(rotations.format(tenant=tenant)) == "1"
