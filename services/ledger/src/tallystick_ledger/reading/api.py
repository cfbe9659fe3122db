"""Routes that read: logs, checkpoints, entries, proofs, and the public entries' proofs for the verification service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.params import Parameter, QueryParameter
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.registry import REGISTRY
from tallystick_tlog import NodeId, leaf_hash, to_base64

from tallystick_ledger.errors import LogDropped, LogFrozen
from tallystick_ledger.logs.domain import LogKey
from tallystick_ledger.reading.caching import FRESH, IMMUTABLE, TAGGED, answer
from tallystick_ledger.reading.proofs import consistency_proof, inclusion_proof, tlog_proof
from tallystick_ledger.reading.store import (
    find_public,
    get_checkpoint,
    get_line,
    get_lines,
    get_log,
    list_logs,
)
from tallystick_ledger.reading.subtrees import Subtrees

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.high_water.guard import HighWaterGuard
    from tallystick_ledger.logs.domain import Log
    from tallystick_ledger.reading.store import Line

BASE: Final = "/api/v1/ledger"
MAX_ENTRIES: Final = 200

_PUBLIC_TYPES: Final = tuple(sorted({kind.type for kind in REGISTRY if kind.public}))
_READ: Final = {"capability": Capability.LEDGER_READ}
_PROOF: Final = {"capability": Capability.PROOF_READ, REFUSES: (LogDropped, LogFrozen)}
_TAGGED: Final = _READ | TAGGED | {REFUSES: (LogDropped, LogFrozen)}

AnyRequest = Request[Any, Any, Any]
Seq = Annotated[int, Parameter(ge=0, lt=2**53)]
# `Size | None` would lose its bounds: Litestar drops those of a union's part.
Size = Annotated[int | None, Parameter(ge=1, lt=2**53)]
Limit = Annotated[int, Parameter(ge=1, le=MAX_ENTRIES)]


class LogView(msgspec.Struct, frozen=True):
    """One log. ``period`` is an audit log's month; ``closed_at`` says since when nothing more goes in.

    ``kept_until`` is the end of its retention, ``dropped_at`` since when its entries are gone.
    """

    id: UUID
    kind: str
    period: str | None
    origin: str
    size: int
    opened_at: datetime
    closed_at: datetime | None
    kept_until: datetime | None
    dropped_at: datetime | None
    vkey: str


class LogList(msgspec.Struct, frozen=True):
    """The compliance log, then the audit logs by month."""

    logs: tuple[LogView, ...]


class EntryView(msgspec.Struct, frozen=True):
    """An entry: ``line`` is the text whose bytes are hashed, ``leaf_hash`` base64."""

    log: UUID
    seq: int
    line: str
    leaf_hash: str


class EntryPage(msgspec.Struct, frozen=True):
    """Entries of one log in order; ``size`` is the log's now."""

    entries: tuple[EntryView, ...]
    size: int


class InclusionProof(msgspec.Struct, frozen=True):
    """``hashes`` (base64, from the sibling up) lead from the leaf to the root at ``size``."""

    log: str
    seq: int
    size: int
    leaf_hash: str
    hashes: tuple[str, ...]


class ConsistencyProof(msgspec.Struct, frozen=True):
    """``hashes`` (base64) show that the tree of ``to`` entries extends that of ``from`` entries."""

    log: str
    from_: int = msgspec.field(name="from")
    to: int = 0
    hashes: tuple[str, ...] = ()


class PublicEntry(msgspec.Struct, frozen=True):
    """A public entry with all it takes to check it: ``proof`` is a c2sp.org/tlog-proof@v1 file.

    ``keys`` are the signed rotations from the installation's first key to the one of ``vkey``.
    """

    line: str
    proof: str
    log: str
    seq: int
    size: int
    vkey: str
    keys: tuple[str, ...]


ChainOf = Callable[[LogKey | None], Awaitable[tuple[str, ...]]]


