"""``python -m tallystick_ledger siem``: the operator's way to a tenant's SIEM destinations, the platform's too.

Each change is an entry of the tenant's compliance log. Prints JSON, one object a line.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec
from tallystick_chassis.http.problems import Problem
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import ConcurrencyError

from tallystick_ledger.errors import DestinationNotFound
from tallystick_ledger.exports.command import PLATFORM, find_tenant
from tallystick_ledger.siem import commands, store
from tallystick_ledger.siem.domain import Kind
from tallystick_ledger.siem.parts import open_box, open_outbound
from tallystick_ledger.siem.secrets import Secret
from tallystick_ledger.siem.views import DEAD_LETTERS_SHOWN, HEARTBEAT_S, NewDestination, letter_view, view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tallystick_chassis.service import Runtime
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.siem.store import Settled

_REFUSED: Final = 1
_NOT_YET: Final = 3
_TEST_LIMIT_S: Final = 60.0
_LOOK_INTERVAL_S: Final = 0.5


async def siem_command(runtime: Runtime, arguments: Sequence[str]) -> int:
    """Do one thing to a tenant's destinations; 1 if it is refused, 3 if a test did not arrive."""
    parser = _parser()
    asked = parser.parse_args(list(arguments))
    if asked.does == "replay" and (asked.log_id is None) != (asked.seq is None):
        parser.error("--log-id and --seq go together")
    tenant = await find_tenant(runtime, asked.tenant)
    if tenant is None:
        sys.stderr.write("tallystick: there is no such tenant\n")
        return _REFUSED
    scope = Scope.for_duty(tenant, runtime.service)
    try:
        return await _DOES[asked.does](runtime, scope, asked)
    except Problem as problem:
        wrong = "; ".join(f"{one.pointer or one.parameter} {one.detail}" for one in problem.errors)
        sys.stderr.write(f"tallystick: {problem.title}{': ' if wrong else ''}{wrong}\n")
    except ConcurrencyError:
        sys.stderr.write("tallystick: somebody else changed it at this moment; try again\n")
    except OSError as error:
        sys.stderr.write(f"tallystick: cannot read the file: {error.strerror}\n")
    except msgspec.ValidationError as error:
        sys.stderr.write(f"tallystick: {error}\n")
    return _REFUSED


async def _add(runtime: Runtime, scope: Scope, asked: argparse.Namespace) -> int:
    given = {
        "name": asked.name,
        "address": asked.address,
        "log_kinds": asked.log or ["audit", "compliance"],
        "heartbeat_s": asked.heartbeat_s,
        "from_beginning": asked.from_beginning,
    }
    if asked.authorization_file is not None:
        given["authorization"] = asked.authorization_file.read_text(encoding="ascii").strip()
    data = msgspec.convert(given, NewDestination)
    wanted, place = commands.wanted_of(data, open_outbound(runtime.settings))
    secret = Secret.new(data.authorization)
    async with runtime.database.transaction(scope) as tx:
        made = await commands.add(
            tx, wanted, place, open_box(runtime.settings), secret, from_beginning=data.from_beginning
        )
    shown = secret.shown if place.kind is Kind.HTTPS else None
    _print(msgspec.structs.replace(view(made), secret=shown))
    return 0


async def _list(runtime: Runtime, scope: Scope, _asked: argparse.Namespace) -> int:
    async with runtime.database.transaction(scope) as tx:
        for one in await store.list_destinations(tx):
            _print(view(one))
    return 0


async def _pause(runtime: Runtime, scope: Scope, asked: argparse.Namespace) -> int:
    return await _change(runtime, scope, asked, lambda tx, one: commands.set_paused(tx, one, paused=True))


async def _resume(runtime: Runtime, scope: Scope, asked: argparse.Namespace) -> int:
    return await _change(runtime, scope, asked, lambda tx, one: commands.set_paused(tx, one, paused=False))


async def _replay(runtime: Runtime, scope: Scope, asked: argparse.Namespace) -> int:
    return await _change(
        runtime,
        scope,
        asked,
        lambda tx, one: commands.replay(tx, one, since=asked.since, log=asked.log_id, seq=asked.seq or 0),
    )


async def _remove(runtime: Runtime, scope: Scope, asked: argparse.Namespace) -> int:
    async with runtime.database.transaction(scope) as tx:
        await commands.remove(tx, (await _named(tx, asked.name)).id)
    return 0


async def _dead_letters(runtime: Runtime, scope: Scope, asked: argparse.Namespace) -> int:
    async with runtime.database.transaction(scope) as tx:
        for one in await store.list_letters(tx, (await _named(tx, asked.name)).id, DEAD_LETTERS_SHOWN):
            _print(letter_view(one))
    return 0


async def _test(runtime: Runtime, scope: Scope, asked: argparse.Namespace) -> int:
    """Ask the worker to send a heartbeat, and wait until it has said what became of it."""
    async with runtime.database.transaction(scope) as tx:
        found = await commands.ask_for_test(tx, (await _named(tx, asked.name)).id)
    try:
        async with asyncio.timeout(_TEST_LIMIT_S):
            while found.test_waits:
                await asyncio.sleep(_LOOK_INTERVAL_S)
                async with runtime.database.transaction(scope) as tx:
                    found = await commands.find(tx, found.id)
    except TimeoutError:
        sys.stderr.write("tallystick: no worker has sent it yet; is the ledger's worker running?\n")
        return _NOT_YET
    _print(view(found))
    return 0 if found.fault is None else _NOT_YET


async def _change(
    runtime: Runtime,
    scope: Scope,
    asked: argparse.Namespace,
    do: Callable[[Transaction, UUID], Awaitable[Settled]],
) -> int:
    async with runtime.database.transaction(scope) as tx:
        changed = await do(tx, (await _named(tx, asked.name)).id)
    _print(view(changed))
    return 0


async def _named(tx: Transaction, name: str) -> Settled:
    for one in await store.list_destinations(tx):
        if one.name == name:
            return one
    raise DestinationNotFound


_DOES: Final = {
    "add": _add,
    "list": _list,
    "test": _test,
    "replay": _replay,
    "dead-letters": _dead_letters,
    "pause": _pause,
    "resume": _resume,
    "remove": _remove,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="siem", description=__doc__)
    does = parser.add_subparsers(dest="does", required=True)
    for name in _DOES:
        one = does.add_parser(name)
        one.add_argument("--tenant", required=True, help=f"the tenant's short name or id, or `{PLATFORM}`")
        if name != "list":
            one.add_argument("--name", required=True, help="the destination's name")
        if name == "add":
            one.add_argument("--address", required=True, help="https://host/path or syslog+tls://host:6514")
            one.add_argument("--log", action="append", choices=("audit", "compliance"), help="both if not said")
            one.add_argument("--heartbeat-s", type=int, default=HEARTBEAT_S, help="how long silence may last")
            one.add_argument("--from-beginning", action="store_true", help="also what was recorded before")
            one.add_argument("--authorization-file", type=Path, help="a file with the value of Authorization")
        if name == "replay":
            start = one.add_mutually_exclusive_group()
            start.add_argument("--since", type=_moment, help="everything if neither this nor --log-id is said")
            start.add_argument("--log-id", type=UUID)
            one.add_argument("--seq", type=int, help="with --log-id: the first entry")
    return parser


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        msg = "a time needs its offset from UTC, such as Z"
        raise argparse.ArgumentTypeError(msg)
    return found


def _print(shown: msgspec.Struct) -> None:
    sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
