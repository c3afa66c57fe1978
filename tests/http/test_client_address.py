"""The address of the client, with and without trusted proxies."""

from ipaddress import ip_network

import pytest

from merganser.http.client_address import address

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
CLIENT, OTHER = "203.0.113.7", "198.51.100.9"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param(CLIENT, None, CLIENT, id="no proxy"),
        pytest.param(CLIENT, OTHER, CLIENT, id="an untrusted client with a header"),
        pytest.param("10.0.0.1", "", "10.0.0.1", id="a proxy as the client"),
        pytest.param("10.0.0.1", CLIENT, CLIENT, id="one proxy"),
        pytest.param("10.0.0.1", f"{CLIENT}, 10.0.0.2", CLIENT, id="two proxies"),
        pytest.param(
            "10.0.0.1", f"{OTHER}, {CLIENT}", CLIENT, id="an invented address, then a proxy"
        ),
        pytest.param("10.0.0.1", f" {CLIENT} ", CLIENT, id="spaces"),
        pytest.param("10.0.0.1", "unknown", "10.0.0.1", id="not an address"),
        pytest.param(
            "10.0.0.1", f"{CLIENT}, nonsense", "10.0.0.1", id="not an address at the right"
        ),
        pytest.param("10.0.0.1", "", "10.0.0.1", id="empty"),
        pytest.param("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3", id="a client inside"),
        pytest.param("fd00::1", "2001:db8::7", "2001:db8::7", id="IPv6"),
        pytest.param("::ffff:10.0.0.1", CLIENT, CLIENT, id="IPv4-mapped IPv6"),
        pytest.param("10.0.0.1", f"{CLIENT}:4711", CLIENT, id="a port"),
        pytest.param("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7", id="a port of IPv6"),
        pytest.param("testclient", OTHER, "testclient", id="a peer without an address"),
    ],
)
def test_the_client_address_is_the_first_untrusted_one(
    peer: str, forwarded: str, client: str
) -> None:
    assert address(peer, forwarded, PROXIES) == client


def test_no_proxy_is_trusted_by_default() -> None:
    assert address("10.0.0.1", CLIENT, []) == "10.0.0.1"
