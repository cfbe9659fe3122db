"""Introspection: whose session a token is, and what that person may do where, as identity knows it now."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import msgspec

from tallystick_chassis.http.problems import Unavailable
from tallystick_chassis.http.service_client import ServiceCallError

if TYPE_CHECKING:
    from tallystick_chassis.http.service_client import ServiceClient

INTROSPECT_PATH = "/api/v1/identity/introspect"
CACHE_TTL_S = 1.0
CACHE_ENTRIES = 4_096


class Grant(msgspec.Struct, frozen=True):
    """One role in some units: ``capabilities`` hold in ``units`` (subtrees already expanded), and nowhere else."""

    role: UUID
    capabilities: tuple[str, ...]
    units: tuple[UUID, ...]


class Introspection(msgspec.Struct, frozen=True, kw_only=True):
    """What identity says about a session token. If it is not ``active``, the rest is empty.

    ``csrf_sha256`` is the SHA-256 of the session's CSRF token in hex; ``auth_time`` is in seconds since 1970.
    """

    active: bool
    tenant: UUID | None = None
    person: str | None = None
    session: str | None = None
    amr: tuple[str, ...] = ()
    auth_time: int = 0
    csrf_sha256: str = ""
    home_unit: UUID | None = None
    grants: tuple[Grant, ...] = ()


INACTIVE = Introspection(active=False)


class IntrospectionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The question to identity. The token travels in the body, never in an address."""

    token: str


class Authenticator(Protocol):
    """Answers for a session token whose signature and times have been checked already."""

    async def authenticate(self, token: str) -> Introspection:
        """Return what is known of the session. Raise ``Unavailable`` if that cannot be found out now."""
        ...


class RemoteAuthenticator:
    """Asks identity over HTTPS and remembers each answer for one second; simultaneous questions are asked once."""

    def __init__(self, client: ServiceClient, *, ttl_s: float = CACHE_TTL_S) -> None:
        self._client = client
        self._ttl_s = ttl_s
        self._answers: dict[bytes, tuple[float, Introspection]] = {}
        self._asking: dict[bytes, asyncio.Task[Introspection]] = {}

    async def authenticate(self, token: str) -> Introspection:
        """Return identity's answer, at most ``ttl_s`` old.

        Raises:
            Unavailable: if identity cannot be reached.
        """
        key = hashlib.sha256(token.encode()).digest()
        known = self._answers.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(token, key))
            self._asking[key] = task
        # Shielded: one caller that goes away must not fail the others who wait for the same answer.
        return await asyncio.shield(task)

    async def _ask(self, token: str, key: bytes) -> Introspection:
        asked_at = time.monotonic()
        try:
            answer = await self._client.call(
                "POST",
                "identity",
                INTROSPECT_PATH,
                body=IntrospectionRequest(token),
                answer=Introspection,
                repeatable=True,
            )
        except ServiceCallError as error:
            detail = "Sessions cannot be checked right now"
            raise Unavailable(detail) from error
        finally:
            self._asking.pop(key, None)
        if len(self._answers) >= CACHE_ENTRIES:
            now = time.monotonic()
            self._answers = {one: kept for one, kept in self._answers.items() if kept[0] > now}
        if len(self._answers) < CACHE_ENTRIES:
            # Counted from the question, so that an answer is never used when it is older than the limit.
            self._answers[key] = (asked_at + self._ttl_s, answer)
        return answer
