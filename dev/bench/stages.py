"""The CPU time of each stage of an event in Python, in one thread without I/O."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from dev.bench import gateway
from ingest.dialects import ParsedRequest, native
from ingest.request import Request
from ingest.validate import validate
from merganser.identity.plan import EventIds, Known, make_plan
from resolver import copy_format
from schemas import event as wire
from schemas import guid
from schemas.ids import NOBODY
from schemas.validation import EventLimits, ServerFields, ValidEvent

LIMITS = EventLimits(
    id_characters=191, data_keys=256, depth=32, event_bytes=64 << 10, nobody=NOBODY
)
BATCH = 5_000
"""Events per plan of the resolver."""


def microseconds(count: int) -> dict[str, float]:
    """Return the CPU microseconds of one event by stage, measured over this many events."""
    stages: dict[str, float] = {}

    def measure(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        stages[name] = (time.process_time() - start) * 1e6 / count
        return result

    bodies = list(gateway.batch_bodies(count))
    requests: list[ParsedRequest] = measure(
        "ingest-parse", lambda: [native.batch(Request(body)) for body in bodies]
    )
    records: list[ValidEvent] = measure("ingest-accept", lambda: list(_validate(requests)))
    events = measure("resolver-decode", lambda: [wire.decode(record.value) for record in records])
    event_ids = [
        EventIds(event["guid"], event["occurredAt"], event["userId"], event["anonymousId"])
        for event in events
    ]
    batches = [event_ids[start : start + BATCH] for start in range(0, count, BATCH)]
    measure("resolver-plan", lambda: [make_plan(Known({}, {}), batch) for batch in batches])
    guids = guid.series(7, guid.EVENT_DATA, 0)
    placed = [(event, "pro_01a20b62-1dcd-7de5-b6d7-710b0f3a9c44") for event in events]
    measure(
        "resolver-rows",
        lambda: (copy_format.encode_events(placed), copy_format.encode_event_data(events, guids)),
    )
    return stages


def _validate(requests: list[ParsedRequest]) -> Iterator[ValidEvent]:
    now = datetime.now(UTC)
    for request in requests:
        guids = guid.series(7, guid.EVENT, int(now.timestamp() * 1000))
        server_fields = ServerFields(guids.__next__, 7, "key_1", "192.0.2.1", now)
        for raw in request.events:
            yield validate(raw, LIMITS, server_fields)
