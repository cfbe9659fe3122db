"""Catching up: a source's numbered events, read from the source itself, for whoever missed them on JetStream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

import httpx
import msgspec
from sqlalchemy import and_, func, select

from tallystick_chassis.http.service_client import ServiceCallError
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import events, feed, feed_heads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

PAGE: Final = 500
_MAX_PAGE_BYTES: Final = 8 * 1024 * 1024


class FeedUnavailableError(Exception):
    """The source did not give its feed; ask again later."""


class FeedEvent(msgspec.Struct, frozen=True):
    """One numbered event; ``body`` is the event's JSON text, verbatim."""

    source_seq: int
    body: str


class FeedPage(msgspec.Struct, frozen=True):
    """Events of one aggregate after a number, without gaps, and the aggregate's ``head``: its last number."""

    events: tuple[FeedEvent, ...]
    head: int


class FeedClient(Protocol):
    """Where a consumer asks a source for what it missed."""

    async def read(self, tenant: UUID, source: str, aggregate: str, after: int) -> FeedPage:
        """Return the next page after ``after``, or raise ``FeedUnavailableError``."""


class Getter(Protocol):
    """What ``HttpFeed`` needs of an HTTP client (``httpx.AsyncClient`` and ``ServiceClient`` have it)."""

    async def get(self, url: str, *, params: Mapping[str, str | int]) -> httpx.Response:
        """Send a GET request."""


async def read_feed(tx: Transaction, aggregate: str, after: int, limit: int = PAGE) -> FeedPage:
    """Return up to ``limit`` events of ``aggregate`` after number ``after``, of the tenant of the transaction's scope.

    A page stops early at 8 MiB of bodies, but is never empty while there is more. ``head`` is 0 for an aggregate that
    has none. The scope must reach all units, else units out of reach would look like gaps.
    """
    tenant = tx.scope.tenant
    head = await tx.execute(
        select(feed_heads.c.last_seq).where(feed_heads.c.tenant_id == tenant, feed_heads.c.aggregate == aggregate)
    )
    last_seq = head.scalar() or 0
    taken_bytes = func.sum(func.length(events.c.body)).over(order_by=feed.c.source_seq) - func.length(events.c.body)
    page = (
        select(feed.c.source_seq, events.c.body, taken_bytes.label("taken_bytes"))
        .select_from(
            feed.join(events, and_(events.c.tenant_id == feed.c.tenant_id, events.c.event_id == feed.c.event_id))
        )
        .where(
            feed.c.tenant_id == tenant,
            feed.c.aggregate == aggregate,
            feed.c.source_seq > after,
            feed.c.source_seq <= after + limit,
        )
        .subquery()
    )
    rows = await tx.execute(
        select(page.c.source_seq, page.c.body).where(page.c.taken_bytes < _MAX_PAGE_BYTES).order_by(page.c.source_seq)
    )
    return FeedPage(events=tuple(FeedEvent(row.source_seq, bytes(row.body).decode()) for row in rows), head=last_seq)


class OwnFeed:
    """A service's own feed, read from its own database: it needs no HTTP to hear itself."""

    def __init__(self, database: Database) -> None:
        """Read from ``database``, the service's own."""
        self._database = database
        self.source = database.service

    async def read(self, tenant: UUID, source: str, aggregate: str, after: int) -> FeedPage:
        """Return the next page of the own feed.

        Raises:
            FeedUnavailableError: if ``source`` is another service.

        """
        if source != self.source:
            raise FeedUnavailableError(source)
        async with self._database.transaction(Scope.for_duty(TenantId(tenant), self.source)) as tx:
            return await read_feed(tx, aggregate, after)


class HttpFeed:
    """Other services' feeds over HTTP, and the own one from the database.

    ``urls`` maps a source's name to its base URL; ``client`` adds the service token. Route:
    ``GET {base}/api/v1/<source>/feed/{tenant}/{aggregate}?after=N&limit=M``.
    """

    def __init__(self, client: Getter, urls: Mapping[str, str], own: OwnFeed | None = None) -> None:
        """Remember where the sources are; ``own`` answers for its own service."""
        self._client = client
        self._urls = urls
        self._own = own

    async def read(self, tenant: UUID, source: str, aggregate: str, after: int) -> FeedPage:
        """Return the next page of ``source``'s feed.

        Raises:
            FeedUnavailableError: if the source is unknown, away, or answers anything but a page.

        """
        if self._own is not None and source == self._own.source:
            return await self._own.read(tenant, source, aggregate, after)
        base = self._urls.get(source)
        if base is None:
            raise FeedUnavailableError(source)
        url = f"{base}/api/v1/{source}/feed/{tenant}/{aggregate}"
        try:
            response = await self._client.get(url, params={"after": after, "limit": PAGE})
            response.raise_for_status()
            return msgspec.json.decode(response.content, type=FeedPage)
        except (httpx.HTTPError, ServiceCallError, OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FeedUnavailableError(source) from error
