"""Tokens: five-minute Ed25519 JWTs for sessions and services, issued by identity and checked everywhere.

What is accepted is fixed in advance: one algorithm, one issuer, one audience, the type the caller expects, a key we
already have. A header that names anything else (``jku``, ``jwk``, ``x5u``, ``crit``) is refused, not followed.
Sources: RFC 7519, RFC 8725, RFC 9864.
"""

from __future__ import annotations

import binascii
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from tallystick_chassis.clock import utc_now
from tallystick_chassis.http.key_file import KeyFile

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick_chassis.clock import Clock

ALGORITHM = "Ed25519"
ISSUER = "tallystick-identity"
AUDIENCE = "tallystick"
SESSION_TYPE = "at+jwt"
SERVICE_TYPE = "svc+jwt"
LIFETIME = timedelta(minutes=5)
CLOCK_SKEW_S = 5
MAX_TOKEN_CHARS = 8_192
MAX_VERIFIED = 4_096
_SERVICE_PREFIX = "service:"


class TokenError(Exception):
    """The token is not one of ours, or not one for this, or not one for now. It does not say which."""


class SessionClaims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a session token says: no name, no capability.

    ``sub`` is the pseudonym, ``rids`` role ids; times are in seconds since 1970.
    """

    iss: str
    aud: str
    sub: str
    tid: UUID
    sid: str
    rids: tuple[str, ...]
    tv: int
    amr: tuple[str, ...]
    auth_time: int
    iat: int
    nbf: int
    exp: int


class ServiceClaims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a service token says; ``sub`` is ``service:<name>``."""

    iss: str
    aud: str
    sub: str
    iat: int
    nbf: int
    exp: int


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    typ: str
    kid: str


class _Jwk(msgspec.Struct, frozen=True, omit_defaults=True):
    kid: str
    x: str
    kty: str = ""
    crv: str = ""
    d: str | None = None


class _Jwks(msgspec.Struct, frozen=True):
    keys: tuple[_Jwk, ...]


Claims = TypeVar("Claims", SessionClaims, ServiceClaims)


class TokenSigner:
    """Issues tokens with the first private key of a JWKS. Identity alone has one.

    With a ``file`` it is the first key of what that holds by now, a second after it was replaced.
    """

    def __init__(self, jwks: bytes, *, clock: Clock, file: KeyFile | None = None) -> None:
        self._clock = clock
        self._file = file
        self._take(jwks)

    @property
    def published(self) -> bytes:
        """The public keys with which its tokens are checked, as a JWKS."""
        self._look()
        return self._published

    def _take(self, jwks: bytes) -> None:
        keys = _read_keys(jwks)
        if not keys or keys[0].d is None:
            message = "the session key set has no private key"
            raise ValueError(message)
        self._kid = keys[0].kid
        self._key = _import(keys[0], private=True)
        self._published = public_jwks(jwks)

    def _look(self) -> None:
        content = None if self._file is None else self._file.read_if_changed()
        if content is None:
            return
        try:
            self._take(content)
        except ValueError:
            return  # not a key set: the key we have stays

    def issue_session(
        self,
        *,
        person: str,
        tenant: UUID,
        session: str,
        role_ids: tuple[str, ...],
        token_version: int,
        amr: tuple[str, ...],
        auth_time: int,
    ) -> str:
        """Return a session token that is valid for five minutes from now."""
        now = int(self._clock().timestamp())
        claims = SessionClaims(
            iss=ISSUER,
            aud=AUDIENCE,
            sub=person,
            tid=tenant,
            sid=session,
            rids=role_ids,
            tv=token_version,
            amr=amr,
            auth_time=auth_time,
            iat=now,
            nbf=now,
            exp=now + int(LIFETIME.total_seconds()),
        )
        return self._sign(SESSION_TYPE, claims)

    def issue_service(self, service: str) -> str:
        """Return a service token that is valid for five minutes from now."""
        now = int(self._clock().timestamp())
        claims = ServiceClaims(
            iss=ISSUER,
            aud=AUDIENCE,
            sub=_SERVICE_PREFIX + service,
            iat=now,
            nbf=now,
            exp=now + int(LIFETIME.total_seconds()),
        )
        return self._sign(SERVICE_TYPE, claims)

    def _sign(self, token_type: str, claims: SessionClaims | ServiceClaims) -> str:
        self._look()
        header = {"alg": ALGORITHM, "typ": token_type, "kid": self._kid}
        return jws.serialize_compact(header, msgspec.json.encode(claims), self._key, algorithms=[ALGORITHM])


