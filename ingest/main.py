"""Start the ingest process."""

import asyncio
import time
from functools import partial

import structlog

from ingest import openapi, script
from ingest.app import Gateway
from ingest.dialects import jitsu, native, posthog, rudderstack, segment, snowplow
from ingest.publisher import Publisher
from ingest.refused_events import RefusedEvents
from ingest.usage import KeyUsage
from merganser.http.authentication import ApiKeys
from merganser.http.server import ConnectionLimits, create_server
from merganser.process import Process, run_process
from merganser.runtime import kafka, lifecycle, metrics, tracing
from merganser.runtime.settings import IngestSettings
from schemas.refused_event import MAX_RECORD_BYTES

log = structlog.get_logger(__name__)

DIALECTS = [
    dialect.ROUTES for dialect in (native, segment, rudderstack, posthog, jitsu, snowplow, script)
]

RESPONSE_SECONDS = 45.0
"""Time after the body for the API keys, Kafka, and a client that reads the response slowly."""

WIRE_BYTES_PER_BODY_BYTE = 16
"""Upper bound: a chunk with one byte of the body takes six bytes on the wire."""

BYTES_BEFORE_RESPONSE = 1 << 20
"""Bytes that a client may send before the application responds that the body is too large."""

CONNECT_SECONDS = 5.0
"""Time for Kafka to answer before ingest listens anyway. Ingest then answers 503 itself, so that
clients learn when to retry."""

REQUEST_TIMEOUT = 10.0
"""Seconds for one request to a broker; clients get their response earlier, after
`ingest_publish_timeout`."""


async def _run(settings: IngestSettings, process: Process) -> None:
    log.info("starting", port=settings.ingest_port, topic=settings.topic)
    stop = process.stop
    traces = tracing.start_tracing(settings, "ingest")
    if traces:
        process.close_at_exit(partial(asyncio.to_thread, traces.close))
    database = process.open_database("ingest")
    keys = ApiKeys(database, settings.ingest_keys_interval, stop, "apiKey in the body")
    metrics.KEYS_AGE.set_function(keys.age)
    publisher = Publisher(
        lambda: kafka.producer(settings, "ingest", timeout=REQUEST_TIMEOUT),
        settings.topic,
        settings.ingest_max_waiting,
        settings.ingest_publish_timeout,
    )
    process.close_at_exit(publisher.close)
    metrics.WAITING_BYTES.set_function(publisher.waiting)
    usage = KeyUsage(process.open_database("ingest usage"), stop)
    process.close_at_exit(usage.close)
    refused_events = RefusedEvents(
        # A separate producer: these records never delay those of events.
        lambda: kafka.producer(
            settings, "ingest-refused", timeout=REQUEST_TIMEOUT, largest=MAX_RECORD_BYTES
        ),
        settings.refused_topic,
        settings.ingest_refused_rate,
        settings.ingest_refused_content,
        time.monotonic,
    )
    dialects = [*DIALECTS, openapi.pages(DIALECTS, settings)]
    gateway = create_server(
        Gateway(settings, dialects, keys, publisher, usage, traces, refused_events),
        settings.ingest_host,
        settings.ingest_port,
        ConnectionLimits(
            connections=settings.ingest_max_connections,
            head_seconds=settings.ingest_head_timeout,
            request_seconds=settings.ingest_body_timeout + RESPONSE_SECONDS,
            request_bytes=BYTES_BEFORE_RESPONSE
            + settings.ingest_max_body * WIRE_BYTES_PER_BODY_BYTE,
        ),
        proxy_headers=False,
        timeout_graceful_shutdown=7,
    )
    process.checks |= {
        "http": lambda: None if gateway.started else "not listening yet",
        "keys": keys.why_not_ready,
    }
    await process.check_schema()
    await keys.load()
    # Only a warning: a process that is not ready gets no requests, and this one can answer 503.
    process.warnings["kafka"] = lambda: publisher.failure or publisher.unreachable
    async with asyncio.TaskGroup() as tasks:
        background = [
            tasks.create_task(work)
            for work in (
                publisher.run(stop),
                publisher.probe(stop),
                refused_events.run(),
                keys.run(),
                usage.run(),
            )
        ]
        await stop.unless(publisher.connected(CONNECT_SECONDS))
        # The publisher runs until the last request has its response.
        await process.serve_until_stopped(gateway)
        for task in background:
            task.cancel()


def main() -> None:
    """Run ingest until a signal."""
    settings = IngestSettings.read()
    lifecycle.keep_freed_memory()
    run_process(
        "ingest",
        settings,
        settings.ingest_metrics_port,
        metrics.INGEST,
        lambda process: _run(settings, process),
    )
