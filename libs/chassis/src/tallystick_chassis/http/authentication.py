"""Who makes this request: a person by the session cookie, or a machine.

Machines are our services, by a bearer token, and customers' own, by a service key.

Signatures and times are checked here, without a question to anyone; whether the session still lives, and what its
person may do, the authenticator answers. A request with an ``Authorization`` header is a machine's: its cookies are
not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.http.problems import NotAuthenticated
from tallystick_chassis.http.tokens import TokenError
from tallystick_chassis.ids import SERVICE_KEY_PREFIX
from tallystick_chassis.service import Principal

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection

    from tallystick_chassis.http.correlation import RequestContext
    from tallystick_chassis.http.introspection import Authenticator, Introspection
    from tallystick_chassis.http.tokens import TokenVerifier

SESSION_COOKIE = "__Host-tally_session"
MAX_KEY_CHARS = 256
_BEARER = "bearer "


class Authentication:
    """Checks credentials. Without a verifier (verification has none) nobody can sign in."""

    def __init__(self, tokens: TokenVerifier | None, authenticator: Authenticator | None) -> None:
        self._tokens = tokens
        self._authenticator = authenticator

    async def authenticate(
        self,
        connection: ASGIConnection,  # type: ignore[type-arg] # any connection
        context: RequestContext,
        *,
        ask: bool = False,
    ) -> None:
        """Fill in ``context.principal`` and, for a person, ``context.introspection``.

        ``ask`` wants identity's own word, not what is remembered of it.

        Raises:
            NotAuthenticated: without valid credentials, whatever is wrong with them.
            Unavailable: if the session cannot be checked now.
        """
        if context.principal is not None:
            return
        header = connection.headers.get("authorization")
        if header is not None:
            scheme, bearer = header[: len(_BEARER)].lower(), header[len(_BEARER) :].strip()
            if scheme == _BEARER and bearer.startswith(SERVICE_KEY_PREFIX):
                context.principal, context.introspection = await self._key(bearer, ask=ask)
                return
            context.principal = self._service(header)
            context.adopt_correlation()
            return
        token = connection.cookies.get(SESSION_COOKIE)
        if not token:
            raise NotAuthenticated
        context.by_cookie = True
        context.principal, context.introspection = await self._person(token, ask=ask)

    def _service(self, header: str) -> Principal:
        if self._tokens is None or not header.lower().startswith(_BEARER):
            raise NotAuthenticated(headers={"WWW-Authenticate": "Bearer"})
        try:
            name = self._tokens.verify_service(header[len(_BEARER) :].strip())
        except TokenError:
            raise NotAuthenticated(headers={"WWW-Authenticate": "Bearer"}) from None
        return Principal(name=name, is_service=True)

    async def _key(self, key: str, *, ask: bool) -> tuple[Principal, Introspection]:
        if self._authenticator is None or len(key) > MAX_KEY_CHARS or not key.isascii():
            raise NotAuthenticated(headers={"WWW-Authenticate": "Bearer"})
        known = await self._authenticator.authenticate(key, ask=ask)
        if not known.active or known.person is None or known.session is None:
            raise NotAuthenticated(headers={"WWW-Authenticate": "Bearer"})
        return Principal(name=known.person, is_service=False, session=known.session), known

    async def _person(self, token: str, *, ask: bool) -> tuple[Principal, Introspection]:
        if self._tokens is None or self._authenticator is None:
            raise NotAuthenticated
        try:
            claims = self._tokens.verify_session(token)
        except TokenError:
            raise NotAuthenticated from None
        known = await self._authenticator.authenticate(token, ask=ask)
        # The answer must be about this token: a cache or an identity that mixes sessions up must not widen anything.
        if not known.active or (known.tenant, known.person, known.session) != (claims.tid, claims.sub, claims.sid):
            raise NotAuthenticated
        return Principal(name=claims.sub, is_service=False, session=claims.sid, auth_time=known.auth_time), known
