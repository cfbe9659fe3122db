"""Routes of c2sp.org/tlog-tiles: a log's address is the prefix under which any such client finds what it needs.

For auditors that is ``/api/v1/ledger/logs/<log>`` (its ``checkpoint`` is among the reading routes); of a log that is
published, anybody finds checkpoint, hash tiles and verifier key under ``/open/logs/<log>``, and never an entry.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import MediaType, Request, Response, get, put
from litestar.params import Parameter
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.topology import ServiceName
from tallystick_tlog import ENTRIES_LEVEL

from tallystick_ledger.errors import LogDropped, LogFrozen, LogNotFound, TileNotFound
from tallystick_ledger.reading.caching import TAGGED, answer
from tallystick_ledger.reading.store import get_checkpoint, get_log
from tallystick_ledger.tiles.commands import set_publication
from tallystick_ledger.tiles.queries import entries_below, read_tile_name, tile_content
from tallystick_ledger.tiles.store import find_open, is_published

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction
    from tallystick_tlog import Tile

    from tallystick_ledger.high_water.guard import HighWaterGuard
    from tallystick_ledger.logs.domain import Log

BASE: Final = "/api/v1/ledger"
OPEN: Final = "/open/logs"
GZIP: Final = "gzip"
OCTETS: Final = "application/octet-stream"

_READ: Final = {"capability": Capability.LEDGER_READ}
_PUBLIC: Final = {"public": True}
_CHECKPOINT: Final = _PUBLIC | TAGGED | {REFUSES: (LogFrozen,)}
_TILE: Final = TAGGED | {REFUSES: (LogDropped, LogFrozen)}
_FULL_AGE_S: Final = 365 * 24 * 3600
_PARTIAL_AGE_S: Final = 300
"""A partial tile never changes either, but is soon of no use."""
_CHECKPOINT_AGE_S: Final = 5

TileName = Annotated[str, Parameter(max_length=60)]


class Publication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``open``: whether anybody may read the log's checkpoint and hash tiles."""

    open: bool


class PublicationView(msgspec.Struct, frozen=True):
    """Whether a log is published; ``url`` is where, as a client of c2sp.org/tlog-tiles takes it."""

    log_id: UUID
    open: bool
    url: str


def tile_routes(
    *, database: Database, public_url: str, vkey_of: Callable[[Log], str], high_water: HighWaterGuard
) -> list[ControllerRouterHandler]:
    """Return the routes.

    ``public_url`` is the service's own base, ``vkey_of`` gives a log's verifier key as text.
    """
    return [
        *_auditor_routes(database, vkey_of, high_water),
        *_publication_routes(database, public_url),
        *_open_routes(database, vkey_of, high_water),
    ]


def _auditor_routes(
    database: Database, vkey_of: Callable[[Log], str], high_water: HighWaterGuard
) -> list[ControllerRouterHandler]:
    @get(f"{BASE}/logs/{{log_id:uuid}}/vkey", opt=_READ, media_type=MediaType.TEXT)
    async def vkey(tenant_scope: Scope, log_id: UUID) -> Response[str]:
        """Give the log's verifier key, as a line."""
        async with database.transaction(tenant_scope) as tx:
            log = await get_log(tx, log_id, dropped_too=True)
        return Response(vkey_of(log) + "\n", media_type=MediaType.TEXT)

    @get(f"{BASE}/logs/{{log_id:uuid}}/tile/{{name:path}}", opt=_READ | _TILE, media_type=OCTETS)
    async def tile(
        request: Request[Any, Any, Any], tenant_scope: Scope, log_id: UUID, name: TileName
    ) -> Response[bytes]:
        """Give a tile of hashes or a bundle of entries."""
        async with database.transaction(tenant_scope) as tx:
            content, wanted = await _read(tx, high_water, log_id, name)
        headers = {}
        if wanted.level == ENTRIES_LEVEL:
            headers["Vary"] = "Accept-Encoding"
            if _accepts_gzip(request.headers.get("accept-encoding", "")):
                content = await asyncio.to_thread(gzip.compress, content, 1, mtime=0)
                headers["Content-Encoding"] = GZIP
        return _tile_response(request, content, wanted, "private", headers)

    return [vkey, tile]


