"""Client addresses in an event: kept, truncated to a network, or dropped."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Literal

from schemas.exact_json import DEEPEST

IpPolicy = Literal["keep", "truncate", "drop"]
"""What to do with the address of a client."""

ADDRESS_KEYS = frozenset(
    {"ip", "ipaddress", "clientip", "remoteaddr", "remoteip", "sourceip", "userip"}
    | {"useripaddress", "xforwardedfor"}
)
"""Keys of data with a client's address, as `_is_address_key` compares them."""

_LONGEST_CACHED = 100
"""Characters. No address is longer."""

_IPV4_HOST_BITS = 8
_IPV6_HOST_BITS = 80


def apply_to_address(policy: IpPolicy, address: str | None) -> str | None:
    """Return what is stored of an address.

    Args:
        policy: `truncate` returns the network's address: of a /24 for IPv4, of a /48 for IPv6.
        address: any text. One that is not an IP address is dropped unless the policy is `keep`.
    """
    if policy == "keep" or address is None:
        return address
    return _truncate(address) if policy == "truncate" and len(address) <= _LONGEST_CACHED else None


def apply_to_data(policy: IpPolicy, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return data whose members with an address key are handled, at any depth.

    Such a member stays only if the policy is `keep`, or if it is `truncate` and the value is one
    IP address.
    """
    return data if policy == "keep" else _apply_to_object(policy, data, DEEPEST)


def _apply_to_object(policy: IpPolicy, data: Mapping[str, Any], levels: int) -> dict[str, Any]:
    handled: dict[str, Any] = {}
    for key, value in data.items():
        if not _is_address_key(key):
            handled[key] = _apply_to_value(policy, value, levels)
        elif isinstance(value, str) and (address := apply_to_address(policy, value)) is not None:
            handled[key] = address
    return handled


def _apply_to_value(policy: IpPolicy, value: Any, levels: int) -> Any:
    if levels == 0:  # the event is refused for its nesting
        return value
    if isinstance(value, dict):
        return _apply_to_object(policy, value, levels - 1)
    if isinstance(value, list):
        return [_apply_to_value(policy, item, levels - 1) for item in value]
    return value


def _is_address_key(key: str) -> bool:
    """Return whether a part of a dotted key names an address: `context.ip`, `$ip`, `ip_address`."""
    # A cache of longer keys would hold as much memory as a client likes.
    return _names_address(key) if len(key) <= _LONGEST_CACHED else _names_address.__wrapped__(key)


@lru_cache(maxsize=4096)
def _names_address(key: str) -> bool:
    return any(
        "".join(filter(str.isalnum, part)).lower() in ADDRESS_KEYS for part in key.split(".")
    )


@lru_cache(maxsize=4096)
def _truncate(address: str) -> str | None:
    try:
        parsed = ip_address(address.strip())
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        # Dual-stack sockets report IPv4 peers as IPv4-mapped IPv6.
        parsed = parsed.ipv4_mapped or parsed
    if isinstance(parsed, IPv4Address):
        return str(IPv4Address(int(parsed) >> _IPV4_HOST_BITS << _IPV4_HOST_BITS))
    return str(IPv6Address(int(parsed) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS))
