"""Logs of which a checkpoint was kept, and that are not among those that were handed over now."""

from collections.abc import Sequence

from tallystick_tlog import Checkpoint, to_base64

from tallystick_cli.audit.dropped import DroppedLog
from tallystick_cli.audit.findings import Finding, Report, limits
from tallystick_cli.audit.kept import KeptLog


def find_absent(kept: Sequence[KeptLog], reports: Sequence[Report]) -> tuple[Report, ...]:
    """Report each kept log that none of ``reports`` is about, unless an intact one tells that it was dropped.

    A log goes only after its retention, and then its tenant's compliance log says so: how long it was, and its root.
    """
    here = {report.log for report in reports}
    told = {
        one.log: one
        for report in reports
        if report.status == "intact" and report.log is not None
        for one in report.dropped
        if _tenant_of(one.log) == _tenant_of(report.log)
    }
    return tuple(
        _report(item.checkpoint, finding)
        for item in kept
        if item.checkpoint.origin not in here
        and (finding := _judge(item.checkpoint, told.get(item.checkpoint.origin))) is not None
    )


def _judge(kept: Checkpoint, dropped: DroppedLog | None) -> Finding | None:
    if dropped is None:
        message = (
            f"you kept a checkpoint of its {kept.size} entries, and the log is not here; nothing says it was dropped"
        )
        return Finding("absent", message)
    if kept.size > dropped.size:
        message = f"it was dropped with {dropped.size} entries, and the checkpoint that you kept counts {kept.size}"
        return Finding("truncated", message)
    if kept.size == dropped.size and to_base64(kept.root) != dropped.root:
        return Finding("root", "it was dropped with another root than that of the checkpoint that you kept")
    return None


def _report(kept: Checkpoint, finding: Finding) -> Report:
    return Report(
        source="what you kept",
        log=kept.origin,
        status="damaged",
        authenticated=False,
        entries=0,
        root=None,
        findings=(finding,),
        limits=limits(authenticated=True, since=True),
        since=kept.size,
    )


def _tenant_of(origin: str) -> str:
    return origin.rpartition("/")[0]
