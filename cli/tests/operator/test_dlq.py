"""`tally dlq` against real services' processes and tables: each asked with its own settings."""

import asyncio
import json
from types import SimpleNamespace
from uuid import uuid4

import pytest
import typer
from sqlalchemy import insert, select
from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import Database
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import dead_letters, directory_tenants, events, tenant_keys
from tallystick_cli.operator import commands, dlq
from tallystick_cli.stack.database_setup import run_sql
from tallystick_contracts.envelope import decode_event, encode_event
from tallystick_contracts.generated.identity import TenantCreated
from typer.testing import CliRunner

app = typer.Typer()
commands.register(app)


class Stack:
    """Databases in which tests put dead letters, and the command line over them."""

    def __init__(self, databases):
        self.databases = databases

    def tally(self, *arguments, fails=0):
        result = CliRunner().invoke(app, ["dlq", *arguments])
        assert result.exit_code == fails, result.output
        return result

    def listed(self, *arguments):
        return json.loads(self.tally("list", "--json", *arguments).stdout)

    async def _write(self, service, tenant, *statements):
        ca_file = self.databases.servers.layout.ca_file
        database = Database(self.databases.dsn(service, "app"), service, ca_file=ca_file)
        try:
            async with database.transaction(Scope.for_duty(tenant, service)) as tx:
                return [await tx.execute(statement) for statement in statements]
        finally:
            await database.dispose()

    def write(self, service, tenant, *statements):
        return asyncio.run(self._write(service, tenant, *statements))

    def add_tenant(self, service, slug):
        """Let a service know a tenant and its sealing key."""
        tenant = TenantId(uuid4())
        key = {"day": utc_now().date(), "key_id": "k1", "public_key": b"\x05" * 32}
        self.write(
            service,
            tenant,
            insert(directory_tenants).values(tenant_id=tenant, slug=slug, name=slug),
            insert(tenant_keys).values(tenant_id=tenant, **key),
        )
        return tenant

    def bury(self, service, tenant):
        event_id = uuid4()
        body = encode_event(
            TenantCreated(slug="north", name="North"),
            id=event_id,
            source="identity",
            stream="tenant-1",
            stream_version=1,
            time=utc_now(),
            actor="identity",
            correlation="c-7",
        )
        row = {"tenant_id": tenant, "consumer": service, "event_id": event_id, "body": body, "state": "open"}
        sequence = {"source": "identity", "aggregate": "tenant", "source_seq": 3}
        tries = {"error": "ValueError", "attempts": 10, "first_at": utc_now(), "last_at": utc_now()}
        self.write(service, tenant, insert(dead_letters).values(**row, **sequence, **tries))
        return event_id

    def recorded(self, service, tenant):
        (found,) = self.write(service, tenant, select(events.c.body))
        return [decode_event(bytes(body)) for body in found.scalars()]


@pytest.fixture
def stack_with_letters(migrated_databases, monkeypatch):
    databases = migrated_databases
    servers = SimpleNamespace(service_environment=databases.environment, layout=databases.servers.layout)
    monkeypatch.setattr(dlq, "known_servers", lambda _: servers)
    return Stack(databases)


@pytest.mark.control("X-13")
def test_the_list_goes_over_all_services_and_tenants(stack_with_letters):
    stack = stack_with_letters
    north = stack.add_tenant("assessment", "north")
    south = stack.add_tenant("privacy", "south")
    first, second = stack.bury("assessment", north), stack.bury("privacy", south)
    found = stack.listed()
    assert [(one["service"], one["slug"], one["event_id"], one["state"]) for one in found] == [
        ("assessment", "north", str(first), "open"),
        ("privacy", "south", str(second), "open"),
    ]
    assert [one["event_id"] for one in stack.listed("--service", "privacy-worker")] == [str(second)]
    assert [one["event_id"] for one in stack.listed("--service=assessment", "--tenant=north")] == [str(first)]
    assert [one["event_id"] for one in stack.listed("--service=privacy-worker", f"--tenant={south}")] == [str(second)]
    told = stack.tally("list").stdout.splitlines()
    assert told[2] == f"{second}  open  privacy-worker  south"
    assert told[3].startswith("    identity.tenant 3: ValueError, 10 tries since ")
    assert stack.tally("list", "--service=ledger").stdout == "no dead letters\n"


