"""Kafka takes any bytes as the name of a header; such a record does not affect others."""

import gzip
import struct
from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NotLeaderForPartitionError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from tests.support.events import event
from tests.support.system import System
from tests.support.topics import Record, Topic, record_of
from tests.support.waiting import equals, eventually

NAME = "a name of a header"
NOT_UTF_8 = b"\xff" * len(NAME)
LENGTH, AFTER_LENGTH, CRC, ATTRIBUTES, AFTER_ATTRIBUTES, RECORDS = 8, 12, 17, 21, 23, 61
"""Positions in a batch."""
GZIP = 1


def encode_batch(records: Sequence[Record], *, compressed: bool) -> bytes:
    """Encode records with a further header, whose name is not UTF-8."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    for number, (value, key, headers, *_) in enumerate(records):
        builder.append(number, 1, key, value, [*headers.items(), (NAME, b"x"), ("other", None)])
    batch = bytearray(builder.build()).replace(NAME.encode(), NOT_UTF_8)
    if compressed:
        batch[RECORDS:] = gzip.compress(batch[RECORDS:])
        batch[ATTRIBUTES:AFTER_ATTRIBUTES] = struct.pack(">h", GZIP)
        batch[LENGTH:AFTER_LENGTH] = struct.pack(">i", len(batch) - AFTER_LENGTH)
    batch[CRC:ATTRIBUTES] = struct.pack(">I", calc_crc32c(batch[ATTRIBUTES:]))
    return bytes(batch)


async def publish_batch(topic: Topic, batch: bytes) -> None:
    """Publish a batch to partition 0, which may have no leader yet."""
    client = AIOKafkaClient(bootstrap_servers=topic.bootstrap)
    await client.bootstrap()
    client.add_topic(topic.name)

    async def publish() -> int:
        await client.force_metadata_update()
        leader = client.cluster.leader_for_partition(TopicPartition(topic.name, 0))
        response = await client.send(
            leader, ProduceRequest(None, -1, 5_000, [(topic.name, [(0, batch)])])
        )
        ((_, ((_, error, *_),)),) = response.topics
        assert error in (0, NotLeaderForPartitionError.errno)
        return int(error)

    try:
        await eventually(publish, equals(0))
    finally:
        await client.close()


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_name_that_is_not_utf_8(system: System, *, compressed: bool) -> None:
    records = [record_of(event(f"user {n}")) for n in range(3)]
    invalid = Record(b"not an event", b"key")
    await publish_batch(system.events, encode_batch([*records, invalid], compressed=compressed))
    await publish_batch(system.events, encode_batch(records[:1], compressed=compressed))
    await system.events.publish_events([event("another")])
    resolver = await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(4))
    (letter,) = await eventually(system.dead.records)
    assert letter.value == invalid.value
    assert letter.headers["?" * len(NAME)] == b"x"
    assert resolver.running
