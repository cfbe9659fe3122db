"""The accounts and users of NATS, from the topology: one account and one nkey for each service (ADR 0023).

Streams and durables live in the broker's account. A service's account reaches it by imports of the service's own
subjects, and the server rewrites every reply subject on the way: an answer can go nowhere but back. The keeper, which
puts back what the broker has lost, has such an account too, and no other right than to look and to make (ADR 82).
"""

from collections.abc import Callable

from tallystick_contracts.topology import (
    DURABLES,
    PULL_EXPIRES_S,
    STREAM_SUBJECTS,
    Permissions,
    ServiceName,
    core_exports_of,
    durables_of,
    inbox_prefix,
    permissions_of,
)

ADMIN, KEEPER = "admin", "keeper"
USERS = (ADMIN, KEEPER, *(str(service) for service in ServiceName))
KEEPER_API = "broker.api"
"""Where the keeper's account has the broker's `$JS.API`: under that name it would ask for a JetStream of its own."""
_BROKER = "broker"
_KEEPER_INBOX = inbox_prefix(KEEPER)
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
        "exports": [
            *({"service": f"$JS.API.{asked}", "accounts": [KEEPER]} for asked in _asked_by_keeper()),
            *(export for service in ServiceName for export in _broker_exports(service)),
        ],
    }
    keeper: dict[str, object] = {
        "users": [
            _user(
                public_key_of(KEEPER),
                Permissions(tuple(f"{KEEPER_API}.{asked}" for asked in _asked_by_keeper()), (f"{_KEEPER_INBOX}.>",)),
            )
        ],
        "imports": [
            {"service": {"account": _BROKER, "subject": f"$JS.API.{asked}"}, "to": f"{KEEPER_API}.{asked}"}
            for asked in _asked_by_keeper()
        ],
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
    return {_BROKER: broker, KEEPER: keeper, **services}


def _asked_by_keeper() -> tuple[str, ...]:
    streams = (f"STREAM.{verb}.{name}" for name in STREAM_SUBJECTS for verb in ("INFO", "CREATE"))
    durables = (
        f"CONSUMER.{verb}.{durable.stream}.{durable.name}"
        for durable in DURABLES
        for verb in ("INFO", "DURABLE.CREATE")
    )
    return (*streams, *durables)


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
