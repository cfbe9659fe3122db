"""What a provider's tokens are worth (OpenID Connect Core 1.0 §3.1.3.7, Back-Channel Logout 1.0 §2.6).

One rule before all: the algorithm is asymmetric and on our list, the key is named by ``kid`` and one that the provider
publishes. What else a header names (``jwk``, ``jku``, ``x5u``, ``crit``) is refused, not followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from authlib.oidc.core import CodeIDToken
from joserfc import jws
from joserfc.errors import JoseError

from tallystick_identity.sso.domain import LOGOUT_TOKEN_MAX_AGE, Claims, role_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_identity.sso.discovery import Directory, Metadata
    from tallystick_identity.sso.domain import Provider

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
SKEW_S: Final = 60
MAX_TOKEN_CHARS: Final = 16_384
MAX_TEXT_CHARS: Final = 255
ID_TOKEN_MAX_AGE: Final = timedelta(minutes=10)
LOGOUT_TYPE: Final = "logout+jwt"
LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
_HEADERS: Final = frozenset({"alg", "kid", "typ", "cty", "x5t", "x5t#S256"})


class TokenRefused(Exception):
    """The token is not good; ``reason`` is a fixed word for the log."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Logout:
    """Whose sessions are over: one by the provider's session id, or all of a subject's."""

    token_id: str
    subject: str | None
    session: str | None
    expires_at: datetime


class Tokens:
    """Checks tokens against the keys in a directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def id_token(
        self, provider: Provider, token: str, *, nonce: str, access_token: str, now: datetime
    ) -> dict[str, Any]:
        """Return the claims of a good ID token.

        Raises:
            TokenRefused: if it is not.
            FetchError: if the provider's keys cannot be fetched.
        """
        header, claims = await self._verified(provider, token)
        if header.get("typ", "JWT") != "JWT":
            raise TokenRefused("typ")  # noqa: EM101 - a fixed word
        _check_audience(claims, provider.client_id)
        checked = CodeIDToken(
            claims,
            header,
            options={"iss": {"essential": True, "value": provider.issuer}},
            params={"nonce": nonce, "client_id": provider.client_id, "access_token": access_token},
        )
        try:
            checked.validate(now=int(now.timestamp()), leeway=SKEW_S)
        except (JoseError, ValueError, TypeError, AttributeError):
            raise TokenRefused("claims") from None  # noqa: EM101 - a fixed word
        if not _is_text(claims.get("sub")):
            raise TokenRefused("sub")  # noqa: EM101 - a fixed word
        _check_age(claims, now=now, limit=ID_TOKEN_MAX_AGE)
        return claims

    async def logout_token(self, provider: Provider, token: str, *, now: datetime) -> Logout:
        """Return what a good logout token says. Whether it was used before is for whoever keeps what was.

        Raises:
            TokenRefused: if it is not good.
            FetchError: if the provider's keys cannot be fetched.
        """
        header, claims = await self._verified(provider, token)
        events, token_id = claims.get("events"), claims.get("jti")
        subject, session = claims.get("sub"), claims.get("sid")
        audience = claims.get("aud")
        checks = {
            # By its type it is no ID token, and an ID token is no logout token (§2.4: with `nonce` it is refused, too).
            "typ": str(header.get("typ", "")).lower() == LOGOUT_TYPE,
            "iss": claims.get("iss") == provider.issuer,
            "aud": provider.client_id in (audience if isinstance(audience, list) else [audience]),
            "events": isinstance(events, dict) and isinstance(events.get(LOGOUT_EVENT), dict),
            "nonce": "nonce" not in claims,
            "jti": _is_text(token_id),
            "sub": subject is None or _is_text(subject),
            "sid": session is None or _is_text(session),
            "whom": subject is not None or session is not None,
        }
        for name, is_good in checks.items():
            if not is_good:
                raise TokenRefused(name)
        _check_age(claims, now=now, limit=LOGOUT_TOKEN_MAX_AGE)
        issued = datetime.fromtimestamp(int(claims["iat"]), UTC)
        expires_at = issued + LOGOUT_TOKEN_MAX_AGE + timedelta(seconds=SKEW_S)
        return Logout(str(token_id), subject, session, expires_at)

    async def _verified(self, provider: Provider, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise TokenRefused("form")  # noqa: EM101 - a fixed word
        metadata = await self._directory.metadata(provider.issuer)
        try:
            signed = jws.extract_compact(token.encode())
            header = signed.headers()
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            raise TokenRefused("form") from None  # noqa: EM101 - a fixed word
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in _accepted(metadata):
            raise TokenRefused("alg")  # noqa: EM101 - a fixed word
        if not _is_text(key_id) or not set(header) <= _HEADERS:
            raise TokenRefused("header")  # noqa: EM101 - a fixed word
        key = await self._directory.key(provider.issuer, str(key_id))
        if key is None:
            raise TokenRefused("kid")  # noqa: EM101 - a fixed word
        try:
            verified = jws.deserialize_compact(token, key, algorithms=[str(algorithm)])
            return header, msgspec.json.decode(verified.payload, type=dict[str, Any])
        except (JoseError, ValueError, TypeError, RecursionError):
            raise TokenRefused("signature") from None  # noqa: EM101 - a fixed word


def claims_of(provider: Provider, token: Mapping[str, Any], userinfo: Mapping[str, Any]) -> Claims:
    """Return what was said about somebody: the ID token's word first, then that of the provider's userinfo."""
    said = {**userinfo, **token}
    amr = token.get("amr")
    methods = [*(amr if isinstance(amr, list) else ()), token.get("acr")]
    auth_time = token.get("auth_time")
    email, name, session = said.get("email"), said.get("name"), token.get("sid")
    return Claims(
        subject=str(token["sub"]),
        session=session if isinstance(session, str) and session else None,
        email=email if isinstance(email, str) else None,
        # Both from one place: userinfo's word on its own address counts for no other.
        email_verified=(token if "email" in token else userinfo).get("email_verified") is True,
        name=name if isinstance(name, str) else None,
        auth_time=None if not _is_time(auth_time) else datetime.fromtimestamp(int(auth_time or 0), UTC),
        methods=tuple(one for one in methods if isinstance(one, str)),
        values=role_values(said, provider.role_claim),
    )


def _accepted(metadata: Metadata) -> tuple[str, ...]:
    # A provider that lists its algorithms narrows ours; it cannot widen them.
    return tuple(one for one in ALGORITHMS if not metadata.algorithms or one in metadata.algorithms)


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    is_alone = audiences == [client_id]
    # A token for others as well must say that it was issued to us.
    if client_id not in audiences or ("azp" in claims and claims["azp"] != client_id):
        raise TokenRefused("aud")  # noqa: EM101 - a fixed word
    if not is_alone and claims.get("azp") != client_id:
        raise TokenRefused("azp")  # noqa: EM101 - a fixed word


def _check_age(claims: Mapping[str, Any], *, now: datetime, limit: timedelta) -> None:
    issued, expires, at = claims.get("iat"), claims.get("exp"), now.timestamp()
    if not _is_time(issued) or not _is_time(expires):
        raise TokenRefused("time")  # noqa: EM101 - a fixed word
    if not -SKEW_S <= at - int(issued) <= limit.total_seconds() + SKEW_S or at >= int(expires) + SKEW_S:  # type: ignore[arg-type] # both are numbers: just checked
        raise TokenRefused("time")  # noqa: EM101 - a fixed word


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**40


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT_CHARS
