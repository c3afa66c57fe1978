"""The Python client of Merganser with the running system: each event is stored once."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypedDict

import pytest
from merganser_client import AsyncClient, Client, Counts, Failure

from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]

EVENTS = 10_000
PEOPLE = 100
KILLS = 3


class Ids(TypedDict, total=False):
    """Arguments of `track`."""

    anonymous_id: str
    user_id: str


def ids_of(number: int) -> Ids:
    """Return the ids of an event: first an anonymous one, in the middle both, then a user's."""
    person_number, turn = number % PEOPLE, number // PEOPLE
    link = EVENTS // PEOPLE // 2
    ids: Ids = {}
    if turn <= link:
        ids["anonymous_id"] = f"visitor-{person_number}"
    if turn >= link:
        ids["user_id"] = f"user-{person_number}"
    return ids


@pytest.fixture
async def gateway(system: System) -> Gateway:
    gateway = await system.ingest()
    await system.resolver()
    return gateway


async def kill_repeatedly(
    gateway: Gateway, client: Client | AsyncClient, failures: list[Failure]
) -> None:
    for part in range(1, KILLS + 1):
        await kill(gateway, client, failures, after=part * EVENTS // (KILLS + 1))


async def kill(
    gateway: Gateway, client: Client | AsyncClient, failures: list[Failure], after: int
) -> None:
    """Kill the gateway after this number of events, wait for a failure, and start it again."""
    await eventually(lambda: client.counts().delivered >= after)
    earlier = len(failures)
    await gateway.kill()
    await eventually(lambda: len(failures) > earlier)
    gateway.start()
    await gateway.ready()


async def check_each_stored_once(system: System) -> None:
    """Check that each event is one row, on the profile of its person."""
    await eventually(lambda: system.database.count("events"), equals(EVENTS), within=60)
    await eventually(system.database.unresolved, equals(0), within=60)
    assert await system.database.count("profiles") == PEOPLE
    numbers = await system.database.column("""SELECT value::int FROM "eventData" ORDER BY 1""")
    assert numbers == list(range(EVENTS))
    numbers_by_user = await system.database.rows(
        """SELECT profiles."userId", array_agg(value::int ORDER BY value::int)
           FROM events
           JOIN profiles ON profiles.guid = events."profileGuid"
           JOIN "eventData" ON "eventData"."eventGuid" = events.guid
           GROUP BY 1"""
    )
    assert dict(numbers_by_user) == {
        f"user-{number}": list(range(number, EVENTS, PEOPLE)) for number in range(PEOPLE)
    }


async def test_threads_lose_nothing_when_the_gateway_is_killed(
    system: System, gateway: Gateway
) -> None:
    failures: list[Failure] = []
    with Client(gateway.key, gateway.url, interval=0.05, on_error=failures.append) as client:
        killing = asyncio.create_task(kill_repeatedly(gateway, client, failures))

        async def send(first: int) -> None:
            for number in range(first, EVENTS, 4):
                client.track("step", **ids_of(number), data={"number": number})
                if number % 20 == first:
                    await asyncio.sleep(0.01)

        await asyncio.gather(*(asyncio.to_thread(asyncio.run, send(first)) for first in range(4)))
        await killing
        assert await asyncio.to_thread(client.flush, 60)
    assert client.counts() == Counts(waiting=0, delivered=EVENTS, refused=0, dropped=0)
    assert {failure.kind for failure in failures} == {"unreachable"}
    await check_each_stored_once(system)


async def test_coroutines_lose_nothing_when_the_gateway_is_killed(
    system: System, gateway: Gateway
) -> None:
    failures: list[Failure] = []
    async with AsyncClient(
        gateway.key,
        gateway.url,
        interval=0.05,
        queue_bytes=1 << 20,
        when_full="block",
        on_error=failures.append,
    ) as client:
        killing = asyncio.create_task(kill_repeatedly(gateway, client, failures))
        for number in range(EVENTS):
            await client.track("step", **ids_of(number), data={"number": number})
            if number % 20 == 0:
                await asyncio.sleep(0.01)
        await killing
        assert await client.flush(60)
    assert client.counts() == Counts(waiting=0, delivered=EVENTS, refused=0, dropped=0)
    assert {failure.kind for failure in failures} == {"unreachable"}
    await check_each_stored_once(system)


async def test_values_and_times_are_stored_exactly(system: System, gateway: Gateway) -> None:
    moment = datetime(2019, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    before = datetime.now(UTC)
    async with AsyncClient(gateway.key, gateway.url) as client:
        await client.track(
            "given",
            user_id=123,
            occurred_at=moment,
            data={
                "text": "tab\t'\"\\ é😀",
                "price": Decimal("19.990"),
                "big": 9007199254740993,
                "yes": True,
                "none": None,
                "at": moment,
                "items": [{"price": Decimal("1.10")}, "x"],
            },
        )
        await client.identify(123, anonymous_id="visitor", traits={"plan": "gold"})
    await eventually(lambda: system.database.count("events"), equals(2))
    rows = await system.database.rows(
        """SELECT key, value FROM "eventData" JOIN events ON events.guid = "eventGuid"
           WHERE type = 'given'"""
    )
    assert dict(rows) == {
        "text": "tab\t'\"\\ é😀",
        "price": "19.990",
        "big": "9007199254740993",
        "yes": "true",
        "at": "2019-03-01T12:00:00.123456+00:00",
        "items": '[{"price":1.10},"x"]',
    }
    ((given, identified),) = await system.database.rows(
        """SELECT min("occurredAt"), max("occurredAt") FROM events WHERE "userId" = '123'"""
    )
    assert given == moment
    assert before - timedelta(seconds=1) < identified < datetime.now(UTC) + timedelta(seconds=1)
    assert await system.database.column(
        'SELECT plan.value FROM "eventData" AS plan '
        "JOIN events ON events.guid = \"eventGuid\" WHERE type = 'identify'"
    ) == ["gold"]


async def test_an_event_with_a_repeated_message_id_is_stored_once(
    system: System, gateway: Gateway
) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for _ in range(2):
        async with AsyncClient(gateway.key, gateway.url) as client:
            await client.track("t", user_id=1, message_id="order-1", occurred_at=noon)
            await client.track("t", user_id=1, message_id="order-1", occurred_at=noon)
    last = await gateway.tracked(type="last", userId="1")
    await eventually(
        lambda: system.database.column("SELECT count(*) FROM events WHERE guid = %s", last),
        equals([1]),
    )
    assert await system.database.count("events") == 2


async def test_a_refused_event_does_not_affect_others(system: System, gateway: Gateway) -> None:
    failures: list[Failure] = []
    async with AsyncClient(gateway.key, gateway.url, on_error=failures.append) as client:
        await client.track("t", user_id=1)
        await client.track("t", user_id="null", message_id="nobody's")
        await client.track("t", user_id=1, data={"text": "\0"}, message_id="unstorable")
        await client.track("t" * 500, user_id=1, message_id="long")
        await client.track("t", user_id=1)
    (failure,) = failures
    assert failure.kind == "refused"
    assert [event.message_id for event in failure.lost] == ["nobody's", "unstorable", "long"]
    assert json.loads(failure.lost[0].json)["userId"] == "null"
    assert client.counts() == Counts(waiting=0, delivered=2, refused=3, dropped=0)
    await eventually(lambda: system.database.count("events"), equals(2))


async def test_a_wrong_key_is_reported_and_the_events_wait(gateway: Gateway) -> None:
    failures: list[Failure] = []
    client = AsyncClient("no-such-key", gateway.url, interval=0, on_error=failures.append)
    await client.track("t", user_id=1)
    await eventually(lambda: [failure.kind for failure in failures], equals(["misconfigured"]))
    assert "401" in failures[0].message
    assert client.counts().waiting == 1
    assert not await client.close(0)
    assert [len(failure.lost) for failure in failures] == [0, 1]
