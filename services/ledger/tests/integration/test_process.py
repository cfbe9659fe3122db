"""The ledger's processes as they are deployed: they start from the environment, record, and stop cleanly."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import ssl
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import httpx
import pytest
from tallystick_chassis.bus import Bus, BusMessage
from tallystick_contracts.topology import ServiceName, event_subject
from tallystick_tlog import Receipt, VerifierKey, verify_receipt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tallystick_chassis.ids import TenantId
    from tallystick_cli.stack.temporary import Databases, RunningServers

    from .conftest import FakeSource

DEADLINE_S = 30.0


@contextmanager
def process(environment: Mapping[str, str], role: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one process of the ledger; at the end it must stop by itself when asked."""
    running = subprocess.Popen(
        [sys.executable, "-m", "tallystick_ledger", role], env={**os.environ, **environment}, cwd="/"
    )
    try:
        yield running
        running.send_signal(signal.SIGTERM)
        assert running.wait(15) == 0
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()


@pytest.mark.xdist_group("ledger-process")
async def test_api_and_worker_start_from_their_environment_and_record(
    stack: RunningServers, ledger_databases: Databases, source: FakeSource, tenant: TenantId, tmp_path: Path
) -> None:
    environment = ledger_databases.environment(ServiceName.LEDGER)
    # One context each: httpx sets ALPN on its own, which Postgres refuses.
    tls, web_tls = (ssl.create_default_context(cafile=str(stack.ca_file)) for _ in range(2))
    seed = stack.nats_seed("identity").read_text().strip()
    bus = Bus(stack.nats_url, name="identity", seed=seed, ca_file=stack.ca_file)
    receipts = bus.pull(stream="RCPT", durable="rcpt-identity")
    arrivals = source.compliance(tenant, 5)
    bodies = {str(one.event.id): one.body for one in arrivals}
    with process(environment, "worker"), process(environment, "api"):
        await bus.client()
        subject = event_subject(tenant, "identity", "tenant", "created")
        await bus.publish_batch(
            [
                BusMessage(subject, one.body, {"source-seq": str(one.source_seq), "ce-sequence": str(one.source_seq)})
                for one in arrivals
            ],
            timeout_s=5,
        )
        origin = f"{environment['TALLY_LEDGER_ORIGIN']}/{tenant}/compliance"
        proved: set[str] = set()
        async with asyncio.timeout(DEADLINE_S):
            while proved != set(bodies):
                for delivery in await receipts.fetch(100, 0.5):
                    receipt = Receipt.from_json(delivery.payload)
                    if receipt.log == origin:
                        key = VerifierKey.ed25519(origin, _decoded(environment["TALLY_LEDGER_KEY"]))
                        proved.update(verify_receipt(receipt, bodies, [key]))
                    await delivery.ack()
            async with httpx.AsyncClient(verify=web_tls, base_url=environment["TALLY_PUBLIC_URL"]) as client:
                while not await _is_ready(client):  # noqa: ASYNC110 - another process: there is no event to wait for
                    await asyncio.sleep(0.1)
                refused = await client.get("/api/v1/ledger/logs")
                assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")
        await receipts.close()
        await bus.close()
    connection = await asyncpg.connect(ledger_databases.superuser_dsn(), ssl=tls)
    assert await connection.fetchval("select size from ledger.logs where tenant_id = $1", tenant) == 5
    await connection.close()
    _the_operator_can_export(environment, tenant, tmp_path)


def _the_operator_can_export(environment: Mapping[str, str], tenant: TenantId, folder: Path) -> None:
    def export(named: str, out: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tallystick_ledger", "export", f"--tenant={named}", f"--out={out}"]
        settings = {**os.environ, **environment}
        return subprocess.run(command, env=settings, capture_output=True, text=True, check=False, cwd="/")

    done = export(str(tenant), folder)
    assert (done.returncode, done.stdout) == (0, f"{folder / 'compliance'}\n")
    tally = Path(sys.executable).with_name("tally")
    key = folder / "compliance" / "ledger.vkey"
    replay = [tally, "audit", "verify", folder / "compliance", "--key", key]
    assert subprocess.run(replay, check=False, stdout=subprocess.DEVNULL).returncode == 0
    again = export(str(tenant), folder)
    assert (again.returncode, "File exists" in again.stderr) == (1, True), "what is there is not overwritten"
    nobody = export("nobody", folder / "nobody")
    assert (nobody.returncode, nobody.stderr) == (1, "tallystick: there is no such tenant\n")


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/ready")).status_code == 200
    except httpx.TransportError:
        return False


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)


@pytest.mark.control("EV-24a")
@pytest.mark.parametrize("missing", ["TALLY_CHECKPOINT_KEY_FILE", "TALLY_LEDGER_ORIGIN", "TALLY_DSN"])
def test_a_process_without_a_secret_does_not_start_and_names_it(ledger_databases: Databases, missing: str) -> None:
    environment = {**os.environ, **ledger_databases.environment(ServiceName.LEDGER)}
    del environment[missing]
    done = subprocess.run(
        [sys.executable, "-m", "tallystick_ledger", "worker"],
        env=environment,
        capture_output=True,
        timeout=30,
        check=False,
        cwd="/",
    )
    assert done.returncode == 2
    assert f"tallystick: setting {missing.removesuffix('_FILE')} is missing" in done.stderr.decode()
