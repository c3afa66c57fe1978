"""The real clients of other systems and ours, unchanged: each event is stored once.

With a working network and with each trouble of `network_trouble.py`: the gateway is unavailable,
cuts connections after it has accepted a request, or answers late.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from tests.clients import network_trouble
from tests.clients.network_trouble import Trouble
from tests.clients.sdks import SDKS, STEPS, Sdk
from tests.support.database import Database
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]

WAIT_SECONDS = 90.0
"""Some clients wait long before they send an event again."""


@pytest.fixture
async def stack(system: System) -> tuple[System, Gateway]:
    gateway = await system.ingest()
    await system.resolver()
    return system, gateway


async def run_driver(
    stack: tuple[System, Gateway], sdk: Sdk, trouble: Trouble, user: str, visitor: str
) -> None:
    """Run a driver until all its events are stored, and check them."""
    system, gateway = stack
    start = datetime.now(UTC)
    async with network_trouble.run(gateway.port, trouble) as proxy:
        process = await asyncio.create_subprocess_exec(
            *sdk.command(proxy.url, gateway.key, user, visitor),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            await eventually(
                lambda: count_events(system.database, user), equals(STEPS + 3), within=WAIT_SECONDS
            )
        except AssertionError:
            with suppress(ProcessLookupError):
                process.kill()
            output, _ = await process.communicate()
            types = await system.database.rows("SELECT type, count(*) FROM events GROUP BY type")
            pytest.fail(f"{types}, {proxy}\n{output.decode()[-4000:]}\n{gateway.log_tail()}")
        output, _ = await asyncio.wait_for(process.communicate(b""), 60)
        assert process.returncode == 0, output.decode()[-4000:]
        assert trouble == "none" or proxy.troubled, "the proxy caused no trouble"
    await wait_until_consumed(system)
    await check(system.database, sdk, user, visitor, start)


async def count_events(opened: Database, user: str) -> int:
    """Return the number of events on the profile of a user."""
    return int(
        await opened.value(
            'SELECT count(*) FROM events JOIN profiles ON profiles.guid = "profileGuid" '
            'WHERE profiles."userId" = %s',
            user,
        )
    )


async def wait_until_consumed(system: System) -> None:
    """Wait until the resolver has consumed all records of the topic."""

    async def lag() -> int:
        ends = await system.topics.events.ends()
        stored = dict(
            await system.database.rows('SELECT partition, "nextOffset" FROM "consumerOffsets"')
        )
        return sum(end - stored.get(partition, 0) for partition, end in ends.items())

    await eventually(lag, equals(0))


async def check(opened: Database, sdk: Sdk, user: str, visitor: str, start: datetime) -> None:
    """Compare the stored events with those of the driver."""
    profile = await opened.profile_of(user)
    events = await opened.rows(
        'SELECT guid, type, "userId", "anonymousId", "occurredAt" FROM events '
        'WHERE "profileGuid" = %s',
        profile,
    )
    data: dict[str, dict[str, str]] = {guid: {} for guid, *_ in events}
    for guid, key, value in await opened.rows(
        'SELECT "eventGuid", key, value FROM "eventData" WHERE "eventGuid" = ANY(%s)', list(data)
    ):
        data[guid][key] = value
    types = Counter(kind for _, kind, *_ in events)
    assert types == {sdk.names.page: 1, sdk.names.identify: 1, "purchase": 1, "step": STEPS}
    by_type = {kind: (guid, user_id, anonymous) for guid, kind, user_id, anonymous, _ in events}
    _, user_id, anonymous_id = by_type[sdk.names.page]
    assert user_id is None or (sdk.adds_user_id_on_send and user_id == user)
    assert anonymous_id == visitor if sdk.accepts_anonymous_id else anonymous_id
    guid, user_id, linked = by_type[sdk.names.identify]
    assert (user_id, linked) == (user, anonymous_id)
    assert data[guid][sdk.names.plan] == "free"
    guid, user_id, _ = by_type["purchase"]
    assert user_id == user
    assert (data[guid]["price"], data[guid]["sku"]) == ("12.5", "mug-7")
    steps = [data[guid]["number"] for guid, kind, *_ in events if kind == "step"]
    assert sorted(map(int, steps)) == list(range(STEPS))
    slack = timedelta(seconds=2)
    assert all(start - slack <= at <= datetime.now(UTC) + slack for *_, at in events)


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
async def test_a_client_delivers_each_event_once(stack: tuple[System, Gateway], sdk: Sdk) -> None:
    if sdk.missing:
        pytest.skip(sdk.missing)
    system, _ = stack
    for number, trouble in enumerate(get_args(Trouble)):
        if trouble == "unavailable" and sdk.never_retries:
            continue
        await run_driver(stack, sdk, trouble, f"10{number}", f"visitor-{number}")
    assert await system.database.count("profiles") == len(
        [
            trouble
            for trouble in get_args(Trouble)
            if trouble != "unavailable" or not sdk.never_retries
        ]
    )
