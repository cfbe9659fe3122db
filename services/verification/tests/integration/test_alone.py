"""Verification answers when nothing but its own database is up, and says how fresh it is."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from tallystick_chassis.ids import TenantId
    from tallystick_cli.stack.temporary import Databases

START_TIMEOUT_S = 20


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.control("X-14")
async def test_it_starts_and_answers_while_every_other_service_and_the_broker_are_down(
    verification_databases: Databases, assessment, tenant: TenantId, clock
) -> None:
    issued = await assessment.publish(tenant)
    await assessment.level(tenant, clock.now)
    port, nowhere = _free_port(), _free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")} | dict(
        verification_databases.environment(ServiceName.VERIFICATION)
    )
    environment |= {f"TALLY_URL_{name.upper()}": f"https://127.0.0.1:{nowhere}" for name in ServiceName}
    environment |= {"TALLY_NATS_URL": f"tls://127.0.0.1:{nowhere}", "TALLY_PORT": str(port), "TALLY_DRAIN_S": "0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tallystick_verification", "api", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        base = f"https://127.0.0.1:{port}"
        context = ssl.create_default_context(cafile=verification_databases.servers.layout.ca_file)
        async with httpx.AsyncClient(base_url=base, verify=context, trust_env=False) as client:
            await _ready(client, process)
            good = (await client.get(f"/certs/verify/{issued.token}")).json()
            unknown = (await client.get("/certs/verify/made-up")).json()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    assert (good["status"], good["integrity"]["as_of"]) == ("valid", "2026-11-21T12:00:00Z")
    assert unknown["status"] == "cannot_be_confirmed"


async def _ready(client: httpx.AsyncClient, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            assert process.returncode is None, "the process ended"
            try:
                if (await client.get("/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
