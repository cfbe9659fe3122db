"""Who signs a log: the writer's one seam to the keys.

The key in force stands in the log's row, which the writer has locked. It changes in the transaction that records the
rotation's entry, so all checkpoints over that entry bear the new key's signature, whoever writes them. A process whose
ring lacks the key signs nothing: its batch is rolled back and delivered again, here or elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from tallystick_contracts.generated.ledger import AuditKeyRotated, KeyRotated
from tallystick_tlog import (
    RotationError,
    Signer,
    VerifierKey,
    open_rotation,
    parse_note,
    read_checkpoint,
    rotation_name,
)
from tallystick_tlog.checkpoint import sign_checkpoint

from tallystick_ledger.errors import LedgerStateError
from tallystick_ledger.keys import store
from tallystick_ledger.keys.ring import CheckpointKeyMissingError
from tallystick_ledger.logs.domain import LogKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from tallystick_ledger.keys.ring import KeyRing
    from tallystick_ledger.keys.store import Statement
    from tallystick_ledger.logs.domain import Log
    from tallystick_ledger.writing.arrival import Arrival

log = structlog.get_logger(__name__)


class KeyRotationRefusedError(LedgerStateError):
    """A rotation does not hold, or does not continue the log's keys: nothing is recorded until someone has looked."""


class CheckpointKeys:
    """Chooses the signers of each batch, and tells others how to follow the keys.

    ``prefix`` is that of the origins: the name under which the installation's statements are signed.
    """

    def __init__(self, ring: KeyRing, prefix: str) -> None:
        self.ring = ring
        self._prefix = prefix
        self._chains: dict[bytes, tuple[str, ...]] = {}
        self._signers: dict[tuple[str, bytes], Signer] = {}

    async def signers(
        self, connection: asyncpg.Connection, ledger: Log, fresh: Sequence[Arrival], now: datetime
    ) -> tuple[LogKey, tuple[Signer, ...]]:
        """Return the key in force and who signs the checkpoint over the log and ``fresh``; store what changes it.

        The log is locked and ``fresh`` is about to be recorded in this transaction.

        Raises:
            CheckpointKeyMissingError: this process does not have the key in force.
            KeyRotationRefusedError: a rotation among the events does not hold.
        """
        key = ledger.key or await self._first_key(connection, ledger)
        changes: list[tuple[int, bytes, bytes]] = []
        for seq, arrival in enumerate(fresh, start=ledger.size):
            if isinstance(arrival.event.data, KeyRotated | AuditKeyRotated):
                turned = await self._turn(connection, ledger, key, arrival.event.data)
                if turned is not key:
                    changes.append((seq, key.public, turned.public))
                    key = turned
        signers = self._named(ledger.origin, key, now)
        if key != ledger.key:
            await store.set_key(connection, ledger, key, changes)
        return key, signers

    def ahead(
        self, ledger: Log, fresh: Sequence[Arrival], now: datetime
    ) -> tuple[tuple[Signer, ...], tuple[str, ...]] | None:
        """Return who signs, and the statements that lead to the key in force, as far as that needs no database.

        ``None``: ask under the lock. A key changes with an entry, so a batch signed with an outdated key does not
        continue its log, and the database refuses it.
        """
        key = ledger.key
        if key is None or any(isinstance(arrival.event.data, KeyRotated | AuditKeyRotated) for arrival in fresh):
            return None
        statements = self._chains.get(key.public)
        if statements is None or not self.ring.has(key.public):
            return None
        return self._named(ledger.origin, key, now), statements

    async def chain(self, connection: asyncpg.Connection, public_key: bytes | None) -> tuple[str, ...]:
        """Return the installation's statements that lead to a key: none for the first one."""
        if public_key is None:
            return ()
        if public_key not in self._chains:
            announced = await store.statements(connection)
            notes = [one.note for one in announced]
            self._chains |= {one.new: tuple(notes[:n]) for n, one in enumerate(announced, start=1)}
            # A key signs only after it was announced, so what is not there is the first one.
            self._chains.setdefault(public_key, ())
        return self._chains[public_key]

    async def sign_again(self, connection: asyncpg.Connection, note: str) -> tuple[str, tuple[str, ...]]:
        """Return a stored checkpoint as the newest announced key signs it, and the statements that lead to that key.

        A receipt given anew must be of use to a producer that knows the newest key only.
        """
        announced = await store.statements(connection)
        if not announced:
            return note, ()
        newest = announced[-1].new
        checkpoint = read_checkpoint(note.encode())
        wanted = VerifierKey.ed25519(checkpoint.origin, newest).key_id
        if all(signature.key_id != wanted for signature in parse_note(note.encode()).signatures):
            note = sign_checkpoint(checkpoint, self._signer(checkpoint.origin, newest)).decode()
        return note, tuple(one.note for one in announced)

    async def _first_key(self, connection: asyncpg.Connection, ledger: Log) -> LogKey:
        """Choose the key of a log that names none: the newest announced one for a new log, else the very first."""
        announced = await store.statements(connection)
        if not announced:
            return LogKey(self.ring.first)
        if ledger.size:
            return LogKey(announced[0].old)
        return LogKey(announced[-1].new, announced[-1].old, announced[-1].both_until)

    async def _turn(
        self, connection: asyncpg.Connection, ledger: Log, key: LogKey, data: KeyRotated | AuditKeyRotated
    ) -> LogKey:
        try:
            rotation = open_rotation(data.statement, rotation_name(ledger.origin))
        except RotationError as error:
            raise KeyRotationRefusedError(str(error)) from error
        announced = await store.statements(connection)
        order = [announced[0].old, *(one.new for one in announced)] if announced else []
        if rotation.new not in order or key.public not in order:
            msg = f"log {ledger.origin}: the installation has not announced this rotation"
            raise KeyRotationRefusedError(msg)
        if order.index(rotation.new) <= order.index(key.public):
            return key  # the log was opened when the key was announced already
        if rotation.old != key.public:
            msg = f"log {ledger.origin}: the rotation does not begin with the key in force"
            raise KeyRotationRefusedError(msg)
        statement: Statement = announced[order.index(rotation.new) - 1]
        return LogKey(rotation.new, rotation.old, statement.both_until)

    def _named(self, origin: str, key: LogKey, now: datetime) -> tuple[Signer, ...]:
        try:
            signers = [self._signer(origin, key.public)]
        except CheckpointKeyMissingError as error:
            log.error("ledger_checkpoint_key_missing", log_id=origin, reason=str(error))  # noqa: TRY400 - the reason is the message
            raise
        if key.previous is not None and key.both_until is not None and now < key.both_until:
            try:
                signers.append(self._signer(origin, key.previous))
            except CheckpointKeyMissingError as error:
                # The operator may retire a key early; those who pinned it follow the rotation instead.
                log.warning("ledger_old_checkpoint_key_missing", log_id=origin, reason=str(error))
        return tuple(signers)

    def _signer(self, origin: str, public_key: bytes) -> Signer:
        found = self._signers.get((origin, public_key))
        if found is None:
            found = self._signers[origin, public_key] = Signer(origin, self.ring.seed_of(public_key))
        return found
