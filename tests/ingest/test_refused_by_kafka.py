"""A batch that Kafka refuses does not spoil the ones that come after it."""

from tests.support.system import System
from tests.support.waiting import equals, eventually


async def test_after_a_refused_batch_events_of_the_same_device_are_taken_again(
    system: System,
) -> None:
    gateway = await system.ingest()
    await gateway.tracked(type="before", anonymousId="person_1")
    await system.events.refuse_larger(2000)

    async def answer_to_a_large_one() -> int:
        answer = await gateway.track(type="t", anonymousId="person_1", data={"a": "x" * 5000})
        return answer.status_code

    async def answer_to_a_small_one() -> int:
        return (await gateway.track(type="t", anonymousId="person_1")).status_code

    await eventually(answer_to_a_large_one, equals(503))
    await eventually(answer_to_a_small_one, equals(200))
    assert await gateway.why_not_ready() == {}