class TokenVerifier:
    """Checks tokens against public keys. A signature that was good once is not computed again; times are looked at.

    With a ``file`` the keys are those that it holds by now: a second after it was replaced, and at once where a token
    names a key that is not known yet.
    """

    def __init__(self, jwks: bytes, *, clock: Clock, file: KeyFile | None = None) -> None:
        self._keys = _public_keys(jwks)
        self._clock = clock
        self._file = file
        self._verified: dict[str, SessionClaims] = {}

    @classmethod
    def from_file(cls, path: Path, *, clock: Clock) -> TokenVerifier:
        """Return a verifier for the keys in a JWKS file; private parts in it are ignored."""
        file = KeyFile(path)
        return cls(file.read(), clock=clock, file=file)

    def verify_session(self, token: str) -> SessionClaims:
        """Return the claims of a session token that is valid now.

        Raises:
            TokenError: otherwise.
        """
        self._look()
        known = self._verified.get(token)
        if known is not None:
            self._check_times(known)
            return known
        claims = self._verify(token, SESSION_TYPE, SessionClaims)
        if len(self._verified) >= MAX_VERIFIED:
            self._verified.clear()
        self._verified[token] = claims
        return claims

    def verify_service(self, token: str) -> str:
        """Return the name of the service whose token this is, valid now.

        Raises:
            TokenError: otherwise.
        """
        self._look()
        subject = self._verify(token, SERVICE_TYPE, ServiceClaims).sub
        if not subject.startswith(_SERVICE_PREFIX):
            raise TokenError
        return subject.removeprefix(_SERVICE_PREFIX)

    def _verify(self, token: str, token_type: str, kind: type[Claims]) -> Claims:
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise TokenError
        try:
            found = jws.extract_compact(token.encode())
            header = msgspec.convert(found.headers(), _Header)
            if header.kid not in self._keys:
                self._look(at_once=True)
            key = self._keys.get(header.kid)
            if header.alg != ALGORITHM or header.typ != token_type or key is None:
                raise TokenError
            if not jws.validate_compact(found, key, algorithms=[ALGORITHM]):
                raise TokenError
            claims = msgspec.json.decode(found.payload, type=kind)
        except (JoseError, msgspec.DecodeError, binascii.Error, ValueError, RecursionError) as error:
            raise TokenError from error
        if claims.iss != ISSUER or claims.aud != AUDIENCE:
            raise TokenError
        self._check_times(claims)
        return claims

    def _check_times(self, claims: SessionClaims | ServiceClaims) -> None:
        now = int(self._clock().timestamp())
        if claims.nbf > now + CLOCK_SKEW_S or claims.exp <= now:
            raise TokenError

    def _look(self, *, at_once: bool = False) -> None:
        content = None if self._file is None else self._file.read_if_changed(at_once=at_once)
        if content is None:
            return
        try:
            self._keys = _public_keys(content)
        except ValueError:
            return  # not a key set: the keys we have stay
        self._verified.clear()


def check_signing_keys(jwks: bytes) -> None:
    """Sign with a key set, once, before anybody depends on it.

    Raises:
        ValueError: if it is not a JWKS whose first Ed25519 key is a whole pair, private and public half.
    """
    try:
        token = TokenSigner(jwks, clock=utc_now).issue_service("check")
        TokenVerifier(public_jwks(jwks), clock=utc_now).verify_service(token)
    except (JoseError, TokenError, TypeError, ValueError):  # some of their texts show a part of a key
        message = "not a JWKS whose first key is a private Ed25519 key with its public half"
        raise ValueError(message) from None


def public_jwks(jwks: bytes) -> bytes:
    """Return the key set without its private parts, as it may be published."""
    return msgspec.json.encode(
        {
            "keys": [
                {"kty": "OKP", "crv": "Ed25519", "alg": ALGORITHM, "use": "sig", "kid": key.kid, "x": key.x}
                for key in _read_keys(jwks)
            ]
        }
    )


def _read_keys(jwks: bytes) -> tuple[_Jwk, ...]:
    try:
        keys = msgspec.json.decode(jwks, type=_Jwks).keys
    except msgspec.DecodeError:
        message = "the session key set is not a JWKS of Ed25519 keys"
        raise ValueError(message) from None
    return tuple(key for key in keys if key.kty == "OKP" and key.crv == "Ed25519")


def _public_keys(jwks: bytes) -> dict[str, OKPKey]:
    return {key.kid: _import(key, private=False) for key in _read_keys(jwks)}


def _import(key: _Jwk, *, private: bool) -> OKPKey:
    parts: dict[str, str | list[str]] = {"kty": "OKP", "crv": "Ed25519", "x": key.x, "kid": key.kid}
    if private and key.d is not None:
        parts["d"] = key.d
    return OKPKey.import_key(parts)
