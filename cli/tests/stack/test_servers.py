import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import time
from pathlib import Path

import asyncpg
import nats
import pytest
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError
from tallystick_cli.stack import boot
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.temporary import running_servers
from tallystick_contracts.topology import (
    DURABLES,
    EPOCH_FOLLOWERS,
    EPOCH_SUBJECT,
    PULL_EXPIRES_S,
    ServiceName,
    inbox_prefix,
)


@pytest.fixture(scope="module")
def servers():
    # Not the shared ones: these are killed.
    with running_servers(durable=True) as running:
        yield running


def _tls(servers):
    return ssl.create_default_context(cafile=str(servers.ca_file))


def _kill_and_wait(child, is_ready):
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait()
    started = time.monotonic()
    while not (child.is_alive and is_ready()):
        child.tend()
        assert time.monotonic() - started < 5
        time.sleep(0.02)
    return time.monotonic() - started


async def _as(servers, user):
    return await nats.connect(
        servers.nats_url,
        nkeys_seed_str=servers.nats_seed(user).read_text(),
        tls=_tls(servers),
        inbox_prefix=inbox_prefix(user).encode() if user != "admin" else b"_INBOX",
        allow_reconnect=False,
        error_cb=_ignore,
    )


def _open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def _ignore(_error):
    """Permission violations arrive here too; the tests look at their effect."""


async def test_postgres_killed_comes_back_on_its_port_with_what_was_committed(servers):
    dsn = servers.servers.postgres.dsn("postgres")
    connection = await asyncpg.connect(dsn, ssl=_tls(servers))
    await connection.execute("create table kept as select 42 as answer")
    await connection.close()
    _kill_and_wait(servers.postgres, servers.servers.postgres.is_ready)
    connection = await asyncpg.connect(dsn, ssl=_tls(servers))
    assert await connection.fetchval("select answer from kept") == 42
    await connection.close()


async def test_nats_killed_comes_back_on_its_port_with_what_was_acknowledged(servers):
    identity = await _as(servers, "identity")
    ack = await identity.jetstream().publish("evt.t.identity.user.created", b"kept")
    await identity.close()
    assert _kill_and_wait(servers.nats, servers.servers.nats.is_ready) < 2
    admin = await _as(servers, "admin")
    assert (await admin.jetstream().get_msg("EVT", ack.seq)).data == b"kept"
    await admin.close()


async def test_postgres_is_durable_checksummed_and_takes_no_connection_without_tls(servers):
    connection = await asyncpg.connect(servers.servers.postgres.dsn("postgres"), ssl=_tls(servers))
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums", "ssl"):
        assert await connection.fetchval(f"show {setting}") == "on"
    await connection.close()
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
        await asyncpg.connect(servers.servers.postgres.dsn("postgres"), ssl=False)


async def test_a_wrong_password_is_refused(servers):
    before = _open_files()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(servers.servers.postgres.dsn("postgres", password="wrong"), ssl=_tls(servers))
    # asyncpg closes a refused connection without waiting for TLS to end; a loop that ends first leaks the socket.
    async with asyncio.timeout(10):
        while _open_files() > before:  # noqa: ASYNC110 - asyncpg has no event for it
            await asyncio.sleep(0.01)


def test_a_client_without_a_key_gets_nothing_from_nats(servers):
    with socket.create_connection((LOOPBACK, servers.servers.nats.port), timeout=5) as plain:
        assert plain.recv(4096).startswith(b"INFO")
        with _tls(servers).wrap_socket(plain, server_hostname=LOOPBACK) as secured:
            secured.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
            assert b"Authorization Violation" in secured.recv(4096)


async def test_a_service_cannot_publish_another_services_subject(servers):
    admin = await _as(servers, "admin")
    before = (await admin.jetstream().stream_info("EVT")).state.messages
    assessment = await _as(servers, "assessment")
    await assessment.publish("evt.t.identity.user.created", b"forged")
    await assessment.publish("rcpt.assessment", b"forged")
    await assessment.flush()
    await assessment.jetstream().publish("evt.t.assessment.score.recorded", b"its own")
    assert (await admin.jetstream().stream_info("EVT")).state.messages == before + 1
    assert (await admin.jetstream().stream_info("RCPT")).state.messages == 0
    await assessment.close()
    await admin.close()


# What the broker would obey or store if it came from the broker's own account.
FORGED_REPLIES = (
    "$JS.API.STREAM.DELETE.EVT",
    "$JS.API.STREAM.PURGE.EVT",
    "$JS.API.CONSUMER.DELETE.EVT.ledger",
    "evt.t.identity.user.created",
    "rcpt.identity",
)


