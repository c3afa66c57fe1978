"""A client that got no answer sends again: with a messageId, that is the same event."""

from tests.support.system import System
from tests.support.waiting import equals, eventually


async def test_an_event_sent_again_is_stored_once(system: System) -> None:
    """To another gateway, in another batch, before and after it was stored; even as a twin."""
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
