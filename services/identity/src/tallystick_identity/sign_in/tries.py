"""Tries at a secret: counted before they are made, for a person and address, and for the person from everywhere.

Whoever is over answers exactly as a wrong secret does. The lock is on the pair first, so that a stranger's guesses
shut the stranger out and not the owner at another address (AC-02); and a browser in which the owner has signed in
before has tries of its own, so that many strangers together do not either (ADR 47).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallystick_chassis.budgets import (
    FACTOR_PAIR,
    FACTOR_PERSON,
    FAILURES_ACCOUNT,
    FAILURES_ADDRESS,
    FAILURES_EVERYBODY,
    FAILURES_PAIR,
)
from tallystick_chassis.http.client_address import counted_as
from tallystick_chassis.http.route_limits import record_exceeded
from tallystick_chassis.ids import PersonRef, new_id
from tallystick_chassis.rate_limits import Charge
from tallystick_chassis.sealing import SealingError
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import AccountLocked, AccountUnlocked, LoginFailed, LoginFailure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tallystick_chassis.rate_limits import RateLimiter, Spent
    from tallystick_chassis.sealing import Sealer
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.generated.common import Sealed

    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.request_edge import Origin

SPRAY_ROUTE: Final = "POST /api/v1/auth/verify"


@dataclass(frozen=True, slots=True)
class Account:
    """Whose secret is tried: ``index`` is the address's blind index; nobody may have it.

    ``device`` names the browser, when it has signed in to this account before.
    """

    index: bytes
    person: PersonRow | None
    device: str | None = None


class Tries:
    """Counts tries at passwords and second factors, and records locks and failures."""

    def __init__(self, *, limiter: RateLimiter, sealer: Sealer) -> None:
        self._limiter = limiter
        self._sealer = sealer

    async def is_password_locked(self, tx: Transaction, account: Account, origin: Origin) -> bool:
        """Count a try at an account's password; say whether it is one too many.

        What is too many for its pair is not counted for the account: one stranger alone cannot spend that.
        """
        for charge in _password_charges(account, origin):
            if await self._is_locked(tx, [charge], account.person, origin):
                return True
        return False

    async def is_factor_locked(self, tx: Transaction, person: PersonRow, origin: Origin) -> bool:
        """Count a try at a person's second factor; say whether it is one too many."""
        return await self._is_locked(tx, _factor_charges(person, origin), person, origin)

    async def password_was_right(self, tx: Transaction, account: Account, origin: Origin) -> None:
        """Give the pair and the account their tries back."""
        await self._limiter.forget(tx, _password_charges(account, origin))

    async def factor_was_right(self, tx: Transaction, person: PersonRow, origin: Origin) -> None:
        """Give the person's second factor its tries back."""
        await self._limiter.forget(tx, _factor_charges(person, origin))

    async def failed(
        self,
        tx: Transaction,
        reason: LoginFailure,
        *,
        origin: Origin,
        person: PersonRow | None = None,
        login_name: str | None = None,
    ) -> None:
        """Record a failed sign-in in the tenant's log."""
        event_id = new_id()
        data = LoginFailed(
            reason=reason,
            ip=await self._sealed(tx, event_id, "ip", origin.ip),
            login_name=None if login_name is None else await self._sealed(tx, event_id, "login_name", login_name),
        )
        draft = EventDraft(
            data,
            id=event_id,
            subject=None if person is None else person.person,
            org_unit=None if person is None else person.home_unit,
        )
        await tx.append(f"login-{event_id}", 0, [draft])

    async def spray(self, platform: Transaction, origin: Origin, *, has_failed: bool) -> list[Spent]:
        """Look at the budgets of failures from one address and from everywhere, in the platform's scope.

        With ``has_failed`` one more is counted. Return those that are spent.
        """
        charges = [Charge(FAILURES_ADDRESS, counted_as(origin.ip)), Charge(FAILURES_EVERYBODY, "")]
        if not has_failed:
            return [one for one in await self._limiter.peek(platform, charges) if one.count >= one.limit]
        over = [one for one in await self._limiter.count(platform, charges) if one.is_over]
        await record_exceeded(platform, self._sealer, over, route=SPRAY_ROUTE, address=origin.ip)
        return over

    async def unlock(self, tx: Transaction, person: PersonRow, index: bytes | None, *, reason: str) -> None:
        """Give an account all its tries back but those that address pairs have used, and record who did and why."""
        charges = [Charge(FACTOR_PERSON, person.person)]
        if index is not None:
            charges.append(Charge(FAILURES_ACCOUNT, index.hex()))
        await self._limiter.forget(tx, charges)
        event_id = new_id()
        sealed = await self._sealer.for_tenant(tx, event_id=event_id, field="reason", value=reason)
        unlocked = AccountUnlocked(person=person.person, reason=sealed)
        await tx.append(
            f"account_unlock-{event_id}",
            0,
            [EventDraft(unlocked, id=event_id, subject=person.person, org_unit=person.home_unit)],
        )

    async def _is_locked(
        self, tx: Transaction, charges: Sequence[Charge], person: PersonRow | None, origin: Origin
    ) -> bool:
        spent = await self._limiter.count(tx, charges)
        for one in spent:
            if one.is_first_over and person is not None:
                event_id = new_id()
                locked = AccountLocked(
                    person=person.person,
                    budget=one.charge.budget.name,
                    ip=await self._sealed(tx, event_id, "ip", origin.ip),
                )
                await tx.append(
                    f"account_lock-{event_id}",
                    0,
                    [EventDraft(locked, id=event_id, subject=PersonRef(person.person), org_unit=person.home_unit)],
                )
        return any(one.is_over for one in spent)

    async def _sealed(self, tx: Transaction, event_id: UUID, field: str, value: str) -> Sealed | None:
        try:
            return await self._sealer.for_tenant(tx, event_id=event_id, field=field, value=value)
        except SealingError:
            return None


def _password_charges(account: Account, origin: Origin) -> list[Charge]:
    index = account.index.hex()
    if account.device is not None:
        # A browser that its owner has used spends tries of its own: whatever strangers do, it has its five.
        return [Charge(FAILURES_PAIR, f"{index} device {account.device}")]
    return [Charge(FAILURES_PAIR, f"{index} {counted_as(origin.ip)}"), Charge(FAILURES_ACCOUNT, index)]


def _factor_charges(person: PersonRow, origin: Origin) -> list[Charge]:
    return [
        Charge(FACTOR_PAIR, f"{person.person} {counted_as(origin.ip)}"),
        Charge(FACTOR_PERSON, person.person),
    ]
