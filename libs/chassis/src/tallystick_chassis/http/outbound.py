"""Requests to hosts that a tenant named: nobody's private network is reached, and no answer is too long or late.

The host's addresses are looked up once and the connection goes to what was looked up, so that a name cannot point
elsewhere in between. Nothing is redirected, nothing is kept alive for another host, no proxy or netrc is read.
"""

from __future__ import annotations

import asyncio
import enum
import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import certifi
import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from pathlib import Path

_HOST: Final = re.compile(r"[a-z0-9.:-]{1,253}")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class HostNames(tuple[str, ...]):
    """Host names, given with commas between them."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Read the list."""
        names = [name.strip().lower() for name in text.split(",") if name.strip()]
        if not names or not all(_HOST.fullmatch(name) for name in names):
            msg = "not host names with commas between them"
            raise ValueError(msg)
        return super().__new__(cls, names)


class OutboundFault(enum.StrEnum):
    """Why a host could not be asked; none names a host or a value."""

    NOT_AN_ADDRESS = "not an address"
    NOT_A_PLAIN_HTTPS_ADDRESS = "not a plain https address"
    NO_ANSWER_IN_TIME = "no answer in time"
    NO_CONNECTION = "no connection"
    NOT_A_PUBLIC_HOST = "not a public host"
    ANSWER_IS_TOO_LONG = "the answer is too long"


class OutboundError(Exception):
    """The host was not asked, or did not answer as it should."""

    def __init__(self, fault: OutboundFault) -> None:
        self.fault = fault
        super().__init__(fault.value)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered; ``content`` is empty where nobody wanted it."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Outbound:
    """The one way out. ``internal_hosts`` may have private addresses, and loopback ones plain HTTP.

    ``ca_file`` holds authorities that are trusted beside the public ones.
    """

    def __init__(self, *, internal_hosts: Collection[str] = (), ca_file: Path | None = None) -> None:
        self._internal = frozenset(host.lower() for host in internal_hosts)
        self.tls = ssl.create_default_context(cafile=certifi.where())
        if ca_file is not None:
            self.tls.load_verify_locations(ca_file)

    def parse(self, url: str) -> httpx.URL:
        """Return the address, unless it would not be asked whatever its host's addresses are.

        Raises:
            OutboundError: if it is not https, except for a loopback host that is internal, or says who asks.
        """
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            raise OutboundError(OutboundFault.NOT_AN_ADDRESS) from None
        is_secure = parsed.scheme == "https" or (parsed.scheme == "http" and parsed.host.lower() in self._internal)
        if not is_secure or not parsed.host or parsed.userinfo or parsed.fragment:
            raise OutboundError(OutboundFault.NOT_A_PLAIN_HTTPS_ADDRESS)
        return parsed

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes,
        time_limit_s: float,
        size_limit_bytes: int | None,
    ) -> Answer:
        """Send one request and return the answer, whatever its status; ``size_limit_bytes`` ``None``: without content.

        Raises:
            OutboundError: there is none.
        """
        parsed = self.parse(url)
        try:
            async with asyncio.timeout(time_limit_s):
                return await self._exchange(method, parsed, headers, content, size_limit_bytes)
        except TimeoutError:
            raise OutboundError(OutboundFault.NO_ANSWER_IN_TIME) from None
        except (httpx.HTTPError, OSError):
            raise OutboundError(OutboundFault.NO_CONNECTION) from None

    async def address(self, host: str, port: int, *, loopback_only: bool = False) -> str:
        """Look the host up and return the address to connect to.

        Raises:
            OutboundError: it has an address that is not public, and is not internal; or with ``loopback_only`` one of
                another machine.
            OSError: it has none.
        """
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
        is_internal = host.lower() in self._internal
        if not addresses or not (is_internal or all(is_public(one) for one in addresses)):
            raise OutboundError(OutboundFault.NOT_A_PUBLIC_HOST)
        if loopback_only and not all(one.is_loopback for one in addresses):
            raise OutboundError(OutboundFault.NOT_A_PLAIN_HTTPS_ADDRESS)
        return str(addresses[0])

    async def _exchange(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], content: bytes, size_limit_bytes: int | None
    ) -> Answer:
        is_plain = url.scheme == "http"
        address = await self.address(url.host, url.port or (80 if is_plain else 443), loopback_only=is_plain)
        request = httpx.Request(
            method,
            url.copy_with(host=address),
            headers={"Accept-Encoding": "identity", "Host": url.netloc.decode("ascii"), **headers},
            content=content or None,
            # The certificate must be the name's, though the connection goes to the address.
            extensions={"sni_hostname": url.host},
        )
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
        async with httpx.AsyncHTTPTransport(verify=self.tls, trust_env=False, limits=limits) as transport:
            response = await transport.handle_async_request(request)
            try:
                given = b"" if size_limit_bytes is None else await _within(size_limit_bytes, response.aiter_raw())
                return Answer(response.status_code, response.headers, given)
            finally:
                await response.aclose()


async def _within(limit: int, chunks: AsyncIterator[bytes]) -> bytes:
    content = bytearray()
    async for chunk in chunks:
        content += chunk
        if len(content) > limit:
            raise OutboundError(OutboundFault.ANSWER_IS_TOO_LONG)
    return bytes(content)


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Say whether an address is anybody's on the internet, also when it stands inside one of IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast
