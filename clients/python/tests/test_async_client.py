import asyncio
import time
from collections.abc import Callable

import pytest

from merganser_client import AsyncClient, Closed, Counts, Failure
from standin import Standin, answers_after, cuts, says

Connect = Callable[..., AsyncClient]

LARGE = {"text": "x" * 50_000}
SMALLEST = 1 << 20


async def test_events_arrive_once_through_trouble(standin: Standin, connect_async: Connect) -> None:
    standin.then(says(503), cuts(take=True), answers_after(0.4))
    client = connect_async(batch_size=20, timeout=0.2)
    for number in range(100):
        await client.track("t", user_id="1", message_id=str(number))
    await client.identify("1", anonymous_id="a", traits={"plan": "gold"})
    assert await client.flush(20)
    events = list(standin.taken.values())
    assert [event["messageId"] for event in events[:-1]] == [str(number) for number in range(100)]
    assert (events[-1]["type"], events[-1]["data"]) == ("identify", {"plan": "gold"})
    assert client.counts() == Counts(waiting=0, delivered=101, refused=0, dropped=0)


async def test_mistakes_are_told_where_they_are_made(connect_async: Connect) -> None:
    with pytest.raises(ValueError, match="user_id"):
        await connect_async().track("t")


async def test_coroutines_wait_for_room_and_lose_nothing(
    standin: Standin, connect_async: Connect
) -> None:
    standin.stop()
    client = connect_async(queue_bytes=SMALLEST, when_full="block", interval=3600)

    async def send(name: int) -> None:
        for number in range(30):
            message_id = f"{name}-{number}"
            await client.track("t", user_id="1", data=LARGE, message_id=message_id)

    senders = [asyncio.ensure_future(send(name)) for name in range(4)]
    done, _ = await asyncio.wait(senders, timeout=0.3)
    assert not done
    assert client.counts().waiting < 30
    standin.start()
    await asyncio.gather(*senders)
    assert await client.flush(20)
    assert set(standin.taken) == {f"{name}-{number}" for name in range(4) for number in range(30)}
    assert client.counts().dropped == 0


async def test_who_stops_waiting_sends_nothing(standin: Standin, connect_async: Connect) -> None:
    standin.stop()
    client = connect_async(queue_bytes=SMALLEST, when_full="block")
    sent: list[str] = []

    async def send() -> None:
        while True:
            message_id = str(len(sent))
            await client.track("t", user_id="1", data=LARGE, message_id=message_id)
            sent.append(message_id)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(send(), 0.3)
    standin.start()
    assert await client.close(20)
    assert list(standin.taken) == sent


async def test_who_waits_at_the_end_is_told(standin: Standin, connect_async: Connect) -> None:
    standin.stop()
    client = connect_async(queue_bytes=SMALLEST, when_full="block")

    async def send() -> None:
        while True:
            await client.track("t", user_id="1", data=LARGE)

    sender = asyncio.ensure_future(send())
    await asyncio.wait([sender], timeout=0.2)
    assert not await client.close(0.1)
    with pytest.raises(Closed):
        await sender


async def test_without_room_the_newest_are_dropped_by_default(
    standin: Standin, connect_async: Connect, failures: list[Failure]
) -> None:
    standin.stop()
    client = connect_async(queue_bytes=SMALLEST)
    for _ in range(30):
        await client.track("t", user_id="1", data=LARGE)
    counts = client.counts()
    assert counts.waiting + counts.dropped == 30
    assert sum(len(failure.lost) for failure in failures) == counts.dropped > 0


async def test_flush_gives_up_in_time_and_the_events_stay(
    standin: Standin, connect_async: Connect
) -> None:
    standin.then(answers_after(0.5))
    client = connect_async()
    await client.track("t", user_id="1")
    assert not await client.flush(0.05)
    assert await client.flush(10)
    assert len(standin.taken) == 1


async def test_the_loop_turns_while_the_client_waits(
    standin: Standin, connect_async: Connect
) -> None:
    standin.behaviour = answers_after(0.5)
    client = connect_async()
    await client.track("t", user_id="1")
    closing = asyncio.ensure_future(client.close())
    longest, last = 0.0, time.monotonic()
    while not closing.done():
        await asyncio.sleep(0.01)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    assert closing.result()
    assert longest < 0.3


async def test_a_block_closes_the_client(standin: Standin) -> None:
    async with AsyncClient("key", standin.url, interval=3600) as client:
        await client.track("t", user_id="1")
    assert len(standin.taken) == 1


def test_one_client_serves_several_loops_one_after_another(
    standin: Standin, connect_async: Connect
) -> None:
    client = connect_async(interval=3600)
    for _ in range(3):
        asyncio.run(client.track("t", user_id="1"))
    assert asyncio.run(client.flush(10))
    assert len(standin.taken) == 3
