"""Whose address a request comes from: the socket's, unless that is a proxy which the operator has named.

``X-Forwarded-For`` is anybody's to write, so it is read from its end, and only as far as named proxies wrote it
(ASVS 15.3.4).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

UNKNOWN = "unknown"
FORWARDED_HEADER = "x-forwarded-for"
_IPV6_SITE_BITS = 64


class Networks(tuple[IPv4Network | IPv6Network, ...]):
    """Networks of proxies, given with commas between: ``10.0.0.0/8, fd00::/8``."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Read the list.

        Raises:
            ValueError: if a part is not a network.
        """
        try:
            return super().__new__(cls, (ip_network(part.strip()) for part in text.split(",")))
        except ValueError:
            message = "not a list of networks such as 10.0.0.0/8, with commas between"
            raise ValueError(message) from None


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Networks | tuple[()]) -> str:
    """Return the address nearest to us that no trusted proxy has.

    ``peer`` is the socket's, ``forwarded`` the values of all ``X-Forwarded-For`` headers in their order. What cannot
    be read ends the search: the address found so far stands.
    """
    if peer is None:
        return UNKNOWN
    found = peer
    hops = [hop.strip() for header in forwarded for hop in header.split(",")]
    while hops and _is_within(found, trusted):
        nearer = _parsed(hops.pop())
        if nearer is None:
            break
        found = str(nearer)
    return found


def counted_as(address: str) -> str:
    """Return what is counted together: an IPv4 address, or an IPv6 site, whose owner has 2⁶⁴ addresses."""
    parsed = _parsed(address)
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, _IPV6_SITE_BITS), strict=False))


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_within(address: str, networks: Networks | tuple[()]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)
