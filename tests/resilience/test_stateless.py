"""A process that answers requests keeps nothing: what one began another goes on with, and its disk stays as it was."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
import stat
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tallystick_cli.cluster.person import Person, Traffic, World
from tallystick_cli.operator.actions import create_tenant
from tallystick_cli.stack import boot, ports, state
from tallystick_contracts.topology import ServiceName
from tallystick_demo.journal import Journal
from tallystick_demo.mailbox import Mailbox

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

    from sweep.house import House

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("PK-07")]

_UP_WITHIN_S = 60.0
_MINE = "/api/v1/assessment/my/assignments"
_WRITES = os.O_WRONLY | os.O_RDWR


@contextmanager
def second(house: House, service: ServiceName, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """Start another API process of a service beside the one there is; give its address, itself and its log."""
    program = boot.service_program(boot.describe(house.layout, state.read(house.layout)), service, "api")
    port, log_file = ports.choose(), folder / f"{service}-second.log"
    environment = {**program.environment, "TALLY_PORT": str(port)}
    process = dataclasses.replace(program, name=f"{service}-second", environment=environment, log_file=log_file).start()
    url = f"https://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _UP_WITHIN_S
        with httpx.Client(verify=house.tls) as client:
            while True:
                assert process.poll() is None, log_file.read_text()
                assert time.monotonic() < deadline
                try:
                    if client.get(f"{url}/ready").is_success:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
        yield url, process, log_file
    finally:
        process.kill()
        process.wait(30)


def written_by(process: subprocess.Popen[bytes]) -> set[str]:
    """Name the regular files that a process holds open for writing."""
    found = set()
    here = Path(f"/proc/{process.pid}")
    for descriptor in (here / "fd").iterdir():
        try:
            said = (here / "fdinfo" / descriptor.name).read_text(encoding="ascii")
            flags = int(said.partition("flags:")[2].split()[0], 8)
            if flags & _WRITES and stat.S_ISREG(descriptor.stat().st_mode):
                found.add(str(descriptor.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


def test_a_session_of_a_killed_process_goes_on_at_another_and_none_writes_a_file(house, tmp_path):
    slug = f"stateless-{secrets.token_hex(3)}"
    made = create_tenant(
        house.layout.root, command="add-tenant", slug=slug, name="Stateless", admin=f"admin@{slug}.example"
    )
    assert made == 0
    services = {"identity": ServiceName.IDENTITY, "assessment": ServiceName.ASSESSMENT}
    with ExitStack() as stack, Journal(tmp_path / "journal.ndjson") as journal:
        others = {name: stack.enter_context(second(house, service, tmp_path)) for name, service in services.items()}
        urls = {**house.urls, **{name: url for name, (url, _, _) in others.items()}}
        world = World(urls, house.tls, Mailbox(house.layout.mail), journal, Traffic())
        asyncio.run(_story(Person(world, tenant=slug, email=f"admin@{slug}.example"), urls, house.urls, others))


async def _story(
    person: Person,
    urls: dict[str, str],
    first: Mapping[str, str],
    others: Mapping[str, tuple[str, subprocess.Popen[bytes], Path]],
) -> None:
    """Sign in and work at the second processes, kill them, and go on at the first."""
    await person.sign_in()
    role = await person.do("POST", "identity", "/api/v1/identity/roles", {"name": "kept", "capabilities": []})
    assert (await person.get("assessment", _MINE)).status_code in {200, 403}
    for _, process, log_file in others.values():
        assert written_by(process) <= {str(log_file)}
        process.kill()
        process.wait(30)
    urls.update(first)
    cookies = dict(person._http.cookies)
    roles = await person.read("identity", "/api/v1/identity/roles")
    assert role["id"] in {one["id"] for one in roles["roles"]}
    assert (await person.get("assessment", _MINE)).status_code in {200, 403}
    assert dict(person._http.cookies) == cookies, "the same session, not another"
    assert (await person._send("POST", "identity", "/session/refresh")).status_code == 204
    await person.leave()
