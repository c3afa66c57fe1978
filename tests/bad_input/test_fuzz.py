"""Any bytes get a documented response, and accepted events can be stored."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from hypothesis import example, given, settings

from ingest.app import Gateway
from ingest.main import DIALECTS
from ingest.openapi import statuses
from ingest.publisher import Publisher, Record
from ingest.refused_events import RefusedEvents
from ingest.usage import KeyUsage
from merganser.http.asgi import Message
from merganser.http.authentication import ApiKey, ApiKeys, Permission
from merganser.runtime import sql
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database as Connection
from merganser.runtime.settings import IngestSettings
from resolver import copy_format
from schemas.event import Event, decode
from schemas.refused_event import MAX_CONTENT
from tests.bad_input.fuzz import bodies, queries, routes
from tests.support import database, examples
from tests.support.gateway import Gateway as Running
from tests.support.refusals import shape_of

EXAMPLES = examples.count(fast=100, full=300)
EXAMPLES_OVER_HTTP = examples.count(fast=40, full=100)
DOCUMENTED = {200, *statuses()} - {500, 503}
COPY = sql.load("resolver", "events.sql")


class AnyKey(ApiKeys):
    """Accepts any key."""

    def __init__(self) -> None:
        super().__init__(Connection("", ""), 1, Stop(), "")

    async def identify(self, _: str | None) -> ApiKey:
        return ApiKey("", "key_1", frozenset({Permission.WRITE_EVENTS}))


class RecordingPublisher(Publisher):
    """Keeps the records instead of publishing them."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def publish(self, records: Sequence[Record], *_: object, **__: object) -> None:
        self.records += records


def new_gateway(publisher: Publisher) -> Gateway:
    """Return a gateway that accepts any key, and records what it refuses."""
    usage = KeyUsage(Connection("", ""), Stop())
    refused = RefusedEvents(_no_producer, "refused", 1_000_000, MAX_CONTENT, time.monotonic)
    own = IngestSettings(_env_file=None)
    return Gateway(own, DIALECTS, AnyKey(), publisher, usage, refused_events=refused)


async def send_request(
    app: Gateway, method: str, path: str, query: str, body: bytes
) -> tuple[int, Mapping[bytes, bytes], bytes]:
    """Send a request without a network; return status, headers and body of the response."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [],
        "client": ("192.0.2.1", 1),
    }
    await app(scope, receive, send)
    head, content = sent
    return head["status"], dict(head["headers"]), content["body"]


def check(status: int, content: bytes) -> None:
    """Check that a response has a documented status and, for an error, the documented shape."""
    assert status in DOCUMENTED
    if status != 200:
        shape_of(json.loads(content))


def test_any_body_gets_a_documented_response_and_accepted_events_can_be_stored(
    database_url: str,
) -> None:
    publisher = RecordingPublisher()
    app = new_gateway(publisher)
    with asyncio.Runner() as runner:

        @settings(max_examples=EXAMPLES, deadline=None, database=None)
        @given(routes, queries, bodies)
        @example(("POST", "/api/v1/track"), "", b'{"type": "t", "userId": 1, "data": {"k": 1.50}}')
        def any_body(route: tuple[str, str], query: str, body: bytes) -> None:
            status, _, content = runner.run(send_request(app, *route, query, body))
            check(status, content)

        any_body()
        events = {
            event["guid"]: event for event in (decode(one.value) for one in publisher.records)
        }
        assert events
        runner.run(_check_storable(database_url, list(events.values())))


def _no_producer() -> AIOKafkaProducer:
    raise AssertionError("refused events are recorded, but not published")


async def _check_storable(url: str, events: list[Event]) -> None:
    """Copy the events into Postgres, and check that it returns their data unchanged."""
    numbers = count()
    async with database.opened(url) as opened, opened.connection.cursor() as cursor:
        async with cursor.copy(COPY["copy_events"]) as copy:
            await copy.write(copy_format.encode_events([(event, "pro_1") for event in events]))
        async with cursor.copy(COPY["copy_event_data"]) as copy:
            await copy.write(
                copy_format.encode_event_data(events, (f"edt_{number}" for number in numbers))
            )
        stored = await opened.rows('SELECT "eventGuid", key, value FROM "eventData"')
        expected: list[tuple[Any, ...]] = [
            (event["guid"], *item) for event in events for item in event["data"].items()
        ]
        assert sorted(stored) == sorted(expected)


def test_any_body_gets_a_documented_response_over_http(gateway: Running) -> None:
    with httpx.Client(
        base_url=gateway.url, headers={"authorization": f"Bearer {gateway.key}"}, timeout=60
    ) as client:

        @settings(max_examples=EXAMPLES_OVER_HTTP, deadline=None, database=None)
        @given(routes, queries, bodies)
        def any_body(route: tuple[str, str], query: str, body: bytes) -> None:
            method, path = route
            answer = client.request(method, path, params=query, content=body)
            assert answer.status_code in DOCUMENTED
            if method != "HEAD":
                check(answer.status_code, answer.content)

        any_body()
    assert "internal error" not in gateway.log
    assert gateway.running


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "get", "\xe9"])
def test_other_methods_and_paths_are_refused(method: str) -> None:
    app = new_gateway(RecordingPublisher())
    for path, expected in {"/api/v1/track": 405, "/v1/batch": 405, "/nowhere": 404}.items():
        status, headers, content = asyncio.run(send_request(app, method, path, "", b"{}"))
        assert status == expected
        assert (b"allow" in headers) == (expected == 405)
        shape_of(json.loads(content))
