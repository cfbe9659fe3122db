"""Following a live log: each new checkpoint must extend the last one that was seen, entry by entry."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

import msgspec
from tallystick_tlog import (
    Checkpoint,
    CheckpointError,
    KeyHistory,
    NoteError,
    VerifierKey,
    open_checkpoint,
    read_checkpoint,
    to_base64,
)

from tallystick_cli.audit.drive import run
from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.findings import Finding
from tallystick_cli.audit.kept import KeptLog, keep, load_log, log_folder, write_whole
from tallystick_cli.audit.key_history import trusted_at
from tallystick_cli.audit.live import LiveSource
from tallystick_cli.audit.replay import Replay
from tallystick_cli.audit.sources import CHECKPOINT, LogSource

Alarm = Literal["signature", "fork", "shrunk", "gap", "damaged", "stall"]

GROWTH: Final = "monitor.json"


class Round(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one look at a log gave; ``size`` and ``root`` (base64) are of the checkpoint it shows now."""

    at: str
    source: str
    log: str | None = None
    size: int | None = None
    root: str | None = None
    added: int = 0
    alarm: Alarm | None = None
    message: str | None = None
    entry: int | None = None
    evidence: str | None = None


class _Growth(msgspec.Struct, frozen=True):
    """When the log last grew, as the monitor saw it, and where it was shown."""

    at: datetime
    size: int
    source: str = ""


class Monitor:
    """Looks at one log again and again; what it has seen is kept in a folder."""

    def __init__(
        self, source: LogSource, keys: tuple[VerifierKey, ...], folder: Path, stall_after_s: float | None
    ) -> None:
        """Name the log, its pinned keys, the folder, and after how long without growth to raise an alarm."""
        self._source, self._keys, self._folder = source, keys, folder
        self._stall_after_s = stall_after_s

    def look(self, now: datetime) -> Round:
        """Look once; the first look at a log replays all of it.

        Raises:
            AuditError: the log or the folder cannot be read.

        """
        at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        note = self._source.read_small(CHECKPOINT)
        try:
            checkpoint = read_checkpoint(note)
        except (NoteError, CheckpointError) as error:
            return Round(at, self._source.name, alarm="signature", message=f"the checkpoint is not one: {error}")
        kept = load_log(self._folder, checkpoint.origin)
        history = kept.begin().history if kept is not None else KeyHistory(checkpoint.origin)
        if kept is not None:
            self._check_kept(kept, history)
        refused = self._refusal(note, checkpoint, history)
        if kept is None and not refused and (before := self._shown_before()) is not None:
            message = f"log {before} was shown here, and now it is log {checkpoint.origin}"
            return Round(at, self._source.name, checkpoint.origin, alarm="fork", message=message)
        found: Replay | tuple[Alarm, Finding] | None = None
        if not refused or kept is None or checkpoint.size > kept.checkpoint.size:
            found = self._compare(kept, checkpoint)
        if refused and isinstance(found, Replay):
            # What was added may hold the rotation to the key that signed this.
            refused = self._refusal(note, checkpoint, found.history)
        if refused or found is None:
            message = f"the checkpoint is not signed by the pinned key: {refused}"
            return Round(at, self._source.name, alarm="signature", message=message)
        seen = Round(at, self._source.name, checkpoint.origin, checkpoint.size, to_base64(checkpoint.root))
        if isinstance(found, Replay):
            keep(self._folder, note, found)
            return self._watch_growth(
                seen, checkpoint, now, added=checkpoint.size - (kept.checkpoint.size if kept else 0)
            )
        alarm, finding = found
        evidence = self._save_evidence(note, checkpoint.origin, f"{now:%Y%m%dT%H%M%SZ}-{alarm}")
        message, entry = finding.message, finding.seq
        return msgspec.structs.replace(seen, alarm=alarm, message=message, entry=entry, evidence=str(evidence))

    def _shown_before(self) -> str | None:
        """Name the log that the source showed at an earlier look: where several keys are pinned, it may change it."""
        try:
            for path in sorted(self._folder.glob(f"*/{GROWTH}")):
                if msgspec.json.decode(path.read_bytes(), type=_Growth).source == self._source.name:
                    return unquote(path.parent.name)
        except (OSError, msgspec.MsgspecError) as error:
            message = f"cannot use what is kept in {self._folder}: {error}"
            raise AuditError(message) from error
        return None

    def _check_kept(self, kept: KeptLog, history: KeyHistory) -> None:
        refused = self._refusal(kept.note, kept.checkpoint, history)
        if refused:
            message = f"the checkpoint kept in {self._folder} is not signed by the pinned key: {refused}"
            raise AuditError(message)

    def _refusal(self, note: bytes, checkpoint: Checkpoint, history: KeyHistory) -> str:
        """Say why a checkpoint is not accepted, given the rotations seen; empty if it is."""
        try:
            open_checkpoint(note, trusted_at(checkpoint.size, self._keys, history))
        except (NoteError, CheckpointError) as error:
            return str(error)
        return ""

    def _compare(self, kept: KeptLog | None, checkpoint: Checkpoint) -> Replay | tuple[Alarm, Finding]:
        """Replay what was added; give the replay if the checkpoint is right, else the alarm."""
        if kept is not None and checkpoint.size < kept.checkpoint.size:
            message = f"the log counts {checkpoint.size} entries where it counted {kept.checkpoint.size}"
            return "shrunk", Finding("truncated", message)
        if kept is not None and checkpoint.size == kept.checkpoint.size and checkpoint.root != kept.checkpoint.root:
            message = f"two signed checkpoints of {checkpoint.size} entries have two roots"
            return "fork", Finding("root", message)
        replay = kept.begin() if kept is not None else Replay(checkpoint.origin)
        if replay.tree.end < checkpoint.size:
            added = LiveSource(self._source, replay.tree.end, checkpoint.size)
            run(added, replay, checkpoint.size, 1, lambda _size_bytes: None)
        return _judge(replay, kept, checkpoint)

    def _watch_growth(self, seen: Round, checkpoint: Checkpoint, now: datetime, *, added: int) -> Round:
        path = log_folder(self._folder, checkpoint.origin) / GROWTH
        try:
            growth = msgspec.json.decode(path.read_bytes(), type=_Growth) if path.exists() else None
            if growth is None or added:
                growth = _Growth(now, checkpoint.size, self._source.name)
                write_whole(path, msgspec.json.encode(growth))
        except (OSError, msgspec.MsgspecError) as error:
            message = f"cannot use {path}: {error}"
            raise AuditError(message) from error
        still_s = (now - growth.at).total_seconds()
        if self._stall_after_s is not None and still_s > self._stall_after_s:
            message = f"the log has not grown for {still_s:.0f} s"
            return msgspec.structs.replace(seen, alarm="stall", message=message)
        return msgspec.structs.replace(seen, added=added)

    def _save_evidence(self, note: bytes, origin: str, name: str) -> Path:
        """Keep the offending checkpoint: with the one kept before, it is the proof."""
        path = log_folder(self._folder, origin) / f"{name}.{CHECKPOINT}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, note)
        except OSError as error:
            message = f"cannot write {path}: {error.strerror or error}"
            raise AuditError(message) from error
        return path