async def _everything_stored(admin):
    jetstream = admin.jetstream()
    evt, rcpt = await jetstream.stream_info("EVT", subjects_filter=">"), await jetstream.stream_info("RCPT")
    consumers = {info.name for info in await jetstream.consumers_info("EVT")}
    return evt.created, evt.state.first_seq, evt.state.subjects, rcpt.state.messages, consumers


@pytest.mark.parametrize("reply", FORGED_REPLIES)
async def test_an_expired_pull_answers_into_no_subject_that_is_not_the_services_own(servers, reply):
    admin, assessment = await _as(servers, "admin"), await _as(servers, "assessment")
    await assessment.jetstream().publish("evt.t.assessment.score.recorded", b"kept")
    before = await _everything_stored(admin)
    pull = json.dumps({"batch": 1, "expires": 100_000_000}).encode()
    for durable in ("EVT.assessment", "RCPT.rcpt-assessment"):
        await assessment.publish(f"$JS.API.CONSUMER.MSG.NEXT.{durable}", pull, reply=reply)
    await assessment.flush()
    await asyncio.sleep(0.5)
    assert await _everything_stored(admin) == before
    await assessment.close()
    await admin.close()


@pytest.mark.parametrize("target", FORGED_REPLIES)
async def test_neither_a_trace_nor_what_follows_an_acknowledgement_leaves_the_services_account(servers, target):
    admin, assessment = await _as(servers, "admin"), await _as(servers, "assessment")
    await assessment.jetstream().publish("evt.t.assessment.score.recorded", b"kept")
    before = await _everything_stored(admin)
    traced = {"Nats-Trace-Dest": target}
    await assessment.publish("evt.t.assessment.score.recorded", b"refused for its header", headers=traced)
    pull = json.dumps({"batch": 1, "expires": 100_000_000}).encode()
    await assessment.publish("$JS.ACK.EVT.assessment.1.1.1.0.0", b"+NXT " + pull, reply=target)
    await assessment.flush()
    await asyncio.sleep(0.5)
    assert await _everything_stored(admin) == before
    await assessment.close()
    await admin.close()


@pytest.mark.parametrize("reply", FORGED_REPLIES)
async def test_neither_a_delivered_event_nor_the_confirmation_of_one_stored_reaches_a_forged_reply(servers, reply):
    admin, assessment = await _as(servers, "admin"), await _as(servers, "assessment")
    pull = json.dumps({"batch": 1, "expires": 2_000_000_000}).encode()
    await assessment.publish("$JS.API.CONSUMER.MSG.NEXT.EVT.assessment", pull, reply=reply)
    await assessment.jetstream().publish("evt.t.assessment.submission.finalised", b"{}")
    before = await _everything_stored(admin)
    await assessment.publish("evt.t.assessment.submission.finalised", b"{}", reply=reply)  # stored; its answer is not
    await assessment.flush()
    await asyncio.sleep(0.5)
    created, first, subjects, receipts, consumers = await _everything_stored(admin)
    subjects["evt.t.assessment.submission.finalised"] -= 1
    assert (created, first, subjects, receipts, consumers) == before
    await assessment.close()
    await admin.close()


async def test_heads_of_every_service_reach_every_service(servers):
    clients = {name: await _as(servers, str(name)) for name in ServiceName}
    heard = {name: [] for name in ServiceName}
    for name, client in clients.items():

        async def hear(message, name=name):
            heard[name].append((message.subject, message.data))

        await client.subscribe("head.*", cb=hear)
        await client.flush()
    for name, client in clients.items():
        await client.publish(f"head.{name}", b"its own")
    await clients[ServiceName.ASSESSMENT].publish("head.ledger", b"forged")
    for client in clients.values():
        await client.flush()
    await asyncio.sleep(0.3)
    for got in heard.values():
        assert sorted(got) == sorted((f"head.{name}", b"its own") for name in ServiceName)
    for client in clients.values():
        await client.close()


