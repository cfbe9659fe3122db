"""Configure and switch off a tenant's provider. Its client secret is ciphertext, good for one issuer and client."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tallystick_chassis.http.problems import FieldError
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import SessionEnd, SsoProviderChanged

from tallystick_identity.errors import InvalidInput, RoleForAdministrators, SecretNeeded, UnknownReference
from tallystick_identity.org_units.store import find_unit
from tallystick_identity.roles.administrators import is_administrators
from tallystick_identity.roles.store import find_role
from tallystick_identity.sso import store
from tallystick_identity.sso.accounts import end_sessions_at
from tallystick_identity.sso.domain import is_domain
from tallystick_identity.sso.fetch import FetchError

if TYPE_CHECKING:
    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.sso.domain import Provider
    from tallystick_identity.sso.fetch import Fetcher

_KEY_SUBJECT: Final = "sso"


class Secrets:
    """Seals client secrets under a data key of the tenant's, bound to issuer and client id.

    So a secret that somebody points at another issuer does not open, and is not sent there.
    """

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def seal(self, tenant: TenantId, provider: Provider, secret: str) -> bytes:
        """Return the ciphertext of a client secret."""
        key = await self._keys.data_key(tenant, _KEY_SUBJECT, create=True)
        return key.encrypt(secret.encode(), aad=_purpose(provider))

    async def reveal(self, tenant: TenantId, provider: Provider) -> str | None:
        """Return the client secret; ``None`` where the client has none (a public one, by PKCE alone)."""
        if provider.secret_ciphertext is None:
            return None
        key = await self._keys.data_key(tenant, _KEY_SUBJECT)
        return key.decrypt(provider.secret_ciphertext, aad=_purpose(provider)).decode()


class Configuration:
    """The commands, with what they need; each runs in its caller's transaction."""

    def __init__(self, *, secrets: Secrets, fetcher: Fetcher) -> None:
        self._secrets = secrets
        self._fetcher = fetcher

    async def configure(self, tx: Transaction, wanted: Provider, *, secret: str | None) -> Provider:
        """Store the tenant's provider; without ``secret`` the one that is stored stays.

        Raises:
            InvalidInput: for an issuer that cannot be asked, or what is no domain.
            SecretNeeded: if issuer or client id change and no secret is given.
            UnknownReference: if a rule names a role or unit that is not there.
            RoleForAdministrators: if a claim would make administrators, and that is not said.
        """
        self._check(wanted)
        await _check_rules(tx, wanted)
        before = await store.find_provider(tx, lock=True)
        if before is not None:
            wanted = replace(wanted, id=before.id, version=before.version + 1)
        if secret is not None:
            wanted = replace(wanted, secret_ciphertext=await self._secrets.seal(tx.scope.tenant, wanted, secret))
        elif before is not None and before.secret_ciphertext is not None:
            if (before.issuer, before.client_id) != (wanted.issuer, wanted.client_id):
                raise SecretNeeded
            wanted = replace(wanted, secret_ciphertext=before.secret_ciphertext)
        await self._save(tx, before, wanted, secret_changed=secret is not None)
        return wanted

    async def switch_off(self, tx: Transaction) -> Provider | None:
        """Let nobody sign in by the provider any more, and end the sessions it vouched for; ``None``: there is none."""
        before = await store.find_provider(tx, lock=True)
        if before is None or not before.enabled:
            return before
        after = replace(before, enabled=False, version=before.version + 1, updated_at=tx.clock())
        await self._save(tx, before, after, secret_changed=False)
        return after

    def _check(self, wanted: Provider) -> None:
        errors = []
        try:
            self._fetcher.check(wanted.issuer)
        except FetchError as error:
            errors.append(FieldError(str(error), pointer="/issuer"))
        if "?" in wanted.issuer:
            errors.append(FieldError("has a query", pointer="/issuer"))
        errors += [
            FieldError("is no domain name in lower case", pointer=f"/domains/{number}")
            for number, domain in enumerate(wanted.domains)
            if not is_domain(domain)
        ]
        if errors:
            raise InvalidInput(errors=errors)

    @staticmethod
    async def _save(tx: Transaction, before: Provider | None, after: Provider, *, secret_changed: bool) -> None:
        await store.save_provider(tx, after)
        changed = SsoProviderChanged(
            provider_id=str(after.id),
            issuer=after.issuer,
            client_id=after.client_id,
            enabled=after.enabled,
            domains=tuple(sorted(after.domains)),
            creates_accounts=after.creates_accounts,
            makes_administrators=after.makes_administrators,
            role_ids=tuple(sorted({str(rule.role_id) for rule in after.rules})),
            two_factor_values=tuple(sorted(after.two_factor_values)),
            secret_changed=secret_changed,
        )
        await tx.append(f"sso_provider-{after.id}", after.version - 1, [EventDraft(changed)])
        if before is not None and before.enabled and (not after.enabled or before.issuer != after.issuer):
            async with tx.whole_tenant():
                await end_sessions_at(tx, before.issuer, reason=SessionEnd.PROVIDER)


async def _check_rules(tx: Transaction, wanted: Provider) -> None:
    unknown, too_much = [], []
    for number, rule in enumerate(wanted.rules):
        role = await find_role(tx, rule.role_id)
        if role is None:
            unknown.append(FieldError("is not there", pointer=f"/roles/{number}/role_id"))
        elif is_administrators(role.capabilities) and not wanted.makes_administrators:
            too_much.append(FieldError("administers the tenant", pointer=f"/roles/{number}/role_id"))
        if await find_unit(tx, rule.org_unit) is None:
            unknown.append(FieldError("is not there", pointer=f"/roles/{number}/org_unit_id"))
    if unknown:
        raise UnknownReference(errors=unknown)
    if too_much:
        raise RoleForAdministrators(errors=too_much)


def _purpose(provider: Provider) -> bytes:
    issuer, client_id = provider.issuer.encode(), provider.client_id.encode()
    return b"identity.sso.secret|%d:%s|%d:%s" % (len(issuer), issuer, len(client_id), client_id)
