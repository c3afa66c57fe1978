"""Records are delivered again, and the topic gets records that are not events."""

from collections.abc import AsyncIterator

from schemas.event import VERSION_HEADER
from tests.chaos.deployment import PARTITIONS, Deployment
from tests.chaos.faults.fault import Injected, fault
from tests.support.topics import Record

REDELIVERED = 50
"""Records of each partition that are delivered again."""

_VERSION = dict([VERSION_HEADER])


@fault("records delivered again", "broker", weight=2)
async def delivered_again(deployment: Deployment) -> AsyncIterator[Injected]:
    """The same bytes, also in another partition: a producer's retry, a restored topic, a replay."""
    records = [
        Record(record.value, record.key, record.headers, deployment.random.randrange(PARTITIONS))
        for record in await deployment.topics.events.records(REDELIVERED)
        if record.key not in deployment.invalid_records
    ]
    yield Injected(f"{len(records)} records are delivered again, in any partition")
    await deployment.publish(records)


@fault("invalid records", "broker", weight=2)
async def invalid(deployment: Deployment) -> AsyncIterator[Injected]:
    written = []
    for value, headers in (
        (b"\x00\xff no JSON", _VERSION),
        (b'{"valid": "JSON, but no event"}', _VERSION),
        (b'{"guid": "evt_of-another-version"}', {"schema-version": b"99"}),
        (b"", {}),
        (None, {}),
        (b"[" * 5000, _VERSION),
    ):
        key = f"invalid-{len(deployment.invalid_records)}".encode()
        deployment.invalid_records[key] = value
        written.append(Record(value, key, headers, deployment.random.randrange(PARTITIONS)))
    yield Injected(f"{len(written)} records that are not events")
    await deployment.publish(written)
