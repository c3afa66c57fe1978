"""A client without a response sends the event again: with a messageId, it is the same event."""

import asyncio

from tests.support.system import System
from tests.support.waiting import equals, eventually


async def test_an_event_sent_again_is_stored_once(system: System) -> None:
    """Through another gateway, in another batch, before and after it is stored."""
    first, second = await system.ingest(), await system.ingest()
    resolver = await system.resolver(resolver_batch=3)
    event = {
        "type": "purchase",
        "userId": "1",
        "messageId": "m-1",
        "occurredAt": "2026-03-01T12:00:00Z",
    }
    guids = {await gateway.tracked(**event) for gateway in (first, second, first)}
    assert len(guids) == 1
    await eventually(lambda: system.database.count("events"), equals(1))
    guids.add(await second.tracked(**event))
    last = await first.tracked(type="last", userId="1")
    await eventually(
        lambda: system.database.column("SELECT guid FROM events ORDER BY guid"),
        equals(sorted({*guids, last})),
    )
    assert len(guids) == 1
    assert await resolver.stop() == 0


async def test_concurrent_repeats_with_other_send_times_are_stored_once(system: System) -> None:
    """Also without `occurredAt`, where each arrival has another time: the first stored counts."""
    gateways = [await system.ingest(), await system.ingest()]
    await asyncio.gather(*(system.resolver(resolver_batch=3) for _ in range(2)))
    timed = {"occurredAt": "2026-03-01T12:00:00Z"}
    for name, time in {"timed": timed, "untimed": {}}.items():
        guids = await asyncio.gather(
            *(
                gateway.tracked(
                    type=name,
                    userId="1",
                    messageId="m-1",
                    sentAt=f"2026-03-01T13:00:{second:02}Z",
                    **time,
                )
                for second in range(20)
                for gateway in gateways
            )
        )
        assert len(set(guids)) == 1
    last = [await gateways[0].tracked(type="last", userId=f"u{n}") for n in range(20)]
    await eventually(
        lambda: system.database.count("events"), equals(2 + len(last)), what="one row for each"
    )
    # The resolvers have read all records, so no more rows will appear.
    ends = await system.events.ends()
    await eventually(lambda: _read_offsets(system), equals(ends))
    assert await system.database.count("events") == 2 + len(last)


async def _read_offsets(system: System) -> dict[int, int]:
    rows = await system.database.rows('SELECT partition, "nextOffset" FROM "consumerOffsets"')
    return dict(rows)
