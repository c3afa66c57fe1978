"""Group commit to Kafka: records that arrive while one group is being sent form the next group.

Each request has one future per partition, not per record: the producer's own `send` makes a future
for each record, which costs more than the record does. One group is sent at a time, so groups grow
with the load and latency stays one round trip.
"""

import asyncio
import contextlib
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder

from merganser.runtime import kafka, metrics
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.tracing import Header

log = structlog.get_logger(__name__)

PROBE_SECONDS = 5.0
"""Seconds between two probes of the broker."""


class Record(Protocol):
    """A record for the topic."""

    @property
    def key(self) -> bytes:
        """It chooses the partition."""

    @property
    def value(self) -> bytes:
        """The event as JSON."""


Outcome = str | None
"""None if Kafka has acknowledged the records with acks=all, else the reason. The topic may still
have them, if only the acknowledgment was late."""


class _Group:
    """Records that are sent together: each partition's batches, and the futures of requests."""

    def __init__(self) -> None:
        self.batches: dict[int, list[BatchBuilder]] = {}
        self.outcomes: dict[int, list[asyncio.Future[Outcome]]] = {}
        self.size = 0
        self.count = 0

    def all_outcomes(self) -> Iterable[asyncio.Future[Outcome]]:
        """Return the futures of all partitions."""
        return chain.from_iterable(self.outcomes.values())


