"""What assessment must read itself, encrypted under data keys of its own: content, papers, answers, links.

Content keys are the tenant's, under the subject ``tenant``; a person's key has the pseudonym as its subject and is
destroyed when erasure is ordered. A ciphertext is bound to its place, so that it cannot be moved to another row.
"""

from typing import Final

from tallystick_chassis.ids import PersonRef, TenantId
from tallystick_chassis.keystore import DataKey, KeyStore, KeyUnknown

CONTENT: Final = "tenant"


class Cipher:
    """XChaCha20-Poly1305 under the key store's data keys."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def encrypt_content(self, tenant: TenantId, plain: bytes, *, place: str) -> bytes:
        """Encrypt under the tenant's content key, which is made at first use."""
        key = await self._key(tenant, CONTENT)
        return key.encrypt(plain, aad=place.encode())

    async def decrypt_content(self, tenant: TenantId, sealed: bytes, *, place: str) -> bytes:
        """Decrypt what ``encrypt_content`` made for the same place."""
        key = await self._keys.data_key(tenant, CONTENT)
        return key.decrypt(sealed, aad=place.encode())

    async def encrypt_for(self, tenant: TenantId, person: PersonRef, plain: bytes, *, place: str) -> bytes:
        """Encrypt under the person's key, made at first use; raises KeyDestroyed after erasure."""
        key = await self._key(tenant, person)
        return key.encrypt(plain, aad=place.encode())

    async def decrypt_for(self, tenant: TenantId, person: PersonRef, sealed: bytes, *, place: str) -> bytes:
        """Decrypt what ``encrypt_for`` made; raises KeyDestroyed after erasure."""
        key = await self._keys.data_key(tenant, person)
        return key.decrypt(sealed, aad=place.encode())

    async def destroy(self, tenant: TenantId, person: PersonRef) -> int:
        """Destroy the person's key for good and return how many keys that were, 0 or 1; again is no error."""
        return await self._keys.destroy(tenant, person)

    async def _key(self, tenant: TenantId, subject: str) -> DataKey:
        try:
            return await self._keys.data_key(tenant, subject)
        except KeyUnknown:
            return await self._keys.data_key(tenant, subject, create=True)
