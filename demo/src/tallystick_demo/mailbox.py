"""Reading one's mail: the Maildir to which the local SMTP server delivers, sorted by recipient."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tallystick_cli.cluster.mails import read_link
from tallystick_cli.cluster.steps import StepFailed

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick_cli.cluster.mails import Link

_POLL_S = 0.05


class Mailbox:
    """Watches a Maildir; each message is read once and kept for whoever waits for it."""

    def __init__(self, folder: Path) -> None:
        self._new = folder / "new"
        self._seen: set[str] = set()
        self._links: dict[str, list[Link]] = {}

    def _read_new(self) -> None:
        for path in sorted(self._new.glob("*"), key=lambda each: each.stat().st_mtime_ns):
            if path.name in self._seen:
                continue
            self._seen.add(path.name)
            if found := read_link(path.read_bytes()):
                recipient, link = found
                self._links.setdefault(recipient, []).append(link)

    async def next_link(self, address: str, *, timeout_s: float) -> Link:
        """Return the newest sign-in link that came for ``address`` and has not been taken yet.

        Raises:
            StepFailed: if none comes in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self._read_new()
            if waiting := self._links.pop(address.lower(), None):
                return waiting[-1]
            if time.monotonic() > deadline:
                msg = f"no sign-in mail came for {address} within {timeout_s:.0f} s"
                raise StepFailed(msg)
            await asyncio.sleep(_POLL_S)
