"""Sign in by the tenant's provider, and hear its logouts (OpenID Connect Core 1.0 §3.1, Back-Channel Logout 1.0).

A sign-in is used up in a transaction of its own before its code is exchanged, so that of two answers one goes on; what
follows is one transaction. Killed in between, nothing is half done: the person begins again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.ids import new_id, new_secret
from tallystick_contracts.generated.identity import LoginFailure, SessionEnd

from tallystick_identity.errors import LogoutRefused, ProviderUnreachable, SsoRefused
from tallystick_identity.factors.domain import MULTI_FACTOR
from tallystick_identity.sessions.domain import Upstream
from tallystick_identity.sign_in.domain import secret_hash
from tallystick_identity.sso import store
from tallystick_identity.sso.accounts import AnswerRefused, end_sessions_at
from tallystick_identity.sso.domain import (
    FEDERATED,
    LIFETIME,
    Flow,
    UnknownFlowError,
    flow_of,
    is_two_factor,
    session_index,
    subject_index,
    token_index,
)
from tallystick_identity.sso.fetch import FetchError
from tallystick_identity.sso.tokens import SKEW_S, TokenRefused, claims_of

if TYPE_CHECKING:
    from tallystick_chassis.database import Database
    from tallystick_chassis.scope import Scope
    from tallystick_chassis.telemetry import Log
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.request_edge import Origin
    from tallystick_identity.sessions.commands import Credentials, Sessions
    from tallystick_identity.sign_in.tries import Tries
    from tallystick_identity.sso.accounts import Accounts
    from tallystick_identity.sso.configuration import Secrets
    from tallystick_identity.sso.discovery import Directory, Metadata
    from tallystick_identity.sso.domain import Claims, Provider
    from tallystick_identity.sso.fetch import Fetcher
    from tallystick_identity.sso.store import SsoRequest
    from tallystick_identity.sso.tokens import Tokens

SKEW: Final = timedelta(seconds=SKEW_S)
SCOPES: Final = "openid email profile"
_UNKNOWN_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and the secret to put into its cookie."""

    address: str
    secret: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider sent back with the browser; what it left out is empty."""

    state: str
    code: str
    issuer: str
    error: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who it was, and what the browser is given."""

    person: str
    credentials: Credentials


