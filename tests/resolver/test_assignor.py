"""A resolver that joins takes its share, and nothing moves between those that were there."""

import pytest

from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults

COUNT = 12


async def shared_out(resolvers: list[Service]) -> list[set[int]]:
    """The partitions of each, once all have some and no two the same."""

    def held() -> list[set[int]]:
        return [assigned(resolver) for resolver in resolvers]

    return await eventually(
        held,
        lambda parts: (
            all(parts)
            and sum(map(len, parts)) == COUNT
            and set().union(*parts) == set(range(COUNT))
        ),
        within=60,
        what="shared out",
    )


def assigned(resolver: Service) -> set[int]:
    """What a resolver was assigned last."""
    found = [line for line in resolver.log_lines if line["event"] == "partitions assigned"]
    return set(found[-1]["partitions"]) if found else set()


async def test_a_third_takes_from_both_and_they_nothing_from_each_other(system: System) -> None:
    await system.events.grow(to=COUNT)
    old = [await system.resolver(), await system.resolver()]
    before = await shared_out(old)
    assert [len(part) for part in before] == [6, 6]
    after = await shared_out([*old, await system.resolver()])
    assert [len(part) for part in after] == [4, 4, 4]
    assert after[0] < before[0]
    assert after[1] < before[1]
