"""A batch that Kafka refuses does not affect later batches."""

from tests.support.system import System
from tests.support.waiting import equals, eventually


async def test_events_of_a_device_are_accepted_after_kafka_refused_a_batch(
    system: System,
) -> None:
    gateway = await system.ingest()
    await gateway.tracked(type="before", anonymousId="person_1")
    await system.events.refuse_larger(2000)

    async def send_large_event() -> int:
        answer = await gateway.track(type="t", anonymousId="person_1", data={"a": "x" * 5000})
        return answer.status_code

    async def send_small_event() -> int:
        return (await gateway.track(type="t", anonymousId="person_1")).status_code

    await eventually(send_large_event, equals(503))
    await eventually(send_small_event, equals(200))
    assert await gateway.why_not_ready() == {}
