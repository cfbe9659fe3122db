"""What assessment must read itself, encrypted under data keys of its own: content, papers, answers, links.

Content keys are the tenant's, under the subject ``tenant``; a person's key has the pseudonym as its subject and is
destroyed when erasure is ordered. A ciphertext is bound to its place, so that it cannot be moved to another row.
"""

from typing import Final

from tallystick_chassis.ids import PersonRef, TenantId
from tallystick_chassis.keystore import DataKey, KeyStore, KeyUnknown

CONTENT: Final = "tenant"
_REMEMBERED: Final = 1024


class Key:
    """One data key (XChaCha20-Poly1305); get it once for an operation, however many rows that reads."""

    def __init__(self, key: DataKey) -> None:
        self._key = key

    def encrypt(self, plain: bytes, *, place: str) -> bytes:
        """Encrypt for one place."""
        return self._key.encrypt(plain, aad=place.encode())

    def decrypt(self, sealed: bytes, *, place: str) -> bytes:
        """Decrypt what ``encrypt`` made for the same place; raises CiphertextInvalid."""
        return self._key.decrypt(sealed, aad=place.encode())


class Cipher:
    """Gives out data keys; one for the whole process.

    Content keys are remembered, since nothing destroys them; people's never are: a destroyed key is gone at once.
    """

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._content: dict[TenantId, Key] = {}

    async def content(self, tenant: TenantId) -> Key:
        """Return the tenant's content key, made at first use."""
        key = self._content.get(tenant)
        if key is None:
            key = await self._made_at_first_use(tenant, CONTENT)
            if len(self._content) >= _REMEMBERED:
                self._content.clear()
            self._content[tenant] = key
        return key

    async def person(self, tenant: TenantId, person: PersonRef) -> Key:
        """Return the person's key, made at first use; raises KeyDestroyed after erasure."""
        return await self._made_at_first_use(tenant, person)

    async def destroy(self, tenant: TenantId, person: PersonRef) -> int:
        """Destroy the person's key for good and return how many keys that were, 0 or 1; again is no error."""
        return await self._keys.destroy(tenant, person)

    async def _made_at_first_use(self, tenant: TenantId, subject: str) -> Key:
        try:
            return Key(await self._keys.data_key(tenant, subject))
        except KeyUnknown:
            return Key(await self._keys.data_key(tenant, subject, create=True))
