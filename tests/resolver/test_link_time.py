"""A link over a publishable key counts from when the gateway received it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from merganser.identity.audit import audit
from schemas.event import Event
from schemas.ids import NOBODY
from tests.support.events import NOON, event
from tests.support.system import System
from tests.support.waiting import equals, eventually

PAGE_KEY = "key_page"
LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


@pytest.fixture
async def page(system: System) -> System:
    """A system with a publishable key."""
    await system.database.execute(
        'INSERT INTO "apiKeys" (guid, name, "keyHash", permissions, kind) '
        "VALUES (%s, 'page', 'hash', '{events:write}', 'publishable')",
        PAGE_KEY,
    )
    return system


def sent_by_page(user: str | None, occurred: float, received: float) -> Event:
    """Return an event of the device `phone`; times are seconds after noon."""
    return {
        **event(user, "phone", at=occurred, kind=user or "view"),
        "producerGuid": PAGE_KEY,
        "createdAt": NOON + timedelta(seconds=received),
    }


async def insert(system: System, row: Event) -> None:
    """Insert an event as another system does."""
    columns = ("guid", "producerGuid", "createdAt", "occurredAt", "type", "userId", "anonymousId")
    await system.database.execute(
        "INSERT INTO events "
        '(guid, "producerGuid", "createdAt", "occurredAt", type, "userId", "anonymousId") '
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        *(row[column] for column in columns),  # type: ignore[literal-required] # keys of Event
    )


async def groups(system: System, *expected: set[str]) -> None:
    """Wait until the events' types are grouped by profile like this; then audit."""
    await eventually(system.database.grouping, equals({frozenset(group) for group in expected}))
    report = await audit(system.database.connection, NOBODY, lambda _: None)
    assert report.disagreements == []


@pytest.mark.parametrize("way", ["topic", "row"])
async def test_a_forged_time_takes_no_history(page: System, way: str) -> None:
    await page.resolver()
    await page.scanner()
    await page.events.publish_events([sent_by_page(None, 0, 0), sent_by_page("ann", 5, 5)])
    await groups(page, {"view", "ann"})
    forged: Event = {**sent_by_page("thief", 0, 60), "occurredAt": LONG_AGO}
    if way == "topic":
        await page.events.publish_events([forged])
    else:
        await insert(page, forged)
    await groups(page, {"view", "ann"}, {"thief"})
    stored = await page.database.value(
        'SELECT "occurredAt" FROM events WHERE guid = %s', forged["guid"]
    )
    assert stored == LONG_AGO, "what the client claims is stored"


async def test_the_time_of_a_secret_key_counts(page: System) -> None:
    """An import of history finds the owner that the history has."""
    await page.resolver()
    await page.events.publish_events([sent_by_page(None, 0, 0), sent_by_page("ann", 5, 5)])
    await groups(page, {"view", "ann"})
    await page.events.publish_events([event("bob", "phone", kind="bob", at=1)])
    await groups(page, {"view", "bob"}, {"ann"})


async def test_the_earliest_receipt_of_a_repeated_link_counts(page: System) -> None:
    resolver = await page.resolver()
    ann, bob = sent_by_page("ann", 5, 8), sent_by_page("bob", 1, 7)
    await page.events.publish_events([sent_by_page(None, 0, 0), ann, bob])
    await groups(page, {"view", "bob"}, {"ann"})

    earlier: Event = {**ann, "createdAt": NOON + timedelta(seconds=6)}
    later: Event = {**bob, "createdAt": NOON + timedelta(seconds=9)}
    await page.events.publish_events([earlier, later])
    await groups(page, {"view", "ann"}, {"bob"})
    times: dict[Any, Any] = dict(await page.database.rows('SELECT type, "createdAt" FROM events'))
    assert times["ann"] == NOON + timedelta(seconds=6)
    assert times["bob"] == NOON + timedelta(seconds=7)
    assert await resolver.metric("merganser_resolver_events_repeated_total") == 2


async def test_a_repeat_in_the_same_batch(page: System) -> None:
    """The records wait for the resolver, which reads them at once."""
    ann, bob = sent_by_page("ann", 5, 6), sent_by_page("bob", 1, 7)
    repeats: list[Event] = [
        {**ann, "createdAt": NOON + timedelta(seconds=second)} for second in (9, 6, 8)
    ]
    await page.events.publish_events([sent_by_page(None, 0, 0), bob, *repeats])
    await page.resolver()
    await groups(page, {"view", "ann"}, {"bob"})
    stored = await page.database.value("SELECT \"createdAt\" FROM events WHERE type = 'ann'")
    assert stored == NOON + timedelta(seconds=6)


async def test_explain_says_when_the_link_was_received(page: System) -> None:
    await page.resolver()
    await page.events.publish_events([sent_by_page(None, 0, 0), sent_by_page("ann", 5, 6)])
    await groups(page, {"view", "ann"})
    explained = await page.cli("explain", "phone")
    assert "a publishable key sent and the gateway received at 2026-03-01 12:00:06" in " ".join(
        explained.split()
    )
