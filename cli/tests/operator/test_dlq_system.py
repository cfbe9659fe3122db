"""The whole way on a running system: what an operator decides about a dead letter, the tenant's ledger shows."""

import json
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from tallystick_cli.stack import boot, state
from tallystick_cli.stack.database_setup import run_sql
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.services import DATABASE

pytestmark = pytest.mark.xdist_group("system")

# The dead letter is identity's first event of the tenant, as if assessment had failed at it.
BURY = """
insert into assessment.dead_letters
select
    tenant_id, 'assessment', event_id, 'identity', 'tenant', 1, body, 'ValueError', 10, now(), now(), 'open', null
from identity.events
where tenant_id = '{tenant}' and type = 'identity.tenant.created'
returning event_id
"""
RECORDED = """
select convert_from(line, 'UTF8') from ledger.entries
where tenant_id = '{tenant}' and source = 'assessment' and aggregate = 'dead_letter'
"""


def tally(layout, *arguments):
    command = [Path(sys.executable).with_name("tally"), *arguments, "--dir", str(layout.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.2)
    return found


def test_a_discarded_letter_is_in_the_ledger_and_a_retried_one_is_done(system):
    layout = Layout.at(Path(system.ca_file).parent.parent)
    servers = boot.describe(layout, state.read(layout))
    slug = f"dlq-{uuid4().hex[:8]}"
    tenant = tally(layout, "tenant", "add", f"--tenant={slug}", "--name=Dead Letters", "--admin=a@example.org").split()[
        -1
    ]

    def sql(statement):
        return run_sql(servers, DATABASE, [statement.format(tenant=tenant)]).strip()

    until(lambda: sql("select 1 from assessment.tenant_keys where tenant_id = '{tenant}'"))
    event_id = sql(BURY)
    (listed,) = json.loads(tally(layout, "dlq", "list", "--json", "--service=assessment", f"--tenant={slug}"))
    assert listed["event_id"] == event_id

    tally(layout, "dlq", "retry", event_id, "--service=assessment")
    until(lambda: sql("select 1 from assessment.dead_letters where tenant_id = '{tenant}' and state = 'retried'"))

    sql("update assessment.dead_letters set state = 'open' where tenant_id = '{tenant}'")
    tally(layout, "dlq", "discard", event_id, "--service=assessment", "--reason=nothing comes of it")
    event = json.loads(until(lambda: sql(RECORDED)))["event"]
    assert event["type"] == "ops.dead_letter.discarded"
    assert event["data"]["eventId"] == event_id
    assert set(event["data"]["reason"]) == {"keyId", "box"}