def reading_routes(
    *, database: Database, vkey_of: Callable[[Log], str], chain_of: ChainOf, high_water: HighWaterGuard
) -> list[ControllerRouterHandler]:
    """Return the routes; ``vkey_of`` gives a log's verifier key as text, ``chain_of`` the rotations up to its key."""
    subtrees = Subtrees(high_water.marked_size)

    @get(f"{BASE}/logs", opt=_READ)
    async def logs(tenant_scope: Scope) -> LogList:
        """List the tenant's logs."""
        async with database.transaction(tenant_scope) as tx:
            found = [(log, await _shown_size(tx, high_water, log)) for log in await list_logs(tx)]
        return LogList(tuple(_log_view(log, size, vkey_of(log)) for log, size in found))

    @get(f"{BASE}/logs/{{log_id:uuid}}/checkpoint", opt=_TAGGED, media_type=MediaType.TEXT)
    async def checkpoint(request: AnyRequest, tenant_scope: Scope, log_id: UUID, size: Size = None) -> Response[str]:
        """Give the newest checkpoint, or the one signed at ``size``, as a signed note."""
        async with database.transaction(tenant_scope) as tx:
            log = await get_log(tx, log_id, dropped_too=True)
            found = await get_checkpoint(tx, log, size or log.size)
            await high_water.show(tx, log, found.head)
        caching = IMMUTABLE if size else FRESH
        return answer(request, found.note.encode(), media_type=MediaType.TEXT, caching=caching)

    @get(f"{BASE}/logs/{{log_id:uuid}}/entries", opt=_TAGGED)
    async def entries(
        request: AnyRequest, tenant_scope: Scope, log_id: UUID, start: Seq = 0, limit: Limit = 50
    ) -> Response[EntryPage]:
        """Give entries in order from ``start``."""
        async with database.transaction(tenant_scope) as tx:
            log = await get_log(tx, log_id)
            await high_water.cover(tx, log, log.size)
            lines = await get_lines(tx, log, start, min(start + limit, log.size))
        page = EntryPage(tuple(entry_view(line) for line in lines), log.size)
        return answer(request, msgspec.json.encode(page))

    @get(f"{BASE}/logs/{{log_id:uuid}}/entries/{{seq:int}}", opt=_TAGGED)
    async def entry(request: AnyRequest, tenant_scope: Scope, log_id: UUID, seq: Seq) -> Response[EntryView]:
        """Give one entry."""
        async with database.transaction(tenant_scope) as tx:
            log = await get_log(tx, log_id)
            found = await get_line(tx, log, seq)
            await high_water.cover(tx, log, seq + 1)
        return answer(request, msgspec.json.encode(entry_view(found)), caching=IMMUTABLE)

    @get(f"{BASE}/public-entries/{{tenant:uuid}}/{{event_id:uuid}}", opt=_PROOF)
    async def public_entry(tenant_scope: Scope, tenant: UUID, event_id: UUID) -> PublicEntry:  # noqa: ARG001 - the scope is made from the tenant
        """Give a public event's entry and proof to the service that shows it to the world."""
        async with database.transaction(tenant_scope) as tx:
            line = await find_public(tx, event_id, _PUBLIC_TYPES)
            log = await get_log(tx, line.log)
            newest = await get_checkpoint(tx, log, log.size)
            await high_water.show(tx, log, newest.head)
            proof = await tlog_proof(tx, log, subtrees, line.seq)
        return PublicEntry(
            line=line.line.decode(),
            proof=proof.to_bytes().decode(),
            log=log.origin,
            seq=line.seq,
            size=log.size,
            vkey=vkey_of(log),
            keys=await chain_of(log.key),
        )

    return [logs, checkpoint, entries, entry, *_proof_routes(database, subtrees, high_water), public_entry]


def _proof_routes(database: Database, subtrees: Subtrees, high_water: HighWaterGuard) -> list[ControllerRouterHandler]:
    @get(f"{BASE}/logs/{{log_id:uuid}}/proofs/inclusion", opt=_TAGGED)
    async def inclusion(
        request: AnyRequest, tenant_scope: Scope, log_id: UUID, seq: Seq, size: Size = None
    ) -> Response[InclusionProof]:
        """Prove that an entry is in the log at ``size`` (now, if not said)."""
        async with database.transaction(tenant_scope) as tx:
            log = await get_log(tx, log_id)
            at = size or log.size
            hashes = await inclusion_proof(tx, log, subtrees, seq, at)
            await high_water.cover(tx, log, at)
            [leaf] = (await subtrees.read(tx, log, {NodeId(0, seq)})).values()  # of the same tile as its sibling
        proof = InclusionProof(log.origin, seq, at, to_base64(leaf), _base64(hashes))
        return answer(request, msgspec.json.encode(proof), caching=IMMUTABLE if size else FRESH)

    @get(f"{BASE}/logs/{{log_id:uuid}}/proofs/consistency", opt=_TAGGED)
    async def consistency(
        request: AnyRequest,
        tenant_scope: Scope,
        log_id: UUID,
        from_: Annotated[int, QueryParameter(name="from", ge=1, lt=2**53)],
        to: Size = None,
    ) -> Response[ConsistencyProof]:
        """Prove that the log at ``to`` (now, if not said) extends the log at ``from``."""
        async with database.transaction(tenant_scope) as tx:
            log = await get_log(tx, log_id)
            at = to or log.size
            hashes = await consistency_proof(tx, log, subtrees, from_, at)
            await high_water.cover(tx, log, at)
        proof = ConsistencyProof(log.origin, from_, at, _base64(hashes))
        return answer(request, msgspec.json.encode(proof), caching=IMMUTABLE if to else FRESH)

    return [inclusion, consistency]


async def _shown_size(tx: Transaction, high_water: HighWaterGuard, log: Log) -> int:
    """Return how long a log is, of one that stands still how far it was signed: the list is there all the same."""
    try:
        await high_water.cover(tx, log, log.size)
    except LogFrozen:
        return await high_water.marked_size(log.origin)
    return log.size


def _log_view(log: Log, size: int, vkey: str) -> LogView:
    return LogView(
        id=log.id,
        kind=log.kind.value,
        period=log.period,
        origin=log.origin,
        size=size,
        opened_at=log.opened_at,
        closed_at=log.closed_at,
        kept_until=log.kept_until,
        dropped_at=log.dropped_at,
        vkey=vkey,
    )


def entry_view(line: Line) -> EntryView:
    """Show an entry."""
    return EntryView(line.log, line.seq, line.line.decode(), to_base64(leaf_hash(line.line)))


def _base64(hashes: list[bytes]) -> tuple[str, ...]:
    return tuple(to_base64(item) for item in hashes)
