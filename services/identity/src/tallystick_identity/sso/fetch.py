"""Fetch from a provider that a tenant named: nobody's private network is reached, and no answer is too long or late.

The host's addresses are looked up once and the connection goes to what was looked up, so that a name cannot point
elsewhere in between. Nothing is redirected, nothing is kept alive for another host, no proxy or netrc is read.
"""

from __future__ import annotations

import asyncio
import enum
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING, Final

import certifi
import httpx
import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from pathlib import Path

TIME_LIMIT_S: Final = 5.0
SIZE_LIMIT_BYTES: Final = 262_144
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class Fault(enum.StrEnum):
    """Why a provider cannot be worked with; none names a host or a value."""

    NOT_AN_ADDRESS = "not an address"
    NOT_A_PLAIN_HTTPS_ADDRESS = "not a plain https address"
    NO_ANSWER_IN_TIME = "no answer in time"
    NO_CONNECTION = "no connection"
    ANSWER_IS_NO_JSON_OBJECT = "the answer is no JSON object"
    NOT_ANSWERED = "not answered 200"
    ANSWER_IS_ENCODED = "the answer is encoded"
    NOT_A_PUBLIC_HOST = "not a public host"
    ANSWER_IS_TOO_LONG = "the answer is too long"
    METADATA_IS_NOT_VALID = "the provider's metadata is not valid"
    NAMES_ANOTHER_ISSUER = "the provider names another issuer"
    CANNOT_DO_PKCE = "the provider cannot do PKCE with S256"
    METADATA_LACKS_AN_ADDRESS = "the provider's metadata lacks an address"
    PUBLISHES_NO_USABLE_KEY = "the provider publishes no usable key"


class FetchError(Exception):
    """The provider could not be asked, or its answer is of no use."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.value)


class Fetcher:
    """Gets and posts, for JSON. ``internal_hosts`` may have private addresses, and loopback ones plain HTTP."""

    def __init__(self, *, internal_hosts: Collection[str] = (), ca_file: Path | None = None) -> None:
        self._internal = frozenset(host.lower() for host in internal_hosts)
        self._tls = ssl.create_default_context(cafile=certifi.where())
        if ca_file is not None:
            self._tls.load_verify_locations(ca_file)

    async def get(self, url: str, *, bearer: str | None = None) -> dict[str, object]:
        """Return the JSON object at ``url``.

        Raises:
            FetchError: for anything else.
        """
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        return await self._ask("GET", url, headers, b"")

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> dict[str, object]:
        """Return the JSON object with which ``url`` answers a form.

        Raises:
            FetchError: for anything else.
        """
        return await self._ask("POST", url, headers, body)

    def check(self, url: str) -> None:
        """Refuse an address that would not be fetched whatever its host's addresses are.

        Raises:
            FetchError: if it is not https, except for a loopback host that is internal, or says who asks.
        """
        self._parsed(url)

    def _parsed(self, url: str) -> httpx.URL:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            raise FetchError(Fault.NOT_AN_ADDRESS) from None
        is_secure = parsed.scheme == "https" or (parsed.scheme == "http" and parsed.host.lower() in self._internal)
        if not is_secure or not parsed.host or parsed.userinfo or parsed.fragment:
            raise FetchError(Fault.NOT_A_PLAIN_HTTPS_ADDRESS)
        return parsed

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, object]:
        parsed = self._parsed(url)
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                content = await self._exchange(method, parsed, headers, body)
            return msgspec.json.decode(content, type=dict[str, object])
        except TimeoutError:
            raise FetchError(Fault.NO_ANSWER_IN_TIME) from None
        except (httpx.HTTPError, OSError):
            raise FetchError(Fault.NO_CONNECTION) from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise FetchError(Fault.ANSWER_IS_NO_JSON_OBJECT) from None

    async def _exchange(self, method: str, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> bytes:
        address = await self._address(url)
        request = httpx.Request(
            method,
            url.copy_with(host=address),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Host": url.netloc.decode("ascii"),
                **headers,
            },
            content=body or None,
            # The certificate must be the name's, though the connection goes to the address.
            extensions={"sni_hostname": url.host},
        )
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
        async with httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits) as transport:
            response = await transport.handle_async_request(request)
            try:
                if response.status_code != httpx.codes.OK:
                    raise FetchError(Fault.NOT_ANSWERED)
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise FetchError(Fault.ANSWER_IS_ENCODED)
                return await _within_limit(response.aiter_raw())
            finally:
                await response.aclose()

    async def _address(self, url: httpx.URL) -> str:
        loop = asyncio.get_running_loop()
        port = url.port or (443 if url.scheme == "https" else 80)
        found = await loop.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
        is_internal = url.host.lower() in self._internal
        if not addresses or not (is_internal or all(is_public(one) for one in addresses)):
            raise FetchError(Fault.NOT_A_PUBLIC_HOST)
        if url.scheme == "http" and not all(one.is_loopback for one in addresses):
            raise FetchError(Fault.NOT_A_PLAIN_HTTPS_ADDRESS)
        return str(addresses[0])


async def _within_limit(chunks: AsyncIterator[bytes]) -> bytes:
    content = bytearray()
    async for chunk in chunks:
        content += chunk
        if len(content) > SIZE_LIMIT_BYTES:
            raise FetchError(Fault.ANSWER_IS_TOO_LONG)
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
