import os
import re
import signal
import socket
import ssl
import time

import asyncpg
import nats
import pytest
from nats.errors import Error as NatsError
from nats.js.errors import NoStreamResponseError
from tallystick_cli.stack import boot
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.temporary import running_servers
from tallystick_contracts.topology import DURABLES, ServiceName, inbox_prefix


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
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(servers.servers.postgres.dsn("postgres", password="wrong"), ssl=_tls(servers))


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


async def test_a_service_manages_no_stream(servers):
    ledger = await _as(servers, "ledger")
    with pytest.raises((NatsError, NoStreamResponseError)):
        await ledger.jetstream(timeout=0.5).delete_stream("EVT")
    await ledger.close()
    admin = await _as(servers, "admin")
    assert (await admin.jetstream().stream_info("EVT")).config.allow_atomic
    await admin.close()


async def test_every_durable_of_the_topology_exists_and_its_service_reads_it(servers):
    for name in ServiceName:
        service = await _as(servers, str(name))
        for durable in (each for each in DURABLES if each.service is name):
            info = await service.jetstream().consumer_info(durable.stream, durable.name)
            assert info.config.max_ack_pending == 2_000
        await service.close()


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