def _judge(replay: Replay, kept: KeptLog | None, checkpoint: Checkpoint) -> Replay | tuple[Alarm, Finding]:
    broken = replay.finding or (replay.suspicion.otherwise if replay.suspicion is not None else None)
    if broken is not None:
        return _name(broken, kept)
    if kept is not None and replay.roots.get(kept.checkpoint.size) != kept.checkpoint.root:
        return "fork", Finding("root", f"the first {kept.checkpoint.size} entries are not those seen before")
    if replay.tree.end < checkpoint.size:
        message = f"only {replay.tree.end} of the {checkpoint.size} entries are given out"
        return "gap", Finding("truncated", message, seq=replay.tree.end, line=replay.tree.end + 1)
    if replay.tree.root() != checkpoint.root:
        before = f"the {kept.checkpoint.size} seen before and " if kept is not None else ""
        message = f"the checkpoint is not of {before}the entries given out"
        return "fork" if kept is not None else "damaged", Finding("root", message)
    return replay


def _name(broken: Finding, kept: KeptLog | None) -> tuple[Alarm, Finding]:
    """Say which alarm a replay's finding is."""
    if kept is not None and broken.code in {"hash", "chain"}:
        seen = kept.checkpoint.size
        if broken.seq in {seen - 1, seen}:
            message = f"what follows does not continue the {seen} entries seen before"
            return "fork", Finding("chain", message, seq=seen, line=seen + 1)
    return "gap" if broken.code in {"source_gap", "order"} else "damaged", broken
