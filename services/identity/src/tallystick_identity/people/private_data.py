"""A person's name and address in the database: ciphertext under the person's own data key, which erasure destroys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.keystore import KeyDestroyed

if TYPE_CHECKING:
    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.keystore import KeyStore

ERASED = "[erased]"


_EMAIL = b"identity.people.email"
_NAME = b"identity.people.name"
_LABEL = b"identity.sessions.label"


class PrivateData:
    """Encrypts and reads names and addresses."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def encrypt(self, tenant: TenantId, person: str, *, email: str, name: str) -> tuple[bytes, bytes]:
        """Make the person's data key and return the ciphertexts of address and name."""
        key = await self._keys.data_key(tenant, person, create=True)
        return (
            key.encrypt(email.encode(), aad=_EMAIL),
            key.encrypt(name.encode(), aad=_NAME),
        )

    async def encrypt_email(self, tenant: TenantId, person: str, email: str) -> bytes:
        """Return the ciphertext of another address of a person who has a data key."""
        key = await self._keys.data_key(tenant, person)
        return key.encrypt(email.encode(), aad=_EMAIL)

    async def encrypt_label(self, tenant: TenantId, person: str, label: str) -> bytes:
        """Return the ciphertext of a name that the person gave to a session."""
        key = await self._keys.data_key(tenant, person)
        return key.encrypt(label.encode(), aad=_LABEL)

    async def label(self, tenant: TenantId, person: str, ciphertext: bytes | None) -> str | None:
        """Return a session's name, if it has one."""
        return await self._read(tenant, person, _LABEL, ciphertext)

    async def email(self, tenant: TenantId, person: str, ciphertext: bytes | None) -> str | None:
        """Return the address, or ``None`` once erased."""
        return await self._read(tenant, person, _EMAIL, ciphertext)

    async def name(self, tenant: TenantId, person: str, ciphertext: bytes | None) -> str:
        """Return the name, or ``[erased]``."""
        return await self._read(tenant, person, _NAME, ciphertext) or ERASED

    async def _read(self, tenant: TenantId, person: str, purpose: bytes, ciphertext: bytes | None) -> str | None:
        if ciphertext is None:
            return None
        try:
            key = await self._keys.data_key(tenant, person)
        except KeyDestroyed:
            return None
        return key.decrypt(bytes(ciphertext), aad=purpose).decode()
