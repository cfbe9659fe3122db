"""A service's present state as an auditor compares it with the ledger: rows of declared kinds, page by page.

Every service has the kinds of its event store; its own are declared in its ``state.py``. Fields are pseudonyms, hashes,
numbers and names of things (P0 and P1 alone): no row here says more than the events in the tenant's log do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text

from tallystick_chassis.scope import AllUnits

if TYPE_CHECKING:
    from tallystick_chassis.scope import Scope
    from tallystick_chassis.transaction import Transaction

STATE_PAGE: Final = 500
REACH: Final = "reach"
"""The kind that every service answers from the request's scope: one row for each org unit in reach."""

Value = str | int | bool | list[str] | None


class CursorError(ValueError):
    """``after`` is no key of this kind."""


@dataclass(frozen=True, slots=True)
class StateKind:
    """One kind of row. All texts but ``name`` are SQL; the table with ``tenant_id`` is called ``t``.

    ``key`` pairs each expression of the key, unique within a tenant and in index order, with its type. ``stream`` is
    the stream whose events made the row.
    """

    name: str
    source: str
    key: tuple[tuple[str, str], ...]
    stream: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def statement(self, *, first: bool) -> str:
        """Return the page's select, with parameters ``tenant``, ``limit`` and, unless ``first``, ``after0`` and on."""
        keys = [expression for expression, _ in self.key]
        columns = [f"{expression} as key{at}" for at, expression in enumerate(keys)]
        columns += [f"{self.stream} as stream", *(f"{value} as f_{name}" for name, value in self.fields.items())]
        after = ", ".join(f"cast(:after{at} as {kind})" for at, (_, kind) in enumerate(self.key))
        behind = "" if first else f" and ({', '.join(keys)}) > ({after})"
        return (
            f"select {', '.join(columns)} from {self.source} "  # noqa: S608 - declared in code, never from a request
            f"where t.tenant_id = :tenant{behind} order by {', '.join(keys)} limit :limit"
        )


class StateRow(msgspec.Struct, frozen=True):
    """One row; ``key`` names it within its kind, its parts joined by ``/``."""

    key: str
    stream: str
    fields: dict[str, Value]


class StatePage(msgspec.Struct, frozen=True):
    """Rows in order of their keys; ``next`` is the ``after`` of the following page, null on the last."""

    service: str
    kind: str
    rows: tuple[StateRow, ...]
    next: str | None


def store_kinds(service: str) -> tuple[StateKind, ...]:
    """Return the kinds of a service's event store: numbered events by aggregate, and those without a number yet."""
    facts = {
        "event_id": "e.event_id",
        "sha256": "encode(sha256(e.body), 'hex')",
        "version": "e.stream_version",
        "type": "e.type",
        "stored_at": "e.stored_at",
    }
    numbered = StateKind(
        name="event",
        source=(
            f"{service}.feed t left join {service}.events e on e.tenant_id = t.tenant_id and e.event_id = t.event_id"
        ),
        key=(("t.aggregate", "text"), ("t.source_seq", "bigint")),
        stream="e.stream",
        fields=facts,
    )
    unnumbered = StateKind(
        name="unnumbered_event",
        source=(
            f"(select u.* from {service}.events u where not exists (select from {service}.feed f "  # noqa: S608 - the service's own name
            "where f.tenant_id = u.tenant_id and f.event_id = u.event_id)) t"
        ),
        key=(("t.event_id", "uuid"),),
        stream="t.stream",
        fields={name: value.replace("e.", "t.", 1) for name, value in facts.items() if name != "sha256"}
        | {"sha256": "encode(sha256(t.body), 'hex')"},
    )
    return numbered, unnumbered


def people_directory(service: str) -> StateKind:
    """Return the kind of a service's directory of people: to whose public key personal values are sealed."""
    return StateKind(
        name="directory_person",
        source=f"{service}.directory_people t",
        key=(("t.person", "text"),),
        stream="'user-' || t.person",
        fields={
            "unit": "t.org_unit_id",
            "key_id": "t.key_id",
            "public_key": "encode(t.public_key, 'base64')",
            "erased": "t.erased_at is not null",
        },
    )


def day_keys(service: str) -> StateKind:
    """Return the kind of a service's directory of the tenant's keys of the day."""
    return StateKind(
        name="tenant_key",
        source=f"{service}.tenant_keys t",
        key=(("t.day", "date"),),
        stream="'tenant-key:' || t.day",
        fields={"key_id": "t.key_id", "public_key": "encode(t.public_key, 'base64')"},
    )


async def read_state(tx: Transaction, kind: StateKind, after: str | None, limit: int) -> StatePage:
    """Return the rows of a kind that follow ``after``, at most ``limit``, as far as the scope reaches.

    Raises:
        CursorError: ``after`` is no key of this kind.
    """
    parameters: dict[str, Any] = {"tenant": tx.scope.tenant, "limit": limit + 1}
    if after is not None:
        parameters |= _cursor(kind, after)
    found = (await tx.execute(text(kind.statement(first=after is None)), parameters)).all()
    rows = tuple(_row(kind, one) for one in found[:limit])
    return StatePage(tx.service, kind.name, rows, rows[-1].key if len(found) > limit else None)


def reach_page(service: str, scope: Scope) -> StatePage:
    """Return which org units an answer to this scope covers; ``*`` stands for all."""
    units = ["*"] if isinstance(scope.org_units, AllUnits) else sorted(map(str, scope.org_units))
    return StatePage(service, REACH, tuple(StateRow(unit, "", {}) for unit in units), None)


def _cursor(kind: StateKind, after: str) -> dict[str, object]:
    parts = after.split("/")
    if len(parts) != len(kind.key):
        raise CursorError
    kinds = [name for _, name in kind.key]
    try:
        read = [_READERS[name](part) for part, name in zip(parts, kinds, strict=True)]
    except ValueError as error:
        raise CursorError from error
    return {f"after{at}": value for at, value in enumerate(read)}


def _integer(text_: str) -> int:
    value = int(text_)
    if not -(2**63) <= value < 2**63:
        raise CursorError
    return value


def _clean(text_: str) -> str:
    if "\0" in text_:
        raise CursorError
    return text_


_READERS: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {"text": _clean, "uuid": UUID, "bigint": _integer, "date": date.fromisoformat}
)


def _plain(value: Any) -> Value:  # noqa: ANN401 - what the driver gives
    match value:
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        case UUID() | date():
            return str(value)
        case list():
            return [str(one) for one in value]
        case None | bool() | int() | str():
            return value
        case _:
            message = f"a state row cannot have a {type(value).__name__}"
            raise TypeError(message)


def _row(kind: StateKind, found: Any) -> StateRow:  # noqa: ANN401 - a row of SQLAlchemy's
    width = len(kind.key)
    fields = {name: _plain(value) for name, value in zip(kind.fields, found[width + 1 :], strict=True)}
    return StateRow("/".join(str(_plain(part)) for part in found[:width]), found[width] or "", fields)