class SingleSignOn:
    """The use cases. Each takes the scope of a tenant before sign-in and makes its own transactions."""

    def __init__(
        self,
        *,
        database: Database,
        directory: Directory,
        fetcher: Fetcher,
        tokens: Tokens,
        secrets: Secrets,
        accounts: Accounts,
        sessions: Sessions,
        tries: Tries,
        index_key: bytes,
        log: Log,
    ) -> None:
        self._database = database
        self._directory = directory
        self._fetcher = fetcher
        self._tokens = tokens
        self._secrets = secrets
        self._accounts = accounts
        self._sessions = sessions
        self._tries = tries
        self._index_key = index_key
        self._log = log

    async def is_offered(self, scope: Scope) -> bool:
        """Say whether the scope's tenant has a provider, and has it switched on."""
        async with self._database.transaction(scope) as tx:
            provider = await store.find_provider(tx)
        return provider is not None and provider.enabled

    async def begin(self, scope: Scope, *, redirect_uri: str, fresh: bool) -> Begun:
        """Begin a sign-in; ``fresh`` asks the provider for a proof now, whatever session it has.

        Raises:
            NotFound: if the tenant has no provider, or has switched it off.
            ProviderUnreachable: if the provider does not answer.
        """
        async with self._database.transaction(scope) as tx:
            provider = await self._provider(tx)
            flow = Flow(scope.tenant, new_id(), new_secret())
            now = tx.clock()
            request = store.SsoRequest(provider.id, provider.issuer, provider.client_id, fresh, now, now + LIFETIME)
            await store.insert_request(tx, flow.id, request, secret_hash=secret_hash(flow.secret))
        try:
            metadata = await self._directory.metadata(provider.issuer)
        except FetchError as error:
            self._log.warning("sso_provider_unreachable", error=str(error))
            raise ProviderUnreachable from None
        again = {"prompt": "login", "max_age": "0"} if fresh else {}
        address = prepare_grant_uri(
            metadata.authorization_endpoint,
            client_id=provider.client_id,
            response_type="code",
            redirect_uri=redirect_uri,
            scope=SCOPES,
            state=flow.state,
            nonce=flow.nonce,
            code_challenge=create_s256_code_challenge(flow.verifier),
            code_challenge_method="S256",
            **again,
        )
        return Begun(address, flow.secret)

    async def finish(self, scope: Scope, answer: Answer, *, secret: str, redirect_uri: str, origin: Origin) -> SignedIn:
        """Sign in whoever the provider's answer is about. A refusal is recorded once, and logged with its reason.

        Raises:
            NotFound: if the tenant has no provider, or has switched it off.
            SsoRefused: if the answer is refused, for a reason that only the record and the log know.
        """
        try:
            provider, claims, request = await self._checked(scope, answer, secret, redirect_uri)
            async with self._database.transaction(scope) as tx:
                return await self._open(tx, provider, claims, request, origin)
        except (AnswerRefused, TokenRefused) as error:
            self._log.warning("sso_answer_refused", error=error.reason)
            failure = error.failure if isinstance(error, AnswerRefused) else LoginFailure.PROVIDER_ANSWER
            async with self._database.transaction(scope) as tx:
                await self._tries.failed(tx, failure, origin=origin)
            raise SsoRefused from None

    async def log_out(self, scope: Scope, token: str) -> int:
        """End the sessions that a provider's logout token names; return how many there were.

        Raises:
            NotFound: if the tenant has no provider, or has switched it off.
            LogoutRefused: if the token is not good, or was heard before.
            ProviderUnreachable: if the provider's keys cannot be fetched.
        """
        async with self._database.transaction(scope) as tx:
            provider = await self._provider(tx)
        try:
            logout = await self._tokens.logout_token(provider, token, now=self._database.clock())
        except TokenRefused as error:
            self._log.warning("sso_logout_refused", error=error.reason)
            raise LogoutRefused from None
        except FetchError as error:
            self._log.warning("sso_provider_unreachable", error=str(error))
            raise ProviderUnreachable from None
        tenant, issuer = scope.tenant, provider.issuer
        key = self._index_key
        async with self._database.transaction(scope) as tx:
            heard = token_index(tenant, issuer, logout.token_id)
            if not await store.hear_logout(tx, heard, now=tx.clock(), expires_at=logout.expires_at):
                self._log.warning("sso_logout_refused", error="replayed")
                raise LogoutRefused
            return await end_sessions_at(
                tx,
                issuer,
                reason=SessionEnd.PROVIDER,
                subject=None if logout.subject is None else subject_index(key, tenant, issuer, logout.subject),
                session=None if logout.session is None else session_index(key, tenant, issuer, logout.session),
            )

    async def _provider(self, tx: Transaction) -> Provider:
        provider = await store.find_provider(tx)
        if provider is None or not provider.enabled:
            raise NotFound
        return provider

    async def _checked(
        self, scope: Scope, answer: Answer, secret: str, redirect_uri: str
    ) -> tuple[Provider, Claims, SsoRequest]:
        async with self._database.transaction(scope) as tx:
            provider = await self._provider(tx)
            try:
                flow = flow_of(answer.state, secret, scope.tenant)
            except UnknownFlowError:
                raise AnswerRefused("state") from None  # noqa: EM101 - a fixed word
            request = await store.take_request(tx, flow.id, secret_hash=secret_hash(secret))
            now = tx.clock()
        # The sign-in is used up, whatever follows.
        if request is None or request.expires_at <= now:
            raise AnswerRefused("expired_or_used")  # noqa: EM101 - a fixed word
        if (request.provider, request.issuer, request.client_id) != (provider.id, provider.issuer, provider.client_id):
            raise AnswerRefused("provider_changed")  # noqa: EM101 - a fixed word
        try:
            metadata = await self._directory.metadata(provider.issuer)
            if answer.issuer != provider.issuer and (answer.issuer or metadata.names_issuer_in_answers):
                raise AnswerRefused("iss")  # noqa: EM101 - a fixed word
            if answer.error or not answer.code:
                raise AnswerRefused("error_or_no_code")  # noqa: EM101 - a fixed word
            claims = await self._exchange(provider, metadata, answer.code, flow, redirect_uri)
        except FetchError as error:
            self._log.warning("sso_provider_unreachable", error=str(error))
            raise AnswerRefused("exchange") from None  # noqa: EM101 - a fixed word
        return provider, claims, request

    async def _exchange(
        self, provider: Provider, metadata: Metadata, code: str, flow: Flow, redirect_uri: str
    ) -> Claims:
        form = urlencode(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": flow.verifier,
            }
        )
        secret = await self._secrets.reveal(flow.tenant, provider)
        method = _authentication_method(metadata, has_secret=secret is not None)
        client = ClientAuth(provider.client_id, secret, auth_method=method)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        _, headers, body = client.prepare("POST", metadata.token_endpoint, headers, form)
        given = await self._fetcher.post(metadata.token_endpoint, headers=headers, body=_as_bytes(body))
        id_token, access_token = given.get("id_token"), given.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise AnswerRefused("no_tokens")  # noqa: EM101 - a fixed word
        now = self._database.clock()
        token = await self._tokens.id_token(provider, id_token, nonce=flow.nonce, access_token=access_token, now=now)
        userinfo: dict[str, object] = {}
        is_lacking = "email" not in token or (provider.role_claim is not None and provider.role_claim not in token)
        if metadata.userinfo_endpoint is not None and is_lacking:
            userinfo = await self._fetcher.get(metadata.userinfo_endpoint, bearer=access_token)
            if userinfo.get("sub") != token["sub"]:
                raise AnswerRefused("userinfo_sub")  # noqa: EM101 - a fixed word
        return claims_of(provider, token, userinfo)

    async def _open(
        self, tx: Transaction, provider: Provider, claims: Claims, request: SsoRequest, origin: Origin
    ) -> SignedIn:
        proved_at = claims.auth_time
        if request.fresh and (proved_at is None or proved_at < request.created_at - SKEW):
            # Asked for a proof now, and given an older one.
            raise AnswerRefused("not_fresh")  # noqa: EM101 - a fixed word
        person, identity = await self._accounts.resolve(tx, provider, claims)
        await self._accounts.give_roles(tx, provider, claims, person)
        hashed = None
        if claims.session is not None:
            hashed = session_index(self._index_key, tx.scope.tenant, provider.issuer, claims.session)
        amr = (FEDERATED, MULTI_FACTOR) if is_two_factor(claims, provider) else (FEDERATED,)
        credentials = await self._sessions.open(
            tx,
            person,
            amr=amr,
            origin=origin,
            upstream=Upstream(identity, hashed),
            # A provider that does not say when is not taken for "now": what wants a recent proof asks for one.
            proved_at=min(proved_at, tx.clock()) if proved_at is not None else _UNKNOWN_TIME,
        )
        return SignedIn(person.person, credentials)


def _authentication_method(metadata: Metadata, *, has_secret: bool) -> str:
    if not has_secret:
        return "none"
    offered = metadata.authentication_methods
    if offered and "client_secret_basic" not in offered and "client_secret_post" in offered:
        return "client_secret_post"
    return "client_secret_basic"


def _as_bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body
