"""The configuration of the topics that `merganser topics` creates."""

from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError

from merganser.runtime import kafka
from merganser.runtime.settings import Settings
from tests.support.servers import Servers
from tests.support.topics import Topics, created
from tests.support.waiting import equals, eventually


@pytest.mark.parametrize("year", [1970, 2100])
async def test_the_broker_sets_the_time_of_a_record(topics: Topics, year: int) -> None:
    """A producer with a wrong clock does not affect retention."""
    wrong = int(datetime(year, 1, 2, tzinfo=UTC).timestamp() * 1000)
    for topic in (topics.events, topics.dead):
        async with AIOKafkaProducer(bootstrap_servers=topics.bootstrap) as producer:
            sent = await producer.send_and_wait(topic.name, b"x", partition=0, timestamp_ms=wrong)
        assert abs(sent.timestamp / 1000 - datetime.now(UTC).timestamp()) < 3600


@pytest.mark.parametrize(("days", "milliseconds"), [(7, "604800000"), (3, "259200000"), (0, "-1")])
async def test_retention_is_that_of_the_settings(
    servers_running: Servers, days: int, milliseconds: str
) -> None:
    bootstrap = servers_running.kafka_bootstrap
    async with created(bootstrap, retention=days) as topics:
        await eventually(lambda: topics.events.configured("retention.ms"), equals(milliseconds))
    async with created(bootstrap, dead_retention=days) as topics:
        await eventually(lambda: topics.dead.configured("retention.ms"), equals(milliseconds))


async def test_how_long_a_topic_may_keep_a_record_is_read_from_kafka(
    servers_running: Servers,
) -> None:
    bootstrap, day = servers_running.kafka_bootstrap, 24 * 3600 * 1000
    async with created(bootstrap, retention=3, dead_retention=0) as topics:
        settings = Settings(
            kafka_bootstrap=bootstrap,
            topic=topics.events.name,
            dead_topic=topics.dead.name,
            _env_file=None,
        )
        await eventually(lambda: topics.events.configured("segment.ms"), equals(str(7 * day)))
        assert await kafka.read_holding_times(settings) == {
            topics.events.name: 10 * day,
            topics.dead.name: -1,
        }
        unknown = settings.model_copy(update={"topic": "unknown-topic"})
        with pytest.raises(UnknownTopicOrPartitionError):
            await kafka.read_holding_times(unknown)


async def test_the_default_retention_of_dead_letters_is_30_days(topics: Topics) -> None:
    await eventually(lambda: topics.dead.configured("retention.ms"), equals("2592000000"))


async def test_the_topic_of_refused_events_is_bounded_in_time_and_size(topics: Topics) -> None:
    expected = {
        "retention.ms": "86400000",
        "segment.ms": "14400000",
        "retention.bytes": str(256 << 20),
        "segment.bytes": str(64 << 20),
        "message.timestamp.type": "LogAppendTime",
    }

    async def read() -> dict[str, str | None]:
        return {name: await topics.refused.configured(name) for name in expected}

    await eventually(read, equals(expected))
    assert list(await topics.refused.ends()) == [0], "one partition"
