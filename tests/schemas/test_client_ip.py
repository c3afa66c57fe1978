"""What is stored of a client's address."""

import pytest

from schemas.client_ip import IpPolicy, apply_to_address, apply_to_data

V4, V6 = "203.0.113.77", "2001:db8:12:3456::9"


@pytest.mark.parametrize(
    ("address", "truncated"),
    [
        pytest.param(V4, "203.0.113.0", id="IPv4"),
        pytest.param(f" {V4} ", "203.0.113.0", id="spaces"),
        pytest.param(f"::ffff:{V4}", "203.0.113.0", id="IPv4-mapped IPv6"),
        pytest.param(V6, "2001:db8:12::", id="IPv6"),
        pytest.param("fe80::1%eth0", "fe80::", id="IPv6 with a zone"),
        pytest.param(f"{V4}, 10.0.0.1", None, id="a list"),
        pytest.param("localhost", None, id="a name"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="none"),
    ],
)
def test_an_address_is_kept_truncated_or_dropped(
    address: str | None, truncated: str | None
) -> None:
    assert apply_to_address("keep", address) == address
    assert apply_to_address("truncate", address) == truncated
    assert apply_to_address("drop", address) is None


DATA = {
    "$ip": V4,
    "ip": V6,
    "context.ip": V4,
    "context.ip.v6": V6,
    "context.device.ip_address": V4,
    "context": {"ip": V4, "hops": [{"clientIp": V4, "name": "edge"}]},
    "X-Forwarded-For": f"{V4}, 10.0.0.1",
    "user_ipaddress": 7,
    "zip": "12345",
    "tip": V4,
}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param("keep", DATA, id="keep"),
        pytest.param(
            "truncate",
            {
                "$ip": "203.0.113.0",
                "ip": "2001:db8:12::",
                "context.ip": "203.0.113.0",
                "context.ip.v6": "2001:db8:12::",
                "context.device.ip_address": "203.0.113.0",
                "context": {
                    "ip": "203.0.113.0",
                    "hops": [{"clientIp": "203.0.113.0", "name": "edge"}],
                },
                "zip": "12345",
                "tip": V4,
            },
            id="truncate",
        ),
        pytest.param(
            "drop", {"context": {"hops": [{"name": "edge"}]}, "zip": "12345", "tip": V4}, id="drop"
        ),
    ],
)
def test_addresses_in_data_are_found_by_their_keys(
    policy: IpPolicy, expected: dict[str, object]
) -> None:
    assert apply_to_data(policy, DATA) == expected


@pytest.mark.parametrize("policy", ["truncate", "drop"])
def test_an_address_behind_a_long_key_is_found(policy: IpPolicy) -> None:
    assert V4 not in str(apply_to_data(policy, {"x" * 1000 + ".ip": V4}))


@pytest.mark.parametrize("policy", ["truncate", "drop"])
def test_data_that_is_nested_too_deeply_is_left_to_validation(policy: IpPolicy) -> None:
    nested: object = []
    for _ in range(900):
        nested = [nested]
    assert apply_to_data(policy, {"list": nested}) == {"list": nested}