def test_one_is_shown_retried_and_discarded_on_record(stack_with_letters):
    stack = stack_with_letters
    tenant = stack.add_tenant("assessment", "north")
    one, other = str(stack.bury("assessment", tenant)), str(stack.bury("assessment", tenant))
    shown = json.loads(stack.tally("show", one, "--service=assessment").stdout)
    assert (shown["event"]["type"], shown["letter"]["source_seq"]) == ("identity.tenant.created", 3)

    assert stack.tally("retry", one, "--service=assessment").stdout == f"event {one}: retrying\n"
    again = stack.tally("retry", one, "--service=assessment", fails=1)
    assert again.stderr == (f"tally: event {one} is retrying; only an open dead letter can be retried or discarded\n")

    done = stack.tally("discard", other, "--service=assessment", "--reason=it was a --test", "--json")
    stack.tally("discard", other, "--service=assessment", "--reason=once more", fails=1)
    (event,) = stack.recorded("assessment", tenant)
    assert str(event.id) == json.loads(done.stdout)["recorded_as"]
    assert (event.type, event.actor, event.correlation) == ("ops.dead_letter.discarded", "operator", "c-7")
    assert event.data.event_id == other
    after = stack.tally("show", other, "--service=assessment").stdout
    assert "a --test" not in after
    assert json.loads(after)["reason"]["box"] == event.data.reason.box
    assert [(row["event_id"], row["state"]) for row in stack.listed("--service=assessment")] == [(one, "retrying")]
    assert len(stack.listed("--service=assessment", "--all")) == 2


def test_a_wrong_tenant_does_not_reach_anothers(stack_with_letters):
    stack = stack_with_letters
    north, _ = stack.add_tenant("assessment", "north"), stack.add_tenant("assessment", "south")
    event_id = str(stack.bury("assessment", north))
    of_south = (event_id, "--service=assessment", "--tenant=south")
    refused = stack.tally("show", *of_south, fails=1)
    assert refused.stdout == ""
    assert refused.stderr == (
        f"tally: assessment has no dead letter of this tenant for event {event_id}; `dlq list` shows what it has\n"
    )
    stack.tally("retry", *of_south, fails=1)
    stack.tally("discard", *of_south, "--reason=mine", fails=1)
    assert [row["state"] for row in stack.listed("--service=assessment")] == ["open"]


def test_what_the_ledger_could_not_record_is_listed_without_its_body(stack_with_letters):
    stack = stack_with_letters
    tenant = uuid4()
    values = f"'{tenant}', sha256('x'), 'broken_contract', 'd', 'evt.{tenant}.identity.user.created', 9"
    statement = f"insert into ledger.quarantine values ({values}, 'ada@example.org', 4, now(), now())"  # noqa: S608 - our own
    run_sql(stack.databases.servers, stack.databases.name, [statement])
    result = stack.tally("list", "--json", "--service=ledger")
    (row,) = json.loads(result.stdout)
    assert (row["tenant"], row["state"], row["error"]) == (str(tenant), "quarantined", "broken_contract")
    assert (row["source"], row["aggregate"], row["source_seq"], row["attempts"]) == ("identity", "user", 9, 4)
    assert "ada" not in result.stdout
    assert stack.listed("--service=ledger", "--tenant", str(uuid4())) == []


def test_a_service_that_cannot_be_asked_is_named_and_the_others_are_listed(stack_with_letters):
    stack = stack_with_letters
    event_id = stack.bury("assessment", stack.add_tenant("assessment", "north"))
    result = stack.tally("list", "--json", "--tenant=north", fails=1)
    assert [row["event_id"] for row in json.loads(result.stdout)] == [str(event_id)]
    assert "tally: identity knows no tenant north; if it is a new one, name it by its id" in result.stderr.splitlines()


@pytest.mark.parametrize("arguments", [("show", "nonsense", "--service=ledger"), ("discard", str(uuid4()))])
def test_misuse_is_told_before_any_service_is_asked(arguments):
    assert CliRunner().invoke(app, ["dlq", *arguments]).exit_code == 2


def test_an_unknown_service_is_one_line(stack_with_letters):
    refused = stack_with_letters.tally("show", str(uuid4()), "--service=billing", fails=2)
    assert "there is no service billing: choose one of identity, assessment" in refused.stderr
