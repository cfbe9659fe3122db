"""What `tally contain` and `tally keys rotate session` do."""

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

__all__ = ["StackError", "contain", "rotate_session_key"]


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


def _identity(servers: Servers, command: str, *arguments: str) -> int:
    name = f"identity-{command}"
    program = Program(
        name=name,
        command=(sys.executable, "-m", SERVICE_PACKAGES[ServiceName.IDENTITY], command, *arguments),
        log_file=servers.layout.log_file(name),
        environment=servers.service_environment(ServiceName.IDENTITY),
    )
    return subprocess.run(program.command, check=False, env=program.full_environment).returncode
