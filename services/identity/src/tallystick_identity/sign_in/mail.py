"""The worker's part of sign-in: make the secret, mail it, and forget it.

Only the SHA-256 of a secret and a keyed hash of a code are ever stored, so neither lies in an outbox, a queue or a
backup. A mail that may not have gone out is sent again with another secret and another code; all of the newest request
are good until one is used.
"""

from __future__ import annotations

import secrets
import ssl
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import TYPE_CHECKING

import aiosmtplib
import msgspec
from opentelemetry.trace import SpanKind
from tallystick_chassis.http.correlation import HEADER as CORRELATION_HEADER
from tallystick_chassis.ids import TenantId, new_secret
from tallystick_chassis.metric_catalogue import MAIL_SENT
from tallystick_chassis.metrics import count
from tallystick_chassis.scope import Scope
from tallystick_chassis.spans import span, working_for
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.common import Sealed
from tallystick_contracts.generated.identity import (
    LoginFailed,
    LoginFailure,
    MagicLinkRequested,
    PasswordResetRequested,
)

from tallystick_identity.people.store import find_by_email
from tallystick_identity.request_edge import SERVICE_NAME
from tallystick_identity.settings import MailTls
from tallystick_identity.sign_in import store
from tallystick_identity.sign_in.domain import CODE_DIGITS, LinkId, Mailed, Purpose, code_hash, secret_hash
from tallystick_identity.sign_in.letters import SUBJECTS, letter
from tallystick_identity.tenants.store import has_passwords, slug_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_chassis.telemetry import Log
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.private_data import PrivateData

BATCH = 20
_RETRY_FIRST_S = 5
_SMTP_TIMEOUT_S = 10
KEEP_AFTER_EXPIRY = timedelta(hours=1)
"""How long an expired request is kept, so that a late click is recorded as expired and not as unknown."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that is ready to go."""

    tenant: TenantId
    request: UUID
    correlation: str
    recipient: str
    link: str
    code: str
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Postbox:
    """Where mail is handed over, and from whom it says it comes. ``public_url`` is the base of the links.

    The server's certificate must be of a public authority or one in ``ca_file``.
    """

    host: str
    port: int
    tls: MailTls
    ca_file: Path
    sender: str
    public_url: str


