"""Comparing what the services hold now with what the ledger says: which row was changed behind its back?"""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec
from tallystick_tlog import VerifierKey

from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.expected import Expectation, LogKind, Told, read_told
from tallystick_cli.audit.findings import Report
from tallystick_cli.audit.present import Service, read_rows, read_store, workspace
from tallystick_cli.audit.reconcile_rules import Rule, all_rules
from tallystick_cli.audit.sources import LogSource
from tallystick_cli.audit.walk import Walk

MAX_SHOWN: Final = 1_000
"""Differences that are named; the rest is counted."""

Code = Literal[
    "row_changed", "row_missing", "row_extra", "event_changed", "event_gone", "event_unrecorded", "event_withheld"
]


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing in which a service and the ledger differ; ``log`` and ``seq`` name the entry that says otherwise."""

    code: Code
    service: str
    kind: str
    key: str
    field: str | None = None
    expected: object = None
    present: object = None
    log: str | None = None
    seq: int | None = None


class Compared(msgspec.Struct, frozen=True):
    """How much of one service was compared; ``left_out`` are kinds whose logs were not given from their beginning."""

    service: str
    rows: int
    kinds: tuple[str, ...]
    left_out: tuple[str, ...]


class Reconciliation(msgspec.Struct, frozen=True):
    """The outcome. ``under_way`` counts rows and events that are newer than the logs: they are no differences yet.

    A log that is damaged is compared up to the damage; without a difference up to there the status is ``damaged``.
    """

    status: Literal["agrees", "differs", "damaged"]
    authenticated: bool
    as_of: str
    entries: int
    events: int
    under_way: int
    differences: tuple[Difference, ...]
    not_shown: int
    services: tuple[Compared, ...]
    limits: tuple[str, ...]


LIMITS: Final = (
    "A service answers for itself: one that lies to you and not to others is not found by asking it.",
    "What no event says is not compared: texts, sessions, settings, what key stores hold.",
    "A row changed and changed back in between leaves no trace here.",
)


class _Reconciler:
    def __init__(self, work: sqlite3.Connection, services: Sequence[Service], grace_s: float, now: datetime) -> None:
        self._work = work
        self._services = {service.name: service for service in services}
        self._grace = timedelta(seconds=grace_s)
        self._now = now
        self.expectation = Expectation(work, self._services)
        self.found: list[Difference] = []
        self.not_shown = 0
        self.under_way = 0
        self._streams: set[str] = set()
        self._types: set[str] = set()
        self._ids: set[str] = set()

    def read(self) -> None:
        # Rows before events: then every event that a row shows is either in the store as read, or told by the logs.
        for service in self._services.values():
            read_rows(self._work, service, _kinds_of(service.name))
        for service in self._services.values():
            read_store(self._work, service)

    def require_reach(self) -> None:
        """Refuse where the answers do not cover every unit: what is out of reach would look as if it were gone.

        Raises:
            AuditError: naming a unit.

        """
        for service in self._services.values():
            covered = service.reach()
            missing = set() if "*" in covered else self.expectation.units - covered
            if missing:
                message = (
                    f"{service.name} shows you nothing of org unit {min(missing)}"
                    f"{f' and {len(missing) - 1} others' if len(missing) > 1 else ''}:"
                    " reconciling needs state.read in the root unit and all units below it"
                )
                raise AuditError(message)

    def compare_events(self) -> None:
        told = self.expectation
        for one in told.differences:
            code: Code = "event_gone" if one.field is None else "event_changed"
            self._find(
                Difference(
                    code,
                    one.service,
                    one.type,
                    f"{one.stream} ({one.event_id})",
                    one.field,
                    one.expected,
                    one.present,
                    one.log,
                    one.seq,
                )
            )
        # What the entries did not take out of the table is in the store alone.
        rows = self._work.execute(
            "select service, aggregate, seq, event_id, stream, type, stored_at from stored "
            "union all select service, null, null, event_id, stream, type, stored_at from unnumbered"
        )
        for service, aggregate, seq, event_id, stream, kind, stored_at in rows.fetchall():
            place = (service, aggregate or (kind or "").partition(".")[2].partition(".")[0])
            log = told.log_of(*place)
            if log is None or log not in told.as_of:
                continue
            first, last = told.heads.get(place, (1, 0))
            if seq is not None and seq < first and log == "audit":
                continue  # of a period that was not given
            key = f"{stream or 'a stream that is gone'} ({event_id})"
            if seq is not None and seq <= last:
                self._find(Difference("event_unrecorded", service, kind or aggregate, key))
            elif self._is_late(stored_at, log):
                self._find(Difference("event_withheld", service, kind or aggregate, key, present=stored_at))
            else:
                self.under_way += 1
                self._streams.add(stream)
                self._types.add(kind)
                self._ids.add(event_id)

    def compare_rows(self) -> tuple[Compared, ...]:
        return tuple(self._compare_service(service) for service in self._services)

    def _compare_service(self, service: str) -> Compared:
        kinds = _kinds_of(service)
        covered = tuple(kind for kind in kinds if self._is_covered(service, kind))
        count = 0
        for kind in covered:
            rows = self._work.execute(
                "select p.key, p.stream, p.fields, e.fields, e.created from present p left join expected e "
                "on e.service = p.service and e.kind = p.kind and e.key = p.key where p.service = ? and p.kind = ?",
                (service, kind),
            )
            for key, stream, fields, told, created in rows:
                count += 1
                self._compare_row(service, kind, key, stream, msgspec.json.decode(fields), told if created else None)
            gone = self._work.execute(
                "select e.key, e.fields, e.log, e.seq from expected e left join present p "
                "on p.service = e.service and p.kind = e.kind and p.key = e.key "
                "where e.service = ? and e.kind = ? and e.created and p.key is null",
                (service, kind),
            )
            for key, told, log, seq in gone:
                if any(self._is_following(service, one) for one in read_told(told).values()):
                    self.under_way += 1
                else:
                    self._find(Difference("row_missing", service, kind, key, log=log, seq=seq))
        return Compared(service, count, covered, tuple(kind for kind in kinds if kind not in covered))

    def _compare_row(  # noqa: PLR0917 (the columns of one row)
        self, service: str, kind: str, key: str, stream: str, present: dict[str, object], told: bytes | None
    ) -> None:
        if told is None:
            if self._may_be_new(service, kind, stream, present):
                self.under_way += 1
            else:
                self._find(Difference("row_extra", service, kind, key))
            return
        for name, one in read_told(told).items():
            if name in present and present[name] == one.value:
                continue
            new = present.get(name)
            late = not one.made and self._is_following(service, one)
            if stream in self._streams or late or self._is_moving(service, kind, name, new):
                self.under_way += 1
                return
            self._find(Difference("row_changed", service, kind, key, name, one.value, new, one.log, one.seq))

    def _is_covered(self, service: str, kind: str) -> bool:
        """Say whether the logs tell of all rows of a kind, from the first."""
        makers = [rule for rule in _rules_of(service, kind) if rule.creates]
        starts = [(rule.log, self.expectation.heads.get((rule.source, rule.aggregate))) for rule in makers]
        return all(
            log in self.expectation.as_of and (head[0] == 1 if head is not None else log == "compliance")
            for log, head in starts
        )

    def _may_be_new(self, service: str, kind: str, stream: str, present: dict[str, object]) -> bool:
        """Say whether an event that is under way can have made a row that the logs do not tell of."""
        if stream in self._streams:
            return "event" not in present or present["event"] in self._ids
        sources = {rule.source for rule in _rules_of(service, kind) if rule.creates}
        return not sources <= self._services.keys()

    def _is_following(self, service: str, told: Told) -> bool:
        """Say whether a service may still be on its way to what another service said a moment ago."""
        return told.source != service and self._now - _moment(told.recorded) < self._grace

    def _is_moving(self, service: str, kind: str, name: str, present: object) -> bool:
        """Say whether an event of another stream, which the logs do not have yet, can have set a field to this."""
        return any(
            rule.elsewhere
            and (rule.type in self._types or rule.source not in self._services)
            and (part := rule.sets.get(name)) is not None
            and (part.is_read or part.value == present)
            for rule in _rules_of(service, kind)
        )

    def _is_late(self, stored_at: str | None, log: LogKind) -> bool:
        """Say whether an event is so old that the log would have it, or claims to be of the future."""
        if stored_at is None:
            return True
        moment = _moment(stored_at)
        # Differences, not sums: a service may claim the last moment of the calendar.
        return _moment(self.expectation.as_of[log]) - moment > self._grace or moment - self._now > self._grace

    def _find(self, difference: Difference) -> None:
        if len(self.found) < MAX_SHOWN:
            self.found.append(difference)
        else:
            self.not_shown += 1


def reconcile(  # noqa: PLR0917 (the command's own parameters)
    sources: Sequence[LogSource],
    services: Sequence[Service],
    keys: tuple[VerifierKey, ...],
    grace_s: float,
    advance: Advance,
    now: datetime,
) -> tuple[Reconciliation, tuple[Report, ...]]:
    """Verify the logs, fold them, and compare them with the services' present state.

    Raises:
        AuditError: a log or a service cannot be read, the logs are not one tenant's, or a unit is out of reach.

    """
    # The checkpoints first: no event may be in the logs that the services did not have when they were asked.
    walks = [Walk(source, keys) for source in sources]
    _require_one_tenant(walks)
    with workspace() as work:
        reconciler = _Reconciler(work, services, grace_s, now)
        reconciler.read()
        for walk in walks:
            for _, lines in walk.lines(advance):
                for line in lines:
                    reconciler.expectation.add(line)
        reports = tuple(walk.report() for walk in walks)
        reconciler.require_reach()
        reconciler.compare_events()
        compared = reconciler.compare_rows()
    told = reconciler.expectation
    damaged = any(report.status == "damaged" for report in reports)
    outcome = Reconciliation(
        status="differs" if reconciler.found else "damaged" if damaged else "agrees",
        authenticated=all(report.authenticated for report in reports),
        as_of=max(told.as_of.values(), default=""),
        entries=sum(report.entries for report in reports),
        events=told.events,
        under_way=reconciler.under_way,
        differences=tuple(reconciler.found),
        not_shown=reconciler.not_shown,
        services=compared,
        limits=LIMITS,
    )
    return outcome, reports


def _require_one_tenant(walks: Sequence[Walk]) -> None:
    tenants = {walk.checkpoint.origin.rpartition("/")[0] for walk in walks if walk.checkpoint is not None}
    if len(tenants) > 1:
        message = f"these are logs of {len(tenants)} tenants; reconcile one at a time"
        raise AuditError(message)


def _rules_of(service: str, kind: str) -> Iterator[Rule]:
    return (rule for rule in all_rules() if rule.service == service and rule.kind == kind)


def _kinds_of(service: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule.kind for rule in all_rules() if rule.service == service))


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text[:50]} is no time"
        raise AuditError(message) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
