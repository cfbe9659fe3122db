"""The worker's job: ask the ledger for each missing proof, check it here, keep it.

The answer to the public never waits for this. A proof is asked for at growing distances until it is there.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from tallystick_chassis.http.service_client import ServiceCallError
from tallystick_chassis.metric_catalogue import PROOFS_PENDING
from tallystick_chassis.metrics import gauge, is_on
from tallystick_chassis.scope import Scope

from tallystick_verification.credentials.domain import Evidence, ProofState
from tallystick_verification.proofs import store
from tallystick_verification.proofs.domain import ProofRefusedError, check_evidence, key_of_log

if TYPE_CHECKING:
    from uuid import UUID

    from tallystick_chassis.service import Runtime

    from tallystick_verification.credentials.domain import Publication
    from tallystick_verification.proofs.store import Due
    from tallystick_verification.settings import VerificationSettings

BATCH: Final = 50
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 300.0
LONGEST_PAUSE_S: Final = 15.0
MEASURE_INTERVAL_S: Final = 10.0
_DOUBLINGS: Final = 12  # beyond them every wait is the longest
_NOT_FOUND: Final = 404


class LedgerUnavailableError(Exception):
    """The ledger, or identity for the token, cannot be reached or answers with an error of its own."""


class _PublicEntry(msgspec.Struct, frozen=True):
    """The part of the ledger's answer that is used; all else is derived from these bytes."""

    line: str
    proof: str
    keys: tuple[str, ...] = ()


def wait_s(tries: int) -> float:
    """Return how long to wait after ``tries`` fruitless ones, in seconds."""
    return min(FIRST_WAIT_S * (1 << min(tries, _DOUBLINGS)), LONGEST_WAIT_S)


class ProofFetcher:
    """Fetches what is due; pauses as a whole while the ledger does not answer."""

    def __init__(self, runtime: Runtime, settings: VerificationSettings) -> None:
        self._runtime = runtime
        self._settings = settings
        self._outages = 0
        self._resume_at = 0.0
        self._measure_at = 0.0

    async def step(self) -> bool:
        """Take one batch; ``True`` when there may be more."""
        await self._measure()
        if time.monotonic() < self._resume_at:
            return False
        async with self._runtime.duty.duty() as connection:
            batch = await store.due(connection, self._runtime.clock(), BATCH)
        for one in batch:
            try:
                await self._fetch(one)
            except LedgerUnavailableError as error:
                self._outages += 1
                pause_s = min(FIRST_WAIT_S * (1 << min(self._outages, _DOUBLINGS)), LONGEST_PAUSE_S)
                self._resume_at = time.monotonic() + pause_s
                self._runtime.log.warning("proofs_wait_for_ledger", reason=str(error), delay_s=pause_s)
                return False
            self._outages = 0
        return len(batch) == BATCH

    async def _measure(self) -> None:
        if not is_on() or time.monotonic() < self._measure_at:
            return
        self._measure_at = time.monotonic() + MEASURE_INTERVAL_S
        async with self._runtime.duty.duty() as connection:
            gauge(PROOFS_PENDING, await store.pending(connection))

    async def _fetch(self, one: Due) -> None:
        runtime = self._runtime
        scope = Scope.for_duty(one.tenant, runtime.service)
        async with runtime.database.transaction(scope) as tx:
            found = await store.unproven(tx, one.reference)
        if found is None:
            return
        state, proved = ProofState.PENDING, None
        try:
            proved = await self._ask(one.tenant, found.publication)
        except ProofRefusedError as error:
            state = ProofState.REFUSED
            runtime.log.error("proof_refused", event_id=str(found.publication.event_id), reason=str(error))  # noqa: TRY400 - the reason is the message
        # No transaction is open while the ledger is asked.
        async with runtime.database.transaction(scope) as tx:
            if proved is not None:
                await store.keep(tx, one.reference, *proved)
            else:
                await store.postpone(tx, one.reference, state, timedelta(seconds=wait_s(found.tries)))

    async def _ask(self, tenant: UUID, publication: Publication) -> tuple[Evidence, str] | None:
        """Return the checked evidence and the key that signed it; ``None`` while the ledger has no such entry."""
        path = f"/api/v1/ledger/public-entries/{tenant}/{publication.event_id}"
        try:
            entry = await self._runtime.service_client.call("GET", "ledger", path, answer=_PublicEntry)
        except ServiceCallError as error:
            if error.service == "ledger" and error.status == _NOT_FOUND:
                return None
            raise LedgerUnavailableError(str(error)) from error
        key = key_of_log(self._settings.ledger_origin, tenant, self._settings.ledger_key, entry.keys)
        return check_evidence(entry.line.encode(), entry.proof.encode(), publication, key), str(key)
