"""Run ingest for a load test, and build the requests."""

import json
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psutil
import psycopg

from dev.bench import load, realistic_events, servers
from dev.bench.processes import child, cpu_by_name, process, wait_until_ready
from dev.stack import Servers
from dev.stack.ports import free_port
from merganser.http.authentication import hash_key
from merganser.runtime.settings import Settings
from schemas.event import Event

KEY = "mk_" + secrets.token_urlsafe(32)
BATCH = 100
"""Events of one batch request."""
WARMUP_SECONDS = 20
"""The JVM compiles code at run time, so a broker is slower in its first minute."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """An HTTP server: its port on 127.0.0.1, and its process."""

    port: int
    process: psutil.Process


@contextmanager
def ingest(servers: Servers, settings: Settings, url: str, workers: int = 1) -> Iterator[Gateway]:
    """Run ingest, which accepts `KEY`; with several workers, the process is their supervisor."""
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(
            """INSERT INTO "apiKeys" (name, "keyHash", permissions) VALUES ('bench', %s, %s)
            ON CONFLICT DO NOTHING""",
            (hash_key(KEY), ["events:write"]),
        )
    port = free_port()
    with process(
        "ingest",
        servers,
        settings,
        url,
        ingest_port=str(port),
        ingest_workers=str(workers),
        ingest_publish_timeout="30",  # a busy machine must not fail the run with a 503
    ) as started:
        yield Gateway(port, started)


@contextmanager
def constant() -> Iterator[Gateway]:
    """Run the same server with a constant response."""
    port = free_port()
    with child([sys.executable, "-m", "dev.bench.constant", str(port)]) as started:
        wait_until_ready(f"http://127.0.0.1:{port}/")
        yield Gateway(port, started)


def drive(
    running: Servers, server: Gateway, requests: Sequence[bytes], connections: int, seconds: float
) -> load.Driven:
    """Send requests as fast as the server answers; sample the CPU of the gateway and of Kafka."""
    processes = {"gateway": server.process, "kafka": servers.broker(running)}
    return load.drive(
        server.port,
        requests,
        connections=connections,
        seconds=seconds,
        sample=lambda: cpu_by_name(processes),
    )


def singles(count: int) -> list[bytes]:
    """Return requests with one event each."""
    return [
        load.request("/api/v1/track", _compact(track_payload(event)), KEY)
        for event in realistic_events.events(count)
    ]


def batches(count: int) -> list[bytes]:
    """Return requests with `BATCH` events each; `count` is the number of all events."""
    return [load.request("/api/v1/batch", body, KEY) for body in batch_bodies(count)]


def batch_bodies(count: int) -> Iterator[bytes]:
    """Yield the bodies of `batches`."""
    events = realistic_events.events(count)
    while part := list(islice(events, BATCH)):
        yield _compact({"events": [track_payload(event) for event in part]})


def track_payload(event: Event) -> dict[str, Any]:
    """Return the payload that a client sends for this event; the price is a number."""
    ids = {"userId": event["userId"], "anonymousId": event["anonymousId"]}
    return {
        "type": event["type"],
        **{name: value for name, value in ids.items() if value},
        "occurredAt": event["occurredAt"].isoformat().replace("+00:00", "Z"),
        "data": {**event["data"], "price": float(event["data"]["price"])},
    }


def _compact(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
