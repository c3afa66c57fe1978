"""Records that can never succeed go to a topic of their own, with all it takes to act on them."""

import time
from collections import deque
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from resolver.batch import DeadLetter
from runtime import metrics
from runtime.lifecycle import Stop, StoppedWhileWaiting
from runtime.retry import backoff

log = structlog.get_logger(__name__)


class Flood(Exception):
    """More dead letters than a healthy topic has: a bad deploy must not drain the topic."""


class DeadLetters:
    """Publishes dead letters, up to a limit a minute."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, limit: int) -> None:
        self._producer = producer
        self._topic = topic
        self._limit = limit
        self._recent: deque[float] = deque()

    async def publish(self, letters: Sequence[DeadLetter], stop: Stop) -> None:
        """Publish and wait for the broker, so that the position may move past the records.

        Raises:
            Flood: over the limit; what the limit allows was published, to be looked at.
            StoppedWhileWaiting: the process is to stop and the broker does not answer.
        """
        if not letters:
            return
        allowed = letters[: self._room(time.monotonic())]
        for letter in allowed:
            await self._publish(letter, stop)
            self._recent.append(time.monotonic())
            metrics.DEAD_LETTERS.labels(letter.reason).inc()
        log.warning(
            "dead letters",
            count=len(allowed),
            reasons=sorted({letter.reason for letter in letters}),
            first_partition=letters[0].record.partition,
            first_offset=letters[0].record.offset,
        )
        if len(allowed) < len(letters):
            raise Flood(
                f"more than {self._limit} dead letters within a minute "
                "(MERGANSER_RESOLVER_DEAD_LIMIT)"
            )

    def _room(self, now: float) -> int:
        while self._recent and self._recent[0] < now - 60:
            self._recent.popleft()
        return self._limit - len(self._recent)

    async def _publish(self, letter: DeadLetter, stop: Stop) -> None:
        record = letter.record
        value = record.value
        headers = [
            ("reason", letter.reason.encode()),
            ("error", letter.message.encode("utf-8", "replace")),
            ("topic", record.topic.encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
            *record.headers,
        ]
        if value is None and record.key is None:
            value = b""  # the client refuses a record of neither
        for delay in backoff():
            try:
                await self._producer.send_and_wait(
                    self._topic, value, key=record.key, headers=headers
                )
            except MessageSizeTooLargeError:
                # Compressed it came through, alone it does not: the original stays in its topic.
                headers.append(("value-dropped", str(len(value or b"")).encode()))
                value = b""
            except KafkaError as error:
                if not error.retriable:
                    raise
                log.warning("dead letter not published, trying again", error=type(error).__name__)
            else:
                return
            if await stop.wait(delay):
                raise StoppedWhileWaiting
