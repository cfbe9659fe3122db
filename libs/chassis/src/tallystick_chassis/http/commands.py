"""Commands: one unsafe request, one transaction, one effect, however often it is sent.

The claim on the ``Idempotency-Key`` is the transaction's first row. A second request with the same key waits at that
row until the first has committed, then gets the same answer; if the first failed, nothing of it is left and the
second does the work. Keys are forgotten after some days (``pruning.py``).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from litestar import Response
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from tallystick_chassis.http.problems import BadRequest, ConcurrentChange, Problem
from tallystick_chassis.tables import idempotency
from tallystick_chassis.transaction import ConcurrencyError

if TYPE_CHECKING:
    from litestar import Request

    from tallystick_chassis.database import Database
    from tallystick_chassis.scope import Scope
    from tallystick_chassis.transaction import Transaction

IDEMPOTENCY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
ATTEMPTS = 3
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_BACK_OFF_S = 0.02

T = TypeVar("T")


class IdempotencyKeyRequired(BadRequest):
    """An unsafe request came without the key that makes it safe to repeat."""

    code, title = "idempotency_key_required", f"Send an {IDEMPOTENCY_HEADER} header: 1 to 128 of A-Z a-z 0-9 . _ : -"


class IdempotencyKeyReused(Problem):
    """The key belongs to another request of the same person."""

    status, code, title = 422, "idempotency_key_reused", "This Idempotency-Key was used for another request"


async def perform(
    request: Request[Any, Any, Any],
    scope: Scope,
    run: Callable[[Transaction], Awaitable[T]],
    *,
    status: int = 200,
) -> Response[T]:
    """Run ``run`` in one transaction in ``scope`` and answer ``status`` with its result as JSON (``None``: no body).

    The answer is stored with the key, so it may hold ids, versions and counts, never personal data. When another
    transaction was faster (``ConcurrencyError``), the whole is tried again, three times in all.

    Raises:
        IdempotencyKeyRequired, IdempotencyKeyReused, ConcurrentChange, and whatever ``run`` raises.
    """
    key = require_key(request)
    database: Database = request.app.state.runtime.database
    fingerprint = await fingerprint_of(request)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await _once(database, replace(scope, idempotency_key=key), key, fingerprint, run, status)
        except ConcurrencyError:
            if attempt == ATTEMPTS:
                raise ConcurrentChange from None
            # Jitter, so that those who collided do not collide again; not a secret.
            await asyncio.sleep(_BACK_OFF_S * attempt * random.random())  # noqa: S311 - jitter
    raise ConcurrentChange


def require_key(request: Request[Any, Any, Any]) -> str:
    """Return the request's ``Idempotency-Key``.

    Raises:
        IdempotencyKeyRequired: if it has none, or one of another form.
    """
    key = request.headers.get(IDEMPOTENCY_HEADER, "")
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyRequired
    return key


async def fingerprint_of(request: Request[Any, Any, Any]) -> bytes:
    """Return 32 bytes that stand for the request: SHA-256 of method, path with query, and SHA-256 of the body."""
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    target = path + b"?" + request.scope["query_string"]
    body_hash = hashlib.sha256(await request.body()).digest()
    return hashlib.sha256(b"\n".join([request.method.encode(), target, body_hash])).digest()


async def _once(  # noqa: PLR0917 - one call's whole state, in the order it is used
    database: Database,
    scope: Scope,
    key: str,
    fingerprint: bytes,
    run: Callable[[Transaction], Awaitable[T]],
    status: int,
) -> Response[T]:
    async with database.transaction(scope) as tx:
        mine = {"tenant_id": scope.tenant, "actor": scope.actor, "key": key}
        claim = await tx.execute(
            insert(idempotency)
            .values(**mine, fingerprint=fingerprint, correlation=scope.correlation, created_at=database.clock())
            .on_conflict_do_nothing()
            .returning(idempotency.c.key)
        )
        where = [idempotency.c[column] == value for column, value in mine.items()]
        if claim.first() is None:
            earlier = (await tx.execute(select(idempotency).where(*where))).one_or_none()
            if earlier is None:
                raise ConcurrencyError  # pruned between the two statements: the key is a new one now
            if earlier.fingerprint != fingerprint:
                raise IdempotencyKeyReused
            return _answer(earlier.body, earlier.status, replayed=True)
        result = await run(tx)
        body = b"" if result is None else msgspec.json.encode(result)
        await tx.execute(update(idempotency).where(*where).values(status=status, body=body))
    return _answer(body, status, replayed=False)


def _answer(body: bytes, status: int, *, replayed: bool) -> Response[Any]:
    # The bytes are the JSON of what the handler says that it returns; they are sent as they are.
    return Response(
        content=body,
        status_code=status,
        media_type="application/json",
        headers={REPLAYED_HEADER: "true"} if replayed else {},
    )
