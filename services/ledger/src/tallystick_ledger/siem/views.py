"""What goes into and comes out of the routes and commands of SIEM destinations."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from tallystick_ledger.siem.store import Letter, Settled

DEAD_LETTERS_SHOWN: Final = 500
HEARTBEAT_S: Final = 300

LogKindName = Literal["audit", "compliance"]


class NewDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A SIEM: ``https://host/path`` or ``syslog+tls://host:6514``.

    It gets what is recorded from now on, or ``from_beginning``; a heartbeat when nothing was sent for ``heartbeat_s``.
    ``authorization`` is sent in the header of that name, over HTTPS.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9-]{0,39}\Z")]
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    log_kinds: Annotated[tuple[LogKindName, ...], msgspec.Meta(min_length=1, max_length=2)] = ("audit", "compliance")
    heartbeat_s: Annotated[int, msgspec.Meta(ge=60, le=86_400)] = HEARTBEAT_S
    from_beginning: bool = False
    authorization: Annotated[str, msgspec.Meta(pattern=r"\A[!-~][ -~]{0,2047}\Z")] | None = None


class DestinationState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether anything is sent; nothing is left out while it is not."""

    paused: bool


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send again: all since a time, or one log from an entry on, or everything."""

    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    log_id: UUID | None = None
    seq: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None


class DestinationView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A destination. ``waiting`` entries are not taken yet; ``attempts`` are its failures in a row, ``fault`` the last.

    ``secret`` is what batches are signed with: in the answer that made the destination, and never after.
    """

    id: UUID
    name: str
    kind: str
    address: str
    log_kinds: tuple[str, ...]
    heartbeat_s: int
    created_by: str
    created_at: datetime
    paused: bool
    attempts: int
    waiting: int
    dead_letters: int
    test_waits: bool
    fault: str | None = None
    tried_at: datetime | None = None
    taken_at: datetime | None = None
    secret: str | None = None


class DestinationList(msgspec.Struct, frozen=True):
    """The tenant's destinations, oldest first."""

    destinations: tuple[DestinationView, ...]


class DeadLetterView(msgspec.Struct, frozen=True):
    """An entry that the receiver refused with ``status``; it stands in its log, and a replay sends it again."""

    log_id: UUID
    seq: int
    event_id: UUID
    type: str
    status: int
    refused_at: datetime


class DeadLetterList(msgspec.Struct, frozen=True):
    """What a destination refused and has not taken since, oldest first, the first 500."""

    dead_letters: tuple[DeadLetterView, ...]


class DestinationRemoved(msgspec.Struct, frozen=True):
    """Nothing is sent there any more."""

    id: UUID


def view(one: Settled) -> DestinationView:
    """Return a destination as it is shown."""
    return DestinationView(
        id=one.id,
        name=one.name,
        kind=one.kind,
        address=one.address,
        log_kinds=tuple(one.log_kinds),
        heartbeat_s=one.heartbeat_s,
        created_by=one.created_by,
        created_at=one.created_at,
        paused=one.paused,
        attempts=one.attempts,
        waiting=one.waiting,
        dead_letters=one.dead_letters,
        test_waits=one.test_waits,
        fault=one.fault,
        tried_at=one.tried_at,
        taken_at=one.taken_at,
    )


def letter_view(one: Letter) -> DeadLetterView:
    """Return a dead letter as it is shown."""
    return DeadLetterView(
        log_id=one.log,
        seq=one.seq,
        event_id=one.event_id,
        type=one.type,
        status=one.status,
        refused_at=one.refused_at,
    )
