"""Verifying one exported log: its entries, its checkpoint, the key, and a checkpoint kept from before."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from tallystick_tlog import (
    Checkpoint,
    CheckpointError,
    KeyFormatError,
    NoteError,
    VerifierKey,
    open_checkpoint,
    read_checkpoint,
    to_base64,
)

from tallystick_cli.audit.drive import Advance, run
from tallystick_cli.audit.findings import Finding, Report, limits
from tallystick_cli.audit.kept import KeptLog, keep
from tallystick_cli.audit.key_history import trusted_at, uses
from tallystick_cli.audit.keys import parse_keys
from tallystick_cli.audit.replay import Replay
from tallystick_cli.audit.sources import CHECKPOINT, VKEY, LogSource
from tallystick_cli.audit.succession import read_succession


class Verification:
    """One log being verified: its checkpoint is read, :attr:`replay` takes the entries, the end is compared."""

    def __init__(self, source: LogSource, keys: tuple[VerifierKey, ...], kept: Sequence[KeptLog] = ()) -> None:
        """Read the checkpoint; without ``keys``, it is checked with the key that came along.

        ``checkpoint`` and ``replay`` are None if it is not one.

        Raises:
            AuditError: the source cannot be read.

        """
        self.checkpoint: Checkpoint | None = None
        self.replay: Replay | None = None
        self._source = source
        self._kept: KeptLog | None = None
        self._known: tuple[VerifierKey, ...] = ()
        self._pinned, self._since = bool(keys), bool(kept)
        self._findings: list[Finding] = []
        self._skipped = 0
        note = self.note = source.read_small(CHECKPOINT)
        try:
            self.checkpoint = read_checkpoint(note)
        except (NoteError, CheckpointError) as error:
            self._findings.append(Finding("format", f"the checkpoint is not one: {error}"))
            return
        origin = self.checkpoint.origin
        kept_log = self._kept = next((item for item in kept if item.checkpoint.origin == origin), None)
        self._since = kept_log is not None
        self._known = keys or self._own_keys()
        if kept_log is not None and self.checkpoint.size < kept_log.checkpoint.size:
            # A log that has become shorter is read from its first entry.
            kept_log = KeptLog(kept_log.note, kept_log.checkpoint)
        self.replay = kept_log.begin() if kept_log is not None else Replay(origin)
        self._skipped = self.replay.tree.end

    @property
    def resumed(self) -> bool:
        """Whether the replay goes on behind entries that are not read again."""
        return self._skipped > 0

    def report(self) -> Report:
        """Compare the end of the replay with the checkpoint."""
        findings = [*self._findings, *self._check_signatures()]
        if self.replay is not None and self.checkpoint is not None:
            findings += _compare(self.replay, self.checkpoint)
            if self._kept is not None:
                findings += _compare_kept(self.replay, self._kept.checkpoint)
        stopped = self.replay is None or self.replay.finding is not None or self.replay.suspicion is not None
        signed = all(finding.code != "signature" for finding in findings)
        return Report(
            source=self._source.name,
            log=self.checkpoint.origin if self.checkpoint else None,
            status="damaged" if findings else "intact",
            authenticated=self._pinned and self.checkpoint is not None and signed,
            entries=self.replay.tree.size if self.replay else 0,
            root=to_base64(self.replay.tree.root()) if self.replay and not stopped else None,
            findings=tuple(findings),
            limits=limits(
                authenticated=self._pinned,
                since=self._since,
                skipped=self._skipped,
                continued=self.replay.continued() if self.replay else (),
            ),
            notes=tuple(one.in_words() for one in self.replay.dropped) if self.replay else (),
            dropped=self.replay.dropped if self.replay else (),
            keys=uses(self.replay.history) if self.replay else (),
            since=self._kept.checkpoint.size if self._kept is not None else None,
            not_read=self._skipped,
        )

    def _check_signatures(self) -> list[Finding]:
        """Check each checkpoint by the key that was in force at its size; which one, the replay has found."""
        if self.replay is None or self.checkpoint is None or not self._known:
            return []
        known, history = self._known, self.replay.history
        found = check_signature(self.note, trusted_at(self.checkpoint.size, known, history), "the checkpoint")
        if self._kept is not None:
            trusted = trusted_at(self._kept.checkpoint.size, known, history)
            found += check_signature(self._kept.note, trusted, "the kept checkpoint")
        return found

    def _own_keys(self) -> tuple[VerifierKey, ...]:
        try:
            return parse_keys(self._source.read_small(VKEY).decode("ascii"))
        except (KeyFormatError, UnicodeDecodeError) as error:
            self._findings.append(Finding("signature", f"{VKEY} is not a verifier key: {error}"))
            return ()


def verify_log(  # noqa: PLR0917 (the command's own parameters)
    source: LogSource,
    keys: tuple[VerifierKey, ...],
    kept: Sequence[KeptLog],
    jobs: int,
    advance: Advance,
    keep_in: Path | None = None,
) -> Report:
    """Replay one log and compare it with its checkpoint; without ``keys``, with the key that came along.

    Whichever of ``kept`` is of this log must be its beginning; an intact log's checkpoint is kept in ``keep_in``.

    Raises:
        AuditError: the source cannot be read.

    """
    verification = Verification(source, keys, kept)
    if verification.replay is not None and verification.checkpoint is not None:
        run(source, verification.replay, verification.checkpoint.size, jobs, advance)
    report = verification.report()
    if report.log is not None and report.status == "intact":
        replay = verification.replay
        first_leaf = replay.first_leaf if replay is not None else b""
        succeeds, missing = read_succession(source, report.log, first_leaf, resumed=verification.resumed)
        status: Literal["intact", "damaged"] = "damaged" if missing else "intact"
        notes = (*succeeds, *report.notes)
        report = msgspec.structs.replace(report, notes=notes, findings=missing, status=status)
    if keep_in is not None and verification.replay is not None and report.status == "intact":
        keep(keep_in, verification.note, verification.replay)
    return report


def check_signature(note: bytes, keys: tuple[VerifierKey, ...], what: str) -> list[Finding]:
    """Find out whether a signed checkpoint, called ``what``, is signed by one of the keys."""
    try:
        open_checkpoint(note, keys)
    except (NoteError, CheckpointError) as error:
        return [Finding("signature", f"{what} is not signed by the key: {error}")]
    return []


def _compare(replay: Replay, checkpoint: Checkpoint) -> list[Finding]:
    """Compare the end of the replay with the checkpoint."""
    size, root = replay.tree.size, replay.tree.root()
    if replay.suspicion is not None:
        told = replay.suspicion.amended == checkpoint.root
        return [replay.suspicion.if_amended if told else replay.suspicion.otherwise]
    if replay.finding is not None:
        return [replay.finding]
    if size < checkpoint.size:
        message = f"the log ends after {size} entries, the checkpoint counts {checkpoint.size}"
        return [Finding("truncated", message, seq=size, line=size + 1)]
    if size > checkpoint.size:
        message = f"the log goes on after the {checkpoint.size} entries that the checkpoint counts"
        return [Finding("size", message, seq=checkpoint.size, line=checkpoint.size + 1)]
    if root != checkpoint.root:
        # Every link holds, so nothing can be told of the entries before: the last one has no successor to vouch for
        # it, and a run of entries may have been rewritten together with their links.
        message = (
            "all entries chain, but their tree has another root than the checkpoint:"
            " the last entry was changed, or entries up to it were rewritten"
        )
        return [Finding("root", message, seq=size - 1, line=size) if size else Finding("root", message)]
    return []


def _compare_kept(replay: Replay, kept: Checkpoint) -> list[Finding]:
    root = replay.roots.get(kept.size)
    if root is None:
        if replay.finding is not None or replay.suspicion is not None:
            return []
        return [Finding("truncated", f"the checkpoint you kept counts {kept.size} entries, the log has fewer")]
    if root != kept.root:
        return [Finding("root", f"the first {kept.size} entries are not those whose checkpoint you kept")]
    return []
