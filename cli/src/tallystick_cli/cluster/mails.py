"""Reading sign-in mails: what a link looks like, and a mailbox behind the trial's window."""

import asyncio
import email
import email.policy
import re
import ssl
import time
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

import httpx
import msgspec

from tallystick_cli.cluster.steps import StepFailed

_LINK = re.compile(r"https://\S+/sign-in/[^/\s]+/verify#([0-9A-Za-z._~-]+?)\.([0-9A-Za-z_-]{20,})")
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Link:
    """The fragment of a sign-in link: which request, and its secret."""

    request_id: str
    token: str


class Messages(msgspec.Struct, frozen=True):
    """What the window shows: the messages that came for one address, the newest last."""

    messages: tuple[str, ...]


class Mailbox(Protocol):
    """Where somebody finds the links that were mailed to them."""

    async def next_link(self, address: str, *, timeout_s: float) -> Link:
        """Return the newest sign-in link that came for ``address`` and has not been taken yet.

        Raises:
            StepFailed: if none comes in time.
        """


def read_link(message: bytes) -> tuple[str, Link] | None:
    """Return the recipient of a message, in lower case, and the sign-in link in it; nothing where there is none."""
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    found = _LINK.search(parsed.get_content())
    return (str(parsed["To"]).strip().lower(), Link(found[1], found[2])) if found else None


class Window:
    """A mailbox that is read through `tallystick_cli.stack.mail_window`, at ``url``."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self._url = url
        self._tls = tls
        self._taken: dict[str, int] = {}

    async def next_link(self, address: str, *, timeout_s: float) -> Link:
        """Return the newest sign-in link that came for ``address`` and has not been taken yet.

        Raises:
            StepFailed: if none comes in time.
        """
        deadline = time.monotonic() + timeout_s
        problem = "there is none"
        async with httpx.AsyncClient(verify=self._tls, timeout=10.0) as client:
            while True:
                try:
                    answer = await client.get(f"{self._url}/messages/{quote(address)}")
                except httpx.TransportError as error:
                    problem = type(error).__name__
                else:
                    problem = f"HTTP {answer.status_code}"
                    if answer.is_success:
                        messages = msgspec.json.decode(answer.content, type=Messages).messages
                        if link := self._newest(address, messages):
                            return link
                if time.monotonic() > deadline:
                    msg = f"no sign-in mail came within {timeout_s:.0f} s (the mail server's window: {problem})"
                    raise StepFailed(msg)
                await asyncio.sleep(_POLL_S)

    def _newest(self, address: str, messages: tuple[str, ...]) -> Link | None:
        fresh = messages[self._taken.get(address, 0) :]
        self._taken[address] = len(messages)
        links = [found[1] for each in fresh if (found := read_link(each.encode())) is not None]
        return links[-1] if links else None
