"""What `tally contain` and `tally keys rotate` do, but for the checkpoint key."""

import subprocess
import sys
from pathlib import Path

from tallystick_contracts.topology import SERVICE_PACKAGES, ServiceName

from tallystick_cli.operator.actions import known_servers
from tallystick_cli.stack import secret_files
from tallystick_cli.stack.errors import StackError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import Servers

__all__ = ["StackError", "contain", "rotate_key_encryption_key", "rotate_session_key"]


def contain(folder: Path | None, *, arguments: tuple[str, ...]) -> int:
    """Let identity end sessions, in a process that has identity's secrets and no others."""
    return _identity(known_servers(Layout.at(folder)), "contain", *arguments)


def rotate_session_key(folder: Path | None, *, distrust: bool) -> int:
    """Have tokens signed with a new key: it is made known, then written down, then used.

    Killed anywhere, the old key goes on signing or the new one does, and everybody knows both.
    """
    servers = known_servers(Layout.at(folder))
    layout = servers.layout
    new, old = secret_files.add_session_key(layout)
    recorded = _identity(
        servers,
        "record-key-rotation",
        f"--key={new}",
        f"--previous={old}",
        *(("--distrusted",) if distrust else ()),
    )
    if recorded:
        sys.stderr.write("tally: the ledger could not be told, so the old key goes on signing; try again\n")
        return recorded
    secret_files.sign_sessions_with(layout, new, distrust_others=distrust)
    sys.stdout.write(f"{new}\n")
    return 0


def rotate_key_encryption_key(folder: Path | None, *, service: str) -> int:
    """Replace a service's key-encryption key: it is made, written down, and used.

    A rotation that was killed is finished first, and that is all: run again, it begins another.
    """
    servers = known_servers(Layout.at(folder))
    named, kek = ServiceName(service), f"kek-{service}.json"
    newest, *before = secret_files.key_encryption_epochs(servers.layout, kek)
    done = _rewrap(servers, named, newest, before[0]) if before else (0, 0)
    if not any(done):
        before, newest = [newest], secret_files.add_key_encryption_key(servers.layout, kek)
        done = _rewrap(servers, named, newest, before[0])
    sys.stderr.write(f"tally: {done[0]} keys are wrapped under epoch {newest} now\n")
    sys.stdout.write(f"{newest}\n")
    return 0


def _rewrap(servers: Servers, service: ServiceName, epoch: str, previous: str) -> tuple[int, int]:
    """Return how many keys the service has moved to `epoch`, and 1 if it has written that down now."""
    program = _program(servers, service, "rewrap-keys", f"--previous={previous}")
    done = subprocess.run(program.command, check=False, env=program.full_environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        message = f"not every key is wrapped under epoch {epoch}; the ones before are still there: try again"
        raise StackError(message)
    moved, recorded = done.stdout.split()
    return int(moved), int(recorded)


def _identity(servers: Servers, command: str, *arguments: str) -> int:
    program = _program(servers, ServiceName.IDENTITY, command, *arguments)
    return subprocess.run(program.command, check=False, env=program.full_environment).returncode


def _program(servers: Servers, service: ServiceName, command: str, *arguments: str) -> Program:
    name = f"{service}-{command}"
    return Program(
        name=name,
        command=(sys.executable, "-m", SERVICE_PACKAGES[service], command, *arguments),
        log_file=servers.layout.log_file(name),
        environment=servers.service_environment(service),
    )
