"""``python -m tallystick_<service> dlq``: what the operator does about one service's dead letters.

``tally dlq`` runs it once for each service, with that service's settings. Nothing personal is printed: a body holds
pseudonyms and sealed boxes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import select
from tallystick_contracts.generated.common import Sealed

from tallystick_chassis.dead_letters import (
    MAX_REASON_CHARS,
    DeadLetterState,
    NoSuchDeadLetterError,
    discard,
    list_all_tenants_dead_letters,
    list_dead_letters,
    request_retry,
)
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import ALL_UNITS, Scope
from tallystick_chassis.sealing import TenantKeyMissing
from tallystick_chassis.tables import directory_tenants

if TYPE_CHECKING:
    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.dead_letters import DeadLetter
    from tallystick_chassis.service import Command, Runtime

OPERATOR: Final = "operator"
"""The actor of what is done on the command line: whoever has the service's secrets, not a person of the tenant."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """An event that waits for an operator, as it is listed.

    ``slug`` is missing while the service does not know the tenant's name; ``event_id`` and ``source_seq`` are missing
    where what arrived was no event.
    """

    service: str
    tenant: UUID
    slug: str | None = None
    state: str
    consumer: str
    event_id: UUID | None
    source: str
    aggregate: str
    source_seq: int | None
    error: str
    attempts: int
    first_at: datetime
    last_at: datetime


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter with its event; ``reason`` is the sealed box that its discarding left in the ledger."""

    letter: Listed
    reason: Sealed | None
    event: msgspec.Raw


