"""What a provider says about itself, and its public keys: fetched when needed, kept for ten minutes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from tallystick_identity.sso.fetch import Fault, FetchError

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick_chassis.clock import Clock

    from tallystick_identity.sso.fetch import Fetcher

KEPT_FOR: Final = timedelta(minutes=10)
REFETCH_AFTER: Final = timedelta(seconds=30)
"""A key id that is not known lets the keys be fetched again, but not at the pace of whoever sends made-up ones."""
MAX_PROVIDERS: Final = 256
MAX_KEYS: Final = 64
MIN_RSA_BITS: Final = 2_048

AsymmetricKey = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is needed of a provider's document (OpenID Connect Discovery 1.0 §3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str | None
    jwks_uri: str
    algorithms: tuple[str, ...]
    authentication_methods: tuple[str, ...]
    names_issuer_in_answers: bool


@dataclass(slots=True)
class _Known:
    metadata: Metadata
    keys: dict[str, AsymmetricKey]
    read_at: datetime
    keys_read_at: datetime


class Directory:
    """Providers by issuer, at most 256 of them, those used longest ago dropped first. One fetch at a time for each."""

    def __init__(self, *, fetcher: Fetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    async def metadata(self, issuer: str) -> Metadata:
        """Return what the provider says about itself.

        Raises:
            FetchError: if it cannot be reached, or says what cannot be worked with.
        """
        async with self._lock(issuer):
            return (await self._entry(issuer)).metadata

    async def key(self, issuer: str, key_id: str) -> AsymmetricKey | None:
        """Return the provider's key of that id; keys are fetched again for one that is not known.

        Raises:
            FetchError: if they cannot be fetched.
        """
        async with self._lock(issuer):
            entry = await self._entry(issuer)
            if key_id not in entry.keys and self._clock() >= entry.keys_read_at + REFETCH_AFTER:
                entry.keys_read_at = self._clock()
                entry.keys = await self._keys(entry.metadata.jwks_uri)
            return entry.keys.get(key_id)

    async def examine(self, issuer: str) -> tuple[Metadata, int]:
        """Fetch everything anew; return what was said, and how many usable keys there are.

        Raises:
            FetchError: saying what is wrong.
        """
        self._known.pop(issuer, None)
        async with self._lock(issuer):
            entry = await self._entry(issuer)
            return entry.metadata, len(entry.keys)

    def _lock(self, issuer: str) -> asyncio.Lock:
        if len(self._locks) > 2 * MAX_PROVIDERS:
            self._locks = {name: lock for name, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(issuer, asyncio.Lock())

    async def _entry(self, issuer: str) -> _Known:
        entry, now = self._known.get(issuer), self._clock()
        if entry is None or now >= entry.read_at + KEPT_FOR:
            metadata = self._read(issuer, await self._fetcher.get(get_well_known_url(issuer, external=True)))
            entry = _Known(metadata, await self._keys(metadata.jwks_uri), now, now)
            self._known[issuer] = entry
        self._known.move_to_end(issuer)
        while len(self._known) > MAX_PROVIDERS:
            self._known.popitem(last=False)
        return entry

    def _read(self, issuer: str, document: dict[str, object]) -> Metadata:
        said = OpenIDProviderMetadata(document)
        try:
            for name in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "response_types_supported"):
                getattr(said, f"validate_{name}")()
        except (ValueError, TypeError, AttributeError) as error:
            # The library insists on https; ours lets loopback pass where the operator has said so.
            if document.get("issuer") != issuer or '"https" scheme' not in str(error):
                raise FetchError(Fault.METADATA_IS_NOT_VALID) from None
        if document.get("issuer") != issuer:
            raise FetchError(Fault.NAMES_ANOTHER_ISSUER)
        methods = document.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise FetchError(Fault.CANNOT_DO_PKCE)
        userinfo = document.get("userinfo_endpoint")
        return Metadata(
            issuer=issuer,
            authorization_endpoint=self._address(document, "authorization_endpoint"),
            token_endpoint=self._address(document, "token_endpoint"),
            userinfo_endpoint=None if userinfo is None else self._address(document, "userinfo_endpoint"),
            jwks_uri=self._address(document, "jwks_uri"),
            algorithms=_texts(document.get("id_token_signing_alg_values_supported")),
            authentication_methods=_texts(document.get("token_endpoint_auth_methods_supported")),
            names_issuer_in_answers=document.get("authorization_response_iss_parameter_supported") is True,
        )

    def _address(self, document: dict[str, object], name: str) -> str:
        address = document.get(name)
        if not isinstance(address, str):
            raise FetchError(Fault.METADATA_LACKS_AN_ADDRESS)
        self._fetcher.check(address)
        return address

    async def _keys(self, address: str) -> dict[str, AsymmetricKey]:
        given = (await self._fetcher.get(address)).get("keys")
        keys: dict[str, AsymmetricKey] = {}
        for one in given[:MAX_KEYS] if isinstance(given, list) else ():
            key_id = one.get("kid") if isinstance(one, dict) else None
            # Shared secrets have no place here: what verifies must not be able to sign.
            if not isinstance(key_id, str) or one.get("kty") == "oct" or one.get("use", "sig") != "sig":
                continue
            try:
                key = import_key({name: value for name, value in one.items() if name not in {"d", "alg", "key_ops"}})
            except (JoseError, ValueError, TypeError, KeyError):
                continue  # an algorithm or a curve that we do not know
            if isinstance(key, RSAKey) and key.raw_value.key_size < MIN_RSA_BITS:
                continue
            if isinstance(key, RSAKey | ECKey | OKPKey):
                keys[key_id] = key
        if not keys:
            raise FetchError(Fault.PUBLISHES_NO_USABLE_KEY)
        return keys


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
