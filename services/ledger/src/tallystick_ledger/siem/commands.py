"""Making, pausing, replaying and removing a tenant's SIEM destinations: the row and its event in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.http.outbound import OutboundError
from tallystick_chassis.http.problems import CapabilityMissing, FieldError, ValidationFailed
from tallystick_chassis.ids import new_id
from tallystick_chassis.scope import ALL_UNITS
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.ledger import (
    ReplayedLog,
    SiemDestinationAdded,
    SiemDestinationChanged,
    SiemDestinationRemoved,
    SiemDestinationReplayed,
)

from tallystick_ledger.errors import (
    BadRange,
    DestinationNameTaken,
    DestinationNotFound,
    DestinationPaused,
    TooManyDestinations,
)
from tallystick_ledger.reading.store import get_log, list_logs
from tallystick_ledger.siem import store
from tallystick_ledger.siem.domain import MAX_DESTINATIONS, AddressError, Kind, Place, read_address

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from tallystick_chassis.http.outbound import Outbound
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.message import EventData

    from tallystick_ledger.siem.secrets import Secret, SecretBox
    from tallystick_ledger.siem.store import Settled, Wanted
    from tallystick_ledger.siem.views import NewDestination


def checked_place(address: str, outbound: Outbound) -> Place:
    """Read an address that a destination may have.

    Raises:
        ValidationFailed: nothing can be sent there.
    """
    try:
        place = read_address(address)
        if place.kind is Kind.HTTPS:
            outbound.parse(address)
    except (AddressError, OutboundError) as error:
        raise ValidationFailed(errors=[FieldError(str(error), pointer="/address")]) from None
    return place


def wanted_of(asked: NewDestination, outbound: Outbound) -> tuple[Wanted, Place]:
    """Return the destination that somebody asked for, and where it is.

    Raises:
        ValidationFailed: nothing can be sent there, or not in this way.
    """
    place = checked_place(asked.address, outbound)
    if asked.authorization is not None and place.kind is not Kind.HTTPS:
        raise ValidationFailed(errors=[FieldError("is for https addresses", pointer="/authorization")])
    kinds = tuple(sorted(set(asked.log_kinds)))
    return store.Wanted(asked.name, place.kind.value, asked.address, kinds, asked.heartbeat_s), place


async def add(
    tx: Transaction, wanted: Wanted, place: Place, box: SecretBox, secret: Secret, *, from_beginning: bool
) -> Settled:
    """Make a destination; ``secret`` is stored wrapped, and shown by the caller once.

    Raises:
        CapabilityMissing: the scope does not reach the root unit, whose logs are.
        TooManyDestinations, DestinationNameTaken: as they say.
    """
    if tx.scope.org_units is not ALL_UNITS and tx.scope.root_unit not in tx.scope.org_units:
        raise CapabilityMissing
    if await store.count(tx) >= MAX_DESTINATIONS:
        raise TooManyDestinations
    destination, wrapped = new_id(), None
    if place.kind is Kind.HTTPS:
        wrapped = box.close(secret, tenant=tx.scope.tenant, destination=destination, address=wanted.address)
    if not await store.add(tx, destination, wanted, wrapped):
        raise DestinationNameTaken
    if not from_beginning:
        await store.skip_what_is_there(tx, destination, wanted.log_kinds)
    event = SiemDestinationAdded(
        destination_id=str(destination),
        kind=place.kind.value,
        host=place.host,
        port=place.port,
        log_kinds=tuple(wanted.log_kinds),
        from_beginning=from_beginning,
    )
    await _record(tx, destination, event)
    return await find(tx, destination)


async def find(tx: Transaction, destination: UUID) -> Settled:
    """Return one destination.

    Raises:
        DestinationNotFound: there is none in reach.
    """
    found = await store.find(tx, destination)
    if found is None:
        raise DestinationNotFound
    return found


async def set_paused(tx: Transaction, destination: UUID, *, paused: bool) -> Settled:
    """Send nothing until told otherwise, or go on where the stream stopped.

    Raises:
        DestinationNotFound: there is none in reach.
    """
    await find(tx, destination)
    if await (store.pause if paused else store.resume)(tx, destination):
        await _record(tx, destination, SiemDestinationChanged(destination_id=str(destination), paused=paused))
    return await find(tx, destination)


async def replay(
    tx: Transaction, destination: UUID, *, since: datetime | None = None, log: UUID | None = None, seq: int = 0
) -> Settled:
    """Send again what was recorded since a time, in every log, or the entries of one log from ``seq`` on.

    A stream that has not come so far goes on as it would.

    Raises:
        DestinationNotFound, LogNotFound, LogDropped: as they say.
        BadRange: the log is not that long.
    """
    found = await find(tx, destination)
    if log is not None:
        ledger = await get_log(tx, log)
        if seq > ledger.size:
            raise BadRange
        starts = [(ledger.id, seq)]
    else:
        logs = [one for one in await list_logs(tx) if one.kind in found.log_kinds and one.dropped_at is None]
        starts = [(one.id, 0 if since is None else await store.seq_since(tx, one, since)) for one in logs]
    back = [(ledger_id, start) for ledger_id, start in starts if await store.go_back(tx, destination, ledger_id, start)]
    if back:
        logs_back = tuple(ReplayedLog(log=str(ledger_id), seq=start) for ledger_id, start in back)
        await _record(tx, destination, SiemDestinationReplayed(destination_id=str(destination), logs=logs_back))
    return await find(tx, destination)


async def ask_for_test(tx: Transaction, destination: UUID) -> Settled:
    """Have the worker send a heartbeat at once.

    Raises:
        DestinationNotFound, DestinationPaused: as they say.
    """
    await find(tx, destination)
    if not await store.ask_for_test(tx, destination):
        raise DestinationPaused
    return await find(tx, destination)


async def remove(tx: Transaction, destination: UUID) -> None:
    """Send nothing more, for good, and forget the secret.

    Raises:
        DestinationNotFound: there is none in reach.
    """
    if not await store.remove(tx, destination):
        raise DestinationNotFound
    await _record(tx, destination, SiemDestinationRemoved(destination_id=str(destination)))


async def _record(tx: Transaction, destination: UUID, event: EventData) -> None:
    stream = f"siem_destination-{destination}"
    await tx.append(stream, len(await tx.load(stream)), [EventDraft(event)])
