"""Introspection: whose session a token is, and what that person may do where, as identity knows it now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import msgspec

from tallystick_chassis.http.problems import Unavailable
from tallystick_chassis.http.service_client import ServiceCallError

if TYPE_CHECKING:
    from tallystick_chassis.http.service_client import ServiceClient
    from tallystick_chassis.http.session_memory import SessionMemory

INTROSPECT_PATH = "/api/v1/identity/introspect"
ASK_TIMEOUT_S = 5.0
"""For the question and its repetitions: a frozen identity must lead to a 503, not to a browser that waits."""


class Grant(msgspec.Struct, frozen=True):
    """One role in some units: ``capabilities`` hold in ``units`` (subtrees already expanded), and nowhere else."""

    role: UUID
    capabilities: tuple[str, ...]
    units: tuple[UUID, ...]


class Introspection(msgspec.Struct, frozen=True, kw_only=True):
    """What identity says about a session token. If it is not ``active``, the rest is empty.

    ``csrf_sha256`` is the SHA-256 of the session's CSRF token in hex; ``auth_time`` is in seconds since 1970, and so is
    ``valid_until``, when this answer changes by the clock alone (a grant begins or ends, the session idles out). A
    ``limited`` session lacks the second factor that its person needs: it has no grants.
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
    limited: bool = False
    valid_until: float = 0.0


INACTIVE = Introspection(active=False)


class IntrospectionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The question to identity. The token travels in the body, never in an address."""

    token: str


class Authenticator(Protocol):
    """Answers for a session token whose signature and times have been checked already."""

    async def authenticate(self, token: str, *, ask: bool = False) -> Introspection:
        """Return what is known of the session. Raise ``Unavailable`` if that cannot be found out now.

        ``ask`` wants identity's own word, not what is remembered of it.
        """
        ...


class RemoteAuthenticator:
    """Asks identity over HTTPS, and need not ask again while the memory is fresh and holds the answer (ADR 0039).

    Without a memory, or with one that is stale, every request asks; simultaneous questions are asked once.
    """

    def __init__(self, client: ServiceClient, memory: SessionMemory | None = None) -> None:
        self._client = client
        self._memory = memory
        self._asking: dict[str, asyncio.Task[Introspection]] = {}

    async def authenticate(self, token: str, *, ask: bool = False) -> Introspection:
        """Return what is known of the session; with ``ask``, from identity whatever is remembered.

        Raises:
            Unavailable: if identity is needed and cannot be reached.
        """
        if ask:
            return await self._ask(token)
        if self._memory is not None and (known := self._memory.recall(token)) is not None:
            return known
        task = self._asking.get(token)
        if task is None:
            task = asyncio.create_task(self._ask(token))
            self._asking[token] = task
            task.add_done_callback(lambda _: self._asking.pop(token, None))
        # Shielded: one caller that goes away must not fail the others who wait for the same answer.
        return await asyncio.shield(task)

    async def _ask(self, token: str) -> Introspection:
        # Taken before the question: what changes after it may not be in the answer.
        moment = None if self._memory is None else self._memory.moment()
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                answer = await self._client.call(
                    "POST",
                    "identity",
                    INTROSPECT_PATH,
                    body=IntrospectionRequest(token),
                    answer=Introspection,
                    repeatable=True,
                )
        except (ServiceCallError, TimeoutError) as error:
            detail = "Sessions cannot be checked right now"
            raise Unavailable(detail) from error
        if self._memory is not None and moment is not None:
            self._memory.keep(token, answer, moment)
        return answer
