"""Looking at one service's surroundings as the service itself has them: what holds, what does not, what to do.

``python -m tallystick_<service> doctor`` prints a ``Report``; ``tally doctor`` asks every service and compares them.
Nothing is changed, and no check waits longer than ``CHECK_TIMEOUT_S``.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from cryptography import x509
from sqlalchemy import func, select, text, tuple_

from tallystick_chassis.bus import Bus, BusUnavailableError
from tallystick_chassis.dead_letters import DeadLetterState
from tallystick_chassis.revisions import current_revision, head_revision, known_revisions
from tallystick_chassis.self_test import findings as isolation_findings
from tallystick_chassis.tables import dead_letters, events, feed_heads, outbox, source_cursors

if TYPE_CHECKING:
    from tallystick_chassis.service import Command, Runtime, Service
    from tallystick_chassis.settings import Settings

CHECK_TIMEOUT_S: Final = 10.0
CLOCK_WARNING_S: Final = 0.5
CLOCK_FAILED_S: Final = 2.0
"""Beyond it no session is checked locally (`http/epochs.py`), and every request asks identity."""
CERTIFICATE_WARNING: Final = timedelta(days=21)
CERTIFICATE_FAILED: Final = timedelta(days=3)
OUTBOX_WARNING: Final = timedelta(minutes=2)
OUTBOX_FAILED: Final = timedelta(minutes=15)

_ROLE = text(
    "select rolsuper or rolbypassrls or rolcreaterole or rolcreatedb from pg_roles where rolname = current_user"
)
_CLOCK = text("select clock_timestamp()")
_OLDEST: Final = 20


class State(enum.StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one check found, in a sentence, and what to do about it."""

    check: str
    state: State
    said: str
    do: str = ""


class Reached(msgspec.Struct, frozen=True, array_like=True):
    """How far one sequence has come: at its source (``consumer`` empty), or with one consumer of it."""

    consumer: str
    tenant: UUID
    source: str
    aggregate: str
    last_seq: int


class Report(msgspec.Struct, frozen=True):
    """One service's findings, and what only a comparison with the others can judge."""

    service: str
    version: str
    findings: tuple[Finding, ...]
    ledger_key: str = ""
    session_keys: tuple[str, ...] = ()
    reached: tuple[Reached, ...] = ()


Check = Callable[["Runtime"], Awaitable[Sequence[Finding]]]
"""One look at something. An error it raises is a failed finding."""


def doctor_command(service: Service) -> Command:
    """Return the ``doctor`` command of ``service``."""

    async def doctor(runtime: Runtime, arguments: Sequence[str]) -> int:
        del arguments
        report = await examine(runtime, service)
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return 0

    return doctor


async def examine(runtime: Runtime, service: Service) -> Report:
    """Make every check, those that need the database one after the other."""

    async def isolation(runtime: Runtime) -> Sequence[Finding]:
        return await check_isolation(runtime, service.guards)

    async def migrations(runtime: Runtime) -> Sequence[Finding]:
        return await check_migrations(runtime, service.package)

    every: dict[str, Check] = {
        "database": check_databases,
        "isolation": isolation,
        "migrations": migrations,
        "clock": check_clock,
        "certificate": check_certificates,
        "broker": check_broker,
        "outbox": check_outbox,
        "dead letters": check_dead_letters,
        "telemetry": check_telemetry,
        **service.checks,
    }
    found: list[Finding] = []
    for name, check in every.items():
        found += await _made(name, check, runtime)
    reached: tuple[Reached, ...] = ()
    if not any(one.check == "database" and one.state is State.FAILED for one in found):
        reached = await read_reached(runtime)
    settings: Settings = runtime.settings
    return Report(
        service=runtime.service,
        version=service.version,
        findings=tuple(found),
        ledger_key=settings.ledger_key.hex() if settings.ledger_key else "",
        session_keys=_key_ids(settings.session_jwks_file),
        reached=reached,
    )


async def _made(name: str, check: Check, runtime: Runtime) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check(runtime)
    except Exception as error:  # noqa: BLE001 - whatever stops a check is what it found
        return [
            Finding(name, State.FAILED, f"cannot be checked ({type(error).__name__})", "see the other findings first")
        ]


