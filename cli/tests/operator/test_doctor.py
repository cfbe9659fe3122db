"""The doctor says what holds and what does not, and what to do; an upgrade is proved by checkpoints kept before it."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from tallystick_assessment.app import SERVICE as ASSESSMENT
from tallystick_chassis import doctor as checks
from tallystick_chassis.database import connection_arguments
from tallystick_chassis.doctor import Reached, Report, State, examine
from tallystick_chassis.process import make_runtime
from tallystick_chassis.settings import load_settings
from tallystick_cli.operator import continuing
from tallystick_cli.operator.doctor import compare
from tallystick_cli.stack.layout import Layout
from tallystick_contracts.topology import ServiceName
from tallystick_ledger.app import SERVICE as LEDGER
from tallystick_ledger.logs.continuing import KeptLog, KeptLogs
from tallystick_tlog import assemble_proof, leaf_hash, plan_consistency, to_base64
from tallystick_tlog.samples import ORIGIN, SIGNER, checkpoint, log
from tallystick_tlog.tree import CompactRange, fold_perfect

TENANT = UUID(int=7)


@pytest.fixture
async def admin(migrated_databases):
    """Run statements as the superuser."""
    url, arguments = connection_arguments(
        migrated_databases.superuser_dsn(), application_name="test", ca_file=migrated_databases.servers.layout.ca_file
    )
    engine = create_async_engine(url, connect_args=arguments)

    async def run(*statements, **names):
        async with engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement.format(tenant=TENANT, **names)))

    yield run
    await engine.dispose()


@pytest.fixture
async def examined(migrated_databases, stack):
    """Examine a service as it is configured, with some settings changed."""
    await asyncio.to_thread(stack.reset_broker)
    runtimes = []

    async def run(service=ASSESSMENT, **changes):
        environment = {**migrated_databases.environment(ServiceName(service.name)), **changes}
        runtime = make_runtime(service, load_settings(service.settings, environment))
        runtimes.append(runtime)
        report = await examine(runtime, service)
        return {finding.check: finding for finding in sorted(report.findings, key=lambda one: one.state != State.OK)}

    yield run
    for runtime in runtimes:
        await runtime.close()


@pytest.mark.parametrize("service", [ASSESSMENT, LEDGER], ids=lambda service: service.name)
async def test_a_service_that_is_well_has_nothing_to_be_done(examined, service):
    found = await examined(service)
    assert not [one for one in found.values() if one.state is not State.OK or one.do]
    assert set(found) >= {
        "database",
        "isolation",
        "migrations",
        "clock",
        "certificate",
        "broker",
        "outbox",
        "telemetry",
    }
    assert ("logs" in found) == (service is LEDGER)


async def test_a_table_that_does_not_hold_tenants_apart_is_named(examined, admin):
    await admin("alter table assessment.evaluations no force row level security")
    found = (await examined())["isolation"]
    assert found.state is State.FAILED
    assert "evaluations" in found.said
    assert found.do


async def test_a_duty_role_that_may_too_much_is_named(examined, admin):
    await admin("alter role tally_assessment_duty createdb")
    try:
        found = (await examined())["isolation"]
    finally:
        await admin("alter role tally_assessment_duty nocreatedb")
    assert found.state is State.FAILED
    assert "duty role" in found.said


@pytest.mark.parametrize(
    ("revision", "state", "todo"),
    [("0001", State.FAILED, "migrate"), ("9999", State.WARNING, "upgrade")],
)
async def test_a_schema_behind_the_code_has_failed_and_one_ahead_of_it_warns(examined, admin, revision, state, todo):
    await admin("update assessment.alembic_version set version_num = '{revision}'", revision=revision)
    found = (await examined())["migrations"]
    assert found.state is state
    assert todo in found.do


@pytest.mark.parametrize(("off_s", "state"), [(0.1, State.OK), (1.0, State.WARNING), (-60.0, State.FAILED)])
async def test_a_clock_that_is_wrong_is_told_by_how_much(examined, monkeypatch, off_s, state):
    real = time.time
    monkeypatch.setattr(checks.time, "time", lambda: real() + off_s)
    assert (await examined())["clock"].state is state


def certificate(folder, days):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {"TALLY_TLS_CERT_FILE": str(folder / "cert.pem"), "TALLY_TLS_KEY_FILE": str(folder / "key.pem")}


@pytest.mark.control("EV-24e")
@pytest.mark.parametrize(
    ("days", "state"), [(30, State.OK), (10, State.WARNING), (1, State.FAILED), (-1, State.FAILED)]
)
async def test_a_certificate_is_told_before_it_ends(examined, tmp_path, days, state):
    assert (await examined(**certificate(tmp_path, days)))["certificate"].state is state


async def test_a_key_that_is_not_its_certificates_is_told(examined, tmp_path):
    wrong = {**certificate(tmp_path, 30)}
    wrong.pop("TALLY_TLS_KEY_FILE")
    assert (await examined(**wrong))["certificate"].state is State.FAILED


async def test_a_broker_a_database_and_a_collector_that_are_away_are_three_findings_and_the_rest_is_still_asked(
    examined,
):
    found = await examined(
        TALLY_NATS_URL="tls://127.0.0.1:1",
        TALLY_DUTY_DSN="postgresql://nobody@127.0.0.1:1/none?sslmode=disable",
        TALLY_OTLP_ENDPOINT="http://127.0.0.1:1",
    )
    assert found["broker"].state is State.FAILED
    assert found["database"].state is State.FAILED
    assert "TALLY_DUTY_DSN" in found["database"].do
    assert found["telemetry"].state is State.WARNING
    assert found["migrations"].state is State.OK


EVENT = """
insert into assessment.events
(tenant_id, stream, stream_version, event_id, type, aggregate, org_unit_id, correlation, body, stored_at)
values ('{tenant}', 's', 1, '{event}', 'a.b.c', 'b', '{tenant}', 'c', '', now() - interval '{age}')
"""
WAITING = "insert into assessment.outbox (tenant_id, event_id, aggregate) values ('{tenant}', '{event}', 'b')"
DEAD = """
insert into assessment.dead_letters
select
    '{tenant}', 'assessment', gen_random_uuid(), 'identity', 'user', 1, '', 'ValueError', 10, now(), now(), 'open', null
