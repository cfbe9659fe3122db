"""The rules of single sign-on: what binds an answer to its question, who is taken in, and what a claim gives."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from tallystick_chassis.ids import OrgUnitId, TenantId

from tallystick_identity.sign_in.domain import LinkId, parse_link_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIFETIME: Final = timedelta(minutes=10)
"""How long somebody may take at their provider."""

LOGOUT_TOKEN_MAX_AGE: Final = timedelta(minutes=5)
FEDERATED: Final = "fed"
"""The ``amr`` value of a session that a provider vouched for; RFC 8176 has none for it."""

MAX_ROLE_VALUES: Final = 200
_DOMAIN: Final = re.compile(r"(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Whoever's claim holds ``claim_value`` gets the role in the unit."""

    claim_value: str
    role_id: UUID
    org_unit: OrgUnitId
    subtree: bool


@dataclass(frozen=True, slots=True)
class Provider:
    """A tenant's OpenID provider, as configured. The secret is ciphertext, bound to issuer and client id."""

    id: UUID
    version: int
    issuer: str
    client_id: str
    secret_ciphertext: bytes | None
    enabled: bool
    domains: tuple[str, ...]
    creates_accounts: bool
    role_claim: str | None
    rules: tuple[RoleRule, ...]
    makes_administrators: bool
    two_factor_values: tuple[str, ...]
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Flow:
    """One sign-in under way. ``secret`` (256 bits) lies in the browser's cookie and nowhere else.

    What the provider is told is derived from it, so no row of ours can answer for the browser.
    """

    tenant: TenantId
    id: UUID
    secret: str

    @property
    def state(self) -> str:
        """The ``state``: which sign-in this is, and a proof that this browser began it."""
        return f"{LinkId(self.tenant, self.id)}.{self._derived(b'state')}"

    @property
    def nonce(self) -> str:
        """The ``nonce`` that the ID token must repeat."""
        return self._derived(b"nonce")

    @property
    def verifier(self) -> str:
        """The PKCE code verifier (RFC 7636 §4.1): 43 characters."""
        return self._derived(b"verifier")

    def _derived(self, purpose: bytes) -> str:
        mac = hmac.digest(self.secret.encode(), b"tallystick sso v1\x00" + purpose + self.id.bytes, "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Claims:
    """What a provider said about somebody, checked: ``auth_time`` is when they last proved to it who they are."""

    subject: str
    session: str | None
    email: str | None
    email_verified: bool
    name: str | None
    auth_time: datetime | None
    methods: tuple[str, ...]
    values: tuple[str, ...]


class UnknownFlowError(Exception):
    """The ``state`` is of no sign-in that this browser began."""


def flow_of(state: str, secret: str, tenant: TenantId) -> Flow:
    """Return the sign-in that a provider's answer belongs to.

    Raises:
        UnknownFlowError: if this browser did not begin it, or in another tenant.
    """
    link = parse_link_id(state.partition(".")[0])
    if link is None or link.tenant != tenant or not secret:
        raise UnknownFlowError
    flow = Flow(tenant, link.request, secret)
    if not hmac.compare_digest(flow.state.encode(), state.encode()):
        raise UnknownFlowError
    return flow


def subject_index(key: bytes, tenant: TenantId, issuer: str, subject: str) -> bytes:
    """Return the keyed hash (32 bytes) by which somebody is found again; issuer and subject together, never one."""
    return _index(key, b"subject", tenant, issuer, subject)


def session_index(key: bytes, tenant: TenantId, issuer: str, session: str) -> bytes:
    """Return the keyed hash (32 bytes) of the provider's session id (``sid``)."""
    return _index(key, b"session", tenant, issuer, session)


def token_index(tenant: TenantId, issuer: str, token_id: str) -> bytes:
    """Return the hash (32 bytes) by which a logout token is known again; its ``jti`` is random, and no secret."""
    return hashlib.sha256(tenant.bytes + _framed(issuer) + _framed(token_id)).digest()


def _index(key: bytes, purpose: bytes, tenant: TenantId, issuer: str, value: str) -> bytes:
    message = b"tallystick sso v1\x00" + purpose + tenant.bytes + _framed(issuer) + _framed(value)
    return hmac.digest(key, message, "sha256")


def _framed(text: str) -> bytes:
    return b"%d:%s" % (len(text.encode()), text.encode())


def is_domain(text: str) -> bool:
    """Say whether ``text`` is a domain name in lower case, such as ``example.org``."""
    return _DOMAIN.fullmatch(text) is not None


def is_vouched_for(claims: Claims, domains: Sequence[str]) -> bool:
    """Say whether the provider verified an address in one of the domains that the tenant listed."""
    if not claims.email or not claims.email_verified:
        return False
    return claims.email.rpartition("@")[2].lower() in domains


def is_two_factor(claims: Claims, provider: Provider) -> bool:
    """Say whether the provider says, in a value that the tenant trusts for it, that two factors were shown."""
    return bool(set(claims.methods) & set(provider.two_factor_values))


def role_values(claims: Mapping[str, object], name: str | None) -> tuple[str, ...]:
    """Return the texts of the claim ``name``: one, or a list of them; whatever else stands there gives nothing."""
    value = claims.get(name) if name else None
    values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(one for one in values[:MAX_ROLE_VALUES] if isinstance(one, str))


def matching_rules(provider: Provider, claims: Claims) -> tuple[RoleRule, ...]:
    """Return the rules that the claims fulfil."""
    return tuple(rule for rule in provider.rules if rule.claim_value in claims.values)
