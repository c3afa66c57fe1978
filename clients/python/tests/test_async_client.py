import asyncio
import time
from collections.abc import Callable

import pytest

from fake_ingest import FakeIngest, disconnect, respond, respond_after
from merganser_client import AsyncClient, Closed, Counts, Failure

Connect = Callable[..., AsyncClient]

LARGE = {"text": "x" * 50_000}
MIN_QUEUE_BYTES = 1 << 20


async def test_events_arrive_once_despite_failures(
    fake_ingest: FakeIngest, connect_async: Connect
) -> None:
    fake_ingest.then(respond(503), disconnect(store=True), respond_after(0.4))
    client = connect_async(batch_size=20, timeout=0.2)
    for number in range(100):
        await client.track("t", user_id="1", message_id=str(number))
    await client.identify("1", anonymous_id="a", traits={"plan": "gold"})
    assert await client.flush(20)
    events = list(fake_ingest.stored.values())
    assert [event["messageId"] for event in events[:-1]] == [str(number) for number in range(100)]
    assert (events[-1]["type"], events[-1]["data"]) == ("identify", {"plan": "gold"})
    assert client.counts() == Counts(waiting=0, delivered=101, refused=0, dropped=0)


async def test_track_raises_for_invalid_arguments(connect_async: Connect) -> None:
    with pytest.raises(ValueError, match="user_id"):
        await connect_async().track("t")


async def test_coroutines_wait_for_room_and_lose_no_event(
    fake_ingest: FakeIngest, connect_async: Connect
) -> None:
    fake_ingest.stop()
    client = connect_async(queue_bytes=MIN_QUEUE_BYTES, when_full="block", interval=3600)

    async def send(name: int) -> None:
        for number in range(30):
            message_id = f"{name}-{number}"
            await client.track("t", user_id="1", data=LARGE, message_id=message_id)

    senders = [asyncio.ensure_future(send(name)) for name in range(4)]
    done, _ = await asyncio.wait(senders, timeout=0.3)
    assert not done
    assert client.counts().waiting < 30
    fake_ingest.start()
    await asyncio.gather(*senders)
    assert await client.flush(20)
    assert set(fake_ingest.stored) == {
        f"{name}-{number}" for name in range(4) for number in range(30)
    }
    assert client.counts().dropped == 0


async def test_a_cancelled_track_sends_nothing(
    fake_ingest: FakeIngest, connect_async: Connect
) -> None:
    fake_ingest.stop()
    client = connect_async(queue_bytes=MIN_QUEUE_BYTES, when_full="block")
    sent: list[str] = []

    async def send() -> None:
        while True:
            message_id = str(len(sent))
            await client.track("t", user_id="1", data=LARGE, message_id=message_id)
            sent.append(message_id)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(send(), 0.3)
    fake_ingest.start()
    assert await client.close(20)
    assert list(fake_ingest.stored) == sent


async def test_track_raises_closed_if_the_client_is_closed_while_it_waits(
    fake_ingest: FakeIngest, connect_async: Connect
) -> None:
    fake_ingest.stop()
    client = connect_async(queue_bytes=MIN_QUEUE_BYTES, when_full="block")

    async def send() -> None:
        while True:
            await client.track("t", user_id="1", data=LARGE)

    sender = asyncio.ensure_future(send())
    await asyncio.wait([sender], timeout=0.2)
    assert not await client.close(0.1)
    with pytest.raises(Closed):
        await sender


async def test_by_default_a_full_queue_drops_the_newest_events(
    fake_ingest: FakeIngest, connect_async: Connect, failures: list[Failure]
) -> None:
    fake_ingest.stop()
    client = connect_async(queue_bytes=MIN_QUEUE_BYTES)
    for _ in range(30):
        await client.track("t", user_id="1", data=LARGE)
    counts = client.counts()
    assert counts.waiting + counts.dropped == 30
    assert sum(len(failure.lost) for failure in failures) == counts.dropped > 0


async def test_flush_returns_false_after_its_timeout_and_keeps_the_events(
    fake_ingest: FakeIngest, connect_async: Connect
) -> None:
    fake_ingest.then(respond_after(0.5))
    client = connect_async()
    await client.track("t", user_id="1")
    assert not await client.flush(0.05)
    assert await client.flush(10)
    assert len(fake_ingest.stored) == 1


async def test_the_event_loop_runs_while_the_client_closes(
    fake_ingest: FakeIngest, connect_async: Connect
) -> None:
    fake_ingest.behavior = respond_after(0.5)
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


async def test_the_end_of_a_with_block_closes_the_client(fake_ingest: FakeIngest) -> None:
    async with AsyncClient("key", fake_ingest.url, interval=3600) as client:
        await client.track("t", user_id="1")
    assert len(fake_ingest.stored) == 1


def test_several_event_loops_can_use_one_client(
    fake_ingest: FakeIngest, connect_async: Connect
) -> None:
    client = connect_async(interval=3600)
    for _ in range(3):
        asyncio.run(client.track("t", user_id="1"))
    assert asyncio.run(client.flush(10))
    assert len(fake_ingest.stored) == 3
