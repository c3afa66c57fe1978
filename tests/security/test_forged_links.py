"""Who knows the key of a web page cannot take over a visitor; what a secret key does is undone."""

import pytest

from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

LONG_AGO = "0001-01-01T00:00:00Z"


@pytest.fixture
async def gateway(system: System) -> Gateway:
    """A gateway that uses a publishable key, a resolver, and a visitor who has signed in."""
    gateway = await system.ingest()
    await system.resolver()
    gateway.key = (await system.cli("keys", "create", "page", "--publishable")).strip()
    await gateway.tracked(type="view", anonymousId="visitor")
    await gateway.tracked(type="sign-in", anonymousId="visitor", userId="ann")
    await grouped(system, {"view", "sign-in"})
    return gateway


async def grouped(system: System, *expected: set[str]) -> None:
    await eventually(system.database.grouping, equals({frozenset(group) for group in expected}))


async def test_a_publishable_key_takes_no_history(system: System, gateway: Gateway) -> None:
    await gateway.tracked(type="forged", anonymousId="visitor", userId="thief", occurredAt=LONG_AGO)
    await grouped(system, {"view", "sign-in"}, {"forged"})
    assert await system.database.count("profileMerges") == 1, "the visitor's own"
    await system.cli("audit")  # it fails if anything is wrong


async def test_a_command_undoes_a_link_of_a_secret_key(system: System, gateway: Gateway) -> None:
    gateway.key = await system.key("server", "events:write")
    forged = await gateway.tracked(
        type="forged", anonymousId="visitor", userId="thief", occurredAt=LONG_AGO
    )
    await grouped(system, {"sign-in"}, {"view", "forged"})
    await system.cli("unlink", forged, "--reason", "forged with a stolen key", "--yes")
    await grouped(system, {"view", "sign-in"}, {"forged"})
    await system.cli("audit")  # it fails if anything is wrong
    await system.cli("relink", forged, "--reason", "try it", "--yes")
    await grouped(system, {"sign-in"}, {"view", "forged"})
