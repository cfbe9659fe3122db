"""What a replay reports: findings with a code, a verdict, and what it cannot show."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from tallystick_cli.audit.dropped import DroppedLog
from tallystick_cli.audit.key_history import KeyUse

Code = Literal[
    "hash",
    "chain",
    "order",
    "source_gap",
    "root",
    "signature",
    "format",
    "log",
    "size",
    "time",
    "truncated",
    "key",
    "absent",
]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong. ``seq`` counts from 0, ``line`` from 1; both are absent where no entry is to blame."""

    code: Code
    message: str
    seq: int | None = None
    line: int | None = None


class Report(msgspec.Struct, frozen=True):
    """The outcome for one log. ``root`` is the base64 of the replayed tree's root, None when the replay stopped.

    ``notes`` say what the entries tell of other logs: that their content was dropped after its retention, or that this
    log goes on for them after a restore that lost signed entries.
    ``keys`` is the history of checkpoint keys, as far as the replay got; empty where the log has no rotation.
    ``since`` is the size of the kept checkpoint that the log was compared with, None if none of it was kept. It stands
    for the first ``not_read`` of the ``entries``, which were not read again. ``dropped`` are the logs whose content is
    gone, as ``notes`` say.
    """

    source: str
    log: str | None
    status: Literal["intact", "damaged"]
    authenticated: bool
    entries: int
    root: str | None
    findings: tuple[Finding, ...]
    limits: tuple[str, ...]
    notes: tuple[str, ...] = ()
    keys: tuple[KeyUse, ...] = ()
    since: int | None = None
    not_read: int = 0
    dropped: tuple[DroppedLog, ...] = ()


class DamagedLogError(Exception):
    """A log does not hold, so nothing is made from it; its report says why."""

    def __init__(self, report: Report) -> None:
        """Keep the report."""
        super().__init__(f"{report.source} is damaged")
        self.report = report


class EntryProof(msgspec.Struct, frozen=True):
    """A proved entry: ``root`` is base64, ``line`` the entry, ``proof`` a c2sp.org/tlog-proof@v1 file."""

    log: str
    seq: int
    size: int
    root: str
    authenticated: bool
    line: str
    proof: str


class Summary(msgspec.Struct, frozen=True):
    """The outcome for several logs at once."""

    status: Literal["intact", "damaged"]
    authenticated: bool
    entries: int
    findings: tuple[Finding, ...]
    limits: tuple[str, ...]
    logs: tuple[Report, ...]


_SHOWN_SERIES: Final = 8

ALWAYS: Final = (
    "Events that their service never numbered leave no gap, so no replay can miss them.",
    "Others may have been shown another log: compare this checkpoint's size and root with theirs.",
    "The entries are as they were recorded; whether they were true when recorded, no replay can tell.",
)
NOT_AUTHENTICATED: Final = (
    "The key came with the log, so anyone could have made both: pin the ledger's key and pass it with --key."
)
NOTHING_KEPT: Final = "Without a checkpoint you kept (--since), the whole log may have been rewritten and signed again."


def limits(*, authenticated: bool, since: bool, skipped: int = 0, continued: Sequence[str] = ()) -> tuple[str, ...]:
    """List what this replay, even when it finds nothing, does not show.

    ``continued`` are the series of an audit log that began in a log before, such as ``identity/login goes on at 521``.
    """
    series = ", ".join(continued[:_SHOWN_SERIES]) + (" and others" if len(continued) > _SHOWN_SERIES else "")
    before = f"The log goes on where an earlier one ended: {series}. Whether those before are whole, that one shows."
    again = f"The first {skipped} entries were not read again: the checkpoint you kept stands for them."
    return (
        *ALWAYS,
        *(() if authenticated else (NOT_AUTHENTICATED,)),
        *(() if since else (NOTHING_KEPT,)),
        *((again,) if skipped else ()),
        *((before,) if continued else ()),
    )


def summarise(reports: tuple[Report, ...]) -> Summary:
    """Add several logs' reports up; one damaged or unauthenticated log makes the whole so."""
    return Summary(
        status="damaged" if any(report.status == "damaged" for report in reports) else "intact",
        authenticated=all(report.authenticated for report in reports),
        entries=sum(report.entries for report in reports),
        findings=tuple(finding for report in reports for finding in report.findings),
        limits=tuple(dict.fromkeys(limit for report in reports for limit in report.limits)),
        logs=reports,
    )
