"""The topics as `merganser topics` makes them."""

from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer

from tests.support.topics import Topics


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
