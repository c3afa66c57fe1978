"""The live page, on the real Kafka and Postgres."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from console import event_stream
from console.event_stream import EventStream, format_message
from console.live import MAX_STREAMS
from merganser.http.asgi import Message as AsgiMessage
from tests.console.event_source import Message, logged_in, streaming, wait_for
from tests.console.test_hostile import MARKUP, TEXTS
from tests.console.viewer import Viewer, text_of
from tests.support.events import event
from tests.support.gateway import Gateway
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import equals, eventually

ALL = ("console:read", "events:read")


@asynccontextmanager
async def following(viewer: Viewer) -> AsyncIterator[None]:
    """Let the console read the topics for the length of a block, while somebody watches."""
    task = asyncio.create_task(viewer.feed.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def rows(html: str) -> list[str]:
    """Return the text of each row of a page or a message."""
    return [text_of(row) for row in re.findall(r"<tr id.*?</tr>", html, re.DOTALL)]


async def refuse(gateway: Gateway, **fields: object) -> None:
    """Send an event that is refused, and wait until it is recorded."""
    recorded = await gateway.metric("merganser_ingest_refused_records_total", outcome="published")
    assert (await gateway.track(**fields)).status_code == 422
    await eventually(
        lambda: gateway.metric("merganser_ingest_refused_records_total", outcome="published"),
        equals(recorded + 1),
    )


async def test_the_page_shows_the_newest_events_and_what_was_refused(
    system: System, system_viewer: Viewer
) -> None:
    gateway = await system.ingest()
    await gateway.tracked(type="pageview", anonymousId="laptop", data={"path": "/shop"})
    await refuse(gateway, type="buy", userId="x" * 300)
    async with following(system_viewer):
        refused, accepted = rows(await system_viewer.page("/live"))
    assert "accepted pageview Copy the guid — laptop tests path /shop" in accepted
    assert "refused buy" in refused
    assert "userId has 300 characters, 191 are allowed" in refused
    assert "invalid · /api/v1/track · request" in refused


async def test_filters_are_parameters(system: System, system_viewer: Viewer) -> None:
    gateway = await system.ingest()
    await system.events.publish_events(
        [
            event("ann", "laptop", kind="sign-in"),
            event(None, "phone", kind="pageview"),
            event("bob", None, kind="pageview"),
        ]
    )
    await refuse(gateway, type="pageview", userId="ann", anonymousId="x" * 300)

    async def types(**parameters: str) -> list[str]:
        found = rows(await system_viewer.page("/live", **parameters))
        return sorted(" ".join(row.split()[3:5]) for row in found)

    async with following(system_viewer):
        assert await types(type="sign-in") == ["accepted sign-in"]
        assert await types(id="ann") == ["accepted sign-in", "refused pageview"]
        assert await types(id="phone") == ["accepted pageview"]
        assert await types(id="phone", type="sign-in") == []
        assert await types(key="key_test") == [*["accepted pageview"] * 2, "accepted sign-in"]
        assert await types(mine="1") == []
        page = await system_viewer.page("/live", type="nothing", id="<b>")
    assert "None of the newest events matches these filters." in text_of(page)
    assert "/live/stream?type=nothing&amp;id=%3Cb%3E" in page


async def test_only_mine_are_those_of_the_own_key(system: System, system_viewer: Viewer) -> None:
    gateway = await system.ingest()
    await gateway.tracked(type="theirs", userId="ann")
    await system_viewer.log_in("console:read", "events:write")
    own = await system_viewer.database.value(
        'SELECT guid FROM "apiKeys" ORDER BY "createdAt" DESC LIMIT 1'
    )
    mine = event("ann", kind="mine")
    mine["producerGuid"] = own
    await system.events.publish_events([mine])
    async with following(system_viewer):
        assert len(rows(await system_viewer.page("/live"))) == 2
        (row,) = rows(await system_viewer.page("/live", mine="1"))
    assert "accepted mine" in row


async def test_events_of_a_person_who_was_erased_are_not_shown(
    system: System, system_viewer: Viewer
) -> None:
    await system.ingest()
    erased = [event("ann", "tablet"), event(None, "laptop")]
    await system.events.publish_events([*erased, event("bob", "tablet")])
    await system.database.execute(
        """INSERT INTO profiles (guid, "userId") VALUES ('pro_1', 'ann');
        INSERT INTO "anonymousIds" ("anonymousId", "profileGuid") VALUES ('laptop', 'pro_1')"""
    )
    async with following(system_viewer):
        assert len(rows(await system_viewer.page("/live"))) == 3
        await system.cli("forget", "ann", "--yes")
        (row,) = rows(await system_viewer.page("/live"))
    assert "bob" in row


async def test_values_are_masked_without_the_permission(
    system: System, system_viewer: Viewer
) -> None:
    gateway = await system.ingest(ingest_refused_content=500)
    await gateway.tracked(type="buy", userId="ann", data={"card": "4711"})
    await refuse(gateway, type="buy", userId="x" * 300, data={"card": "4712"})
    async with following(system_viewer):
        page = await system_viewer.page("/live")
        assert "4711" in page
        assert "4712" in page
        await system_viewer.log_in("console:read")
        page = await system_viewer.page("/live")
    assert "4711" not in page
    assert "4712" not in page
    assert "••••" in page
    assert "ann" in page


@pytest.mark.parametrize("name", TEXTS)
async def test_hostile_events_are_text(system: System, system_viewer: Viewer, name: str) -> None:
    text = TEXTS[name]
    hostile = event(text, f"device {text}"[:512], kind=text)
    hostile["data"] = {text: text}
    hostile["producerGuid"] = text
    await system.events.publish_events([hostile])
    gateway = await system.ingest(ingest_refused_content=500)
    await refuse(gateway, type=text, userId=text, anonymousId="x" * 300, data={text: text})
    async with following(system_viewer):
        page = await system_viewer.page("/live", id=text if name != "long" else "")
    assert len(rows(page)) == 2
    assert MARKUP not in page
    assert 'onmouseover="' not in page
    assert "\u202e" not in text_of(page)


async def test_without_viewers_nothing_is_read(system_viewer: Viewer) -> None:
    feed = system_viewer.feed
    async with following(system_viewer):
        await asyncio.sleep(0)
        assert not feed.is_reading
        await system_viewer.page("/live")
        assert feed.is_reading
        await eventually(lambda: feed.is_reading, equals(False), within=60)


async def test_without_kafka_the_page_says_so(viewer: Viewer) -> None:
    async with following(viewer):
        assert "Kafka does not answer about the topic events." in await viewer.text("/live")


async def test_without_the_topic_of_refused_events_the_page_says_what_to_do(
    system: System, system_viewer: Viewer
) -> None:
    await system.events.publish_events([event("ann")])
    await system.refused.delete()
    async with following(system_viewer):
        page = await system_viewer.page("/live")
    assert len(rows(page)) == 1
    assert "run `merganser topics`" in text_of(page)


async def test_an_event_arrives_and_becomes_resolved(system: System) -> None:
    gateway, (_, url) = await asyncio.gather(system.ingest(), system.console())
    async with logged_in(system, url, *ALL) as client, streaming(client, id="ann") as messages:
        await gateway.tracked(type="other", userId="bob")
        guid = await gateway.tracked(type="sign-in", userId="ann")
        message = await wait_for(messages, lambda message: message.kind == "rows")
        (row,) = rows(message.data)
        assert "accepted sign-in Copy the guid ann" in row
        assert f'<tr id="{guid}">' in message.data
        await system.resolver()
        message = await wait_for(messages, lambda message: message.kind == "resolved")
        profile = await system.database.profile_of("ann")
        assert f'<tr id="{guid}">' in message.data
        assert f'href="/profiles/{profile}"' in message.data
        await refuse(gateway, type="late", userId="ann", anonymousId="x" * 300)
        message = await wait_for(messages, lambda message: message.kind == "rows")
        assert "anonymousId has 300 characters" in text_of(message.data)


async def test_of_very_many_events_a_viewer_gets_a_sample(system: System) -> None:
    _, url = await system.console()
    total = 3000
    async with logged_in(system, url, *ALL) as client, streaming(client) as messages:
        await system.events.publish_events([event("first")])
        await wait_for(messages, lambda message: message.kind == "rows")
        await system.events.publish_events(event(f"user-{number}") for number in range(total))
        shown = missed = 0
        while shown + missed < total:
            message = await wait_for(messages, lambda message: message.kind in ("rows", "counts"))
            if message.kind == "rows":
                count = len(rows(message.data))
                assert count <= 20
                shown += count
            else:
                missed += sum(json.loads(message.data).values())
        assert shown + missed == total
        assert missed > total / 2


async def test_a_refused_event_is_shown_among_very_many(system: System) -> None:
    gateway, (_, url) = await asyncio.gather(system.ingest(), system.console())
    async with logged_in(system, url, *ALL) as client, streaming(client) as messages:
        await system.events.publish_events([event("first")])
        await wait_for(messages, lambda message: message.kind == "rows")
        await refuse(gateway, type="lost", userId="x" * 300)
        await system.events.publish_events(event(f"user-{number}") for number in range(500))
        await wait_for(messages, lambda message: "refused" in message.data)


async def test_a_stream_ends_with_the_session_and_with_the_process(system: System) -> None:
    service, url = await system.console()
    async with logged_in(system, url, *ALL) as client:
        async with streaming(client) as messages:
            await eventually(lambda: viewers(service), equals(1))
            await client.post("/logout", headers={"sec-fetch-site": "same-origin", "origin": url})
            end = await wait_for(messages, lambda message: message.kind == "end")
            assert "session" in end.data
        await eventually(lambda: viewers(service), equals(0))
    async with logged_in(system, url, *ALL, name="second") as client:
        async with streaming(client) as messages:
            await eventually(lambda: viewers(service), equals(1))
            stopping = asyncio.create_task(service.stop(within=10))
            assert [message async for message in messages] == []  # ends without an error
        assert await stopping == 0
    assert service.defects == []


async def test_a_stream_does_not_keep_a_session_alive(system: System) -> None:
    _, url = await system.console(console_idle_timeout=4)
    async with logged_in(system, url, *ALL) as client, streaming(client) as messages:
        end = await wait_for(messages, lambda message: message.kind == "end")
        assert "session" in end.data


async def test_the_number_of_viewers_is_limited(system: System) -> None:
    service, url = await system.console()
    async with logged_in(system, url, *ALL) as client, AsyncExitStack() as streams:
        for _ in range(MAX_STREAMS):
            await streams.enter_async_context(streaming(client))
        await eventually(lambda: viewers(service), equals(MAX_STREAMS))
        async with streaming(client) as messages:
            assert [message async for message in messages] == [
                Message("end", f"{MAX_STREAMS} people watch already.")
            ]
        await streams.aclose()
        await eventually(lambda: viewers(service), equals(0))
    assert service.defects == []


async def viewers(service: Service) -> float:
    """Return how many streams are open."""
    return await service.metric("merganser_console_live_viewers")


async def test_a_viewer_who_reads_too_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "SLOW_SECONDS", 0.01)
    closed, gone = asyncio.Event(), asyncio.Event()

    async def messages() -> AsyncGenerator[str]:
        try:
            while True:
                yield format_message("rows", "x")
        finally:
            closed.set()

    async def receive() -> AsgiMessage:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: AsgiMessage) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()  # the client does not read

    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    async with aclosing(messages()) as source:
        running = asyncio.create_task(EventStream(source)(scope, receive, send))
        await closed.wait()
        gone.set()
        await running


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"], ids=ascii)
def test_a_line_of_a_message_cannot_start_another_message(end: str) -> None:
    text = format_message("rows", f"a{end}{end}event: end{end}data: b")
    assert text == "event: rows\ndata: a\ndata: \ndata: event: end\ndata: data: b\n\n"
