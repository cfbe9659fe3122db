"""Open, refresh and end sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from tallystick_chassis.ids import PersonRef, new_id, new_secret
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import LoginSucceeded, SessionCreated, SessionEnd, SessionRevoked

from tallystick_identity.factors.domain import MULTI_FACTOR, Need, needed
from tallystick_identity.factors.store import has_factor_and_is_staff
from tallystick_identity.people.store import find_by_ref
from tallystick_identity.roles.store import effective_grants
from tallystick_identity.sessions import store
from tallystick_identity.sessions.domain import (
    RefreshToken,
    Session,
    Timeouts,
    Verdict,
    judge_refresh,
    successor,
)
from tallystick_identity.sign_in.domain import secret_hash

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick_chassis.http.tokens import TokenSigner
    from tallystick_chassis.sealing import Sealer
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.request_edge import Origin
    from tallystick_identity.sessions.domain import Upstream

_REF_BYTES = 16


MAGIC_LINK = ("otp",)
PASSWORD = ("pwd",)
"""How somebody proved who they are by one factor: values of the ``amr`` claim (RFC 8176)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a browser is given: the session token and the refresh token, both secret, and how long to keep them.

    ``need`` is what the session lacks before it may do anything.
    """

    session_token: str
    refresh_token: str
    session_ref: str
    lifetime_s: int
    need: Need | None = None


class Sessions:
    """The commands on sessions, with what they need. ``refresh_key`` is 32 bytes."""

    def __init__(self, *, signer: TokenSigner, sealer: Sealer, refresh_key: bytes, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._signer = signer
        self._sealer = sealer
        self._refresh_key = refresh_key

    async def open(
        self,
        tx: Transaction,
        person: PersonRow,
        *,
        amr: tuple[str, ...],
        origin: Origin,
        upstream: Upstream | None = None,
        proved_at: datetime | None = None,
    ) -> Credentials:
        """Open a session for a person who has just proved who they are, by the methods in ``amr``.

        ``upstream`` is the provider that vouched for them; ``proved_at`` when they proved it there, if it was earlier.
        """
        return await self._open(
            tx,
            person,
            amr=amr,
            origin=origin,
            upstream=upstream,
            proved_at=proved_at,
            expires_at=tx.clock() + self._timeouts.absolute,
        )

    async def replace(
        self, tx: Transaction, person: PersonRow, session: Session, *, amr: tuple[str, ...], origin: Origin
    ) -> Credentials:
        """Open a session in the place of one that has ended since a factor or a password changed (ADR 84).

        Nobody has proved anything by that: the new one is no more recent a sign-in, and ends when the other would have.
        """
        return await self._open(
            tx,
            person,
            amr=amr,
            origin=origin,
            upstream=session.upstream,
            proved_at=session.proved_at or session.created_at,
            expires_at=session.expires_at,
        )

    async def _open(
        self,
        tx: Transaction,
        person: PersonRow,
        *,
        amr: tuple[str, ...],
        origin: Origin,
        upstream: Upstream | None,
        proved_at: datetime | None,
        expires_at: datetime,
    ) -> Credentials:
        now = tx.clock()
        refresh = RefreshToken(tx.scope.tenant, new_id(), new_secret())
        session = Session(
            id=refresh.session,
            person=person.person,
            session_ref="s_" + new_secret(_REF_BYTES),
            token_version=person.token_version,
            amr=amr,
            refresh_hash=secret_hash(refresh.secret),
            previous_hash=None,
            refreshed_at=now,
            created_at=now,
            expires_at=expires_at,
            ended_at=None,
            upstream=upstream,
            proved_at=proved_at,
        )
        await store.insert_session(tx, session)
        credentials = await self._credentials(tx, session, refresh)
        await self._record_opening(tx, person, session, origin, need=credentials.need)
        return credentials

    async def refresh(self, tx: Transaction, presented: RefreshToken) -> Credentials | None:
        """Rotate a refresh token; ``None`` when the session is over, or ends now because an old token came back."""
        session = await store.find_locked(tx, presented.session)
        if session is None:
            return None
        person = await find_by_ref(tx, session.person)
        if person is None or not person.is_active:
            return None
        now = tx.clock()
        verdict = judge_refresh(
            session,
            secret_hash(presented.secret),
            token_version=person.token_version,
            now=now,
            idle=self._timeouts.idle,
        )
        if verdict is Verdict.REUSED:
            await end_session(tx, session, reason=SessionEnd.REUSE)
        if verdict in {Verdict.REUSED, Verdict.OVER}:
            return None
        secret = successor(self._refresh_key, session.id, presented.secret)
        if verdict is Verdict.ROTATE:
            await store.rotate(tx, session.id, refresh_hash=secret_hash(secret), now=now)
        return await self._credentials(tx, session, RefreshToken(tx.scope.tenant, session.id, secret))

    async def _credentials(self, tx: Transaction, session: Session, refresh: RefreshToken) -> Credentials:
        now = tx.clock()
        has_factor, is_staff = await has_factor_and_is_staff(tx, session.person, now=now)
        need = needed(has_factor=has_factor, is_staff=is_staff, amr=session.amr)
        # A session that lacks its second factor carries no role: whoever checks the token alone gives it nothing.
        grants = [] if need else await effective_grants(tx, session.person, now=now)
        token = self._signer.issue_session(
            person=session.person,
            tenant=tx.scope.tenant,
            session=session.session_ref,
            role_ids=tuple(sorted({str(one.grant.role_id) for one in grants})),
            token_version=session.token_version,
            amr=session.amr,
            auth_time=session.auth_time,
        )
        lifetime = session.expires_at - tx.clock()
        return Credentials(token, str(refresh), session.session_ref, int(lifetime.total_seconds()), need)

    async def _record_opening(
        self, tx: Transaction, person: PersonRow, session: Session, origin: Origin, *, need: Need | None
    ) -> None:
        """Record the session, and the sign-in: once, when it has shown all the factors that it needs."""
        streams: tuple[tuple[str, type[LoginSucceeded | SessionCreated]], ...] = (
            (f"login-{session.session_ref}", LoginSucceeded),
            (f"session-{session.session_ref}", SessionCreated),
        )
        for stream, kind in streams:
            if need is not None and kind is LoginSucceeded:
                continue
            event_id = new_id()
            sealed = {
                field: await self._sealer.for_person(tx, person.person, event_id=event_id, field=field, value=value)
                for field, value in (("ip", origin.ip), ("user_agent", origin.user_agent))
            }
            data = kind(
                person=person.person,
                session_ref=session.session_ref,
                ip=sealed["ip"],
                user_agent=sealed["user_agent"],
            )
            if isinstance(data, LoginSucceeded):
                data = msgspec.structs.replace(data, multi_factor=MULTI_FACTOR in session.amr)
            await tx.append(
                stream, 0, [EventDraft(data, id=event_id, subject=person.person, org_unit=person.home_unit)]
            )


async def end_session(tx: Transaction, session: Session, *, reason: SessionEnd) -> None:
    """End one session and record why; nothing happens when it has ended already."""
    if await store.end_session(tx, session.session_ref, reason=reason.name.lower(), now=tx.clock()):
        person = await find_by_ref(tx, session.person)
        await tx.append(
            f"session-{session.session_ref}",
            1,
            [
                EventDraft(
                    SessionRevoked(session_ref=session.session_ref, reason=reason),
                    subject=PersonRef(session.person),
                    org_unit=None if person is None else person.home_unit,
                )
            ],
        )
