"""Routes of exports: ask for one (which is recorded), then fetch its three files, as often as needed.

The address has the size in it, so checkpoint and entries agree however much the log has grown meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.params import Parameter
from litestar.response import Stream
from tallystick_chassis.http.commands import perform
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability

from tallystick_ledger.errors import EntryNotFound, NotExported
from tallystick_ledger.exports.commands import create_export
from tallystick_ledger.exports.store import is_exported, newest_export
from tallystick_ledger.reading.store import get_checkpoint, get_lines, get_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log

BASE: Final = "/api/v1/ledger"
ENTRIES: Final = "entries.ndjson"
CHECKPOINT: Final = "checkpoint"
VKEY: Final = "ledger.vkey"
FILES: Final = (ENTRIES, CHECKPOINT, VKEY)

LINES_AT_ONCE: Final = 500
_EXPORT: Final = {"capability": Capability.LEDGER_EXPORT}


class NewExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which log to export."""

    log_id: UUID


class ExportView(msgspec.Struct, frozen=True):
    """An export: ``base_url`` is what ``tally audit verify`` takes; ``files`` lie below it."""

    log_id: UUID
    origin: str
    size: int
    base_url: str
    files: tuple[str, ...] = FILES


def export_routes(
    *, database: Database, public_url: str, vkey_of: Callable[[str], str]
) -> list[ControllerRouterHandler]:
    """Return the routes.

    ``public_url`` is the service's own base, ``vkey_of`` gives an origin's verifier key as text.
    """

    def view(log: Log, size: int) -> ExportView:
        return ExportView(log.id, log.origin, size, f"{public_url}{BASE}/logs/{log.id}/export/{size}")

    @post(f"{BASE}/exports", opt={**_EXPORT, "step_up": True}, status_code=201)
    async def create(request: Request[Any, Any, Any], tenant_scope: Scope, data: NewExport) -> Response[ExportView]:
        """Export a log at its present size; the compliance log will say so."""

        async def run(tx: Transaction) -> ExportView:
            log = await create_export(tx, data.log_id)
            return view(log, log.size)

        return await perform(request, tenant_scope, run, status=201)

    @get(f"{BASE}/logs/{{log_id:uuid}}/export", opt=_EXPORT)
    async def newest(tenant_scope: Scope, log_id: UUID) -> ExportView:
        """Say where the log's newest export is."""
        async with database.transaction(tenant_scope) as tx:
            log = await get_log(tx, log_id)
            size = await newest_export(tx, log)
        if size is None:
            raise NotExported
        return view(log, size)

    @get(f"{BASE}/logs/{{log_id:uuid}}/export/{{size:int}}/{{name:str}}", opt=_EXPORT)
    async def download(
        tenant_scope: Scope,
        log_id: UUID,
        size: Annotated[int, Parameter(ge=1, lt=2**53)],
        name: Annotated[str, Parameter(max_length=40)],
    ) -> Response[str] | Stream:
        """Give one of the export's files."""
        async with database.transaction(tenant_scope) as tx:
            log = await get_log(tx, log_id)
            if name not in FILES:
                raise EntryNotFound
            if not await is_exported(tx, log, size):
                raise NotExported
            checkpoint = await get_checkpoint(tx, log, size)
        if name != ENTRIES:
            text = checkpoint.note if name == CHECKPOINT else vkey_of(log.origin) + "\n"
            return Response(text, media_type=MediaType.TEXT)
        return Stream(_lines(database, tenant_scope, log, size), media_type="application/x-ndjson")

    return [create, newest, download]


async def _lines(database: Database, scope: Scope, log: Log, size: int) -> AsyncIterator[bytes]:
    """Give the lines ``[0, size)``, each with its line feed, some hundred at a time.

    Entries never change, so no transaction has to stay open while a slow client reads.
    """
    for start in range(0, size, LINES_AT_ONCE):
        async with database.transaction(scope) as tx:
            lines = await get_lines(tx, log, start, min(start + LINES_AT_ONCE, size))
        yield b"".join(line.line + b"\n" for line in lines)
