"""The key store: one data key for each person and service, wrapped, in a database of its own, destroyed on erasure.

What a service must read itself (answers, names to show) it encrypts under the person's data key (XChaCha20-Poly1305).
The key lies wrapped under a key-encryption key of an epoch, which is outside every database. Destroying leaves the
row as a tombstone, so that a late event cannot bring the person's key back to life.

What remains after ``destroy``: dead row versions until autovacuum (set to run at once on this table), and the
write-ahead log and backups until they expire; those hold the wrapped key only, and the epoch's key-encryption key is
destroyed when they have expired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import nacl.exceptions
import nacl.utils
from nacl.secret import Aead
from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, Text, Uuid, func, select
from sqlalchemy.dialects.postgresql import insert

from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import Database
from tallystick_chassis.ids import TenantId
from tallystick_chassis.policies import app_role, silo
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import key_encryption_keys
from tallystick_chassis.telemetry import get_log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from alembic.operations import Operations
    from sqlalchemy import Row

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.http.key_file import KeyFile
    from tallystick_chassis.settings import KeyEncryptionKeys
    from tallystick_chassis.transaction import Transaction

_METADATA = MetaData()
data_keys = Table(
    "data_keys",
    _METADATA,
    Column("tenant_id", Uuid, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("wrapped", LargeBinary),
    Column("epoch", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("destroyed_at", DateTime(timezone=True)),
)


class KeyStoreError(Exception):
    """A key could not be used."""


class KeyUnknown(KeyStoreError):
    """There is no data key for this subject, and none was to be made."""


class KeyDestroyed(KeyStoreError):
    """The subject was erased: the key is gone and never comes back."""


class EpochUnknown(KeyStoreError):
    """The key-encryption key of the epoch is not here any more (or not yet)."""


class CiphertextInvalid(KeyStoreError):
    """The bytes were not made with this key for this purpose, or were changed."""


class Rewrapped(NamedTuple):
    """How many keys were wrapped anew, and the names of those that do not open and were left as they are."""

    moved: int
    closed: Sequence[str]


@dataclass(frozen=True, slots=True)
class DataKey:
    """The data key of one subject in one tenant."""

    tenant: TenantId
    subject: str
    _key: bytes = field(repr=False)

    def encrypt(self, plaintext: bytes, *, aad: bytes) -> bytes:
        """Return nonce (24 bytes) and ciphertext. ``aad`` names the purpose, such as ``b"answer:<attempt>:<item>"``.

        Tenant, subject and purpose are bound in: a ciphertext that is moved to another row does not open.
        """
        return bytes(Aead(self._key).encrypt(plaintext, aad=self._bound(aad)))

    def decrypt(self, ciphertext: bytes, *, aad: bytes) -> bytes:
        """Return the plaintext that ``encrypt`` got, with the same ``aad``.

        Raises:
            CiphertextInvalid: if the bytes are not its output for this key and purpose.
        """
        try:
            return bytes(Aead(self._key).decrypt(ciphertext, aad=self._bound(aad)))
        except (nacl.exceptions.CryptoError, ValueError):
            raise CiphertextInvalid from None

    def _bound(self, purpose: bytes) -> bytes:
        return _bound("data", str(self.tenant), self.subject) + purpose


class KeyWrap:
    """Wraps keys under key-encryption keys by epoch (XChaCha20-Poly1305); new ones under the newest epoch.

    With ``file`` it follows the file of the key-encryption keys while the process runs: once a second, and at once
    where a key is wrapped under an epoch that it does not know.
    """

    def __init__(self, keys: KeyEncryptionKeys, *, file: KeyFile | None = None) -> None:
        self._keys = keys
        self._file = file

    @property
    def epoch(self) -> str:
        """The epoch under which keys are wrapped now; ask once for each row, since the file may change in between."""
        self._look()
        return self._keys.newest

    def wrap_under(self, epoch: str, key: bytes, *, tenant: TenantId, subject: str) -> bytes:
        """Return ``key`` wrapped for ``subject`` under a known epoch."""
        return bytes(Aead(bytes(self._keys[epoch])).encrypt(key, aad=_bound("wrap", epoch, str(tenant), subject)))

    def unwrap(self, wrapped: bytes, *, epoch: str, tenant: TenantId, subject: str) -> bytes:
        """Return the key that was wrapped.

        Raises:
            EpochUnknown: if the epoch's key is gone.
            CiphertextInvalid: if the bytes belong to another subject or were changed.
        """
        if epoch not in self._keys:
            self._look(at_once=True)
        kek = self._keys.get(epoch)
        if kek is None:
            raise EpochUnknown(epoch)
        try:
            return bytes(Aead(bytes(kek)).decrypt(wrapped, aad=_bound("wrap", epoch, str(tenant), subject)))
        except (nacl.exceptions.CryptoError, ValueError):
            raise CiphertextInvalid from None

    def _look(self, *, at_once: bool = False) -> None:
        found = None if self._file is None else self._file.read_if_changed(at_once=at_once)
        if found is not None:
            try:
                self._keys = key_encryption_keys(found.decode())
            except ValueError:
                # Half a file, or somebody's slip: what was known goes on.
                get_log().error("key_encryption_keys_unreadable")


class KeyStore:
    """One service's data keys. Nothing is cached: a key that another process destroyed is gone here at once."""

    def __init__(self, database: Database, keys: KeyEncryptionKeys, *, file: KeyFile | None = None) -> None:
        self._database = database
        self._wrap = KeyWrap(keys, file=file)

    @classmethod
    def connect(
        cls,
        dsn: str,
        service: str,
        keys: KeyEncryptionKeys,
        *,
        pool_size: int = 4,
        ca_file: Path | None = None,
        clock: Clock = utc_now,
        file: KeyFile | None = None,
    ) -> Self:
        """Return the key store of ``service`` in the key database; connections are made when first needed."""
        database = Database(
            dsn, service, pool_size=pool_size, application_name=f"{service}-keys", ca_file=ca_file, clock=clock
        )
        return cls(database, keys, file=file)

    @property
    def epoch(self) -> str:
        """The epoch under which keys are wrapped now."""
        return self._wrap.epoch

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._database.dispose()

    async def ping(self) -> None:
        """Reach the key database, or raise."""
        await self._database.ping()

    async def data_key(self, where: Scope | TenantId, subject: str, *, create: bool = False) -> DataKey:
        """Return the data key of ``subject``, made now if there is none and ``create`` is set.

        The key store commits by itself: a key without anything encrypted under it does no harm, the reverse would.

        Raises:
            KeyUnknown: if there is none and none was to be made.
            KeyDestroyed: if the subject was erased.
        """
        scope = self._scope(where)
        async with self._database.transaction(scope) as tx:
            if create:
                await self._add(tx, {subject: nacl.utils.random(Aead.KEY_SIZE)})
            return DataKey(scope.tenant, subject, await self._open(tx, subject))

    async def add(self, where: Scope | TenantId, keys: Mapping[str, bytes]) -> None:
        """Keep ready-made keys (32 bytes each, such as X25519 private ones); a subject that has one keeps it."""
        async with self._database.transaction(self._scope(where)) as tx:
            await self._add(tx, keys)

    async def reveal(self, where: Scope | TenantId, subject: str) -> bytes:
        """Return the key of ``subject`` itself, for whoever must compute with it. Errors as for ``data_key``."""
        async with self._database.transaction(self._scope(where)) as tx:
            return await self._open(tx, subject)

    async def _add(self, tx: Transaction, keys: Mapping[str, bytes]) -> None:
        tenant, epoch = tx.scope.tenant, self._wrap.epoch
        rows = [
            {
                "tenant_id": tenant,
                "subject": subject,
                "wrapped": self._wrap.wrap_under(epoch, key, tenant=tenant, subject=subject),
                "epoch": epoch,
                "created_at": tx.clock(),
            }
            for subject, key in keys.items()
        ]
        await tx.execute(insert(data_keys).on_conflict_do_nothing(), rows)

    async def _open(self, tx: Transaction, subject: str) -> bytes:
        tenant = tx.scope.tenant
        found = await tx.execute(
            select(data_keys).where(data_keys.c.tenant_id == tenant, data_keys.c.subject == subject)
        )
        row = found.one_or_none()
        if row is None:
            raise KeyUnknown
        if row.wrapped is None:
            raise KeyDestroyed
        return self._wrap.unwrap(bytes(row.wrapped), epoch=row.epoch, tenant=tenant, subject=subject)

    async def destroy(self, where: Scope | TenantId, subject: str) -> int:
        """Destroy the subject's data key for good and return how many keys that were: 0 or 1. Safe to repeat."""
        scope = self._scope(where)
        now = self._database.clock()
        async with self._database.transaction(scope) as tx:
            # First the tombstone, so that a create that runs at the same moment waits here and then finds it.
            laid = await tx.execute(
                insert(data_keys)
                .values(
                    tenant_id=scope.tenant,
                    subject=subject,
                    wrapped=None,
                    epoch=self._wrap.epoch,
                    created_at=now,
                    destroyed_at=now,
                )
                .on_conflict_do_nothing()
                .returning(data_keys.c.subject)
            )
            if laid.first() is not None:
                return 0
            destroyed = await tx.execute(
                data_keys.update()
                .where(
                    data_keys.c.tenant_id == scope.tenant,
                    data_keys.c.subject == subject,
                    data_keys.c.destroyed_at.is_(None),
                )
                .values(wrapped=None, destroyed_at=now)
                .returning(data_keys.c.subject)
            )
            return len(destroyed.all())

    async def rewrap(self, where: Scope | TenantId, *, batch: int = 500) -> Rewrapped:
        """Wrap the tenant's keys that lie under older epochs under the newest, ``batch`` in a transaction.

        The keys themselves stay, and so does all that is encrypted under them. A destroyed key stays destroyed: rows
        are locked, and whoever destroys one at the same moment comes before or after. A key that does not open (its
        epoch's key is gone, or its row was changed) keeps no other from being moved.
        """
        scope, epoch = self._scope(where), self._wrap.epoch
        moved, closed, done_to = 0, list[str](), ""
        older = (data_keys.c.tenant_id == scope.tenant, data_keys.c.epoch != epoch, data_keys.c.wrapped.is_not(None))
        while True:
            async with self._database.transaction(scope) as tx:
                waiting = select(data_keys.c.subject).where(*older, data_keys.c.subject > done_to)
                # Not locked: a batch that somebody else is moving is no sign that there are no more.
                subjects = (await tx.execute(waiting.order_by(data_keys.c.subject).limit(batch))).scalars().all()
                if not subjects:
                    return Rewrapped(moved, closed)
                done_to = subjects[-1]
                chosen = select(data_keys).where(*older, data_keys.c.subject.in_(subjects))
                for row in (await tx.execute(chosen.with_for_update())).all():
                    if await self._move(tx, row, epoch):
                        moved += 1
                    else:
                        closed.append(f"the key of {row.subject}")

    async def _move(self, tx: Transaction, row: Row[Any], epoch: str) -> bool:
        tenant, subject = tx.scope.tenant, row.subject
        try:
            key = self._wrap.unwrap(bytes(row.wrapped), epoch=row.epoch, tenant=tenant, subject=subject)
        except KeyStoreError:
            return False
        await tx.execute(
            data_keys.update()
            .where(data_keys.c.tenant_id == tenant, data_keys.c.subject == subject)
            .values(wrapped=self._wrap.wrap_under(epoch, key, tenant=tenant, subject=subject), epoch=epoch)
        )
        return True

    async def count(self, where: Scope | TenantId) -> int:
        """Return how many living data keys the tenant has."""
        async with self._database.transaction(self._scope(where)) as tx:
            found = await tx.execute(
                select(func.count()).select_from(data_keys).where(data_keys.c.destroyed_at.is_(None))
            )
            return int(found.scalar_one())

    def _scope(self, where: Scope | TenantId) -> Scope:
        return where if isinstance(where, Scope) else Scope.for_duty(where, self._database.service)


