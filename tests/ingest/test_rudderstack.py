"""RudderStack's dialect: bodies as the real packages send them, and what is its own."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ingest.dialects import ParsedRequest, StaticResponse, segment
from ingest.dialects.rudderstack import ROUTES
from ingest.request import Request
from ingest.routes import Routes
from tests.ingest.dialect import make_request, to_events, to_response

SENT = "2026-03-01T12:00:00.000Z"

BROWSER_BATCH: dict[str, Any] = {
    "batch": [
        {
            "channel": "web",
            "context": {
                "traits": {},
                "sessionId": 1772366400123,
                "sessionStart": True,
                "app": {"name": "RudderLabs JavaScript SDK", "version": "3.34.1"},
                "library": {"name": "RudderLabs JavaScript SDK", "version": "3.34.1"},
                "userAgent": "Mozilla/5.0",
                "screen": {"density": 1, "width": 1280, "height": 720},
            },
            "integrations": {"All": True},
            "event": "Product Viewed",
            "originalTimestamp": "2026-03-01T11:59:50.000Z",
            "messageId": "m-1",
            "userId": "",
            "anonymousId": "anon_1",
            "type": "track",
            "properties": {"sku": "mug-7"},
            "sentAt": SENT,
        },
        {
            "channel": "web",
            "context": {
                "traits": {"email": "a@example.com", "address": {"city": "Bonn"}},
                "sessionId": 1772366400123,
            },
            "integrations": {"All": True},
            "originalTimestamp": "2026-03-01T11:59:55.000Z",
            "messageId": "m-2",
            "userId": "123",
            "anonymousId": "anon_1",
            "type": "identify",
            "sentAt": SENT,
        },
        {
            "channel": "web",
            "context": {"traits": {"email": "a@example.com"}},
            "originalTimestamp": "2026-03-01T11:59:56.000Z",
            "messageId": "m-3",
            "userId": "123",
            "anonymousId": "anon_1",
            "groupId": "g1",
            "traits": {"plan": "pro"},
            "type": "group",
            "sentAt": SENT,
        },
    ],
    "sentAt": SENT,
}

NODE_IDENTIFY = {
    "userId": "123",
    "anonymousId": "anon_1",
    "traits": {"email": "a@example.com"},
    "context": {
        "traits": {"email": "a@example.com"},
        "library": {"name": "analytics-node", "version": "3.0.13"},
    },
    "type": "identify",
    "channel": "server",
    "_metadata": {"nodeVersion": "20.20.2"},
    "originalTimestamp": "2026-03-01T11:00:00.000Z",
    "messageId": "m-1",
    "sentAt": SENT,
}


def parse_beacon(body: Any, query: bytes = b"writeKey=KEY") -> ParsedRequest:
    found = ROUTES["POST /beacon/v1/batch"](make_request(body, query=query))
    assert isinstance(found, ParsedRequest)
    return found


def test_the_routes_of_the_dialect() -> None:
    assert set(ROUTES) == {
        "POST /beacon/v1/batch",
        "GET /sourceConfig",
        "HEAD /sourceConfig",
    }


def test_a_beacon_of_the_browser_package_is_read() -> None:
    parsed = parse_beacon(BROWSER_BATCH)
    assert parsed.api_key == "KEY"
    track, identify, group = to_events(parsed)
    assert (track["type"], track["userId"], track["anonymousId"]) == (
        "Product Viewed",
        None,
        "anon_1",
    )
    assert track["occurredAt"] == datetime(2026, 3, 1, 11, 59, 50, tzinfo=UTC)
    assert track["data"] == {
        "sku": "mug-7",
        "context.sessionId": "1772366400123",
        "context.sessionStart": "true",
        "context.app.name": "RudderLabs JavaScript SDK",
        "context.app.version": "3.34.1",
        "context.library.name": "RudderLabs JavaScript SDK",
        "context.library.version": "3.34.1",
        "context.userAgent": "Mozilla/5.0",
        "context.screen.density": "1",
        "context.screen.width": "1280",
        "context.screen.height": "720",
    }
    assert (identify["type"], identify["userId"], identify["anonymousId"]) == (
        "identify",
        "123",
        "anon_1",
    )
    assert identify["data"] == {
        "traits.email": "a@example.com",
        "traits.address.city": "Bonn",
        "context.sessionId": "1772366400123",
    }
    assert group["data"] == {
        "groupId": "g1",
        "traits.plan": "pro",
        "context.traits.email": "a@example.com",
    }
    assert to_response(parsed) == {"success": True}


def test_traits_of_the_node_package_are_read_once() -> None:
    (event,) = to_events(
        parse_beacon({"batch": [NODE_IDENTIFY], "timestamp": SENT, "sentAt": SENT})
    )
    assert event["data"] == {
        "traits.email": "a@example.com",
        "context.library.name": "analytics-node",
        "context.library.version": "3.0.13",
    }


@pytest.mark.parametrize(
    ("query", "key"),
    [
        (b"writeKey=a%2Fb", "a/b"),
        (b"writeKey=", "in the body"),
        (b"", "in the body"),
        (b"writekey=x", "in the body"),
    ],
)
def test_the_key_of_a_beacon_is_in_the_url(query: bytes, key: str) -> None:
    assert parse_beacon({"batch": [], "writeKey": "in the body"}, query).api_key == key


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/sourceConfig", "/sourceConfig/", "//sourceConfig/"])
def test_the_source_config_has_no_destinations(method: str, path: str) -> None:
    reader, _ = Routes([segment.ROUTES, ROUTES]).find(method, path)
    response = reader(Request(query_string=b"p=npm&v=3.34.1&writeKey=KEY"))
    assert isinstance(response, StaticResponse)
    assert isinstance(response.response, dict)
    source = response.response["source"]
    # @rudderstack/analytics-js and rudder-sdk-js read these fields.
    assert source["id"]
    assert isinstance(source["config"], dict)
    assert source["destinations"] == []
    assert source["enabled"] is True
