"""The NATS client, with a quicker reader of headers."""

from __future__ import annotations

from functools import lru_cache

from nats.aio.client import Client


class QuickClient(Client):
    """The client with a quicker reader of headers: its own looks at every character of every name of every message.

    Should the client one day read headers by another name, then this one is not asked, and only the speed is lost.
    """

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        pairs = (line.partition(b":") for line in raw.split(b"\r\n"))
        return {
            name: value.strip().decode("utf-8", "replace")
            for before, colon, value in pairs
            if colon and (name := _header_name(before)) is not None
        }


@lru_cache(maxsize=256)
def _header_name(raw: bytes) -> str | None:
    """Return the name, without the space around it; ``None``: it is not ASCII, or has space within."""
    try:
        name = raw.strip().decode("ascii")
    except UnicodeDecodeError:
        return None
    return None if any(character.isspace() for character in name) else name