async def test_epochs_are_said_by_identity_alone_and_heard_by_those_who_check_sessions_alone(servers):
    clients = {name: await _as(servers, str(name)) for name in ServiceName}
    heard = {name: [] for name in ServiceName}
    for name, client in clients.items():

        async def hear(message, name=name):
            heard[name].append(message.data)

        await client.subscribe(EPOCH_SUBJECT, cb=hear)
        await client.flush()
    for name in sorted(clients, key=lambda name: name == ServiceName.IDENTITY):
        await clients[name].publish(EPOCH_SUBJECT, str(name).encode(), reply="evt.t.identity.user.created")
        await clients[name].flush()
    await asyncio.sleep(0.3)
    assert heard == {name: [b"identity"] if name in EPOCH_FOLLOWERS else [] for name in ServiceName}
    for client in clients.values():
        await client.close()


async def test_an_atomic_batch_is_stored_then_pulled_and_acknowledged(servers):
    ledger = await _as(servers, "ledger")
    for number in (1, 2, 3):
        headers = {"Nats-Batch-Id": "one", "Nats-Batch-Sequence": str(number)}
        if number < 3:
            await ledger.publish("rcpt.privacy", b"%d" % number, headers=headers)
        else:
            answer = await ledger.request("rcpt.privacy", b"3", headers=headers | {"Nats-Batch-Commit": "1"})
    assert json.loads(answer.data)["count"] == 3
    await ledger.close()

    privacy = await _as(servers, "privacy")
    inbox = await privacy.subscribe(privacy.new_inbox())
    pull = json.dumps({"batch": 3, "expires": 2_000_000_000}).encode()
    await privacy.publish("$JS.API.CONSUMER.MSG.NEXT.RCPT.rcpt-privacy", pull, reply=inbox.subject)
    messages = [await inbox.next_msg(timeout=2) for _ in range(3)]
    assert [message.data for message in messages] == [b"1", b"2", b"3"]
    for message in messages:
        await message.ack()
    await privacy.flush()
    await privacy.close()
    admin = await _as(servers, "admin")
    info = await admin.jetstream().consumer_info("RCPT", "rcpt-privacy")
    assert (info.num_ack_pending, info.num_pending, info.ack_floor.consumer_seq) == (0, 0, 3)
    await admin.close()


def test_the_broker_is_told_to_forget_soon_where_a_pulls_answers_go(servers):
    # The server reports how many it remembers, not for how long.
    configuration = (servers.servers.layout.nats / "nats.conf").read_text()
    exports = json.loads(configuration.partition("\naccounts ")[2])["broker"]["exports"]
    kept = {each["service"]: each.get("response_threshold") for each in exports if "MSG.NEXT" in each["service"]}
    assert kept == {durable.pull_subject: f"{3 * PULL_EXPIRES_S}s" for durable in DURABLES}


async def test_a_service_manages_no_stream(servers):
    ledger = await _as(servers, "ledger")
    with pytest.raises((NatsError, NoStreamResponseError)):
        await ledger.jetstream(timeout=0.5).delete_stream("EVT")
    await ledger.close()
    admin = await _as(servers, "admin")
    assert (await admin.jetstream().stream_info("EVT")).config.allow_atomic
    await admin.close()


async def test_every_durable_of_the_topology_exists_and_its_service_alone_reads_it(servers):
    admin = await _as(servers, "admin")
    clients = {name: await _as(servers, str(name)) for name in ServiceName}
    for durable in DURABLES:
        info = await admin.jetstream().consumer_info(durable.stream, durable.name)
        assert info.config.max_ack_pending == durable.max_ack_pending
        answered = set()
        for name, client in clients.items():
            inbox = await client.subscribe(client.new_inbox())
            await client.publish(durable.pull_subject, b'{"batch": 1, "no_wait": true}', reply=inbox.subject)
            with contextlib.suppress(NatsTimeoutError):
                message = await inbox.next_msg(timeout=0.1 if name != durable.service else 2)
                answered.add(name)
                if message.reply:
                    await message.nak()
        assert answered == {durable.service}
    for client in (admin, *clients.values()):
        await client.close()


async def test_nats_fsyncs_every_message_and_its_configuration_holds_no_secret(servers):
    configuration = (servers.servers.layout.nats / "nats.conf").read_text()
    assert "sync_interval: always" in configuration
    assert not re.search(r"\bSU[A-Z2-7]{40,}", configuration)  # no seed


def test_fresh_databases_have_each_services_schema_and_let_only_its_roles_in(servers):
    databases = servers.fresh_databases()
    assert databases.name != servers.fresh_databases().name
    assert boot.database_setup.run_sql(
        servers.servers,
        databases.name,
        ["select nspname from pg_namespace where nspowner::regrole::text like 'tally%' order by 1"],
    ).split() == ["assessment", "identity", "ledger", "privacy", "verification"]
