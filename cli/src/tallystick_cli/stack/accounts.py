"""The accounts and users of NATS, from the topology: one account and one nkey for each service (ADR 0023).

Streams and durables live in the broker's account. A service's account reaches it by imports of the service's own
subjects, and the server rewrites every reply subject on the way: an answer can go nowhere but back.
"""

from collections.abc import Callable

from tallystick_contracts.topology import (
    PULL_EXPIRES_S,
    Permissions,
    ServiceName,
    core_exports_of,
    durables_of,
    permissions_of,
)

ADMIN = "admin"
USERS = (ADMIN, *(str(service) for service in ServiceName))
_BROKER = "broker"
_EVERYTHING = Permissions(publish=(">",), subscribe=(">",))
# The broker keeps one entry a pull for its answers, until this long after the request.
_PULL_ANSWERS_S = 3 * PULL_EXPIRES_S


def accounts(public_key_of: Callable[[str], str]) -> dict[str, object]:
    """Return the server's `accounts`, as its configuration has them (it takes JSON); one user's nkey is asked for each.

    `public_key_of` may also return a `$VARIABLE` of the server's environment.
    """
    broker: dict[str, object] = {
        "jetstream": "enabled",
        "users": [_user(public_key_of(ADMIN), _EVERYTHING)],
        "exports": [export for service in ServiceName for export in _broker_exports(service)],
    }
    services: dict[str, object] = {
        str(service): {
            "users": [_user(public_key_of(service), permissions_of(service))],
            "exports": [
                {"stream": subject, "accounts": sorted(hearers)}
                for subject, hearers in core_exports_of(service).items()
            ],
            "imports": [
                *({"service": {"account": _BROKER, "subject": subject}} for subject in _asked_of_broker(service)),
                *(
                    {"stream": {"account": name, "subject": subject}}
                    for name in ServiceName
                    for subject, hearers in core_exports_of(name).items()
                    if service in hearers
                ),
            ],
        }
        for service in ServiceName
    }
    return {_BROKER: broker, **services}


def _asked_of_broker(service: ServiceName) -> tuple[str, ...]:
    # Heads and epochs go from service to service; nothing stores them.
    said = core_exports_of(service)
    return tuple(subject for subject in permissions_of(service).publish if subject not in said)


def _broker_exports(service: ServiceName) -> list[dict[str, object]]:
    pulls = {durable.pull_subject for durable in durables_of(service)}
    many_answers = {"response_type": "Stream", "response_threshold": f"{_PULL_ANSWERS_S}s"}
    return [
        {"service": subject, "accounts": [service], **(many_answers if subject in pulls else {})}
        for subject in _asked_of_broker(service)
    ]


def _user(public_key: str, allowed: Permissions) -> dict[str, object]:
    return {
        "nkey": public_key,
        "permissions": {"publish": {"allow": allowed.publish}, "subscribe": {"allow": allowed.subscribe}},
    }
