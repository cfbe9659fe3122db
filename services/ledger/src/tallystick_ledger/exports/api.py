"""Routes of exports: ask for one (which is recorded), then fetch its three files, as often as needed.

The address has the size in it, so checkpoint and entries agree however much the log has grown meanwhile. The entries
are a pure function of log and size, so a download that broke is gone on with by ``Range`` and ``If-Range``.
"""

from __future__ import annotations

from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.params import Parameter
from litestar.response import Stream
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.openapi import ALSO, REFUSES
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import ConcurrencyError
from tallystick_contracts.capabilities import Capability
from tallystick_tlog import VerifierKey

from tallystick_ledger.errors import EntryNotFound, LogDropped, LogFrozen, NotExported, NotReady, RangeNotSatisfiable
from tallystick_ledger.exports.commands import create_export, record_download
from tallystick_ledger.exports.preparing import LINES_AT_ONCE
from tallystick_ledger.exports.ranges import Span, wanted
from tallystick_ledger.exports.store import entry_at, find_file, newest_export
from tallystick_ledger.reading.caching import names
from tallystick_ledger.reading.store import get_checkpoint, get_lines, get_log, get_old_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.exports.store import EntryPlace, ExportFile
    from tallystick_ledger.high_water.guard import HighWaterGuard
    from tallystick_ledger.logs.domain import Log
    from tallystick_ledger.reading.store import SignedHead

BASE: Final = "/api/v1/ledger"
ENTRIES: Final = "entries.ndjson"
CHECKPOINT: Final = "checkpoint"
VKEY: Final = "ledger.vkey"
FILES: Final = (ENTRIES, CHECKPOINT, VKEY)

NDJSON: Final = "application/x-ndjson"
_RETRY_AFTER_S: Final = 2
_EXPORT: Final = {"capability": Capability.LEDGER_EXPORT}
_FILE: Final = {
    ALSO: {HTTPStatus.OK: (NDJSON,), HTTPStatus.PARTIAL_CONTENT: (NDJSON,), HTTPStatus.NOT_MODIFIED: ()},
    REFUSES: (RangeNotSatisfiable, LogDropped, LogFrozen, NotExported),
}


class NewExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which log to export."""

    log_id: UUID


class ExportView(msgspec.Struct, frozen=True):
    """An export: ``base_url`` is what ``tally audit verify`` takes; ``files`` lie below it.

    ``state`` is ``requested`` until the entries can be fetched, then ``ready``; ``progress`` of the ``size`` entries
    are measured so far. ``bytes`` and ``sha256`` (in hex) are those of the entries' file; the digest may come last.
    """

    log_id: UUID
    origin: str
    size: int
    base_url: str
    state: str
    progress: int
    bytes: int | None
    sha256: str | None
    files: tuple[str, ...] = FILES


def export_routes(
    *, database: Database, public_url: str, first_key: bytes, high_water: HighWaterGuard
) -> list[ControllerRouterHandler]:
    """Return the routes.

    ``public_url`` is the service's own base, ``first_key`` the public key of logs that name none.
    """

    def view(log: Log, file: ExportFile) -> ExportView:
        return ExportView(
            log_id=log.id,
            origin=log.origin,
            size=file.size,
            base_url=f"{public_url}{BASE}/logs/{log.id}/export/{file.size}",
            state="requested" if file.length is None else "ready",
            progress=file.measured,
            bytes=file.length,
            sha256=None if file.sha256 is None else file.sha256.hex(),
        )

    @post(
        f"{BASE}/exports", opt=_EXPORT | {"step_up": True, REFUSES: (LogDropped, LogFrozen, NotFound)}, status_code=201
    )
    async def create(request: Request[Any, Any, Any], tenant_scope: Scope, data: NewExport) -> Response[ExportView]:
        """Export a log at its present size; the compliance log will say so."""

        async def run(tx: Transaction) -> ExportView:
            log, file = await create_export(tx, data.log_id)
            await high_water.cover(tx, log, file.size)
            return view(log, file)

        return await perform(request, tenant_scope, run, status=201)

    @get(f"{BASE}/logs/{{log_id:uuid}}/export", opt=_EXPORT | {REFUSES: (LogDropped, NotExported)})
    async def newest(tenant_scope: Scope, log_id: UUID) -> ExportView:
        """Say where the log's newest export is, and whether it is ready."""
        async with database.transaction(tenant_scope) as tx:
            log = await get_log(tx, log_id)
            size = await newest_export(tx, log)
            file = None if size is None else await find_file(tx, log, size)
        if file is None:
            raise NotExported
        return view(log, file)

    @get(
        f"{BASE}/logs/{{log_id:uuid}}/export/{{size:int}}/{{name:str}}", opt=_EXPORT | _FILE, media_type=MediaType.TEXT
    )
    async def download(
        request: Request[Any, Any, Any],
        tenant_scope: Scope,
        log_id: UUID,
        size: Annotated[int, Parameter(ge=1, lt=2**53)],
        name: Annotated[str, Parameter(max_length=40)],
    ) -> Response[str]:
        """Give one of the export's files; of the entries also a range, to go on with. Fetching them is recorded."""
        async with database.transaction(tenant_scope) as tx:
            log = await get_log(tx, log_id)
            if name not in FILES:
                raise EntryNotFound
            file = await find_file(tx, log, size)
            if file is None:
                raise NotExported
            checkpoint = await get_checkpoint(tx, log, size)
            await high_water.show(tx, log, checkpoint.head)
            vkeys = await write_vkeys(tx, log, first_key)
        if name != ENTRIES:
            text = checkpoint.note if name == CHECKPOINT else vkeys
            return Response(text, media_type=MediaType.TEXT, headers=_named(name))
        return await _entries(request, database, tenant_scope, log, file, checkpoint)

    return [create, newest, download]


