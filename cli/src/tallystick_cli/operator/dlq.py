"""What `tally dlq` does: each service is asked in a process that has its secrets and no others."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from tallystick_chassis.dead_letter_command import Listed
from tallystick_contracts.topology import SERVICE_FOLDERS, SERVICE_PACKAGES, ServiceName

from tallystick_cli.operator.actions import known_servers
from tallystick_cli.stack.errors import StackError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import Servers, find_service

__all__ = ["StackError", "act", "list_letters"]

_AT_ONCE = 2  # each is an interpreter of its own, busy with imports for a second
_PREFIX = "tallystick: "


def list_letters(folder: Path | None, *, service: str | None, tenant: str | None, settled: bool, as_json: bool) -> int:
    """Print the dead letters of one service or of all, oldest first; 1 when a service could not be asked."""
    asked = tuple(ServiceName) if service is None else (find_service(service),)
    servers = known_servers(Layout.at(folder))
    arguments = ("list", "--json", *((f"--tenant={tenant}",) if tenant else ()), *(("--all",) if settled else ()))
    # The programs first: describing one writes files, which is for one thread at a time.
    programs = [_program(servers, named, arguments) for named in asked]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(_ask, programs))
    letters: list[Listed] = []
    for answer in answers:
        if answer.returncode == 0:
            # The service's own answer is the last line; what stands before it is its log.
            letters += msgspec.json.decode(answer.stdout.splitlines()[-1], type=list[Listed])
        else:
            _complain(answer)
    letters.sort(key=lambda letter: letter.first_at)
    if as_json:
        sys.stdout.write(msgspec.json.encode(letters).decode() + "\n")
    else:
        for letter in letters:
            _print(letter)
        if not letters and not any(answer.returncode for answer in answers):
            sys.stdout.write("no dead letters\n")
    return max(answer.returncode for answer in answers)


def act(folder: Path | None, *, service: str, arguments: tuple[str, ...]) -> int:
    """Let a service show, retry or discard one dead letter, and print what it says."""
    answer = _ask(_program(known_servers(Layout.at(folder)), find_service(service), arguments))
    if answer.returncode:
        _complain(answer)
    else:
        sys.stdout.write(answer.stdout)
    return answer.returncode


def _program(servers: Servers, named: ServiceName, arguments: tuple[str, ...]) -> Program:
    name = f"{SERVICE_FOLDERS[named]}-dlq"
    return Program(
        name=name,
        command=(sys.executable, "-m", SERVICE_PACKAGES[named], "dlq", *arguments),
        log_file=servers.layout.log_file(name),
        environment=servers.service_environment(named),
    )


def _ask(program: Program) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program.command, check=False, env=program.full_environment, capture_output=True, text=True)


def _complain(answer: subprocess.CompletedProcess[str]) -> None:
    for line in answer.stderr.splitlines():
        sys.stderr.write(f"tally: {line.removeprefix(_PREFIX)}\n")


def _print(letter: Listed) -> None:
    service = SERVICE_FOLDERS[ServiceName(letter.service)]
    sys.stdout.write(
        f"{letter.event_id or 'no event id'!s:36}  {letter.state}  {service}  {letter.slug or letter.tenant}\n"
        f"    {letter.source}.{letter.aggregate} {letter.source_seq or ''}: {letter.error}, "
        f"{letter.attempts} tries since {letter.first_at:%Y-%m-%d %H:%M} UTC\n"
    )
