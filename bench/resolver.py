"""`resolver`: a backlog through identity into the tables, against a bare COPY of the same rows."""

import asyncio
import os
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from aiokafka import AIOKafkaProducer

from bench import people, servers
from bench.ratios import Round, report
from runtime import kafka
from runtime.settings import Settings
from schemas import event as wire
from schemas.event import VERSION_HEADER
from stack import Servers
from stack.ports import free_port

BATCH = 5_000
"""Events that a transaction of the ceiling copies: as many as one of the resolver's."""

Rows = tuple[list[bytes], list[bytes]]

_POSITIONS = 'SELECT coalesce(sum("nextOffset"), 0) FROM "consumerOffsets"'


def main(name: str = "resolver", *, events: int = 200_000, rounds: int = 5) -> None:
    """Alternate the drain of one backlog and the COPY of its rows, each into an empty database."""
    with servers.running(kafka=True) as running:
        settings = backlog(running, events)
        found: list[Round] = []
        for _ in range(rounds):
            with servers.database(running) as url:
                drained = drain(running, settings, url, events)
                rows = _rows(url)
            with servers.database(running) as url:
                found.append(Round(drained, _copy(url, rows)))
    report(name, "events/s", found)


def backlog(running: Servers, events: int) -> Settings:
    """A topic of its own with so many events."""
    settings = Settings(
        _env_file=None,
        kafka_bootstrap=running.kafka_bootstrap,
        topic=f"bench-{uuid.uuid4().hex}",
        dead_topic=f"bench-{uuid.uuid4().hex}",
    )
    asyncio.run(_publish(settings, events))
    return settings


def drain(running: Servers, settings: Settings, url: str, events: int) -> float:
    """Events per second from the first commit, which leaves out the start, to the last one."""
    with psycopg.connect(url, autocommit=True) as database, _resolver(running, settings, url):
        first, start = _until(database, 1)
        last, end = _until(database, events)
    return float((last - first) / (end - start))


async def _publish(settings: Settings, count: int) -> None:
    await kafka.create_topics(settings)
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap, max_batch_size=1 << 20, linger_ms=50
    ) as producer:
        sent = []
        for event in people.events(count):
            key = wire.partition_key(event)
            sent.append(
                await producer.send(
                    settings.topic,
                    wire.encode(event),
                    key=key,
                    partition=zlib.crc32(key) % settings.topic_partitions,
                    headers=[VERSION_HEADER],
                )
            )
        await asyncio.gather(*sent)


@contextmanager
def _resolver(running: Servers, settings: Settings, url: str) -> Iterator[None]:
    env = os.environ | {
        "MERGANSER_KAFKA_BOOTSTRAP": running.kafka_bootstrap,
        "MERGANSER_DATABASE_URL": url,
        "MERGANSER_TOPIC": settings.topic,
        "MERGANSER_DEAD_TOPIC": settings.dead_topic,
        "MERGANSER_CONSUMER_GROUP": uuid.uuid4().hex,
        "MERGANSER_RESOLVER_METRICS_PORT": str(free_port(set())),
        "MERGANSER_LOG_LEVEL": "warning",
    }
    process = subprocess.Popen([sys.executable, "-m", "cli", "resolver"], env=env)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _until(database: psycopg.Connection[tuple[Any, ...]], position: int) -> tuple[int, float]:
    """The first position seen at or past this one, and when."""
    while True:
        (reached,) = database.execute(_POSITIONS).fetchone() or (0,)
        if reached >= position:
            return int(reached), time.perf_counter()
        time.sleep(0.005)


def _rows(url: str) -> Rows:
    """What the drain wrote, as COPY reads it, in chunks of BATCH events."""
    with psycopg.connect(url) as database:
        return (
            _chunks(database, "COPY events TO STDOUT", BATCH),
            _chunks(database, 'COPY "eventData" TO STDOUT', 4 * BATCH),
        )


def _chunks(
    database: psycopg.Connection[tuple[Any, ...]], statement: str, size: int
) -> list[bytes]:
    with database.cursor().copy(statement.encode()) as copy:
        lines = b"".join(bytes(block) for block in copy).splitlines(keepends=True)
    return [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]


def _copy(url: str, rows: Rows) -> float:
    count = 0
    with psycopg.connect(url, autocommit=True) as database, database.cursor() as cursor:
        start = time.perf_counter()
        for events, data in zip(*rows, strict=True):
            with database.transaction():
                for statement, chunk in (
                    ("COPY events FROM STDIN", events),
                    ('COPY "eventData" FROM STDIN', data),
                ):
                    with cursor.copy(statement.encode()) as copy:
                        copy.write(chunk)
            count += events.count(b"\n")
        return count / (time.perf_counter() - start)
