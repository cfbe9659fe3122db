"""A whole system of its own, on a small disk of its own, for tests that kill, freeze, wipe and fill it up."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import ssl
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import nats
from tallystick_cli.operator.actions import create_tenant
from tallystick_cli.stack import boot, control, state, status
from tallystick_cli.stack import nats as nats_server
from tallystick_cli.stack.accounts import ADMIN
from tallystick_cli.stack.layout import Layout

from faults.freezing import frozen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx
    from nats.js import JetStreamContext
    from tallystick_cli.cluster.person import Authenticator
    from tallystick_cli.stack.services import Servers

TENANTS = ("north", "south")
DISK_BYTES = 1_500 * 2**20
BACK_WITHIN_S = 60.0
_POLL_S = 0.02
_PAGE_BYTES = 4096
_LIBC = ctypes.CDLL(None, use_errno=True)
# Shorter than an operator would choose, so that what waits for a receipt does not make the test wait.
_SETTINGS = {"TALLY_REPUBLISH_AFTER_S": "5", "TALLY_HAND_OVER_AFTER_S": "2"}


@dataclass(frozen=True)
class Arena:
    """The running system. ``has_own_disk`` says whether it lies on a disk that can be filled without harm.

    ``signed_in`` has everybody's authenticator and cookies by address: they sign in once, not for each test.
    """

    layout: Layout
    has_own_disk: bool
    signed_in: dict[str, tuple[Authenticator, httpx.Cookies]] = field(default_factory=dict)

    @property
    def servers(self) -> Servers:
        """Describe Postgres and NATS."""
        return boot.describe(self.layout, state.read(self.layout))

    @property
    def programs(self) -> list[str]:
        """Name every process that the supervisor keeps alive."""
        return list(status.read(self.layout).programs)

    def kill(self, program: str) -> int:
        """Send SIGKILL; return the process id it had (0: it was not running, which is as good)."""
        victim = status.read(self.layout).programs[program].pid
        if victim is None:
            return 0
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return victim

    async def is_back(self, program: str, victim: int) -> None:
        """Wait until another process stands in its place."""
        deadline = time.monotonic() + BACK_WITHIN_S
        while (now := status.read(self.layout).programs[program].pid) is None or now == victim:
            assert time.monotonic() < deadline, f"{program} did not come back within {BACK_WITHIN_S:.0f} s"
            await asyncio.sleep(_POLL_S)

    @contextmanager
    def frozen(self, program: str) -> Iterator[None]:
        """Hold a process still by its name."""
        victim = status.read(self.layout).programs[program].pid
        assert victim is not None, f"{program} is not running"
        with frozen(victim):
            yield

    async def wipe_jetstream(self) -> None:
        """Take the disk away from under NATS, and kill it before it can say so."""
        store, lost = self.layout.nats / "store", self.layout.nats / f"lost-{time.monotonic_ns()}"
        store.rename(lost)
        victim = self.kill("nats")
        shutil.rmtree(lost)
        await self.is_back("nats", victim)

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[JetStreamContext]:
        """Connect to NATS as its administrator."""
        client = await nats.connect(
            self.servers.nats.url,
            nkeys_seed_str=nats_server.seed_file(self.layout, ADMIN).read_text(encoding="utf-8"),
            tls=ssl.create_default_context(cafile=str(self.layout.ca_file)),
        )
        try:
            yield client.jetstream()
        finally:
            await client.close()

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Leave not one free byte on the disk, for as long as the block runs."""
        reserve = self.layout.root / "reserve"
        try:
            with reserve.open("wb") as file:
                taken, step = 0, 64 * 2**20
                while step >= _PAGE_BYTES:
                    try:
                        os.posix_fallocate(file.fileno(), taken, step)
                        taken += step
                    except OSError:  # so much is not left
                        step //= 2
            yield
        finally:
            reserve.unlink()

    def logged(self, program: str, event: str) -> int:
        """Count the lines of a process's log that say ``event``."""
        file = self.layout.log_file(program)
        return sum(f'"{event}"' in line for line in file.read_text(encoding="utf-8", errors="replace").splitlines())


@contextmanager
def arena() -> Iterator[Arena]:
    """Start it all with two tenants; stop and erase it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tally-faults-"))
    mounted = _mount(folder)
    layout = Layout.at(folder)
    try:
        layout.create()
        settings = "".join(f"{name}={value}\n" for name, value in _SETTINGS.items())
        (layout.root / "service.env").write_text(settings, encoding="utf-8")
        with control.attached(layout):
            for number, slug in enumerate(TENANTS):
                made = create_tenant(
                    layout.root,
                    command="add-tenant" if number else "init",
                    slug=slug,
                    name=slug.title(),
                    admin=f"admin@{slug}.example",
                )
                assert made == 0, f"making the tenant {slug} ended with {made}"
            yield Arena(layout, mounted)
    finally:
        with suppress(Exception):
            control.erase(layout)
        if mounted:
            _LIBC.umount2(str(folder).encode(), 2)  # MNT_DETACH: a process that still ends must not keep it
        shutil.rmtree(folder, ignore_errors=True)


def _mount(folder: Path) -> bool:
    """Put a file system of limited size at ``folder``; only root can."""
    options = f"size={DISK_BYTES},mode=0711".encode()
    return _LIBC.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, options) == 0
