"""The search over all of a tenant's logs: page by page, or everything as lines, newest or oldest first."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream
from tallystick_chassis.http.openapi import ALSO, REFUSES
from tallystick_chassis.http.problems import FieldError, Unavailable, ValidationFailed
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.topology import ServiceName

from tallystick_ledger.errors import LogFrozen
from tallystick_ledger.reading.api import BASE, EntryView, Limit, entry_view
from tallystick_ledger.reading.caching import answer
from tallystick_ledger.reading.store import get_log
from tallystick_ledger.search.domain import CursorError, Order, Search, cursor_after, read_cursor
from tallystick_ledger.search.store import find_entries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database

    from tallystick_ledger.high_water.guard import HighWaterGuard
    from tallystick_ledger.search.domain import Place
    from tallystick_ledger.search.store import Found

NDJSON: Final = "application/x-ndjson"
LINES_AT_ONCE: Final = 200

_SEARCH: Final = {
    "capability": Capability.LEDGER_READ,
    ALSO: {HTTPStatus.OK: (NDJSON,), HTTPStatus.NOT_MODIFIED: ()},
    REFUSES: (LogFrozen,),
}

# `str | None` keeps its pattern only inside Annotated with the union as a whole.
Name = Annotated[str | None, Parameter(pattern=r"^[A-Za-z0-9_.:-]{1,120}$")]


class SearchPage(msgspec.Struct, frozen=True):
    """Entries across logs by recorded time; ``next`` goes into ``after`` for the next page, absent on the last.

    ``complete`` is false where the newest entries of a log could not be looked at: ask again in a moment.
    """

    entries: tuple[EntryView, ...]
    next: str | None
    complete: bool


class SearchBehind(Unavailable):
    """The index is so far behind that newest entries would be left out of an answer that cannot say so."""

    code, title = "search_behind", "The search has not caught up with the newest entries yet"


def search_routes(database: Database, high_water: HighWaterGuard) -> list[ControllerRouterHandler]:
    """Return the route."""

    async def find(scope: Scope, asked: Search, place: Place | None, limit: int) -> tuple[list[Found], bool]:
        async with database.transaction(scope) as tx:
            found, complete = await find_entries(tx, asked, after=place, limit=limit)
        # A log's row belongs to the root unit, and whoever searches may stand below it.
        duty = Scope.for_duty(scope.tenant, ServiceName.LEDGER)
        for origin, (log_id, until) in _reached(found).items():
            if not await high_water.is_covered(origin, until):
                async with database.transaction(duty) as tx:
                    await high_water.cover(tx, await get_log(tx, log_id, dropped_too=True), until)
        return found, complete

    @get(f"{BASE}/entries", opt=_SEARCH)
    async def search(  # noqa: PLR0917 - one parameter of the query each
        request: Request[Any, Any, Any],
        tenant_scope: Scope,
        type_: Annotated[str | None, QueryParameter(name="type", pattern=r"^[a-z_]+\.[a-z_]+\.[a-z_]+$")] = None,
        actor: Name = None,
        subject: Name = None,
        correlation: Annotated[str | None, Parameter(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = None,
        stream: Annotated[str | None, Parameter(max_length=200)] = None,
        org_unit: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Order = Order.OLDEST,
        after: Annotated[str | None, Parameter(max_length=200)] = None,
        limit: Limit = 100,
    ) -> Response[SearchPage]:
        """Find entries of all logs, in the units in reach, by any of these at once; none: all of them.

        With ``Accept: application/x-ndjson`` every page comes at once, as the lines that are hashed.
        """
        wanted = {
            "type": type_,
            "actor": actor,
            "subject": subject,
            "correlation": correlation,
            "stream": stream,
            "org_unit_id": org_unit,
        }
        asked = Search(
            {column: value for column, value in wanted.items() if value is not None},
            _in_utc("since", since),
            _in_utc("until", until),
            order,
        )
        place = _read_cursor(after, order)
        if NDJSON in request.headers.get("accept", "").lower():
            pages = _pages(partial(find, tenant_scope, asked), place)
            # The first page before the first byte: what is wrong shows as a problem, not as a broken answer.
            first = await anext(pages, b"")
            lines: Response[Any] = Stream(
                _all(first, pages), media_type=NDJSON, headers={"Cache-Control": "private, no-store"}
            )
            return lines
        found, complete = await find(tenant_scope, asked, place, limit + 1)
        page = found[:limit]
        more = cursor_after(page[-1].place, order) if len(found) > limit else None
        view = SearchPage(tuple(entry_view(one.line) for one in page), more, complete)
        return answer(request, msgspec.json.encode(view), headers={"Vary": "Accept"})

    return [search]


def _reached(found: Sequence[Found]) -> dict[str, tuple[UUID, int]]:
    """Return each log in which something was found, by its origin: its id, and how far the findings reach."""
    reached: dict[str, tuple[UUID, int]] = {}
    for one in found:
        _, until = reached.get(one.origin, (one.line.log, 0))
        reached[one.origin] = one.line.log, max(until, one.line.seq + 1)
    return reached


async def _pages(
    find: Callable[[Place | None, int], Awaitable[tuple[list[Found], bool]]], place: Place | None
) -> AsyncIterator[bytes]:
    """Give the lines page by page, each in a transaction of its own: a slow client holds none open."""
    while True:
        found, complete = await find(place, LINES_AT_ONCE)
        if not complete:
            raise SearchBehind(headers={"Retry-After": "5"})
        if found:
            yield b"".join(one.line.line + b"\n" for one in found)
        if len(found) < LINES_AT_ONCE:
            return
        place = found[-1].place


async def _all(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for page in rest:
        yield page


def _read_cursor(text: str | None, order: Order) -> Place | None:
    if text is None:
        return None
    try:
        return read_cursor(text, order)
    except CursorError as error:
        raise ValidationFailed(errors=[FieldError("is not a cursor of this list", parameter="after")]) from error


def _in_utc(name: str, time: datetime | None) -> datetime | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValidationFailed(errors=[FieldError("needs its offset from UTC, such as Z", parameter=name)])
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValidationFailed(errors=[FieldError("is outside the calendar", parameter=name)]) from error