async def check_databases(runtime: Runtime) -> Sequence[Finding]:
    """Reach the database in both roles, and the key store."""
    found = []
    pings = {"TALLY_DSN": runtime.database.ping, "TALLY_DUTY_DSN": runtime.duty.ping}
    if runtime.keys is not None:
        pings["TALLY_KEYS_DSN"] = runtime.keys.ping
    for setting, ping in pings.items():
        try:
            await ping()
        except Exception as error:  # noqa: BLE001 - likewise
            said = f"the database of {setting} does not answer ({type(error).__name__})"
            found.append(Finding("database", State.FAILED, said, f"start Postgres, or mend {setting}"))
    return found or [Finding("database", State.OK, f"{', '.join(pings)} answer")]


async def check_isolation(runtime: Runtime, guards: frozenset[str]) -> Sequence[Finding]:
    """Test roles, row-level security and guards as at start-up, and the duty role besides."""
    wrong = await isolation_findings(runtime.database, guards)
    async with runtime.duty.duty() as connection:
        if (await connection.execute(_ROLE)).scalar_one():
            wrong.append("the duty role may do more than its tables' policies say")
    if not wrong:
        return [Finding("isolation", State.OK, "roles, row-level security and guards hold")]
    todo = "have an administrator run `tally db init`, then migrate; docs/howto/rls-checklist.md"
    return [Finding("isolation", State.FAILED, one, todo) for one in wrong]


async def check_migrations(runtime: Runtime, package: str) -> Sequence[Finding]:
    """Compare the schema's revision with the code's."""
    async with runtime.database.unscoped() as connection:
        revision = await current_revision(connection, runtime.service)
    head = head_revision(package)
    if revision == head:
        return [Finding("migrations", State.OK, f"the schema is at {revision}")]
    if revision is not None and revision not in known_revisions(package):
        said = f"the schema is at {revision}, of a newer release than this one"
        return [
            Finding("migrations", State.WARNING, said, "finish the upgrade, or the rollback: docs/howto/rollback.md")
        ]
    said = f"the schema is at {revision or 'nothing'}, the code wants {head}"
    return [Finding("migrations", State.FAILED, said, f"run `python -m {package} migrate`")]


async def check_clock(runtime: Runtime) -> Sequence[Finding]:
    """Compare this machine's clock with the database's."""
    async with runtime.database.unscoped() as connection:
        await connection.execute(_CLOCK)  # the first statement also connects
        before = time.time()
        theirs: datetime = (await connection.execute(_CLOCK)).scalar_one()
        ours = (before + time.time()) / 2
    ahead_s = ours - theirs.timestamp()
    said = f"this clock is {abs(ahead_s):.3f} s {'ahead of' if ahead_s > 0 else 'behind'} the database's"
    if abs(ahead_s) < CLOCK_WARNING_S:
        return [Finding("clock", State.OK, said)]
    state = State.WARNING if abs(ahead_s) < CLOCK_FAILED_S else State.FAILED
    return [Finding("clock", state, said, "have both machines follow one time service (chrony, or the cloud's own)")]


async def check_certificates(runtime: Runtime) -> Sequence[Finding]:
    """Say until when the listener's certificate and the authorities last, and that the key is the certificate's."""
    settings: Settings = runtime.settings
    now = runtime.clock()
    found = [
        *_lasts(settings.tls_cert_file, now, "the listener's certificate", "TALLY_TLS_CERT_FILE"),
        *_lasts(settings.ca_file, now, "the newest authority", "TALLY_CA_FILE"),
    ]
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (ssl.SSLError, OSError) as error:
        said = f"the listener's key is not its certificate's ({type(error).__name__})"
        found.append(Finding("certificate", State.FAILED, said, "mend TALLY_TLS_KEY_FILE"))
    return found


def _lasts(file: Path, now: datetime, what: str, setting: str) -> Sequence[Finding]:
    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        said = f"{what} cannot be read ({type(error).__name__})"
        return [Finding("certificate", State.FAILED, said, f"mend {setting}")]
    # Of the listener's chain its own comes first; of authorities one that lasts is enough.
    ends = certificates[0].not_valid_after_utc
    if setting == "TALLY_CA_FILE":
        ends = max(one.not_valid_after_utc for one in certificates)
    left = ends - now
    said = f"{what} lasts until {ends:%Y-%m-%d}, {left.days} days"
    if left > CERTIFICATE_WARNING:
        return [Finding("certificate", State.OK, said)]
    state = State.WARNING if left > CERTIFICATE_FAILED else State.FAILED
    return [Finding("certificate", state, said, f"renew it and restart the service: {setting}")]


