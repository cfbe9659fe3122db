"""Identity's composition root: the only place that wires things."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.rewrapping import rewrap_command
from tallystick_chassis.service import Job, Runtime, Service, Wiring
from tallystick_contracts.generated.identity import CredentialKeyRotated

from tallystick_identity.bootstrap import add_tenant, init
from tallystick_identity.consumers import handlers
from tallystick_identity.containment.command import contain, record_key_rotation
from tallystick_identity.epochs.announcer import EpochAnnouncer
from tallystick_identity.factors.administration import administration_routes
from tallystick_identity.factors.api import factor_routes
from tallystick_identity.factors.passkey_api import passkey_routes
from tallystick_identity.factors.proving import Proving
from tallystick_identity.org_units.api import org_unit_routes
from tallystick_identity.pages.frame import refuse
from tallystick_identity.pages.routes import page_routes
from tallystick_identity.parts import make_parts
from tallystick_identity.passwords.api import password_routes
from tallystick_identity.people.api import people_routes
from tallystick_identity.people.find_api import find_routes
from tallystick_identity.people.status_api import status_routes
from tallystick_identity.request_edge import SERVICE_NAME
from tallystick_identity.roles.api import role_routes
from tallystick_identity.service_keys.api import service_key_routes
from tallystick_identity.sessions.account_api import account_routes
from tallystick_identity.sessions.api import session_routes
from tallystick_identity.settings import IdentitySettings
from tallystick_identity.sign_in.api import sign_in_routes
from tallystick_identity.sign_in.mail import LinkMailer, Postbox
from tallystick_identity.sso.administration import sso_administration_routes
from tallystick_identity.sso.api import sso_routes
from tallystick_identity.state import KINDS
from tallystick_identity.tenants.api import sign_in_policy_routes

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.bus import Bus

    from tallystick_identity.parts import Parts

_MAIL_INTERVAL_S = 0.2
_PRUNE_INTERVAL_S = 60.0
EPOCH_INTERVAL_S = 0.04


def wire(runtime: Runtime) -> Wiring:
    """Wire routes, handlers and jobs to one running process."""
    parts = make_parts(runtime)
    mailer = _mailer(runtime, parts)
    return Wiring(
        routes=_routes(runtime, parts),
        handlers=handlers(parts.keys),
        jobs=(
            Job("mail-sign-in-links", mailer.send_waiting, interval_s=_MAIL_INTERVAL_S),
            Job("prune-sign-in-requests", mailer.prune, interval_s=_PRUNE_INTERVAL_S),
        ),
        miss_tables=("people", "grants", "roles", "service_keys"),
        authenticator=parts.introspector,
        state=KINDS,
        refuse=refuse,
        bus_jobs=lambda bus, _pulls: [_announcing(runtime, bus)],
    )


def _announcing(runtime: Runtime, bus: Bus) -> Job:
    announcer = EpochAnnouncer(duty=runtime.duty, bus=bus, clock=runtime.clock)
    return Job("announce-epochs", announcer.step, interval_s=EPOCH_INTERVAL_S)


def _routes(runtime: Runtime, parts: Parts) -> list[ControllerRouterHandler]:
    settings, database = parts.settings, runtime.database
    proving = Proving(database=database, tries=parts.tries, csrf_key=settings.csrf_key)
    return [
        *sign_in_routes(
            door=parts.door, by_password=parts.by_password, passwords=parts.passwords, csrf_key=settings.csrf_key
        ),
        *page_routes(door=parts.door, single_sign_on=parts.sso.single_sign_on),
        *password_routes(passwords=parts.passwords, csrf_key=settings.csrf_key),
        *sign_in_policy_routes(database=database),
        *session_routes(
            database=database,
            sessions=parts.sessions,
            private_data=parts.private_data,
            introspector=parts.introspector,
            signer=parts.signer,
            clients=settings.clients,
            csrf_key=settings.csrf_key,
        ),
        *factor_routes(database=database, factors=parts.factors, passkeys=parts.passkeys, proving=proving),
        *passkey_routes(database=database, door=parts.door, passkeys=parts.passkeys, proving=proving),
        *sso_routes(
            duty=runtime.duty,
            single_sign_on=parts.sso.single_sign_on,
            csrf_key=settings.csrf_key,
            public_url=settings.public_url,
        ),
        *sso_administration_routes(
            database=database,
            configuration=parts.sso.configuration,
            directory=parts.sso.directory,
            accounts=parts.sso.accounts,
            public_url=settings.public_url,
        ),
        *administration_routes(factors=parts.factors, tries=parts.tries),
        *account_routes(database=database, private_data=parts.private_data, timeouts=settings.timeouts),
        *people_routes(database=database, people=parts.people, private_data=parts.private_data),
        *find_routes(database=database, people=parts.people),
        *status_routes(people=parts.people),
        *org_unit_routes(database=database),
        *role_routes(database=database),
        *service_key_routes(database=database),
    ]


def _mailer(runtime: Runtime, parts: Parts) -> LinkMailer:
    settings = parts.settings
    postbox = Postbox(
        host=settings.smtp_host,
        port=settings.smtp_port,
        tls=settings.mail_tls,
        ca_file=settings.ca_file,
        sender=settings.mail_from,
        public_url=settings.public_url.rstrip("/"),
    )
    return LinkMailer(
        database=runtime.database,
        duty=runtime.duty,
        private_data=parts.private_data,
        postbox=postbox,
        code_key=settings.blind_index_key,
        clock=runtime.clock,
        log=runtime.log,
    )


SERVICE = Service(
    name=SERVICE_NAME,
    package="tallystick_identity",
    settings=IdentitySettings,
    wire=wire,
    commands={
        "init": init,
        "add-tenant": add_tenant,
        "contain": contain,
        "record-key-rotation": record_key_rotation,
        "rewrap-keys": rewrap_command(CredentialKeyRotated),
    },
)
