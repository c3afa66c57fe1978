"""Group commit to Kafka: what arrives while one group of records is on its way is the next group.

A future for a request and partition instead of one for each record: the producer's own `send` makes
a future a record, which costs more than the record does. One group is on its way at a time, so
groups grow with the load and latency stays one round trip.
"""

import asyncio
import contextlib
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder

from ingest.validate import Accepted
from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime import kafka, metrics
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.tracing import Header
from schemas.event import VERSION_HEADER

log = structlog.get_logger(__name__)

PROBE_SECONDS = 5.0
"""Between two looks at the broker."""


class _Group:
    """Records that travel together: per partition its batches, and who waits for them."""

    def __init__(self) -> None:
        self.batches: dict[int, list[BatchBuilder]] = {}
        self.answers: dict[int, list[asyncio.Future[None]]] = {}
        self.size = 0
        self.count = 0

    def everybody(self) -> Iterable[asyncio.Future[None]]:
        """All who wait."""
        return chain.from_iterable(self.answers.values())


class Publisher:
    """Sends records and tells each caller when Kafka has acknowledged all of its own."""

    def __init__(
        self,
        make_producer: Callable[[], AIOKafkaProducer],
        topic: str,
        most_waiting: int,
        timeout: float,
    ) -> None:
        self._make_producer = make_producer
        self._topic = topic
        self._most_waiting = most_waiting
        self._timeout = timeout
        self._producer = make_producer()
        self._open = _Group()
        self._arrival = asyncio.Event()
        self._waiting = 0
        self._connected = asyncio.Event()
        self.failure: str | None = "not connected yet"
        """Why Kafka does not take records now, or None."""
        self.unreachable: str | None = None
        """What the last probe found, for /readyz."""

    def waiting(self) -> int:
        """Bytes of events that wait for Kafka's answer."""
        return self._waiting

    async def connected(self, seconds: float) -> None:
        """Wait until Kafka takes records, but not longer than this."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), seconds)

    async def close(self) -> None:
        """Disconnect."""
        await self._producer.stop()

    async def publish(self, records: Sequence[Accepted], traced: Sequence[Header] = ()) -> None:
        """Return once Kafka has acknowledged every record with acks=all.

        Args:
            records: of one request.
            traced: headers that tell of its trace.

        Raises:
            HttpError: UNAVAILABLE. A record may be in the topic all the same, if only the answer
                was late: a client's retry is then a repeat.
        """
        if self.failure:
            raise HttpError(ErrorKind.UNAVAILABLE, f"Kafka is away ({self.failure}): try again")
        size = sum(len(record.value) for record in records)
        if self._waiting + size > self._most_waiting:
            raise HttpError(
                ErrorKind.UNAVAILABLE, "too many events are waiting for Kafka: try again"
            )
        answers = self._append(records, size, [VERSION_HEADER, *traced])
        try:
            for answer in answers:
                await answer
        except KafkaError as error:
            raise HttpError(
                ErrorKind.UNAVAILABLE,
                f"Kafka did not take the event ({type(error).__name__}): try again",
            ) from None

    async def run(self, stop: Stop) -> None:
        """Connect, then send group after group, until cancelled.

        It waits for a broker as long as none is there; `publish` refuses meanwhile.
        """
        try:
            await self._connect(stop)
            while True:
                await self._arrival.wait()
                self._arrival.clear()
                group, self._open = self._open, _Group()
                if not await self._send(group):
                    await self._renew(stop)
        except StoppedWhileWaiting:
            log.info("stopped while Kafka was away")

    async def probe(self, stop: Stop) -> None:
        """Ask the broker for its topics now and then, so that /readyz knows without traffic."""
        while not await stop.wait(PROBE_SECONDS):
            if self.failure:  # which says more, and there may be no connection to ask on
                continue
            asked = asyncio.ensure_future(self._producer.client.force_metadata_update())
            await asyncio.wait({asked}, timeout=PROBE_SECONDS)
            failed = not asked.done() or asked.cancelled() or asked.exception() is not None
            answered = not failed and asked.result()
            known = self._producer.client.cluster.partitions_for_topic(self._topic)
            self.unreachable = (
                None if answered and known else f"no answer about the topic {self._topic}"
            )

    async def _renew(self, stop: Stop) -> None:
        """Go on with a new producer.

        A failed batch has spent sequence numbers of its partition, and the broker would refuse
        every later batch of the old producer as out of order.
        """
        self.failure = "connecting anew after a failure"
        self._refuse_open()
        old, self._producer = self._producer, self._make_producer()
        await old.stop()
        await self._connect(stop)
        log.info("connected anew")

    async def _connect(self, stop: Stop) -> None:
        if not await kafka.start(self._producer, stop):
            raise StoppedWhileWaiting
        await self._producer.client.add_topic(self._topic)
        self.failure = None
        self._connected.set()

    def _append(
        self, records: Sequence[Accepted], size: int, headers: list[Header]
    ) -> list[asyncio.Future[None]]:
        group = self._open
        partitions = self._partitions()
        touched: set[int] = set()
        for record in records:
            partition = zlib.crc32(record.key) % partitions
            batches = group.batches.get(partition)
            if batches is None:
                batches = group.batches[partition] = [self._producer.create_batch()]
                group.answers[partition] = []
            if not _fits(batches[-1], record, headers):
                batches.append(self._producer.create_batch())
                _fits(batches[-1], record, headers)
            touched.add(partition)
        group.size += size
        group.count += len(records)
        self._waiting += size
        self._arrival.set()
        # Of its own for each caller: one that is cancelled takes no other's with it.
        loop = asyncio.get_running_loop()
        answers = []
        for partition in touched:
            answers.append(loop.create_future())
            group.answers[partition].append(answers[-1])
        return answers

    def _partitions(self) -> int:
        partitions = self._producer.client.cluster.partitions_for_topic(self._topic)
        if not partitions:
            raise HttpError(
                ErrorKind.UNAVAILABLE, f"the topic {self._topic} is not there: try again"
            )
        return len(partitions)

    async def _send(self, group: _Group) -> bool:
        """Send a group; False if any of it failed.

        On silence everybody who waits is refused, and this group alone is waited for: an idempotent
        producer keeps trying with what it has begun, so its outcome is also how we learn that the
        broker is back. Until then nothing more is handed to it.
        """
        start = time.monotonic()
        delivery = asyncio.ensure_future(self._deliver(group))
        done, _ = await asyncio.wait({delivery}, timeout=self._timeout)
        if done:
            metrics.PUBLISH_SECONDS.observe(time.monotonic() - start)
        else:
            self.failure = f"no answer within {self._timeout:g} s"
            log.warning("Kafka does not answer; refusing events with 503", records=group.count)
            _fail(group.everybody(), KafkaTimeoutError())
            self._refuse_open()
            await asyncio.wait({delivery})
            self.failure = None
            log.info("Kafka has settled what it had; taking events again")
        self._settle(group)
        return delivery.result()

    def _refuse_open(self) -> None:
        """Refuse those whose records were not handed to the producer."""
        unsent, self._open = self._open, _Group()
        _fail(unsent.everybody(), KafkaTimeoutError())
        self._settle(unsent)

    def _settle(self, group: _Group) -> None:
        self._waiting -= group.size

    async def _deliver(self, group: _Group) -> bool:
        """Resolve each partition's answer; whether all went well."""
        delivered = await asyncio.gather(
            *(
                self._deliver_to(partition, batches, group.answers[partition])
                for partition, batches in group.batches.items()
            )
        )
        return all(delivered)

    async def _deliver_to(
        self, partition: int, batches: list[BatchBuilder], answers: list[asyncio.Future[None]]
    ) -> bool:
        try:
            for batch in batches:
                sent = await self._producer.send_batch(batch, self._topic, partition=partition)
                await sent
                metrics.PUBLISHED.inc(batch.record_count())
        except Exception as error:  # noqa: BLE001 - whatever it is, its callers must hear of it
            log.warning("records not published", partition=partition, error=type(error).__name__)
            _fail(answers, error if isinstance(error, KafkaError) else KafkaError(repr(error)))
            return False
        for answer in answers:
            if not answer.done():
                answer.set_result(None)
        return True


def _fits(batch: BatchBuilder, record: Accepted, headers: list[Header]) -> bool:
    metadata: Any = batch.append(
        timestamp=None, key=record.key, value=record.value, headers=headers
    )
    return metadata is not None


def _fail(answers: Iterable[asyncio.Future[None]], error: KafkaError) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
            answer.exception()  # its callers may be gone: then nobody else looks at it
