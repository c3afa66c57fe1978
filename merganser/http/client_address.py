"""The address of a request's client: the peer's, or the one that a trusted proxy reports."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Return the client's address.

    Args:
        peer: the address that opened the connection.
        forwarded: X-Forwarded-For, or the empty string; each proxy appends the address of its peer.
        trusted: networks of trusted proxies. From the right, the first address outside of them is
            the client's. The client may have invented everything left of it.
    """
    if not trusted or not is_within(peer, tuple(trusted)):
        return peer
    client = peer
    for hop in map(_without_port, reversed(forwarded.split(","))):
        if _parsed(hop) is None:
            break
        client = hop
        if not is_within(hop, tuple(trusted)):
            break
    return client


@lru_cache(maxsize=4096)
def is_within(host: str, networks: tuple[Network, ...]) -> bool:
    """Return whether an address is in one of the networks; another text is in none."""
    parsed = _parsed(host)
    return parsed is not None and any(parsed in network for network in networks)


def _parsed(host: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(host)
    except ValueError:
        return None
    # Dual-stack sockets report IPv4 peers as IPv4-mapped IPv6.
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _without_port(hop: str) -> str:
    """Remove the port, as some proxies write `192.0.2.1:4711` or `[2001:db8::1]:4711`."""
    bare = hop.strip()
    if bare.startswith("["):
        return bare[1:].partition("]")[0]
    return bare.partition(":")[0] if bare.count(":") == 1 else bare
