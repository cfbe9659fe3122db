"""Which hosts may be fetched from, and what binds a sign-in to its browser and tenant."""

from __future__ import annotations

from ipaddress import ip_address
from uuid import uuid4

import pytest
from tallystick_chassis.http.outbound import HostNames, is_public
from tallystick_chassis.ids import TenantId
from tallystick_identity.sso.domain import Flow, UnknownFlowError, flow_of, is_domain, session_index, subject_index
from tallystick_identity.sso.fetch import Fetcher, FetchError

TENANT = TenantId(uuid4())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "2001:0:a00:1::",
    ],
)
def test_private_addresses_are_nobodys_provider_however_they_are_written(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses_may_be_asked(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.control("X-06")
@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example/",
        "https://user:pass@idp.example/",
        "https://idp.example/#x",
        "file:///etc/passwd",
        "https://",
        "gopher://idp.example",
        "http://[::1",
    ],
)
def test_only_plain_https_addresses_are_fetched(url: str) -> None:
    with pytest.raises(FetchError):
        Fetcher().check(url)


@pytest.mark.control("X-06")
@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1/", "https://localhost:1/", "https://[::1]:1/", "https://169.254.169.254/latest"]
)
async def test_a_name_or_address_of_a_private_host_is_not_connected_to(url: str) -> None:
    with pytest.raises(FetchError, match="not a public host"):
        await Fetcher().get(url)


async def test_an_internal_host_may_be_private_but_speaks_https_unless_it_is_loopback() -> None:
    fetcher = Fetcher(internal_hosts=["127.0.0.1", "10.0.0.1"])
    with pytest.raises(FetchError, match="no connection"):
        await fetcher.get("http://127.0.0.1:1/")
    with pytest.raises(FetchError, match="not a plain https address"):
        await fetcher.get("http://10.0.0.1/")


def test_a_state_is_of_one_secret_and_one_tenant() -> None:
    flow = Flow(TENANT, uuid4(), "secret")
    assert flow_of(flow.state, "secret", TENANT) == flow
    assert len({flow.state, flow.nonce, flow.verifier}) == 3
    for state, secret, tenant in (
        (flow.state, "another", TENANT),
        (flow.state, "", TENANT),
        (flow.state, "secret", TenantId(uuid4())),
        (flow.state + "x", "secret", TENANT),
        ("", "secret", TENANT),
        ("ä", "secret", TENANT),
    ):
        with pytest.raises(UnknownFlowError):
            flow_of(state, secret, tenant)


def test_an_index_is_of_issuer_and_subject_together() -> None:
    key = bytes(32)
    indexes = {
        subject_index(key, TENANT, "https://a", "b"),
        subject_index(key, TENANT, "https://", "ab"),
        subject_index(key, TenantId(uuid4()), "https://a", "b"),
        session_index(key, TENANT, "https://a", "b"),
    }
    assert len(indexes) == 4


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("example.org", True),
        ("a.b-c.example", True),
        ("xn--mnchen-3ya.example", True),
        ("example", False),
        ("Example.org", False),
        ("-a.example", False),
        ("a..example", False),
        ("a.example.", False),
        ("a@b.example", False),
    ],
)
def test_a_domain_is_written_in_one_way(text: str, *, is_one: bool) -> None:
    assert is_domain(text) is is_one


@pytest.mark.parametrize("text", ["", " , ", "a b", "https://idp.example"])
def test_a_list_of_hosts_holds_hosts(text: str) -> None:
    with pytest.raises(ValueError, match="not host names"):
        HostNames(text)
    assert HostNames("IDP.example, 10.0.0.1") == ("idp.example", "10.0.0.1")
