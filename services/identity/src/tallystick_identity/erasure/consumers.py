"""Erase what identity holds about a person, and say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.common import ErasureOutcome, StoreErasure
from tallystick_contracts.generated.identity import ErasureReceiptGiven
from tallystick_contracts.generated.privacy import ErasureOrdered

from tallystick_identity.factors.store import erase_factors
from tallystick_identity.passwords.store import erase_password
from tallystick_identity.people.store import email_index_of, scrub
from tallystick_identity.roles.commands import record_revocation
from tallystick_identity.roles.store import revoke_all_grants
from tallystick_identity.sessions.store import erase_sessions
from tallystick_identity.sign_in.store import erase_requests

if TYPE_CHECKING:
    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.service import Handler
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.envelope import Event


def erasure_handler(keys: KeyStore) -> Handler:
    """Return the handler of ``privacy.erasure.ordered``."""

    async def on_erasure_ordered(tx: Transaction, event: Event) -> None:
        """Scrub rows, destroy the data key, give the receipt; a repeated order finds its receipt and does nothing.

        The key store is another database, so the key is destroyed before this transaction commits: a crash between the
        two leaves ciphertext that nobody can read and an order that is delivered again.
        """
        order = event.data
        if not isinstance(order, ErasureOrdered):
            msg = f"{event.type} is no order to erase"
            raise TypeError(msg)
        stream = f"erasure_receipt-{order.job_id}"
        if await tx.load(stream):
            return
        now = tx.clock()
        index = await email_index_of(tx, order.person)
        counts = {
            "sign-in": await erase_requests(tx, person=order.person, email_index=index),
            "second-factors": await erase_factors(tx, order.person),
            "passwords": await erase_password(tx, order.person),
            "sessions": await erase_sessions(tx, order.person),
            "people": await scrub(tx, order.person, now=now),
        }
        for grant in await revoke_all_grants(tx, order.person, now=now):
            # In units that whoever deleted the person could not reach.
            await record_revocation(tx, grant)
        counts["data-key"] = await keys.destroy(tx.scope.tenant, order.person)
        receipt = ErasureReceiptGiven(
            job_id=order.job_id,
            person=order.person,
            stores=tuple(_report(name, items) for name, items in sorted(counts.items())),
        )
        await tx.append(stream, 0, [EventDraft(receipt, subject=None)])

    return on_erasure_ordered


def _report(name: str, items: int) -> StoreErasure:
    outcome = ErasureOutcome.ERASED if items else ErasureOutcome.NOTHING_HELD
    return StoreErasure(name=name, items=items, outcome=outcome)