async def write_vkeys(tx: Transaction, log: Log, first_key: bytes) -> str:
    """Write the log's verifier keys, one a line: the one in force first, then those that rotations have retired."""
    in_force = log.key.public if log.key else first_key
    keys = [in_force, *await get_old_keys(tx, log)]
    return "".join(f"{VerifierKey.ed25519(log.origin, key)}\n" for key in keys)


def _named(name: str) -> dict[str, str]:
    """Say what a browser is to call the file: our name, one of FILES (ASVS 5.4.1)."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _etag(log: Log, head: SignedHead) -> str:
    return f'"{sha256(log.id.bytes + head.size.to_bytes(8) + head.root).hexdigest()[:32]}"'


async def _entries(  # noqa: PLR0917 - one request's parts, handed on
    request: Request[Any, Any, Any], database: Database, scope: Scope, log: Log, file: ExportFile, head: SignedHead
) -> Response[Any]:
    """Answer with the entries or a range of them: recorded first, then streamed."""
    if file.length is None:
        raise NotReady(headers={"Retry-After": str(_RETRY_AFTER_S)})
    given, etag = request.headers, _etag(log, head)
    headers = {"ETag": etag, "Accept-Ranges": "bytes", **_named(ENTRIES)}
    if names(given.get("if-none-match"), etag):
        return Response("", status_code=HTTPStatus.NOT_MODIFIED, headers=headers, media_type=NDJSON)
    part = wanted(given.get("range"), given.get("if-range"), etag=etag, total=file.length)
    span = part or Span(0, file.length)
    headers["Content-Length"] = str(span.end - span.start)
    if part is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{file.length}"
    start = await _open(database, scope, log, file.size, span)
    return Stream(
        _bytes(database, scope, log, file.size, start, span),
        status_code=HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT,
        headers=headers,
        media_type=NDJSON,
    )


async def _open(database: Database, scope: Scope, log: Log, size: int, span: Span) -> EntryPlace:
    """Record the download and find the entry that the span begins in, in one transaction.

    Raises:
        LogDropped: its content went this moment.
    """

    async def once() -> EntryPlace:
        async with database.transaction(scope) as tx:
            await record_download(tx, log, size)
            place = await entry_at(tx, log, span.start)
            if place is None:
                raise LogDropped
            return place

    try:
        return await once()
    except ConcurrencyError:
        return await once()  # the same person's other request has recorded it


async def _bytes(  # noqa: PLR0917 - one request's parts, handed on
    database: Database, scope: Scope, log: Log, size: int, place: EntryPlace, span: Span
) -> AsyncIterator[bytes]:
    """Give the bytes of the span, some hundred lines at a time.

    Entries never change, so no transaction has to stay open while a slow client reads.
    """
    at = place.start_byte
    for start in range(place.seq, size, LINES_AT_ONCE):
        if at >= span.end:
            return
        until = min(start + LINES_AT_ONCE, size)
        async with database.transaction(scope) as tx:
            lines = await get_lines(tx, log, start, until)
        if len(lines) != until - start:
            raise LogDropped  # in mid-answer: the connection breaks, and nobody takes a part for the whole
        block = b"".join(line.line + b"\n" for line in lines)
        yield block[max(span.start - at, 0) : span.end - at]
        at += len(block)
