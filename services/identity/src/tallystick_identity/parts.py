"""The parts that identity's routes, jobs and commands share, made once from the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick_chassis.http.key_file import KeyFile
from tallystick_chassis.http.tokens import TokenSigner, TokenVerifier, public_jwks
from tallystick_chassis.rate_limits import RateLimiter

from tallystick_identity.factors.ceremonies import RelyingParty
from tallystick_identity.factors.commands import Factors
from tallystick_identity.factors.passkeys import Passkeys
from tallystick_identity.passwords.commands import Passwords
from tallystick_identity.passwords.hashing import Hasher
from tallystick_identity.passwords.sign_in import PasswordSignIn
from tallystick_identity.people.commands import People
from tallystick_identity.people.private_data import PrivateData
from tallystick_identity.sessions.commands import Sessions
from tallystick_identity.sessions.introspection import Introspector
from tallystick_identity.sign_in.commands import SignIn
from tallystick_identity.sign_in.front_door import FrontDoor
from tallystick_identity.sign_in.spray import SprayGuard
from tallystick_identity.sign_in.tries import Tries
from tallystick_identity.sso.parts import SsoParts, make_sso_parts

if TYPE_CHECKING:
    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.service import Runtime

    from tallystick_identity.settings import IdentitySettings


@dataclass(frozen=True, slots=True)
class Parts:
    """What is wired together."""

    settings: IdentitySettings
    keys: KeyStore
    signer: TokenSigner
    private_data: PrivateData
    people: People
    sessions: Sessions
    introspector: Introspector
    door: FrontDoor
    by_password: PasswordSignIn
    passwords: Passwords
    factors: Factors
    passkeys: Passkeys
    sso: SsoParts
    tries: Tries


def make_parts(runtime: Runtime) -> Parts:
    """Return the parts of one running process."""
    settings: IdentitySettings = runtime.settings
    if runtime.keys is None:
        msg = "identity needs its key store"
        raise RuntimeError(msg)
    jwks = settings.session_key.encode()
    watched = settings.session_keys_watched
    signer = TokenSigner(jwks, clock=runtime.clock, file=None if watched is None else KeyFile(watched))
    private_data = PrivateData(runtime.keys)
    sessions = Sessions(signer=signer, sealer=runtime.sealer, refresh_key=settings.csrf_key, timeouts=settings.timeouts)
    limiter = RateLimiter.of(settings)
    tries = Tries(limiter=limiter, sealer=runtime.sealer)
    spray = SprayGuard(database=runtime.database, tries=tries)
    hasher = Hasher()
    sign_in = SignIn(
        sealer=runtime.sealer, sessions=sessions, blind_index_key=settings.blind_index_key, limiter=limiter
    )
    door = FrontDoor(
        database=runtime.database,
        duty=runtime.duty,
        sign_in=sign_in,
        spray=spray,
        slug_key=settings.blind_index_key,
    )
    people = People(private_data=private_data, sealer=runtime.sealer, blind_index_key=settings.blind_index_key)
    factors = Factors(
        keys=runtime.keys,
        private_data=private_data,
        sealer=runtime.sealer,
        people=people,
        sessions=sessions,
        code_key=settings.blind_index_key,
    )
    return Parts(
        settings=settings,
        keys=runtime.keys,
        signer=signer,
        private_data=private_data,
        people=people,
        sessions=sessions,
        introspector=Introspector(
            database=runtime.database,
            verifier=TokenVerifier(
                public_jwks(jwks), clock=runtime.clock, file=None if watched is None else KeyFile(watched)
            ),
            csrf_key=settings.csrf_key,
            timeouts=settings.timeouts,
        ),
        door=door,
        by_password=PasswordSignIn(
            database=runtime.database,
            door=door,
            people=people,
            sessions=sessions,
            tries=tries,
            spray=spray,
            hasher=hasher,
            device_key=settings.csrf_key,
        ),
        passwords=Passwords(
            database=runtime.database,
            sign_in=sign_in,
            people=people,
            private_data=private_data,
            sessions=sessions,
            tries=tries,
            spray=spray,
            sealer=runtime.sealer,
            hasher=hasher,
        ),
        factors=factors,
        passkeys=Passkeys(
            factors=factors,
            sessions=sessions,
            tries=tries,
            private_data=private_data,
            party=RelyingParty(settings.passkey_host, "Tallystick", settings.passkey_origins),
            handle_key=settings.blind_index_key,
        ),
        sso=make_sso_parts(
            runtime,
            settings=settings,
            keys=runtime.keys,
            people=people,
            factors=factors,
            sessions=sessions,
            tries=tries,
        ),
        tries=tries,
    )