async def check_broker(runtime: Runtime) -> Sequence[Finding]:
    """Connect to NATS as the service's own user."""
    settings: Settings = runtime.settings
    bus = Bus(settings.nats_url, name=runtime.service, seed=settings.nats_seed, ca_file=settings.ca_file)
    try:
        await bus.client()
    except BusUnavailableError as error:
        todo = "start NATS, or mend TALLY_NATS_URL and TALLY_NATS_SEED; meanwhile events go to the ledger over HTTP"
        return [Finding("broker", State.FAILED, f"NATS does not take this user ({error})", todo)]
    finally:
        await bus.close()
    return [Finding("broker", State.OK, "NATS takes this service's user")]


async def check_outbox(runtime: Runtime) -> Sequence[Finding]:
    """Say what waits for NATS or for the ledger's receipt, and for how long the oldest does."""
    first = select(outbox.c.tenant_id, outbox.c.event_id).order_by(outbox.c.position).limit(_OLDEST).subquery()
    oldest = select(func.min(events.c.stored_at)).where(
        tuple_(events.c.tenant_id, events.c.event_id).in_(select(first))
    )
    async with runtime.duty.duty() as connection:
        waiting = (await connection.execute(select(func.count()).select_from(outbox))).scalar_one()
        since: datetime | None = (await connection.execute(oldest)).scalar()
    if since is None:
        return [Finding("outbox", State.OK, "the ledger has confirmed every event")]
    age = runtime.clock() - since
    said = f"{waiting} events wait for the ledger's receipt, the oldest for {age.total_seconds():.0f} s"
    if age < OUTBOX_WARNING:
        return [Finding("outbox", State.OK, said)]
    todo = "see that this service's worker, NATS and the ledger's worker run; docs/runbooks/alarms-in-the-logs.md"
    return [Finding("outbox", State.WARNING if age < OUTBOX_FAILED else State.FAILED, said, todo)]


async def check_dead_letters(runtime: Runtime) -> Sequence[Finding]:
    """Count what waits for an operator."""
    query = select(func.count()).where(dead_letters.c.state.in_([DeadLetterState.OPEN, DeadLetterState.RETRYING]))
    async with runtime.duty.duty() as connection:
        waiting = (await connection.execute(query)).scalar_one()
    if not waiting:
        return [Finding("dead letters", State.OK, "none")]
    return [
        Finding("dead letters", State.WARNING, f"{waiting} wait for you", "`tally dlq list`, mend the cause, retry")
    ]


async def check_telemetry(runtime: Runtime) -> Sequence[Finding]:
    """Reach the collector, where there is one."""
    endpoint: str | None = runtime.settings.otlp_endpoint
    if endpoint is None:
        return [Finding("telemetry", State.OK, "no collector is set; logs are on standard output")]
    parts = urlsplit(endpoint)
    try:
        async with asyncio.timeout(3):
            port = parts.port or (443 if parts.scheme == "https" else 80)
            _, writer = await asyncio.open_connection(parts.hostname, port)
            writer.close()
    except (OSError, TimeoutError) as error:
        said = f"the collector does not answer ({type(error).__name__}); nothing but sight is lost"
        return [Finding("telemetry", State.WARNING, said, "start it, or mend TALLY_OTLP_ENDPOINT")]
    return [Finding("telemetry", State.OK, "the collector answers")]


async def read_reached(runtime: Runtime) -> tuple[Reached, ...]:
    """Return how far the service's own sequences have come, and how far its consumers have come with others'."""
    heads = select(feed_heads.c.tenant_id, feed_heads.c.aggregate, feed_heads.c.last_seq)
    cursors = select(
        source_cursors.c.consumer,
        source_cursors.c.tenant_id,
        source_cursors.c.source,
        source_cursors.c.aggregate,
        source_cursors.c.last_seq,
    )
    async with runtime.duty.duty() as connection:
        return (
            *(Reached("", tenant, runtime.service, *rest) for tenant, *rest in await connection.execute(heads)),
            *(Reached(*row) for row in await connection.execute(cursors)),
        )


def _key_ids(file: Path | None) -> tuple[str, ...]:
    if file is None:
        return ()
    try:
        keys = msgspec.json.decode(file.read_bytes())["keys"]
        return tuple(sorted(str(key["kid"]) for key in keys))
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return ()
