"""Whose address counts: the socket's, or what named proxies wrote, read from the end."""

from __future__ import annotations

import pytest
from tallystick_chassis.http.client_address import Networks, client_address, counted_as

PROXIES = Networks("10.0.0.0/8, fd00::/8")


@pytest.mark.control("EV-21c")
@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # a stranger's own header
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["9.9.9.9, 198.51.100.1"], "198.51.100.1"),  # the client wrote the first
        ("10.0.0.1", ["9.9.9.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["9.9.9.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
        (None, ["198.51.100.1"], "unknown"),
    ],
)
def test_a_forwarding_header_counts_as_far_as_named_proxies_wrote_it(peer, forwarded, found):
    assert client_address(peer, forwarded, PROXIES) == found


@pytest.mark.control("EV-21c", "EV-24d")
def test_without_named_proxies_no_header_is_believed():
    assert client_address("10.0.0.1", ["198.51.100.1"], ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("unknown", "unknown"),
    ],
)
def test_an_ipv6_site_is_counted_as_one(address, counted):
    assert counted_as(address) == counted


def test_a_list_of_proxies_that_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="networks"):
        Networks("10.0.0.0/8, everybody")