class LinkMailer:
    """Mails sign-in links and prunes old requests."""

    def __init__(
        self,
        *,
        database: Database,
        duty: DutyDatabase,
        private_data: PrivateData,
        postbox: Postbox,
        code_key: bytes,
        clock: Clock,
        log: Log,
    ) -> None:
        self._database = database
        self._duty = duty
        self._private = private_data
        self._code_key = code_key
        self._postbox = postbox
        self._clock = clock
        self._log = log

    async def send_waiting(self) -> bool:
        """Send the mails of one batch of requests; ``True`` when there may be more."""
        async with self._duty.glance() as duty:
            waiting = await store.waiting_requests(duty, now=self._clock(), limit=BATCH)
        mails = [mail for tenant, request in waiting if (mail := await self._prepare(tenant, request))]
        if mails:
            await self._send(mails)
        return len(waiting) == BATCH

    async def prune(self) -> bool:
        """Delete requests that expired an hour ago."""
        before = self._clock() - KEEP_AFTER_EXPIRY
        async with self._duty.duty() as duty:
            tenants = await store.tenants_with_expired(duty, before=before)
        for tenant in tenants:
            async with self._database.transaction(Scope.for_duty(tenant, SERVICE_NAME)) as tx:
                await store.prune(tx, before=before)
        return False

    async def _prepare(self, tenant: TenantId, request: UUID) -> Mail | None:
        async with self._database.transaction(Scope.for_duty(tenant, SERVICE_NAME)) as tx:
            correlation = await store.correlation_of(tx, request)
        scope = Scope.for_duty(tenant, SERVICE_NAME, correlation=correlation)
        async with self._database.transaction(scope) as tx:
            now = self._clock()
            pending = await store.claim_request(
                tx, request, now=now, next_attempt_at=now + timedelta(seconds=_RETRY_FIRST_S)
            )
            if pending is None:
                return None
            slug = await slug_of(tx)
            if slug is None:
                await store.mark_done(tx, request, now=now)
                return None
            if pending.attempts == 1:
                await self._record_request(tx, pending)
            person = None
            if pending.purpose is Purpose.SIGN_IN or await has_passwords(tx):
                person = await find_by_email(tx, pending.email_index)
            address = None
            if person is not None:
                address = await self._private.email(tenant, person.person, person.email_ciphertext)
            if person is None or address is None:
                await self._record_unknown(tx, pending, now)
                return None
            secret, code = new_secret(), f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"
            mailed = Mailed(secret_hash(secret), code_hash(self._code_key, request, code))
            await store.add_link(tx, request, person=person.person, mailed=mailed)
        link = f"{self._postbox.public_url}/sign-in/{slug}/verify#{LinkId(tenant, request)}.{secret}"
        if pending.purpose is Purpose.RESET:
            link += ".reset"
        return Mail(tenant, request, scope.correlation, address, link, code, pending.purpose)

    async def _record_request(self, tx: Transaction, pending: store.PendingMail) -> None:
        def sealed(kept: bytes | None) -> Sealed | None:
            return None if kept is None else msgspec.json.decode(kept, type=Sealed)

        is_reset = pending.purpose is Purpose.RESET
        kind: type[MagicLinkRequested | PasswordResetRequested]
        kind = PasswordResetRequested if is_reset else MagicLinkRequested
        requested = kind(request_id=str(pending.id), email=sealed(pending.sealed_email), ip=sealed(pending.sealed_ip))
        stream = f"password_reset-{pending.id}" if is_reset else f"magic_link-{pending.id}"
        await tx.append(stream, 0, [EventDraft(requested, id=pending.event_id)])

    async def _record_unknown(self, tx: Transaction, pending: store.PendingMail, now: datetime) -> None:
        # The address stands, sealed, in the request's event under the same correlation id.
        failed = LoginFailed(reason=LoginFailure.UNKNOWN_PERSON)
        if pending.attempts == 1 and pending.purpose is Purpose.SIGN_IN:
            await tx.append(f"login-{pending.id}", 0, [EventDraft(failed)])
        await store.mark_done(tx, pending.id, now=now)

    async def _send(self, mails: list[Mail]) -> None:
        client = aiosmtplib.SMTP(
            hostname=self._postbox.host,
            port=self._postbox.port,
            timeout=_SMTP_TIMEOUT_S,
            use_tls=self._postbox.tls is MailTls.IMPLICIT,
            start_tls=self._postbox.tls is MailTls.STARTTLS,
            tls_context=self._trust(),
        )
        async with client:
            for mail in mails:
                try:
                    with working_for(mail.correlation), span("send mail", kind=SpanKind.CLIENT):
                        await client.send_message(self._message(mail))
                except aiosmtplib.SMTPResponseException as error:
                    # This mail only; it is tried again when its claim runs out.
                    self._log.warning("mail_refused", status=error.code, correlation_id=mail.correlation)
                    count(MAIL_SENT, 1, {"tallystick.outcome": "refused"})
                    continue
                count(MAIL_SENT, 1, {"tallystick.outcome": "taken"})
                scope = Scope.for_duty(mail.tenant, SERVICE_NAME, correlation=mail.correlation)
                async with self._database.transaction(scope) as tx:
                    await store.mark_done(tx, mail.request, now=self._clock())

    def _trust(self) -> ssl.SSLContext | None:
        if self._postbox.tls is MailTls.NONE:
            return None
        context = ssl.create_default_context()
        context.load_verify_locations(cafile=self._postbox.ca_file)
        return context

    def _message(self, mail: Mail) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._postbox.sender
        message["To"] = mail.recipient
        message["Subject"] = SUBJECTS[mail.purpose]
        message["Date"] = format_datetime(self._clock())
        message["Message-ID"] = make_msgid(domain=self._postbox.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message[CORRELATION_HEADER] = mail.correlation
        message.set_content(
            letter(mail.purpose, link=mail.link, code=mail.code),
            # Quoted-printable would break the link over lines; 8bit keeps it whole for people and programs.
            cte="8bit",
        )
        return message
