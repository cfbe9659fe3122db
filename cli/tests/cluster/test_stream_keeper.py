"""NATS loses its store where no supervisor is: the chart's keeper puts back what the services then fill."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import nats
import pytest
from nats.errors import Error as NatsError
from tallystick_chassis.bus import Bus, BusUnavailableError
from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import Database, DutyDatabase
from tallystick_chassis.ids import TenantId
from tallystick_chassis.relay import Relay, RelaySettings
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import EventDraft
from tallystick_cli.stack.accounts import KEEPER, KEEPER_API
from tallystick_cli.stack.broker_setup import put_missing
from tallystick_cli.stack.temporary import running_servers
from tallystick_contracts.generated.identity import CredentialKeyRotated
from tallystick_contracts.topology import DURABLES, EVENT_STREAM, STREAM_SUBJECTS, ServiceName, inbox_prefix

pytestmark = pytest.mark.control("X-10")

EVERYTHING = len(STREAM_SUBJECTS) + len(DURABLES)


@pytest.fixture(scope="module")
def servers():
    # Not the shared ones: these lose their store.
    with running_servers() as running:
        yield running


@pytest.fixture
def whole(servers):
    """The servers, with every stream and durable as the topology has it."""
    servers.reset_broker()
    return servers


@contextlib.contextmanager
def keeper(servers, folder):
    """Run the command of the chart's pod."""
    log = folder / "keeper.log"
    environment = {
        "PATH": os.defpath,
        "TALLY_NATS_URL": servers.nats_url,
        "TALLY_NATS_SEED_FILE": str(servers.nats_seed(KEEPER)),
        "TALLY_CA_FILE": str(servers.ca_file),
    }
    command = [Path(sys.executable).with_name("tally"), "cluster", "keep-streams", "--every-s=1"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def connected(servers, user):
    connection = await nats.connect(
        servers.nats_url,
        nkeys_seed_str=servers.nats_seed(user).read_text(),
        tls=ssl.create_default_context(cafile=str(servers.ca_file)),
        inbox_prefix=inbox_prefix(user).encode() if user != "admin" else b"_INBOX",
        allow_reconnect=False,
        error_cb=_ignore,
    )
    try:
        yield connection
    finally:
        await connection.close()


async def _ignore(_error):
    """Permission violations arrive here; the tests look at their effect."""


def wipe(servers):
    """Take the disk away from under NATS, and start it on an empty one."""
    store = servers.servers.layout.nats / "store"
    store.rename(store.with_name("lost"))
    os.kill(servers.nats.process.pid, signal.SIGKILL)
    servers.nats.process.wait()
    shutil.rmtree(store.with_name("lost"))
    deadline = time.monotonic() + 10
    while not (servers.nats.is_alive and servers.servers.nats.is_ready()):
        servers.nats.tend()
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def held(servers):
    """Return every stream's and durable's configuration by name, without what the server notes of its making."""
    found = {}
    async with connected(servers, "admin") as admin:
        for info in await admin.jetstream().streams_info():
            found[info.config.name] = info.config.evolve(metadata=None)
            for one in await admin.jetstream().consumers_info(info.config.name):
                found[one.name] = one.config.evolve(metadata=None)
    return found


async def stored(servers):
    """Return subject and number of each event that NATS has."""
    async with connected(servers, "admin") as admin:
        state = (await admin.jetstream().stream_info(EVENT_STREAM)).state
        numbers = range(state.first_seq, state.last_seq + 1) if state.messages else ()
        found = [await admin.jetstream().get_msg(EVENT_STREAM, seq) for seq in numbers]
    return [(one.subject, one.headers["ce-sequence"]) for one in found]


def said(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


async def test_a_wiped_store_has_its_streams_again_and_the_outboxes_fill_them(whole, tmp_path):
    servers = whole
    databases = servers.fresh_databases()
    databases.migrate(ServiceName.IDENTITY)
    app = Database(databases.dsn(ServiceName.IDENTITY, "app"), "identity", ca_file=servers.ca_file)
    duty = DutyDatabase(databases.dsn(ServiceName.IDENTITY, "duty"), "identity", ca_file=servers.ca_file)
    bus = Bus(
        servers.nats_url, name="identity", seed=servers.nats_seed("identity").read_text(), ca_file=servers.ca_file
    )
    at_once = RelaySettings(republish_after_s=0.0)
    relay = Relay(duty=duty, bus=bus, service="identity", clock=utc_now, settings=at_once)
    try:
        async with app.transaction(Scope.for_duty(TenantId(uuid4()), "identity")) as tx:
            for number in range(3):
                draft = EventDraft(CredentialKeyRotated(epoch=str(number + 1), previous_epoch=str(number)))
                await tx.append(f"credential_key-{number}", 0, [draft])
        await relay.step()
        before, published = await held(servers), await stored(servers)
        assert len(before) == EVERYTHING
        assert len(published) == 3
        with keeper(servers, tmp_path) as (process, log):
            for times in (1, 2):
                wipe(servers)
                async with asyncio.timeout(20):
                    while await held(servers) != before:  # noqa: ASYNC110 - another process does it
                        await asyncio.sleep(0.1)
                assert await stored(servers) == []
                async with asyncio.timeout(20):
                    while not await stored(servers):
                        with contextlib.suppress(BusUnavailableError):
                            await relay.step()
                assert (await stored(servers))[:3] == published
                refilled = [line["count"] for line in said(log) if line["event"] == "broker_refilled"]
                assert len(refilled) >= times
                assert sum(refilled) == times * EVERYTHING
            assert process.poll() is None
    finally:
        await bus.close()
        await app.dispose()
        await duty.dispose()


async def test_what_is_there_is_left_as_it_is(whole):
    servers = whole
    given = {"seed": servers.nats_seed(KEEPER).read_text(), "ca_file": servers.ca_file}
    assert await put_missing(servers.nats_url, **given) == ()
    async with connected(servers, "admin") as admin:
        jetstream = admin.jetstream()
        config = (await jetstream.stream_info("EVT")).config
        await jetstream.update_stream(config.evolve(description="an operator's"))
        await jetstream.delete_consumer("EVT", "verification")
        assert await put_missing(servers.nats_url, **given) == ("verification",)
        assert (await jetstream.stream_info("EVT")).config.description == "an operator's"
        assert await put_missing(servers.nats_url, **given) == ()


FORBIDDEN = (
    "STREAM.DELETE.EVT",
    "STREAM.PURGE.EVT",
    "STREAM.UPDATE.EVT",
    "STREAM.MSG.GET.EVT",
    "STREAM.CREATE.OTHER",
    "CONSUMER.DELETE.EVT.ledger",
    "CONSUMER.MSG.NEXT.EVT.ledger",
    "CONSUMER.DURABLE.CREATE.EVT.other",
)


@pytest.mark.control("X-07")
async def test_the_keeper_neither_reads_nor_deletes_nor_publishes_an_event(whole):
    servers = whole
    async with connected(servers, "admin") as admin, connected(servers, KEEPER) as thief:
        await admin.jetstream().publish("evt.t.identity.user.created", b"kept")
        before = await held(servers)
        messages = (await admin.jetstream().stream_info("EVT")).state.messages
        for asked in FORBIDDEN:
            for prefix in (KEEPER_API, "$JS.API"):
                with pytest.raises(NatsError):
                    await thief.request(f"{prefix}.{asked}", b"{}", timeout=0.2)
        heard = []

        async def hear(message):
            heard.append(message)

        await thief.subscribe(">", cb=hear)
        # What the server answers to goes nowhere but back, so no forged reply is obeyed or stored.
        for reply in ("$JS.API.STREAM.DELETE.EVT", "$JS.API.CONSUMER.DELETE.EVT.ledger", "evt.t.identity.user.created"):
            await thief.publish(f"{KEEPER_API}.STREAM.INFO.RCPT", b"", reply=reply)
        await thief.publish("evt.t.identity.user.created", b"forged")
        await thief.flush()
        await admin.jetstream().publish("evt.t.identity.user.created", b"and another")
        await asyncio.sleep(0.3)
        assert not heard
        assert await held(servers) == before
        assert (await admin.jetstream().stream_info("EVT")).state.messages == messages + 1


def test_it_waits_for_nats_and_ends_when_it_is_told(servers, tmp_path):
    with keeper(servers, tmp_path) as (process, log):
        os.kill(servers.nats.process.pid, signal.SIGSTOP)
        try:
            deadline = time.monotonic() + 20
            while not any(line["event"] == "broker_not_kept" for line in said(log)):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        finally:
            os.kill(servers.nats.process.pid, signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_file_without_a_seed_is_named_in_its_last_words(servers, tmp_path):
    wrong, last_words = tmp_path / "seed", tmp_path / "termination-log"
    wrong.write_text("a password\n")
    for command in ("keep-streams", "streams"):
        arguments = ["--url", servers.nats_url, "--seed-file", wrong, "--ca-file", servers.ca_file]
        done = subprocess.run(
            [Path(sys.executable).with_name("tally"), "cluster", command, *arguments],
            env={"PATH": os.defpath, "TALLY_TERMINATION_LOG": str(last_words)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        assert f"{wrong} holds no nkey's seed (ErrInvalidSeed)" in last_words.read_text()
        assert "Traceback" not in done.stderr