def _publication_routes(database: Database, public_url: str) -> list[ControllerRouterHandler]:
    def view(log_id: UUID, *, is_open: bool) -> PublicationView:
        return PublicationView(log_id, is_open, f"{public_url}{OPEN}/{log_id}")

    @get(f"{BASE}/logs/{{log_id:uuid}}/publication", opt=_READ)
    async def publication(tenant_scope: Scope, log_id: UUID) -> PublicationView:
        """Say whether anybody may read the log's checkpoint and hash tiles."""
        async with database.transaction(tenant_scope) as tx:
            return view(log_id, is_open=await is_published(tx, await get_log(tx, log_id, dropped_too=True)))

    @put(f"{BASE}/logs/{{log_id:uuid}}/publication", opt={"capability": Capability.LEDGER_PUBLISH, "step_up": True})
    async def set_open(
        request: Request[Any, Any, Any], tenant_scope: Scope, log_id: UUID, data: Publication
    ) -> Response[PublicationView]:
        """Publish the log's checkpoint and hash tiles, or stop; the compliance log will say so."""

        async def run(tx: Transaction) -> PublicationView:
            log = await set_publication(tx, log_id, is_open=data.open)
            return view(log.id, is_open=data.open)

        return await perform(request, tenant_scope, run)

    return [publication, set_open]


def _open_routes(
    database: Database, vkey_of: Callable[[Log], str], high_water: HighWaterGuard
) -> list[ControllerRouterHandler]:
    async def open_scope(log_id: UUID) -> Scope:
        """Return the scope of the tenant whose published log this is."""
        async with database.unscoped() as connection:
            tenant = await find_open(connection, log_id)
        if tenant is None:
            raise LogNotFound
        return Scope.for_duty(tenant, ServiceName.LEDGER)

    @get(f"{OPEN}/{{log_id:uuid}}/checkpoint", opt=_CHECKPOINT, media_type=MediaType.TEXT)
    async def open_checkpoint(request: Request[Any, Any, Any], log_id: UUID) -> Response[str]:
        """Give a published log's newest checkpoint."""
        async with database.transaction(await open_scope(log_id)) as tx:
            log = await get_log(tx, log_id, dropped_too=True)
            found = await get_checkpoint(tx, log, log.size)
            await high_water.show(tx, log, found.head)
        caching = f"public, max-age={_CHECKPOINT_AGE_S}"
        return answer(request, found.note.encode(), media_type=MediaType.TEXT, caching=caching)

    @get(f"{OPEN}/{{log_id:uuid}}/vkey", opt=_PUBLIC, media_type=MediaType.TEXT)
    async def open_vkey(log_id: UUID) -> Response[str]:
        """Give a published log's verifier key, as a line."""
        async with database.transaction(await open_scope(log_id)) as tx:
            log = await get_log(tx, log_id, dropped_too=True)
        return Response(vkey_of(log) + "\n", media_type=MediaType.TEXT)

    @get(f"{OPEN}/{{log_id:uuid}}/tile/{{name:path}}", opt=_PUBLIC | _TILE, media_type=OCTETS)
    async def open_tile(request: Request[Any, Any, Any], log_id: UUID, name: TileName) -> Response[bytes]:
        """Give a published log's tile of hashes; its entries are not public."""
        if read_tile_name(f"tile{name}").level == ENTRIES_LEVEL:
            raise TileNotFound
        async with database.transaction(await open_scope(log_id)) as tx:
            content, wanted = await _read(tx, high_water, log_id, name)
        return _tile_response(request, content, wanted, "public", {})

    return [open_checkpoint, open_vkey, open_tile]


async def _read(tx: Transaction, high_water: HighWaterGuard, log_id: UUID, name: str) -> tuple[bytes, Tile]:
    log = await get_log(tx, log_id)
    wanted = read_tile_name(f"tile{name}")
    content = await tile_content(tx, log, wanted)
    await high_water.cover(tx, log, entries_below(wanted))
    return content, wanted


def _tile_response(
    request: Request[Any, Any, Any], content: bytes, tile: Tile, shared: str, headers: dict[str, str]
) -> Response[bytes]:
    age_s = _FULL_AGE_S if tile.is_full else _PARTIAL_AGE_S
    caching = f"{shared}, max-age={age_s}, immutable"
    return answer(request, content, media_type=OCTETS, caching=caching, headers=headers)


def _accepts_gzip(accepted: str) -> bool:
    """Say whether the client takes gzip (RFC 9110 §12.5.3); what it would like better is not weighed."""
    for offer in accepted.lower().split(","):
        coding, _, weight = offer.replace(" ", "").partition(";q=")
        if coding == GZIP:
            return not weight or bool(weight.strip("0."))
    return False