class Moved(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command did; ``recorded_as`` is the event that says so."""

    service: str
    tenant: UUID
    event_id: UUID
    state: DeadLetterState
    recorded_as: UUID | None = None


class RefusedCommandError(Exception):
    """The command cannot do what it was asked; the message says why and what to do."""


Waiting = Callable[["DutyDatabase"], Awaitable[Sequence[Listed]]]
"""Further rows for ``dlq list``: what a service keeps aside in a table of its own."""


def dead_letter_command(more: Waiting | None = None) -> Command:
    """Return the ``dlq`` command; ``more`` adds what the service itself keeps aside to its list."""

    async def dlq(runtime: Runtime, arguments: Sequence[str]) -> int:
        asked = _parser(runtime.service).parse_args(list(arguments))
        try:
            tenant = None if asked.tenant is None else await _tenant(runtime, asked.tenant)
            await _run(runtime, asked, tenant, more)
        except RefusedCommandError as error:
            sys.stderr.write(f"tallystick: {error}\n")
            return 1
        return 0

    return dlq


def _parser(service: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dlq", description=f"Events that {service} could not handle.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--tenant", metavar="SLUG|ID", help="this tenant's only")
    shared.add_argument("--json", action="store_true", help="for programs")
    one = argparse.ArgumentParser(add_help=False, parents=[shared])
    one.add_argument("event_id", type=UUID, metavar="EVENT_ID")
    does = parser.add_subparsers(dest="does", required=True)
    listing = does.add_parser("list", parents=[shared], help="what waits for a decision, oldest first")
    listing.add_argument("--all", action="store_true", help="what was retried or discarded, too")
    does.add_parser("show", parents=[one], help="one, with its event")
    does.add_parser("retry", parents=[one], help="have the worker handle it once more")
    discarding = does.add_parser("discard", parents=[one], help="give it up for good; the ledger records it")
    discarding.add_argument("--reason", required=True, help=f"why, in 1 to {MAX_REASON_CHARS} characters; it is sealed")
    return parser


async def _run(runtime: Runtime, asked: argparse.Namespace, tenant: TenantId | None, more: Waiting | None) -> None:
    slugs = await _slugs(runtime.duty)
    if asked.does == "list":
        letters = await _find(runtime, tenant, waiting_only=not asked.all)
        rows = [_listed(runtime, letter) for letter in letters] + [*(await more(runtime.duty) if more else ())]
        named = [msgspec.structs.replace(row, slug=slugs.get(row.tenant)) for row in rows]
        _print_list([row for row in named if tenant in (None, row.tenant)], as_json=asked.json)
        return
    letter = await _find_one(runtime, asked.event_id, tenant)
    if asked.does == "show":
        listed = msgspec.structs.replace(_listed(runtime, letter), slug=slugs.get(letter.tenant))
        shown = msgspec.json.encode(Shown(letter=listed, reason=letter.reason, event=msgspec.Raw(letter.body)))
        sys.stdout.write((shown if asked.json else msgspec.json.format(shown)).decode() + "\n")
        return
    try:
        moved = await (_retry(runtime, letter) if asked.does == "retry" else _discard(runtime, letter, asked.reason))
    except NoSuchDeadLetterError as error:
        message = f"event {letter.event_id} is {letter.state}; only an open dead letter can be retried or discarded"
        raise RefusedCommandError(message) from error
    text = msgspec.json.encode(moved).decode() if asked.json else f"event {letter.event_id}: {moved.state}"
    sys.stdout.write(text + "\n")


async def _retry(runtime: Runtime, letter: DeadLetter) -> Moved:
    async with runtime.database.transaction(_scope(letter.tenant)) as tx:
        await request_retry(tx, letter.consumer, letter.event_id)
    return Moved(
        service=runtime.service, tenant=letter.tenant, event_id=letter.event_id, state=DeadLetterState.RETRYING
    )


async def _discard(runtime: Runtime, letter: DeadLetter, reason: str) -> Moved:
    try:
        async with runtime.database.transaction(_scope(letter.tenant)) as tx:
            recorded_as = await discard(tx, runtime.sealer, letter.consumer, letter.event_id, reason=reason)
    except ValueError as error:
        raise RefusedCommandError(str(error)) from error
    except TenantKeyMissing as error:
        message = (
            f"{runtime.service} has no sealing key of this tenant yet; the privacy worker sends it: try again later"
        )
        raise RefusedCommandError(message) from error
    return Moved(
        service=runtime.service,
        tenant=letter.tenant,
        event_id=letter.event_id,
        state=DeadLetterState.DISCARDED,
        recorded_as=recorded_as,
    )


async def _find(
    runtime: Runtime, tenant: TenantId | None, *, event_id: UUID | None = None, waiting_only: bool = False
) -> list[DeadLetter]:
    if tenant is None:
        return await list_all_tenants_dead_letters(runtime.duty, event_id=event_id, waiting_only=waiting_only)
    async with runtime.database.transaction(_scope(tenant)) as tx:
        return await list_dead_letters(tx, event_id=event_id, waiting_only=waiting_only)


async def _find_one(runtime: Runtime, event_id: UUID, tenant: TenantId | None) -> DeadLetter:
    found = await _find(runtime, tenant, event_id=event_id)
    if not found:
        of = "" if tenant is None else " of this tenant"
        message = f"{runtime.service} has no dead letter{of} for event {event_id}; `dlq list` shows what it has"
        raise RefusedCommandError(message)
    if len(found) > 1:
        message = f"event {event_id} is a dead letter of more than one tenant: name one with --tenant"
        raise RefusedCommandError(message)
    return found[0]


async def _tenant(runtime: Runtime, given: str) -> TenantId:
    try:
        return TenantId(UUID(given))
    except ValueError:
        found = [tenant for tenant, slug in (await _slugs(runtime.duty)).items() if slug == given]
    if not found:
        message = f"{runtime.service} knows no tenant {given}; if it is a new one, name it by its id"
        raise RefusedCommandError(message)
    return TenantId(found[0])


async def _slugs(duty: DutyDatabase) -> dict[UUID, str]:
    async with duty.duty() as connection:
        rows = await connection.execute(select(directory_tenants.c.tenant_id, directory_tenants.c.slug))
        return {row.tenant_id: row.slug for row in rows}


def _scope(tenant: UUID) -> Scope:
    return Scope(tenant=TenantId(tenant), org_units=ALL_UNITS, actor=OPERATOR, correlation=uuid4().hex)


def _listed(runtime: Runtime, letter: DeadLetter) -> Listed:
    return Listed(
        service=runtime.service,
        tenant=letter.tenant,
        state=letter.state,
        consumer=letter.consumer,
        event_id=letter.event_id,
        source=letter.source,
        aggregate=letter.aggregate,
        source_seq=letter.source_seq,
        error=letter.error,
        attempts=letter.attempts,
        first_at=letter.first_at,
        last_at=letter.last_at,
    )


def _print_list(rows: Sequence[Listed], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
        return
    for row in rows:
        event = f"{row.source}.{row.aggregate} {row.source_seq or '-'} {row.event_id or '-'}"
        tried = f"{row.error} x{row.attempts} last {row.last_at.isoformat(timespec='seconds')}"
        sys.stdout.write(f"{row.state} {row.slug or row.tenant} {event} {tried}\n")
