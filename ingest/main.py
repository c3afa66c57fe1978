"""The ingest process."""

import asyncio

import structlog

from ingest import openapi, script
from ingest.app import Gateway
from ingest.dialects import jitsu, native, posthog, rudderstack, segment, snowplow
from ingest.publisher import Publisher
from merganser.http.authentication import Keys
from merganser.http.ops_server import Check, ops_server, server
from merganser.http.server import Bounds
from merganser.runtime import kafka, lifecycle, logs, metrics, tracing
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from merganser.runtime.settings import IngestSettings
from schemas import migrations

log = structlog.get_logger(__name__)

DIALECTS = [
    dialect.ROUTES for dialect in (native, segment, rudderstack, posthog, jitsu, snowplow, script)
]

ANSWER_SECONDS = 45.0
"""For keys, Kafka and a client that reads slowly, after the body."""

CHUNKING = 16
"""Bytes on the wire for one of the body: a chunk of one byte takes six."""

BEFORE_ANSWER = 1 << 20
"""Bytes that may have come before the application can refuse a body as too large."""

CONNECT_SECONDS = 5.0
"""For Kafka to answer before ingest listens anyway. It then answers events with 503 itself, so that
clients hear when to come again, and from whom."""

REQUEST_TIMEOUT = 10.0
"""Seconds for one request to a broker; callers are answered sooner, by ingest_publish_timeout."""


async def _main(settings: IngestSettings, stop: Stop) -> None:
    log.info("starting", port=settings.ingest_port, topic=settings.topic)
    database = Database(settings.database_url.get_secret_value(), "ingest")
    known_keys = Keys(database, settings.ingest_keys_interval, stop, "apiKey in the body")
    metrics.KEYS_AGE.set_function(known_keys.age)
    publisher = Publisher(
        lambda: kafka.producer(settings, "ingest", timeout=REQUEST_TIMEOUT),
        settings.topic,
        settings.ingest_max_waiting,
        settings.ingest_publish_timeout,
    )
    metrics.WAITING_BYTES.set_function(publisher.waiting)
    traces = tracing.start_tracing(settings, "ingest")
    gateway = server(
        Gateway(
            settings,
            [*DIALECTS, openapi.pages(DIALECTS, settings)],
            known_keys,
            publisher,
            traces,
        ),
        settings.ingest_host,
        settings.ingest_port,
        Bounds(
            connections=settings.ingest_max_connections,
            head_seconds=settings.ingest_head_timeout,
            request_seconds=settings.ingest_body_timeout + ANSWER_SECONDS,
            request_bytes=BEFORE_ANSWER + settings.ingest_max_body * CHUNKING,
        ),
        proxy_headers=False,
        timeout_graceful_shutdown=7,
    )
    # Not ready would mean that clients reach nobody: a process that answers 503 is ready.
    warnings: dict[str, Check] = {}
    ops = ops_server(
        settings.ops_host,
        settings.ingest_metrics_port,
        metrics.INGEST,
        {
            "http": lambda: None if gateway.started else "not listening yet",
            "keys": known_keys.why_not_ready,
        },
        warnings,
    )
    async with asyncio.TaskGroup() as tasks:
        serving_ops = tasks.create_task(ops.serve())
        try:
            await database.transact(migrations.check, stop)
            await known_keys.load()
            warnings["kafka"] = lambda: publisher.failure or publisher.unreachable
            background = [
                tasks.create_task(work)
                for work in (publisher.run(stop), publisher.probe(stop), known_keys.run())
            ]
            await stop.unless(publisher.connected(CONNECT_SECONDS))
            serving = tasks.create_task(gateway.serve())
            await stop.wait()
            # Requests being served are answered first; only then does the publisher end.
            await gateway.leave()
            await serving
            for task in background:
                task.cancel()
        finally:
            ops.should_exit = True
            await serving_ops
            await publisher.close()
            await database.close()
            if traces:
                await asyncio.to_thread(traces.close)
    log.info("stopped")


def main() -> None:
    """Run ingest until a signal."""
    settings = IngestSettings.read()
    logs.configure(settings, "ingest")
    lifecycle.run(lambda stop: _main(settings, stop))
