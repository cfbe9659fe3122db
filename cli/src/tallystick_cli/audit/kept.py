"""What an auditor keeps of a log: its last verified checkpoint, and where the replay stood, so that it can go on there.

A kept folder has one folder for each log, named by its origin, with ``checkpoint`` (the signed note) and
``replay.json`` (the tree's hashes and the last number of every source). A checkpoint alone is kept as a plain file.
"""

import os
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
from tallystick_tlog import (
    Checkpoint,
    CheckpointError,
    CompactRange,
    NoteError,
    RotationError,
    TreeError,
    read_checkpoint,
)

from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.replay import Replay, ReplayState
from tallystick_cli.audit.sources import CHECKPOINT, ENTRIES, read_small_file

REPLAY: Final = "replay.json"


class KeptLog(msgspec.Struct, frozen=True):
    """A kept checkpoint, not yet verified, and where the replay stood at its size, if that was kept too."""

    note: bytes
    checkpoint: Checkpoint
    state: ReplayState | None = None

    def begin(self) -> Replay:
        """Go on where the replay stood, or begin at the first entry.

        Raises:
            AuditError: a rotation that was kept does not hold.

        """
        if self.state is None:
            return Replay(self.checkpoint.origin, frozenset({self.checkpoint.size}))
        try:
            return Replay.resume(self.state)
        except RotationError as error:
            message = f"the kept replay of {self.checkpoint.origin} cannot be used: {error}"
            raise AuditError(message) from error


def load_since(path: Path) -> tuple[KeptLog, ...]:
    """Read what was kept: a checkpoint's file, a folder that :func:`keep` has written, or an older export.

    Raises:
        AuditError: it is neither.

    """
    try:
        folders = sorted(item.parent for item in path.glob(f"*/{CHECKPOINT}")) if path.is_dir() else None
        if folders is not None and (path / CHECKPOINT).exists():
            folders = [path]  # an older export, or one log's kept folder
    except (OSError, ValueError) as error:
        message = f"cannot read {path}: {error}"
        raise AuditError(message) from error
    if folders is None:
        return (_load(path, None),)
    if not folders:
        message = f"{path} is not a folder of kept checkpoints"
        raise AuditError(message)
    # A state that lies in an export came from the operator: the numbers of the sources in it are proved by nothing.
    return tuple(_load(folder / CHECKPOINT, None if _is_export(folder) else folder / REPLAY) for folder in folders)


def load_kept_before(folder: Path | None) -> tuple[KeptLog, ...]:
    """Read the checkpoints of a folder that is about to be kept in, which must not be lost to another history.

    Raises:
        AuditError: one of them cannot be read.

    """
    if folder is None:
        return ()
    try:
        found = sorted(folder.glob(f"*/{CHECKPOINT}"))
    except (OSError, ValueError) as error:
        message = f"cannot read {folder}: {error}"
        raise AuditError(message) from error
    return tuple(_load(file, None) for file in found)


def load_log(folder: Path, origin: str) -> KeptLog | None:
    """Read what was kept of one log; None if nothing was.

    Raises:
        AuditError: it cannot be read.

    """
    inner = log_folder(folder, origin)
    return _load(inner / CHECKPOINT, inner / REPLAY) if (inner / CHECKPOINT).exists() else None


def log_folder(folder: Path, origin: str) -> Path:
    """Say where a log's kept files lie: in a folder of this one, whatever the log calls itself."""
    name = quote(origin, safe="")
    return folder / (name if name.strip(".") else name.replace(".", "%2E"))


def keep(folder: Path, note: bytes, replay: Replay) -> None:
    """Keep a verified checkpoint and the replay's state at its size.

    Raises:
        AuditError: it cannot be written.

    """
    inner = log_folder(folder, replay.log)
    try:
        inner.mkdir(parents=True, exist_ok=True)
        # The state first: if the checkpoint's writing fails, the two do not match, and the state is not used.
        write_whole(inner / REPLAY, msgspec.json.encode(replay.state()))
        write_whole(inner / CHECKPOINT, note)
    except OSError as error:
        message = f"cannot write to {inner}: {error.strerror or error}"
        raise AuditError(message) from error


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file at once, so that a crash leaves the old one or the new one."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _is_export(folder: Path) -> bool:
    return any((folder / name).exists() or (folder / name).is_symlink() for name in (ENTRIES, "tile"))


def _load(checkpoint_file: Path, state_file: Path | None) -> KeptLog:
    note = read_small_file(checkpoint_file)
    try:
        checkpoint = read_checkpoint(note)
    except (NoteError, CheckpointError) as error:
        message = f"{checkpoint_file} is not a checkpoint: {error}"
        raise AuditError(message) from error
    if state_file is None or not state_file.exists():
        return KeptLog(note, checkpoint)
    try:
        state = msgspec.json.decode(read_small_file(state_file), type=ReplayState)
        tree = CompactRange.from_bytes(state.tree)
        matches = (state.log, tree.end, tree.root()) == (checkpoint.origin, checkpoint.size, checkpoint.root)
    except (msgspec.MsgspecError, TreeError, UnicodeDecodeError) as error:
        message = f"{state_file} is not a kept replay: {error}"
        raise AuditError(message) from error
    return KeptLog(note, checkpoint, state if matches else None)
