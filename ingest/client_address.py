"""The address of a request's client: the peer's, or the one that a trusted proxy names."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The client's address.

    Args:
        peer: who opened the connection.
        forwarded: X-Forwarded-For, or the empty string; each proxy appended who had called it.
        trusted: networks whose word counts. Read from the right, the first address outside of
            them is the client's: anything left of it the client may have made up.
    """
    if not trusted or not _within(peer, tuple(trusted)):
        return peer
    client = peer
    for hop in map(_without_port, reversed(forwarded.split(","))):
        if _parsed(hop) is None:
            break
        client = hop
        if not _within(hop, tuple(trusted)):
            break
    return client


@lru_cache(maxsize=4096)
def _within(host: str, networks: tuple[Network, ...]) -> bool:
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
    """`192.0.2.1:4711` and `[2001:db8::1]:4711` are what some proxies write."""
    bare = hop.strip()
    if bare.startswith("["):
        return bare[1:].partition("]")[0]
    return bare.partition(":")[0] if bare.count(":") == 1 else bare
