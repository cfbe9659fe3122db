"""The parts of single sign-on, made once for a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick_identity.sso.accounts import Accounts
from tallystick_identity.sso.commands import SingleSignOn
from tallystick_identity.sso.configuration import Configuration, Secrets
from tallystick_identity.sso.discovery import Directory
from tallystick_identity.sso.fetch import Fetcher
from tallystick_identity.sso.tokens import Tokens

if TYPE_CHECKING:
    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.service import Runtime

    from tallystick_identity.factors.commands import Factors
    from tallystick_identity.people.commands import People
    from tallystick_identity.sessions.commands import Sessions
    from tallystick_identity.settings import IdentitySettings
    from tallystick_identity.sign_in.tries import Tries


@dataclass(frozen=True, slots=True)
class SsoParts:
    """What routes and pages use of it."""

    directory: Directory
    accounts: Accounts
    configuration: Configuration
    single_sign_on: SingleSignOn


def make_sso_parts(
    runtime: Runtime,
    *,
    settings: IdentitySettings,
    keys: KeyStore,
    people: People,
    factors: Factors,
    sessions: Sessions,
    tries: Tries,
) -> SsoParts:
    """Return the parts of one running process."""
    fetcher = Fetcher(internal_hosts=settings.sso_internal_hosts or (), ca_file=settings.sso_ca_file)
    directory = Directory(fetcher=fetcher, clock=runtime.clock)
    accounts = Accounts(people=people, factors=factors, sealer=runtime.sealer, index_key=settings.blind_index_key)
    secrets = Secrets(keys)
    return SsoParts(
        directory=directory,
        accounts=accounts,
        configuration=Configuration(secrets=secrets, fetcher=fetcher),
        single_sign_on=SingleSignOn(
            database=runtime.database,
            directory=directory,
            fetcher=fetcher,
            tokens=Tokens(directory),
            secrets=secrets,
            accounts=accounts,
            sessions=sessions,
            tries=tries,
            index_key=settings.blind_index_key,
            log=runtime.log,
        ),
    )
