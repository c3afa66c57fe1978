"""A batch that Kafka refuses does not spoil the ones that come after it."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.support.system import System
from tests.support.topics import Topic
from tests.support.waiting import equals, eventually


async def largest_record(topic: Topic, size: int) -> None:
    """Have the topic refuse larger batches, as an operator's own topic may."""
    admin = AIOKafkaAdminClient(bootstrap_servers=topic.bootstrap)
    await admin.start()
    try:
        configs = {"max.message.bytes": str(size)}
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic.name, configs=configs)]
        )
    finally:
        await admin.close()


async def test_after_a_refused_batch_events_of_the_same_device_are_taken_again(
    system: System,
) -> None:
    gateway = await system.ingest()
    await gateway.tracked(type="before", anonymousId="person_1")
    await largest_record(system.events, 2000)

    async def answer_to_a_large_one() -> int:
        answer = await gateway.track(type="t", anonymousId="person_1", data={"a": "x" * 5000})
        return answer.status_code

    async def answer_to_a_small_one() -> int:
        return (await gateway.track(type="t", anonymousId="person_1")).status_code

    await eventually(answer_to_a_large_one, equals(503))
    await eventually(answer_to_a_small_one, equals(200))
    assert await gateway.why_not_ready() == {}
