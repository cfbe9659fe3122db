"""Identity's errors: each fixes its code and status once."""

from __future__ import annotations

from tallystick_chassis.http.problems import BadRequest, Conflict, NotAuthenticated, Problem, Unavailable


class InvalidInput(Problem):
    """The input has the right shape and impossible values; ``errors`` points to them."""

    status, code, title = 422, "invalid_input", "Some values cannot be accepted"


class EmailTaken(Problem):
    """Somebody in the tenant has the address already, or it stands twice in one import."""

    status, code, title = 422, "email_taken", "Some addresses are already in use in this tenant"


class UnknownReference(Problem):
    """The input names an org unit, role or person that is not there for the caller."""

    status, code, title = 422, "unknown_reference", "The input names something that is not there"


class NameTaken(Conflict):
    """A role or unit of that name exists."""

    code, title = "name_taken", "That name is already in use"


class LastAdministrator(Conflict):
    """After this nobody could give roles in the tenant any more."""

    code, title = "last_administrator", "Somebody must remain who can give roles throughout the tenant"


class BeyondReach(Problem):
    """The person holds roles in units that the caller's grant does not cover; their mail or factors guard those."""

    status, code, title = 403, "beyond_reach", "They hold roles where you may not give any"


class KeyPoolEmpty(Unavailable):
    """No public key is ready for a new person; the privacy worker is minting more."""

    code, title = "key_pool_empty", "Keys for new people are being made; try again in a moment"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


class LinkNotAccepted(NotAuthenticated):
    """The sign-in link is unknown, used, too old, or was asked for in another browser: one answer for all."""

    code, title = "link_not_accepted", "This sign-in link cannot be used; ask for a new one"


class CodeRequired(NotAuthenticated):
    """The link is good and was asked for in another browser: here it needs the code of its mail."""

    code, title = "code_required", "This link was asked for in another browser; type the code from the same mail"


class CodeNotAccepted(NotAuthenticated):
    """The code is wrong, used, too old, of a factor that is not there, or tried too often: one answer for all."""

    code, title = "code_not_accepted", "This code cannot be used; look at the newest one, or ask for another"


class PasswordNotAccepted(NotAuthenticated):
    """Address or password is wrong, was tried too often, or passwords are not used here: one answer for all."""

    code, title = "password_not_accepted", "This address and password are not accepted together"


class PasswordsOff(Conflict):
    """The tenant's people do not sign in by password."""

    code, title = "passwords_off", "Passwords are not used in your organisation"


class PasskeyNotAccepted(NotAuthenticated):
    """The passkey is unknown, its signature or challenge wrong, or its counter went back: one answer for all."""

    code, title = "passkey_not_accepted", "This passkey cannot be used"


class SsoRefused(NotAuthenticated):
    """The provider's answer signs nobody in; why is in the service's log, by the correlation id."""

    code, title = "sso_refused", "Your organisation's sign-in could not be completed; begin again"


class LogoutRefused(BadRequest):
    """The logout token is not good, or was heard before (Back-Channel Logout 1.0 §2.8)."""

    code, title = "logout_refused", "This logout token cannot be used"


class ProviderUnreachable(Unavailable):
    """The tenant's OpenID provider does not answer, or not in a way that can be worked with."""

    code, title = "provider_unreachable", "Your organisation's sign-in does not answer; try again in a moment"


class SecretNeeded(Problem):
    """A client secret belongs to one issuer and one client: for another it must be given again."""

    status, code, title = 422, "secret_needed", "Give the client secret of this issuer and client"


class RoleForAdministrators(Problem):
    """A claim would give a role that administers the tenant, and the tenant has not said that it may."""

    status, code, title = 422, "role_for_administrators", "Claims may not give a role that administers the tenant"


class NothingToShow(Conflict):
    """The session is whole already, or its person has no second factor to show and must enrol one."""

    code, title = "nothing_to_show", "There is no second factor to show in this session"


class SecondFactorFirst(Problem):
    """Another factor can be enrolled only by a session that has shown the one there is."""

    status, code, title = 403, "second_factor_first", "Show the second factor that you have before you enrol another"


class LastFactor(Conflict):
    """The person holds a role that needs a second factor, and this is the only one."""

    code, title = "last_factor", "Your role needs a second factor: enrol another before you remove this one"


class SessionOver(NotAuthenticated):
    """The refresh cookie is missing, unknown, used before, or its session has ended: one answer for all."""

    code, title = "session_over", "The session has ended; sign in again"


class InvalidClient(NotAuthenticated):
    """The client credentials are wrong (RFC 6749 §5.2)."""

    code, title = "invalid_client", "The client credentials are not accepted"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Basic realm="tallystick"'})


class UnsupportedGrantType(Problem):
    """Only ``client_credentials`` is served (RFC 6749 §5.2)."""

    status, code, title = 400, "unsupported_grant_type", "Only grant_type=client_credentials is served here"
