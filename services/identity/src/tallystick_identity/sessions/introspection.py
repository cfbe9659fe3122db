"""What a session token is worth right now: asked by the other services over HTTPS and by identity itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.http.csrf import csrf_sha256, csrf_token
from tallystick_chassis.http.introspection import INACTIVE, Grant, Introspection
from tallystick_chassis.http.tokens import TokenError
from tallystick_chassis.ids import SERVICE_KEY_PREFIX, TenantId
from tallystick_chassis.scope import Scope

from tallystick_identity.factors.domain import needed
from tallystick_identity.factors.store import has_factor_and_is_staff
from tallystick_identity.people.store import find_by_ref
from tallystick_identity.request_edge import SERVICE_NAME
from tallystick_identity.roles.store import effective_grants, next_change
from tallystick_identity.service_keys.commands import KeyIntrospector
from tallystick_identity.sessions.domain import ends_at, is_live
from tallystick_identity.sessions.store import find_by_ref as find_session

if TYPE_CHECKING:
    from tallystick_chassis.database import Database
    from tallystick_chassis.http.tokens import TokenVerifier

    from tallystick_identity.sessions.domain import Timeouts


class Introspector:
    """Answers from identity's own tables: the session, the person's token version, the grants in force."""

    def __init__(self, *, database: Database, verifier: TokenVerifier, csrf_key: bytes, timeouts: Timeouts) -> None:
        self._keys = KeyIntrospector(database)
        self._idle = timeouts.idle
        self._database = database
        self._verifier = verifier
        self._csrf_key = csrf_key

    async def authenticate(self, token: str, *, ask: bool = False) -> Introspection:
        """Return what is known of the session; inactive for a token that is not ours, is too old, or was overtaken."""
        del ask  # this is the place that others ask
        if token.startswith(SERVICE_KEY_PREFIX):
            return await self._keys.introspect(token)
        try:
            claims = self._verifier.verify_session(token)
        except TokenError:
            return INACTIVE
        async with self._database.transaction(Scope.for_duty(TenantId(claims.tid), SERVICE_NAME)) as tx:
            now = tx.clock()
            session = await find_session(tx, claims.sid)
            person = await find_by_ref(tx, claims.sub)
            if session is None or person is None or not person.is_active or session.person != person.person:
                return INACTIVE
            if (
                not is_live(session, now=now, idle=self._idle)
                or not claims.tv == session.token_version == person.token_version
            ):
                return INACTIVE
            has_factor, is_staff = await has_factor_and_is_staff(tx, person.person, now=now)
            is_limited = needed(has_factor=has_factor, is_staff=is_staff, amr=session.amr) is not None
            grants = [] if is_limited else await effective_grants(tx, person.person, now=now)
            changes = await next_change(tx, person.person, now=now)
        return Introspection(
            active=True,
            tenant=claims.tid,
            person=person.person,
            session=session.session_ref,
            amr=session.amr,
            auth_time=session.auth_time,
            csrf_sha256=csrf_sha256(csrf_token(self._csrf_key, session.session_ref)),
            home_unit=person.home_unit,
            limited=is_limited,
            grants=tuple(Grant(one.grant.role_id, one.capabilities, one.units) for one in grants),
            valid_until=min(at.timestamp() for at in (ends_at(session, idle=self._idle), changes) if at is not None),
        )