class Publisher:
    """Sends records and returns the outcome of each.

    Args:
        make_producer: returns a new producer. A failed one is replaced.
        topic: to send to.
        max_waiting: bytes that may wait for Kafka; more are refused.
        timeout: seconds after which waiting requests fail.
    """

    def __init__(
        self,
        make_producer: Callable[[], AIOKafkaProducer],
        topic: str,
        max_waiting: int,
        timeout: float,
    ) -> None:
        self._make_producer = make_producer
        self._topic = topic
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._producer = make_producer()
        self._open = _Group()
        self._arrival = asyncio.Event()
        self._loop = asyncio.get_running_loop()  # a system call each time, in Python 3.11
        self._waiting = 0
        self._connected = asyncio.Event()
        self.failure: str | None = "not connected yet"
        """Why Kafka does not accept records now, or None."""
        self.unreachable: str | None = None
        """Why the last probe failed, or None."""

    def waiting(self) -> int:
        """Return the bytes of records that wait for Kafka."""
        return self._waiting

    async def connected(self, seconds: float) -> None:
        """Wait until Kafka accepts records, but not longer than these seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), seconds)

    async def close(self) -> None:
        """Disconnect."""
        await self._producer.stop()

    async def publish(self, records: Sequence[Record], headers: list[Header]) -> Outcome:
        """Send records and wait for Kafka.

        Args:
            records: of one request.
            headers: of each record.

        Returns:
            The first outcome that is an error, if there is one.
        """
        if self.failure:
            return f"Kafka is not available ({self.failure})"
        size = sum([len(record.value) for record in records])
        if self._waiting + size > self._max_waiting:
            return "too many events are waiting for Kafka"
        partitions = self._producer.client.cluster.partitions_for_topic(self._topic)
        if not partitions:
            return f"the topic {self._topic} does not exist"
        for outcome in self._append(records, size, len(partitions), headers):
            if error := await outcome:
                return error
        return None

    async def run(self, stop: Stop) -> None:
        """Connect, then send group after group, until cancelled.

        It waits for a broker without a limit; in the meantime `publish` fails.
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
            log.info("stopped while Kafka was not available")

    async def probe(self, stop: Stop) -> None:
        """Probe the broker every few seconds, so that /readyz is right even without traffic."""
        while not await stop.wait(PROBE_SECONDS):
            if self.failure:  # `failure` is more specific, and a connection may not exist
                continue
            probe = asyncio.ensure_future(self._producer.client.force_metadata_update())
            await asyncio.wait({probe}, timeout=PROBE_SECONDS)
            failed = not probe.done() or probe.cancelled() or probe.exception() is not None
            updated = not failed and probe.result()
            known = self._producer.client.cluster.partitions_for_topic(self._topic)
            self.unreachable = (
                None if updated and known else f"no answer about the topic {self._topic}"
            )

    async def _renew(self, stop: Stop) -> None:
        """Replace the producer.

        A failed batch has used sequence numbers of its partition, so the broker would refuse every
        later batch of the old producer as out of order.
        """
        self.failure = "reconnecting after a failure"
        self._refuse_open()
        old, self._producer = self._producer, self._make_producer()
        await old.stop()
        await self._connect(stop)
        log.info("reconnected")

    async def _connect(self, stop: Stop) -> None:
        if not await kafka.start(self._producer, stop):
            raise StoppedWhileWaiting
        await self._producer.client.add_topic(self._topic)
        self.failure = None
        self._connected.set()

    def _append(
        self, records: Sequence[Record], size: int, partitions: int, headers: list[Header]
    ) -> Iterable[asyncio.Future[Outcome]]:
        """Add records to the open group; return a future for each partition."""
        group = self._open
        # Each request has its own futures: cancelling one request must not cancel another's.
        outcomes: dict[int, asyncio.Future[Outcome]] = {}
        for record in records:
            partition = zlib.crc32(record.key) % partitions
            batches = group.batches.get(partition)
            if batches is None:
                batches = group.batches[partition] = [self._producer.create_batch()]
                group.outcomes[partition] = []
            if not _fits(batches[-1], record, headers):
                batches.append(self._producer.create_batch())
                _fits(batches[-1], record, headers)
            if partition not in outcomes:
                outcomes[partition] = outcome = self._loop.create_future()
                group.outcomes[partition].append(outcome)
        group.size += size
        group.count += len(records)
        self._waiting += size
        self._arrival.set()
        return outcomes.values()

    async def _send(self, group: _Group) -> bool:
        """Send a group; return False if any of it failed.

        After the timeout, all waiting requests fail, but `_send` still waits for the group: an
        idempotent producer keeps retrying it, so its outcome also shows when the broker is back.
        Until then the producer gets no more records.
        """
        start = time.monotonic()
        delivery = asyncio.ensure_future(self._deliver(group))
        done, _ = await asyncio.wait({delivery}, timeout=self._timeout)
        if done:
            metrics.PUBLISH_SECONDS.observe(time.monotonic() - start)
        else:
            self.failure = f"no answer within {self._timeout:g} s"
            log.warning("Kafka does not answer; refusing events with 503", records=group.count)
            _resolve(group.all_outcomes(), _not_acknowledged(KafkaTimeoutError()))
            self._refuse_open()
            await asyncio.wait({delivery})
            self.failure = None
            log.info("Kafka has settled the last group; accepting events again")
        self._settle(group)
        return delivery.result()

    def _refuse_open(self) -> None:
        """Fail the requests whose records the producer does not have yet."""
        unsent, self._open = self._open, _Group()
        _resolve(unsent.all_outcomes(), _not_acknowledged(KafkaTimeoutError()))
        self._settle(unsent)

    def _settle(self, group: _Group) -> None:
        self._waiting -= group.size

    async def _deliver(self, group: _Group) -> bool:
        """Send a group's batches and resolve its futures; return whether Kafka has all of them."""
        delivered = await asyncio.gather(
            *(
                self._deliver_to(partition, batches, group.outcomes[partition])
                for partition, batches in group.batches.items()
            )
        )
        return all(delivered)

    async def _deliver_to(
        self, partition: int, batches: list[BatchBuilder], outcomes: list[asyncio.Future[Outcome]]
    ) -> bool:
        try:
            for batch in batches:
                sent = await self._producer.send_batch(batch, self._topic, partition=partition)
                await sent
                metrics.PUBLISHED.inc(batch.record_count())
        except Exception as error:  # noqa: BLE001 - after any error the requests need an outcome
            log.warning("records not published", partition=partition, error=type(error).__name__)
            _resolve(outcomes, _not_acknowledged(error))
            return False
        _resolve(outcomes, None)
        return True


def _fits(batch: BatchBuilder, record: Record, headers: list[Header]) -> bool:
    metadata: Any = batch.append(
        timestamp=None, key=record.key, value=record.value, headers=headers
    )
    return metadata is not None


def _resolve(outcomes: Iterable[asyncio.Future[Outcome]], outcome: Outcome) -> None:
    for future in outcomes:
        if not future.done():  # a cancelled request needs no outcome
            future.set_result(outcome)


def _not_acknowledged(error: Exception) -> str:
    name = type(error).__name__ if isinstance(error, KafkaError) else KafkaError.__name__
    return f"Kafka did not acknowledge the event ({name})"
