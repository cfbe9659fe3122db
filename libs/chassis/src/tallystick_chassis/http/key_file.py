"""A file of keys that is replaced while processes run: a rotation needs no restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

LOOK_INTERVAL_S: Final = 1.0


class KeyFile:
    """Looks at most once a second whether the file is another one; a file that cannot be read changes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._look_at = float("-inf")

    def read(self) -> bytes:
        """Return what the file holds now.

        Raises:
            OSError: if it cannot be read.
        """
        self._seen = self._stamp()
        return self._path.read_bytes()

    def read_if_changed(self, *, at_once: bool = False) -> bytes | None:
        """Return the new content once after each change; ``at_once`` looks even if it looked a moment ago."""
        now = time.monotonic()
        if now < self._look_at and not at_once:
            return None
        self._look_at = now + LOOK_INTERVAL_S
        try:
            return None if self._stamp() == self._seen else self.read()
        except OSError:
            return None

    def _stamp(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size
