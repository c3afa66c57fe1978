"""What is on the topic comes again, and so does what never belonged there."""

from collections.abc import AsyncIterator

from schemas.event import VERSION_HEADER
from tests.chaos.faults.fault import Harm, fault
from tests.chaos.stage import PARTITIONS, Stage
from tests.support.topics import Record

AGAIN = 50
"""Records of each partition that are delivered again."""

_VERSION = dict([VERSION_HEADER])


@fault("records delivered again", "broker", weight=2)
async def delivered_again(stage: Stage) -> AsyncIterator[Harm]:
    """The same bytes, also in another partition: a producer's retry, a restored topic, a replay."""
    records = [
        Record(record.value, record.key, record.headers, stage.random.randrange(PARTITIONS))
        for record in await stage.topics.events.records(AGAIN)
        if record.key not in stage.garbage
    ]
    yield Harm(f"{len(records)} records come again, in any partition")
    await stage.publish(records)


@fault("garbage on the topic", "broker", weight=2)
async def garbage(stage: Stage) -> AsyncIterator[Harm]:
    written = []
    for value, headers in (
        (b"\x00\xff no JSON", _VERSION),
        (b'{"valid": "JSON, but no event"}', _VERSION),
        (b'{"guid": "evt_of-another-version"}', {"schema-version": b"99"}),
        (b"", {}),
        (None, {}),
        (b"[" * 5000, _VERSION),
    ):
        key = f"garbage-{len(stage.garbage)}".encode()
        stage.garbage[key] = value
        written.append(Record(value, key, headers, stage.random.randrange(PARTITIONS)))
    yield Harm(f"{len(written)} records that are not events")
    await stage.publish(written)
