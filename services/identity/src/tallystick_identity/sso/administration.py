"""Routes by which an administrator configures, tries and switches off the tenant's OpenID provider."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post, put
from tallystick_chassis.http.commands import perform, require_key
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.ids import OrgUnitId, new_id
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.generated.identity import SessionEnd

from tallystick_identity.org_units.commands import in_reach
from tallystick_identity.people.store import find_person
from tallystick_identity.sso import store
from tallystick_identity.sso.domain import Provider, RoleRule
from tallystick_identity.sso.fetch import FetchError
from tallystick_identity.tenants.store import slug_of

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.sso.accounts import Accounts
    from tallystick_identity.sso.configuration import Configuration
    from tallystick_identity.sso.discovery import Directory

_SSO = "/api/v1/identity/sso"
_READ: dict[str, Any] = {"capability": Capability.SSO_READ, REFUSES: (NotFound,)}
_TRY: dict[str, Any] = {"capability": Capability.SSO_WRITE, REFUSES: (NotFound,)}
_WRITE: dict[str, Any] = _TRY | {"step_up": True}

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Domains = Annotated[tuple[Text, ...], msgspec.Meta(max_length=50)]
Values = Annotated[tuple[Text, ...], msgspec.Meta(max_length=20)]


class ClaimRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whoever's claim holds ``value`` gets the role in the unit, with the units below it if ``subtree``."""

    value: Text
    role_id: UUID
    org_unit_id: UUID
    subtree: bool = False


class ProviderRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The provider as it shall be. Without ``client_secret`` the one that is stored stays.

    ``domains`` are those of the addresses that it may vouch for; ``two_factor_values`` those of ``acr`` or ``amr`` that
    are believed to say that two factors were shown.
    """

    issuer: Annotated[str, msgspec.Meta(min_length=8, max_length=512)]
    client_id: Text
    enabled: bool
    client_secret: Annotated[str, msgspec.Meta(min_length=8, max_length=1_024)] | None = None
    domains: Domains = ()
    creates_accounts: bool = False
    role_claim: Text | None = None
    roles: Annotated[tuple[ClaimRole, ...], msgspec.Meta(max_length=100)] = ()
    makes_administrators: bool = False
    two_factor_values: Values = ()


class ProviderView(msgspec.Struct, frozen=True):
    """The provider as it is, without its secret; and the addresses to register there."""

    id: UUID
    issuer: str
    client_id: str
    has_secret: bool
    enabled: bool
    domains: tuple[str, ...]
    creates_accounts: bool
    role_claim: str | None
    roles: tuple[ClaimRole, ...]
    makes_administrators: bool
    two_factor_values: tuple[str, ...]
    updated_at: datetime
    redirect_uri: str
    back_channel_logout_uri: str


class ProviderTested(msgspec.Struct, frozen=True):
    """Whether the provider can be worked with, or what is wrong; and how many keys it signs with."""

    ok: bool
    problem: str | None
    keys: int


class Unlinked(msgspec.Struct, frozen=True):
    """How many identities at providers were taken from the person, whose sessions have all ended if there were any."""

    person: str
    removed: int


def callback_uri(public_url: str, slug: str) -> str:
    """Return where a provider sends the browser back to, one for each tenant, so that answers cannot be mixed up."""
    return f"{public_url.rstrip('/')}/sign-in/{slug}/sso/callback"


def sso_administration_routes(  # noqa: C901 - a list of handlers; none of them branches much
    *,
    database: Database,
    configuration: Configuration,
    directory: Directory,
    accounts: Accounts,
    public_url: str,
) -> list[ControllerRouterHandler]:
    """Return the routes."""

    async def view(tx: Transaction, provider: Provider) -> ProviderView:
        slug = await slug_of(tx) or ""
        return ProviderView(
            id=provider.id,
            issuer=provider.issuer,
            client_id=provider.client_id,
            has_secret=provider.secret_ciphertext is not None,
            enabled=provider.enabled,
            domains=provider.domains,
            creates_accounts=provider.creates_accounts,
            role_claim=provider.role_claim,
            roles=tuple(
                ClaimRole(rule.claim_value, rule.role_id, rule.org_unit, rule.subtree) for rule in provider.rules
            ),
            makes_administrators=provider.makes_administrators,
            two_factor_values=provider.two_factor_values,
            updated_at=provider.updated_at,
            redirect_uri=callback_uri(public_url, slug),
            back_channel_logout_uri=f"{public_url.rstrip('/')}/sign-in/{slug}/sso/logout",
        )

    @get(_SSO, opt=_READ)
    async def read_provider(tenant_scope: Scope) -> ProviderView:
        """Show the tenant's single sign-on provider."""
        async with database.transaction(tenant_scope) as tx:
            provider = await store.find_provider(tx)
            if provider is None:
                raise NotFound
            return await view(tx, provider)

    @put(_SSO, opt=_WRITE)
    async def configure_provider(
        request: Request[Any, Any, Any], tenant_scope: Scope, data: ProviderRequest
    ) -> Response[ProviderView]:
        """Configure the tenant's single sign-on provider."""

        async def run(tx: Transaction) -> ProviderView:
            # The provider is the whole tenant's: who administers a part of it has nothing to do here.
            if not in_reach(tx.scope, [tx.scope.root_unit, *(rule.org_unit_id for rule in data.roles)]):
                raise NotFound
            wanted = _wanted(tx, data)
            return await view(tx, await configuration.configure(tx, wanted, secret=data.client_secret))

        return await perform(request, tenant_scope, run)

    @post(f"{_SSO}/disable", opt=_TRY, status_code=200)
    async def switch_off_provider(request: Request[Any, Any, Any], tenant_scope: Scope) -> Response[ProviderView]:
        """Switch single sign-on off, and end the sessions that came by it."""

        async def run(tx: Transaction) -> ProviderView:
            provider = await configuration.switch_off(tx)
            if provider is None:
                raise NotFound
            return await view(tx, provider)

        return await perform(request, tenant_scope, run)

    @post(f"{_SSO}/test", opt=_TRY, status_code=200)
    async def test_provider(request: Request[Any, Any, Any], tenant_scope: Scope) -> ProviderTested:
        """Fetch the provider's metadata and keys now, and say whether they can be worked with."""
        require_key(request)
        async with database.transaction(tenant_scope) as tx:
            provider = await store.find_provider(tx)
        if provider is None:
            raise NotFound
        try:
            _, keys = await directory.examine(provider.issuer)
        except FetchError as error:
            return ProviderTested(ok=False, problem=str(error), keys=0)
        return ProviderTested(ok=True, problem=None, keys=keys)

    @delete("/api/v1/identity/people/{person_id:uuid}/sso", opt=_WRITE, status_code=200)
    async def unlink_person(
        request: Request[Any, Any, Any], tenant_scope: Scope, person_id: UUID
    ) -> Response[Unlinked]:
        """Forget who a person is at providers, and end their sessions."""

        async def run(tx: Transaction) -> Unlinked:
            person = await find_person(tx, person_id, lock=True)
            if person is None:
                raise NotFound
            return Unlinked(person.person, await accounts.unlink(tx, person, reason=SessionEnd.PROVIDER))

        return await perform(request, tenant_scope, run)

    return [read_provider, configure_provider, switch_off_provider, test_provider, unlink_person]


def _wanted(tx: Transaction, data: ProviderRequest) -> Provider:
    return Provider(
        id=new_id(),
        version=1,
        issuer=data.issuer,
        client_id=data.client_id,
        secret_ciphertext=None,
        enabled=data.enabled,
        domains=data.domains,
        creates_accounts=data.creates_accounts,
        role_claim=data.role_claim,
        rules=tuple(
            RoleRule(rule.value, rule.role_id, OrgUnitId(rule.org_unit_id), rule.subtree) for rule in data.roles
        ),
        makes_administrators=data.makes_administrators,
        two_factor_values=data.two_factor_values,
        updated_at=tx.clock(),
    )
