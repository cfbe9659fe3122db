"""Routes of SIEM destinations. Whoever may export a log may have it streamed: it is the same power, used for longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post, put
from tallystick_chassis.http.commands import REPLAYED_HEADER, perform
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.problems import FieldError, NotFound, ValidationFailed
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability

from tallystick_ledger.errors import (
    BadRange,
    DestinationNameTaken,
    DestinationPaused,
    LogDropped,
    TooManyDestinations,
)
from tallystick_ledger.siem import commands, store
from tallystick_ledger.siem.domain import Kind
from tallystick_ledger.siem.secrets import Secret
from tallystick_ledger.siem.views import (
    DEAD_LETTERS_SHOWN,
    DeadLetterList,
    DestinationList,
    DestinationRemoved,
    DestinationState,
    DestinationView,
    NewDestination,
    Replay,
    letter_view,
    view,
)

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.http.outbound import Outbound
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.siem.secrets import SecretBox

BASE: Final = "/api/v1/ledger/siem-destinations"

_EXPORT: Final = {"capability": Capability.LEDGER_EXPORT}
_SURE: Final = _EXPORT | {"step_up": True}


def siem_routes(*, database: Database, outbound: Outbound, box: SecretBox) -> list[ControllerRouterHandler]:
    """Return the routes."""
    return [*_reading(database), _adding(outbound, box), *_changing(), *_sending()]


def _reading(database: Database) -> list[ControllerRouterHandler]:
    @get(BASE, opt=_EXPORT)
    async def list_destinations(tenant_scope: Scope) -> DestinationList:
        """List the SIEMs that entries are streamed to, and how each is doing."""
        async with database.transaction(tenant_scope) as tx:
            return DestinationList(tuple(view(one) for one in await store.list_destinations(tx)))

    @get(f"{BASE}/{{destination_id:uuid}}/dead-letters", opt=_EXPORT | {REFUSES: (NotFound,)})
    async def dead_letters(tenant_scope: Scope, destination_id: UUID) -> DeadLetterList:
        """List what a SIEM refused for good."""
        async with database.transaction(tenant_scope) as tx:
            await commands.find(tx, destination_id)
            letters = await store.list_letters(tx, destination_id, DEAD_LETTERS_SHOWN)
        return DeadLetterList(tuple(letter_view(one) for one in letters))

    return [list_destinations, dead_letters]


def _adding(outbound: Outbound, box: SecretBox) -> ControllerRouterHandler:
    @post(
        BASE,
        opt=_SURE | {REFUSES: (DestinationNameTaken, TooManyDestinations)},
        status_code=201,
    )
    async def add(
        request: Request[Any, Any, Any], tenant_scope: Scope, data: NewDestination
    ) -> Response[DestinationView]:
        """Stream to a SIEM and show its secret, once: a repeated request gets the same answer without it."""
        wanted, place = commands.wanted_of(data, outbound)
        secret = Secret.new(data.authorization)

        async def run(tx: Transaction) -> DestinationView:
            return view(await commands.add(tx, wanted, place, box, secret, from_beginning=data.from_beginning))

        response: Response[Any] = await perform(request, tenant_scope, run, status=201)
        if REPLAYED_HEADER not in response.headers and place.kind is Kind.HTTPS:
            # After the commit, and beside the answer that is kept for repetitions: in clear it is stored nowhere.
            made = msgspec.json.decode(response.content, type=DestinationView)
            response.content = msgspec.json.encode(msgspec.structs.replace(made, secret=secret.shown))
        return response

    return add


def _changing() -> list[ControllerRouterHandler]:
    @put(f"{BASE}/{{destination_id:uuid}}", opt=_EXPORT | {REFUSES: (NotFound,)})
    async def set_state(
        request: Request[Any, Any, Any], tenant_scope: Scope, destination_id: UUID, data: DestinationState
    ) -> Response[DestinationView]:
        """Pause a stream, or let it go on where it stopped."""

        async def run(tx: Transaction) -> DestinationView:
            return view(await commands.set_paused(tx, destination_id, paused=data.paused))

        return await perform(request, tenant_scope, run)

    @delete(f"{BASE}/{{destination_id:uuid}}", opt=_EXPORT | {REFUSES: (NotFound,)}, status_code=200)
    async def remove(
        request: Request[Any, Any, Any], tenant_scope: Scope, destination_id: UUID
    ) -> Response[DestinationRemoved]:
        """Send nothing more to a SIEM, for good."""

        async def run(tx: Transaction) -> DestinationRemoved:
            await commands.remove(tx, destination_id)
            return DestinationRemoved(destination_id)

        return await perform(request, tenant_scope, run)

    return [set_state, remove]


def _sending() -> list[ControllerRouterHandler]:
    @post(
        f"{BASE}/{{destination_id:uuid}}/replay",
        opt=_SURE | {REFUSES: (NotFound, BadRange, LogDropped)},
        status_code=200,
    )
    async def replay(
        request: Request[Any, Any, Any], tenant_scope: Scope, destination_id: UUID, data: Replay
    ) -> Response[DestinationView]:
        """Send entries again; a receiver knows them by ``metadata.uid``."""
        if (data.log_id is None) != (data.seq is None) or (data.since is not None and data.log_id is not None):
            raise ValidationFailed(errors=[FieldError("goes with log_id, and not with since", pointer="/seq")])

        async def run(tx: Transaction) -> DestinationView:
            return view(await commands.replay(tx, destination_id, since=data.since, log=data.log_id, seq=data.seq or 0))

        return await perform(request, tenant_scope, run)

    @post(
        f"{BASE}/{{destination_id:uuid}}/test", opt=_EXPORT | {REFUSES: (NotFound, DestinationPaused)}, status_code=202
    )
    async def test(
        request: Request[Any, Any, Any], tenant_scope: Scope, destination_id: UUID
    ) -> Response[DestinationView]:
        """Have a heartbeat sent now; when ``test_waits`` is false again, ``fault`` says what was wrong, if anything."""

        async def run(tx: Transaction) -> DestinationView:
            return view(await commands.ask_for_test(tx, destination_id))

        return await perform(request, tenant_scope, run, status=202)

    return [replay, test]