from generate_series(1, 3)
"""
QUARANTINED = """
insert into ledger.quarantine (tenant_id, digest, reason, detail, subject, body, seen, first_at, last_at)
values ('{tenant}', decode(repeat('00', 32), 'hex'), 'conflict', '', '', '', 1, now(), now())
"""
FOREIGN_KEY = """
insert into ledger.logs
(tenant_id, org_unit_id, id, kind, origin, size, head, last_recorded, opened_at, public_key)
values (
    '{tenant}', '{tenant}', gen_random_uuid(), 'compliance', 'o', 0, decode(repeat('00', 32), 'hex'), now(), now(),
    decode(repeat('11', 32), 'hex')
)
"""
BROKEN = """
insert into ledger.breaks
(tenant_id, origin, kind, verdict, marked_size, marked_root, kept_size, kept_root, found_at)
values (
    '{tenant}', 'o', 'compliance', 'behind', 9, decode(repeat('22', 32), 'hex'), 0, decode(repeat('00', 32), 'hex'),
    now()
)
"""


@pytest.mark.parametrize(
    ("age", "state"), [("1 minute", State.OK), ("5 minutes", State.WARNING), ("1 hour", State.FAILED)]
)
async def test_an_event_that_the_ledger_does_not_confirm_is_told_by_its_age(examined, admin, age, state):
    await admin(EVENT, WAITING, event=uuid4(), age=age)
    found = (await examined())["outbox"]
    assert found.state is state
    assert found.said.startswith("1 events wait")


async def test_what_waits_for_an_operator_is_counted(examined, admin):
    await admin(DEAD)
    found = (await examined())["dead letters"]
    assert (found.state, found.said) == (State.WARNING, "3 wait for you")


async def test_a_log_that_stands_still_an_event_in_quarantine_and_a_missing_key_have_failed(examined, admin):
    await admin(QUARANTINED, FOREIGN_KEY, BROKEN)
    found = await examined(LEDGER)
    assert {name for name, one in found.items() if one.state is State.FAILED} == {
        "quarantine",
        "checkpoint keys",
        "logs",
    }
    assert "o stands still" in found["logs"].said


def report(service, **changes):
    return Report(**({"service": service, "version": "1", "findings": (), "ledger_key": "aa"} | changes))


def test_services_that_trust_different_keys_or_are_of_two_releases_are_told():
    states = {
        one.check: one.state for one in compare([report("identity"), report("ledger", ledger_key="bb", version="2")])
    }
    assert states["ledger key"] is State.FAILED
    assert states["releases"] is State.WARNING


@pytest.mark.parametrize(("cursor", "state"), [(5_000, State.OK), (4_500, State.OK), (100, State.WARNING)])
def test_a_consumer_is_held_against_its_sources(cursor, state):
    heads = (Reached("", TENANT, "identity", "user", 5_000), Reached("", TENANT, "identity", "session", 9_000))
    cursors = (Reached("privacy", TENANT, "identity", "user", cursor),)
    found = {one.check: one for one in compare([report("identity", reached=heads), report("privacy", reached=cursors)])}
    assert found["consumer privacy"].state is state
    assert f"{5_000 - cursor:,} events" in found["consumer privacy"].said


def kept(size, *, since=0, lines=None, **changes):
    made = log(12)[0] if lines is None else lines
    leaves = [leaf_hash(line) for line in made[:size]]
    proof = ()
    if since:
        plan = plan_consistency(since, size)
        nodes = {
            node: fold_perfect(leaves[node.index << node.level : (node.index + 1) << node.level])
            for part in plan
            for node in part
        }
        proof = tuple(to_base64(part) for part in assemble_proof(plan, nodes))
    note = checkpoint(CompactRange().extend(leaves)).decode()
    return replace_log(KeptLog(ORIGIN, size, note, (), proof), **changes)


def replace_log(one, **changes):
    return msgspec.structs.replace(one, **changes)


def kept_logs(*logs):
    public = base64.b64encode(SIGNER.verifier.public_key).decode()
    return KeptLogs(ORIGIN.split("/")[0], public, logs)


def wrong(before, after):
    return [one for one in continuing.compare(kept_logs(before), kept_logs(*after)) if one.state is not State.OK]


def test_a_log_that_begins_with_the_kept_checkpoint_continues():
    assert not wrong(kept(5), [kept(5, since=5)])
    assert not wrong(kept(5), [kept(11, since=5)])


@pytest.mark.control("EV-63")
def test_a_log_that_is_gone_shorter_rewritten_unsigned_or_unproved_is_named_as_failed():
    other = [line.replace(b"done", b"dont") for line in log(12)[0]]
    forged = kept(11, since=5, note=kept(11).note.replace("\n— ", "\n— x", 1))
    for after in (
        [],
        [kept(4, since=4)],
        [kept(11, since=5, lines=other)],
        [forged],
        [kept(11, since=5, proof=())],
        [kept(11, since=4)],
    ):
        (found,) = wrong(kept(5), after)
        assert found.state is State.FAILED
        assert ORIGIN in found.said
        assert found.do


def test_a_log_dropped_after_its_retention_warns_and_one_that_came_back_has_failed():
    dropped = KeptLog(ORIGIN, 5, is_dropped=True)
    assert [one.state for one in wrong(kept(5), [dropped])] == [State.WARNING]
    assert [one.state for one in wrong(dropped, [kept(5, since=5)])] == [State.FAILED]
    assert not wrong(dropped, [dropped])


@pytest.mark.control("EV-63")
def test_a_log_that_stands_still_is_one_finding_and_the_others_are_checked(tmp_path):
    still = KeptLog(f"{ORIGIN}/still", 9, fault="This log stands still")
    found = list(continuing.compare(kept_logs(kept(5), kept(9, origin=still.origin)), kept_logs(still, kept(8))))
    stood, behind, said = sorted(found, key=lambda one: (one.state, still.origin not in one.said))
    assert (stood.state, stood.said) == (State.FAILED, f"{still.origin}: This log stands still")
    assert "tally log breaks" in stood.do
    assert (behind.state, behind.said.startswith(f"{ORIGIN}: it does not continue")) == (State.FAILED, True)
    assert said.said.startswith("0 of 2 logs continue")
    assert [one.said for one in continuing.compare(kept_logs(kept(5)), kept_logs(still, kept(8, since=5)))] == [
        stood.said,
        "1 of 1 logs continue, by 3 entries; 1 logs are new",
    ]

    file = tmp_path / "before.json"
    first = list(continuing.compare_or_keep(lambda _: kept_logs(still, kept(5)), file))
    assert [one.state for one in first] == [State.FAILED, State.OK]
    assert "kept the checkpoints of 1 logs" in first[1].said
    mended = kept_logs(kept(9, origin=still.origin), kept(8, since=5))
    warned, said = continuing.compare_or_keep(lambda _: mended, file)
    assert (warned.state, still.origin in warned.said) == (State.WARNING, True)
    assert said.said.startswith("1 of 2 logs continue, by 3 entries")


def tally(layout, *arguments):
    command = [Path(sys.executable).with_name("tally"), "doctor", *arguments, "--dir", str(layout.root)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.xdist_group("system")
def test_the_running_system_is_examined_and_its_chains_continue_across_what_happens(system, tmp_path):
    layout, file = Layout.at(Path(system.ca_file).parent.parent), tmp_path / "before.json"
    first = tally(layout, "--json", "--upgrade", str(file))
    places = {place["place"]: place["findings"] for place in json.loads(first.stdout)}
    failed = [one for findings in places.values() for one in findings if one["state"] == "failed"]
    assert not failed
    assert first.returncode in {0, 3}, first.stderr
    assert set(places) == {
        *("stack", "identity", "assessment", "ledger", "verification", "privacy-worker"),
        *("together", "chains"),
    }
    assert "kept the checkpoints" in places["chains"][-1]["said"]

    slug = f"doctor-{uuid4().hex[:6]}"
    tenant = ["tenant", "add", f"--tenant={slug}", "--name=D", "--admin=d@x.example", "--dir", str(layout.root)]
    made = subprocess.run(
        [Path(sys.executable).with_name("tally"), *tenant], capture_output=True, text=True, check=False, timeout=60
    )
    assert made.returncode == 0, made.stderr
    again = tally(layout, "--upgrade", str(file))
    assert again.returncode in {0, 3}, again.stdout
    assert "logs continue" in again.stdout

    deadline = time.monotonic() + 60
    while not (before := json.loads(file.read_text()))["logs"]:
        assert time.monotonic() < deadline, "the ledger has recorded nothing of the new tenant"
        file.unlink()
        tally(layout, "--upgrade", str(file))
    before["logs"][0]["note"] = before["logs"][0]["note"].replace("\n\n", "x\n\n", 1)
    file.write_text(json.dumps(before))
    forged = tally(layout, "--upgrade", str(file))
    assert forged.returncode == 1
    assert "does not continue" in forged.stdout


def test_without_a_stack_it_says_what_to_do(tmp_path):
    done = tally(Layout.at(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "tally up" in done.stderr


def test_chains_alone_are_compared_under_their_own_heading(tmp_path):
    (tmp_path / "now.json").write_bytes(msgspec.json.encode(kept_logs(kept(5))))
    done = tally(Layout.at(tmp_path), "--upgrade", str(tmp_path / "before.json"), "--from", str(tmp_path / "now.json"))
    assert done.returncode == 0
    assert done.stdout.startswith("chains\n")
    assert "together" not in done.stdout


def test_what_services_printed_elsewhere_is_compared(tmp_path):
    files = []
    for service in ("identity", "ledger"):
        files.append(tmp_path / f"{service}.json")
        printed = msgspec.json.encode(report(service, ledger_key="aa" if service == "ledger" else "bb"))
        files[-1].write_bytes(b'{"event": "a log line"}\n' + printed)
    done = tally(Layout.at(tmp_path), *(part for file in files for part in ("--from", str(file))))
    assert done.returncode == 1
    assert "trust 2 different ones" in done.stdout
