"""The topics as `merganser topics` makes them."""

from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer

from tests.support.servers import Servers
from tests.support.topics import Topics, created
from tests.support.waiting import equals, eventually


@pytest.mark.parametrize("year", [1970, 2100])
async def test_a_record_by_a_clock_that_is_wrong_is_taken_and_kept(
    topics: Topics, year: int
) -> None:
    """Its time in the topic is the broker's: retention does not think it old."""
    wrong = int(datetime(year, 1, 2, tzinfo=UTC).timestamp() * 1000)
    for topic in (topics.events, topics.dead):
        async with AIOKafkaProducer(bootstrap_servers=topics.bootstrap) as producer:
            sent = await producer.send_and_wait(topic.name, b"x", partition=0, timestamp_ms=wrong)
        assert abs(sent.timestamp / 1000 - datetime.now(UTC).timestamp()) < 3600


@pytest.mark.parametrize(("days", "milliseconds"), [(7, "604800000"), (3, "259200000"), (0, "-1")])
async def test_the_topics_keep_records_as_long_as_the_settings_say(
    servers_running: Servers, days: int, milliseconds: str
) -> None:
    bootstrap = servers_running.kafka_bootstrap
    async with created(bootstrap, retention=days) as topics:
        await eventually(lambda: topics.events.configured("retention.ms"), equals(milliseconds))
    async with created(bootstrap, dead_retention=days) as topics:
        await eventually(lambda: topics.dead.configured("retention.ms"), equals(milliseconds))


async def test_dead_letters_are_kept_for_30_days_by_default(topics: Topics) -> None:
    await eventually(lambda: topics.dead.configured("retention.ms"), equals("2592000000"))
