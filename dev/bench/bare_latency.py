"""`python -m dev.bench.bare_latency produce|consume ...`: the ceiling of `latency`.

produce BOOTSTRAP TOPIC RATE BURST SECONDS   send bursts of records with their time, acks=all
consume BOOTSTRAP TOPIC DATABASE_URL         copy each fetch into the table `bare` and commit
"""

import asyncio
import sys
import time
from datetime import UTC, datetime

import psycopg
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

TICK = 0.002
FILLER = "x" * 400
"""About as long as the record of an event."""


async def _produce(bootstrap: str, topic: str, rate: float, burst: int, seconds: float) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        start, sent = time.perf_counter(), 0
        acknowledgments = []
        while (elapsed := time.perf_counter() - start) < seconds:
            if sent < rate * elapsed:
                sent += burst
                value = f"{datetime.now(UTC).isoformat()}\t{FILLER}\n".encode()
                acknowledgments += [await producer.send(topic, value) for _ in range(burst)]
            await asyncio.sleep(TICK)
        await asyncio.gather(*acknowledgments)
        await producer.send_and_wait(topic, f"{datetime.now(UTC).isoformat()}\tlast\n".encode())


async def _consume(bootstrap: str, topic: str, url: str) -> None:
    async with (
        AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
        ) as consumer,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as database,
    ):
        while True:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=5000)
            rows = [record.value for records in fetched.values() for record in records]
            if rows:
                async with database.cursor().copy(b"COPY bare FROM STDIN") as copy:
                    await copy.write(b"".join(rows))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["produce", bootstrap, topic, rate, burst, seconds]:
            uvloop.run(_produce(bootstrap, topic, float(rate), int(burst), float(seconds)))
        case ["consume", bootstrap, topic, url]:
            uvloop.run(_consume(bootstrap, topic, url))