def create_keystore_tables(op: Operations, service: str) -> None:
    """Create ``data_keys`` in the service's schema of the key database (called by its first key migration).

    The runtime role may read, add, and destroy; nothing can be put back into a destroyed row.
    """
    connection = op.get_bind().execution_options(schema_translate_map={None: service})
    _METADATA.create_all(connection, checkfirst=False)
    table = f"{service}.data_keys"
    op.execute(f"alter table {table} add constraint destroyed check ((wrapped is null) = (destroyed_at is not null))")
    op.execute(f"alter table {table} set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1)")
    silo(op, service, "data_keys", grants="select, insert, update (wrapped, destroyed_at)")
    op.execute(
        f"create function {service}.only_destroy() returns trigger language plpgsql as $$ begin "
        "if old.destroyed_at is not null or new.wrapped is not null then "
        "raise exception 'a data key can only be destroyed' using errcode = 'integrity_constraint_violation'; end if; "
        "return new; end $$"
    )
    op.execute(
        f"create trigger only_destroy before update on {table} for each row execute function {service}.only_destroy()"
    )


def allow_rewrapping(op: Operations, service: str) -> None:
    """Let the runtime role wrap a living key under a newer epoch (called by a later key migration).

    The table still refuses an older epoch, another subject, and anything at all in a destroyed row.
    """
    op.execute(f"grant update (epoch) on {service}.data_keys to {app_role(service)}")
    op.execute(
        f"create or replace function {service}.only_destroy() returns trigger language plpgsql as $$ begin "
        "if old.destroyed_at is not null or (new.wrapped is not null and "
        "(length(new.epoch), new.epoch) <= (length(old.epoch), old.epoch)) then "
        "raise exception 'a data key can only be destroyed, or wrapped under a newer epoch' "
        "using errcode = 'integrity_constraint_violation'; end if; return new; end $$"
    )


def _bound(*parts: str) -> bytes:
    """Return an unambiguous text of ``parts``: each with its length before it."""
    return b"tallystick/1" + b"".join(b"|%d:%s" % (len(part.encode()), part.encode()) for part in parts) + b"|"
