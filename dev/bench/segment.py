"""`segment`: the cost of an event in a Segment batch, compared with a native batch.

The figure is events/s of CPU time of one thread, from the bytes of a body to records for the topic:
parsing, the dialect, validation and encoding for batches of 100, without network, Kafka and
response. Both bodies have the same events and give the same records, which the benchmark checks.
The events are a browser's with its full context, which are the most expensive of Segment's; the
native batch has the context as dotted keys.
"""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from dev.bench.ratios import Finding, Round, Run, finding
from ingest.dialects import ParsedRequest, RequestParser, native
from ingest.dialects import segment as dialect
from ingest.request import Request
from ingest.validate import validate
from schemas import guid
from schemas.exact_json import Number
from schemas.ids import NOBODY
from schemas.validation import EventLimits, ServerFields, ValidEvent

EVENTS = 100
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = EventLimits(
    id_characters=191, data_keys=256, depth=32, event_bytes=64 << 10, nobody=NOBODY
)

CONTEXT = {
    "page": {
        "path": "/mugs/7",
        "referrer": "https://search.example/",
        "search": "?utm_source=news&utm_campaign=spring",
        "title": "The seventh mug - Shop",
        "url": "https://shop.example/mugs/7?utm_source=news&utm_campaign=spring",
    },
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36",
    "userAgentData": {
        "brands": [
            {"brand": "Chromium", "version": "141"},
            {"brand": "Not?A_Brand", "version": "8"},
        ],
        "mobile": False,
        "platform": "Linux",
    },
    "locale": "en-US",
    "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
    "timezone": "Europe/Berlin",
    "campaign": {"name": "spring", "source": "news"},
}
"""The context that @segment/analytics-next 1.84.3 sends."""

CALLS: list[dict[str, Any]] = [
    {"type": "page", "name": "Mug", "properties": {**CONTEXT["page"], "category": "mugs"}},  # type: ignore[dict-item] # the page of the context is an object
    {
        "type": "track",
        "event": "Product Viewed",
        "properties": {"sku": "mug-7", "price": 12.5, "currency": "EUR", "position": 3},
    },
    {
        "type": "track",
        "event": "Order Completed",
        "properties": {
            "orderId": "o-4711",
            "total": 27.50,
            "products": [{"sku": "mug-7", "quantity": 2, "price": 12.5}],
        },
    },
    {
        "type": "identify",
        "userId": "123",
        "traits": {"email": "ann@example.com", "name": "Ann", "address": {"city": "Bonn"}},
    },
]


def measure(run: Run) -> Iterator[Finding]:
    """Alternate batches of both dialects."""
    batches = 2 if run.quick else 30
    segment_body = _segment_body()
    native_body = _native_body(segment_body)
    parse_segment, parse_native = (
        dialect.ROUTES["POST /v1/batch"],
        native.ROUTES["POST /api/v1/batch"],
    )
    if _records(parse_segment, segment_body) != _records(parse_native, native_body):
        raise AssertionError("the two bodies are not the same events")
    found: list[Round] = []
    for _ in range(4 * run.rounds + 1):
        value = _rate(parse_segment, segment_body, batches)
        ceiling = _rate(parse_native, native_body, batches)
        found.append(Round(value, ceiling, {"ingest": 1e6 / value}))
    yield finding("segment", "events/s", found)


def _rate(reader: RequestParser, body: bytes, batches: int) -> float:
    start = time.process_time()
    for _ in range(batches):
        _records(reader, body)
    return EVENTS * batches / (time.process_time() - start)


def _records(reader: RequestParser, body: bytes) -> list[ValidEvent]:
    parsed = reader(Request(body))
    if not isinstance(parsed, ParsedRequest):
        raise TypeError("the request has no events")
    guids = guid.series(7, guid.EVENT, 0)
    server_fields = ServerFields(guids.__next__, 7, "key_1", "192.0.2.1", NOW)
    return [validate(raw, LIMITS, server_fields) for raw in parsed.events]


def _segment_body() -> bytes:
    body = {"batch": list(_calls()), "writeKey": "KEY", "sentAt": "2026-03-01T12:00:00.000Z"}
    return _compact(body)


def _calls() -> Iterator[dict[str, Any]]:
    for n in range(EVENTS):
        moment = NOW - timedelta(seconds=EVENTS - n)
        yield {
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "integrations": {},
            "anonymousId": f"7f6f2c0e-3d1c-4d0f-8e53-{n % 10:012}",
            **CALLS[n % len(CALLS)],
            "context": CONTEXT,
            "messageId": f"ajs-next-1772366400000-0d9a1f8e-5a0c-4f4f-9b1e-{n:012}",
            "_metadata": {"bundled": ["Segment.io"], "unbundled": [], "bundledIds": []},
        }


def _native_body(segment_body: bytes) -> bytes:
    """Return the body of a native batch with the same events."""
    parsed = dialect.batch(Request(segment_body))
    events = [
        {field: value for field, value in event.items() if field != "sentAt" and value is not None}
        for event in parsed.events
    ]
    return _compact({"apiKey": "KEY", "events": events, "sentAt": "2026-03-01T12:00:00.000Z"})


def _compact(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), default=_number).encode()


def _number(value: Number) -> Any:
    return json.loads(value.text)
