"""A new resolver takes partitions from each of the others; no other partition moves."""

import pytest

from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults

COUNT = 12


async def wait_for_assignment(resolvers: list[Service]) -> list[set[int]]:
    """Return the partitions of each resolver, once each partition has one resolver."""

    def read_assignment() -> list[set[int]]:
        return [last_assigned(resolver) for resolver in resolvers]

    return await eventually(
        read_assignment,
        lambda parts: (
            all(parts)
            and sum(map(len, parts)) == COUNT
            and set().union(*parts) == set(range(COUNT))
        ),
        within=60,
        what="assigned",
    )


def last_assigned(resolver: Service) -> set[int]:
    """Return the partitions that a resolver was last assigned."""
    found = [line for line in resolver.log_lines if line["event"] == "partitions assigned"]
    return set(found[-1]["partitions"]) if found else set()


async def test_a_third_resolver_takes_partitions_from_the_other_two(system: System) -> None:
    await system.events.grow(to=COUNT)
    old = [await system.resolver(), await system.resolver()]
    before = await wait_for_assignment(old)
    assert [len(part) for part in before] == [6, 6]
    after = await wait_for_assignment([*old, await system.resolver()])
    assert [len(part) for part in after] == [4, 4, 4]
    assert after[0] < before[0]
    assert after[1] < before[1]
