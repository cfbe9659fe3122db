"""What a service is to the chassis: a name, its settings, and what it wires together.

A service's ``__main__`` is ``from tallystick_chassis.process import main; main(SERVICE)``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from litestar import Response
    from litestar.types import ControllerRouterHandler
    from tallystick_contracts.envelope import Event

    from tallystick_chassis.bus import Bus
    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_chassis.doctor import Check
    from tallystick_chassis.http.introspection import Authenticator
    from tallystick_chassis.http.service_client import ServiceClient
    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.sealing import Sealer
    from tallystick_chassis.settings import Settings
    from tallystick_chassis.state import StateKind
    from tallystick_chassis.telemetry import Log
    from tallystick_chassis.transaction import Transaction

Handler = Callable[["Transaction", "Event"], Awaitable[None]]
"""An event handler: it runs in the inbox's transaction, and raises to get the event again."""


@dataclass(frozen=True, slots=True)
class Job:
    """A worker's repeated duty. ``run`` does one step: ``True`` means more work, ``False`` sleep ``interval_s``.

    A step that raises is logged and tried again after ``interval_s``.
    """

    name: str
    run: Callable[[], Awaitable[bool]]
    interval_s: float = 1.0


class Closable(Protocol):
    """What must be closed before the connection to NATS is: a ``Pull``, or a job with something in hand."""

    async def close(self) -> None:
        """Give back what is in hand."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a service brings: its routes, the events it handles, its jobs.

    ``handlers`` are by event type (``identity.user.created``). ``miss_tables`` are the service's tables with
    ``(tenant_id, id)`` in which a foreign id is looked up after a miss. ``authenticator`` is identity's own; others
    ask identity. ``readiness`` adds named checks that raise when they fail. ``bus_jobs`` makes jobs that need the
    worker's own connection to NATS (the ledger's writer); what it adds to the list is closed with the process, in
    order, and after it what is in ``closing``. ``state`` declares what an auditor may compare with the ledger.
    ``refuse`` makes the answer for an error of a route, for a service whose pages say it in words.
    """

    routes: Sequence[ControllerRouterHandler] = ()
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    jobs: Sequence[Job] = ()
    miss_tables: Sequence[str] = ()
    authenticator: Authenticator | None = None
    readiness: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    bus_jobs: Callable[[Bus, list[Closable]], Sequence[Job]] | None = None
    state: Sequence[StateKind] = ()
    closing: Sequence[Closable] = ()
    refuse: Callable[[Any, Exception], Response[Any]] | None = None


class Runtime:
    """What a running process holds: made once at start, closed at the end.

    A plain class: Litestar hands it to handlers, and would have msgspec look into a dataclass.
    """

    def __init__(
        self,
        *,
        service: str,
        settings: Any,  # noqa: ANN401 - the service's own Settings; its app.py narrows it once
        database: Database,
        duty: DutyDatabase,
        keys: KeyStore | None,
        clock: Clock,
        service_client: ServiceClient,
        sealer: Sealer,
        log: Log,
    ) -> None:
        self.service = service
        self.settings = settings
        self.database = database
        self.duty = duty
        self.keys = keys
        self.clock = clock
        self.service_client = service_client
        self.sealer = sealer
        self.log = log

    async def close(self) -> None:
        """Close connections and clients."""
        await self.service_client.close()
        if self.keys is not None:
            await self.keys.close()
        await self.duty.dispose()
        await self.database.dispose()


Command = Callable[[Runtime, Sequence[str]], Awaitable[int]]
"""An extra command of a service's process (identity's ``init``): arguments in, exit code out."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service: ``name`` is its event source, NATS user, client id and schema; ``package`` its import name.

    ``guards`` are ``table.name`` of constraints and triggers without which it does not start. ``checks`` are what
    ``doctor`` looks at in this service alone.
    """

    name: str
    package: str
    settings: type[Settings]
    wire: Callable[[Runtime], Wiring]
    commands: Mapping[str, Command] = field(default_factory=dict)
    guards: frozenset[str] = frozenset()
    checks: Mapping[str, Check] = field(default_factory=dict)
    version: str = "0.1.0"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request: a person in a session, or a service with its own credentials.

    ``name`` is the person's pseudonym or the service's name. A service has no tenant of its own: the request names one.
    """

    name: str
    is_service: bool
    session: str | None = None
    auth_time: int = 0
