"""The load client's journal: each accepted command, on disk before the client goes on.

It is the client's own memory of what it was promised. At the end it is held against the event stores and the exports.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tallystick_cli.cluster.person import Accepted


class Journal:
    """An append-only file of JSON lines, fsynced line by line; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self.path = path
        self.accepted: list[Accepted] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def note(self, accepted: Accepted) -> None:
        """Write one line and wait until it is on the disk."""
        os.write(self._descriptor, msgspec.json.encode(accepted) + b"\n")
        os.fdatasync(self._descriptor)
        self.accepted.append(accepted)
